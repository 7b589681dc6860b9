// Routed experts that stay on disk and come into memory when a layer asks for them.
//
// A fixed number of slots hold packed experts; which one leaves for another is the policy's choice. Reads go from the
// release's files into staging buffers, several at a time, and are packed into tiles by the step's threads. The results
// of a step do not depend on any of it: an expert in a slot has the same bits as one that was loaded at the start.
//
// A step drives it from its own thread, layer by layer:
//
//   store.begin_step(tokens);
//   store.prefetch(layer, experts);              what later layers will need, the surest first
//   store.begin_layer(layer, wants);             everything this layer needs, in the order it will be asked for
//   while (more) store.ready(pool, end);         of the first `end` wants: those in memory at once, the others as they
//                                                come; valid until the next call
//
// An error ends the step; the store itself stays usable, and asking again reads again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "files/async_reader.h"
#include "machine/thread_pool.h"
#include "weights/arena.h"
#include "weights/expert_files.h"
#include "weights/expert_policy.h"
#include "weights/expert_room.h"

namespace hadal {

struct ExpertStoreOptions {
  std::int64_t memory_bytes = 0;  // for slots and staging buffers
  std::int64_t slots = 0;         // instead of what memory_bytes gives, for tests
  ReaderOptions reader;
};

// Since the store was opened. An expert that a layer of one step asks for counts once, whatever the number of tokens.
struct ExpertStats {
  std::int64_t hits = 0;           // in memory from earlier use
  std::int64_t prefetched = 0;     // there, or on its way, because of prefetch()
  std::int64_t misses = 0;         // read because the layer asked
  std::int64_t wasted = 0;         // prefetched and not asked for
  std::int64_t guessed = 0;        // experts named by guess() ...
  std::int64_t guessed_right = 0;  // ... that the layer then asked for
  std::int64_t bytes_read = 0;
  double stall_seconds = 0;  // waiting for the disk with nothing to compute
  double pack_seconds = 0;

  // What happened after `before`, an earlier copy.
  ExpertStats since(const ExpertStats& before) const {
    return {hits - before.hits,
            prefetched - before.prefetched,
            misses - before.misses,
            wasted - before.wasted,
            guessed - before.guessed,
            guessed_right - before.guessed_right,
            bytes_read - before.bytes_read,
            stall_seconds - before.stall_seconds,
            pack_seconds - before.pack_seconds};
  }
  std::int64_t asked() const { return hits + prefetched + misses; }
  double prefetch_rate() const {
    return asked() > 0 ? static_cast<double>(prefetched) / static_cast<double>(asked()) : 0;
  }
  double hit_rate() const { return asked() > 0 ? static_cast<double>(hits) / static_cast<double>(asked()) : 0; }
};

class ExpertStore {
 public:
  // kUnsupported as ExpertFiles::open; kNoMemory when the memory does not hold the experts of one token; kIo.
  static Result<std::unique_ptr<ExpertStore>> open(std::shared_ptr<const Checkpoint> checkpoint,
                                                   const ExpertStoreOptions& options);
  // The same with a reader (and its disk) of the caller's choice, for tests; null policy: the default one.
  static Result<std::unique_ptr<ExpertStore>> open(std::shared_ptr<const Checkpoint> checkpoint,
                                                   const ExpertStoreOptions& options,
                                                   std::unique_ptr<AsyncReader> reader,
                                                   std::unique_ptr<ExpertPolicy> policy);
  ~ExpertStore();
  ExpertStore(const ExpertStore&) = delete;
  ExpertStore& operator=(const ExpertStore&) = delete;

  void begin_step(std::int64_t tokens);
  void prefetch(std::int32_t layer, std::span<const std::int32_t> experts);
  // What the next layer may want. Read ahead as by prefetch() while recent guesses were right more often than not: a
  // wrong one costs the disk as much as a right one saves.
  void guess(std::int32_t layer, std::span<const std::int32_t> experts);
  void begin_layer(std::int32_t layer, std::span<const ExpertWant> wants);  // no expert twice

  struct Ready {
    std::int64_t want = 0;  // index into begin_layer's wants
    const ExpertWeights* weights = nullptr;
  };
  // Some of wants [0, end) that were not given yet; empty only when all of them were. Errors name file and tensor.
  Result<std::span<const Ready>> ready(ThreadPool& pool, std::int64_t end);

