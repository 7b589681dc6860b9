#include "machine/topology.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <set>
#include <thread>

#include "machine/cores.h"
#include "machine/probe.h"

namespace hadal {
namespace {

// Two sockets of 8 cores with 2 hardware threads, a node each.
Topology two_sockets() {
  auto t = synthetic_topology("package:2 [numa(memory=64GB)] l3:1(size=32MB) l2:8(size=1MB) core:1 pu:2");
  EXPECT_TRUE(t) << t.error().what;
  return t ? *t : Topology{};
}

TEST(Topology, TwoSockets) {
  const Topology t = two_sockets();
  ASSERT_EQ(t.cores.size(), 16u);
  ASSERT_EQ(t.nodes.size(), 2u);
  EXPECT_EQ(t.cpu_count(), 32);
  EXPECT_EQ(t.nodes[0].cores.size(), 8u);
  EXPECT_EQ(t.nodes[1].cores.front(), 8);
  EXPECT_EQ(t.cores[8].node, 1);
  EXPECT_EQ(t.cores[8].package, 1);
  EXPECT_EQ(t.l2_bytes, 1'000'000);
  EXPECT_EQ(t.l3_bytes, 32'000'000);
  EXPECT_GT(t.nodes[1].memory_bytes, std::int64_t{59} << 30);
}

TEST(Topology, ThisMachineHasTheCoresItMayUse) {
  const Topology& t = machine_topology();
  ASSERT_FALSE(t.cores.empty());
  EXPECT_GE(t.cpu_count(), available_cores());  // a quota may allow fewer than the mask
  std::size_t held = 0;
  for (const MemoryNode& n : t.nodes) held += n.cores.size();
  EXPECT_EQ(held, t.cores.size());
}

TEST(Topology, RefusesDescriptionsThatMakeNoSense) {
  const auto nonsense = synthetic_topology("two sockets");
  ASSERT_FALSE(nonsense);
  EXPECT_EQ(nonsense.error().code, ErrorCode::kUsage);
  EXPECT_FALSE(synthetic_topology("core:2 pu:1", {7}));
}

TEST(PlaceThreads, CoresFirstAndNodesInTurn) {
  const Topology t = two_sockets();
  const auto places = place_threads(t, 32);
  ASSERT_EQ(places.size(), 32u);
  std::set<int> cores, cpus;
  for (int i = 0; i < 32; ++i) {
    const ThreadPlace& p = places[static_cast<std::size_t>(i)];
    EXPECT_EQ(p.node, i % 2) << i;
    EXPECT_EQ(t.cores[static_cast<std::size_t>(p.core)].node, p.node);
    if (i < 16) {
      EXPECT_TRUE(cores.insert(p.core).second) << i;
    }
    EXPECT_TRUE(cpus.insert(p.cpu).second) << i;
  }
  // Fewer threads are a prefix: adding one moves none.
  const auto few = place_threads(t, 5);
  for (std::size_t i = 0; i < few.size(); ++i) EXPECT_EQ(few[i].cpu, places[i].cpu);
  const auto many = place_threads(t, 40);
  EXPECT_EQ(many[32].cpu, places[0].cpu);
}

TEST(PlaceThreads, OnlyWhatIsAllowed) {
  // The second hardware thread of core 0, all of cores 2 and 9.
  const auto t = synthetic_topology("package:2 [numa] core:8 pu:2", {1, 4, 5, 18, 19});
  ASSERT_TRUE(t) << t.error().what;
  ASSERT_EQ(t->cores.size(), 3u);
  EXPECT_EQ(t->cpu_count(), 5);
  std::vector<int> cpus;
  for (const ThreadPlace& p : place_threads(*t, 5)) cpus.push_back(p.cpu);
  EXPECT_EQ(cpus, (std::vector<int>{1, 18, 4, 5, 19}));
}

// Every tile belongs to one node, in order, in proportion to its cores.
void expect_partition(const Topology& t, std::int64_t tiles) {
  std::int64_t at = 0;
  for (const RowBlock& b : row_blocks(t, tiles)) {
    EXPECT_EQ(b.begin, at);
    EXPECT_GT(b.end, b.begin);
    at = b.end;
  }
  EXPECT_EQ(at, tiles);
}

TEST(RowBlocks, CoverEveryTileOnce) {
  const Topology t = two_sockets();
  for (std::int64_t tiles : {0, 1, 2, 3, 127, 128, 8080}) expect_partition(t, tiles);
  const auto blocks = row_blocks(t, 128);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].end, 64);
  EXPECT_EQ(row_blocks(t, 1).size(), 1u);
  EXPECT_TRUE(row_blocks(t, 0).empty());
}

