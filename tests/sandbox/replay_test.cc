// Calls of a trajectory in a world that forgets nothing: a log that loses what was not synced, agents that outlive the
// edge, and crashes at every point between them.
#include "sandbox/replay/replay.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "sandbox/digest.h"
#include "sandbox/log/rules.h"

namespace hadal::sandbox {
namespace {

using Json = nlohmann::json;

struct Crash {};  // the edge dies here
using Hook = std::function<void(const std::string& point)>;

class MemoryLog final : public TrajectoryLog {
 public:
  Result<Appended> append(std::string_view trajectory, RecordType type, std::string body) override {
    if (full && (type == RecordType::kIntent || type == RecordType::kOpen))
      return fail(ErrorCode::kBusy, "the disk is full");
    HADAL_CHECK_OK(rules_[std::string(trajectory)].accept(type, body));
    Record r;
    r.type = type;
    r.lsn = records_.size() + 1;
    r.trajectory = trajectory;
    r.body = std::move(body);
    records_.push_back(r);
    return Appended{r.lsn, rules_[r.trajectory].records()};
  }
  Status sync(std::uint64_t) override {
    std::string what;
    for (std::size_t i = durable_; i < records_.size(); ++i) what += std::string(record_name(records_[i].type)) + " ";
    if (hook) hook("before " + what);
    durable_ = records_.size();
    if (hook) hook("after " + what);
    return {};
  }
  Result<std::vector<Record>> read(std::string_view trajectory) const override {
    std::vector<Record> mine;
    for (const Record& r : records_)
      if (r.trajectory == trajectory) mine.push_back(r);
    return mine;
  }
  std::vector<std::string> trajectories() const override {
    std::set<std::string> names;
    for (const Record& r : records_) names.insert(r.trajectory);
    return {names.begin(), names.end()};
  }
  // What was not durable may be there or not, from some record on not.
  void crash(std::size_t kept) {
    records_.resize(durable_ + std::min(kept, records_.size() - durable_));
    durable_ = records_.size();
    rules_.clear();
    for (const Record& r : records_) ASSERT_TRUE(rules_[r.trajectory].accept(r.type, r.body));
  }
  bool durably(RecordType type, std::uint64_t seq, const char* field, const Json& value) const {
    for (std::size_t i = 0; i < durable_; ++i) {
      const Json body = Json::parse(records_[i].body);
      if (records_[i].type == type && body.value("seq", 0ULL) == seq && body.contains(field) && body[field] == value)
        return true;
    }
    return false;
  }
  // Calls before `seq` that have no end in the log.
  int open_before(std::uint64_t seq) const {
    std::set<std::uint64_t> open;
    for (const Record& r : records_) {
      const Json body = Json::parse(r.body);
      if (r.type == RecordType::kIntent && body["seq"] < seq) open.insert(body["seq"].get<std::uint64_t>());
      if (r.type == RecordType::kDone || r.type == RecordType::kLost) open.erase(body["seq"].get<std::uint64_t>());
    }
    return static_cast<int>(open.size());
  }

  bool full = false;
  Hook hook;

 private:
  std::vector<Record> records_;
  std::size_t durable_ = 0;
  std::map<std::string, TrajectoryRules> rules_;
};

// One sandbox and its agent. A command adds its name to the effects and draws a number.
class World final : public Executor {
 public:
  explicit World(MemoryLog& log) : log_(log) {}

  Result<std::string> boot(const std::string&) override {
    if (!alive) return fail(ErrorCode::kBadInput, "the sandbox has failed");
    return "boot-" + std::to_string(boots);
  }
  Status start(const std::string&, const std::string& name, const std::string& request, bool,
               std::shared_ptr<RunSink> sink) override {
    if (hook) hook("before start");
    if (!alive) return fail(ErrorCode::kBadInput, "the sandbox has failed");
    const auto known = operations.find(name);
    if (known != operations.end()) {
      if (known->second.running)
        known->second.sinks.push_back(sink);
      else
        sink->ended(known->second.result);
      return {};
    }
    const std::uint64_t seq = std::stoull(name.substr(name.find('#') + 1));
    const std::uint64_t attempt = std::stoull(name.substr(name.rfind('.') + 1));
    EXPECT_TRUE(log_.durably(RecordType::kIntent, seq, "attempt", attempt)) << "L2: told before its INTENT is durable";
    if (ordered) {
      EXPECT_EQ(log_.open_before(seq), 0) << "P3: begun before those before it had ended";
    }
    ++runs[name];
    effects.push_back(name);
    requests[name] = request;
    operations[name] = {true, "", {sink}};
    sink->started(1);
    if (hook) hook("after start");
    return {};
  }
  void follow(const std::string&, const std::string& name, std::shared_ptr<RunSink> sink) override {
    const auto it = operations.find(name);
    if (it == operations.end()) return sink->failed("not known");
    if (!it->second.running) return sink->ended(it->second.result);
    it->second.sinks.push_back(std::move(sink));
  }
  void forget(const std::string&, const std::string& name) override { operations.erase(name); }

