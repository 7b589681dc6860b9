#include "sessions/session_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/clock.h"
#include "sessions/log_model.h"
#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

using test::never;
using test::plain_header;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<TokenId> ids(std::initializer_list<int> list) {
  std::vector<TokenId> out;
  for (int i : list) out.push_back(TokenId{i});
  return out;
}

class SessionLogTest : public testing::Test {
 protected:
  std::string read() const {
    std::ostringstream s;
    s << std::ifstream(path_, std::ios::binary).rdbuf();
    return s.str();
  }
  void write(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }
  // A log with one record of every type; gives where each record begins, and the end.
  std::vector<std::int64_t> write_every_type() const {
    auto log = SessionLog::create(path_, plain_header(), never());
    EXPECT_TRUE(log) << log.error().what;
    std::vector<std::int64_t> at = {log->file_bytes()};
    const auto done = [&](const Status& s) {
      EXPECT_TRUE(s) << s.error().what;
      at.push_back(log->file_bytes());
    };
    done(log->append(TokenOrigin::kPrompt, ids({5, 6, 7})));
    done(log->add_mark(MessageRole::kUser, 3));
    LoggedSampling sampling;
    sampling.options.temperature = 0.5;
    sampling.options.seed = 42;
    sampling.options.stop_ids = ids({1});
    sampling.options.forbidden = {{100, 128}};
    sampling.stream = 3;
    done(log->set_sampling(sampling));
    LoggedJob job;
    job.id = "job";
    job.prompt = 3;
    job.begun_ms = 1700000000001;
    job.stop = {"x"};
    done(log->begin_job(job, sampling));
    const Sampled sampled{TokenId{9}, -0.5, -1.5, 0};
    done(log->append({&sampled, 1}));
    done(log->append(TokenOrigin::kSpliced, ids({2})));
    done(log->add_call("call_1", 3, 2));
    JobEnd end;
    end.id = "job";
    end.finish = JobFinish::kLength;
    done(log->end_job(end));
    done(log->rewind(4));
    return at;
  }

  test::TemporaryFolder folder_;
  std::string path_ = folder_.file("session.log");
};

TEST_F(SessionLogTest, RemembersWhatWasAppended) {
  write_every_type();
  auto log = SessionLog::open(path_, never());
  ASSERT_TRUE(log) << log.error().what;
  EXPECT_EQ(log->id(), "test");
  EXPECT_EQ(log->header().identity, plain_header().identity);
  EXPECT_EQ(log->cut_bytes(), 0);
  EXPECT_THAT(log->tokens(), testing::ElementsAreArray(ids({5, 6, 7, 9})));
  EXPECT_EQ(*log->history().ids(0), ids({5, 6, 7, 9, 2}));
  const auto branches = log->history().branches();
  ASSERT_EQ(branches.size(), 2u);
  EXPECT_EQ(branches[1].parent, 0u);
  EXPECT_EQ(branches[1].from, 4);
  EXPECT_EQ(branches[0].length, 5);
  const LoggedJob* job = log->history().find_job("job");
  ASSERT_TRUE(job);
  EXPECT_EQ(job->finish, JobFinish::kLength);
  EXPECT_EQ(job->end, 5);
  auto request = log->request_of(*job);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->prompt, ids({5, 6, 7}));
  EXPECT_EQ(request->sampling.seed, 42u);
  EXPECT_EQ(request->stream, 3u);
  EXPECT_EQ(request->borders, std::vector<Position>{3});
  EXPECT_EQ(request->stop, std::vector<std::string>{"x"});
  const auto logged = log->logged(0, 3, 2);
  ASSERT_TRUE(logged);
  EXPECT_EQ((*logged)[0].origin, TokenOrigin::kSampled);
  EXPECT_EQ((*logged)[0].sampled.raw_logprob, -1.5);
  EXPECT_EQ((*logged)[0].sampling, 0);
  EXPECT_EQ((*logged)[1].origin, TokenOrigin::kSpliced);
  EXPECT_EQ(log->history().calls(0).size(), 1u);
  EXPECT_EQ(log->history().calls(1).size(), 0u);  // made of a token that the rewind left behind
}

