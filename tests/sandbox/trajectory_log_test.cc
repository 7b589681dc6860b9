#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "sandbox/digest.h"
#include "sandbox/log/file_log.h"

namespace hadal::sandbox {
namespace {

class Log : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/hadal_log_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    open();
  }
  void TearDown() override {
    log_.reset();
    std::filesystem::remove_all(folder_);
  }
  FileLog::Options options() {
    FileLog::Options o;
    o.segment_bytes = 16 << 20;
    o.allocate = [this](int fd, std::int64_t bytes) {
      return full_ ? ENOSPC : ::ftruncate(fd, bytes) == 0 ? 0 : errno;
    };
    return o;
  }
  void open() {
    log_.reset();
    auto log = FileLog::open(folder_, options());
    ASSERT_TRUE(log) << log.error().what;
    log_ = std::move(*log);
  }
  Result<Appended> add(std::string_view name, RecordType type, std::string body = "{}") {
    auto a = log_->append(name, type, std::move(body));
    if (a)
      if (const Status s = log_->sync(a->lsn); !s) return std::unexpected(s.error());
    return a;
  }
  std::size_t records(std::string_view name) {
    const auto r = log_->read(name);
    return r ? r->size() : 0;
  }
  std::string segment() const { return folder_ + "/0000000000000001.log"; }
  // Changes one byte of the first place where `text` is in the segment.
  void flip(const std::string& text) {
    std::fstream f(segment(), std::ios::in | std::ios::out | std::ios::binary);
    std::string bytes(1 << 16, '\0');
    f.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    const auto at = bytes.find(text);
    ASSERT_NE(at, std::string::npos);
    f.seekp(static_cast<std::streamoff>(at));
    f.put(static_cast<char>(bytes[at] ^ 1));
  }

  std::string folder_;
  bool full_ = false;
  std::unique_ptr<FileLog> log_;
};

TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(LogRecord, HasTheBytesOfItsFormat) {
  std::string out;
  encode_record(out, {RecordType::kIntent, 7, 3, 6, "tr_a", "{\"seq\":1}"});
  const std::string rest("\x03\0\x04\0\x07\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0tr_a{\"seq\":1}", 41);
  EXPECT_EQ(out.substr(0, 8), std::string("HTL1\x35\0\0\0", 8));
  EXPECT_EQ(out.substr(12), rest);
  for (std::size_t n = 0; n < out.size(); ++n) EXPECT_FALSE(decode_record(std::string_view(out).substr(0, n)));
  for (std::size_t n = 0; n < out.size(); ++n) {
    std::string bad = out;
    bad[n] = static_cast<char>(bad[n] ^ 4);
    EXPECT_FALSE(decode_record(bad)) << n;
  }
  EXPECT_EQ(decode_record(out)->record.body, "{\"seq\":1}");
}

TEST_F(Log, KeepsWhatWasSyncedAndDropsWhatWasNot) {
  ASSERT_TRUE(add("a", RecordType::kOpen));
  ASSERT_TRUE(add("b", RecordType::kOpen));
  ASSERT_TRUE(add("a", RecordType::kIntent, R"({"seq":1})"));
  ASSERT_TRUE(log_->append("a", RecordType::kDone, R"({"seq":1})"));
  EXPECT_EQ(records("a"), 3u);
  open();
  EXPECT_EQ(records("a"), 2u);
  EXPECT_EQ(records("b"), 1u);
  EXPECT_EQ(add("a", RecordType::kDone, R"({"seq":1})")->lsn, 4u);
}

TEST_F(Log, RefusesWhatBreaksATrajectory) {
  EXPECT_FALSE(add("a", RecordType::kIntent, R"({"seq":1})"));
  ASSERT_TRUE(add("a", RecordType::kOpen));
  EXPECT_FALSE(add("a", RecordType::kOpen));
  EXPECT_FALSE(add("a", RecordType::kDone, R"({"seq":1})"));
  ASSERT_TRUE(add("a", RecordType::kIntent, R"({"seq":1})"));
  EXPECT_FALSE(add("a", RecordType::kIntent, R"({"seq":1})"));
  EXPECT_FALSE(add("a", RecordType::kSnapshot));
  ASSERT_TRUE(add("a", RecordType::kLost, R"({"seq":1})"));
  EXPECT_FALSE(add("a", RecordType::kDone, R"({"seq":1})"));
  ASSERT_TRUE(add("a", RecordType::kEpoch, R"({"epoch":2})"));
  EXPECT_FALSE(add("a", RecordType::kEpoch, R"({"epoch":2})"));
  ASSERT_TRUE(add("a", RecordType::kClose));
  EXPECT_EQ(add("a", RecordType::kNote).error().code, ErrorCode::kUsage);
  EXPECT_EQ(records("a"), 5u);
}

