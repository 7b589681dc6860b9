// What users are served: a completion read piece by piece into events, forgiving whatever the model got wrong.
//
//   LenientParser parser(options);
//   for each sampled token: for (const Event& event : parser.push(bytes)) send(event);
//   for (const Event& event : parser.finish()) send(event);
//
// Events do not depend on how the completion was split, except in where their texts are cut. The end-of-sentence token
// is not part of the completion. Source: chat-format specification 7 and 8.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/argument_writer.h"
#include "chat/dsml_scanner.h"
#include "chat/messages.h"
#include "chat/tool_types.h"

namespace hadal::chat {

struct LenientOptions {
  bool thinking = false;               // the prompt ended in <think>
  bool keep_leading_newlines = false;  // the prompt ended inside a text that the completion continues
  bool calls = true;                   // false: markup is content
  bool calls_in_reasoning = true;      // a call ends the reasoning; false: it is reasoning text
  bool marker_tokens_only = false;     // trust ids: a marker spelled in ordinary tokens is text
  std::vector<std::string> stop;       // matched in the answer only

  // Recommended policy, off in the published machine.
  bool require_call_shape = false;   // a marker that no call follows is text, not the end of the answer
  bool report_skipped_text = false;  // say what was skipped inside a block, as kIgnored
  const ToolTypes* tools = nullptr;  // repair arguments by these declarations; must outlive the parser
};

// What a server should use: the whole recommended policy, and no calls at all when no tool is declared.
LenientOptions serving_options(const ToolTypes& tools, bool thinking);

struct Event {
  enum class Kind {
    kReasoning,   // text: a piece of the reasoning
    kContent,     // text: a piece of the answer
    kCallOpened,  // text: the tool's name, complete
    kArguments,   // text: a piece of the arguments' JSON
    kCallClosed,  // the arguments are complete; see `verdict`
    kIgnored,     // text: input that belongs nowhere; see `reason`
    kFinished,    // the block of calls ended, or a stop sequence (then `text`) matched: nothing after it will be used
  };
  Kind kind;
  std::string text;
  int call = -1;  // kCallOpened, kArguments, kCallClosed: index of the call, from 0
  // kIgnored: "extra_end_of_thinking", "content_after_finished", "stray_markup", "text_in_block" or "unfinished_call"
  std::string_view reason = "";
  ArgumentsVerdict verdict = ArgumentsVerdict::kGood;  // kCallClosed, when tools were given
};

class LenientParser {
 public:
  explicit LenientParser(LenientOptions options);

  // Feeds the bytes of the next token or tokens. `is_marker`: they are one special token of the vocabulary.
  std::vector<Event> push(std::string_view bytes, bool is_marker = false);
  // End of the completion, whatever the reason.
  std::vector<Event> finish();

  // Where the completion stands: "reasoning", "content", "tool_calls", "tool_name", "parameters", "parameter_name",
  // "parameter_type", "parameter_value" or "finished".
  std::string_view state_name() const;

 private:
  void convert(std::vector<Event>& out);
  void convert_call(Piece& piece, std::vector<Event>& out);
  void close_call(std::vector<Event>& out);
  void report_skipped(std::vector<Event>& out);

  LenientOptions options_;
  DsmlScanner scanner_;
  std::vector<Piece> pieces_;  // from the scanner, not yet converted
  std::optional<ArgumentWriter> arguments_;
  std::string name_;             // of the call being opened
  std::string skipped_;          // text inside the block that belongs to no parameter
  std::string body_;             // the part of it that is inside a call before any parameter
  bool has_parameters_ = false;  // the open call has at least one
  int calls_ = 0;
};

// The events of one completion, put together.
struct ParsedTurn {
  struct Call {
    std::string name, arguments;
    bool closed = false;  // a call that did not close was cut off and must not run
    ArgumentsVerdict verdict = ArgumentsVerdict::kGood;
  };
  std::string reasoning, content;
  std::vector<Call> calls;
  std::vector<std::string> ignored;  // reasons, in order; text after the end counts once
  bool finished = false;

  void add(const std::vector<Event>& events);
  // "tool_calls" when a call closed, "length" when the token limit cut the completion, else "stop".
  std::string_view finish_reason(bool hit_limit) const;
  // As an assistant message, with the closed calls only. Their ids are empty.
  Message message() const;
};

}  // namespace hadal::chat
