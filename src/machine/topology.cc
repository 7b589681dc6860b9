#include "machine/topology.h"

#include <hwloc.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>

#include "machine/cores.h"

namespace hadal {
namespace {

using Handle = std::unique_ptr<hwloc_topology, decltype(&hwloc_topology_destroy)>;

struct BitmapFree {
  void operator()(hwloc_bitmap_s* b) const { hwloc_bitmap_free(b); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, BitmapFree>;

std::int64_t cache_bytes(hwloc_topology_t t, hwloc_obj_t core, hwloc_obj_type_t type) {
  const hwloc_obj_t cache = hwloc_get_ancestor_obj_by_type(t, type, core);
  return cache ? static_cast<std::int64_t>(cache->attr->cache.size) : 0;
}

// What of the machine may be used: its cores with their allowed hardware threads, and the nodes they belong to.
Topology convert(hwloc_topology_t t, hwloc_const_bitmap_t allowed) {
  Topology out;
  std::map<unsigned, int> node_index;  // by logical index
  const int nodes = hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_NUMANODE);
  for (int i = 0; i < nodes; ++i) {
    const hwloc_obj_t node = hwloc_get_obj_by_type(t, HWLOC_OBJ_NUMANODE, static_cast<unsigned>(i));
    node_index[node->logical_index] = static_cast<int>(out.nodes.size());
    out.nodes.push_back(
        {static_cast<int>(node->os_index), static_cast<std::int64_t>(node->attr->numanode.local_memory), {}});
  }
  // A machine may tell of processors without cores (some virtual ones do): then each is a core.
  const bool has_cores = hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_CORE) > 0;
  const hwloc_obj_type_t kind = has_cores ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
  const int count = hwloc_get_nbobjs_by_type(t, kind);
  for (int i = 0; i < count; ++i) {
    const hwloc_obj_t object = hwloc_get_obj_by_type(t, kind, static_cast<unsigned>(i));
    Core core;
    for (int cpu = hwloc_bitmap_first(object->cpuset); cpu >= 0; cpu = hwloc_bitmap_next(object->cpuset, cpu))
      if (hwloc_bitmap_isset(allowed, static_cast<unsigned>(cpu))) core.cpus.push_back(cpu);
    if (core.cpus.empty()) continue;
    const hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(t, HWLOC_OBJ_PACKAGE, object);
    core.package = package ? static_cast<int>(package->logical_index) : 0;
    // The nearest node: of those around the core the one with the fewest processors.
    int fewest = INT_MAX;
    for (int n = 0; n < nodes; ++n) {
      const hwloc_obj_t node = hwloc_get_obj_by_type(t, HWLOC_OBJ_NUMANODE, static_cast<unsigned>(n));
      const int weight = hwloc_bitmap_weight(node->cpuset);
      if (hwloc_bitmap_isincluded(object->cpuset, node->cpuset) && weight < fewest) {
        fewest = weight;
        core.node = node_index[node->logical_index];
      }
    }
    if (out.cores.empty()) {
      out.l2_bytes = cache_bytes(t, object, HWLOC_OBJ_L2CACHE);
      out.l3_bytes = cache_bytes(t, object, HWLOC_OBJ_L3CACHE);
    }
    if (out.nodes.empty()) out.nodes.push_back({});
    out.nodes[static_cast<std::size_t>(core.node)].cores.push_back(static_cast<int>(out.cores.size()));
    out.cores.push_back(std::move(core));
  }
  return out;
}

Topology flat(int cores) {
  Topology out;
  out.nodes.push_back({});
  for (int i = 0; i < cores; ++i) {
    out.cores.push_back({{i}, 0, 0});
    out.nodes[0].cores.push_back(i);
  }
  return out;
}

Topology detect() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return flat(available_cores());
  const Handle t(raw, hwloc_topology_destroy);
  const Bitmap bound(hwloc_bitmap_alloc());
  if (!bound || hwloc_topology_load(raw) != 0 || hwloc_get_cpubind(raw, bound.get(), HWLOC_CPUBIND_PROCESS) != 0)
    return flat(available_cores());
  hwloc_bitmap_and(bound.get(), bound.get(), hwloc_topology_get_allowed_cpuset(raw));
  Topology out = convert(raw, bound.get());
  return out.cores.empty() ? flat(available_cores()) : out;
}

Status set_policy(int mode, const std::vector<int>& numbers, void* data, std::int64_t bytes) {
  // Only pages that lie in the range altogether are ours to place.
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(data) + static_cast<std::uintptr_t>(bytes)) / page * page;
  if (begin >= end) return {};
  constexpr std::size_t kBits = 8 * sizeof(unsigned long);
  const auto most = static_cast<std::size_t>(*std::max_element(numbers.begin(), numbers.end()));
  std::vector<unsigned long> mask(most / kBits + 1, 0);
  for (int n : numbers) mask[static_cast<std::size_t>(n) / kBits] |= 1ul << (static_cast<std::size_t>(n) % kBits);
  // The kernel reads one bit less than it is told.
  if (::syscall(SYS_mbind, begin, end - begin, mode, mask.data(), mask.size() * kBits + 1, 0) == 0) return {};
  return fail(ErrorCode::kUnsupported, "memory could not be placed on a node ({}); it stays where the system puts it",
              std::strerror(errno));
}

}  // namespace

int Topology::cpu_count() const {
  std::size_t n = 0;
  for (const Core& c : cores) n += c.cpus.size();
  return static_cast<int>(n);
}

std::vector<int> Topology::weight_nodes() const {
  std::vector<int> both, memory;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].memory_bytes <= 0) continue;
    memory.push_back(static_cast<int>(i));
    if (!nodes[i].cores.empty()) both.push_back(static_cast<int>(i));
  }
  return both.empty() ? memory : both;
}

