// Any JSON as a conversation: it renders, or the error has a name; the segments always cover the prompt.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "chat/codec.h"
#include "chat/errors.h"
#include "chat/message_json.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hadal::chat;
  if (size < 1) return 0;
  std::uint8_t bits = data[0];
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  auto list = parse_json(text);
  if (!list) return 0;
  auto messages = messages_from_json(*list, text);
  if (!messages) {
    require(!error_name(messages.error()).empty());
    return 0;
  }
  RenderOptions options;
  options.generation = bits & 1 ? Generation::kPreview : Generation::k0731;
  options.mode = bits & 2 ? ThinkingMode::kThinking : ThinkingMode::kChat;
  options.effort = bits & 4 ? Effort::kMax : Effort::kDefault;
  options.drop_thinking = bits & 8;
  std::span<const Message> all = *messages;
  std::size_t context = bits & 16 ? all.size() / 2 : 0;
  auto rendered = render(all.subspan(context), options, all.first(context));
  if (!rendered) {
    require(!error_name(rendered.error()).empty());
    return 0;
  }
  std::size_t at = 0;
  for (const Segment& segment : rendered->segments) {
    require(segment.begin == at && segment.end > at && segment.message < static_cast<int>(all.size()));
    at = segment.end;
  }
  require(at == rendered->text.size());
  std::size_t total = 0;
  for (const TokenRun& run : token_runs(*rendered)) total += run.text.size();
  require(total == at);
  return 0;
}
