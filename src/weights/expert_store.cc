#include "weights/expert_store.h"

#include <algorithm>
#include <mutex>
#include <random>
#include <utility>

#include "base/clock.h"

namespace hadal {
namespace {

constexpr double kWorthReading = 0.5;     // share of guesses that must have been right
constexpr double kTrustStep = 1.0 / 256;  // the last few hundred guesses count: two tokens of Flash

}  // namespace

Result<std::unique_ptr<ExpertStore>> ExpertStore::open(std::shared_ptr<const Checkpoint> checkpoint,
                                                       const ExpertStoreOptions& options) {
  auto reader = HADAL_TRY(AsyncReader::create(options.reader));
  return open(std::move(checkpoint), options, std::move(reader), nullptr);
}

Result<std::unique_ptr<ExpertStore>> ExpertStore::open(std::shared_ptr<const Checkpoint> checkpoint,
                                                       const ExpertStoreOptions& options,
                                                       std::unique_ptr<AsyncReader> reader,
                                                       std::unique_ptr<ExpertPolicy> policy) {
  const std::int64_t least = checkpoint->config().num_experts_per_tok;
  const std::string where = checkpoint->directory();
  ExpertFiles files = HADAL_TRY(ExpertFiles::open(std::move(checkpoint), *reader));
  if (!policy) policy = make_likely_next({files.layers(), files.experts()});
  ExpertSlots room = expert_slots(options.slots > 0 ? INT64_MAX : options.memory_bytes, files.slot_bytes(),
                                  files.staging_bytes(), files.keys());
  if (options.slots > 0) room.slots = options.slots;
  if (room.slots < least) {
    const std::int64_t needed = least * files.slot_bytes() + kLeastStaging * files.staging_bytes();
    return fail(ErrorCode::kNoMemory, "{}: {:.2f} GB for experts are too little, the {} of one token take {:.2f} GB",
                where, 1e-9 * static_cast<double>(options.memory_bytes), least, 1e-9 * static_cast<double>(needed));
  }
  std::unique_ptr<ExpertStore> store(new ExpertStore(std::move(files), std::move(reader), std::move(policy)));
  HADAL_CHECK_OK(store->allocate(room.slots, room.staging));
  return store;
}

ExpertStore::~ExpertStore() = default;

Status ExpertStore::allocate(std::int64_t slots, std::int64_t staging) {
  arena_ = HADAL_TRY(Arena::reserve(staging * files_.staging_bytes() + slots * files_.slot_bytes()));
  const auto keys = static_cast<std::size_t>(files_.keys());
  slots_.resize(static_cast<std::size_t>(slots));
  loads_.resize(static_cast<std::size_t>(staging));
  slot_of_.assign(keys, kNone);
  load_of_.assign(keys, kNone);
  want_of_.assign(keys, kNone);
  return {};
}

std::byte* ExpertStore::staging(std::size_t load) const {
  return arena_.at(static_cast<std::int64_t>(load) * files_.staging_bytes());
}

std::int64_t ExpertStore::want_of(std::int32_t key) const {
  const std::int32_t want = want_of_[static_cast<std::size_t>(key)];
  return want == kNone || given_[static_cast<std::size_t>(want)] ? kNone : want;
}

void ExpertStore::begin_step(std::int64_t tokens) {
  step_tokens_ = tokens;
  hints_.clear();
  next_hint_ = 0;
}

void ExpertStore::prefetch(std::int32_t layer, std::span<const std::int32_t> experts) {
  for (const std::int32_t e : experts) hints_.push_back(files_.key(layer, e));
  pump();
}

void ExpertStore::guess(std::int32_t layer, std::span<const std::int32_t> experts) {
  guess_.clear();
  for (const std::int32_t e : experts) guess_.push_back(files_.key(layer, e));
  if (trust_ > kWorthReading) prefetch(layer, experts);
}

void ExpertStore::begin_layer(std::int32_t layer, std::span<const ExpertWant> wants) {
  for (const ExpertWant& w : wants_) want_of_[static_cast<std::size_t>(files_.key(layer_, w.expert))] = kNone;
  for (Slot& s : slots_) s.given = false;
  ready_.clear();
  failed_.reset();
  layer_ = layer;
  wants_.assign(wants.begin(), wants.end());
  if (observer_) observer_(layer, wants);
  given_.assign(wants.size(), false);
  first_open_ = first_unread_ = 0;
  policy_->asked(layer, step_tokens_, wants);
  for (std::size_t i = 0; i < wants_.size(); ++i) {
    const std::int32_t key = files_.key(layer, wants_[i].expert);
    want_of_[static_cast<std::size_t>(key)] = static_cast<std::int32_t>(i);
    const std::int32_t slot = slot_of_[static_cast<std::size_t>(key)];
    if (slot == kNone)
      ++(load_of_[static_cast<std::size_t>(key)] == kNone ? stats_.misses : stats_.prefetched);
    else
      ++(std::exchange(slots_[static_cast<std::size_t>(slot)].early, false) ? stats_.prefetched : stats_.hits);
  }
  for (const std::int32_t key : guess_)
    if (key / files_.experts() == layer) {
      const bool right = want_of_[static_cast<std::size_t>(key)] != kNone;
      ++stats_.guessed;
      stats_.guessed_right += right;
      trust_ += ((right ? 1.0 : 0.0) - trust_) * kTrustStep;
    }
  guess_.clear();
  for (Slot& s : slots_)  // its time has come and nobody asked
    if (s.early && s.key / files_.experts() == layer) {
      s.early = false;
      ++stats_.wasted;
    }
  hints_.erase(hints_.begin(), hints_.begin() + static_cast<std::ptrdiff_t>(next_hint_));
  std::erase_if(hints_, [&](std::int32_t key) { return key / files_.experts() == layer; });
  next_hint_ = 0;
  pump();
}

Result<std::span<const ExpertStore::Ready>> ExpertStore::ready(ThreadPool& pool, std::int64_t end) {
  for (Slot& s : slots_) s.given = false;
  ready_.clear();
  for (;;) {
    pump();
    while (first_open_ < wants_.size() && given_[first_open_]) ++first_open_;
    for (auto i = first_open_; i < static_cast<std::size_t>(end); ++i) {
      const std::int32_t slot = slot_of_[static_cast<std::size_t>(files_.key(layer_, wants_[i].expert))];
      if (given_[i] || slot == kNone) continue;
      Slot& s = slots_[static_cast<std::size_t>(slot)];
      s.given = given_[i] = true;
      ready_.push_back({static_cast<std::int64_t>(i), &s.weights});
    }
    if (!ready_.empty() || first_open_ >= static_cast<std::size_t>(end)) return std::span<const Ready>(ready_);
    if (failed_) return std::unexpected(*failed_);
    if (pack(pool, end)) continue;
    const Stopwatch watch;
    if (!take_finished(true))  // something is always on its way: see make_wanted_room()
      return fail(ErrorCode::kInternal, "expert {} of layer {} is neither in memory nor being read",
                  wants_[first_open_].expert, layer_);
    stats_.stall_seconds += watch.seconds();
  }
}

// Reading.

void ExpertStore::pump() {
  while (take_finished(false)) {
  }
  while (reader_->has_room()) {
    Load* load = next_to_read();
    if (!load) return;
    AsyncReader::Read& read = load->reads[load->started];
    read.tag = load->started++ * loads_.size() + static_cast<std::size_t>(load - loads_.data());
    reader_->start(read);
  }
}

bool ExpertStore::take_finished(bool wait) {
  const auto done = reader_->finished(wait);
  if (!done) return false;
  Load& load = loads_[done->tag % loads_.size()];
  stats_.bytes_read += load.reads[done->tag / loads_.size()].length;
  ++load.finished;
  if (!done->status && load.status) {
    load.status = done->status;
    load.reads.resize(load.started);  // what was not begun is not worth beginning
  }
  if (load.arrived() && !load.status) {
    if (want_of(load.key) != kNone) failed_ = load.status.error();
    end_load(load);
  }
  return true;
}

// Whose next part is read: wanted ones in the order they are asked for, then what was prefetched; null when nothing is
// to be read or no buffer is free.
ExpertStore::Load* ExpertStore::next_to_read() {
  Load* best = nullptr;
  auto rank = [&](const Load& l) {
    const std::int64_t want = want_of(l.key);
    return std::pair(want == kNone ? INT64_MAX : want, l.order);
  };
  std::size_t busy = 0, unwanted = 0;
  for (Load& l : loads_) {
    if (l.key == kNone) continue;
    ++busy;
    unwanted += want_of(l.key) == kNone;
    if (l.started < l.reads.size() && (!best || rank(l) < rank(*best))) best = &l;
  }
  if (best && want_of(best->key) != kNone) return best;
  const bool free = busy < loads_.size();
  for (; free && !failed_ && first_unread_ < wants_.size(); ++first_unread_) {
    const std::int32_t key = files_.key(layer_, wants_[first_unread_].expert);
    if (given_[first_unread_] || slot_of_[static_cast<std::size_t>(key)] != kNone ||
        load_of_[static_cast<std::size_t>(key)] != kNone)
      continue;
    if (!make_wanted_room(static_cast<std::int64_t>(first_unread_))) return best;
    return begin_load(key);
  }
  if (best) return best;
  // A quarter of the buffers and half of the slots stay with what a layer will ask for.
  const auto early =
      static_cast<std::size_t>(std::count_if(slots_.begin(), slots_.end(), [](const Slot& s) { return s.early; }));
  const bool room = free && unwanted < loads_.size() - (loads_.size() + 3) / 4 && unwanted + early < slots_.size() / 2;
  for (; room && next_hint_ < hints_.size(); ++next_hint_) {
    const std::int32_t key = hints_[next_hint_];
    if (slot_of_[static_cast<std::size_t>(key)] == kNone && load_of_[static_cast<std::size_t>(key)] == kNone)
      return begin_load(key);
  }
  return nullptr;
}

ExpertStore::Load* ExpertStore::begin_load(std::int32_t key) {
  const auto free = std::find_if(loads_.begin(), loads_.end(), [](const Load& l) { return l.key == kNone; });
  free->key = key;
  free->started = free->finished = 0;
  free->order = next_order_++;
  free->status = {};
  const auto index = free - loads_.begin();
  files_.reads(key, staging(static_cast<std::size_t>(index)), free->reads);
  load_of_[static_cast<std::size_t>(key)] = static_cast<std::int32_t>(index);
  return &*free;
}

void ExpertStore::end_load(Load& load) {
  load_of_[static_cast<std::size_t>(load.key)] = kNone;
  load.key = kNone;
}

// Wanted experts in memory or on their way never outnumber the slots, so that each finds its place. When they are as
// many, one that is asked for last makes room for one that is asked for earlier.
bool ExpertStore::make_wanted_room(std::int64_t want) {
  std::int64_t wanted = 0, last = want;
  std::int32_t victim = kNone;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const std::int64_t other = slots_[i].key == kNone ? kNone : want_of(slots_[i].key);
    wanted += other != kNone;
    if (other > last) {
      last = other;
      victim = static_cast<std::int32_t>(i);
    }
  }
  for (const Load& l : loads_) wanted += l.key != kNone && want_of(l.key) != kNone;
  if (wanted < slots()) return true;
  if (victim == kNone) return false;
  evict(victim);
  return true;
}

