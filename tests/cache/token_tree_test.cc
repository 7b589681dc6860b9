// The radix tree against a plain set of lines.
#include "cache/token_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace hadal {
namespace {

// Remembers which depths belong to a node, as the store remembers which pages do.
struct Marks {
  std::vector<Position> depths;  // all in (start, end]
  bool kept = false;
  Marks cut_front(Position, Position at) {
    Marks front;
    const auto end = std::partition_point(depths.begin(), depths.end(), [&](Position d) { return d <= at; });
    front.depths.assign(depths.begin(), end);
    depths.erase(depths.begin(), end);
    return front;
  }
  void join_front(Marks front, Position) { depths.insert(depths.begin(), front.depths.begin(), front.depths.end()); }
  bool removable() const { return !kept; }
};
using Tree = TokenTree<Marks>;
using Ids = std::vector<TokenId>;

void check_shape(Tree& tree, const std::set<Ids>& lines) {
  std::set<Ids> found;
  tree.each([&](Tree::Node* n) {
    if (!n->parent) return;
    EXPECT_EQ(n->start, n->parent->end());
    EXPECT_EQ(n->parent->children.at(n->edge.front()).get(), n);
    EXPECT_TRUE(n->payload.kept || n->children.size() > 1) << "a node without a reason";
    std::vector<Position> expected;
    for (Position d = n->start + 1; d <= n->end(); ++d) expected.push_back(d);
    EXPECT_EQ(n->payload.depths, expected);
    if (n->payload.kept) found.insert(Tree::ids_of(n));
  });
  EXPECT_EQ(found, lines);
}

TEST(TokenTree, HoldsWhatASetHolds) {
  std::mt19937 random(1);
  const auto line = [&] {
    Ids ids(random() % 12 + 1);
    for (TokenId& id : ids) id = TokenId{static_cast<std::int32_t>(random() % 2)};
    return ids;
  };
  Tree tree;
  std::set<Ids> lines;
  for (int round = 0; round < 2000; ++round) {
    const Ids ids = line();
    if (random() % 2) {
      Tree::Node* node = tree.insert(ids);
      EXPECT_EQ(Tree::ids_of(node), ids);
      node->payload.kept = true;
      if (node->payload.depths.empty())
        for (Position d = node->start + 1; d <= node->end(); ++d) node->payload.depths.push_back(d);
      lines.insert(ids);
    } else if (!lines.empty()) {
      auto gone = std::next(lines.begin(), static_cast<std::ptrdiff_t>(random() % lines.size()));
      const auto at = tree.find(*gone);
      ASSERT_EQ(at.length, at.node->end());
      at.node->payload.kept = false;
      tree.tidy(at.node);
      lines.erase(gone);
    }
    const Ids asked = line();
    Position agree = 0;
    for (const Ids& l : lines)
      agree =
          std::max<Position>(agree, std::mismatch(l.begin(), l.end(), asked.begin(), asked.end()).first - l.begin());
    EXPECT_EQ(tree.find(asked).length, agree);
    if (round % 50 == 0) check_shape(tree, lines);
  }
}

}  // namespace
}  // namespace hadal