TEST(RowBlocks, FollowCoresAndMemory) {
  Topology t = two_sockets();
  t.nodes[1].memory_bytes = 0;  // cores without memory: their rows lie with the others
  EXPECT_EQ(t.weight_nodes(), std::vector<int>{0});
  ASSERT_EQ(row_blocks(t, 100).size(), 1u);
  EXPECT_EQ(place_threads(t, 2)[1].node, 1);  // but they compute
  expect_partition(t, 100);

  t = two_sockets();
  t.nodes.push_back({2, std::int64_t{256} << 30, {}});  // memory without cores takes none
  EXPECT_EQ(t.weight_nodes(), (std::vector<int>{0, 1}));

  const auto uneven = synthetic_topology("package:2 [numa(memory=1GB)] core:8 pu:1", {0, 1, 2, 3, 4, 5, 8, 9});
  ASSERT_TRUE(uneven);
  const auto blocks = row_blocks(*uneven, 80);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].end, 60);  // six cores to two
}

TEST(Apply, AThreadStaysWhereItIsPut) {
  const auto places = place_threads(machine_topology(), 2);
  for (const ThreadPlace& p : places) {
    int seen = -1;
    std::thread([&] {
      const Status pinned = pin_thread(p);
      EXPECT_TRUE(pinned) << pinned.error().what;
      sched_yield();
      seen = sched_getcpu();
    }).join();
    EXPECT_EQ(seen, p.cpu);
  }
  std::thread([] { EXPECT_FALSE(pin_thread({1 << 15, 0, 0})); }).join();
}

TEST(Apply, OneNodeNeedsNothing) {
  const auto t = synthetic_topology("package:1 [numa(memory=1GB)] core:4 pu:1");
  ASSERT_TRUE(t);
  std::byte nowhere[1];  // would fail if it were asked of the system
  EXPECT_TRUE(interleave_memory(*t, nowhere, std::int64_t{1} << 40));
  EXPECT_TRUE(prefer_node(*t, 0, nowhere, std::int64_t{1} << 40));
  EXPECT_TRUE(place_matrix(*t, WeightPlacement::kRowBlocks, nowhere, 1 << 20, 1 << 20));
}

// The kernel is really asked: a node that is not there is refused, the node that is there is taken.
TEST(Apply, TheSystemIsAsked) {
  Topology t = machine_topology();
  if (t.weight_nodes().empty()) GTEST_SKIP() << "the system tells of no memory node";
  HugeBuffer buffer(std::int64_t{4} << 20);
  ASSERT_NE(buffer.data(), nullptr);
  MemoryNode twin = t.nodes[static_cast<std::size_t>(t.weight_nodes().front())];
  t.nodes.push_back(twin);  // twice the same node: two to interleave over, both there
  const Status ok = interleave_memory(t, buffer.data(), std::int64_t{4} << 20);
  if (!ok) {
    EXPECT_EQ(ok.error().code, ErrorCode::kUnsupported);
    GTEST_SKIP() << ok.error().what;  // a container may forbid it
  }
  EXPECT_TRUE(place_matrix(t, WeightPlacement::kRowBlocks, buffer.data(), 64, 65536));
  buffer.data()[0] = std::byte{1};
  t.nodes.back().number = 1000;
  const Status absent = prefer_node(t, static_cast<int>(t.nodes.size()) - 1, buffer.data(), std::int64_t{4} << 20);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace hadal
