// A persistent pool: the calling thread works too. Workers spin briefly, then sleep. Every thread of the pool, the
// caller included while it runs a job, has flush-to-zero and denormals-are-zero set (kernels/kernels.h says why).
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "machine/topology.h"

namespace hadal {

class ThreadPool {
 public:
  // 0: one per available core (affinity mask and cgroup quota respected). On a machine with several memory nodes
  // workers stay on the cores place_threads() gives them; the caller's thread is its own.
  explicit ThreadPool(int threads);
  // Workers 1, 2, ... on these places (places[0] would be the caller's); empty: wherever the system puts them.
  ThreadPool(int threads, std::vector<ThreadPlace> places);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  // Calls fn(index, worker) for every index in [0, count), worker in [0, size()). Indices are handed out dynamically,
  // so fn's result must not depend on which worker runs it. Returns when all are done. Not reentrant: fn must not call
  // for_each.
  template <class F>
  void for_each(std::int64_t count, F&& fn) {
    run(
        count,
        [](void* context, std::int64_t index, int worker) {
          (*static_cast<std::remove_reference_t<F>*>(context))(index, worker);
        },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

 private:
  using Task = void (*)(void* context, std::int64_t index, int worker);
  void run(std::int64_t count, Task task, void* context);
  struct State;
  std::unique_ptr<State> state_;
};

// Sets flush-to-zero and denormals-are-zero on this thread for the scope.
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();

 private:
  unsigned saved_;
};

}  // namespace hadal
