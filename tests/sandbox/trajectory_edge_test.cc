// Logged calls against real containers, with the edge killed between them.
#include <condition_variable>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "sandbox/edge/api.h"
#include "sandbox/edge/edge_executor.h"
#include "sandbox/log/file_log.h"
#include "sandbox/support.h"

namespace hadal::sandbox {
namespace {

using Json = nlohmann::json;

class Reply final : public ApiReply {
 public:
  void send(int status, const std::string&, std::string body) override {
    const std::lock_guard lock(mutex_);
    status_ = status;
    body_ = std::move(body);
    done_ = true;
    wake_.notify_all();
  }
  void start() override { status_ = 200; }
  void event(const std::string& name, const std::string& json) override {
    const std::lock_guard lock(mutex_);
    events_.emplace_back(name, Json::parse(json));
  }
  void finish() override { send(200, "", "{}"); }
  std::size_t unsent() const override { return 0; }
  Json wait() {
    std::unique_lock lock(mutex_);
    if (!wake_.wait_for(lock, std::chrono::seconds(30), [this] { return done_; })) return {{"error", "no answer"}};
    return Json::parse(body_, nullptr, false);
  }
  int status_ = 0;
  std::string body_;
  std::vector<std::pair<std::string, Json>> events_;

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
};

class TrajectoryEdge : public ContainerTest {
 protected:
  void SetUp() override {
    ContainerTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    open(std::move(substrate_));
  }
  void TearDown() override {
    kill_edge();
    if (!folder_.empty() && !IsSkipped()) substrate_ = substrate();
    ContainerTest::TearDown();
  }
  std::unique_ptr<Substrate> substrate() {
    ContainerOptions options;
    options.data = folder_ + "/data";
    options.keeper = keeper_program();
    auto opened = open_containers(options);
    EXPECT_TRUE(opened);
    return opened ? std::move(*opened) : nullptr;
  }
  void open(std::unique_ptr<Substrate> substrate) {
    EdgeOptions options;
    options.data = folder_ + "/data";
    std::vector<std::unique_ptr<Substrate>> all;
    all.push_back(std::move(substrate));
    auto edge = Edge::open(options, std::move(all));
    ASSERT_TRUE(edge) << edge.error().what;
    edge_ = std::move(*edge);
    auto log = FileLog::open(folder_ + "/log");
    ASSERT_TRUE(log) << log.error().what;
    log_ = std::move(*log);
    executor_ = std::make_unique<EdgeExecutor>(*edge_);
    auto replay = Replay::open(*log_, *Blobs::open(folder_ + "/blobs"), *executor_);
    ASSERT_TRUE(replay);
    replay_ = *replay;
    ASSERT_TRUE(replay_->settle());
    replay_->run();
    api_ = std::make_unique<EdgeApi>(*edge_, replay_);
  }
  // What kill -9 leaves: nothing that was not synced, no goodbye to the keepers.
  void kill_edge() {
    api_.reset();
    replay_.reset();
    edge_.reset();
    executor_.reset();
    log_.reset();
  }
  std::shared_ptr<Reply> ask(const std::string& method, const std::string& path, const Json& body = nullptr) {
    auto reply = std::make_shared<Reply>();
    api_->handle({method, path, "", body.is_null() ? "" : body.dump()}, reply);
    return reply;
  }
  Json create(const std::string& trajectory) {
    return ask("POST", "/v1/sandboxes",
               {{"image", image_}, {"trajectory", trajectory}, {"resources", {{"memory_mb", 256}}}})
        ->wait();
  }
  Json call(const Json& at, int seq, const std::string& line, Json more = Json::object()) {
    more.update({{"shell", line}, {"trajectory", "t"}, {"epoch", at["epoch"]}});
    if (seq > 0) more["seq"] = seq;
    return ask("POST", "/v1/sandboxes/" + at["id"].get<std::string>() + "/exec", more)->wait();
  }

