// A session's tokens read back as a conversation. The log holds tokens only, so what is shown is what the model saw.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "chat/generation.h"
#include "chat/messages.h"
#include "sessions/session_history.h"
#include "tokens/tokenizer.h"

namespace hadal::serve {

struct TranscriptTurn {
  // kAssistant: calls have ids, `sampled` holds the tokens. An open call is left out.
  chat::Message message;
  Position from = 0, to = 0;         // tokens; results and text of one user turn share them
  bool finished = true;              // kAssistant: the model ended it
  bool reasoning_in_context = true;  // false: it is of another branch, this one dropped it
};

struct Transcript {
  bool conversation = true;  // false: one turn of role kUnknown with all the text
  std::vector<TranscriptTurn> turns;
  std::vector<chat::ToolSchema> tools;
  std::string effort;    // none, low, high or max, as the last turn was asked for; empty: nothing says
  bool complete = true;  // false: ends inside an answer
  Position length = 0;

  // Tokens of the first `count` turns; of all when there are no more.
  Position tokens_of(std::size_t count) const;
};

// `sampled`: some of the tokens are the model's. Never fails: what is not in the chat format is no conversation.
Transcript read_transcript(const Tokenizer& tokenizer, chat::Generation generation, std::span<const TokenId> ids,
                           bool sampled);

// The same of a branch, with the reasoning that its turns had in the branches it grew from.
Result<Transcript> read_branch(const Tokenizer& tokenizer, chat::Generation generation, const SessionHistory& history,
                               BranchId branch);

}  // namespace hadal::serve
