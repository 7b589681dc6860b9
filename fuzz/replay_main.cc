// Stands in for libFuzzer where the compiler has none: runs the target once on every file named, and on every file
// under every folder named, so that found inputs stay regression tests everywhere.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

bool replay(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    std::fprintf(stderr, "%s: cannot open\n", path.c_str());
    return false;
  }
  const std::vector<char> bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s FILE_OR_FOLDER...\n", argv[0]);
    return 2;
  }
  std::vector<std::filesystem::path> inputs;
  try {
    for (int i = 1; i < argc; ++i) {
      if (argv[i][0] == '-') continue;  // libFuzzer's own flags, so that one script drives both
      if (!std::filesystem::is_directory(argv[i]))
        inputs.emplace_back(argv[i]);
      else
        for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i]))
          if (entry.is_regular_file()) inputs.push_back(entry.path());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
  std::sort(inputs.begin(), inputs.end());
  int bad = 0;
  for (const auto& input : inputs) bad += replay(input) ? 0 : 1;
  std::printf("%zu inputs replayed\n", inputs.size() - static_cast<std::size_t>(bad));
  return bad == 0 ? 0 : 2;
}
