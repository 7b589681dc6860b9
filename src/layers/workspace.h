// Scratch memory of one forward step: a bump allocator that stops allocating once it has seen the largest step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

namespace hadal {

class Workspace {
 public:
  // `count` uninitialised T, 64-byte aligned, valid until release() of an earlier mark or reset().
  template <class T>
  T* take(std::int64_t count) {
    return static_cast<T*>(take_bytes(count * static_cast<std::int64_t>(sizeof(T))));
  }

  struct Mark {
    std::size_t block;
    std::int64_t used;
  };
  Mark mark() const { return {current_, blocks_.empty() ? 0 : blocks_[current_].used}; }
  void release(Mark m);

  // Forgets everything; if the last step needed several blocks, they become one with room for what was in use at most.
  void reset();

  std::int64_t bytes() const { return total_; }      // allocated
  std::int64_t peak_bytes() const { return peak_; }  // in use at most since the first step

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  struct Block {
    std::unique_ptr<std::byte, Free> data;
    std::int64_t size = 0, used = 0;
  };
  void* take_bytes(std::int64_t bytes);
  void add_block(std::int64_t bytes);

  std::vector<Block> blocks_;
  std::size_t current_ = 0;
  std::int64_t total_ = 0, peak_ = 0;
};

// Releases what was taken inside a scope.
class WorkspaceScope {
 public:
  explicit WorkspaceScope(Workspace& workspace) : workspace_(workspace), mark_(workspace.mark()) {}
  ~WorkspaceScope() { workspace_.release(mark_); }
  WorkspaceScope(const WorkspaceScope&) = delete;
  WorkspaceScope& operator=(const WorkspaceScope&) = delete;

 private:
  Workspace& workspace_;
  Workspace::Mark mark_;
};

}  // namespace hadal
