// The head of a page file from an unknown source: refused with a sentence, or fully believable; its images unpack
// within bounds. The first byte chooses how the rest is made: as it is, or with checksums put right so that more than
// the first comparisons are reached.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cache/live_parts.h"
#include "cache/page_files.h"

namespace {

using namespace hadal;

ModelConfig small() {
  ModelConfig c;
  c.hidden_size = 64;
  c.num_hidden_layers = 3;
  c.num_nextn_predict_layers = 1;
  c.head_dim = 64;
  c.qk_rope_head_dim = 32;
  c.sliding_window = 8;
  c.index_head_dim = 32;
  c.hc_mult = 2;
  c.compress_ratios = {0, 4, 128, 128};
  return c;
}

void sum(const std::byte* data, std::size_t size, std::byte* to) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, XXH3_128bits(data, size));
  std::memcpy(to, bytes.digest, sizeof bytes.digest);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ModelConfig config = small();
  static const CacheLayout layout = CacheLayout::make(config, row_format(config, {}));
  static const CacheIdentity identity{1,
                                      2,
                                      static_cast<std::uint64_t>(layout.page_tokens),
                                      static_cast<std::uint64_t>(layout.page_bytes),
                                      static_cast<std::uint64_t>(layout.state_bytes),
                                      0};
  if (size < 1) return 0;
  const std::uint8_t how = data[0];
  std::vector<std::byte> file(size - 1);
  if (size > 1) std::memcpy(file.data(), data + 1, size - 1);
  constexpr std::size_t kHeader = 136;
  std::int64_t file_bytes = static_cast<std::int64_t>(file.size());
  if (how % 2 && file.size() >= kHeader) {
    std::memcpy(file.data(), "HADALKVP", 8);
    const std::uint32_t version = 1;
    std::memcpy(file.data() + 8, &version, 4);
    std::memcpy(file.data() + 16, &identity, sizeof identity);
    std::uint64_t ids = 0;
    std::memcpy(&ids, file.data() + 72, 8);
    if (how % 4 == 3) {  // a number of ids that can be right
      ids %= static_cast<std::uint64_t>(layout.page_tokens) + 2;
      std::memcpy(file.data() + 72, &ids, 8);
      file.resize(static_cast<std::size_t>(round_up(static_cast<std::int64_t>(kHeader + 4 * ids + 16), 4096)));
      std::vector<TokenId> own(ids);
      if (ids) std::memcpy(own.data(), file.data() + kHeader, 4 * ids);
      for (TokenId& id : own) id = TokenId{to_int(id) & 127};
      if (ids) std::memcpy(file.data() + kHeader, own.data(), 4 * ids);
      CacheKey parent;
      std::memcpy(parent.data(), file.data() + 88, 16);
      const CacheKey key = next_key(parent, own, (file[12] & std::byte{1}) != std::byte{0});
      std::memcpy(file.data() + 104, key.data(), 16);
      std::uint64_t payload = 0;
      std::memcpy(&payload, file.data() + 80, 8);
      file_bytes = static_cast<std::int64_t>(file.size() + payload % (std::uint64_t{1} << 40));
    }
    if (ids < 1 << 20 && kHeader + 4 * ids + 16 <= file.size())
      sum(file.data(), kHeader + 4 * ids, file.data() + kHeader + 4 * ids);
  }
  const auto head = parse_head(file, file_bytes, identity, layout, 128, "file");
  if (!head) {
    if (head.error().what.empty()) std::abort();
    return 0;
  }
  // What was believed can be written again and read back the same.
  if (static_cast<Position>(head->ids.size()) > layout.page_tokens || head->payload_bytes < 0) std::abort();
  std::vector<std::byte> payload(static_cast<std::size_t>(head->payload_bytes), std::byte{how});
  const std::vector<std::byte> again = make_head(identity, *head, payload);
  const auto back = parse_head(again, head->payload_offset + head->payload_bytes, identity, layout, 128, "again");
  if (!back || back->ids != head->ids || back->key != head->key || !payload_holds(*back, payload)) std::abort();
  if (head->boundary) {
    const auto rows = static_cast<Position>(head->ids.size());
    std::size_t state = 0;
    if (head->has_state) {
      std::vector<std::byte> block(static_cast<std::size_t>(layout.state_bytes));
      state = static_cast<std::size_t>(state_image_bytes(layout, head->length()));
      if (!unpack_state(layout, head->length(), Bytes(payload).first(state), block.data())) std::abort();
    }
    std::vector<std::byte> page(static_cast<std::size_t>(layout.page_bytes));
    if (!unpack_rows(layout, rows, Bytes(payload).subspan(state), page.data())) std::abort();
  }
  return 0;
}
