#include "cli/embedded.h"

#ifndef HADAL_NANO_DIR
#error "src/cli/folder.cmake defines HADAL_NANO_DIR"
#endif

// .incbin puts a file into the read-only data as it is: no generated source, no second copy in memory.
#define HADAL_EMBED(symbol, file)                                                    \
  asm(".pushsection .rodata\n"                                                       \
      ".balign 64\n" #symbol                                                         \
      "_begin:\n"                                                                    \
      ".incbin \"" HADAL_NANO_DIR "/" file "\"\n" #symbol                            \
      "_end:\n"                                                                      \
      ".byte 0\n"                                                                    \
      ".popsection\n");                                                              \
  extern "C" __attribute__((visibility("hidden"))) const std::byte symbol##_begin[]; \
  extern "C" __attribute__((visibility("hidden"))) const std::byte symbol##_end[];

HADAL_EMBED(hadal_nano_config, "config.json")
HADAL_EMBED(hadal_nano_generation, "generation_config.json")
HADAL_EMBED(hadal_nano_tokenizer, "tokenizer.json")
HADAL_EMBED(hadal_nano_weights, "model.safetensors")

namespace hadal::cli {
namespace {

NamedBytes file(std::string_view name, const std::byte* begin, const std::byte* end) {
  return {name, Bytes(begin, static_cast<std::size_t>(end - begin))};
}

}  // namespace

FileSet model_files(const std::string& model) {
  if (!model.empty()) return FileSet::directory(model);
  return FileSet::memory("(embedded nano)",
                         {
                             file("config.json", hadal_nano_config_begin, hadal_nano_config_end),
                             file("generation_config.json", hadal_nano_generation_begin, hadal_nano_generation_end),
                             file("tokenizer.json", hadal_nano_tokenizer_begin, hadal_nano_tokenizer_end),
                             file("model.safetensors", hadal_nano_weights_begin, hadal_nano_weights_end),
                         });
}

}  // namespace hadal::cli