// The buffers must be free: what has been read ahead and waits to be packed is let go.
Result<ExpertStore::ReadTiming> ExpertStore::time_reads(double seconds, std::uint64_t seed) {
  while (take_finished(true)) {
  }
  for (Load& l : loads_) {
    if (l.key == kNone) continue;
    ++stats_.wasted;
    end_load(l);
  }
  std::mt19937_64 random(seed);
  std::vector<AsyncReader::Read> reads;
  std::vector<std::size_t> unread(loads_.size());  // of each buffer: parts on their way
  ReadTiming out;
  std::size_t buffer = 0, next = 0;  // being filled; its parts from `next` on are not begun
  const int warm = 16;
  int finished = 0;
  double began = 0;
  const Stopwatch watch;
  while (watch.seconds() < seconds || reader_->unfinished() > 0) {
    const bool more = watch.seconds() < seconds;
    while (more && reader_->has_room()) {
      if (next == reads.size()) {
        const auto free = std::find(unread.begin(), unread.end(), 0U);
        if (free == unread.end()) break;
        buffer = static_cast<std::size_t>(free - unread.begin());
        files_.reads(static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(files_.keys())), staging(buffer),
                     reads);
        unread[buffer] = reads.size();
        next = 0;
      }
      reads[next].tag = buffer;
      reader_->start(reads[next++]);
    }
    if (!more)
      for (; next < reads.size(); ++next) --unread[buffer];
    const auto done = reader_->finished(true);
    if (!done) break;
    if (!done->status) {
      while (reader_->finished(true)) {
      }
      return std::unexpected(done->status.error());
    }
    --unread[done->tag];
    // Between the first and the last read as many are in flight all the time; ends would make the disk look slower.
    if (!more) continue;
    if (++finished <= warm)
      began = watch.seconds();
    else
      out.bytes += done->length;
    out.seconds = watch.seconds() - began;
  }
  return out;
}

