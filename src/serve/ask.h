// What a client asked for, whichever API it speaks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "chat/generation.h"
#include "chat/messages.h"

namespace hadal::serve {

struct ToolChoice {
  enum class Kind { kAuto, kNone, kRequired, kNamed };
  Kind kind = Kind::kAuto;
  std::string name;  // kNamed
};

struct Ask {
  std::string model;  // as the client spelled it
  std::vector<chat::Message> messages;
  std::vector<chat::ToolSchema> tools;
  ToolChoice choice;
  bool parallel = true;  // false: at most one call per answer
  bool thinking = true;
  std::string effort;                 // the client's word; empty: the default
  std::int64_t thinking_budget = -1;  // tokens; -1: no limit

  // Completions only, instead of messages.
  bool raw = false;
  std::string prompt;
  std::vector<TokenId> prompt_ids;  // used when prompt is empty
  bool echo = false;

  // Native sessions only.
  std::string session;                    // the one that gets the tokens
  std::vector<TokenId> turn_so_far;       // not empty: prompt_ids ends in this unfinished turn, which goes on
  std::vector<std::string> instructions;  // Quick Instructions that run beside the answer
  bool continues = false;                 // asked to go on with an unfinished turn

  std::optional<double> temperature, top_p, min_p;
  std::optional<std::int64_t> top_k;
  std::optional<std::uint64_t> seed;
  std::int64_t max_tokens = -1;  // -1: until the model stops
  std::vector<std::string> stop;
  std::int64_t answers = 1;
  bool logprobs = false;
  int top_logprobs = 0;

  bool stream = false;
  bool stream_usage = false;          // OpenAI: usage in a chunk of its own at the end
  std::string client;                 // whose fair share it is: the API key's name, else the user the request names
  std::string echoed;                 // Responses: fields to repeat in the answer, as the inside of a JSON object
  std::vector<std::string> warnings;  // told in a header; errors when the client asks for strictness
};

// Names of efforts, as the official API maps them: none turns thinking off, minimal and low are low, medium, high and
// xhigh are high, max and ultra are max. The preview has no low: high, which adds nothing there. Empty is high.
struct Effort {
  bool thinking = true;
  chat::Effort effort = chat::Effort::kHigh;
};
std::optional<Effort> effort_of(std::string_view word, chat::Generation generation);  // nothing: not a word of the list

}  // namespace hadal::serve
