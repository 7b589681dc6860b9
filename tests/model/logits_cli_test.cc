// hadal logits as users and scripts call it: files in, a safetensors file out, one sentence and status 2 for bad input.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <cstdio>

#include "model/golden_model.h"
#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Outcome {
  int status = -1;
  std::string messages;  // stderr
};

class LogitsCommand : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TemporaryFolder();
    ASSERT_TRUE(test::TinyCheckpoint::generate(test::tiny_flash()).write(folder_->path()));
  }
  static void TearDownTestSuite() { delete folder_; }

  // Runs "hadal logits --model M --ids I --out O <flags>".
  Outcome run(const std::string& ids_json, const std::string& flags, const std::string& model = folder_->path(),
              const std::string& wrapper = "") {
    const std::string ids = folder_->write("ids.json", ids_json);
    const std::string command = wrapper + std::string(HADAL_PROGRAM) + " logits" +
                                (model.empty() ? "" : " --model " + model) + " --ids " + ids + " --out " + out() + " " +
                                flags + " 2>&1 >/dev/null";
    Outcome outcome;
    FILE* pipe = popen(command.c_str(), "r");
    EXPECT_TRUE(pipe);
    if (!pipe) return outcome;
    char buffer[512];
    for (std::size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) outcome.messages.append(buffer, n);
    const int status = pclose(pipe);
    outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return outcome;
  }

  void expect_refused(const std::string& ids_json, const std::string& flags, const std::string& part) {
    std::filesystem::remove(out());
    const Outcome outcome = run(ids_json, flags);
    EXPECT_EQ(outcome.status, 2) << flags << " " << outcome.messages;
    EXPECT_THAT(outcome.messages, HasSubstr(part));
    EXPECT_EQ(std::count(outcome.messages.begin(), outcome.messages.end(), '\n'), 1) << outcome.messages;
    EXPECT_FALSE(std::filesystem::exists(out()));
  }

  static std::string out() { return folder_->file("out.safetensors"); }

  SafetensorsFile written() {
    auto file = SafetensorsFile::open(out());
    EXPECT_TRUE(file) << (file ? "" : file.error().what);
    return file ? std::move(*file) : SafetensorsFile();
  }

  static test::TemporaryFolder* folder_;
};

test::TemporaryFolder* LogitsCommand::folder_ = nullptr;

TEST_F(LogitsCommand, WritesTheSameLogitsHoweverTheIdsAreCut) {
  const std::string ids = "[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9]";
  for (const std::string numerics : {"reference", "exact", "trained"}) {
    std::vector<float> whole, whole_mtp;
    for (const std::string flags : {"--threads 1", "--chunks 4 --threads 3", "--chunks 1,7,64"}) {
      const Outcome outcome = run(ids, "--mtp --numerics " + numerics + " " + flags);
      ASSERT_EQ(outcome.status, 0) << outcome.messages;
      EXPECT_EQ(outcome.messages, "");
      const SafetensorsFile file = written();
      const TensorInfo *logits = file.find("logits"), *mtp = file.find("mtp");
      ASSERT_TRUE(logits && mtp);
      EXPECT_EQ(logits->dtype, DType::kF32);
      EXPECT_THAT(logits->shape, ElementsAre(15, test::tiny_flash().vocab_size));
      EXPECT_THAT(mtp->shape, ElementsAre(14, test::tiny_flash().vocab_size));
      const auto main_rows = test::tensor<float>(file, "logits"), mtp_rows = test::tensor<float>(file, "mtp");
      if (whole.empty()) {
        whole = main_rows;
        whole_mtp = mtp_rows;
      }
      EXPECT_TRUE(whole == main_rows) << numerics << " " << flags;
      EXPECT_TRUE(whole_mtp == mtp_rows) << numerics << " " << flags;
    }
  }
}

TEST_F(LogitsCommand, RegimesDiffer) {
  std::vector<std::vector<float>> seen;
  for (const std::string flags : {"--no-round-cache", "", "--round-inputs"}) {
    const Outcome outcome = run("[1, 2, 3, 4, 5, 6, 7, 8, 9]", "--numerics reference " + flags);
    ASSERT_EQ(outcome.status, 0) << outcome.messages;
    for (const auto& other : seen) EXPECT_FALSE(other == test::tensor<float>(written(), "logits")) << flags;
    seen.push_back(test::tensor<float>(written(), "logits"));
    EXPECT_EQ(written().find("mtp"), nullptr);
  }
}

