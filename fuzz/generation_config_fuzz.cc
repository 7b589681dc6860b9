// generation_config.json from an unknown source: an answer or a named error, and whatever is accepted can be sampled
// with.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "sampling/generation_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hadal;
  auto config = parse_generation_config({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!config) {
    if (config.error().what.empty()) std::abort();
    return 0;
  }
  const float logits[] = {0.5f, -1.0f, 2.0f, 2.0f, -30.0f};
  auto sampled = Sampler().sample(logits, config->sampling(), {1, 2, 3});
  if (!sampled || to_int(sampled->id) < 0 || to_int(sampled->id) > 4 || sampled->kept < 1) std::abort();
  return 0;
}
