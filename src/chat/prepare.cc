#include "chat/prepare.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace hadal::chat {
namespace {

void merge(std::span<const Message> messages, int first_index, std::vector<Turn>& turns) {
  std::size_t start = turns.size();  // context and messages do not merge into each other
  for (const Message& message : messages) {
    int index = first_index + static_cast<int>(&message - messages.data());
    bool is_result = message.role == Role::kTool;
    if (!is_result && message.role != Role::kUser) {
      turns.push_back({message.role, &message, index, {}});
      continue;
    }
    Turn* last = turns.size() > start && turns.back().role == Role::kUser ? &turns.back() : nullptr;
    // A result joins even a turn with a task; a text does not.
    if (!last || (!is_result && last->task())) last = &turns.emplace_back(Turn{Role::kUser, &message, index, {}});
    last->parts.push_back({&message, index});
  }
}

void sort_results(std::vector<Turn>& turns) {
  std::unordered_map<std::string_view, int> order;  // call id -> place among its turn's calls
  auto place = [&](const TurnPart& part) {
    auto found = order.find(part.message->tool_call_id);
    return found == order.end() ? 0 : found->second;
  };
  for (Turn& turn : turns) {
    if (turn.role == Role::kAssistant && !turn.message->tool_calls.empty()) {
      order.clear();
      for (std::size_t i = 0; i < turn.message->tool_calls.size(); ++i) {
        std::string_view id = turn.message->tool_calls[i].id;
        if (!id.empty()) order[id] = static_cast<int>(i);
      }
    }
    if (turn.role != Role::kUser || order.empty()) continue;
    struct Placed {
      int place;
      std::size_t arrival;  // among equals the first to arrive stays first
      TurnPart part;
      auto key() const { return std::pair(place, arrival); }
    };
    std::vector<Placed> results;
    for (const TurnPart& part : turn.parts) {
      if (part.is_result()) results.push_back({place(part), results.size(), part});
    }
    std::ranges::sort(results, {}, &Placed::key);
    auto next = results.begin();
    for (TurnPart& part : turn.parts) {
      if (part.is_result()) part = (next++)->part;
    }
  }
}

std::ptrdiff_t last_user_turn(std::span<const Turn> turns) {
  for (std::size_t i = turns.size(); i-- > 0;) {
    if (turns[i].role == Role::kUser || turns[i].role == Role::kDeveloper) return static_cast<std::ptrdiff_t>(i);
  }
  return -1;
}

std::vector<Turn> dropped(std::span<const Turn> turns) {
  std::ptrdiff_t last_user = last_user_turn(turns);
  std::vector<Turn> kept;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const Turn& turn = turns[i];
    bool current = static_cast<std::ptrdiff_t>(i) >= last_user;
    switch (turn.role) {
      case Role::kUser:
      case Role::kSystem:
      case Role::kLatestReminder:
      case Role::kDirectSearchResults:
        kept.push_back(turn);
        break;
      case Role::kAssistant:
        kept.push_back(turn);
        if (!current) kept.back().reasoning_dropped = true;
        break;
      default:
        if (current) kept.push_back(turn);
    }
  }
  return kept;
}

}  // namespace

const std::optional<std::string>& Turn::task() const {
  static const std::optional<std::string> kNone;
  return message->role == Role::kTool ? kNone : message->task;
}

Prepared prepare(std::span<const Message> context, std::span<const Message> messages, bool thinking,
                 bool drop_thinking) {
  std::vector<Turn> turns;
  merge(context, 0, turns);
  std::size_t first = turns.size();
  merge(messages, static_cast<int>(context.size()), turns);
  sort_results(turns);

  bool declares = std::ranges::any_of(
      turns, [](const Turn& turn) { return turn.role != Role::kUser && !turn.message->tools.empty(); });
  bool drops = drop_thinking && !declares;
  if (thinking && drops) {
    // Emitted is the tail by count. A context may keep more turns alone than inside the whole; see the specification.
    std::size_t context_kept = dropped(std::span(turns).first(first)).size();
    turns = dropped(turns);
    first = std::min(context_kept, turns.size());
  }
  std::ptrdiff_t last_user = last_user_turn(turns);
  return {std::move(turns), first, last_user, drops};
}

}  // namespace hadal::chat
