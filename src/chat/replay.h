// Prompts in which earlier answers stand exactly as they were sampled.
//
// What a client sends back of an answer is a retelling: numbers respelled, keys in another order, newlines trimmed,
// reasoning left out. Rendering the retelling would give other tokens, the model would read another past than it wrote,
// and everything cached from there on would be lost. So answers are remembered as token ids, under keys that survive
// the retelling, and put back in place of it. Source: chat-format specification 9.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "chat/codec.h"
#include "tokens/tokenizer.h"

namespace hadal::chat {

// 128 bits of a hash. A turn is remembered under several keys:
//   its place: everything a client shows of the conversation up to and including the turn;
//   each of its calls: the call's id and what the client shows of the turn, wherever the turn stands.
// What a client shows: roles, texts without blanks around them, tool names, arguments as canonical JSON (keys sorted,
// numbers as doubles) and results. Not reasoning, not declarations, not ids. A turn that a client edited has other
// keys.
struct TurnKey {
  std::uint64_t high = 0, low = 0;
  auto operator<=>(const TurnKey&) const = default;
};

// The keys of `answer` given after `messages`.
std::vector<TurnKey> turn_keys(std::span<const Message> messages, const Message& answer);

// Where remembered turns are kept. A turn is the token that opened it, <think> or </think>, then all ids sampled or put
// in, the end-of-sentence token included if it came.
class TurnLookup {
 public:
  virtual ~TurnLookup() = default;
  virtual std::optional<std::vector<TokenId>> find(const TurnKey& key) const = 0;
};

struct Replayed {
  std::vector<TokenId> ids;
  std::vector<Position> borders;  // ascending: before every user turn, and after every assistant header's first token,
                                  // where a kept and a dropped reasoning part ways
  std::vector<std::pair<Position, int>> starts;  // where the tokens of which message begin, ascending
  std::string text;                              // as rendered, before turns were put back
  int remembered = 0;                            // assistant turns put back as sampled
  int rendered = 0;                              // assistant turns rendered from what the client sent
  bool thinking = false;                         // the prompt ends inside a reasoning
  bool continues = false;                        // the prompt ends inside a text that the client began
};

// Renders and tokenises. Message::sampled comes before what `turns` knows; `turns` may be null. An earlier turn whose
// reasoning is dropped is put back without it: the part after </think> as sampled. Errors: those of render() and
// prompt_tokens().
Result<Replayed> replay(const Tokenizer& tokenizer, std::span<const Message> messages, const RenderOptions& options,
                        const TurnLookup* turns);

}  // namespace hadal::chat
