// Calls that are logged: what a client sees of src/sandbox/replay.
#include <atomic>
#include <nlohmann/json.hpp>

#include "sandbox/edge/api.h"
#include "sandbox/edge/spec_json.h"
#include "sandbox/edge/text.h"

namespace hadal::sandbox {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kSlowClient =
    4 << 20;  // as for calls that are not logged: output left out can be asked for again

std::string text_of(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

void send_refusal(const std::shared_ptr<ApiReply>& reply, const Refusal& refusal, const std::string& sandbox = "",
                  const std::string& operation = "") {
  ApiError e = api_error(refusal, sandbox, operation);
  reply->send(e.status, "application/json", std::move(e.body));
}

std::string place_json(const ReplayAnswer& a) {
  return text_of(Json{{"op", a.op}, {"source", source_name(a.source)}, {"seq", a.seq}, {"digest", a.digest}});
}

class OnceWaiter final : public ReplayWaiter {
 public:
  OnceWaiter(std::shared_ptr<ApiReply> reply, std::string sandbox, std::string op)
      : reply_(std::move(reply)), sandbox_(std::move(sandbox)), op_(std::move(op)) {}
  void answered(const ReplayAnswer& a) override {
    reply_->send(200, "application/json", with_fields(place_json(a), a.result));
  }
  void refused(const Refusal& refusal) override { send_refusal(reply_, refusal, sandbox_, op_); }

 private:
  std::shared_ptr<ApiReply> reply_;
  std::string sandbox_, op_;
};

// Events: output as it comes, or as it was recorded; then the end.
class OnceEvents final : public ReplayWaiter {
 public:
  OnceEvents(std::shared_ptr<ApiReply> reply, std::string sandbox, std::string op)
      : reply_(std::move(reply)), sandbox_(std::move(sandbox)), op_(std::move(op)) {}
  bool wants_output() const override { return true; }
  void output(int stream, std::int64_t offset, std::string_view bytes) override {
    begin();
    if (bytes.empty() || reply_->unsent() > kSlowClient) return;
    reply_->event(
        "output",
        text_of(Json{{"stream", stream == 1 ? "stdout" : "stderr"}, {"offset", offset}, {"base64", base64(bytes)}}));
  }
  void answered(const ReplayAnswer& a) override {
    begin();
    Json j = Json::parse(a.result, nullptr, false);
    int stream = 0;
    for (const std::string name : {"stdout", "stderr"}) {
      ++stream;
      const std::string head = bytes_of(j, name), tail = bytes_of(j, name + "_tail");
      const std::int64_t dropped = j.value(name + "_dropped", std::int64_t{0});
      const auto head_size = static_cast<std::int64_t>(head.size());
      if (a.source == Source::kLog) {
        output(stream, 0, head);
        output(stream, head_size + dropped, tail);
      }
      j[name + "_bytes"] = head_size + dropped + static_cast<std::int64_t>(tail.size());
    }
    reply_->event("end", with_fields(place_json(a), text_of(j)));
    reply_->finish();
  }
  void refused(const Refusal& refusal) override {
    if (!begun_) return send_refusal(reply_, refusal, sandbox_, op_);
    reply_->event("error", api_error(refusal, sandbox_, op_).body);
    reply_->finish();
  }

 private:
  void begin() {
    if (!begun_.exchange(true)) reply_->start();
  }
  // Takes the bytes out of the object.
  static std::string bytes_of(Json& j, const std::string& name) {
    std::string bytes;
    if (const auto it = j.find(name); it != j.end() && it->is_string()) bytes = it->get<std::string>();
    if (const auto it = j.find(name + "_base64"); it != j.end() && it->is_string())
      bytes = from_base64(it->get<std::string>()).value_or("");
    j.erase(name);
    j.erase(name + "_base64");
    return bytes;
  }

  std::shared_ptr<ApiReply> reply_;
  std::string sandbox_, op_;
  std::atomic<bool> begun_ = false;
};

Json attachment_json(const std::string& name, const Attachment& a) {
  return {{"trajectory", name}, {"sandbox", a.sandbox}, {"epoch", a.epoch}, {"next_seq", a.next_seq}};
}

const Refusal kNoLog{Fault::kUnsupported, "trajectory: this edge was started without a log"};

}  // namespace

void EdgeApi::exec_once(const std::string& id, const ExecCall& call, std::string request,
                        const std::shared_ptr<ApiReply>& reply) {
  if (!replay_) return send_refusal(reply, kNoLog, id, call.op);
  if (call.request.background || call.request.tty || call.request.stdin_open)
    return send_refusal(
        reply,
        {Fault::kUnsupported, "trajectory: a call that is logged cannot have 'background', 'tty' or 'stdin_open' yet"},
        id, call.op);
  ReplayCall once;
  once.trajectory = call.trajectory;
  once.sandbox = id;
  once.epoch = static_cast<std::uint64_t>(call.epoch);
  once.seq = static_cast<std::uint64_t>(call.seq);
  once.op = call.op;
  once.request = std::move(request);
  once.idempotent = call.idempotent;
  if (call.stream)
    replay_->submit(once, std::make_shared<OnceEvents>(reply, id, call.op));
  else
    replay_->submit(once, std::make_shared<OnceWaiter>(reply, id, call.op));
}

void EdgeApi::create_on_trajectory(const CreateSpec& spec, const std::shared_ptr<ApiReply>& reply) {
  if (!replay_) return send_refusal(reply, kNoLog);
  AttachRequest attach;
  attach.trajectory = spec.trajectory;
  auto attached = replay_->attach(attach);
  if (!attached && attached.error().fault == Fault::kNotFound) {
    // The trajectory's name is the key, so that two clients that begin at once get one sandbox.
    CreateSpec keyed = spec;
    if (keyed.idempotency_key.empty()) keyed.idempotency_key = "trajectory:" + spec.trajectory;
    const auto id = edge_.create(keyed);
    if (!id) return send_refusal(reply, {fault_of(id.error().code), id.error().what});
    attach.sandbox = *id;
    attach.spec = create_json(spec);
    attached = replay_->attach(attach);
  }
  if (!attached) return send_refusal(reply, attached.error());
  Json j = attachment_json(spec.trajectory, *attached);
  j.erase("sandbox");
  const auto info = edge_.info(attached->sandbox);
  if (!info)
    return send_refusal(reply,
                        {Fault::kGone, fmt::format("trajectory {} is of sandbox {}, which is gone: {}; its calls can "
                                                   "still be read and replayed by 'attach'",
                                                   spec.trajectory, attached->sandbox, info.error().what)},
                        attached->sandbox);
  reply->send(201, "application/json", with_fields(info_json(*info), text_of(j)));
}

void EdgeApi::trajectory_call(const ApiRequest& r, const std::vector<std::string>& path,
                              const std::shared_ptr<ApiReply>& reply) {
  if (!replay_) return send_refusal(reply, kNoLog);
  if (r.method == "GET" && path.size() == 2)
    return reply->send(200, "application/json", text_of(Json{{"trajectories", replay_->names()}}));
  const std::string what = path.size() > 3 ? path[3] : "";
  if (r.method == "POST" && path.size() == 4 && what == "attach") {
    const Json j = r.body.empty() ? Json::object() : Json::parse(r.body, nullptr, false);
    AttachRequest a;
    a.trajectory = path[2];
    const auto wrong = [&](const std::string& why) { send_refusal(reply, {Fault::kInvalidRequest, "attach: " + why}); };
    if (!j.is_object()) return wrong("the body is not an object");
    for (const auto& [name, value] : j.items()) {
      std::string* to = name == "sandbox"       ? &a.sandbox
                        : name == "last_digest" ? &a.last_digest
                        : name == "caller"      ? &a.caller
                                                : nullptr;
      if (to != nullptr && value.is_string() && value.get_ref<const std::string&>().size() <= 200)
        *to = value.get<std::string>();
      else if (name == "last_seq" && value.is_number_unsigned())
        a.last_seq = value.get<std::uint64_t>();
      else
        return wrong(fmt::format("'{:.40}' is not known, or has a value of the wrong kind", name));
    }
    // A trajectory of a sandbox that is not there could never run anything.
    if (!a.sandbox.empty())
      if (const auto info = edge_.info(a.sandbox); !info)
        return send_refusal(reply, {fault_of(info.error().code), info.error().what}, a.sandbox);
    const auto attached = replay_->attach(a);
    if (!attached) return send_refusal(reply, attached.error());
    return reply->send(200, "application/json", text_of(attachment_json(path[2], *attached)));
  }
  if (r.method == "GET" && path.size() == 4 && what == "records") {
    const auto records = replay_->records(path[2]);
    if (!records) return send_refusal(reply, {fault_of(records.error().code), records.error().what});
    std::string lines;
    for (const Record& record : *records) {
      const Json place = {{"type", record_name(record.type)}, {"lsn", record.lsn}, {"sequence", record.sequence}};
      const std::string first = text_of(place);
      lines += first.substr(0, first.size() - 1) + ",\"body\":" + record.body + "}\n";
    }
    return reply->send(200, "application/x-ndjson", std::move(lines));
  }
  if (r.method == "GET" && path.size() == 5 && what == "blobs") {
    auto blob = replay_->blobs().get(path[4]);
    if (!blob) return send_refusal(reply, {fault_of(blob.error().code), blob.error().what});
    return reply->send(200, "application/json", std::move(*blob));
  }
  send_refusal(reply, {Fault::kNotFound, fmt::format("there is nothing at {:.10} {:.200}", r.method, r.path)});
}

}  // namespace hadal::sandbox
