#include "sandbox/edge/api.h"

#include <atomic>
#include <charconv>
#include <nlohmann/json.hpp>
#include <thread>

#include "sandbox/edge/sessions.h"
#include "sandbox/edge/spec_json.h"
#include "sandbox/edge/text.h"

namespace hadal::sandbox {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kSlowClient = 4 << 20;  // events waiting; further output is left out and can be asked for again

std::string text_of(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  while (at < path.size()) {
    const auto end = std::min(path.find('/', at), path.size());
    if (end > at) parts.push_back(from_percent(path.substr(at, end - at)).value_or(""));
    at = end + 1;
  }
  return parts;
}

void send_error(const std::shared_ptr<ApiReply>& reply, const Error& error, const std::string& sandbox = "",
                const std::string& operation = "") {
  ApiError e = api_error(error, sandbox, operation);
  reply->send(e.status, "application/json", std::move(e.body));
}

void send_json(const std::shared_ptr<ApiReply>& reply, std::string body, int status = 200) {
  reply->send(status, "application/json", std::move(body));
}

// Answers when the operation ends; or when it has started, for a background one.
class ResultSink final : public OperationSink {
 public:
  ResultSink(std::shared_ptr<ApiReply> reply, std::string sandbox, std::string op, bool at_start)
      : reply_(std::move(reply)), sandbox_(std::move(sandbox)), op_(std::move(op)), at_start_(at_start) {}
  void started(std::int64_t) override {
    if (at_start_ && !answered_.exchange(true)) send_json(reply_, text_of(Json{{"op", op_}, {"status", "running"}}));
  }
  void output(int, std::int64_t, std::string_view) override {}
  void ended(const ExecResult& result) override {
    if (!answered_.exchange(true)) send_json(reply_, result_json(op_, result));
  }
  void failed(const Error& error) override {
    if (!answered_.exchange(true)) send_error(reply_, error, sandbox_, op_);
  }

 private:
  std::shared_ptr<ApiReply> reply_;
  std::string sandbox_, op_;
  bool at_start_;
  std::atomic<bool> answered_ = false;
};

// Events as they come: started, output (stream, offset, text or base 64), end or error.
class EventSink final : public OperationSink {
 public:
  EventSink(std::shared_ptr<ApiReply> reply, std::string sandbox, std::string op)
      : reply_(std::move(reply)), sandbox_(std::move(sandbox)), op_(std::move(op)) {
    reply_->start();
  }
  void started(std::int64_t) override { reply_->event("started", text_of(Json{{"op", op_}})); }
  void output(int stream, std::int64_t offset, std::string_view bytes) override {
    if (reply_->unsent() > kSlowClient) return;
    Json j = {{"stream", stream == 1 ? "stdout" : "stderr"}, {"offset", offset}};
    j["base64"] = base64(bytes);
    reply_->event("output", text_of(j));
  }
  void ended(const ExecResult& result) override {
    ExecResult totals = result;
    Json j = Json::parse(result_json(op_, totals), nullptr, false);
    for (const char* name : {"stdout", "stdout_base64", "stdout_tail", "stdout_tail_base64", "stderr", "stderr_base64",
                             "stderr_tail", "stderr_tail_base64"})
      j.erase(name);
    j["stdout_bytes"] = result.out.total;
    j["stderr_bytes"] = result.err.total;
    reply_->event("end", text_of(j));
    reply_->finish();
  }
  void failed(const Error& error) override {
    reply_->event("error", api_error(error, sandbox_, op_).body);
    reply_->finish();
  }

 private:
  std::shared_ptr<ApiReply> reply_;
  std::string sandbox_, op_;
};

std::optional<std::int64_t> whole(const std::string& text) {
  std::int64_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc() || end != text.data() + text.size() || v < 0) return std::nullopt;
  return v;
}

}  // namespace

