#include "serve/explain.h"

#include <algorithm>

#include "chat/python_json.h"
#include "tokens/utf8_stream.h"

namespace hadal::serve {
namespace {

constexpr std::ptrdiff_t kShown = 16;  // tokens after the difference: enough to recognise the place

std::string bytes_of(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  std::string out;
  for (const TokenId id : ids)
    if (tokenizer.contains(id)) out += tokenizer.bytes_of(id);
  return out;
}

// From a difference inside a character, its beginning.
std::size_t character_at(std::string_view text, std::size_t at) {
  while (at > 0 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

}  // namespace

PartingText describe(const Tokenizer& tokenizer, const Parting& parting, const MessagePlaces& places) {
  PartingText out;
  out.asked = bytes_of(tokenizer, parting.asked);
  out.kept = bytes_of(tokenizer, parting.kept);
  const auto after = std::ranges::upper_bound(places, parting.agree, {}, [](const auto& place) { return place.first; });
  if (parting.asked.empty()) {
    out.place = "the end";
  } else if (after == places.begin()) {
    out.place = "the header";
    out.into = parting.agree;
  } else {
    out.place = std::prev(after)->second;
    out.into = parting.agree - std::prev(after)->first;
  }
  const auto [a, k] = std::ranges::mismatch(out.asked, out.kept);
  const auto same = static_cast<std::size_t>(a - out.asked.begin());
  const bool ends = a == out.asked.end() || k == out.kept.end();
  out.same_text = ends && !parting.asked.empty() && !parting.kept.empty();
  if (!out.same_text) {
    const std::size_t from = character_at(out.asked, same);
    out.asked.erase(0, from);
    out.kept.erase(0, from);
  }
  return out;
}

std::string parting_members(const Tokenizer& tokenizer, const Parting& parting, const MessagePlaces& places) {
  const PartingText text = describe(tokenizer, parting, places);
  const auto list = [](const std::vector<TokenId>& ids) {
    std::string out;
    for (const TokenId id : ids) out += fmt::format("{}{}", out.empty() ? "" : ", ", to_int(id));
    return out;
  };
  // Bytes may end inside a character; a JSON text must not.
  const auto quoted = [](const std::string& bytes) {
    std::string text_only;
    Utf8Stream stream;
    stream.push(bytes, text_only);
    stream.finish(text_only);
    return chat::json_string(text_only);
  };
  return fmt::format(
      "\"agree\": {}, \"place\": {}, \"into\": {}, \"same_text\": {}, \"asked\": {}, \"kept_text\": {}, "
      "\"asked_ids\": [{}], \"kept_ids\": [{}]",
      parting.agree, chat::json_string(text.place), text.into, text.same_text, quoted(text.asked), quoted(text.kept),
      list(parting.asked), list(parting.kept));
}

bool Nearest::offer(std::span<const TokenId> line) {
  const auto agree = std::ranges::mismatch(prompt_, line).in1 - prompt_.begin();
  if (any_ && agree <= parting_.agree) return false;
  any_ = true;
  parting_.agree = agree;
  const auto some = [agree](std::span<const TokenId> ids) {
    const auto n = std::min(kShown, std::ssize(ids) - agree);
    return std::vector<TokenId>(ids.begin() + agree, ids.begin() + agree + n);
  };
  parting_.asked = some(prompt_);
  parting_.kept = some(line);
  return true;
}

}  // namespace hadal::serve