  // The longest running command ends.
  void progress() {
    for (auto& [name, o] : operations) {
      if (!o.running) continue;
      o.running = false;
      o.result = Json{{"number", random()}, {"effects", effects.size()}, {"big", std::string(big, 'x')}}.dump();
      const auto sinks = std::exchange(o.sinks, {});
      for (const auto& s : sinks) s->ended(o.result);
      return;
    }
  }
  void edge_died() {
    for (auto& [name, o] : operations) o.sinks.clear();
  }
  void die() {
    alive = false;
    lose();
  }
  void reboot() {
    ++boots;
    alive = true;
    lose();
  }
  int total_runs() const {
    int n = 0;
    for (const auto& [name, k] : runs) n += k;
    return n;
  }

  struct Operation {
    bool running = false;
    std::string result;
    std::vector<std::shared_ptr<RunSink>> sinks;
  };
  bool alive = true, ordered = true;
  int boots = 1;
  std::size_t big = 0;
  std::map<std::string, Operation> operations;
  std::map<std::string, int> runs;
  std::map<std::string, std::string> requests;
  std::vector<std::string> effects;
  std::mt19937_64 random;
  Hook hook;

 private:
  void lose() {
    const auto lost = std::exchange(operations, {});
    for (const auto& [name, o] : lost)
      for (const auto& s : o.sinks) s->failed("the agent is gone");
  }
  MemoryLog& log_;
};

struct Answer final : ReplayWaiter {
  void answered(const ReplayAnswer& a) override {
    ++ends;
    answer = a;
  }
  void refused(const Refusal& r) override {
    ++ends;
    refusal = r;
  }
  bool done() const { return ends > 0; }
  std::string_view code() const { return refusal ? fault_row(refusal->fault).code : ""; }
  int ends = 0;
  std::optional<ReplayAnswer> answer;
  std::optional<Refusal> refusal;
};

class ReplayTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/hadal_replay_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    reset();
  }
  void TearDown() override {
    replay_.reset();
    std::filesystem::remove_all(folder_);
  }
  void reset() {
    replay_.reset();
    log_ = std::make_unique<MemoryLog>();
    world_ = std::make_unique<World>(*log_);
    open();
  }
  void open() {
    auto blobs = Blobs::open(folder_);
    ASSERT_TRUE(blobs);
    auto r = Replay::open(*log_, *blobs, *world_);
    ASSERT_TRUE(r) << r.error().what;
    replay_ = *r;
    const Status settled = replay_->settle();
    ASSERT_TRUE(settled) << settled.error().what;
  }
  // kill -9 of the edge, and the next one.
  void crash(std::size_t kept = 0) {
    log_->hook = world_->hook = nullptr;
    replay_.reset();
    world_->edge_died();
    log_->crash(kept);
    open();
  }
  std::uint64_t attach() {
    AttachRequest q;
    q.trajectory = "t";
    q.sandbox = "sb";
    const auto a = replay_->attach(q);
    EXPECT_TRUE(a) << a.error().message;
    return a ? a->epoch : 0;
  }
  std::shared_ptr<Answer> call(std::uint64_t epoch, std::uint64_t seq, const std::string& op = "",
                               const std::string& what = "", bool idempotent = false) {
    ReplayCall c;
    c.trajectory = "t";
    c.epoch = epoch;
    c.seq = seq;
    c.op = op;
    c.request = Json{{"do", what.empty() ? (op.empty() ? std::to_string(seq) : op) : what}}.dump();
    c.idempotent = idempotent;
    auto answer = std::make_shared<Answer>();
    replay_->submit(c, answer);
    return answer;
  }
  void finish() {
    world_->progress();
    replay_->commit();
  }

  std::string folder_;
  std::unique_ptr<MemoryLog> log_;
  std::unique_ptr<World> world_;
  std::shared_ptr<Replay> replay_;
};

