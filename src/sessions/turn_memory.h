// The exact ids of assistant turns, by what a client sends back of them: the id of a tool call, or a key of the turn's
// text. A client re-spells JSON, reorders keys and drops reasoning; putting the remembered ids in place of what it sent
// keeps the prompt identical to what was generated. docs/formats/turn-memory.md.
//
// Durable like a session log (record_file.h), bounded, the oldest leave first. Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "sessions/record_file.h"

namespace hadal {

// 128 bits that the chat layer computes from a turn as clients return it (chat/replay.h): a turn may have several.
struct TurnKey {
  std::uint64_t high = 0, low = 0;
  bool operator==(const TurnKey&) const = default;
};

struct TurnMemoryOptions {
  std::int64_t most_bytes = std::int64_t{256} << 20;  // of the file, after which it is compacted to three quarters
  SyncPolicy sync;
};

class TurnMemory {
 public:
  static constexpr std::size_t kMostTokens = 200000;  // of one turn; longer ones are not remembered
  static constexpr std::size_t kMostCallId = 256;     // bytes
  static constexpr std::size_t kMostNames = 512;      // keys, and as many calls, of one turn

  // Makes the file when there is none. Ids mean something to one tokenizer only: a file of another one is refused with
  // kBadInput; kBusy, kIo, kUnsupported and kBadInput as RecordFile.
  static Result<TurnMemory> open(const std::string& path, std::uint64_t tokenizer,
                                 const TurnMemoryOptions& options = {});
  // Beside a writer, to find turns alone: those that were complete when it looked. kNotFound: there is no such file.
  static Result<TurnMemory> read(const std::string& path, std::uint64_t tokenizer);

  // Remembers; what is known already is written again only if it differs. With the operating system on return. kUsage:
  // no ids, or beyond the limits above.
  Status remember_call(std::string_view call, std::span<const TokenId> ids);
  Status remember_turn(const TurnKey& key, std::span<const TokenId> ids);
  // A turn under all its keys and the ids of all its calls: stored once.
  Status remember(std::span<const TurnKey> keys, std::span<const std::string> calls, std::span<const TokenId> ids);

  std::optional<std::vector<TokenId>> find_call(std::string_view call) const;
  std::optional<std::vector<TokenId>> find_turn(const TurnKey& key) const;

  std::size_t turns() const;  // distinct id lists held
  std::int64_t file_bytes() const;
  std::int64_t cut_bytes() const;  // of a torn end, when it was opened
  Status sync();

 private:
  struct State;
  static Result<std::shared_ptr<State>> load(const std::string& path, std::uint64_t tokenizer,
                                             const TurnMemoryOptions& options, RecordFile::Access access);
  explicit TurnMemory(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace hadal
