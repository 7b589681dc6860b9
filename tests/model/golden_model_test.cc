// The engines against the published inference program, on the golden models that come with the repository.
// golden_model_full_test.cc does the same on all golden models, with every split.
#include "model/golden_model.h"

namespace hadal {
namespace {

using test::EngineKind;
using test::Regime;

class GoldenModels : public test::GoldenModelTest {};

TEST_P(GoldenModels, ReferenceIsTheDefinitionF32) { check_reference(Regime::kF32); }
TEST_P(GoldenModels, ReferenceIsTheDefinitionKvq) { check_reference(Regime::kKvq); }
TEST_P(GoldenModels, ReferenceIsTheDefinitionFull) { check_reference(Regime::kFull); }

TEST_P(GoldenModels, ExactF32) { check_exact(Regime::kF32); }
TEST_P(GoldenModels, ExactKvq) { check_exact(Regime::kKvq); }
TEST_P(GoldenModels, ExactFull) { check_exact(Regime::kFull); }

TEST_P(GoldenModels, TrainedStaysClose) { check_trained(); }

// The short case for the slow engine; it crosses the window four times and closes sixteen compressor windows.
TEST_P(GoldenModels, ReferenceHasTheSameBitsForEverySplit) {
  check_chunks(EngineKind::kReference, Regime::kKvq, golden_.cases()[1], {{1}, {7}, {1, 7, 64}}, {3});
}
TEST_P(GoldenModels, ExactHasTheSameBitsForEverySplit) {
  check_chunks(EngineKind::kExact, Regime::kKvq, golden_.cases().back(), {{7}, {1, 7, 64}, {130}}, {1, 3});
}
TEST_P(GoldenModels, TrainedHasTheSameBitsForEverySplit) {
  check_chunks(EngineKind::kTrained, Regime::kKvq, golden_.cases().back(), {{1}, {1, 7, 64}, {130}}, {1, 3});
}

INSTANTIATE_TEST_SUITE_P(Fast, GoldenModels, testing::Values("tiny-base", "tiny-fp4"), test::golden_name);

}  // namespace
}  // namespace hadal