TEST_F(ReplayTest, AnswersTheSecondTimeFromTheLog) {
  for (const std::size_t big : {std::size_t{0}, std::size_t{100000}}) {
    reset();
    world_->big = big;
    const auto epoch = attach();
    const auto first = call(epoch, 1);
    EXPECT_FALSE(first->done());
    finish();
    ASSERT_TRUE(first->answer);
    EXPECT_EQ(first->answer->source, Source::kLive);
    crash();
    const auto again = call(attach(), 1);
    ASSERT_TRUE(again->answer) << again->code();
    EXPECT_EQ(again->answer->source, Source::kLog);
    EXPECT_EQ(again->answer->result, first->answer->result);
    EXPECT_EQ(again->answer->digest, sha256_hex(first->answer->result));
    EXPECT_EQ(world_->total_runs(), 1);
  }
}

TEST_F(ReplayTest, RefusesWhatDiffersComesTooEarlyOrTooLate) {
  const auto epoch = attach();
  const auto first = call(epoch, 1);
  EXPECT_EQ(call(epoch, 2)->code(), "conflict") << "the first still runs";
  finish();
  EXPECT_EQ(call(epoch, 1, "", "other")->code(), "replay_mismatch");
  EXPECT_EQ(call(epoch, 3)->code(), "sequence_gap");
  EXPECT_EQ(call(epoch + 1, 2)->code(), "invalid_request");
  EXPECT_EQ(call(epoch, 0)->code(), "invalid_request") << "neither place nor key";
  const auto later = attach();
  EXPECT_EQ(call(epoch, 1)->code(), "stale_epoch");
  EXPECT_TRUE(call(later, 1)->answer);
  log_->full = true;
  EXPECT_EQ(call(later, 2)->code(), "log_full");
  log_->full = false;
  world_->alive = false;
  EXPECT_EQ(call(later, 2)->code(), "agent_lost");
  EXPECT_TRUE(call(later, 1)->answer) << "the log needs no sandbox";
  EXPECT_EQ(world_->total_runs(), 1);
  ReplayCall unknown;
  unknown.trajectory = "nobody";
  const auto answer = std::make_shared<Answer>();
  replay_->submit(unknown, answer);
  EXPECT_EQ(answer->code(), "not_found");
}

TEST_F(ReplayTest, SaysWhenAClientHasSeenMoreThanTheLogHolds) {
  const auto epoch = attach();
  const auto first = call(epoch, 1);
  finish();
  AttachRequest q;
  q.trajectory = "t";
  q.last_seq = 1;
  q.last_digest = first->answer->digest;
  EXPECT_TRUE(replay_->attach(q));
  q.last_digest = sha256_hex("another");
  EXPECT_EQ(replay_->attach(q).error().fault, Fault::kHistoryLost);
  q.last_digest.clear();
  q.last_seq = 2;
  EXPECT_EQ(replay_->attach(q).error().fault, Fault::kHistoryLost);
}

TEST_F(ReplayTest, RunsKeyedCallsSideBySide) {
  world_->ordered = false;
  const auto epoch = attach();
  const auto a = call(epoch, 0, "a"), b = call(epoch, 0, "b"), same = call(epoch, 0, "a");
  finish();
  finish();
  ASSERT_TRUE(a->answer && b->answer && same->answer);
  EXPECT_EQ(same->answer->source, Source::kAttached);
  EXPECT_EQ(same->answer->result, a->answer->result);
  EXPECT_EQ(world_->total_runs(), 2);
}

TEST_F(ReplayTest, ClosesWithItsSandbox) {
  const auto epoch = attach();
  const auto first = call(epoch, 1);
  finish();
  const auto second = call(epoch, 2);
  ASSERT_TRUE(replay_->close("sb"));
  EXPECT_EQ(second->code(), "outcome_unknown");
  EXPECT_TRUE(call(epoch, 1)->answer);
  EXPECT_EQ(call(epoch, 3)->code(), "gone");
}

// The kill matrix of one call: who dies, where, and how often the command may have run then.
struct Cell {
  const char *point, *actor;
  int runs;
  const char* outcome;  // of asking again: an answer ("live", "log", "attached") or a code
};
std::string cell_name(const testing::TestParamInfo<Cell>& info) {
  std::string name = std::string(info.param.actor) + "_" + info.param.point;
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name;
}

class KillMatrix : public ReplayTest, public testing::WithParamInterface<Cell> {};

