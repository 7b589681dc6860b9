// A tiny model for tests above the layers: Flash-like, random weights, every mechanism in use.
#pragma once

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "model/model.h"
#include "support/tiny_checkpoint.h"
#include "weights/checkpoint.h"

namespace hadal::test {

// A generated Flash-like checkpoint: SWA, a hash layer, CSA with real selection, HCA, FP4 experts, MTP.
inline std::shared_ptr<Model> tiny_model(bool trained, int threads = 1) {
  const TemporaryFolder folder;  // the maps outlive the files
  if (!TinyCheckpoint::generate(tiny_flash()).write(folder.path())) return nullptr;
  auto checkpoint = Checkpoint::open(folder.path());
  if (!checkpoint) return nullptr;
  auto weights = load_weights(*checkpoint);
  if (!weights) return nullptr;
  ModelOptions options;
  options.numerics.fast = trained;
  options.threads = threads;
  auto model = Model::create(std::move(*weights), options);
  return model ? *model : nullptr;
}

inline std::vector<TokenId> random_ids(const Model& model, std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> ids(count);
  for (TokenId& id : ids)
    id = TokenId{static_cast<std::int32_t>(random() % static_cast<unsigned>(model.config().vocab_size))};
  return ids;
}

inline bool bits_equal(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace hadal::test
