// What stays when the budgets are full. The unit is a boundary with everything only it needs; the one whose loss costs
// the least prefill per byte goes first. Memory and disk are trimmed by the same rule.
#include <algorithm>
#include <limits>
#include <utility>

#include "cache/prefix_parts.h"

namespace hadal {
namespace {
// A boundary that others continue is only returned to when a client edits or forks the past; agents mostly go on at the
// end. So such boundaries are thinned first.
constexpr double kInner = 0.25;
// Clients come back to where a message ends (the system prompt, a regenerated answer), hardly ever to places between.
constexpr double kBetweenMessages = 0.125;
}  // namespace

PrefixStore::Usage PrefixStore::measure() {
  Usage u;
  const auto add = [&](const PageRef& page, std::int64_t bytes, bool tail) {
    if (!page) return;
    Usage::Held& held = u.held[page.bytes()];
    held.bytes = bytes;
    held.tail = held.ours == 0 ? tail : held.tail && tail;
    ++held.ours;
    held.all = page.holders();
  };
  tree_.each([&](Node* n) {
    u.sizes.id_bytes += static_cast<std::int64_t>(n->edge.size() * sizeof(TokenId));
    for (const PageSlot& slot : n->payload.pages) {
      add(slot.memory, layout_.page_bytes, false);
      if (slot.file && slot.file->state.load(std::memory_order_acquire) != CacheFile::State::kAbsent)
        u.disk_bytes += slot.file->bytes();
    }
    if (const Boundary* b = n->payload.boundary.get()) {
      ++u.sizes.boundaries;
      add(b->state, b->state_bytes, true);
      add(b->open, layout_.page_bytes, true);
      if (b->file && b->file->state.load(std::memory_order_acquire) != CacheFile::State::kAbsent)
        u.disk_bytes += b->file->bytes();
    }
  });
  u.own_bytes = u.sizes.id_bytes;
  for (const auto& [page, held] : u.held) {
    (held.tail ? u.sizes.tail_bytes : u.sizes.page_bytes) += held.bytes;
    (held.in_use() ? u.sizes.in_use_bytes : u.own_bytes) += held.bytes;
  }
  return u;
}

bool PrefixStore::holds(const Node* node, Tier tier) {
  const Boundary* b = node->payload.boundary.get();
  if (!b) return false;
  if (tier == Tier::kMemory) return b->state || b->open;
  return b->file && b->file->state.load(std::memory_order_acquire) != CacheFile::State::kAbsent;
}

// Whether a boundary of `tier` is at `node` or below it, `except` not counted.
bool PrefixStore::below(const Node* node, Tier tier, const Node* except) {
  if (node != except && holds(node, tier)) return true;
  for (const auto& child : node->children)
    if (below(child.second.get(), tier, except)) return true;
  return false;
}

// Expected tokens of prefill saved, per byte that dropping it would free; infinite when it must not or need not go.
double PrefixStore::score(const Node* node, Tier tier, const Usage& usage) const {
  constexpr double kKeep = std::numeric_limits<double>::infinity();
  const Boundary& b = *node->payload.boundary;
  const bool queued = b.file && b.file->state.load(std::memory_order_acquire) == CacheFile::State::kQueued;
  if (queued) return kKeep;  // soon on disk; until then it is the only copy
  const bool disk = tier == Tier::kDisk;
  std::int64_t freed = disk ? b.file->bytes() : 0;
  if (!disk) {
    for (const PageRef* page : {&b.state, &b.open})
      if (*page) {
        const Usage::Held& held = usage.of(*page);
        if (!held.in_use() && held.ours == 1) freed += held.bytes;
      }
  }
  // Pages that only this boundary needs: up to where another one hangs below.
  bool inner = false;
  for (const auto& child : node->children)
    inner =
        inner || below(child.second.get(), Tier::kMemory, nullptr) || below(child.second.get(), Tier::kDisk, nullptr);
  for (const Node* n = node; n->parent && !below(n, tier, node); n = n->parent)
    for (const PageSlot& slot : n->payload.pages) {
      if (disk) {
        if (slot.file && slot.file->state.load(std::memory_order_acquire) == CacheFile::State::kWritten)
          freed += slot.file->bytes();
      } else if (slot.memory && !usage.of(slot.memory).in_use()) {
        freed += layout_.page_bytes;
      }
    }
  if (freed == 0) return kKeep;  // everything it holds is in use: nothing to gain

  Position before = 0;
  for (const Node* n = node->parent; n; n = n->parent)
    if (n->payload.boundary) {
      before = n->end();
      break;
    }
  auto lost = static_cast<double>(node->end() - before);
  const Position refill = node->end() - refill_start(model_->config(), layout_, node->end());
  if (inner) lost = std::min(lost, static_cast<double>(refill));  // the pages stay with those who continue it
  if (!disk && b.file && b.file->state.load(std::memory_order_acquire) == CacheFile::State::kWritten &&
      options_.disk_bytes_per_s > 0)
    lost = std::min(lost, static_cast<double>(freed) / options_.disk_bytes_per_s * options_.prefill_tokens_per_s);
  const double age = static_cast<double>(clock_ - std::min(clock_, b.used)) + 1;
  double probability = (1 + static_cast<double>(b.hits)) / age;
  if (inner) probability *= kInner;
  if (!b.border) probability *= kBetweenMessages;
  return lost * probability / static_cast<double>(freed);
}

bool PrefixStore::evict_one(Tier tier, const Usage& usage) {
  Node* least = nullptr;
  double lowest = std::numeric_limits<double>::infinity();
  tree_.each([&](Node* n) {
    if (!holds(n, tier)) return;
    if (const double s = score(n, tier, usage); s < lowest) {
      lowest = s;
      least = n;
    }
  });
  if (!least) return false;
  ++(tier == Tier::kMemory ? stats_.evictions : stats_.disk_evictions);
  drop(least, tier);
  return true;
}

void PrefixStore::drop(Node* node, Tier tier) {
  Boundary& b = *node->payload.boundary;
  if (tier == Tier::kMemory) {
    b.state = {};
    b.open = {};
  } else {
    b.file->state.store(CacheFile::State::kAbsent, std::memory_order_release);
    writer_->remove(b.file);
  }
  for (Node* n = node; n->parent && !below(n, tier, nullptr); n = n->parent)
    for (PageSlot& slot : n->payload.pages) drop_page(slot, tier);
  forget_if_gone(node);
}

// A boundary in neither tier leaves the tree, with the pages that nobody else needs.
void PrefixStore::forget_if_gone(Node* node) {
  if (holds(node, Tier::kMemory) || holds(node, Tier::kDisk)) return;
  node->payload.boundary.reset();
  const auto needed = [](const Node* n) { return below(n, Tier::kMemory, nullptr) || below(n, Tier::kDisk, nullptr); };
  for (Node* n = node; n->parent && !needed(n); n = n->parent)
    for (PageSlot& slot : n->payload.pages) drop_page(slot, Tier::kDisk);
  tree_.tidy(node);
}

// Pages that no boundary of the tier needs: in memory those brought back for a refill, on disk those whose boundary
// found no place in the queue.
void PrefixStore::drop_orphans(Tier tier) {
  tree_.each([&](Node* n) {
    if (!n->parent || below(n, tier, nullptr)) return;
    for (PageSlot& slot : n->payload.pages) drop_page(slot, tier);
  });
}

void PrefixStore::drop_page(PageSlot& slot, Tier tier) {
  if (tier == Tier::kMemory)
    slot.memory = {};
  else if (slot.file && slot.file->state.exchange(CacheFile::State::kAbsent) != CacheFile::State::kAbsent)
    writer_->remove(slot.file);
}

void PrefixStore::trim() {
  // Boundaries whose last file was lost (damaged, or the disk is full) are gone too.
  std::vector<Node*> gone;
  tree_.each([&](Node* n) {
    if (n->payload.boundary && !holds(n, Tier::kMemory) && !holds(n, Tier::kDisk)) gone.push_back(n);
  });
  // Children before parents, one at a time: tidy() may take the parents along.
  for (auto n = gone.rbegin(); n != gone.rend(); ++n) forget_if_gone(*n);

  Usage usage = measure();
  if (usage.own_bytes > options_.memory_bytes) {
    drop_orphans(Tier::kMemory);
    usage = measure();
  }
  while (usage.own_bytes > options_.memory_bytes && evict_one(Tier::kMemory, usage)) usage = measure();
  if (writer_ && usage.disk_bytes > options_.disk_bytes) {
    drop_orphans(Tier::kDisk);
    usage = measure();
  }
  while (writer_ && usage.disk_bytes > options_.disk_bytes && evict_one(Tier::kDisk, usage)) usage = measure();
  publish(usage);
}

void PrefixStore::publish(const Usage& usage) {
  stats_.page_bytes = usage.sizes.page_bytes;
  stats_.tail_bytes = usage.sizes.tail_bytes;
  stats_.id_bytes = usage.sizes.id_bytes;
  stats_.in_use_bytes = usage.sizes.in_use_bytes;
  stats_.boundaries = usage.sizes.boundaries;
  stats_.disk_bytes = usage.disk_bytes;
  publish_counts();
}

void PrefixStore::publish_counts() {
  std::lock_guard lock(mutex_);
  shown_ = stats_;
}

}  // namespace hadal
