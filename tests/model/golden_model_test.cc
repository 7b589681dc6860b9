// The engines against the published inference program (tests/golden/model/README.md), on every golden model that is
// here.
#include "model/golden_model.h"

#include <gtest/gtest.h>

#include "model/reference_model.h"

namespace hadal {
namespace {

using test::GoldenModel;
using test::RowDifferences;

enum class Regime { kF32, kKvq, kFull };
std::string name_of(Regime regime) { return regime == Regime::kF32 ? "f32" : regime == Regime::kKvq ? "kvq" : "full"; }

class GoldenModels : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::string path = test::golden_model_path(GetParam());
    if (path.empty())
      GTEST_SKIP() << GetParam() << " is not in the repository; set HADAL_GOLDEN to the folder that holds model/";
    golden_ = test::open_golden(path);
    ASSERT_TRUE(golden_.checkpoint);
  }

  ReferenceModel reference(Regime regime, bool mtp = false) {
    ReferenceOptions options;
    options.round_cache = regime != Regime::kF32;
    options.round_inputs = regime == Regime::kFull;
    options.mtp = mtp;
    options.plain_frequencies = golden_.plain();
    options.compressed_frequencies = golden_.compressed();
    auto model = ReferenceModel::load(*golden_.checkpoint, options);
    EXPECT_TRUE(model) << (model ? "" : model.error().what);
    return std::move(*model);
  }

  GoldenModel golden_;
};

// The independent implementation that checked the stored figures is within 2e-7 of them, their float32 rounding; 1e-6
// is the sharpest test of all roundings there is.
constexpr double kReferenceTolerance = 1e-6;

TEST_P(GoldenModels, ReferenceIsTheDefinitionInEveryRegime) {
  for (Regime regime : {Regime::kF32, Regime::kKvq, Regime::kFull}) {
    ReferenceModel model = reference(regime, true);
    for (const std::string& name : golden_.cases()) {
      SCOPED_TRACE(name + " " + name_of(regime));
      auto rows = test::tensor<std::int64_t>(golden_.file, name + ".rows");
      model.reset();
      auto logits = model.feed(golden_.ids(name));
      ASSERT_TRUE(logits) << logits.error().what;
      RowDifferences main, mtp;
      test::add_rows(main, logits->main, test::tensor<float>(golden_.file, name + ".logits." + name_of(regime)), rows,
                     golden_.vocab());
      EXPECT_LT(main.max(), kReferenceTolerance);
      EXPECT_EQ(main.same_argmax, main.rows);
      if (regime == Regime::kKvq) continue;  // no MTP figures are stored for it
      test::add_rows(mtp, logits->mtp, test::tensor<float>(golden_.file, name + ".mtp." + name_of(regime)), rows,
                     golden_.vocab());
      EXPECT_LT(mtp.max(), kReferenceTolerance);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tiny, GoldenModels, testing::Values("tiny-base", "tiny-flash", "tiny-pro"),
                         [](const auto& param) { return param.param.substr(5); });

}  // namespace
}  // namespace hadal
