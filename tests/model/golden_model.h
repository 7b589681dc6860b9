// Golden models: a checkpoint directory with reference logits beside it (tests/golden/model/README.md).
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "support/golden.h"
#include "weights/checkpoint.h"

namespace hadal::test {

struct GoldenModel {
  std::string directory;
  std::shared_ptr<const Checkpoint> checkpoint;
  SafetensorsFile file;

  std::size_t vocab() const { return static_cast<std::size_t>(checkpoint->config().vocab_size); }
  std::vector<float> plain() const { return tensor<float>(file, "rope.inv_freq_plain"); }
  std::vector<float> compressed() const { return tensor<float>(file, "rope.inv_freq_compressed"); }

  std::vector<TokenId> ids(const std::string& name) const {
    std::vector<TokenId> out;
    for (std::int64_t id : tensor<std::int64_t>(file, name + ".ids")) out.push_back(static_cast<TokenId>(id));
    return out;
  }

  // Case names by length, shortest first.
  std::vector<std::string> cases() const {
    std::vector<std::pair<std::int64_t, std::string>> found;
    for (const TensorInfo& info : file.tensors())
      if (info.name.ends_with(".ids")) found.emplace_back(info.shape[0], info.name.substr(0, info.name.size() - 4));
    std::sort(found.begin(), found.end());
    std::vector<std::string> names;
    for (auto& [length, name] : found) names.push_back(name);
    return names;
  }
};

// tiny-base comes with the repository, the others with HADAL_GOLDEN; an empty path means the model is not here.
inline std::string golden_model_path(const std::string& name) {
  for (const std::string& root : {golden_path("model/"), external_golden() + "/model/"})
    if (std::filesystem::exists(root + name + "/golden/golden.safetensors")) return root + name;
  return "";
}

inline GoldenModel open_golden(const std::string& directory) {
  auto checkpoint = Checkpoint::open(directory);
  auto file = SafetensorsFile::open(directory + "/golden/golden.safetensors");
  EXPECT_TRUE(checkpoint) << (checkpoint ? "" : checkpoint.error().what);
  EXPECT_TRUE(file) << (file ? "" : file.error().what);
  return {directory, checkpoint ? *checkpoint : nullptr, file ? std::move(*file) : SafetensorsFile()};
}

// Largest difference of each row, and whether its largest logit is the same one.
struct RowDifferences {
  std::vector<double> largest;
  std::size_t rows = 0, same_argmax = 0;

  double max() const { return quantile(1); }
  double quantile(double q) const {
    if (largest.empty()) return 0;
    std::vector<double> sorted = largest;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<std::size_t>(std::llround(q * static_cast<double>(sorted.size() - 1)))];
  }
  double agreement() const { return rows == 0 ? 1 : static_cast<double>(same_argmax) / static_cast<double>(rows); }

  template <class A, class B>
  void add(const A* got, const B* want, std::size_t vocab) {
    double most = 0;
    for (std::size_t i = 0; i < vocab; ++i) {
      const double difference = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
      if (!(difference <= most)) most = difference;  // NaN sticks
    }
    largest.push_back(most);
    ++rows;
    same_argmax += std::max_element(got, got + vocab) - got == std::max_element(want, want + vocab) - want;
  }
};

// Compares logits of every position with the stored ones, which may be of fewer rows: `rows` names them, ascending.
template <class T>
void add_rows(RowDifferences& differences, const std::vector<T>& got, const std::vector<float>& want,
              const std::vector<std::int64_t>& rows, std::size_t vocab) {
  const std::size_t stored = want.size() / vocab;
  ASSERT_GT(stored, 0u);
  for (std::size_t i = 0; i < stored; ++i) {
    const std::size_t at = stored == got.size() / vocab ? i : static_cast<std::size_t>(rows[i]);
    ASSERT_LE((at + 1) * vocab, got.size());
    differences.add(got.data() + at * vocab, want.data() + i * vocab, vocab);
  }
}

}  // namespace hadal::test
