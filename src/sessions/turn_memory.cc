#include "sessions/turn_memory.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "sessions/byte_coder.h"

namespace hadal {
namespace {

constexpr RecordFileKind kKind{{'H', 'A', 'D', 'A', 'L', 'T', 'R', 'N'}, 1, "turn memory"};
constexpr std::uint16_t kTurnRecord = 1;

struct KeyHash {
  std::size_t operator()(const TurnKey& k) const { return k.high ^ k.low; }  // the key is a hash already
};

// One remembered turn. `number` grows with age, and names it in the two maps.
struct Turn {
  std::vector<TurnKey> keys;
  std::vector<std::string> calls;
  std::vector<TokenId> ids;
};

std::vector<std::byte> encode(const Turn& t) {
  ByteWriter w;
  w.put(static_cast<std::uint32_t>(t.keys.size()));
  for (const TurnKey& k : t.keys) {
    w.put(k.high);
    w.put(k.low);
  }
  w.put(static_cast<std::uint32_t>(t.calls.size()));
  for (const std::string& c : t.calls) w.put_text(c);
  w.put_list(t.ids);
  return {w.bytes().begin(), w.bytes().end()};
}

// What encode() gives.
std::size_t encoded_size(const Turn& t) {
  std::size_t size = 4 + 16 * t.keys.size() + 4 + 4 + 4 * t.ids.size();
  for (const std::string& c : t.calls) size += 4 + c.size();
  return size;
}

// Of the file, with head, padding and checksum.
std::int64_t record_bytes(std::size_t payload) {
  return static_cast<std::int64_t>(kRecordHead + kRecordSum) + round_up(static_cast<std::int64_t>(payload), 4);
}
constexpr std::int64_t kHeaderBytes = 32;  // of the file

Status check(const Turn& t) {
  if (t.ids.empty() || t.ids.size() > TurnMemory::kMostTokens)
    return fail(ErrorCode::kUsage, "a turn of {} tokens cannot be remembered; 1 to {} can", t.ids.size(),
                TurnMemory::kMostTokens);
  if (t.keys.empty() && t.calls.empty())
    return fail(ErrorCode::kUsage, "a turn without keys and calls could never be found");
  if (std::max(t.keys.size(), t.calls.size()) > TurnMemory::kMostNames)
    return fail(ErrorCode::kUsage, "a turn has more than {} keys or calls", TurnMemory::kMostNames);
  for (const std::string& c : t.calls)
    if (c.empty() || c.size() > TurnMemory::kMostCallId)
      return fail(ErrorCode::kUsage, "a tool call's id has {} bytes; 1 to {} can be remembered", c.size(),
                  TurnMemory::kMostCallId);
  for (const TokenId id : t.ids)
    if (to_int(id) < 0) return fail(ErrorCode::kUsage, "{} is not a token id", to_int(id));
  return {};
}

Result<Turn> decode(Bytes bytes) {
  ByteReader r(bytes);
  Turn t;
  const auto keys = r.get<std::uint32_t>();
  for (std::uint32_t i = 0; i < keys && r.ok(); ++i) {
    const auto high = r.get<std::uint64_t>();
    t.keys.push_back({high, r.get<std::uint64_t>()});
  }
  const auto calls = r.get<std::uint32_t>();
  for (std::uint32_t i = 0; i < calls && r.ok(); ++i) t.calls.push_back(r.get_text());
  t.ids = r.get_list<TokenId>();
  if (!r.complete()) return fail(ErrorCode::kBadInput, "a turn has another size than its fields");
  if (Status s = check(t); !s) return fail(ErrorCode::kBadInput, "{}", s.error().what);
  return t;
}

std::vector<std::byte> header(std::uint64_t tokenizer) {
  ByteWriter w;
  w.put(tokenizer);
  return {w.bytes().begin(), w.bytes().end()};
}

}  // namespace

struct TurnMemory::State {
  State(std::string p, std::uint64_t t, TurnMemoryOptions o)
      : path(std::move(p)), tokenizer(t), options(std::move(o)) {}

