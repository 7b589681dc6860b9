#include "sampling/stop_strings.h"

#include <algorithm>
#include <utility>

namespace hadal {

std::int32_t StopStrings::child(std::int32_t node, unsigned char byte) const {
  const auto& next = nodes_[static_cast<std::size_t>(node)].next;
  auto at = std::lower_bound(next.begin(), next.end(), byte,
                             [](const auto& edge, unsigned char b) { return edge.first < b; });
  return at != next.end() && at->first == byte ? at->second : -1;
}

std::int32_t StopStrings::step(std::int32_t node, unsigned char byte) const {
  for (;;) {
    const std::int32_t to = child(node, byte);
    if (to >= 0) return to;
    if (node == 0) return 0;
    node = nodes_[static_cast<std::size_t>(node)].fail;
  }
}

Result<StopStrings> StopStrings::make(std::vector<std::string> strings) {
  constexpr std::size_t kMaxStrings = 64,
                        kMaxBytes = 64 << 10;  // nodes are allocated per byte: a request must not buy a gigabyte
  if (strings.size() > kMaxStrings)
    return fail(ErrorCode::kUsage, "{} stop strings; at most {} are allowed", strings.size(), kMaxStrings);
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < strings.size(); ++i) {
    if (strings[i].empty()) return fail(ErrorCode::kUsage, "stop string {} is empty", i);
    bytes += strings[i].size();
  }
  if (bytes > kMaxBytes)
    return fail(ErrorCode::kUsage, "stop strings of {} bytes in all; at most {} are allowed", bytes, kMaxBytes);

  StopStrings result;
  auto& nodes = result.nodes_;
  for (std::size_t i = 0; i < strings.size(); ++i) {
    std::int32_t at = 0;
    for (char c : strings[i]) {
      const auto byte = static_cast<unsigned char>(c);
      std::int32_t to = result.child(at, byte);
      if (to < 0) {
        to = static_cast<std::int32_t>(nodes.size());
        nodes.push_back({});
        nodes.back().depth = nodes[static_cast<std::size_t>(at)].depth + 1;
        auto& next = nodes[static_cast<std::size_t>(at)].next;
        next.insert(std::upper_bound(next.begin(), next.end(), std::pair{byte, std::int32_t{0}},
                                     [](const auto& a, const auto& b) { return a.first < b.first; }),
                    {byte, to});
      }
      at = to;
    }
    auto& match = nodes[static_cast<std::size_t>(at)].match;
    if (match < 0) match = static_cast<std::int32_t>(i);  // a repeated string: the first index counts
  }
  // Breadth first: a node's fail link is shorter than itself, so it is final before it is needed.
  std::vector<std::int32_t> queue{0};
  for (std::size_t head = 0; head < queue.size(); ++head) {
    const std::int32_t node = queue[head];
    for (auto [byte, to] : nodes[static_cast<std::size_t>(node)].next) {
      auto& child = nodes[static_cast<std::size_t>(to)];
      child.fail = node == 0 ? 0 : result.step(nodes[static_cast<std::size_t>(node)].fail, byte);
      if (child.match < 0) child.match = nodes[static_cast<std::size_t>(child.fail)].match;
      queue.push_back(to);
    }
  }
  result.strings_ = std::move(strings);
  return result;
}

StopStrings::Step StopStrings::feed(std::string_view piece) {
  if (stopped_) return {};
  held_ += piece;
  for (std::size_t i = held_.size() - piece.size(); i < held_.size(); ++i) {
    state_ = step(state_, static_cast<unsigned char>(held_[i]));
    const std::int32_t match = nodes_[static_cast<std::size_t>(state_)].match;
    if (match < 0) continue;
    stopped_ = true;
    std::string text = std::move(held_);
    held_.clear();
    text.resize(i + 1 - strings_[static_cast<std::size_t>(match)].size());
    return {std::move(text), match};
  }
  // What the automaton still tracks is the longest suffix that may grow into a stop string.
  const std::size_t keep = static_cast<std::size_t>(nodes_[static_cast<std::size_t>(state_)].depth);
  Step out{held_.substr(0, held_.size() - keep), -1};
  held_.erase(0, held_.size() - keep);
  return out;
}

std::string StopStrings::finish() {
  stopped_ = true;
  return std::exchange(held_, {});
}

}  // namespace hadal