TEST_F(SessionLogTest, DiffNamesTheFirstDifference) {
  auto log = SessionLog::create(path_, plain_header(), never());
  ASSERT_TRUE(log->append(TokenOrigin::kPrompt, ids({1, 2, 3, 4, 5})));
  ASSERT_TRUE(log->rewind(3));
  ASSERT_TRUE(log->append(TokenOrigin::kPrompt, ids({9})));
  const auto d = log->history().diff(0, 1, 2);
  ASSERT_TRUE(d);
  EXPECT_EQ(d->common, 3);
  EXPECT_EQ(d->context_from, 1);
  EXPECT_EQ(d->a, ids({2, 3, 4, 5}));
  EXPECT_EQ(d->b, ids({2, 3, 9}));
  EXPECT_FALSE(log->history().diff(0, 2));
}

TEST_F(SessionLogTest, RefusesWhatMakesNoSense) {
  auto log = SessionLog::create(path_, plain_header(), never());
  ASSERT_TRUE(log->append(TokenOrigin::kPrompt, ids({1, 2})));
  const auto size = log->file_bytes();
  JobEnd nobody;
  nobody.id = "none";
  EXPECT_EQ(log->rewind(3).error().code, ErrorCode::kUsage);
  EXPECT_EQ(log->rewind(-1).error().code, ErrorCode::kUsage);
  EXPECT_EQ(log->rewind(0, 7).error().code, ErrorCode::kUsage);
  EXPECT_EQ(log->append(TokenOrigin::kPrompt, ids({-1})).error().code, ErrorCode::kUsage);
  EXPECT_EQ(log->append(TokenOrigin::kSampled, ids({1})).error().code, ErrorCode::kUsage);
  EXPECT_EQ(log->add_call("c", 1, 2).error().code, ErrorCode::kUsage);
  EXPECT_EQ(log->add_mark(MessageRole::kUser, 3).error().code, ErrorCode::kUsage);
  EXPECT_EQ(log->end_job(nobody).error().code, ErrorCode::kUsage);
  EXPECT_FALSE(log->logged(0, 1, 2));
  EXPECT_EQ(log->file_bytes(), size);
  EXPECT_EQ(SessionLog::create(path_, plain_header(), never()).error().code, ErrorCode::kUsage);
  EXPECT_EQ(SessionLog::create(folder_.file("x"), plain_header("a/b"), never()).error().code, ErrorCode::kUsage);
  EXPECT_EQ(SessionLog::open(folder_.file("none")).error().code, ErrorCode::kNotFound);
}

TEST_F(SessionLogTest, HasOneWriterAndAnyReaders) {
  auto log = SessionLog::create(path_, plain_header(), never());
  ASSERT_TRUE(log->append(TokenOrigin::kPrompt, ids({1})));
  EXPECT_EQ(SessionLog::open(path_).error().code, ErrorCode::kBusy);
  auto reader = SessionLog::read(path_);
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->length(), 1);
  EXPECT_FALSE(reader->append(TokenOrigin::kPrompt, ids({1})));
}

TEST_F(SessionLogTest, HeldRecordsAreWrittenTogether) {
  auto log = SessionLog::create(path_, plain_header(), never());
  log->hold();
  ASSERT_TRUE(log->append(TokenOrigin::kPrompt, ids({1})));
  ASSERT_TRUE(log->add_mark(MessageRole::kUser, 1));
  EXPECT_EQ(SessionLog::read(path_)->length(), 0);
  ASSERT_TRUE(log->release());
  EXPECT_EQ(SessionLog::read(path_)->length(), 1);
  ASSERT_TRUE(log->append(TokenOrigin::kPrompt, ids({2})));
  EXPECT_EQ(SessionLog::read(path_)->length(), 2);
}