// Places.

void ExpertStore::evict(std::int32_t slot) {
  Slot& s = slots_[static_cast<std::size_t>(slot)];
  if (s.key == kNone) return;
  const std::int64_t want = want_of(s.key);
  if (want != kNone) first_unread_ = std::min(first_unread_, static_cast<std::size_t>(want));
  stats_.wasted += s.early;
  slot_of_[static_cast<std::size_t>(s.key)] = kNone;
  s.key = kNone;
  s.early = false;
}

// A free slot, or the one whose expert the policy values least. What was prefetched gives way to what is wanted only,
// and what is wanted, after everything else, to what is wanted earlier. Never one that is given.
std::int32_t ExpertStore::find_slot(const Load& load) {
  const std::int64_t mine = want_of(load.key);
  std::int32_t best = kNone;
  std::pair<int, double> lowest;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& s = slots_[i];
    if (s.key == kNone) return static_cast<std::int32_t>(i);
    const std::int64_t want = want_of(s.key);
    if (s.given || (s.early && mine == kNone) || (want != kNone && (mine == kNone || want < mine))) continue;
    std::pair<int, double> rank(s.early, policy_->value(s.key));
    if (want != kNone) rank = {2, -static_cast<double>(want)};
    if (best != kNone && !(rank < lowest)) continue;
    best = static_cast<std::int32_t>(i);
    lowest = rank;
  }
  return best;
}

