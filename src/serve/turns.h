// Remembered turns in memory, the least recently used forgotten first.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "chat/replay.h"

namespace hadal::serve {

class Turns final : public chat::TurnLookup {
 public:
  explicit Turns(std::size_t most_bytes = 256 << 20) : most_bytes_(most_bytes) {}
  std::optional<std::vector<TokenId>> find(const chat::TurnKey& key) const override;
  void remember(std::span<const chat::TurnKey> keys, std::vector<TokenId> ids);

 private:
  using Ids = std::shared_ptr<const std::vector<TokenId>>;
  struct Entry {
    Ids ids;
    std::list<chat::TurnKey>::iterator place;
  };
  std::size_t most_bytes_;
  mutable std::mutex mutex_;
  mutable std::list<chat::TurnKey> order_;  // most recently used first
  std::map<chat::TurnKey, Entry> entries_;
  std::size_t bytes_ = 0;
};

}  // namespace hadal::serve
