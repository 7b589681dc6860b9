// The incremental reader of what the model writes: bytes in, labelled pieces of those bytes out.
//
// The pieces joined are the input: nothing is lost and nothing invented. Where the model's markup is broken the scanner
// does what the machine behind the official API does: a call needs no opening block tag, anything unknown inside a
// block is skipped, and the end of input is accepted anywhere. Bytes that may yet become markup are held back, as is an
// unfinished UTF-8 sequence; everything else comes out at once, so pieces differ with the split of the input but their
// concatenation does not. Source: chat-format specification 7 and 8.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hadal::chat {

struct ScannerOptions {
  bool thinking = false;               // the completion starts inside the reasoning
  bool keep_leading_newlines = false;  // the completion continues a text the prompt began
  bool calls = true;                   // false: tool-call markup is ordinary text
  bool calls_in_reasoning = true;      // false: and so it is inside the reasoning
  bool marker_tokens_only = false;     // true: only bytes pushed as marker tokens can be markers; spelled ones are text
  // A marker opens a block only where a call follows; otherwise it is text. Beyond the published machine, which loses
  // the rest of an answer that merely mentions the marker. An empty block or a stray closing tag is skipped likewise.
  bool require_call_shape = false;
  std::vector<std::string> stop;  // stop sequences, matched in the answer only; the empty ones are ignored
};

enum class PieceKind {
  kReasoning,
  kContent,
  kMarkup,           // recognised tags, and the newlines that go with them
  kStrayThinkClose,  // a </think> in the answer
  kStrayClose,       // a block's closing tag in the answer (require_call_shape only)
  kBlockClose,
  kStop,       // the stop sequence that ended the answer
  kAfterEnd,   // anything after the block's end or a stop sequence
  kBlockText,  // inside a block but outside a call: skipped
  kCallText,   // inside a call but outside a parameter: skipped
  kCallOpen,   // invoke name="
  kCallName,
  kCallNameEnd,
  kCallClose,  // the '</' + DSML marker that ends a call; its name follows as kBlockText
  kKeyOpen,    // parameter name="
  kKey,
  kKeyEnd,
  kTypeText,    // between the key and the value, skipped
  kStringOpen,  // true">
  kJsonOpen,    // false">
  kStringValue,
  kJsonValue,
  kStringEnd,  // the '</' + DSML marker that ends a value; its name follows as kCallText
  kJsonEnd,
};

struct Piece {
  PieceKind kind;
  std::string bytes;  // never empty
};

class DsmlScanner {
 public:
  enum class State {
    kReasoning,
    kContent,
    kBlock,
    kCallName,
    kCall,
    kKey,
    kType,
    kStringValue,
    kJsonValue,
    kFinished,
  };

  explicit DsmlScanner(ScannerOptions options);
  DsmlScanner(DsmlScanner&&) noexcept;  // not copied: the rules point into the options
  DsmlScanner& operator=(DsmlScanner&&) noexcept;
  ~DsmlScanner();

  // Feeds bytes and appends the pieces that are certain. `is_marker`: the bytes are one special token of the
  // vocabulary.
  void push(std::string_view bytes, std::vector<Piece>& out, bool is_marker = false);
  // End of input: held bytes come out as ordinary text of the current state.
  void finish(std::vector<Piece>& out);

  State state() const { return state_; }

 private:
  struct Rule;

  std::vector<Rule> rules() const;
  void enter(State state);
  bool step(std::vector<Piece>& out);
  void hold(std::vector<Piece>& out);
  void emit(PieceKind kind, std::string_view bytes, std::vector<Piece>& out);
  void emit_front(PieceKind kind, std::size_t count, std::vector<Piece>& out);
  void drop_front(std::size_t count);
  bool genuine(const Rule& rule, std::size_t at) const;
  std::size_t find(const Rule& rule);
  PieceKind text_kind() const;

  ScannerOptions options_;
  State state_;
  std::vector<Rule> rules_;        // of state_
  bool leading_;                   // nothing but newlines seen in this state, and those are to be dropped
  std::size_t newlines_ = 0;       // newlines held in front of pending_; counted, so that a long run stays linear
  std::size_t kept_newlines_ = 0;  // how many of them stay in pending_, because a stop sequence begins with as many
  std::string pending_;            // bytes not yet decided
  std::uint64_t base_ = 0;         // offset of pending_[0] in the input
  std::size_t undecided_ = std::string::npos;  // in pending_: a marker waiting to see whether a call follows
  bool has_calls_ = false;
  std::deque<std::pair<std::uint64_t, std::uint64_t>> markers_;  // marker tokens: where in the input, from base_ on
};

}  // namespace hadal::chat