// The bytes of version 1; a change of the format is a new version and a new set of bytes.
TEST_F(SessionLogTest, WritesTheDocumentedBytes) {
  {
    auto log = SessionLog::create(path_, plain_header("s"), never());
    ASSERT_TRUE(log->append(TokenOrigin::kPrompt, ids({5, 6})));
    const Sampled sampled{TokenId{9}, -0.5, -1.5, 0};
    ASSERT_TRUE(log->append({&sampled, 1}));
    ASSERT_TRUE(log->rewind(1));
  }
  const std::string bytes = read();
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  EXPECT_EQ(hex,
            // Header: magic, version, 61 bytes of content, then identity, time and texts; zeros; checksum.
            "484144414c4c4f47"
            "01000000"
            "3d000000"
            "8877665544332211"
            "00ffeeddccbbaa99"
            "01000000"
            "01000000"
            "0068e5cf8b010000"
            "01000000"
            "73"
            "04000000"
            "6e616e6f"
            "00000000"
            "00000000"
            "0000000000000000"
            "000000"
            "9ae7c93ebbf88a7c"
            // Prompt tokens 5 and 6.
            "08000000"
            "0100"
            "0000"
            "05000000"
            "06000000"
            "349909ee9a7a8171"
            // Token 9, sampled.
            "14000000"
            "0200"
            "0000"
            "09000000"
            "000000000000e0bf"
            "000000000000f8bf"
            "3eb5ae0b0c430580"
            // A rewind to 1 token of branch 0.
            "10000000"
            "0700"
            "0000"
            "00000000"
            "00000000"
            "0100000000000000"
            "cc322406e9be04c0");
}

TEST_F(SessionLogTest, ATornLastRecordIsCutWhereverItTore) {
  const auto at = write_every_type();
  const std::string whole = read();
  ASSERT_EQ(static_cast<std::int64_t>(whole.size()), at.back());
  for (std::size_t r = at.size() - 1; r-- > 0;) {
    for (std::int64_t end = at[r + 1] - 1; end >= at[r]; --end) {
      std::filesystem::resize_file(path_, static_cast<std::uintmax_t>(end));
      const auto log = SessionLog::read(path_);  // looks only
      ASSERT_TRUE(log) << "cut at " << end << ": " << log.error().what;
      EXPECT_EQ(log->cut_bytes(), end - at[r]);
      EXPECT_EQ(log->file_bytes(), at[r]);
    }
    write(whole.substr(0, static_cast<std::size_t>(at[r + 1]) - 3));
    EXPECT_EQ(SessionLog::open(path_, never())->cut_bytes(), at[r + 1] - 3 - at[r]);
    EXPECT_EQ(static_cast<std::int64_t>(std::filesystem::file_size(path_)), at[r]);
  }
  // What a power cut may leave where blocks were not written: zeros.
  write(whole.substr(0, static_cast<std::size_t>(at[3])) + std::string(1000, '\0'));
  EXPECT_EQ(SessionLog::open(path_, never())->cut_bytes(), 1000);
  // And the log goes on from there.
  auto log = SessionLog::open(path_, never());
  ASSERT_TRUE(log->append(TokenOrigin::kPrompt, ids({77})));
  EXPECT_EQ(SessionLog::read(path_)->tokens().back(), TokenId{77});
}

TEST_F(SessionLogTest, EveryFlippedBitIsSeen) {
  const auto at = write_every_type();
  const std::string whole = read();
  const auto last = at[at.size() - 2];
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  const auto put = [&](std::size_t where, char c) { file.seekp(static_cast<std::streamoff>(where)).put(c).flush(); };
  for (std::size_t byte = 0; byte < whole.size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      put(byte, static_cast<char>(whole[byte] ^ (1 << bit)));
      const auto log = SessionLog::read(path_);
      put(byte, whole[byte]);
      if (static_cast<std::int64_t>(byte) >= last) {
        ASSERT_TRUE(log) << "byte " << byte;  // the same as a torn end
        EXPECT_EQ(log->cut_bytes(), at.back() - last);
        continue;
      }
      ASSERT_FALSE(log) << "byte " << byte << " bit " << bit;
      if (static_cast<std::int64_t>(byte) < at[0]) continue;
      auto record = std::upper_bound(at.begin(), at.end(), static_cast<std::int64_t>(byte)) - 1;
      EXPECT_THAT(log.error().what, HasSubstr(fmt::format("damaged at byte {} ", *record))) << byte;
    }
  }
  // Nothing is cut from a damaged log.
  put(static_cast<std::size_t>(at[1]), '!');
  EXPECT_FALSE(SessionLog::open(path_, never()));
  EXPECT_EQ(read().size(), whole.size());
}

TEST_F(SessionLogTest, WhatComesBeforeDamageCanBeSaved) {
  const auto at = write_every_type();
  std::string bytes = read();
  bytes[static_cast<std::size_t>(at[4]) + 9] ^= 1;  // the sampled token
  write(bytes);
  EXPECT_FALSE(SessionLog::read(path_));
  const auto log = SessionLog::read_intact(path_);
  ASSERT_TRUE(log) << log.error().what;
  EXPECT_THAT(log->tokens(), testing::ElementsAreArray(ids({5, 6, 7})));
  EXPECT_EQ(log->cut_bytes(), at.back() - at[4]);
  EXPECT_EQ(read(), bytes);
}

