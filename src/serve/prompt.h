// From what a client asks to the tokens the model reads.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "chat/replay.h"
#include "serve/answer.h"
#include "serve/ask.h"
#include "serve/rewriting.h"

namespace hadal::serve {

struct Prompt {
  std::vector<TokenId> ids;
  std::vector<Position> borders;
  std::vector<std::pair<Position, int>> starts;  // where the tokens of which of the ask's messages begin
  AnswerOptions reading;
  std::vector<TokenId> after_thinking;
  std::vector<std::string> job_stop;
  TokenId opener{};  // <think> or </think>, which the answer follows; for remembering

  // For the trace.
  std::string text;
  int remembered = 0, rendered = 0;    // earlier turns as sampled, and from what the client sent
  std::vector<std::string> rewritten;  // rules that changed something
};

struct PromptSettings {
  const Tokenizer* tokenizer = nullptr;
  chat::Generation generation = chat::Generation::kPreview;
  const chat::TurnLookup* turns = nullptr;  // may be null
  const Rewriting* rewriting = nullptr;     // may be null
  bool header = true;                       // false: the prompt ends with the last message, nothing is to be answered
};

// Settles the ask: its messages become those that were rendered, tools declared. kUsage and kUnsupported name the
// field.
Result<Prompt> make_prompt(Ask& ask, const PromptSettings& settings);

// Where which message begins, in words: "message 3 (assistant)", counted from 0 as they were rendered.
using MessagePlaces = std::vector<std::pair<Position, std::string>>;
MessagePlaces message_places(const Prompt& prompt, const Ask& ask);

std::string_view role_name(chat::Role role);

}  // namespace hadal::serve