  const std::string path;
  const std::uint64_t tokenizer;
  const TurnMemoryOptions options;
  mutable std::mutex mutex;
  std::optional<RecordFile> file;
  std::int64_t cut = 0;

  // Turns by number; first_ is the number of the oldest.
  std::deque<Turn> turns;
  std::uint64_t first = 0;
  std::unordered_map<std::string, std::uint64_t> by_call;
  std::unordered_map<TurnKey, std::uint64_t, KeyHash> by_key;

  const Turn* find(const std::string& call) const {
    const auto f = by_call.find(call);
    return f == by_call.end() ? nullptr : &turns[f->second - first];
  }
  const Turn* find(const TurnKey& key) const {
    const auto f = by_key.find(key);
    return f == by_key.end() ? nullptr : &turns[f->second - first];
  }

  void add(Turn t) {
    const std::uint64_t number = first + turns.size();
    for (const TurnKey& k : t.keys) by_key[k] = number;
    for (const std::string& c : t.calls) by_call[c] = number;
    turns.push_back(std::move(t));
  }

  void forget_oldest() {
    const Turn& t = turns.front();
    for (const TurnKey& k : t.keys)
      if (auto f = by_key.find(k); f != by_key.end() && f->second == first) by_key.erase(f);
    for (const std::string& c : t.calls)
      if (auto f = by_call.find(c); f != by_call.end() && f->second == first) by_call.erase(f);
    turns.pop_front();
    ++first;
  }

  // Whether a newer turn took every name of this one.
  bool replaced(std::size_t i) const {
    const std::uint64_t number = first + i;
    const Turn& t = turns[i];
    return std::none_of(t.keys.begin(), t.keys.end(), [&](const auto& k) { return by_key.at(k) == number; }) &&
           std::none_of(t.calls.begin(), t.calls.end(), [&](const auto& c) { return by_call.at(c) == number; });
  }

  Status remember(Turn t) {
    HADAL_CHECK_OK(check(t));
    const std::lock_guard lock(mutex);
    const auto known = [&](const Turn* old) { return old && old->ids == t.ids; };
    if (std::all_of(t.keys.begin(), t.keys.end(), [&](const auto& k) { return known(find(k)); }) &&
        std::all_of(t.calls.begin(), t.calls.end(), [&](const auto& c) { return known(find(c)); }))
      return {};
    const std::vector<std::byte> record = encode(t);
    const std::int64_t bytes = record_bytes(record.size());
    if (record.size() > RecordFile::kMostPayload || bytes + kHeaderBytes > options.most_bytes)
      return fail(ErrorCode::kUsage, "a turn of {} bytes is more than can be remembered", record.size());
    if (file->size() + bytes > options.most_bytes) HADAL_CHECK_OK(compact(bytes));
    file->stage(kTurnRecord, record);
    HADAL_CHECK_OK(file->write());
    add(std::move(t));
    return {};
  }