TEST_F(SessionLogTest, RecordsCannotChangePlaces) {
  auto log = SessionLog::create(path_, plain_header(), never());
  const auto a = log->file_bytes();
  ASSERT_TRUE(log->append(TokenOrigin::kPrompt, ids({1})));
  const auto b = log->file_bytes();
  ASSERT_TRUE(log->append(TokenOrigin::kPrompt, ids({2})));
  ASSERT_TRUE(log->append(TokenOrigin::kPrompt, ids({3})));
  ASSERT_TRUE(log->append(TokenOrigin::kPrompt, ids({4})));
  const std::string whole = read();
  std::string bytes = whole;
  const auto n = static_cast<std::size_t>(b - a);
  std::swap_ranges(bytes.begin() + a, bytes.begin() + b, bytes.begin() + b);
  write(bytes);
  EXPECT_FALSE(SessionLog::read(path_));
  bytes = whole;
  bytes.erase(static_cast<std::size_t>(a), n);
  write(bytes);
  EXPECT_FALSE(SessionLog::read(path_));
}

TEST_F(SessionLogTest, OtherVersionsAreRefusedByName) {
  write_every_type();
  std::string bytes = read();
  bytes[8] = 2;
  write(bytes);
  const auto log = SessionLog::open(path_);
  EXPECT_EQ(log.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(log.error().what, HasSubstr("format version 2"));
}

TEST_F(SessionLogTest, TitlesAndAlternativesAreReadBack) {
  {
    SessionLog log = SessionLog::create(path_, plain_header(), never()).value();
    ASSERT_TRUE(log.append(TokenOrigin::kPrompt, ids({1, 2, 3})));
    for (int i = 0; i < 3; ++i) {
      const Sampled token{TokenId{10 + i}, -0.5, -0.25, 1};
      ASSERT_TRUE(log.append({&token, 1}));
      const Sampled top[] = {token, {TokenId{20 + i}, 0, -1.5, 1}};
      if (i != 1) {
        ASSERT_TRUE(log.add_alternatives(top));
      }
    }
    ASSERT_TRUE(log.set_title("first"));
    ASSERT_TRUE(log.set_title("Kettles"));
    EXPECT_EQ(log.set_title(std::string(401, 'x')).error().code, ErrorCode::kUsage);
  }
  const SessionLog log = SessionLog::open(path_, never()).value();
  EXPECT_EQ(log.history().title(), "Kettles");
  const auto tokens = log.logged(0, 0, 6).value();
  ASSERT_EQ(tokens.size(), 6u);
  for (const std::size_t i : {0u, 2u, 4u}) EXPECT_TRUE(tokens[i].top.empty()) << i;
  for (const std::size_t i : {3u, 5u}) {
    ASSERT_EQ(tokens[i].top.size(), 2u) << i;
    EXPECT_EQ(to_int(tokens[i].top[1].id), static_cast<int>(20 + i - 3));
    EXPECT_EQ(tokens[i].top[1].raw_logprob, -1.5);
  }
  EXPECT_TRUE(log.logged(0, 0, 3).value().back().top.empty());
  EXPECT_EQ(log.fork(folder_.file("fork"), 4, 0, {}, never())->history().title(), "Kettles");
}

TEST_F(SessionLogTest, AForkStandsAlone) {
  write_every_type();
  auto log = SessionLog::open(path_, never());
  auto fork = log->fork(folder_.file("fork.log"), 5, 0, {}, never());
  ASSERT_TRUE(fork) << fork.error().what;
  EXPECT_EQ(fork->header().parent, "test");
  EXPECT_EQ(fork->header().parent_length, 5);
  EXPECT_EQ(fork->header().identity, log->header().identity);
  EXPECT_THAT(fork->tokens(), testing::ElementsAreArray(ids({5, 6, 7, 9, 2})));
  EXPECT_EQ(fork->history().calls(0).size(), 1u);
  EXPECT_EQ(fork->history().marks(0).size(), 1u);
  const auto logged = fork->logged(0, 0, 5);
  ASSERT_TRUE(logged);
  EXPECT_EQ((*logged)[3].sampled.logprob, -0.5);
  EXPECT_TRUE(same(fork->history().samplings()[0], log->history().samplings()[0]));
  EXPECT_EQ(log->fork(folder_.file("fork.log"), 6, 0).error().code, ErrorCode::kUsage);
}

TEST_F(SessionLogTest, LongPromptsTakeSeveralRecords) {
  std::vector<TokenId> prompt(600000);
  for (std::size_t i = 0; i < prompt.size(); ++i) prompt[i] = TokenId{static_cast<std::int32_t>(i % 129280)};
  auto log = SessionLog::create(path_, plain_header(), never());
  ASSERT_TRUE(log->append(TokenOrigin::kPrompt, prompt));
  Stopwatch watch;
  auto again = SessionLog::read(path_);
  ASSERT_TRUE(again);
  const double opened = watch.seconds();
  watch.restart();
  const auto fork = again->fork(folder_.file("fork.log"), 100000, 0, {}, never());
  ASSERT_TRUE(fork);
  fmt::print("[ figures  ] 600000 tokens read in {:.2f} ms, 100000 of them forked in {:.2f} ms\n", opened * 1e3,
             watch.seconds() * 1e3);
  EXPECT_TRUE(std::ranges::equal(again->tokens(), prompt));
  EXPECT_LT(again->file_bytes(), 4 * 600000 + 1000);
}

TEST_F(SessionLogTest, AgreesWithPlainListsAfterRandomOperations) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const std::string path = folder_.file("random" + std::to_string(seed));
    test::PlainSession plain;
    auto log = SessionLog::create(path, plain_header(), never());
    ASSERT_TRUE(log);
    for (int step = 0; step < 150; ++step) {
      test::random_step(random, plain, *log);
      if (HasFatalFailure()) return;
      if (random() % 25 != 0) continue;
      {
        const auto closing = std::move(*log);
      }
      auto opened = SessionLog::open(path, never());
      ASSERT_TRUE(opened) << opened.error().what;
      EXPECT_EQ(opened->cut_bytes(), 0);
      log.emplace(std::move(*opened));
      test::expect_same(plain, *log);
      if (HasFatalFailure()) return;
    }
    // A fork of any branch at any length has what its marks and calls say.
    const auto branch = static_cast<BranchId>(random() % plain.branches.size());
    const auto& tokens = plain.branches[branch].tokens;
    const auto at = static_cast<Position>(random() % (tokens.size() + 1));
    auto fork = log->fork(path + ".fork", at, branch, {}, never());
    ASSERT_TRUE(fork) << fork.error().what;
    ASSERT_EQ(fork->length(), at);
    for (Position i = 0; i < at; ++i)
      ASSERT_EQ(fork->tokens()[static_cast<std::size_t>(i)], tokens[static_cast<std::size_t>(i)].sampled.id);
    EXPECT_EQ(fork->history().marks(0).size(), log->history().marks(branch, at).size());
    EXPECT_EQ(fork->history().calls(0).size(), log->history().calls(branch, at).size());
  }
}