TEST_F(Log, CutsATornTailWhereverItIsTorn) {
  ASSERT_TRUE(add("a", RecordType::kOpen));
  ASSERT_TRUE(add("a", RecordType::kNote, R"({"text":"torn"})"));
  const auto all = log_->read("a");
  std::string bytes;
  for (const Record& r : *all) encode_record(bytes, r);
  for (std::size_t keep = kRecordHeader + 3; keep < bytes.size(); keep += 5) {
    log_.reset();
    std::ofstream(segment(), std::ios::binary | std::ios::trunc) << bytes.substr(0, keep) << std::string(100, '\0');
    open();
    EXPECT_EQ(records("a"), 1u) << keep;
    ASSERT_TRUE(add("a", RecordType::kNote, "{}"));
    open();
    EXPECT_EQ(records("a"), 2u) << keep;
  }
}

TEST_F(Log, DamageInTheMiddleStopsItsTrajectoryAlone) {
  for (const char* name : {"a", "b"}) ASSERT_TRUE(add(name, RecordType::kOpen));
  ASSERT_TRUE(add("a", RecordType::kNote, R"({"text":"victim"})"));
  for (const char* name : {"a", "b"}) ASSERT_TRUE(add(name, RecordType::kNote));
  log_.reset();
  flip("victim");
  open();
  EXPECT_EQ(log_->read("a").error().code, ErrorCode::kBadInput);
  EXPECT_EQ(add("a", RecordType::kNote).error().code, ErrorCode::kBadInput);
  EXPECT_EQ(records("b"), 2u);
  EXPECT_TRUE(add("b", RecordType::kNote));
}

TEST_F(Log, DamageThatNobodyOwnsStopsEveryoneItMayConcern) {
  for (const char* name : {"a", "b"}) ASSERT_TRUE(add(name, RecordType::kOpen));
  ASSERT_TRUE(add("a", RecordType::kNote, R"({"text":"victim"})"));
  ASSERT_TRUE(add("c", RecordType::kOpen));
  log_.reset();
  flip("victim");
  open();
  EXPECT_FALSE(log_->read("a"));
  EXPECT_FALSE(log_->read("b"));
  EXPECT_EQ(records("c"), 1u);
}

TEST_F(Log, RefusesADuplicateSegmentAndASecondProcess) {
  ASSERT_TRUE(add("a", RecordType::kOpen));
  EXPECT_EQ(FileLog::open(folder_, options()).error().code, ErrorCode::kBusy);
  log_.reset();
  std::filesystem::copy(segment(), folder_ + "/0000000000000002.log");
  EXPECT_EQ(FileLog::open(folder_, options()).error().code, ErrorCode::kBadInput);
}

TEST_F(Log, FinishesInTheReserveWhenTheDiskIsFull) {
  ASSERT_TRUE(add("a", RecordType::kOpen));
  ASSERT_TRUE(add("a", RecordType::kIntent, R"({"seq":1})"));
  const std::string big = R"({"text":")" + std::string(4'000'000, 'x') + "\"}";
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(log_->append("a", RecordType::kNote, big));
  full_ = true;
  const std::string request = R"({"seq":2,"request":")" + std::string(4'000'000, 'x') + "\"}";
  const auto refused = add("a", RecordType::kIntent, request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  EXPECT_EQ(refused.error().what.substr(0, 8), "log_full");
  EXPECT_TRUE(add("a", RecordType::kDone, R"({"seq":1,"result":")" + std::string(4'000'000, 'y') + "\"}"));
  open();
  EXPECT_EQ(records("a"), 7u);
}

TEST_F(Log, ThreadsShareSyncsAndLoseNothing) {
  constexpr int kEach = 200;
  std::vector<std::thread> threads;
  for (int n = 0; n < 8; ++n)
    threads.emplace_back([this, name = "t" + std::to_string(n)] {
      (void)add(name, RecordType::kOpen);
      for (int i = 1; i < kEach; ++i) (void)add(name, RecordType::kNote);
    });
  for (auto& t : threads) t.join();
  open();
  for (int n = 0; n < 8; ++n) EXPECT_EQ(records("t" + std::to_string(n)), static_cast<std::size_t>(kEach));
}

// A child appends and says after each sync how far it is; whatever it said must be there after kill -9.
TEST_F(Log, KeepsEverySyncedRecordWhenItsProcessIsKilled) {
  std::mt19937 random(5);
  for (int round = 0; round < 3; ++round) {
    log_.reset();
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const std::string name = "t" + std::to_string(round);
    const pid_t child = ::fork();
    if (child == 0) {
      open();
      for (std::uint32_t n = 1;; ++n) {
        if (!log_ || !add(name, n == 1 ? RecordType::kOpen : RecordType::kNote)) ::_exit(1);
        if (::write(ends[1], &n, sizeof(n)) != sizeof(n)) ::_exit(1);
      }
    }
    ::close(ends[1]);
    std::uint32_t said = 0;
    const std::uint32_t until = 1 + random() % 40;
    while (said < until) ASSERT_EQ(::read(ends[0], &said, sizeof(said)), static_cast<ssize_t>(sizeof(said)));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ::waitpid(child, nullptr, 0);
    while (::read(ends[0], &said, sizeof(said)) == static_cast<ssize_t>(sizeof(said))) continue;
    ::close(ends[0]);
    open();
    EXPECT_GE(records(name), said);
  }
}

}  // namespace
}  // namespace hadal::sandbox
