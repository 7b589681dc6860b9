// Kept prefixes: what the model remembers of token sequences that were fed before, found again by their tokens. A hit
// shares the pages by reference and copies the state block; the pages of a common beginning exist once. With a folder
// everything kept is also written to disk, and found there after a restart.
//
// A boundary is a point where a sequence was kept: its state block lets feeding go on right there. Between boundaries
// only pages exist; going on there means feeding the last window x layers tokens again (Sequence::refill_step).
//
// Not for several threads at once, except stats(). Outputs after a hit are those of an uninterrupted feed, bit for bit.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "cache/page_files.h"
#include "cache/page_writer.h"
#include "cache/sequence.h"
#include "cache/token_tree.h"
#include "cache/window_policy.h"

namespace hadal {

struct PrefixStoreOptions {
  bool with_mtp = false;          // of the sequences kept and given
  std::int64_t memory_bytes = 0;  // for what no sequence in use holds; 0 keeps nothing in memory
  std::string folder = {};        // DATA/pages; empty: no disk tier
  std::int64_t disk_bytes = 0;
  std::int64_t queue_bytes = std::int64_t{256}
                             << 20;  // waiting to be written; beyond it boundaries stay in memory only
  // Measured rates; 0: unknown. They decide the window policy and weigh reading pages against computing them.
  double disk_bytes_per_s = 0, prefill_tokens_per_s = 0;
  std::optional<WindowPolicy> windows = {};  // unset: choose_policy of the rates
  int read_threads = 4;                      // for one hit's files
};

struct PrefixStats {
  std::int64_t page_bytes = 0, tail_bytes = 0, id_bytes = 0;  // in memory, each page once; tails: state and open pages
  std::int64_t in_use_bytes = 0;                              // of these, held by sequences or the writer too
  std::int64_t disk_bytes = 0, queued_bytes = 0, written_bytes = 0, read_bytes = 0;
  std::int64_t boundaries = 0;  // in either tier
  std::int64_t lookups = 0, hits = 0, reused_tokens = 0, refilled_tokens = 0;
  std::int64_t evictions = 0, disk_evictions = 0;
  std::int64_t dropped_files = 0;   // damaged, torn, or continuing a page that is gone
  std::int64_t refused_writes = 0;  // the queue was full

  std::int64_t memory_bytes() const { return page_bytes + tail_bytes + id_bytes; }
};

struct PrefixHit {
  Sequence sequence;    // ready to be fed the rest
  Position reused = 0;  // its length: tokens of the prompt that need not be fed
  Position refill = 0;  // tokens that sequence.refill_step must feed again first; 0 at a boundary
};

// Why a lookup did not reuse more.
struct PrefixMiss {
  Position agree = 0;                // tokens that agree with the nearest kept line
  Position boundary = 0;             // the longest kept boundary within them
  std::vector<TokenId> asked, kept;  // what comes after them on both sides, at most 16 ids; empty: that side ends
};

class PrefixStore {
 public:
  // kUsage: options out of range. kIo, kBusy: the folder (page_files.h).
  static Result<std::unique_ptr<PrefixStore>> open(std::shared_ptr<Model> model, const PrefixStoreOptions& options);
  ~PrefixStore();  // writes what is queued

  // Remembers the sequence as it is now. `message_border`: a place clients come back to, kept longer. The sequence must
  // be exact (no refill_left()) and of this store's model: kUsage. kNoMemory.
  Status keep(const Sequence& sequence, bool message_border = true);

  // The cheapest way to have a proper prefix of `ids` (at least the last id stays to be fed for its logits), by tokens
  // to feed and bytes to read. Without any, an empty sequence. Files that turn out damaged are dropped and the next
  // best is taken. kUsage: no ids. kNoMemory.
  Result<PrefixHit> lookup(std::span<const TokenId> ids);

  PrefixMiss explain_miss(std::span<const TokenId> ids);

  void flush();               // returns when everything kept so far is on disk, or could not be written
  PrefixStats stats() const;  // any thread
  const WindowPolicy& windows() const { return windows_; }

 private:
  struct PageSlot {
    PageRef memory;
    CacheFileRef file;  // null without a disk tier
    bool on_disk() const { return file && file->state.load(std::memory_order_acquire) == CacheFile::State::kWritten; }
    bool at_hand() const { return memory || on_disk(); }
  };
  struct Boundary {
    PageRef state;  // state image
    std::int64_t state_bytes = 0;
    PageRef open;  // the partly filled last page, or the page that it became; empty when the length is whole pages
    CacheFileRef file;
    bool border = false;
    std::uint64_t used = 0;  // by the store's clock of calls
    std::uint64_t hits = 0;
  };
  // What a node of the tree keeps: the pages that end within its edge, and the boundary at its end.
  struct Span {
    std::int64_t page_tokens = 0;
    std::vector<PageSlot> pages;
    std::unique_ptr<Boundary> boundary;
    Span cut_front(Position start, Position at);
    void join_front(Span front, Position start);
    bool removable() const { return !boundary; }
  };
  using Tree = TokenTree<Span>;
  using Node = Tree::Node;
  struct Usage;
  struct Plan;
  struct Load;
  enum class Tier { kMemory, kDisk };

  PrefixStore(std::shared_ptr<Model> model, CacheLayout layout, const PrefixStoreOptions& options);
  Status restore_index();  // the folder's heads into the tree
  Node* insert(std::span<const TokenId> ids);
  bool paged() const { return layout_.page_bytes > 0; }

  // keep
  void write_missing(const std::vector<Node*>& path, std::span<const TokenId> ids);
  void write_boundary(Node* node, const std::vector<Node*>& path, const CacheKey& parent, std::span<const TokenId> ids);

  // lookup
  Plan plan(std::span<const TokenId> ids);
  bool find_open_page(Node* node, Position at, Plan& plan);
  Result<bool> fetch(Plan& plan);  // false: a file was not as it should be, plan again
  void lose(const CacheFileRef& file, const Error& why);

  // eviction (prefix_eviction.cc)
  void trim();
  Usage measure();
  bool evict_one(Tier tier, const Usage& usage);
  static bool holds(const Node* node, Tier tier);
  static bool below(const Node* node, Tier tier, const Node* except);
  void drop(Node* node, Tier tier);
  void drop_orphans(Tier tier);
  void drop_page(PageSlot& slot, Tier tier);
  void forget_if_gone(Node* node);
  double score(const Node* node, Tier tier, const Usage& usage) const;
  void publish(const Usage& usage);
  void publish_counts();

  std::shared_ptr<Model> model_;
  CacheLayout layout_;
  PrefixStoreOptions options_;
  CacheIdentity identity_;
  WindowPolicy windows_;
  Tree tree_;
  std::uint64_t clock_ = 0;
  std::unique_ptr<PageFolder> folder_;
  std::unique_ptr<PageWriter> writer_;  // after folder_: it ends first
  PrefixStats stats_;                   // engine thread
  mutable std::mutex mutex_;
  PrefixStats shown_;
};

}  // namespace hadal
