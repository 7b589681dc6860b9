// Remembered turns: in a file when there is a data folder, else in memory, the least recently used forgotten first.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "chat/replay.h"
#include "sessions/turn_memory.h"

namespace hadal::serve {

class Turns final : public chat::TurnLookup {
 public:
  explicit Turns(std::size_t most_bytes = 256 << 20) : most_bytes_(most_bytes) {}
  explicit Turns(TurnMemory durable) : durable_(std::make_unique<TurnMemory>(std::move(durable))) {}

  std::optional<std::vector<TokenId>> find(const chat::TurnKey& key) const override;
  // The first key is the turn's place, the others are its calls'. A failure to write is logged: the answer was given.
  void remember(std::span<const chat::TurnKey> keys, std::vector<TokenId> ids);

 private:
  using Ids = std::shared_ptr<const std::vector<TokenId>>;
  struct Entry {
    Ids ids;
    std::list<chat::TurnKey>::iterator place;
  };
  std::unique_ptr<TurnMemory> durable_;
  std::size_t most_bytes_ = 0;
  mutable std::mutex mutex_;
  mutable std::list<chat::TurnKey> order_;  // most recently used first
  std::map<chat::TurnKey, Entry> entries_;
  std::size_t bytes_ = 0;
};

// The file of a data folder, made when it is not there. Ids belong to one tokenizer, which `tokenizer_json` is.
Result<TurnMemory> open_turn_memory(const std::string& data, std::string_view tokenizer_json);

}  // namespace hadal::serve
