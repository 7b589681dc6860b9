// A radix tree over token ids. Every node stands for the tokens from the root to the end of its edge; siblings differ
// in the first token of their edges. What is kept at a node is the caller's `Payload`, which can be cut and joined:
//
//   Payload Payload::cut_front(Position start, Position at)   what belongs to (start, at]; the rest stays
//   void Payload::join_front(Payload front, Position start)   the reverse; `start` is where the front begins
//   bool Payload::removable() const                           nothing that needs a node of its own
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.h"

namespace hadal {

template <class Payload>
class TokenTree {
 public:
  struct Node {
    Node* parent = nullptr;
    Position start = 0;         // tokens before this node's edge
    std::vector<TokenId> edge;  // empty for the root only
    std::map<TokenId, std::unique_ptr<Node>> children;
    Payload payload;

    Position end() const { return start + static_cast<Position>(edge.size()); }
  };
  struct Match {
    Node* node = nullptr;  // whose edge the agreement ends in (or at the end of)
    Position length = 0;   // tokens that agree; from node->start to node->end()
  };

  Node* root() { return &root_; }
  const Node* root() const { return &root_; }

  // The longest path that agrees with `ids`.
  Match find(std::span<const TokenId> ids) {
    Node* node = &root_;
    for (;;) {
      auto at = static_cast<std::size_t>(node->end());
      if (at >= ids.size()) return {node, node->end()};
      auto child = node->children.find(ids[at]);
      if (child == node->children.end()) return {node, node->end()};
      node = child->second.get();
      auto rest = ids.subspan(at);
      auto same = std::mismatch(node->edge.begin(), node->edge.end(), rest.begin(), rest.end()).first;
      const Position length = node->start + (same - node->edge.begin());
      if (length < node->end()) return {node, length};
    }
  }

  // The node that stands for exactly `ids`, made when it is not there.
  Node* insert(std::span<const TokenId> ids) {
    auto [node, length] = find(ids);
    if (length < node->end()) node = cut(node, length);
    if (length == static_cast<Position>(ids.size())) return node;
    auto child = std::make_unique<Node>();
    child->parent = node;
    child->start = length;
    child->edge.assign(ids.begin() + length, ids.end());
    return (node->children[child->edge.front()] = std::move(child)).get();
  }

  // Removes `node` and then its ancestors as long as they have nothing to keep and no children; a node left with
  // nothing to keep and one child becomes part of that child.
  void tidy(Node* node) {
    while (node->parent && node->payload.removable()) {
      Node* parent = node->parent;
      if (node->children.size() > 1) return;
      if (node->children.size() == 1) return join(node);
      const TokenId key = node->edge.front();
      parent->children.erase(key);
      node = parent;
    }
  }

  // Parents before children.
  template <class Visit>
  void each(Visit&& visit) {
    std::vector<Node*> open = {&root_};
    while (!open.empty()) {
      Node* node = open.back();
      open.pop_back();
      visit(node);
      for (auto& child : node->children) open.push_back(child.second.get());
    }
  }

  // All tokens from the root to the node's end.
  static std::vector<TokenId> ids_of(const Node* node) {
    std::vector<TokenId> ids(static_cast<std::size_t>(node->end()));
    for (; node->parent; node = node->parent)
      std::copy(node->edge.begin(), node->edge.end(), ids.begin() + node->start);
    return ids;
  }

 private:
  // A new node for the front of node's edge, up to `at`; node keeps the rest below it.
  Node* cut(Node* node, Position at) {
    auto& place = node->parent->children[node->edge.front()];
    auto front = std::make_unique<Node>();
    const auto size = static_cast<std::ptrdiff_t>(at - node->start);
    front->parent = node->parent;
    front->start = node->start;
    front->edge.assign(node->edge.begin(), node->edge.begin() + size);
    front->payload = node->payload.cut_front(node->start, at);
    node->edge = std::vector<TokenId>(node->edge.begin() + size, node->edge.end());  // gives memory back, unlike erase
    node->start = at;
    node->parent = front.get();
    front->children[node->edge.front()] = std::move(place);
    place = std::move(front);
    return place.get();
  }

  void join(Node* node) {
    std::unique_ptr<Node> child = std::move(node->children.begin()->second);
    child->edge.insert(child->edge.begin(), node->edge.begin(), node->edge.end());
    child->payload.join_front(std::move(node->payload), node->start);
    child->start = node->start;
    child->parent = node->parent;
    node->parent->children[child->edge.front()] = std::move(child);  // destroys node
  }

  Node root_;
};

}  // namespace hadal