// Packs every arrived expert of wants [0, end), else one other that has arrived; false when there was none.
bool ExpertStore::pack(ThreadPool& pool, std::int64_t end) {
  packing_.clear();
  std::int64_t tasks = 0;
  auto add = [&](Load& load) {
    const std::int32_t slot = find_slot(load);
    if (slot == kNone) return false;
    evict(slot);
    Slot& s = slots_[static_cast<std::size_t>(slot)];
    s.key = load.key;
    s.early = want_of(load.key) == kNone;
    s.weights = files_.place(load.key, arena_.at(static_cast<std::int64_t>(loads_.size()) * files_.staging_bytes() +
                                                 slot * files_.slot_bytes()));
    packing_.push_back({&load, slot, tasks, std::nullopt});
    tasks += files_.pack_tasks(s.weights);
    return true;
  };
  Load* other = nullptr;
  for (Load& l : loads_) {
    if (!l.arrived()) continue;
    const std::int64_t want = want_of(l.key);
    if (want != kNone && want < end)
      add(l);
    else if (!other || l.order < other->order)
      other = &l;
  }
  if (packing_.empty() && other && !add(*other)) {  // every slot holds something better
    const std::int64_t want = want_of(other->key);
    if (want == kNone)
      ++stats_.wasted;
    else
      first_unread_ = std::min(first_unread_, static_cast<std::size_t>(want));
    end_load(*other);
    return true;
  }
  if (packing_.empty()) return false;
  pack_loads(pool);
  return true;
}

void ExpertStore::pack_loads(ThreadPool& pool) {
  const Stopwatch watch;
  const Packing& last = packing_.back();
  const std::int64_t tasks = last.first_task + files_.pack_tasks(slots_[static_cast<std::size_t>(last.slot)].weights);
  std::mutex mutex;
  pool.for_each(tasks, [&](std::int64_t task, int) {
    std::size_t i = packing_.size() - 1;
    while (packing_[i].first_task > task) --i;
    Packing& p = packing_[i];
    const auto load = static_cast<std::size_t>(p.load - loads_.data());
    auto error =
        files_.pack(p.load->key, staging(load), slots_[static_cast<std::size_t>(p.slot)].weights, task - p.first_task);
    if (!error) return;
    const std::lock_guard lock(mutex);
    if (!p.error || error->what < p.error->what) p.error = std::move(error);  // the same one, whichever thread is first
  });
  for (Packing& p : packing_) {
    Slot& s = slots_[static_cast<std::size_t>(p.slot)];
    if (p.error) {
      if (!s.early) failed_ = std::move(p.error);
      s.key = kNone;
      s.early = false;
    } else {
      slot_of_[static_cast<std::size_t>(s.key)] = p.slot;
    }
    end_load(*p.load);
  }
  stats_.pack_seconds += watch.seconds();
}

}  // namespace hadal
