#include "chat/dsml_scanner.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "chat/templates.h"
#include "chat/utf8.h"

namespace hadal::chat {

// One marker a state looks for, what its bytes are, and where it leads.
struct DsmlScanner::Rule {
  std::string_view pattern;
  PieceKind kind;
  State next;
  bool eats_newlines = false;  // newlines directly before the marker belong to it
  int token_at = -1;           // offset in `pattern` of the special token, -1 if it holds none
  bool opens_block = false;    // counts only if a call follows, when the options ask for that
};

namespace {

// Length of the longest proper prefix of `pattern` that `text` ends with.
std::size_t open_prefix(std::string_view text, std::string_view pattern) {
  for (std::size_t n = std::min(text.size(), pattern.size() - 1); n > 0; --n) {
    if (text.ends_with(pattern.substr(0, n))) return n;
  }
  return 0;
}

// Whether a call begins after a DSML marker: no value while more bytes are needed to tell.
std::optional<bool> begins_call(std::string_view after) {
  constexpr std::size_t kMostBlanks = 16;  // between the tags of a block that is still taken for one
  bool open = false;
  for (std::string_view block : {"tool_calls>", "function_calls>", "calls>", ""}) {
    std::string_view rest = after;
    // True: `word` is there and is consumed. False: it is not, or not yet.
    auto take = [&](std::string_view word) {
      bool found = rest.starts_with(word);
      if (found) rest.remove_prefix(word.size());
      if (!found && word.starts_with(rest)) open = true;
      return found;
    };
    if (rest.starts_with(' ')) rest.remove_prefix(1);
    if (!take(block)) continue;
    if (!block.empty()) {
      std::size_t blanks = std::min(rest.find_first_not_of(" \t\r\n"), rest.size());
      if (blanks > kMostBlanks) continue;
      rest.remove_prefix(blanks);
      if (take("</｜DSML｜")) return true;  // an empty block
      if (!take("<｜DSML｜")) continue;
      if (rest.starts_with(' ')) rest.remove_prefix(1);
    }
    if (take("invoke name=\"")) return true;
  }
  if (open) return std::nullopt;
  return false;
}

}  // namespace

DsmlScanner::DsmlScanner(ScannerOptions options)
    : options_(std::move(options)),
      state_(options_.thinking ? State::kReasoning : State::kContent),
      leading_(!options_.keep_leading_newlines) {
  std::erase_if(options_.stop, [](const std::string& stop) { return stop.empty(); });
  for (const std::string& stop : options_.stop) {
    kept_newlines_ = std::max(kept_newlines_, std::min(stop.find_first_not_of('\n'), stop.size()));
  }
  rules_ = rules();
}

DsmlScanner::DsmlScanner(DsmlScanner&&) noexcept = default;
DsmlScanner& DsmlScanner::operator=(DsmlScanner&&) noexcept = default;
DsmlScanner::~DsmlScanner() = default;

// The whole grammar. Order matters only for markers that end on the same byte.
std::vector<DsmlScanner::Rule> DsmlScanner::rules() const {
  constexpr std::string_view kOpenTag = "<｜DSML｜", kCloseTag = "</｜DSML｜";
  // The last one is V3.2's, which the published machine does not know.
  constexpr std::string_view kBlockCloses[] = {"</｜DSML｜tool_calls>", "</｜DSML｜ calls>",
                                               "</｜DSML｜function_calls>"};
  auto block_closes = [&] { return std::span(kBlockCloses).first(options_.require_call_shape ? 3 : 2); };
  using enum PieceKind;
  switch (state_) {
    case State::kReasoning: {
      std::vector<Rule> rules = {{text::kThinkClose, kMarkup, State::kContent, true, 0}};
      if (options_.calls && options_.calls_in_reasoning)
        rules.push_back({kOpenTag, kMarkup, State::kBlock, true, 1, true});
      return rules;
    }
    case State::kContent: {
      std::vector<Rule> rules;
      for (const std::string& stop : options_.stop) rules.push_back({stop, kStop, State::kFinished});
      if (options_.calls) rules.push_back({kOpenTag, kMarkup, State::kBlock, true, 1, true});
      if (options_.calls && options_.require_call_shape) {
        for (std::string_view close : block_closes()) rules.push_back({close, kStrayClose, State::kContent, false, 2});
        for (std::string_view close : {"</｜DSML｜invoke>", "</｜DSML｜parameter>"})
          rules.push_back({close, kStrayClose, State::kContent, false, 2});
      }
      rules.push_back({text::kThinkClose, kStrayThinkClose, State::kContent, false, 0});
      return rules;
    }
    case State::kBlock: {
      State end = options_.require_call_shape && !has_calls_ ? State::kContent : State::kFinished;
      std::vector<Rule> rules = {{"invoke name=\"", kCallOpen, State::kCallName}};
      for (std::string_view close : block_closes()) rules.push_back({close, kBlockClose, end, false, 2});
      return rules;
    }
    case State::kCallName:
      return {{"\"", kCallNameEnd, State::kCall}};
    case State::kCall:
      return {{"parameter name=\"", kKeyOpen, State::kKey}, {kCloseTag, kCallClose, State::kBlock, false, 2}};
    case State::kKey:
      return {{"\"", kKeyEnd, State::kType}};
    case State::kType:
      return {{"true\">", kStringOpen, State::kStringValue}, {"false\">", kJsonOpen, State::kJsonValue}};
    case State::kStringValue:
      return {{kCloseTag, kStringEnd, State::kCall, false, 2}};
    case State::kJsonValue:
      return {{kCloseTag, kJsonEnd, State::kCall, false, 2}};
    case State::kFinished:
      return {};
  }
  return {};
}

PieceKind DsmlScanner::text_kind() const {
  switch (state_) {
    case State::kReasoning:
      return PieceKind::kReasoning;
    case State::kContent:
      return PieceKind::kContent;
    case State::kBlock:
      return PieceKind::kBlockText;
    case State::kCallName:
      return PieceKind::kCallName;
    case State::kCall:
      return PieceKind::kCallText;
    case State::kKey:
      return PieceKind::kKey;
    case State::kType:
      return PieceKind::kTypeText;
    case State::kStringValue:
      return PieceKind::kStringValue;
    case State::kJsonValue:
      return PieceKind::kJsonValue;
    case State::kFinished:
      return PieceKind::kAfterEnd;
  }
  return PieceKind::kAfterEnd;
}

void DsmlScanner::push(std::string_view bytes, std::vector<Piece>& out, bool is_marker) {
  if (bytes.empty()) return;
  if (is_marker && options_.marker_tokens_only)
    markers_.emplace_back(base_ + pending_.size(), base_ + pending_.size() + bytes.size());
  constexpr std::size_t kSlice = 1024;  // each step searches what is pending: short slices keep a long push linear
  for (; !bytes.empty(); bytes.remove_prefix(std::min(kSlice, bytes.size()))) {
    pending_ += bytes.substr(0, kSlice);
    while (step(out)) {
    }
    hold(out);
  }
}

void DsmlScanner::finish(std::vector<Piece>& out) { emit_front(text_kind(), pending_.size(), out); }

bool DsmlScanner::genuine(const Rule& rule, std::size_t at) const {
  if (!options_.marker_tokens_only || rule.token_at < 0) return true;
  std::uint64_t place = base_ + at + static_cast<std::size_t>(rule.token_at);
  return std::ranges::any_of(markers_, [&](const auto& range) { return range.first <= place && place < range.second; });
}

// Where in pending_ the rule's marker is, npos if it is not there. An opening that may still turn out to be one is
// noted.
std::size_t DsmlScanner::find(const Rule& rule) {
  bool guarded = rule.opens_block && options_.require_call_shape;
  for (std::size_t at = pending_.find(rule.pattern); at != std::string::npos;
       at = pending_.find(rule.pattern, at + 1)) {
    if (!genuine(rule, at)) continue;
    if (!guarded) return at;
    std::optional<bool> call = begins_call(std::string_view(pending_).substr(at + rule.pattern.size()));
    if (call == true) return at;
    if (!call) return undecided_ = at, std::string::npos;
  }
  return std::string::npos;
}

// Consumes up to and including the marker that ends first; false if pending_ holds none.
bool DsmlScanner::step(std::vector<Piece>& out) {
  if (leading_ && (state_ == State::kReasoning || state_ == State::kContent)) {
    std::size_t count = std::min(pending_.find_first_not_of('\n'), pending_.size());
    if (count > 0) emit_front(PieceKind::kMarkup, count, out);
  }
  const Rule* best = nullptr;
  std::size_t best_at = 0;
  undecided_ = std::string::npos;
  for (const Rule& rule : rules_) {
    std::size_t at = find(rule);
    if (at == std::string::npos) continue;
    if (!best || at + rule.pattern.size() < best_at + best->pattern.size()) best = &rule, best_at = at;
  }
  if (!best || best_at > undecided_) return false;
  std::size_t text_end = best_at;
  if (best->eats_newlines) {
    while (text_end > 0 && pending_[text_end - 1] == '\n') --text_end;
  }
  if (text_end > 0 || !best->eats_newlines) {
    emit_front(text_kind(), text_end, out);
  } else {
    emit(PieceKind::kMarkup, std::string(std::exchange(newlines_, 0), '\n'), out);
  }
  emit_front(PieceKind::kMarkup, best_at - text_end, out);
  emit_front(best->kind, best->pattern.size(), out);
  PieceKind kind = best->kind;
  if (kind == PieceKind::kCallOpen) has_calls_ = true;
  enter(best->next);  // `best` is gone with the old state's rules
  // After a stray </think> the answer goes on: its newlines are no longer leading ones.
  if (kind == PieceKind::kStrayThinkClose || kind == PieceKind::kStrayClose) leading_ = false;
  return true;
}

void DsmlScanner::enter(State state) {
  state_ = state;
  rules_ = rules();
  leading_ = true;
}

// Lets go of everything that cannot be part of a marker any more.
void DsmlScanner::hold(std::vector<Piece>& out) {
  std::size_t held = 0;
  bool holds_newlines = false;  // the newlines counted in newlines_ stay too
  for (const Rule& rule : rules_) {
    std::size_t n = open_prefix(pending_, rule.pattern);
    // A prefix that already contains the marker's place must have the token there.
    while (n > 0 && rule.token_at >= 0 && n > static_cast<std::size_t>(rule.token_at) &&
           !genuine(rule, pending_.size() - n)) {
      n = open_prefix(std::string_view(pending_).substr(pending_.size() - n + 1), rule.pattern);
    }
    if (rule.opens_block && undecided_ != std::string::npos) n = std::max(n, pending_.size() - undecided_);
    if (rule.eats_newlines) {
      while (n < pending_.size() && pending_[pending_.size() - n - 1] == '\n') ++n;
      if (n == pending_.size()) holds_newlines = true;
    }
    held = std::max(held, n);
  }
  if (held == 0) held = utf8_waiting(pending_);
  if (held < pending_.size() || !holds_newlines) emit_front(text_kind(), pending_.size() - held, out);
  std::size_t run = std::min(pending_.find_first_not_of('\n'), pending_.size());
  bool counts = std::ranges::any_of(rules_, &Rule::eats_newlines);
  if (counts && run > kept_newlines_) {
    newlines_ += run - kept_newlines_;
    drop_front(run - kept_newlines_);
  }
}

// The first `count` bytes of pending_, and whatever newlines are held before them, as one piece.
void DsmlScanner::emit_front(PieceKind kind, std::size_t count, std::vector<Piece>& out) {
  if (newlines_ > 0) {
    emit(kind, std::string(std::exchange(newlines_, 0), '\n'), out);
  }
  emit(kind, std::string_view(pending_).substr(0, count), out);
  drop_front(count);
}

void DsmlScanner::emit(PieceKind kind, std::string_view bytes, std::vector<Piece>& out) {
  if (bytes.empty()) return;
  if (kind == PieceKind::kReasoning || kind == PieceKind::kContent) leading_ = false;
  if (!out.empty() && out.back().kind == kind && kind != PieceKind::kStrayThinkClose &&
      kind != PieceKind::kStrayClose) {
    out.back().bytes += bytes;
  } else {
    out.push_back({kind, std::string(bytes)});
  }
}

void DsmlScanner::drop_front(std::size_t count) {
  pending_.erase(0, count);
  base_ += count;
  while (!markers_.empty() && markers_.front().second <= base_) markers_.pop_front();
}

}  // namespace hadal::chat
