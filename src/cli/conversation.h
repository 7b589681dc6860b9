// The messages of a `hadal run`, from its options and turns, as the tokens of a prompt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "chat/codec.h"
#include "chat/lenient_parser.h"
#include "chat/tool_types.h"
#include "cli/options.h"
#include "tokens/tokenizer.h"
#include "weights/checkpoint.h"

namespace hadal::cli {

// Refuses text that is not UTF-8; `name` says which text it is.
Status check_text(std::string_view text, std::string_view name);

class Conversation {
 public:
  // Reads --file and --tools; --format wins over the generation the checkpoint was detected as.
  static Result<Conversation> make(const RunOptions& options, ChatGeneration detected);

  void add_user(const std::string& text);
  void add_assistant(chat::Message message) { messages_.push_back(std::move(message)); }
  void forget_last() { messages_.pop_back(); }
  void clear() { messages_.resize(head_); }

  // The whole prompt: markers as their tokens, everything else literally.
  Result<std::vector<TokenId>> tokens(const Tokenizer& tokenizer) const;

  // How to read the answer: calls only of declared tools, arguments repaired by their schemas.
  chat::LenientOptions reading() const {
    return chat::serving_options(tool_types_, render_.mode == chat::ThinkingMode::kThinking);
  }
  const std::string& document() const { return document_; }

 private:
  chat::RenderOptions render_;
  std::vector<chat::Message> messages_;
  std::size_t head_ = 0;  // messages that come before any turn
  std::string document_;  // put before the first user text
  chat::ToolTypes tool_types_;
};

}  // namespace hadal::cli
