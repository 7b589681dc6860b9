// A turn memory from an unknown source: refused with a sentence, or opened and still able to remember.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "sessions/record_reader.h"
#include "sessions/turn_memory.h"

namespace {

using namespace hadal;

void try_file(const std::string& path, const std::string& bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return;
  std::fwrite(bytes.data(), 1, bytes.size(), file);
  std::fclose(file);
  TurnMemoryOptions options;
  options.sync.mode = SyncPolicy::Mode::kNever;
  options.most_bytes = 1 << 16;  // so that inputs reach compaction too
  {
    auto memory = TurnMemory::open(path, 1, options);
    if (!memory) {
      if (memory.error().what.empty()) std::abort();
    } else {
      const std::vector<TokenId> ids(3, TokenId{7});
      if (!memory->remember_call("call", ids) || memory->find_call("call") != ids) std::abort();
    }
  }
  ::unlink(path.c_str());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string path = "/tmp/hadal_turns_fuzz_" + std::to_string(::getpid());
  const std::string input(reinterpret_cast<const char*>(data), size);
  try_file(path, input);
  // The same bytes as the payload of a record whose checksum is right.
  if (size > kMostRecordPayload) return 0;
  const std::uint64_t tokenizer = 1;
  {
    ::unlink(path.c_str());
    SyncPolicy never;
    never.mode = SyncPolicy::Mode::kNever;
    constexpr RecordFileKind kKind{{'H', 'A', 'D', 'A', 'L', 'T', 'R', 'N'}, 1, "turn memory"};
    auto file = RecordFile::create(path, kKind, std::as_bytes(std::span(&tokenizer, 1)), never);
    if (!file) return 0;
    file->stage(1, std::as_bytes(std::span(data, size)));
    if (!file->write()) return 0;
  }
  TurnMemoryOptions options;
  options.sync.mode = SyncPolicy::Mode::kNever;
  if (auto memory = TurnMemory::open(path, tokenizer, options); memory && memory->turns() != 1) std::abort();
  ::unlink(path.c_str());
  return 0;
}
