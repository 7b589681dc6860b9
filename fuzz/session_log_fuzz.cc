// A session log from an unknown source. As a file: refused with a sentence, or opened within its bounds. And behind the
// checksums, which random bytes do not pass: every piece of the input as a record of the type its first byte says.
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "sessions/session_log.h"

namespace {

using namespace hadal;

void look_at(const SessionHistory& h) {
  for (const BranchInfo& b : h.branches()) {
    const auto ids = h.ids(b.id);
    if (!ids || static_cast<Position>(ids->size()) != b.length || b.from > b.length) std::abort();
    if (!h.runs(b.id, b.length) || !h.diff(0, b.id)) std::abort();
    (void)h.marks(b.id);
    (void)h.calls(b.id);
    if (b.id == 20) break;
  }
  if (static_cast<Position>(h.tokens().size()) != h.length()) std::abort();
  (void)h.unfinished();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string path = "/tmp/hadal_session_fuzz_" + std::to_string(::getpid());
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return 0;
  std::fwrite(data, 1, size, file);
  std::fclose(file);
  if (auto log = SessionLog::read(path)) {
    look_at(log->history());
    if (!log->logged(log->history().live_branch(), 0, log->length())) std::abort();
  } else if (log.error().what.empty()) {
    std::abort();
  }
  ::unlink(path.c_str());

  SessionHistory history;
  for (std::size_t at = 0; at + 2 <= size;) {
    const auto type = static_cast<LogRecord>(data[at] % 11);
    const std::size_t bytes = std::min<std::size_t>(data[at + 1], size - at - 2);
    const auto* payload = reinterpret_cast<const std::byte*>(data + at + 2);
    (void)history.apply(type, Bytes(payload, bytes), static_cast<std::int64_t>(at));
    at += 2 + bytes;
  }
  look_at(history);
  (void)decode_header(Bytes(reinterpret_cast<const std::byte*>(data), size));
  return 0;
}