  // The yardstick of streaming, between steps: what the disk gives the same reads, in the same number at a time and
  // into the same buffers, when nothing else is to be done. Reads experts drawn by `seed` for about `seconds`. Errors:
  // kIo.
  struct ReadTiming {
    std::int64_t bytes = 0;
    double seconds = 0;
  };
  Result<ReadTiming> time_reads(double seconds, std::uint64_t seed);

  // Called with what every layer asks for: recordings of routing.
  using Observer = std::function<void(std::int32_t layer, std::span<const ExpertWant> wants)>;
  void observe(Observer observer) { observer_ = std::move(observer); }

  bool resident(std::int32_t layer, std::int32_t expert) const {
    return slot_of_[static_cast<std::size_t>(files_.key(layer, expert))] >= 0;
  }
  std::int64_t slots() const { return static_cast<std::int64_t>(slots_.size()); }
  std::int64_t memory_bytes() const { return arena_.bytes(); }
  std::int64_t expert_bytes() const { return files_.slot_bytes(); }
  const ExpertFiles& files() const { return files_; }
  const ExpertStats& stats() const { return stats_; }
  const char* method() const { return reader_->method(); }

 private:
  static constexpr std::int32_t kNone = -1;
  struct Slot {
    std::int32_t key = kNone;
    bool given = false;  // to the caller, until its next call
    bool early = false;  // prefetched and not asked for yet
    ExpertWeights weights;
  };
  // One expert on its way; its staging buffer is that of its index.
  struct Load {
    std::int32_t key = kNone;
    std::vector<AsyncReader::Read> reads;
    std::size_t started = 0, finished = 0;
    std::uint64_t order = 0;  // of starting
    Status status;
    bool arrived() const { return key != kNone && finished == reads.size(); }
  };

  ExpertStore(ExpertFiles files, std::unique_ptr<AsyncReader> reader, std::unique_ptr<ExpertPolicy> policy)
      : files_(std::move(files)), policy_(std::move(policy)), reader_(std::move(reader)) {}
  Status allocate(std::int64_t slots, std::int64_t staging);

  std::byte* staging(std::size_t load) const;
  std::int64_t want_of(std::int32_t key) const;  // not yet given; kNone otherwise
  void pump();                                   // takes what has finished, starts what can be started
  bool take_finished(bool wait);
  Load* next_to_read();
  Load* begin_load(std::int32_t key);
  void end_load(Load& load);
  bool make_wanted_room(std::int64_t want);
  std::int32_t find_slot(const Load& load);
  void evict(std::int32_t slot);
  bool pack(ThreadPool& pool, std::int64_t end);
  void pack_loads(ThreadPool& pool);

  ExpertFiles files_;
  std::unique_ptr<ExpertPolicy> policy_;
  Arena arena_;  // staging buffers, then slots
  std::vector<Slot> slots_;
  std::vector<Load> loads_;
  std::vector<std::int32_t> slot_of_, load_of_;  // by key
  std::uint64_t next_order_ = 0;

  std::int64_t step_tokens_ = 1;
  std::int32_t layer_ = 0;  // begin_layer's
  std::vector<ExpertWant> wants_;
  std::vector<bool> given_;            // by want
  std::vector<std::int32_t> want_of_;  // by key
  std::size_t first_open_ = 0;         // wants before it were given
  std::size_t first_unread_ = 0;       // wants before it are in memory, on their way or given
  std::vector<Ready> ready_;
  std::vector<std::int32_t> hints_;  // keys to prefetch, the first next
  std::size_t next_hint_ = 0;
  std::vector<std::int32_t> guess_;  // keys
  double trust_ = 0;                 // share of recent guesses that were right
  std::optional<Error> failed_;      // of an expert this layer wants

  struct Packing {
    Load* load;
    std::int32_t slot;
    std::int64_t first_task;
    std::optional<Error> error;
  };
  std::vector<Packing> packing_;
  ExpertStats stats_;
  Observer observer_;
  std::unique_ptr<AsyncReader> reader_;  // last: it ends the reads before the buffers go
};

}  // namespace hadal