TEST_P(KillMatrix, HasEachEffectOnce) {
  const Cell& cell = GetParam();
  const std::string actor = cell.actor;
  auto epoch = attach();
  const auto at = [&](const std::string& where, const std::string& point) {
    if (point.find(where) == std::string::npos) return;
    log_->hook = world_->hook = nullptr;
    if (actor == "sandbox") world_->die();
    if (actor == "edge") throw Crash();
    if (actor == "disk") log_->full = true;
  };
  const std::string point = cell.point;
  const std::map<std::string, std::string> places = {{"before INTENT is durable", "before INTENT"},
                                                     {"INTENT durable, not sent", "after INTENT"},
                                                     {"sent", "after start"},
                                                     {"exited, DONE not durable", "DONE"},
                                                     {"DONE durable, not answered", "DONE"}};
  const bool ends = point.find("DONE") != std::string::npos;
  if (const auto place = places.find(point); place != places.end() && actor != "client") {
    const std::string edge = ends ? (point.starts_with("DONE") ? "after " : "before ") : "";
    const Hook hook = [&, edge, where = place->second](const std::string& p) {
      if (p.starts_with(edge)) at(where, p);
    };
    log_->hook = world_->hook = hook;
  }
  if (actor == "disk" && point == "before INTENT is durable") log_->full = true;
  std::shared_ptr<Answer> first;
  std::string seen;
  try {
    first = call(epoch, 1);
    if (point == "running" && actor == "sandbox") world_->die();
    if (point == "running" && actor == "edge") throw Crash();
    if (point == "running" && actor == "disk") log_->full = true;
    if (ends || point == "answered")
      finish();
    else
      replay_->commit();
    if (first->answer) seen = first->answer->result;
    if (point == "answered" && actor == "sandbox") world_->die();
    if (point == "answered" && actor == "edge") throw Crash();
  } catch (const Crash&) {
    crash();
  }
  epoch = attach();  // the client is another one, whoever died
  if (actor == "disk" && point == "running") finish();
  const auto again = call(epoch, 1);
  if (!again->done()) finish();
  ASSERT_EQ(again->ends, 1);
  if (again->answer)
    EXPECT_EQ(source_name(again->answer->source), cell.outcome);
  else
    EXPECT_EQ(again->code(), cell.outcome) << again->refusal->message;
  EXPECT_EQ(world_->total_runs(), cell.runs);
  if (again->answer && !seen.empty()) {
    EXPECT_EQ(again->answer->result, seen);
  }
}

INSTANTIATE_TEST_SUITE_P(
    OneCall, KillMatrix,
    testing::Values(Cell{"before INTENT is durable", "edge", 1, "live"},
                    Cell{"INTENT durable, not sent", "edge", 1, "attached"}, Cell{"sent", "edge", 1, "attached"},
                    Cell{"running", "edge", 1, "attached"}, Cell{"exited, DONE not durable", "edge", 1, "attached"},
                    Cell{"DONE durable, not answered", "edge", 1, "log"}, Cell{"answered", "edge", 1, "log"},
                    Cell{"before INTENT is durable", "sandbox", 0, "outcome_unknown"},
                    Cell{"INTENT durable, not sent", "sandbox", 0, "outcome_unknown"},
                    Cell{"sent", "sandbox", 1, "outcome_unknown"}, Cell{"running", "sandbox", 1, "outcome_unknown"},
                    Cell{"exited, DONE not durable", "sandbox", 1, "log"},
                    Cell{"DONE durable, not answered", "sandbox", 1, "log"}, Cell{"answered", "sandbox", 1, "log"},
                    Cell{"sent", "client", 1, "attached"}, Cell{"running", "client", 1, "attached"},
                    Cell{"exited, DONE not durable", "client", 1, "log"}, Cell{"answered", "client", 1, "log"},
                    Cell{"before INTENT is durable", "disk", 0, "log_full"}, Cell{"running", "disk", 1, "log"}),
    cell_name);

// One random client program against random deaths. Returns whether it came to its end.
struct Tally {
  int crashes = 0, lost = 0, repeated = 0, from_log = 0, finished = 0;
};