bool several_nodes() {
  static const bool several = [] {
    std::string online;  // "0", "0-1", "0,2"
    std::ifstream("/sys/devices/system/node/online") >> online;
    return online.find_first_of(",-") != std::string::npos;
  }();
  return several;
}

const Topology& machine_topology() {
  static const Topology topology = detect();
  return topology;
}

Result<Topology> synthetic_topology(const std::string& description, const std::vector<int>& allowed) {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return fail(ErrorCode::kInternal, "hwloc could not be started");
  const Handle t(raw, hwloc_topology_destroy);
  if (hwloc_topology_set_synthetic(raw, description.c_str()) != 0 || hwloc_topology_load(raw) != 0)
    return fail(ErrorCode::kUsage, "'{}' is not a synthetic topology; write it like 'package:2 core:8 pu:2'",
                description);
  const Bitmap set(hwloc_bitmap_alloc());
  if (!set) return fail(ErrorCode::kNoMemory, "no memory for a set of processors");
  for (int cpu : allowed)
    if (cpu >= 0) hwloc_bitmap_set(set.get(), static_cast<unsigned>(cpu));
  Topology out = convert(raw, allowed.empty() ? hwloc_topology_get_allowed_cpuset(raw) : set.get());
  if (out.cores.empty()) return fail(ErrorCode::kUsage, "none of the processors of '{}' is allowed", description);
  return out;
}

std::vector<ThreadPlace> place_threads(const Topology& topology, int threads) {
  // Hardware threads in the order they are taken: first of every core, then second, and so on; in each round the nodes
  // take turns.
  std::vector<ThreadPlace> order;
  std::size_t depth = 0;
  for (const Core& c : topology.cores) depth = std::max(depth, c.cpus.size());
  for (std::size_t sibling = 0; sibling < depth; ++sibling) {
    std::vector<std::size_t> next(topology.nodes.size(), 0);
    for (bool any = true; any;) {
      any = false;
      for (std::size_t n = 0; n < topology.nodes.size(); ++n) {
        const std::vector<int>& cores = topology.nodes[n].cores;
        while (next[n] < cores.size() &&
               topology.cores[static_cast<std::size_t>(cores[next[n]])].cpus.size() <= sibling)
          ++next[n];
        if (next[n] == cores.size()) continue;
        const int core = cores[next[n]++];
        order.push_back({topology.cores[static_cast<std::size_t>(core)].cpus[sibling], core, static_cast<int>(n)});
        any = true;
      }
    }
  }
  std::vector<ThreadPlace> out;
  for (int i = 0; i < threads && !order.empty(); ++i) out.push_back(order[static_cast<std::size_t>(i) % order.size()]);
  return out;
}

std::vector<RowBlock> row_blocks(const Topology& topology, std::int64_t tiles) {
  const std::vector<int> nodes = topology.weight_nodes();
  if (nodes.empty()) return tiles > 0 ? std::vector<RowBlock>{{0, tiles, 0}} : std::vector<RowBlock>{};
  std::int64_t all = 0;
  const auto weight = [&](int n) {
    return std::max<std::int64_t>(1,
                                  static_cast<std::int64_t>(topology.nodes[static_cast<std::size_t>(n)].cores.size()));
  };
  for (int n : nodes) all += weight(n);
  all = std::max<std::int64_t>(all, 1);
  std::vector<RowBlock> out;
  std::int64_t before = 0;
  for (int n : nodes) {
    const std::int64_t begin = tiles * before / all;
    before += weight(n);
    const std::int64_t end = tiles * before / all;
    if (end > begin) out.push_back({begin, end, n});
  }
  return out;
}

Status pin_thread(const ThreadPlace& place) {
  const int cpus = place.cpu + 1;
  cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(cpus));
  if (set == nullptr) return fail(ErrorCode::kNoMemory, "no memory for a set of processors");
  const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
  CPU_ZERO_S(bytes, set);
  CPU_SET_S(static_cast<std::size_t>(place.cpu), bytes, set);
  const bool bound = sched_setaffinity(0, bytes, set) == 0;  // 0: the calling thread alone
  const int error = errno;
  CPU_FREE(set);
  if (bound) return {};
  return fail(ErrorCode::kIo, "a thread could not be bound to processor {} ({})", place.cpu, std::strerror(error));
}

Status interleave_memory(const Topology& topology, void* data, std::int64_t bytes) {
  const std::vector<int> nodes = topology.weight_nodes();
  if (nodes.size() < 2) return {};
  std::vector<int> numbers;
  for (int n : nodes) numbers.push_back(topology.nodes[static_cast<std::size_t>(n)].number);
  return set_policy(MPOL_INTERLEAVE, numbers, data, bytes);
}

Status prefer_node(const Topology& topology, int node, void* data, std::int64_t bytes) {
  if (topology.weight_nodes().size() < 2) return {};
  // Preferred, not bound: a full node must not end the process.
  return set_policy(MPOL_PREFERRED, {topology.nodes[static_cast<std::size_t>(node)].number}, data, bytes);
}

Status place_matrix(const Topology& topology, WeightPlacement how, void* tiles, std::int64_t tile_count,
                    std::int64_t tile_bytes) {
  if (how == WeightPlacement::kInterleave) return interleave_memory(topology, tiles, tile_count * tile_bytes);
  for (const RowBlock& b : row_blocks(topology, tile_count))
    HADAL_CHECK_OK(prefer_node(topology, b.node, static_cast<std::byte*>(tiles) + b.begin * tile_bytes,
                               (b.end - b.begin) * tile_bytes));
  return {};
}

}  // namespace hadal
