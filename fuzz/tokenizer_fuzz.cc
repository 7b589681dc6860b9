// Any bytes through the embedded model's tokenizer: the ids give the bytes back, whole, literally, in segments and as a
// stream; the split and the merges do not depend on what was encoded before.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "tokens/tokenizer.h"

namespace {

const hadal::Tokenizer& tokenizer() {
  static const auto loaded = hadal::Tokenizer::load(HADAL_SOURCE_DIR "/nano/weights/tokenizer.json").value();
  return *loaded;
}

void require(bool condition) {
  if (!condition) std::abort();
}

std::string bytes_of(const std::vector<hadal::TokenId>& ids) {
  std::string out;
  require(tokenizer().decode_bytes(ids, out).has_value());
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hadal;
  const std::string text(reinterpret_cast<const char*>(data), size);

  const auto ids = tokenizer().encode(text);
  require(bytes_of(ids) == text);
  require(tokenizer().encode(text) == ids);  // from the cache now

  const auto literal = tokenizer().encode_literal(text);
  require(bytes_of(literal) == text);
  for (TokenId id : literal) require(!tokenizer().is_added(id));

  StreamDecoder decoder(tokenizer());
  std::string streamed;
  for (TokenId id : ids) {
    require(decoder.push(id, streamed).has_value());
    require(decoder.pending().size() <= 3);
  }
  decoder.finish(streamed);
  require(streamed == tokenizer().decode(ids).value());

  // Segments cut where the bytes themselves say.
  std::vector<TextSegment> segments;
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto first = static_cast<unsigned char>(rest[0]);
    const std::size_t length = std::min<std::size_t>(rest.size(), 1 + first % 16);
    segments.push_back({rest.substr(0, length), first % 2 == 0});
    rest.remove_prefix(length);
  }
  require(bytes_of(tokenizer().encode(segments)) == text);
  return 0;
}