class RandomPrograms : public ReplayTest {
 protected:
  void program(unsigned seed, Tally& tally) {
    reset();
    std::mt19937 random(seed);
    const auto below = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
    world_->random.seed(seed);
    world_->big = below(4) == 0 ? 6000 : 0;
    const bool ordered = world_->ordered = below(2) == 0;
    const std::uint64_t calls = 3 + below(8);
    std::set<std::uint64_t> idempotent;
    for (std::uint64_t i = 1; i <= calls; ++i)
      if (below(4) == 0) idempotent.insert(i);
    std::map<std::uint64_t, std::string> seen;
    std::map<std::uint64_t, std::shared_ptr<Answer>> open;
    std::uint64_t epoch = attach(), at = 1;
    const auto ask = [&](std::uint64_t e, std::uint64_t i, const std::string& what = "") {
      return ordered ? call(e, i, "", what, idempotent.contains(i))
                     : call(e, 0, "op" + std::to_string(i), what, idempotent.contains(i));
    };
    const auto look = [&] {
      for (auto it = open.begin(); it != open.end();) {
        const auto& [i, a] = *it;
        ASSERT_LE(a->ends, 1);
        if (!a->done()) {
          ++it;
          continue;
        }
        if (a->answer) {
          const std::string bytes = a->answer->result;
          EXPECT_TRUE(log_->durably(RecordType::kDone, a->answer->seq, "digest", sha256_hex(bytes))) << "L3";
          const auto [known, fresh] = seen.emplace(i, bytes);
          EXPECT_EQ(known->second, bytes) << "P2: another result for call " << i;
          tally.from_log += a->answer->source == Source::kLog;
          if (i == at) ++at;
        } else {
          EXPECT_EQ(a->code(), "outcome_unknown") << a->refusal->message;
          EXPECT_FALSE(seen.contains(i)) << "P2: a result was seen and is not known now";
          ++tally.lost;
          // An idempotent one is asked for again; the others are given up.
          if (i == at && !idempotent.contains(i)) ++at;
        }
        it = open.erase(it);
      }
    };
    for (int step = 0; step < 600 && at <= calls; ++step) {
      int countdown = below(6) == 0 ? static_cast<int>(below(4)) : -1;
      const Hook hook = [&countdown](const std::string&) {
        if (countdown-- == 0) throw Crash();
      };
      log_->hook = world_->hook = hook;
      try {
        switch (below(8)) {
          case 0:
          case 1:
          case 2:
            if (!open.contains(at)) open[at] = ask(epoch, at);
            if (!ordered && at < calls && !open.contains(at + 1)) open[at + 1] = ask(epoch, at + 1);
            break;
          case 3:
            world_->progress();
            break;
          case 4:
            replay_->commit();
            break;
          case 5:  // another client, from the beginning
            if (below(4) != 0) break;
            open.clear();
            at = 1;
            epoch = attach();
            break;
          case 6:
            if (below(8) == 0) world_->reboot();
            break;
          case 7: {
            const int before = world_->total_runs();
            if (epoch > 1) {
              EXPECT_EQ(ask(epoch - 1, at)->code(), "stale_epoch") << "P6";
            }
            if (!seen.empty()) {
              EXPECT_EQ(ask(epoch, seen.begin()->first, "something else")->code(), "replay_mismatch") << "P5";
            }
            EXPECT_EQ(world_->total_runs(), before);
            break;
          }
        }
        look();
      } catch (const Crash&) {
        ++tally.crashes;
        crash(below(3));
        open.clear();
        at = 1;
        epoch = attach();
      }
    }
    tally.finished += at > calls;
    for (const auto& [name, n] : world_->runs) {
      EXPECT_EQ(n, 1) << "P1: " << name;
      if (!name.ends_with(".1")) {
        ++tally.repeated;
        const std::uint64_t seq = std::stoull(name.substr(name.find('#') + 1));
        const Json request = Json::parse(world_->requests[name]);
        const std::string what = request["do"];
        const std::uint64_t i = ordered ? seq : std::stoull(what.substr(2));
        EXPECT_TRUE(idempotent.contains(i)) << "P4: run again without being asked to: " << name;
      }
    }
  }
};

TEST_F(RandomPrograms, KeepThePromises) {
  Tally tally;
  for (unsigned seed = 1; seed <= 1000 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    program(seed, tally);
  }
  // The programs must have met what they are for.
  EXPECT_GT(tally.crashes, 1000);
  EXPECT_GT(tally.lost, 100);
  EXPECT_GT(tally.repeated, 20);
  EXPECT_GT(tally.from_log, 1000);
  EXPECT_GT(tally.finished, 900);
}

}  // namespace
}  // namespace hadal::sandbox
