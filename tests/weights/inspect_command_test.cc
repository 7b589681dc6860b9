// `hadal inspect` as a user runs it: text, JSON, exit status.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

using nlohmann::json;
using test::TinyCheckpoint;
using testing::HasSubstr;

struct Outcome {
  int status = -1;
  std::string out, err;
};

class InspectCommand : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(HADAL_PROGRAM)) GTEST_SKIP() << HADAL_PROGRAM << " is not built";
  }
  Outcome inspect(const std::string& arguments) {
    const std::string out = folder_.file("out"), err = folder_.file("err");
    const int raw =
        std::system(fmt::format("'{}' inspect {} >'{}' 2>'{}' </dev/null", HADAL_PROGRAM, arguments, out, err).c_str());
    auto text = [](const std::string& path) {
      std::ifstream in(path, std::ios::binary);
      return std::string{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    };
    return {WIFEXITED(raw) ? WEXITSTATUS(raw) : -1, text(out), text(err)};
  }
  std::string checkpoint(const TinyCheckpoint& tiny) {
    const std::string path = folder_.file("checkpoint");
    EXPECT_TRUE(tiny.write(path));
    return "'" + path + "'";
  }
  test::TemporaryFolder folder_;
};

TEST_F(InspectCommand, TellsTheModel) {
  const Outcome o = inspect(checkpoint(TinyCheckpoint::generate(test::tiny_pro())) + " --verify");
  EXPECT_EQ(o.status, 0) << o.err;
  EXPECT_THAT(o.out, HasSubstr("5 layers"));
  EXPECT_THAT(o.out, HasSubstr("HCA layers    3 (0-1, 3)"));
  EXPECT_THAT(o.out, HasSubstr("CSA layers    2 (2, 4)"));
  EXPECT_THAT(o.out, HasSubstr("hadal runs this"));
  EXPECT_THAT(o.out, HasSubstr("every value read"));
  EXPECT_EQ(o.err, "");
}

TEST_F(InspectCommand, JsonIsOneDocument) {
  const Outcome o = inspect(checkpoint(TinyCheckpoint::generate(test::tiny_0731())) + " --json --tensors");
  ASSERT_EQ(o.status, 0) << o.err;
  const json j = json::parse(o.out);
  EXPECT_EQ(j["runs"], true);
  EXPECT_EQ(j["dspark"]["present"], true);
  EXPECT_EQ(j["dspark"]["blocks"], 3);
  EXPECT_EQ(j["dspark"]["tensors"], 7);
  EXPECT_EQ(j["chat"]["generation"], "0731");
  EXPECT_EQ(j["config"]["layers"].size(), 4u);
  EXPECT_EQ(j["config"]["layers"][1]["kind"], "CSA");
  EXPECT_EQ(j["tensors"]["stored"].get<std::size_t>(), j["tensor_list"].size());
  EXPECT_EQ(j["tensors"]["stored"].get<int>(), j["tensors"]["expected"].get<int>() + 7)
      << "all of the table and the draft";
  EXPECT_TRUE(j["problems"].empty());
  std::uint64_t bytes = 0;
  for (const auto& c : j["tensors"]["by_dtype"]) bytes += c["bytes"].get<std::uint64_t>();
  EXPECT_EQ(bytes, j["tensors"]["bytes"].get<std::uint64_t>());
}

TEST_F(InspectCommand, ListsWhatIsWrong) {
  TinyCheckpoint tiny = TinyCheckpoint::generate(test::tiny_flash());
  tiny.remove("layers.0.attn.wq_a.weight");
  tiny.remove("norm.weight");
  tiny.tensors.push_back({"vision.patch.weight", DType::kF32, {1}, {0, 0, 0, 0}});
  const std::string path = checkpoint(tiny);
  const Outcome text = inspect(path);
  EXPECT_EQ(text.status, 2);
  for (const char* name :
       {"'layers.0.attn.wq_a.weight'", "'norm.weight'", "'vision.patch.weight'", "hadal cannot run this checkpoint"})
    EXPECT_THAT(text.err, HasSubstr(name));
  const Outcome machine = inspect(path + " --json");
  EXPECT_EQ(machine.status, 2);
  const json j = json::parse(machine.out);
  EXPECT_EQ(j["runs"], false);
  EXPECT_EQ(j["problems"].size(), 4u) << "two missing, the vision tensor, and the scale without its weight";
}

TEST_F(InspectCommand, VerifyReadsValues) {
  TinyCheckpoint tiny = TinyCheckpoint::generate(test::tiny_flash());
  tiny.find("layers.3.attn.wo_b.scale")->bytes[0] = 255;
  const std::string path = checkpoint(tiny);
  EXPECT_EQ(inspect(path).status, 0) << "headers alone are fine";
  const Outcome o = inspect(path + " --verify");
  EXPECT_EQ(o.status, 2);
  EXPECT_THAT(o.err, HasSubstr("'layers.3.attn.wo_b.scale' is not a finite number"));
}

TEST_F(InspectCommand, WorksOnHeaders) {
  const std::string path = checkpoint(TinyCheckpoint::generate(test::tiny_flash()));
  const std::string file = folder_.file("checkpoint/model.safetensors");
  std::uint64_t length = 0;
  std::ifstream(file, std::ios::binary).read(reinterpret_cast<char*>(&length), 8);
  std::filesystem::resize_file(file, 8 + length);
  const Outcome o = inspect(path + " --json");
  EXPECT_EQ(o.status, 2);
  const json j = json::parse(o.out);
  EXPECT_EQ(j["files"]["headers_only"], true);
  EXPECT_EQ(j["tensors"]["stored"], j["tensors"]["expected"]);
  EXPECT_TRUE(j["fingerprint"].is_null());
}

TEST_F(InspectCommand, BadUsage) {
  EXPECT_EQ(inspect("").status, 2);
  const Outcome o = inspect("'" + folder_.file("none") + "'");
  EXPECT_EQ(o.status, 2);
  EXPECT_THAT(o.err, HasSubstr("no such directory"));
  EXPECT_EQ(o.out, "");
}

}  // namespace
}  // namespace hadal
