// Files built into the program: the embedded nano model, as the release directory it was.
#pragma once

#include <span>
#include <string_view>

#include "base/span.h"

namespace hadal::cli {

struct EmbeddedFile {
  std::string_view name;  // "config.json", "model.safetensors", ...
  Bytes bytes;            // 64-byte aligned, read-only, valid for the life of the program
};

// Every file of nano/weights/. The order is fixed: config, generation config, tokenizer, weights.
std::span<const EmbeddedFile> embedded_model();

}  // namespace hadal::cli
