#include "cache/prefix_store.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/log.h"
#include "cache/live_parts.h"
#include "cache/prefix_parts.h"

namespace hadal {

PrefixStore::Span PrefixStore::Span::cut_front(Position start, Position at) {
  Span front;
  front.page_tokens = page_tokens;
  if (page_tokens == 0) return front;
  const auto count = static_cast<std::ptrdiff_t>(at / page_tokens - start / page_tokens);
  const auto end = pages.begin() + std::min(count, static_cast<std::ptrdiff_t>(pages.size()));
  front.pages.assign(std::make_move_iterator(pages.begin()), std::make_move_iterator(end));
  pages.erase(pages.begin(), end);
  return front;
}

void PrefixStore::Span::join_front(Span front, Position) {
  pages.insert(pages.begin(), std::make_move_iterator(front.pages.begin()), std::make_move_iterator(front.pages.end()));
}

PrefixStore::PrefixStore(std::shared_ptr<Model> model, CacheLayout layout, const PrefixStoreOptions& options)
    : model_(std::move(model)),
      layout_(std::move(layout)),
      options_(options),
      identity_(CacheIdentity::of(*model_, layout_, options.with_mtp)),
      windows_(options.windows.value_or(
          choose_policy(options.disk_bytes_per_s, options.prefill_tokens_per_s, layout_, model_->config()))) {}

PrefixStore::~PrefixStore() = default;

Result<std::unique_ptr<PrefixStore>> PrefixStore::open(std::shared_ptr<Model> model,
                                                       const PrefixStoreOptions& options) {
  if (options.memory_bytes < 0 || options.disk_bytes < 0 || options.queue_bytes < 0 || options.read_threads < 1)
    return fail(ErrorCode::kUsage, "budgets of kept prefixes must not be negative, and one thread must read");
  if (options.with_mtp && !model->weights().mtp)
    return fail(ErrorCode::kUnsupported, "this checkpoint has no one-step MTP block, so no prefixes with its window");
  CacheLayout layout = CacheLayout::make(model->config(), model->format());
  std::unique_ptr<PrefixStore> store(new PrefixStore(std::move(model), std::move(layout), options));
  if (!options.folder.empty()) {
    store->folder_ = HADAL_TRY(
        PageFolder::open(options.folder, store->identity_, store->layout_, store->model_->config().vocab_size));
    store->writer_ = std::make_unique<PageWriter>(*store->folder_, store->layout_, options.queue_bytes);
    HADAL_CHECK_OK(store->restore_index());
  }
  store->trim();
  return store;
}

PrefixStore::Node* PrefixStore::insert(std::span<const TokenId> ids) {
  Node* node = tree_.insert(ids);
  if (paged() && node->parent) {
    node->payload.page_tokens = layout_.page_tokens;
    node->payload.pages.resize(
        static_cast<std::size_t>(node->end() / layout_.page_tokens - node->start / layout_.page_tokens));
  }
  return node;
}

Status PrefixStore::restore_index() {
  std::vector<CacheFileHead> heads = HADAL_TRY(folder_->scan());
  stats_.dropped_files = folder_->removed();
  std::map<CacheKey, CacheFileRef> pages;
  std::vector<CacheFileRef> boundaries;  // least recently used first
  for (CacheFileHead& head : heads) {
    auto file = std::make_shared<CacheFile>();
    file->head = std::move(head);
    file->state = CacheFile::State::kWritten;
    if (file->head.boundary)
      boundaries.push_back(std::move(file));
    else
      pages.emplace(file->head.key, std::move(file));
  }
  const CacheKey root = root_key(identity_);
  std::map<CacheKey, bool> needed;
  for (const CacheFileRef& file : boundaries) {
    // The chain of full pages before it, last first.
    std::vector<CacheFileRef> chain;
    CacheKey key = file->head.parent;
    Position start = file->head.start;
    while (start > 0) {
      auto page = pages.find(key);
      if (page == pages.end() || page->second->head.length() != start) break;
      chain.push_back(page->second);
      key = page->second->head.parent;
      start = page->second->head.start;
    }
    if (start != 0 || key != root) {  // a page of it is gone
      writer_->remove(file);
      ++stats_.dropped_files;
      continue;
    }
    std::vector<TokenId> ids;
    ids.reserve(static_cast<std::size_t>(file->head.length()));
    for (auto page = chain.rbegin(); page != chain.rend(); ++page) {
      ids.insert(ids.end(), (*page)->head.ids.begin(), (*page)->head.ids.end());
      needed[(*page)->head.key] = true;
    }
    ids.insert(ids.end(), file->head.ids.begin(), file->head.ids.end());
    Node* node = insert(ids);
    for (Node* n = node; n->parent; n = n->parent)
      for (std::size_t i = 0; i < n->payload.pages.size(); ++i) {
        const auto index = static_cast<std::size_t>(n->start / layout_.page_tokens) + i;
        n->payload.pages[i].file = chain[chain.size() - 1 - index];
      }
    node->payload.boundary = std::make_unique<Boundary>();
    node->payload.boundary->file = file;
    node->payload.boundary->border = file->head.border;
    node->payload.boundary->used = ++clock_;
  }
  for (const auto& [key, file] : pages)
    if (!needed.contains(key)) {
      writer_->remove(file);
      ++stats_.dropped_files;
    }
  return {};
}

Status PrefixStore::keep(const Sequence& sequence, bool message_border) {
  if (sequence.model() != model_ &&
      CacheIdentity::of(*sequence.model(), sequence.layout(), sequence.with_mtp()) != identity_)
    return fail(ErrorCode::kUsage, "a sequence of other weights or numerics cannot be kept here");
  if (sequence.with_mtp() != options_.with_mtp)
    return fail(ErrorCode::kUsage, "a sequence with{} the MTP block's window cannot be kept here",
                sequence.with_mtp() ? "" : "out");
  if (sequence.refill_left() > 0)
    return fail(ErrorCode::kUsage, "a sequence whose windows are being refilled cannot be kept yet");
  const std::span<const TokenId> ids = sequence.tokens();
  if (ids.empty()) return {};

  PageRef state;
  {
    // What can fail comes before the tree is touched.
    const auto at = tree_.find(ids);
    const bool known = at.length == static_cast<Position>(ids.size()) && at.length == at.node->end() &&
                       at.node->payload.boundary && at.node->payload.boundary->state;
    if (!known) {
      state = HADAL_TRY(PageRef::allocate(state_image_bytes(layout_, sequence.length()), false));
      pack_state(layout_, sequence.length(), sequence.state_block(), state.bytes());
    }
  }
  Node* node = insert(ids);
  std::vector<Node*> path;
  for (Node* n = node; n->parent; n = n->parent) path.push_back(n);
  std::reverse(path.begin(), path.end());

  std::unique_ptr<Boundary>& boundary = node->payload.boundary;
  if (!boundary) boundary = std::make_unique<Boundary>();
  if (state) {
    boundary->state = std::move(state);
    boundary->state_bytes = state_image_bytes(layout_, sequence.length());
  }
  boundary->border = boundary->border || message_border;
  boundary->used = ++clock_;
  if (paged()) {
    const auto pages = sequence.pages();
    for (Node* n : path) {
      const auto first = static_cast<std::size_t>(n->start / layout_.page_tokens);
      for (std::size_t i = 0; i < n->payload.pages.size(); ++i)
        if (PageSlot& slot = n->payload.pages[i]; !slot.memory) slot.memory = pages[first + i];
    }
    // A boundary inside a page takes the fullest copy of that page there is: rows are only ever appended, so the rows
    // it needs are in it, and its own copy can go.
    const auto last_open = static_cast<std::size_t>(ids.size()) / static_cast<std::size_t>(layout_.page_tokens);
    std::vector<const PageRef*> full;
    for (Node* n : path)
      for (const PageSlot& slot : n->payload.pages) full.push_back(&slot.memory);
    for (Node* n : path) {
      Boundary* b = n->payload.boundary.get();
      if (!b || n->end() % layout_.page_tokens == 0) continue;
      const auto index = static_cast<std::size_t>(n->end() / layout_.page_tokens);
      if (n == node || b->state || b->open) b->open = index == last_open ? pages[index] : *full[index];
    }
  }
  if (writer_) write_missing(path, ids);
  trim();
  return {};
}

void PrefixStore::write_missing(const std::vector<Node*>& path, std::span<const TokenId> ids) {
  if (options_.disk_bytes == 0) return;
  CacheKey key = root_key(identity_);
  bool room = true;
  for (Node* n : path) {
    auto index = n->start / std::max<std::int64_t>(layout_.page_tokens, 1);
    for (PageSlot& slot : n->payload.pages) {
      const Position start = index++ * layout_.page_tokens;
      if (!slot.file) {
        slot.file = std::make_shared<CacheFile>();
        CacheFileHead& head = slot.file->head;
        head.parent = key;
        head.start = start;
        const auto own = ids.subspan(static_cast<std::size_t>(start), static_cast<std::size_t>(layout_.page_tokens));
        head.ids.assign(own.begin(), own.end());
        head.key = next_key(key, own, false);
        set_payload_place(layout_, head);
        slot.file->state = CacheFile::State::kAbsent;
      }
      key = slot.file->head.key;
      // A page without the one before it is of no use, so the first that finds no room ends the writing.
      if (room && slot.file->state.load(std::memory_order_acquire) == CacheFile::State::kAbsent) {
        slot.file->state = CacheFile::State::kQueued;
        room = writer_->write(slot.file, slot.memory, {});
      }
    }
  }
  if (room) write_boundary(path.back(), path, key, ids);
}

void PrefixStore::write_boundary(Node* node, const std::vector<Node*>& path, const CacheKey& parent,
                                 std::span<const TokenId> ids) {
  Boundary& b = *node->payload.boundary;
  if (b.file && b.file->state.load(std::memory_order_acquire) != CacheFile::State::kAbsent) {
    writer_->touch(b.file);
    return;
  }
  Position since = node->end();  // tokens since the last boundary whose state is on disk
  for (Node* n : path)
    if (n != node && holds(n, Tier::kDisk) && n->payload.boundary->file->head.has_state) since = node->end() - n->end();
  auto file = std::make_shared<CacheFile>();
  CacheFileHead& head = file->head;
  head.boundary = true;
  head.border = b.border;
  head.has_state = windows_.kind == WindowPolicy::Kind::kFull ||
                   (windows_.kind == WindowPolicy::Kind::kPeriodic && since >= windows_.period);
  head.parent = parent;
  const Position whole = paged() ? node->end() / layout_.page_tokens * layout_.page_tokens : 0;
  if (!paged() && node->end() >= layout_.page_tokens) return;  // a file holds less than one page of ids
  head.start = whole;
  const auto own = ids.subspan(static_cast<std::size_t>(whole));
  head.ids.assign(own.begin(), own.end());
  head.key = next_key(parent, own, true);
  set_payload_place(layout_, head);
  b.file = file;
  writer_->write(std::move(file), b.open, head.has_state ? b.state : PageRef());
}

void PrefixStore::flush() {
  if (writer_) writer_->flush();
  publish(measure());
}

PrefixStats PrefixStore::stats() const {
  std::lock_guard lock(mutex_);
  PrefixStats out = shown_;
  if (writer_) {
    out.queued_bytes = writer_->queued_bytes();
    out.written_bytes = writer_->written_bytes();
    out.refused_writes = writer_->refused();
  }
  return out;
}

PrefixMiss PrefixStore::explain_miss(std::span<const TokenId> ids) {
  constexpr std::size_t kShown = 16;
  const auto [node, length] = tree_.find(ids);
  PrefixMiss miss;
  miss.agree = length;
  for (const Node* n = node; n; n = n->parent)
    if (n->payload.boundary && n->end() <= length) {
      miss.boundary = n->end();
      break;
    }
  const auto rest = ids.subspan(static_cast<std::size_t>(length));
  miss.asked.assign(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, rest.size())));
  // Below the point where they part, the line that was used last.
  const auto last_used = [](const auto& self, const Node* n) -> std::uint64_t {
    std::uint64_t used = n->payload.boundary ? n->payload.boundary->used : 0;
    for (const auto& child : n->children) used = std::max(used, self(self, child.second.get()));
    return used;
  };
  const Node* at = node;
  auto offset = static_cast<std::size_t>(length - node->start);
  while (at && miss.kept.size() < kShown) {
    for (; offset < at->edge.size() && miss.kept.size() < kShown; ++offset) miss.kept.push_back(at->edge[offset]);
    const Node* next = nullptr;
    std::uint64_t best = 0;
    for (const auto& child : at->children)
      if (const std::uint64_t used = last_used(last_used, child.second.get()); !next || used > best) {
        next = child.second.get();
        best = used;
      }
    at = next;
    offset = 0;
  }
  return miss;
}

}  // namespace hadal
