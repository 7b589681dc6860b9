// The strict parser and the JSON reader on any bytes: they answer, and what they accept renders back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "chat/codec.h"
#include "chat/errors.h"
#include "chat/python_json.h"
#include "chat/python_literal.h"
#include "chat/utf8.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hadal::chat;
  std::string_view text(reinterpret_cast<const char*>(data), size);

  for (ThinkingMode mode : {ThinkingMode::kThinking, ThinkingMode::kChat}) {
    auto message = parse_strict(text, mode);
    if (!message) {
      require(!error_name(message.error()).empty());
    } else {
      // Nothing was dropped: the texts are parts of the input.
      require(text.find(message->reasoning_content) != std::string_view::npos);
      require(text.find(*message->content) != std::string_view::npos);
    }
  }

  auto value = parse_json(text);
  if (value) {
    std::string spelled = python_json(*value);
    require(is_utf8(spelled));
    auto again = respell_json(spelled);
    require(again && *again == spelled);
  }
  if (auto literal = parse_python_literal(text)) require(parse_json(python_json(*literal)).has_value());
  return 0;
}
