#include "files/async_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

using testing::HasSubstr;

std::string random_text(std::size_t bytes) {
  std::string text(bytes, 0);
  std::mt19937 random(7);
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

struct AlignedBuffer {
  explicit AlignedBuffer(std::int64_t bytes)
      : data(static_cast<std::byte*>(std::aligned_alloc(4096, static_cast<std::size_t>(bytes)))) {}
  ~AlignedBuffer() { std::free(data); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  std::byte* data;
};

// A disk whose next results a test decides; everything else goes to a real queue.
class ScriptedQueue final : public ReadQueue {
 public:
  explicit ScriptedQueue(std::deque<std::int64_t> results)
      : results_(std::move(results)), real_(make_thread_queue(2)) {}
  void start(const RawRead& read) override {
    ++starts;
    if (results_.empty()) return real_->start(read);
    RawRead part = read;
    if (results_.front() > 0) {  // a part of it, really read
      part.length = static_cast<std::uint32_t>(results_.front());
      real_->start(part);
    } else {
      done_.push_back({read.slot, results_.front()});
    }
    results_.pop_front();
  }
  std::optional<RawDone> finished(bool wait) override {
    if (done_.empty()) return real_->finished(wait);
    const RawDone done = done_.front();
    done_.pop_front();
    return done;
  }
  const char* name() const override { return "scripted"; }
  int starts = 0;

 private:
  std::deque<std::int64_t> results_;
  std::deque<RawDone> done_;
  std::unique_ptr<ReadQueue> real_;
};

struct Setting {
  ReadMethod method;
  bool direct;
};

class AsyncReaders : public testing::TestWithParam<Setting> {
 protected:
  void SetUp() override {
    auto made = AsyncReader::create({GetParam().method, 8, GetParam().direct});
    if (!made && made.error().code == ErrorCode::kUnsupported) GTEST_SKIP() << made.error().what;
    ASSERT_TRUE(made) << made.error().what;
    reader_ = std::move(*made);
  }
  test::TemporaryFolder folder_;
  std::unique_ptr<AsyncReader> reader_;
};

TEST_P(AsyncReaders, ReadsAnyPartInAnyOrder) {
  constexpr std::int64_t kBytes = 300'123;  // not a multiple of anything
  const std::string text = random_text(kBytes);
  const MappedFile map = MappedFile::open(folder_.write("data", text)).value();
  const int file = reader_->open(map).value();

  constexpr std::int64_t kPart = 8192;
  std::vector<std::unique_ptr<AlignedBuffer>> buffers;
  std::int64_t started = 0, finished = 0;
  const std::int64_t parts = (kBytes + kPart - 1) / kPart;
  std::vector<bool> seen(static_cast<std::size_t>(parts));
  while (finished < parts) {
    while (started < parts && reader_->has_room()) {
      buffers.push_back(std::make_unique<AlignedBuffer>(kPart));
      const std::int64_t needed = std::min(kPart, kBytes - started * kPart);
      reader_->start({file, static_cast<std::uint64_t>(started * kPart), kPart, needed, buffers.back()->data,
                      static_cast<std::uint64_t>(started)});
      ++started;
    }
    EXPECT_LE(reader_->unfinished(), 8);
    const auto done = reader_->finished(true);
    ASSERT_TRUE(done);
    ASSERT_TRUE(done->status) << done->status.error().what;
    const auto at = static_cast<std::int64_t>(done->tag);
    EXPECT_FALSE(seen[done->tag]);
    seen[done->tag] = true;
    const std::string_view want = std::string_view(text).substr(static_cast<std::size_t>(at * kPart), kPart);
    EXPECT_EQ(want, std::string_view(reinterpret_cast<const char*>(buffers[done->tag]->data), want.size()));
    ++finished;
  }
  EXPECT_FALSE(reader_->finished(true));  // none is left, so it does not wait
}

TEST_P(AsyncReaders, SayThatAFileWasCutOff) {
  const MappedFile map = MappedFile::open(folder_.write("data", random_text(100'000))).value();
  const int file = reader_->open(map).value();
  std::filesystem::resize_file(folder_.file("data"), 50'000);
  AlignedBuffer buffer(8192);
  for (const std::uint64_t offset : {0u, 45'056u, 81'920u}) {  // before the cut, across it, behind it
    reader_->start({file, offset, 8192, 8192, buffer.data, 5});
    const auto done = reader_->finished(true);
    ASSERT_TRUE(done);
    ASSERT_FALSE(done->status);
    EXPECT_EQ(done->status.error().code, ErrorCode::kIo);
    EXPECT_THAT(done->status.error().what, HasSubstr(folder_.file("data") + ": the file has become shorter"));
  }
}

TEST_P(AsyncReaders, SayThatAFileWasWrittenTo) {
  const MappedFile map = MappedFile::open(folder_.write("data", random_text(100'000))).value();
  const int file = reader_->open(map).value();
  // A file cut off and grown again has its old size and reads as zeros.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the clock of file times ticks every few
  std::filesystem::resize_file(folder_.file("data"), 0);
  std::filesystem::resize_file(folder_.file("data"), 100'000);
  AlignedBuffer buffer(8192);
  reader_->start({file, 0, 8192, 8192, buffer.data, 5});
  const auto done = reader_->finished(true);
  ASSERT_TRUE(done);
  ASSERT_FALSE(done->status);
  EXPECT_THAT(done->status.error().what, HasSubstr("was written to"));
}

TEST_P(AsyncReaders, NoticeAnotherFileUnderTheName) {
  const MappedFile map = MappedFile::open(folder_.write("data", random_text(5'000))).value();
  folder_.write("new", random_text(5'000));
  std::filesystem::rename(folder_.file("new"), folder_.file("data"));
  auto opened = reader_->open(map);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().what, HasSubstr("was replaced"));
  std::filesystem::remove(folder_.file("data"));
  opened = reader_->open(map);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().what, HasSubstr("data: cannot open"));
}

TEST_P(AsyncReaders, EndWithReadsUnfinished) {
  const MappedFile map = MappedFile::open(folder_.write("data", random_text(1 << 20))).value();
  const int file = reader_->open(map).value();
  AlignedBuffer buffer(8 * 65'536);
  for (int i = 0; i < 8; ++i)
    reader_->start({file, 0, 65'536, 65'536, buffer.data + i * 65'536, static_cast<std::uint64_t>(i)});
  reader_.reset();  // the buffer is freed after it
}

INSTANTIATE_TEST_SUITE_P(Files, AsyncReaders,
                         testing::Values(Setting{ReadMethod::kUring, true}, Setting{ReadMethod::kUring, false},
                                         Setting{ReadMethod::kThreads, true}, Setting{ReadMethod::kThreads, false}),
                         [](const auto& p) {
                           return std::string(p.param.method == ReadMethod::kUring ? "uring" : "threads") +
                                  (p.param.direct ? "_direct" : "_cached");
                         });

class ScriptedReads : public testing::Test {
 protected:
  Status read(std::deque<std::int64_t> results, bool direct, std::string* got = nullptr, int* starts = nullptr) {
    auto queue = std::make_unique<ScriptedQueue>(std::move(results));
    ScriptedQueue* script = queue.get();
    AsyncReader reader(std::move(queue), 4, direct);
    const MappedFile map = MappedFile::open(folder_.write("data", text_)).value();
    const int file = reader.open(map).value();
    AlignedBuffer buffer(32'768);
    reader.start({file, 0, 32'768, 30'000, buffer.data, 1});
    const auto done = reader.finished(true);
    if (got) *got = std::string(reinterpret_cast<const char*>(buffer.data), 30'000);
    if (starts) *starts = script->starts;
    EXPECT_EQ(reader.unfinished(), 0);
    return done->status;
  }
  test::TemporaryFolder folder_;
  const std::string text_ = random_text(30'000);
};

TEST_F(ScriptedReads, GoOnAfterPartsAndInterruptions) {
  for (const bool direct : {false, true}) {
    std::string got;
    int starts = 0;
    const auto done = read({4096, -EINTR, 8192 + (direct ? 0 : 5), -EAGAIN, -ECANCELED}, direct, &got, &starts);
    ASSERT_TRUE(done) << done.error().what;
    EXPECT_EQ(got, text_);
    EXPECT_EQ(starts, 6);
  }
}

TEST_F(ScriptedReads, NameTheFileAndTheReasonOfAFailure) {
  const auto done = read({-EIO}, true);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kIo);
  EXPECT_THAT(done.error().what,
              HasSubstr(folder_.file("data") + ": cannot read 32768 bytes at 0: Input/output error"));
}

TEST_F(ScriptedReads, FailAfterAPart) {
  const auto done = read({4096, -EIO}, true);
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().what, HasSubstr("Input/output error"));
}

TEST_F(ScriptedReads, TakeNothingForTheEnd) {
  EXPECT_FALSE(read({0}, true));
  EXPECT_FALSE(read({4096, 0}, false));
}

}  // namespace
}  // namespace hadal
