// What a token computes does not depend on the machine it is spread over.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "kernels/kernels.h"
#include "machine/thread_pool.h"
#include "machine/topology.h"

namespace hadal {
namespace {

struct Matrix {
  std::vector<std::byte> bytes;
  PackedMatrix view;
};

std::vector<float> product(const Matrix& w, const Activations& x, const std::vector<RowBlock>& blocks, int threads) {
  std::vector<float> y(static_cast<std::size_t>(x.count * w.view.rows), -1);
  struct Task {
    std::int64_t begin, end;
  };
  std::vector<Task> tasks;  // a node's block, cut for its threads
  for (const RowBlock& b : blocks)
    for (std::int64_t t = b.begin; t < b.end; t += 3) tasks.push_back({t, std::min(t + 3, b.end)});
  ThreadPool pool(threads);
  pool.for_each(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t i, int) {
    const Task& task = tasks[static_cast<std::size_t>(i)];
    kernels().matmul(w.view, task.begin, task.end, x, y.data(), w.view.rows);
  });
  return y;
}

TEST(Partition, RowBlocksOfAnyMachineGiveTheSameBits) {
  constexpr std::int64_t kRows = 16 * 53, kCols = 256, kTokens = 3;
  Matrix w;
  w.view = {Encoding::kBf16, kRows, kCols, nullptr, nullptr};
  w.bytes.resize(static_cast<std::size_t>(w.view.bytes()) + 64);
  std::mt19937 random(3);
  for (std::byte& b : w.bytes) b = static_cast<std::byte>(random() & 0x3f);
  auto address = reinterpret_cast<std::uintptr_t>(w.bytes.data());
  w.view.tiles = w.bytes.data() + (64 - address % 64) % 64;
  std::vector<float> values(kTokens * kCols);
  for (float& v : values) v = static_cast<float>(random() >> 8) / (1 << 24) - 0.5f;
  std::vector<std::byte> packed(static_cast<std::size_t>(activation_bytes(ActivationKind::kBf16, kTokens, kCols)));
  kernels().pack_activations(ActivationKind::kBf16, values.data(), kCols, nullptr, kTokens, kCols, packed.data());
  const Activations x{ActivationKind::kBf16, kTokens, kCols, packed.data()};

  const auto whole = product(w, x, {{0, w.view.tile_count(), 0}}, 1);
  for (const char* machine :
       {"package:1 [numa(memory=1GB)] core:2 pu:1", "package:2 [numa(memory=1GB)] core:8 pu:2",
        "package:3 [numa(memory=1GB)] core:5 pu:1", "package:8 [numa(memory=1GB)] core:16 pu:2"}) {
    const auto t = synthetic_topology(machine);
    ASSERT_TRUE(t) << t.error().what;
    for (int threads : {1, 2, 5}) {
      const auto parts = product(w, x, row_blocks(*t, w.view.tile_count()), threads);
      EXPECT_EQ(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)), 0) << machine << " " << threads;
    }
  }
}

}  // namespace
}  // namespace hadal
