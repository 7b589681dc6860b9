#include "serve/turns.h"

#include <xxhash.h>

#include <filesystem>

#include "base/log.h"

namespace hadal::serve {
namespace {

// A turn's ids are counted with every key it has: too much rather than too little. The constant is a map node and a
// list node.
std::size_t cost(const std::vector<TokenId>& ids) { return ids.size() * sizeof(TokenId) + 128; }

}  // namespace

std::optional<std::vector<TokenId>> Turns::find(const chat::TurnKey& key) const {
  if (durable_) return durable_->find_turn({key.high, key.low});
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end()) return std::nullopt;
  order_.splice(order_.begin(), order_, found->second.place);
  return *found->second.ids;
}

void Turns::remember(std::span<const chat::TurnKey> keys, std::vector<TokenId> ids) {
  if (durable_) {
    std::vector<TurnKey> names;
    for (const chat::TurnKey& key : keys) names.push_back({key.high, key.low});
    if (Status s = durable_->remember(names, {}, ids); !s)
      log_at(LogLevel::kWarn, "a turn is not remembered: {}", s.error().what);
    return;
  }
  const Ids shared = std::make_shared<const std::vector<TokenId>>(std::move(ids));
  const std::lock_guard lock(mutex_);
  for (const chat::TurnKey& key : keys) {
    if (auto old = entries_.find(key); old != entries_.end()) {
      bytes_ -= cost(*old->second.ids);
      order_.erase(old->second.place);
      entries_.erase(old);
    }
    order_.push_front(key);
    entries_[key] = {shared, order_.begin()};
    bytes_ += cost(*shared);
  }
  while (bytes_ > most_bytes_ && order_.size() > 1) {
    const auto oldest = entries_.find(order_.back());
    bytes_ -= cost(*oldest->second.ids);
    entries_.erase(oldest);
    order_.pop_back();
  }
}

Result<TurnMemory> open_turn_memory(const std::string& data, std::string_view tokenizer_json) {
  std::error_code e;
  std::filesystem::create_directories(data, e);
  if (e) return fail(ErrorCode::kIo, "--data {}: cannot be made: {}", data, e.message());
  return TurnMemory::open(data + "/turns", XXH3_64bits(tokenizer_json.data(), tokenizer_json.size()));
}

}  // namespace hadal::serve