  // A new file with the newest turns and room for so many bytes, put in place of the old one. Killed at any moment, one
  // of the two is there whole.
  Status compact(std::int64_t room) {
    std::int64_t bytes = kHeaderBytes;
    std::size_t keep = turns.size();
    const std::int64_t budget = std::min(options.most_bytes / 4 * 3, options.most_bytes - room);
    while (keep > 0) {
      if (!replaced(keep - 1)) bytes += record_bytes(encoded_size(turns[keep - 1]));
      if (bytes > budget) break;
      --keep;
    }
    const std::string beside = path + ".compact";
    ::unlink(beside.c_str());  // left by a process that was killed
    RecordFile fresh = HADAL_TRY(RecordFile::create(beside, kKind, header(tokenizer), options.sync));
    for (std::size_t i = keep; i < turns.size(); ++i) {
      if (replaced(i)) continue;
      fresh.stage(kTurnRecord, encode(turns[i]));
      HADAL_CHECK_OK(fresh.write());
    }
    if (options.sync.mode != SyncPolicy::Mode::kNever) HADAL_CHECK_OK(fresh.sync());
    HADAL_CHECK_OK(fresh.rename(path, true));
    file.emplace(std::move(fresh));
    for (; keep > 0; --keep) forget_oldest();
    return {};
  }
};

// Reads every turn of the file at `path` into a new memory; kNotFound when there is none.
Result<std::shared_ptr<TurnMemory::State>> TurnMemory::load(const std::string& path, std::uint64_t tokenizer,
                                                            const TurnMemoryOptions& options,
                                                            RecordFile::Access access) {
  auto state = std::make_shared<State>(path, tokenizer, options);
  const auto on_header = [&](Bytes content) -> Status {
    ByteReader r(content);
    const auto stored = r.get<std::uint64_t>();
    if (!r.complete()) return fail(ErrorCode::kBadInput, "{}: its header has another size than its fields", path);
    if (stored != tokenizer)
      return fail(ErrorCode::kBadInput, "{}: remembers turns in another model's tokens; move it away", path);
    return {};
  };
  const auto on_record = [&](const Record& r) -> Status {
    if (r.type != kTurnRecord) return fail(ErrorCode::kUnsupported, "is of type {}, which is not known", r.type);
    state->add(HADAL_TRY(decode(r.payload)));
    return {};
  };
  state->file.emplace(HADAL_TRY(RecordFile::open(path, kKind, access, options.sync, on_header, on_record)));
  return state;
}

Result<TurnMemory> TurnMemory::open(const std::string& path, std::uint64_t tokenizer,
                                    const TurnMemoryOptions& options) {
  std::shared_ptr<State> state;
  // Two attempts: another process may make the file between the first and ours.
  for (int attempt = 0; attempt < 2 && !state; ++attempt) {
    auto opened = load(path, tokenizer, options, RecordFile::Access::kAppend);
    if (opened) {
      state = std::move(*opened);
    } else if (opened.error().code != ErrorCode::kNotFound) {
      return std::unexpected(opened.error());
    } else {
      auto made = RecordFile::create(path, kKind, header(tokenizer), options.sync);
      if (made) {
        state = std::make_shared<State>(path, tokenizer, options);
        state->file.emplace(std::move(*made));
      } else if (made.error().code != ErrorCode::kUsage || attempt == 1) {
        return std::unexpected(made.error());
      }
    }
  }
  if (!state) return fail(ErrorCode::kBusy, "{}: another process is making it", path);
  state->cut = state->file->cut_bytes();
  return TurnMemory(std::move(state));
}

Result<TurnMemory> TurnMemory::read(const std::string& path, std::uint64_t tokenizer) {
  return TurnMemory(HADAL_TRY(load(path, tokenizer, {}, RecordFile::Access::kRead)));
}

Status TurnMemory::remember_call(std::string_view call, std::span<const TokenId> ids) {
  return state_->remember({{}, {std::string(call)}, {ids.begin(), ids.end()}});
}

Status TurnMemory::remember_turn(const TurnKey& key, std::span<const TokenId> ids) {
  return state_->remember({{key}, {}, {ids.begin(), ids.end()}});
}

Status TurnMemory::remember(std::span<const TurnKey> keys, std::span<const std::string> calls,
                            std::span<const TokenId> ids) {
  return state_->remember({{keys.begin(), keys.end()}, {calls.begin(), calls.end()}, {ids.begin(), ids.end()}});
}

std::optional<std::vector<TokenId>> TurnMemory::find_call(std::string_view call) const {
  const std::lock_guard lock(state_->mutex);
  const Turn* t = state_->find(std::string(call));
  return t ? std::optional(t->ids) : std::nullopt;
}

std::optional<std::vector<TokenId>> TurnMemory::find_turn(const TurnKey& key) const {
  const std::lock_guard lock(state_->mutex);
  const Turn* t = state_->find(key);
  return t ? std::optional(t->ids) : std::nullopt;
}

std::size_t TurnMemory::turns() const {
  const std::lock_guard lock(state_->mutex);
  return state_->turns.size();
}

std::int64_t TurnMemory::file_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->file->size();
}

std::int64_t TurnMemory::cut_bytes() const { return state_->cut; }

Status TurnMemory::sync() {
  const std::lock_guard lock(state_->mutex);
  return state_->file->sync();
}

}  // namespace hadal