ApiError api_error(const Refusal& refusal, const std::string& sandbox, const std::string& operation) {
  const FaultRow& row = fault_row(refusal.fault);
  Json details = Json::parse(refusal.details, nullptr, false);
  if (!details.is_object()) details = Json::object();
  if (refusal.fault == Fault::kCapacity) details["retry_after_s"] = 1;
  const Json retryable = row.retry == Retry::kCallerDecides ? Json() : Json(row.retry == Retry::kYes);
  const Json j = {{"error",
                   {{"code", row.code},
                    {"message", refusal.message},
                    {"retryable", retryable},
                    {"blame", row.blame},
                    {"sandbox", sandbox},
                    {"operation", operation},
                    {"details", details}}}};
  return {row.http, text_of(j)};
}

ApiError api_error(const Error& error, const std::string& sandbox, const std::string& operation) {
  return api_error(Refusal{fault_of(error.code), error.what}, sandbox, operation);
}

std::string query_value(const std::string& query, std::string_view name) {
  std::size_t at = 0;
  while (at < query.size()) {
    const auto end = std::min(query.find('&', at), query.size());
    const std::string_view part = std::string_view(query).substr(at, end - at);
    const auto equals = part.find('=');
    if (part.substr(0, equals) == name)
      return equals == std::string_view::npos ? "" : from_percent(part.substr(equals + 1)).value_or("");
    at = end + 1;
  }
  return "";
}

