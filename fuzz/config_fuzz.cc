// Any text as config.json: refused in one sentence, or a configuration whose tensor table can be built.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "weights/config.h"
#include "weights/tensor_table.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto config = hadal::parse_config(std::string_view(reinterpret_cast<const char*>(data), size), "config.json");
  if (!config) {
    if (config.error().what.empty() || config.error().what.find('\n') != std::string::npos) std::abort();
    return 0;
  }
  if (config->compress_ratios.size() !=
      static_cast<std::size_t>(config->num_hidden_layers + config->num_nextn_predict_layers))
    std::abort();
  // A table of a million experts is allowed and slow; it adds nothing over one of a few.
  if ((config->num_hidden_layers + 1) * config->n_routed_experts > 4096) return 0;
  const hadal::TensorTable table(*config);
  for (const auto& spec : table.tensors())
    if (spec.elements() <= 0 || table.find(spec.name) != &spec) std::abort();
  return 0;
}
