// Cores and memory nodes of a machine, and where threads and weights go on it. Everything but the last section is pure:
// a topology is plain data, made from this machine or from a description of another, and placement is a function of it.
//
// Placement never changes a result: a kernel's output rows do not depend on who computes them (kernels/kernels.h).
//
// How it is meant to be used, by a pool of n threads and an arena of weights:
//   const Topology& t = machine_topology();
//   const auto places = place_threads(t, n);       thread i of the pool calls pin_thread(places[i])
//   place_memory(t, data, bytes, how)              before the first write to data
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace hadal {

struct Core {
  std::vector<int> cpus;  // hardware threads this process may use, as the system numbers them; never empty
  int node = 0;           // index into Topology::nodes
  int package = 0;
};

struct MemoryNode {
  int number = 0;                 // as the system numbers it
  std::int64_t memory_bytes = 0;  // 0: cores without memory of their own
  std::vector<int> cores;         // indices into Topology::cores; empty: memory without cores
};

struct Topology {
  std::vector<Core> cores;  // physical, those with a usable hardware thread, in the order of the machine
  std::vector<MemoryNode> nodes;
  std::int64_t l2_bytes = 0, l3_bytes = 0;  // of the first core; 0: unknown

  int cpu_count() const;
  // Nodes that hold weights: memory and cores of their own. Memory behind a link alone is slower than what it would
  // relieve. All with memory if none has both.
  std::vector<int> weight_nodes() const;
};

// Of this machine: affinity mask and cgroup cpuset respected. Read once. Without hwloc's help (no /sys) one node with a
// core for every usable processor.
const Topology& machine_topology();
// Whether this machine has more than one memory node: one small file, where machine_topology() takes milliseconds.
bool several_nodes();
// From hwloc's synthetic description, "package:2 core:8 pu:2"; `allowed` cpus, empty: all. kUsage when hwloc does not
// understand it or nothing is allowed.
Result<Topology> synthetic_topology(const std::string& description, const std::vector<int>& allowed = {});

// --- threads

struct ThreadPlace {
  int cpu = 0;   // as the system numbers it
  int core = 0;  // index into Topology::cores
  int node = 0;  // index into Topology::nodes
};
// Thread i's place. Every physical core gets one thread before any gets two, and nodes take turns, so that few threads
// already use all memory channels; beyond the hardware threads it starts over.
std::vector<ThreadPlace> place_threads(const Topology& topology, int threads);

// --- weights

enum class WeightPlacement {
  kInterleave,  // pages in turn over the nodes: even load, most reads from another node
  kRowBlocks,   // a matrix's rows in blocks, one block a node: its own threads read them
};

// Tiles [begin, end) of a matrix belong to a node: shares in proportion to the cores, every tile once, in order.
// Nodes with an empty share are left out.
struct RowBlock {
  std::int64_t begin = 0, end = 0;
  int node = 0;  // index into Topology::nodes
};
std::vector<RowBlock> row_blocks(const Topology& topology, std::int64_t tiles);

// --- doing it

// Binds the calling thread. kIo when the system refuses (a processor taken away since).
Status pin_thread(const ThreadPlace& place);

// Says where pages of [data, data + bytes) will be; whole pages only, before they are first written. With one weight
// node nothing is done. kUnsupported when the kernel or a container refuses: the memory works, wherever it is.
Status interleave_memory(const Topology& topology, void* data, std::int64_t bytes);
Status prefer_node(const Topology& topology, int node, void* data, std::int64_t bytes);
// A matrix whose tiles are `tile_bytes` apart, by row_blocks or interleaved.
Status place_matrix(const Topology& topology, WeightPlacement how, void* tiles, std::int64_t tile_count,
                    std::int64_t tile_bytes);

}  // namespace hadal
