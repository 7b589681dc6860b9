// Full suite: every engine, regime, golden model and split. tiny-flash and tiny-pro need HADAL_GOLDEN.
#include "model/golden_model.h"

namespace hadal {
namespace {

using test::EngineKind;
using test::Regime;

constexpr Regime kRegimes[] = {Regime::kF32, Regime::kKvq, Regime::kFull};
const std::vector<std::vector<std::int64_t>> kSchedules = {{}, {1}, {7}, {64}, {1, 7, 64}, {130}};

class AllGoldenModels : public test::GoldenModelTest {};

TEST_P(AllGoldenModels, ReferenceIsTheDefinition) {
  for (Regime regime : kRegimes) {
    SCOPED_TRACE(test::text(regime));
    check_reference(regime);
  }
}

TEST_P(AllGoldenModels, Exact) {
  for (Regime regime : kRegimes) {
    SCOPED_TRACE(test::text(regime));
    check_exact(regime);
  }
}

TEST_P(AllGoldenModels, TrainedStaysClose) { check_trained(); }

TEST_P(AllGoldenModels, ReferenceHasTheSameBitsForEverySplit) {
  const auto cases = golden_.cases();
  check_chunks(EngineKind::kReference, Regime::kKvq, cases[cases.size() - 2], kSchedules, {2});
  check_chunks(EngineKind::kReference, Regime::kFull, cases.back(), {{1, 7, 64}}, {1, 3});
}

TEST_P(AllGoldenModels, ExactHasTheSameBitsForEverySplit) {
  for (Regime regime : kRegimes)
    check_chunks(EngineKind::kExact, regime, golden_.cases().back(), kSchedules, {1, 2, 3});
}

TEST_P(AllGoldenModels, TrainedHasTheSameBitsForEverySplit) {
  for (Regime regime : kRegimes)
    check_chunks(EngineKind::kTrained, regime, golden_.cases().back(), kSchedules, {1, 2, 3});
}

INSTANTIATE_TEST_SUITE_P(All, AllGoldenModels, testing::Values("tiny-base", "tiny-fp4", "tiny-flash", "tiny-pro"),
                         test::golden_name);

}  // namespace
}  // namespace hadal
