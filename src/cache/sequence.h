// One sequence of tokens and everything the model remembers of it: pages of compressed rows, windows, open compressor
// tails.
//
// Contract: feeding the same tokens gives the same bits, whatever the cuts, forks, rewinds, saves and restores in
// between.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "cache/page.h"
#include "model/model.h"

namespace hadal {

// The token to start from so that windows and tails are exact at `length` when they are refilled from pages and ids.
Position refill_start(const ModelConfig& config, const CacheLayout& layout, Position length);

class Sequence {
 public:
  // An empty sequence. `with_mtp` keeps the MTP block's window in step from the first token on.
  static Result<Sequence> create(std::shared_ptr<Model> model, bool with_mtp = false);

  Position length() const { return state_.length; }
  std::span<const TokenId> tokens() const { return tokens_; }
  const CacheLayout& layout() const { return layout_; }
  const std::shared_ptr<Model>& model() const { return model_; }

  // Appends tokens in one step (a long prompt is best fed in pieces of model()->preferred_step()). On error nothing
  // changes.
  Status feed(std::span<const TokenId> ids, const FeedOutputs& outputs = {});

  // One step of several sequences of one model (a batch of decodes, pieces of prompts): each gets the bits it would get
  // alone. On an error of the request nothing changes; when memory or a disk fails, every part is as before.
  struct Part {
    Sequence* sequence = nullptr;
    std::span<const TokenId> ids = {};
    float* last_logits = nullptr;  // [vocab]; may be null
  };
  static Status feed_together(std::span<const Part> parts);

  // A second sequence with the same past. Shares full pages, copies the state block (a few MiB).
  Result<Sequence> fork() const;

  // Goes back to `length` tokens. Compressed rows stay; windows and open tails are refilled by feeding about
  // sliding_window x layers earlier tokens again (report 3.6: the policy that stores no window rows).
  Status rewind(Position length);

  // What a rewind or a kept prefix without windows leaves to do: tokens to feed again before the next feed, 0 when
  // windows and tails are exact. feed() does all of it at once; refill_step does at most about `most` tokens, so that
  // others can be served in between.
  Position refill_left() const { return damaged_ ? state_.length - (refill_at_ < 0 ? refill_start() : refill_at_) : 0; }
  Status refill_step(Position most);

  // A sequence out of kept parts (cache/prefix_store.h): `pages` hold at least the rows of `tokens`; `state` is the
  // image (cache/live_parts.h) of the state block at that length, or empty: then refill_left() tokens are to be fed.
  static Result<Sequence> assemble(std::shared_ptr<Model> model, bool with_mtp, std::vector<TokenId> tokens,
                                   std::vector<PageRef> pages, Bytes state);
  std::span<const PageRef> pages() const { return pages_; }
  const std::byte* state_block() const { return block_.get(); }
  bool with_mtp() const { return with_mtp_; }

  // Makes a context of `depth` tokens out of copies of this sequence's own full pages: rows of the right form whose
  // content means nothing, for measuring at depths that would take hours to reach. The length so far must be a multiple
  // of layout().page_tokens, and so must `depth`; kUsage otherwise, kNoMemory.
  Status stretch(Position depth);

  // One file, written beside `path` and renamed; docs/formats/sequence.md. restore() refuses files of other weights or
  // numerics.
  Status save(const std::string& path) const;
  static Result<Sequence> restore(std::shared_ptr<Model> model, const std::string& path);

  std::int64_t memory_bytes() const {
    return static_cast<std::int64_t>(pages_.size()) * layout_.page_bytes + layout_.state_bytes +
           static_cast<std::int64_t>(tokens_.capacity() * sizeof(TokenId));
  }

 private:
  struct AlignedFree {
    void operator()(std::byte* p) const { std::free(p); }
  };
  Sequence(std::shared_ptr<Model> model, CacheLayout layout, bool with_mtp);
  Status allocate_state(bool zero = true);
  Status prepare(std::span<const TokenId> ids);  // for a feed: windows as they should be, and room
  void bind();                                   // points state_'s views at our memory
  Status make_room(Position from, Position to);  // pages for tokens [from, to), owned by this sequence alone
  Position refill_start() const { return hadal::refill_start(model_->config(), layout_, state_.length); }

  std::shared_ptr<Model> model_;
  CacheLayout layout_;
  bool with_mtp_ = false;
  bool damaged_ = false;     // windows and tails are not those of length(): they must be refilled before the next step
  Position refill_at_ = -1;  // how far that has come; -1: not begun
  std::vector<TokenId> tokens_;
  std::vector<PageRef> pages_;
  std::vector<std::byte*> page_bytes_;             // what PagedRows reads
  std::unique_ptr<std::byte, AlignedFree> block_;  // layout_.state_bytes
  SequenceState state_;
};

}  // namespace hadal
