// Any bytes as a request's body, read by every API: an Ask that can be settled and rendered, or an error in a sentence.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "chat/codec.h"
#include "serve/conversation.h"
#include "serve/dialect.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hadal;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto parsed = serve::parse_body(body);
  if (!parsed) return 0;
  for (const serve::Dialect* dialect : {&serve::openai_chat(), &serve::openai_completions(), &serve::openai_responses(),
                                        &serve::anthropic_messages()}) {
    auto ask = dialect->read(*parsed, body);
    if (!ask) {
      if (ask.error().what.empty() || dialect->error(400, ask.error(), "id").body.empty()) std::abort();
      continue;
    }
    if (ask->raw || !serve::settle(ask->messages)) continue;
    chat::declare(ask->messages, ask->tools, "");
    if (auto rendered = chat::render(ask->messages, {}); !rendered && rendered.error().what.empty()) std::abort();
  }
  return 0;
}
