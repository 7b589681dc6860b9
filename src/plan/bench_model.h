// Speeds of a whole model beside what this machine allows: decoding and prefill at given depths, loading, restoring.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/model.h"
#include "plan/plan.h"

namespace hadal {

struct ModelBenchRow {
  std::string name;  // "decode", "prefill", "load", "restore", "fork", "warm", "decode_16"
  std::int64_t depth = 0;
  double rate = 0;   // in `unit`
  double limit = 0;  // what memory reads and arithmetic of the threads used allow, measured in turns with the rate
  std::string unit;  // "tokens/s", "GB/s"
  std::int64_t cache_bytes = 0;
  std::int64_t steps = 0;                             // measured
  std::optional<ExpertStats> experts = std::nullopt;  // of these steps, when they came from disk

  // When experts came from disk: the time of these steps, and what the disk gave for reads of experts alone, in turns
  // with them. The disk and the hit rate allow so many bytes a second; the steps got experts->bytes_read in
  // step_seconds.
  double step_seconds = 0, disk_bytes_per_second = 0;
  double share_of_disk() const {
    return experts && disk_bytes_per_second > 0 && step_seconds > 0
               ? static_cast<double>(experts->bytes_read) / step_seconds / disk_bytes_per_second
               : 0;
  }
  double rate_disk_allows() const { return share_of_disk() > 0 ? rate / share_of_disk() : 0; }

  double share() const { return limit > 0 ? rate / limit : 0; }
};

struct ModelBenchOptions {
  int threads = 0;
  std::int64_t expert_memory = ExpertPlacement::kAuto;
  std::string repack_cache;  // directory; empty: none
  double seconds = 2;        // of measuring per row, one step at least
  // Rounded down to whole pages, the longest context less a step at most.
  std::vector<std::int64_t> depths = {8192};
  bool decode = true, prefill = true, load = false, restore = false;
  bool sessions = false;                          // fork, warm, decode_16
  std::string scratch_directory = "/tmp";         // where `restore` keeps its prefix
  std::function<bool(const ModelBenchRow&)> row;  // called as each is ready; false stops
};

// Contexts are made by Sequence::stretch from one page of random tokens, so any depth that fits in memory can be
// measured. Errors: those of loading, memory, and kCancelled after `row` said stop.
Status bench_model(const std::shared_ptr<const Checkpoint>& checkpoint, const ModelBenchOptions& options);

}  // namespace hadal