  std::unique_ptr<Edge> edge_;
  std::unique_ptr<FileLog> log_;
  std::unique_ptr<EdgeExecutor> executor_;
  std::shared_ptr<Replay> replay_;
  std::unique_ptr<EdgeApi> api_;
};

constexpr const char* kCount = "echo run >> /tmp/count; cat /proc/sys/kernel/random/uuid; cat /tmp/count";

TEST_F(TrajectoryEdge, ReplaysAcrossARestartWithoutRunningAnything) {
  const Json first = create("t");
  ASSERT_EQ(first.value("epoch", 0), 1) << first;
  const Json live = call(first, 1, kCount), big = call(first, 2, "yes | head -c 20000");
  ASSERT_EQ(live.value("source", ""), "live") << live;
  kill_edge();
  open(substrate());
  const Json second = create("t");
  EXPECT_EQ(second["id"], first["id"]) << "the same trajectory is the same sandbox";
  ASSERT_EQ(second.value("epoch", 0), 2) << second;
  EXPECT_EQ(second["next_seq"], 3);
  for (const auto& [seq, before, line] : {std::tuple{1, live, kCount}, {2, big, "yes | head -c 20000"}}) {
    Json again = call(second, seq, line);
    EXPECT_EQ(again["source"], "log") << again;
    again["source"] = "live";
    EXPECT_EQ(again, before);
  }
  EXPECT_EQ(call(first, 3, "true")["error"]["code"], "stale_epoch");
  EXPECT_EQ(call(second, 1, "rm -r /")["error"]["code"], "replay_mismatch");
  EXPECT_EQ(call(second, 3, "wc -l < /tmp/count")["stdout"], "1\n");
}

TEST_F(TrajectoryEdge, FindsACommandThatRanWhileItWasDead) {
  const Json first = create("t");
  const std::string line = "echo run >> /tmp/count; until [ -e /tmp/go ]; do sleep 0.05; done; cat /tmp/count";
  const std::string path = "/v1/sandboxes/" + first["id"].get<std::string>() + "/exec";
  ask("POST", path, {{"shell", line}, {"trajectory", "t"}, {"epoch", 1}, {"seq", 1}});
  kill_edge();
  open(substrate());
  const Json second = create("t");
  auto attached = ask("POST", path, {{"shell", line}, {"trajectory", "t"}, {"epoch", 2}, {"seq", 1}});
  ask("POST", path, {{"shell", "touch /tmp/go"}})->wait();
  const Json result = attached->wait();
  EXPECT_EQ(result["source"], "attached") << result;
  EXPECT_EQ(result["stdout"], "run\n");
  EXPECT_EQ(call(second, 1, line)["source"], "log");
}

TEST_F(TrajectoryEdge, EndsWhatRunsWithItsSandbox) {
  const Json first = create("t");
  const std::string id = first["id"];
  auto reply = ask("POST", "/v1/sandboxes/" + id + "/exec",
                   {{"shell", "sleep 100"}, {"trajectory", "t"}, {"epoch", 1}, {"seq", 1}});
  ask("DELETE", "/v1/sandboxes/" + id)->wait();
  // Its keeper may have told how it ended before it went; no third thing can be true.
  const Json end = reply->wait();
  EXPECT_TRUE(end.value("status", "") == "signalled" || end.value("status", "") == "killed" ||
              (end.contains("error") && end["error"]["code"] == "outcome_unknown"))
      << end;
  const Json again = create("t");
  EXPECT_EQ(again["error"]["code"], "gone") << again;
}

TEST_F(TrajectoryEdge, StreamsWhatWasRecorded) {
  const Json first = create("t");
  const std::string path = "/v1/sandboxes/" + first["id"].get<std::string>() + "/exec";
  const Json body = {
      {"shell", "echo one; echo two >&2"}, {"trajectory", "t"}, {"epoch", 1}, {"seq", 1}, {"stream", true}};
  for (const char* source : {"live", "log"}) {
    const auto reply = ask("POST", path, body);
    reply->wait();
    std::map<std::string, std::string> output;
    for (const auto& [name, j] : reply->events_)
      if (name == "output") output[j["stream"]] += j["base64"].get<std::string>();
    EXPECT_EQ(output["stdout"], "b25lCg==") << source;
    EXPECT_EQ(output["stderr"], "dHdvCg==") << source;
    ASSERT_FALSE(reply->events_.empty());
    EXPECT_EQ(reply->events_.back().first, "end");
    EXPECT_EQ(reply->events_.back().second["source"], source);
    EXPECT_EQ(reply->events_.back().second["stdout_bytes"], 4);
  }
}

TEST_F(TrajectoryEdge, ShowsItsRecords) {
  const Json first = create("t");
  call(first, 1, "true");
  const auto reply = ask("GET", "/v1/trajectories/t/records");
  reply->wait();
  std::istringstream lines(reply->body_);
  std::string types;
  for (std::string line; std::getline(lines, line);) types += Json::parse(line)["type"].get<std::string>() + " ";
  EXPECT_EQ(types, "OPEN EPOCH INTENT STARTED DONE ");
  EXPECT_EQ(ask("GET", "/v1/trajectories")->wait(), Json({{"trajectories", {"t"}}}));
  EXPECT_EQ(ask("GET", "/v1/trajectories/none/records")->wait()["error"]["code"], "not_found");
  EXPECT_EQ(ask("POST", "/v1/trajectories/none/attach")->wait()["error"]["code"], "not_found");
  EXPECT_EQ(ask("POST", "/v1/trajectories/t/attach", {{"sandbx", "x"}})->wait()["error"]["code"], "invalid_request");
  EXPECT_EQ(call(first, 2, "true", {{"background", true}})["error"]["code"], "unsupported");
}

}  // namespace
}  // namespace hadal::sandbox