TEST_F(LogitsCommand, ReproducesAGoldenCase) {
  const std::string model = test::golden_path("model/tiny-base"), table = model + "/golden/golden.safetensors";
  auto golden = SafetensorsFile::open(table);
  ASSERT_TRUE(golden) << golden.error().what;
  const auto ids = test::tensor<std::int64_t>(*golden, "a6.ids");
  const Outcome outcome =
      run(testing::PrintToString(ids).replace(0, 1, "[").replace(testing::PrintToString(ids).size() - 1, 1, "]"),
          "--mtp --numerics reference --round-inputs --rope-table " + table, model);
  ASSERT_EQ(outcome.status, 0) << outcome.messages;
  const SafetensorsFile file = written();
  EXPECT_THAT(test::tensor<float>(file, "logits"),
              testing::Pointwise(testing::FloatNear(1e-6f), test::tensor<float>(*golden, "a6.logits.full")));
  EXPECT_THAT(test::tensor<float>(file, "mtp"),
              testing::Pointwise(testing::FloatNear(1e-6f), test::tensor<float>(*golden, "a6.mtp.full")));
}

TEST_F(LogitsCommand, RunsTheEmbeddedModelAndOneToken) {
  const Outcome outcome = run("[1]", "--mtp", "");
  ASSERT_EQ(outcome.status, 0) << outcome.messages;
  const SafetensorsFile file = written();
  ASSERT_TRUE(file.find("mtp"));
  EXPECT_EQ(file.find("mtp")->shape[0], 0);
  EXPECT_EQ(file.find("logits")->shape[0], 1);
}

TEST_F(LogitsCommand, StopsAtCtrlCAndLeavesNoFile) {
  std::filesystem::remove(out());
  std::string ids = "[0";
  for (int i = 1; i < 100000; ++i) ids += ",1";  // minutes of work
  // 130: the signal came before the program could install its handler; a busy machine needs longer.
  Outcome outcome;
  for (const std::string wait : {"1", "5", "25"}) {
    outcome = run(ids + "]", "--numerics reference", folder_->path(), "timeout --preserve-status -s INT " + wait + " ");
    if (outcome.status != 130) break;
  }
  EXPECT_EQ(outcome.status, 1) << outcome.messages;
  EXPECT_THAT(outcome.messages, HasSubstr("interrupted after"));
  for (const auto& entry : std::filesystem::directory_iterator(folder_->path()))
    EXPECT_EQ(entry.path().string().find("out.safetensors"), std::string::npos) << entry.path();
}

TEST_F(LogitsCommand, RefusesUnusableInput) {
  expect_refused("{\"ids\": [1]}", "", "not a JSON list");
  expect_refused("[1, 2", "", "not a JSON list");
  expect_refused("", "", "not a JSON list");
  expect_refused("[]", "", "is empty");
  expect_refused("[1, -1]", "", "item 1 is -1");
  expect_refused("[1, 128]", "", "(0 to 127)");
  expect_refused("[1, 2.5]", "", "item 1 is 2.5");
  expect_refused("[\"1\"]", "", "item 0");
  expect_refused("[99999999999999999999]", "", "");
  expect_refused("[1]", "--chunks 4,0", "--chunks: '4,0'");
  expect_refused("[1]", "--threads -1", "--threads");
  expect_refused("[1]", "--rope-table " + folder_->file("ids.json"), "ids.json");
  expect_refused("[1]", "--rope-table " + folder_->file("model.safetensors"), "rope.inv_freq_plain");
  expect_refused("[1]", "--out /nonexistent/folder/x.safetensors", "");
}

TEST_F(LogitsCommand, RefusesIdsBeyondTheContext) {
  auto tiny = test::TinyCheckpoint::generate(test::tiny_flash());
  tiny.set_config("max_position_embeddings", "4");
  const test::TemporaryFolder other;
  ASSERT_TRUE(tiny.write(other.path()));
  const Outcome outcome = run("[1, 2, 3, 4, 5]", "", other.path());
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.messages, HasSubstr("context of 4"));
}

TEST_F(LogitsCommand, RefusesMtpWithoutTheBlock) {
  test::TinyShape shape = test::tiny_flash();
  shape.mtp = false;
  const test::TemporaryFolder other;
  ASSERT_TRUE(test::TinyCheckpoint::generate(shape).write(other.path()));
  const Outcome outcome = run("[1, 2]", "--mtp", other.path());
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.messages, HasSubstr("--mtp"));
}

}  // namespace
}  // namespace hadal