EdgeApi::EdgeApi(Edge& edge, std::shared_ptr<Replay> replay, std::shared_ptr<LayerMounts> layers)
    : edge_(edge), replay_(std::move(replay)), layers_(std::move(layers)), sessions_(std::make_shared<Sessions>(edge)) {
  std::thread([weak = std::weak_ptr(sessions_)] {
    while (const auto sessions = weak.lock()) {
      sessions->keep_time();
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }).detach();
}

EdgeApi::~EdgeApi() = default;

void EdgeApi::handle(const ApiRequest& request, std::shared_ptr<ApiReply> reply) {
  try {
    route(request, reply);
  } catch (const std::exception& e) {
    send_error(reply, {ErrorCode::kInternal,
                       fmt::format("the edge failed at {} {}: {}", request.method, request.path, e.what())});
  }
}

void EdgeApi::route(const ApiRequest& r, const std::shared_ptr<ApiReply>& reply) {
  const std::vector<std::string> path = split_path(r.path);
  const auto is = [&](std::string_view method, std::size_t size) { return r.method == method && path.size() == size; };
  if (path.size() >= 2 && path[0] == "v1") {
    if (is("GET", 2) && path[1] == "capabilities") {
      Json j = Json::object();
      for (const auto& [name, rows] : edge_.capabilities()) {
        Json list = Json::object();
        for (const Capability& c : rows)
          list[c.name] = {{"available", c.available}, {"detail", c.detail}, {"remedy", c.remedy}};
        j[name] = list;
      }
      return send_json(reply, text_of(Json{{"substrates", j}}));
    }
    if (is("POST", 2) && path[1] == "sandboxes") {
      auto spec = parse_create(r.body);
      if (!spec) return send_error(reply, spec.error());
      if (!spec->trajectory.empty()) return create_on_trajectory(*spec, reply);
      const auto id = edge_.create(*spec);
      if (!id) return send_error(reply, id.error());
      const auto info = edge_.info(*id);
      if (!info) return send_error(reply, info.error(), *id);
      return send_json(reply, info_json(*info), 201);
    }
    if (is("GET", 2) && path[1] == "sandboxes") {
      std::string rows;
      for (const SandboxInfo& i : edge_.list(query_value(r.query, "job")))
        rows += (rows.empty() ? "" : ",") + info_json(i);
      return send_json(reply, "{\"sandboxes\":[" + rows + "]}");
    }
    if (path[1] == "layers") return layer_call(r, path, reply);
    if (path[1] == "trajectories") return trajectory_call(r, path, reply);
    if (path[1] == "sandboxes" && path.size() >= 3) return sandbox_call(r, path, reply);
    if (is("POST", 4) && path[1] == "jobs" && (path[3] == "pause" || path[3] == "resume" || path[3] == "stop")) {
      const auto n = edge_.for_job(path[2], path[3]);
      if (!n) return send_error(reply, n.error());
      return send_json(reply, text_of(Json{{"sandboxes", *n}}));
    }
  }
  send_error(reply, {ErrorCode::kNotFound, fmt::format("there is nothing at {:.10} {:.200}", r.method, r.path)});
}

void EdgeApi::sandbox_call(const ApiRequest& r, const std::vector<std::string>& path,
                           const std::shared_ptr<ApiReply>& reply) {
  const std::string& id = path[2];
  const auto is = [&](std::string_view method, std::size_t size) { return r.method == method && path.size() == size; };
  const std::string what = path.size() > 3 ? path[3] : "";
  if (is("GET", 3)) {
    const auto info = edge_.info(id);
    if (!info) return send_error(reply, info.error(), id);
    return send_json(reply, info_json(*info));
  }
  if (is("DELETE", 3)) {
    if (const Status done = edge_.close(id); !done) return send_error(reply, done.error(), id);
    if (replay_)
      if (const Status logged = replay_->close(id); !logged) return send_error(reply, logged.error(), id);
    return send_json(reply, text_of(Json{{"closed", id}}));
  }
  if (is("POST", 4) && what == "exec") return exec(id, r.body, reply);
  if (is("POST", 4) && what == "pack_diff") return pack_diff(id, r.body, reply);
  if (is("POST", 4) && what == "pause") {
    const auto freed = edge_.pause(id);
    if (!freed) return send_error(reply, freed.error(), id);
    return send_json(reply, text_of(Json{{"state", "paused"}, {"freed_bytes", *freed}}));
  }
  if (is("POST", 4) && what == "resume") {
    if (const Status done = edge_.resume(id); !done) return send_error(reply, done.error(), id);
    return send_json(reply, text_of(Json{{"state", "running"}}));
  }
  if (is("POST", 4) && what == "renew") {
    // The same object as in create, so the same reader.
    const auto spec = parse_create(R"({"ttl":)" + (r.body.empty() ? "{}" : r.body) + "}");
    if (!spec) return send_error(reply, spec.error(), id);
    if (const Status done = edge_.renew(id, spec->ttl); !done) return send_error(reply, done.error(), id);
    return send_json(reply, "{}");
  }
  if (what == "operations") return operation_call(r, path, reply);
  if (what == "file" || what == "files") return file_call(r, path, reply);
  if (what == "sessions") return session_call(r, path, reply);
  send_error(reply, {ErrorCode::kNotFound, fmt::format("there is nothing at {:.10} {:.200}", r.method, r.path)}, id);
}

void EdgeApi::exec(const std::string& id, const std::string& body, const std::shared_ptr<ApiReply>& reply) {
  auto call = parse_exec(body);
  if (!call) return send_error(reply, call.error(), id);
  if (!call->trajectory.empty()) return exec_once(id, *call, canonical_exec(body), reply);
  // A name of its own for what outlives the call.
  if (call->op.empty() && (call->request.background || call->stream || call->request.tty))
    call->op = edge_.new_name("op");
  std::shared_ptr<OperationSink> sink;
  if (call->stream) {
    // Errors before the start still deserve their status: the stream begins when the sandbox has been found.
    if (auto there = edge_.use(id); !there) return send_error(reply, there.error(), id, call->op);
    sink = std::make_shared<EventSink>(reply, id, call->op);
  } else {
    sink = std::make_shared<ResultSink>(reply, id, call->op, call->request.background);
  }
  if (const Status begun = edge_.exec(id, call->op, call->request, sink); !begun) sink->failed(begun.error());
}

void EdgeApi::operation_call(const ApiRequest& r, const std::vector<std::string>& path,
                             const std::shared_ptr<ApiReply>& reply) {
  const std::string& id = path[2];
  auto used = edge_.use(id);
  if (!used) return send_error(reply, used.error(), id);
  Agent& agent = used->agent();
  if (r.method == "GET" && path.size() == 4) {
    Json rows = Json::array();
    for (const AgentOperation& op : agent.table()) rows.push_back({{"op", op.id}, {"running", op.running}});
    return send_json(reply, text_of(Json{{"boot", agent.boot_id()}, {"operations", rows}}));
  }
  if (path.size() < 5) return send_error(reply, {ErrorCode::kNotFound, "name an operation"}, id);
  const std::string& op = path[4];
  const std::string what = path.size() > 5 ? path[5] : "";
  if (r.method == "DELETE" && path.size() == 5) {
    agent.forget(op);
    return send_json(reply, "{}");
  }
  if (r.method == "GET" && what == "wait")
    return agent.attach(op, 0, 0, std::make_shared<ResultSink>(reply, id, op, false));
  if (r.method == "GET" && what == "output") {
    const std::string out = query_value(r.query, "out"), err = query_value(r.query, "err");
    const auto from_out = whole(out.empty() ? "0" : out), from_err = whole(err.empty() ? "0" : err);
    if (!from_out || !from_err)
      return send_error(reply, {ErrorCode::kUsage, "out and err are offsets: whole numbers"}, id, op);
    return agent.attach(op, *from_out, *from_err, std::make_shared<EventSink>(reply, id, op));
  }
  if (r.method == "POST" && what == "input") {
    agent.input(op, r.body, query_value(r.query, "end") == "1");
    return send_json(reply, "{}");
  }
  if (r.method == "POST" && (what == "signal" || what == "resize")) {
    const Json j = Json::parse(r.body, nullptr, false);
    const auto number = [&](const char* name, int most) {
      const auto it = j.is_object() ? j.find(name) : j.end();
      if (!j.is_object() || it == j.end() || !it->is_number_integer()) return 0;
      const auto v = it->get<std::int64_t>();
      return v > 0 && v <= most ? static_cast<int>(v) : 0;
    };
    if (what == "signal") {
      const int n = number("number", 64);
      if (n == 0) return send_error(reply, {ErrorCode::kUsage, "signal: 'number' must be from 1 to 64"}, id, op);
      const auto tree = j.find("tree");
      if (tree != j.end() && !tree->is_boolean())
        return send_error(reply, {ErrorCode::kUsage, "signal: 'tree' must be true or false"}, id, op);
      agent.signal(op, n, tree == j.end() || tree->get<bool>());
    } else {
      const int rows = number("rows", 1000), columns = number("columns", 1000);
      if (rows == 0 || columns == 0)
        return send_error(reply, {ErrorCode::kUsage, "resize: 'rows' and 'columns' must be from 1 to 1000"}, id, op);
      agent.resize(op, rows, columns);
    }
    return send_json(reply, "{}");
  }
  send_error(reply, {ErrorCode::kNotFound, fmt::format("there is nothing at {:.10} {:.200}", r.method, r.path)}, id,
             op);
}

void EdgeApi::file_call(const ApiRequest& r, const std::vector<std::string>& path,
                        const std::shared_ptr<ApiReply>& reply) {
  const std::string& id = path[2];
  if (!query_value(r.query, "trajectory").empty())
    return send_error(reply,
                      {ErrorCode::kUnsupported,
                       "trajectory: files are not logged yet; write them with a command that is, or leave it out"},
                      id);
  FileRequest q;
  using Kind = FileRequest::Kind;
  if (path.size() == 4 && path[3] == "file" && (r.method == "GET" || r.method == "PUT")) {
    q.kind = r.method == "GET" ? Kind::kRead : Kind::kWrite;
    q.path = query_value(r.query, "path");
    q.data = r.body;
    if (const std::string mode = query_value(r.query, "mode"); !mode.empty()) {
      const auto [end, error] = std::from_chars(mode.data(), mode.data() + mode.size(), q.mode, 8);
      if (error != std::errc() || end != mode.data() + mode.size() || q.mode > 07777)
        return send_error(reply, {ErrorCode::kUsage, "mode is an octal number such as 0644"}, id);
    }
    for (const auto& [name, to] : {std::pair{"offset", &q.offset}, {"limit", &q.limit}})
      if (const std::string text = query_value(r.query, name); !text.empty()) {
        const auto v = whole(text);
        if (!v || (to == &q.limit && *v > (64 << 20)))
          return send_error(
              reply, {ErrorCode::kUsage, fmt::format("{} is a whole number; a read has at most 64 MiB", name)}, id);
        *to = *v;
      }
  } else if (r.method == "POST" && path.size() == 5) {
    const Json j = Json::parse(r.body, nullptr, false);
    const std::string& what = path[4];
    if (!j.is_object() || !j.contains("path") || !j["path"].is_string())
      return send_error(reply, {ErrorCode::kUsage, fmt::format("files/{:.20}: 'path' must be a string", what)}, id);
    q.path = j["path"].get<std::string>();
    q.recursive = j.contains("recursive") && j["recursive"] == true;
    if (what == "list")
      q.kind = Kind::kList;
    else if (what == "stat")
      q.kind = Kind::kStat;
    else if (what == "remove")
      q.kind = Kind::kRemove;
    else if (what == "mkdir")
      q.kind = Kind::kMakeFolder;
    else
      return send_error(reply, {ErrorCode::kNotFound, fmt::format("there is nothing at {:.200}", r.path)}, id);
  } else {
    return send_error(reply,
                      {ErrorCode::kNotFound, fmt::format("there is nothing at {:.10} {:.200}", r.method, r.path)}, id);
  }
  auto used = edge_.use(id);
  if (!used) return send_error(reply, used.error(), id);
  Agent& agent = used->agent();
  const bool whole_file = q.kind == Kind::kRead && query_value(r.query, "limit").empty();
  agent.file(q, [reply, id, kind = q.kind, whole_file, limit = q.limit, name = q.path,
                 held = std::make_shared<Edge::Use>(std::move(*used))](Result<FileAnswer> a) {
    if (!a) return send_error(reply, a.error(), id);
    if (kind == Kind::kRead) {
      if (static_cast<std::int64_t>(a->data.size()) > limit) {
        if (whole_file)
          return send_error(
              reply,
              {ErrorCode::kUsage,
               fmt::format("{} has more than {} MiB; read it in pieces with offset and limit", name, limit >> 20)},
              id);
        a->data.resize(static_cast<std::size_t>(limit));
      }
      return reply->send(200, "application/octet-stream", std::move(a->data));
    }
    if (kind == Kind::kList) {
      std::string rows;
      for (const FileInfo& i : a->files) rows += (rows.empty() ? "" : ",") + file_info_json(i);
      return send_json(reply, "{\"files\":[" + rows + "]}");
    }
    send_json(reply, kind == Kind::kStat || kind == Kind::kWrite ? file_info_json(a->info) : "{}");
  });
}

void EdgeApi::session_call(const ApiRequest& r, const std::vector<std::string>& path,
                           const std::shared_ptr<ApiReply>& reply) {
  const std::string& id = path[2];
  if (r.method == "POST" && path.size() == 4) {
    ExecRequest shell;
    if (!r.body.empty()) {
      const Json j = Json::parse(r.body, nullptr, false);
      Json asked = j.is_object() ? j : Json::object();
      if (!asked.contains("argv")) asked["argv"] = {"/bin/sh"};
      const auto call = parse_exec(text_of(asked));
      if (!j.is_object() || !call)
        return send_error(reply, call ? Error{ErrorCode::kUsage, "sessions: the body is not an object"} : call.error(),
                          id);
      shell = call->request;
    }
    const auto name = sessions_->open(id, shell);
    if (!name) return send_error(reply, name.error(), id);
    return send_json(reply, text_of(Json{{"session", *name}}), 201);
  }
  if (r.method == "DELETE" && path.size() == 5) {
    if (const Status done = sessions_->close(id, path[4]); !done) return send_error(reply, done.error(), id);
    return send_json(reply, "{}");
  }
  if (r.method == "POST" && path.size() == 6 && path[5] == "run") {
    const auto call = parse_exec(r.body);
    if (!call) return send_error(reply, call.error(), id);
    const ExecRequest& q = call->request;
    if (q.argv.size() != 3 || q.argv[1] != "-c")
      return send_error(reply, {ErrorCode::kUsage, "run: a session takes 'shell', a line for its shell"}, id);
    sessions_->run(id, path[4], {q.argv[2], q.timeout_s, q.output_bytes},
                   [reply, id, s = path[4]](Result<ExecResult> result) {
                     if (!result) return send_error(reply, result.error(), id, s);
                     send_json(reply, result_json(s, *result));
                   });
    return;
  }
  send_error(reply, {ErrorCode::kNotFound, fmt::format("there is nothing at {:.10} {:.200}", r.method, r.path)}, id);
}

}  // namespace hadal::sandbox
