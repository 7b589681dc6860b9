// Finding the cheapest way to a kept prefix, and bringing its pages back from disk.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <utility>

#include "base/log.h"
#include "cache/live_parts.h"
#include "cache/prefix_parts.h"

namespace hadal {
namespace {
// Files asked for ahead of the reading: 29 MB for Flash, enough to keep a disk's queue full.
constexpr std::size_t kReadAhead = 8;
}  // namespace

// One file to be read, on any thread.
struct PrefixStore::Load {
  CacheFileRef file;
  PageRef to;
  Status status;
};

PrefixStore::Plan PrefixStore::plan(std::span<const TokenId> ids) {
  const auto match = tree_.find(ids);
  const auto most = std::min(match.length, static_cast<Position>(ids.size()) - 1);
  const std::int64_t page_tokens = layout_.page_tokens;
  std::vector<Node*> path;
  for (Node* n = match.node; n; n = n->parent) path.push_back(n);
  std::reverse(path.begin(), path.end());

  // Pages in order, up to the first that is neither in memory nor on disk.
  Plan all;
  bool whole = true;
  for (Node* n : path)
    for (PageSlot& slot : n->payload.pages) {
      whole = whole && slot.at_hand() && static_cast<Position>(all.pages.size() + 1) * page_tokens <= match.length;
      if (whole) all.pages.push_back(&slot);
    }
  const auto take = [&](Position length) {
    Plan plan;
    plan.length = length;
    plan.pages.assign(all.pages.begin(),
                      all.pages.begin() + static_cast<std::ptrdiff_t>(paged() ? length / page_tokens : 0));
    return plan;
  };
  // Tokens that could have been computed while the plan's files are read.
  const double tokens_per_byte = options_.disk_bytes_per_s > 0 && options_.prefill_tokens_per_s > 0
                                     ? options_.prefill_tokens_per_s / options_.disk_bytes_per_s
                                     : 0;
  const auto reading = [&](const Plan& plan) {
    std::int64_t bytes = 0;
    for (const PageSlot* slot : plan.pages)
      if (!slot->memory) bytes += slot->file->bytes();
    if (plan.open_slot) bytes += plan.open_slot->file->bytes();
    if (plan.open_boundary) bytes += plan.open_boundary->payload.boundary->file->bytes();
    if (plan.boundary && plan.boundary != plan.open_boundary && !plan.boundary->payload.boundary->state)
      bytes += plan.boundary->payload.boundary->file->bytes();
    return static_cast<double>(bytes) * tokens_per_byte;
  };

  Plan best;
  double best_cost = static_cast<double>(ids.size());  // feeding everything
  const auto offer = [&](Plan&& plan, Position fed_from) {
    const double cost = static_cast<double>(static_cast<Position>(ids.size()) - fed_from) + reading(plan);
    if (cost < best_cost) {
      best_cost = cost;
      best = std::move(plan);
    }
  };
  for (Node* n : path) {
    const Boundary* b = n->payload.boundary.get();
    const Position length = n->end();
    if (!b || length > most) continue;
    const bool on_disk = b->file && b->file->head.has_state &&
                         b->file->state.load(std::memory_order_acquire) == CacheFile::State::kWritten;
    if (!b->state && !on_disk) continue;
    const bool open = paged() && length % page_tokens != 0;
    if (paged() && length / page_tokens > static_cast<Position>(all.pages.size())) continue;
    Plan p = take(length);
    p.boundary = n;
    if (open && !find_open_page(n, length, p)) continue;
    offer(std::move(p), length);
  }
  // Between boundaries, where the pages reach.
  Position at = most;
  if (paged() && at / page_tokens > static_cast<Position>(all.pages.size()))
    at = static_cast<Position>(all.pages.size()) * page_tokens;
  if (at > 0) {
    Plan p = take(at);
    if (paged() && at % page_tokens != 0 && !find_open_page(match.node, at, p)) {
      at = at / page_tokens * page_tokens;
      p = take(at);
    }
    // Refilled windows cost the tokens from refill_start on, whatever lies beyond them.
    if (at > 0) offer(std::move(p), refill_start(model_->config(), layout_, at));
  }
  return best;
}

// A page that holds the rows of tokens up to `at`, of a line that agrees until there: in `node` or below it. Copies in
// memory first.
bool PrefixStore::find_open_page(Node* node, Position at, Plan& plan) {
  const std::int64_t index = at / layout_.page_tokens;
  PageSlot* slot_on_disk = nullptr;
  Node* boundary_on_disk = nullptr;
  std::vector<Node*> open = {node};
  while (!open.empty()) {
    Node* n = open.back();
    open.pop_back();
    const auto first = n->start / layout_.page_tokens;
    const auto count = static_cast<std::int64_t>(n->payload.pages.size());
    if (index >= first && index < first + count) {
      PageSlot& slot = n->payload.pages[static_cast<std::size_t>(index - first)];
      if (slot.memory) {
        plan.open = slot.memory;
        return true;
      }
      if (slot.on_disk()) slot_on_disk = &slot;
      continue;  // what lies below is beyond the page
    }
    if (Boundary* b = n->payload.boundary.get(); b && n->end() >= at) {
      if (b->open) {
        plan.open = b->open;
        return true;
      }
      if (b->file && b->file->state.load(std::memory_order_acquire) == CacheFile::State::kWritten &&
          (!boundary_on_disk || n == plan.boundary))
        boundary_on_disk = n;
    }
    for (auto& child : n->children) open.push_back(child.second.get());
  }
  plan.open_boundary = boundary_on_disk;
  if (!boundary_on_disk) plan.open_slot = slot_on_disk;
  return boundary_on_disk || slot_on_disk;
}

void PrefixStore::lose(const CacheFileRef& file, const Error& why) {
  log_at(LogLevel::kWarn, "{}; dropped, its tokens will be computed again", why.what);
  file->state.store(CacheFile::State::kAbsent, std::memory_order_release);
  writer_->remove(file);
  ++stats_.dropped_files;
}

Result<bool> PrefixStore::fetch(Plan& plan) {
  std::vector<Load> loads;
  const auto want = [&](const CacheFileRef& file, std::int64_t bytes) -> Status {
    loads.push_back({file, HADAL_TRY(PageRef::allocate(bytes, false)), {}});
    return {};
  };
  const auto boundary_of = [](Node* n) { return n ? n->payload.boundary.get() : nullptr; };
  Boundary* with_state = boundary_of(plan.boundary);
  Boundary* with_rows = boundary_of(plan.open_boundary);
  if (with_state && with_state->state) with_state = nullptr;
  // The largest first, so that the threads end together.
  for (Boundary* b : {with_state, with_rows == with_state ? nullptr : with_rows})
    if (b) HADAL_CHECK_OK(want(b->file, b->file->head.payload_bytes));
  for (PageSlot* slot : plan.pages)
    if (!slot->memory) HADAL_CHECK_OK(want(slot->file, layout_.page_bytes));
  if (plan.open_slot) HADAL_CHECK_OK(want(plan.open_slot->file, layout_.page_bytes));
  if (loads.empty()) return true;

  std::atomic<std::size_t> next{0};
  for (std::size_t i = 0; i < std::min(kReadAhead, loads.size()); ++i) folder_->expect(loads[i].file->head);
  const auto work = [&] {
    for (std::size_t i; (i = next.fetch_add(1)) < loads.size();) {
      if (i + kReadAhead < loads.size()) folder_->expect(loads[i + kReadAhead].file->head);
      loads[i].status = folder_->read(loads[i].file->head, loads[i].to.bytes());
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int t = 1; t < std::min<int>(options_.read_threads, static_cast<int>(loads.size())); ++t)
      threads.emplace_back(work);
    work();
  }

  bool whole = true;
  const auto read_to = [&](const CacheFileRef& file) -> PageRef {
    for (Load& load : loads)
      if (load.file == file && load.status) return load.to;
    return {};
  };
  for (Load& load : loads) {
    if (load.status) {
      stats_.read_bytes += load.file->bytes();
    } else {
      whole = false;
      lose(load.file, load.status.error());
    }
  }
  for (PageSlot* slot : plan.pages)
    if (!slot->memory) slot->memory = read_to(slot->file);
  if (plan.open_slot) plan.open = plan.open_slot->memory = read_to(plan.open_slot->file);
  if (!whole) return false;
  if (with_state) {
    with_state->state = read_to(with_state->file);  // the image comes first; rows after it do no harm
    with_state->state_bytes = with_state->file->head.payload_bytes;
  }
  if (with_rows) {
    const CacheFileHead& head = with_rows->file->head;
    const std::int64_t skip = head.has_state ? state_image_bytes(layout_, head.length()) : 0;
    PageRef page = HADAL_TRY(PageRef::allocate(layout_.page_bytes));
    const Bytes rows(read_to(with_rows->file).bytes() + skip, static_cast<std::size_t>(head.payload_bytes - skip));
    HADAL_CHECK_OK(unpack_rows(layout_, static_cast<Position>(head.ids.size()), rows, page.bytes()));
    with_rows->open = page;
    plan.open = page;
  }
  return true;
}

Result<PrefixHit> PrefixStore::lookup(std::span<const TokenId> ids) {
  if (ids.empty()) return fail(ErrorCode::kUsage, "an empty prompt has no prefix to look up");
  ++stats_.lookups;
  ++clock_;
  Plan plan;
  const std::int64_t read_before = stats_.read_bytes;
  for (;;) {
    plan = this->plan(ids);
    if (plan.length == 0) break;
    if (HADAL_TRY(fetch(plan))) break;  // every failure drops a file, so this ends
  }
  std::vector<PageRef> pages;
  for (PageSlot* slot : plan.pages) pages.push_back(slot->memory);
  if (plan.open) pages.push_back(plan.open);
  Bytes state;
  if (plan.boundary) {
    Boundary& b = *plan.boundary->payload.boundary;
    b.used = clock_;
    ++b.hits;
    state = {b.state.bytes(), static_cast<std::size_t>(state_image_bytes(layout_, plan.length))};
    if (b.file && b.file->state.load(std::memory_order_acquire) == CacheFile::State::kWritten) writer_->touch(b.file);
  }
  PrefixHit hit{HADAL_TRY(Sequence::assemble(model_, options_.with_mtp,
                                             {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(plan.length)},
                                             std::move(pages), state))};
  hit.reused = plan.length;
  hit.refill = hit.sequence.refill_left();
  stats_.hits += hit.reused > 0;
  stats_.reused_tokens += hit.reused;
  stats_.refilled_tokens += hit.refill;
  if (stats_.read_bytes != read_before) {
    trim();
  } else {
    publish_counts();
  }
  return hit;
}

}  // namespace hadal
