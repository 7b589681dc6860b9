// The checking scripts of tools/, each fed a small tree that breaks one rule.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace hadal {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  int status;
  std::string text;  // stdout and stderr
};

Outcome run(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (!pipe) return {-1, "popen failed"};
  std::string text;
  std::array<char, 4096> buffer;
  while (std::size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) text.append(buffer.data(), n);
  int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
}

const std::string kTools = std::string(HADAL_SOURCE_DIR) + "/tools/";

class Tools : public testing::Test {
 protected:
  void SetUp() override {
    if (run("python3 --version").status != 0) GTEST_SKIP() << "python3 is not installed";
    std::string name = fs::temp_directory_path() / "hadal_tools_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
    write("tools/folder_order.txt", "base\nfiles\nmachine\nlayers\nsandbox: base files\ncli\n");
    write("tools/banned_words.txt", "\\bLATER\\b(?!\\([a-z]+\\))\tsay when\nzebra\tno zebras in prose\t.md\n");
  }
  void TearDown() override {
    if (!root_.empty()) fs::remove_all(root_);
  }
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  Outcome includes() { return run(kTools + "check_includes --root " + root_.string()); }
  Outcome words(const std::string& files) { return run(kTools + "check_words --root " + root_.string() + " " + files); }

  fs::path root_;
};

TEST_F(Tools, IncludesUpwardsAreAllowed) {
  write("src/layers/a.cc", "#include \"layers/a.h\"\n#include \"base/x.h\"\n#include <vector>\n");
  write("src/cli/m.cc", "#include \"sandbox/api.h\"\n#include \"hadal/engine.h\"\n");
  auto r = includes();
  EXPECT_EQ(r.status, 0) << r.text;
}

TEST_F(Tools, IncludesDownwardsAreFound) {
  write("src/base/a.h", "\n  #  include \"files/map.h\"\n");
  auto r = includes();
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.text.find("src/base/a.h:2: 'base' may not include 'files'"), std::string::npos) << r.text;
}

TEST_F(Tools, SandboxIsNarrowed) {
  write("src/sandbox/a.cc", "#include \"files/map.h\"\n#include \"layers/norm.h\"\n");
  auto r = includes();
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.text.find("'sandbox' may not include 'layers'"), std::string::npos) << r.text;
  EXPECT_EQ(r.text.find("'files'"), std::string::npos) << r.text;
}

TEST_F(Tools, UnknownFoldersAndBareIncludesAreFound) {
  write("src/misc/a.cc", "int x;\n");
  write("src/base/b.cc", "#include \"b.h\"\n");
  auto r = includes();
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.text.find("folder 'misc'"), std::string::npos) << r.text;
  EXPECT_NE(r.text.find("\"b.h\" does not start with a folder"), std::string::npos) << r.text;
}

TEST_F(Tools, LinkingFollowsTheSameOrder) {
  write("CMakeLists.txt", "hadal_folder(base USES fmt::fmt)\nhadal_folder(files NEEDS base layers USES x)\n");
  auto r = includes();
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.text.find("folder 'files' may not need 'layers'"), std::string::npos) << r.text;
}

TEST_F(Tools, BrokenOrderFileIsWrongUsage) {
  write("tools/folder_order.txt", "base\nbase\n");
  EXPECT_EQ(includes().status, 2);
  EXPECT_EQ(run(kTools + "check_includes --unknown").status, 2);
}

TEST_F(Tools, WordsAreFoundWhereTheyAre) {
  write("a.cc", "// LATER(ada): later\n");
  write("b.cc", "int x;\n// LATER later\n");
  EXPECT_EQ(words("a.cc").status, 0);
  auto r = words("b.cc");
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.text.find("b.cc:2: 'LATER': say when"), std::string::npos) << r.text;
}

TEST_F(Tools, WordsCanBeLimitedToSuffixes) {
  write("a.cc", "int zebra;\n");
  write("a.md", "A zebra.\n");
  EXPECT_EQ(words("a.cc").status, 0);
  EXPECT_EQ(words("a.md").status, 1);
}

TEST_F(Tools, LinksLeadSomewhere) {
  write("docs/b.md", "# A heading, here\n");
  write("good.md",
        "[b](docs/b.md) [there](docs/b.md#a-heading-here) [out](https://example.org/none) [me](#top)\n# Top\n");
  write("bad.md", "[c](docs/c.md)\n[h](docs/b.md#absent)\n```\n[x](nowhere)\n```\n");
  EXPECT_EQ(words("good.md").status, 0) << words("good.md").text;
  auto r = words("bad.md");
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.text.find("bad.md:1: link to 'docs/c.md' leads nowhere"), std::string::npos) << r.text;
  EXPECT_NE(r.text.find("bad.md:2: 'docs/b.md' has no heading '#absent'"), std::string::npos) << r.text;
  EXPECT_EQ(r.text.find("nowhere'"), std::string::npos) << r.text;
}

TEST(Format, FindsWhatIsNotFormatted) {
  if (run("command -v clang-format-19").status != 0) GTEST_SKIP() << "clang-format-19 is not installed";
  fs::path dir = fs::path(testing::TempDir()) / "hadal_format";
  fs::create_directories(dir);
  std::ofstream(dir / "good.cc") << "int f() { return 1; }\n";
  std::ofstream(dir / "bad.cc") << "int  f( ) {return 1;}\n";
  EXPECT_EQ(run(kTools + "format --check " + (dir / "good.cc").string()).status, 0);
  EXPECT_EQ(run(kTools + "format --check " + (dir / "bad.cc").string()).status, 1);
  EXPECT_EQ(run(kTools + "format --nonsense").status, 2);
}

}  // namespace
}  // namespace hadal
