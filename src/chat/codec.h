// The chat format of DeepSeek-V4: conversations to prompt text, completions back to messages.
//
//   render()        a conversation -> the exact text the model was trained to continue
//   parse_strict()  a completion -> a message, or the reason it is not well formed (conformance, training data)
//   LenientParser   a completion, piece by piece -> events for users; see chat/lenient_parser.h
//
// A prompt is a row of turns without separators:
//
//   <bos>system text<｜User｜>question<｜Assistant｜><think>reasoning</think>answer<eos><｜User｜>...
//
// Tool results are part of the next user turn. Tool calls are a DSML block after the answer. The last user turn is
// followed by the assistant header, after which the model writes. Source: chat-format specification 2-6.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/generation.h"
#include "chat/messages.h"

namespace hadal::chat {

struct RenderOptions {
  Generation generation = Generation::kPreview;
  ThinkingMode mode = ThinkingMode::kThinking;
  Effort effort = Effort::kDefault;   // validated in both modes, rendered in thinking mode only
  bool drop_thinking = true;          // forget the reasoning of earlier turns; a declared tool turns this off
  bool add_bos = true;                // never added when there is a context
  bool add_generation_header = true;  // false: nothing follows the last message
};

// What a stretch of the prompt is, which decides how it becomes tokens.
enum class SegmentKind {
  kMarker,    // one special token, written by the template
  kTemplate,  // other text of the template
  kPlain,     // text from users, tools or the model: a marker spelled in it is only characters
};

struct Segment {
  SegmentKind kind;
  std::size_t begin, end;  // bytes of Rendered::text
  int message;             // index of the message it belongs to, context included; -1 for the BOS
};

struct Rendered {
  std::string text;
  std::vector<Segment> segments;  // cover the text without gaps, in order
};

// Renders `messages`, which follow `context`; the context itself is not emitted. Errors: the names of chat/errors.h.
Result<Rendered> render(std::span<const Message> messages, const RenderOptions& options,
                        std::span<const Message> context = {});

// A stretch to give to the tokenizer as one string. Splitting text between two markers any finer would shift tokens.
struct TokenRun {
  bool is_marker;         // true: look up the one token of this text. false: encode literally, recognising no marker
  std::string_view text;  // points into the Rendered
};
std::vector<TokenRun> token_runs(const Rendered& rendered);

// Reads a completion as the reference does: the text after the generation header, end-of-sentence marker included.
// Arguments are the reference's text: string values as JSON strings, other values raw, so they may be invalid JSON.
Result<Message> parse_strict(std::string_view completion, ThinkingMode mode);

}  // namespace hadal::chat
