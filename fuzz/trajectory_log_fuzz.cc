// A segment of a trajectory log from an unknown source: as a file it is refused with a sentence or opened, what is read
// keeps its rules, and opening it again gives the same. Behind the checksum, bodies meet the rules directly.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "sandbox/log/file_log.h"

namespace {

using namespace hadal::sandbox;

// Trajectories that can be read, each with its number of records.
std::string summary(const FileLog& log) {
  std::string out;
  for (const std::string& name : log.trajectories()) {
    const auto records = log.read(name);
    out += name + (records ? ":" + std::to_string(records->size()) : " stopped") + "\n";
    if (!records) continue;
    TrajectoryRules rules;
    for (const Record& r : *records)
      if (!rules.accept(r.type, r.body)) std::abort();
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  TrajectoryRules rules;
  for (std::size_t at = 0; at + 2 <= size;) {
    const std::size_t length = data[at + 1];
    (void)rules.accept(static_cast<RecordType>(data[at] % 19), bytes.substr(at + 2, length));
    at += 2 + length;
  }
  if (const auto d = decode_record(bytes)) {
    std::string again;
    encode_record(again, d->record);
    if (again != bytes.substr(0, d->length)) std::abort();
  }

  static const std::string folder = "/tmp/hadal_trajectory_fuzz_" + std::to_string(::getpid());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/0000000000000001.log", std::ios::binary) << bytes;
  FileLog::Options options;
  options.allocate = [](int, std::int64_t) { return 0; };
  std::string first;
  if (auto log = FileLog::open(folder, options))
    first = summary(**log);
  else if (log.error().what.empty())
    std::abort();
  else
    return 0;
  auto log = FileLog::open(folder, options);
  if (!log || summary(**log) != first) std::abort();
  std::filesystem::remove_all(folder);
  return 0;
}