// Prints, since what a write costs is the machine's affair; asserts only that steps do not grow with the session.
TEST_F(SessionLogTest, AStepCostsOneSmallWrite) {
  auto thread = std::make_shared<SyncThread>(std::chrono::milliseconds(50));
  SyncPolicy background;
  background.thread = thread;
  const std::pair<const char*, SyncPolicy> policies[] = {{"never synced", never()},
                                                         {"synced by a thread every 50 ms", background},
                                                         {"synced by the writer every 50 ms", {}}};
  int n = 0;
  for (const auto& [name, policy] : policies) {
    auto log = SessionLog::create(folder_.file("cost" + std::to_string(n++)), plain_header(), policy);
    ASSERT_TRUE(log);
    const Sampled token{TokenId{9}, -0.5, -1.5, 0};
    constexpr int kSteps = 20000;
    const auto before = log->file_bytes();
    const Stopwatch watch;
    for (int i = 0; i < kSteps; ++i) ASSERT_TRUE(log->append({&token, 1}));
    fmt::print("[ figures  ] {}: {:.2f} us and {} bytes per token\n", name, watch.seconds() * 1e6 / kSteps,
               (log->file_bytes() - before) / kSteps);
    EXPECT_EQ((log->file_bytes() - before) / kSteps, 36);
  }
}

}  // namespace
}  // namespace hadal
