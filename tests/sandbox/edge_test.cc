#include "sandbox/edge/edge.h"

#include <gtest/gtest.h>

#include <thread>

#include "sandbox/container/head_tail.h"
#include "sandbox/container/keeper_wire.h"
#include "sandbox/edge/api.h"
#include "sandbox/edge/spec_json.h"
#include "sandbox/edge/text.h"
#include "sandbox/probe/doctor.h"

namespace hadal::sandbox {
namespace {

TEST(States, FollowTheTable) {
  EXPECT_TRUE(may_follow(State::kCreating, State::kRunning));
  EXPECT_TRUE(may_follow(State::kRunning, State::kFailed));
  EXPECT_FALSE(may_follow(State::kPaused, State::kRunning)) << "it resumes first";
  EXPECT_FALSE(may_follow(State::kClosed, State::kFailed));
}

TEST(Admission, NamesWhatIsFull) {
  EdgeOptions o;
  o.host_cpus = 2;
  o.host_memory_bytes = std::int64_t{4} << 30;
  o.most_sandboxes = 10;
  const std::int64_t free = std::int64_t{3} << 30;
  CreateSpec s;
  EXPECT_TRUE(may_enter(o, {}, s, free));
  EXPECT_EQ(may_enter(o, {0, 0, 10}, s, free).error().code, ErrorCode::kBusy);
  EXPECT_TRUE(may_enter(o, {31, 0, 1}, s, free)) << "16 times 2 processors";
  EXPECT_EQ(may_enter(o, {31.5, 0, 1}, s, free).error().code, ErrorCode::kBusy);
  s.qos = Qos::kLatency;  // its whole 2 GiB count
  EXPECT_TRUE(may_enter(o, {0, 1e9, 1}, s, free));
  EXPECT_EQ(may_enter(o, {0, 2e9, 1}, s, free).error().code, ErrorCode::kBusy);
  EXPECT_EQ(may_enter(o, {}, s, 100 << 20).error().code, ErrorCode::kBusy) << "the floor";
  s.resources.cpus = 3;
  EXPECT_EQ(may_enter(o, {}, s, free).error().code, ErrorCode::kUsage) << "never, so not 'try again'";
}

TEST(Requests, AreReadStrictly) {
  const auto spec =
      parse_create(R"({"image":"/i","resources":{"cpus":0.5,"memory_mb":64},"ttl":{"idle_s":1,"on_idle":"stop"}})");
  ASSERT_TRUE(spec) << spec.error().what;
  EXPECT_EQ(spec->resources.memory_bytes, 64 << 20);
  EXPECT_TRUE(spec->ttl.stop_on_idle);
  const auto again = parse_create(create_json(*spec));
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ(create_json(*again), create_json(*spec));
  EXPECT_EQ(parse_create(R"({"imge":"/i"})").error().what, "create: there is no field 'imge'");
  EXPECT_EQ(parse_create(R"({"resources":{"disk_mb":5}})").error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(parse_create(R"({"network":{"allow":["pypi"]}})").error().code, ErrorCode::kUnsupported);
  for (const char* bad : {"", "[]", "{", R"({"resources":{"cpus":-1}})", R"({"resources":{"cpus":1e999}})",
                          R"({"resources":{"memory_mb":18446744073709551615}})", R"({"substrate":"docker"})",
                          R"({"files":[{"path":"a"}]})", R"({"env":{"A=B":"c"}})"})
    EXPECT_FALSE(parse_create(bad)) << bad;
  const auto call = parse_exec(R"({"shell":"ls","timeout_s":0})");
  ASSERT_TRUE(call);
  EXPECT_EQ(call->request.argv, (std::vector<std::string>{"/bin/sh", "-c", "ls"}));
  for (const char* bad : {"{}", R"({"argv":[]})", R"({"argv":["a\u0000b"]})", R"({"argv":["a"],"shell":"b"})",
                          R"({"argv":["a"],"stdin_base64":"?"})", R"({"argv":["a"],"timeout_s":-1})"})
    EXPECT_FALSE(parse_exec(bad)) << bad;
}

TEST(Results, KeepEveryByte) {
  ExecResult r;
  r.status = ExecStatus::kExited;
  r.exit_code = 0;
  r.out = {"caf\xc3\xa9", "", 5};
  r.err = {std::string("\xff\x00", 2), "end", 100};
  const std::string json = result_json("op", r);
  EXPECT_NE(json.find("\"stdout\":\"caf\xc3\xa9\""), std::string::npos) << json;
  EXPECT_NE(json.find("\"stderr_base64\":\"/wA=\""), std::string::npos) << json;
  EXPECT_NE(json.find("\"stderr_dropped\":95"), std::string::npos) << json;
  EXPECT_EQ(from_base64("/wA="), std::string("\xff\x00", 2));
  EXPECT_FALSE(from_base64("/wA"));
  EXPECT_FALSE(from_base64("=wA="));
  EXPECT_EQ(query_value("a=1&path=%2Ftmp%2Fa+b", "path"), "/tmp/a b");
}

TEST(HeadTailOutput, IsWhatCameFirstAndLast) {
  std::string all;
  for (int i = 0; i < 500; ++i) all += std::to_string(i) + ",";
  for (const std::int64_t limit : {0, 1, 2, 7, 100, 5000})
    for (const std::size_t step : {1u, 3u, 50u, 4000u}) {
      HeadTail h(limit);
      for (std::size_t at = 0; at < all.size(); at += step) h.append(std::string_view(all).substr(at, step));
      EXPECT_EQ(h.total(), static_cast<std::int64_t>(all.size()));
      EXPECT_LE(h.kept(), limit);
      std::int64_t at = 0, got = 0;
      for (;;) {
        const HeadTail::Piece p = h.read(at, 13);
        if (p.bytes.empty()) break;
        EXPECT_EQ(p.bytes, std::string_view(all).substr(static_cast<std::size_t>(p.offset), p.bytes.size()));
        got += static_cast<std::int64_t>(p.bytes.size());
        at = p.offset + static_cast<std::int64_t>(p.bytes.size());
      }
      EXPECT_EQ(got, std::min(limit, h.total())) << limit << " " << step;
    }
}

TEST(KeeperFrames, SurviveEveryCutAndRefuseEveryFlip) {
  std::string bytes;
  append_frame(bytes, KeeperMessage::kStart, 7, "{\"a\":1}");
  append_frame(bytes, KeeperMessage::kOutput, 8, "", kFlagErr);
  KeeperReader reader;
  int seen = 0;
  for (const char c : bytes) {
    reader.feed({&c, 1});
    const auto frame = reader.next();
    ASSERT_TRUE(frame);
    if (*frame) {
      EXPECT_EQ((*frame)->stream, static_cast<std::uint32_t>(7 + seen++));
    }
  }
  EXPECT_EQ(seen, 2);
  for (std::size_t bit = 0; bit < (kHeaderBytes + 7) * 8; ++bit) {
    std::string broken = bytes;
    broken[bit / 8] = static_cast<char>(broken[bit / 8] ^ (1 << bit % 8));
    KeeperReader r;
    r.feed(broken);
    const auto frame = r.next();
    EXPECT_FALSE(frame && *frame) << bit;  // an error, or a length that has not arrived
  }
}

TEST(Doctor, RefusesASlowKvm) {
  EXPECT_TRUE(judge_kvm(3e9).available);
  const Capability slow = judge_kvm(2e6);
  EXPECT_FALSE(slow.available);
  EXPECT_NE(slow.detail.find("2.0 M instructions/s"), std::string::npos);
  EXPECT_FALSE(slow.remedy.empty());
  EXPECT_FALSE(judge_kvm(fail(ErrorCode::kUnsupported, "no")).available);
}

TEST(Errors, SayWhoseFaultItIs) {
  EXPECT_EQ(api_error({ErrorCode::kBusy, "full"}).status, 503);
  EXPECT_NE(api_error({ErrorCode::kBusy, "full"}).body.find("\"blame\":\"capacity\""), std::string::npos);
  EXPECT_EQ(api_error({ErrorCode::kNotFound, "no"}).status, 404);
  EXPECT_NE(api_error({ErrorCode::kIo, "x"}, "sb_1").body.find("\"sandbox\":\"sb_1\""), std::string::npos);
}

}  // namespace
}  // namespace hadal::sandbox
