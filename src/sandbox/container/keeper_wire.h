// The channel between the edge and a keeper: frames of a 16-byte header and a body over a Unix socket.
//
//   0  u32 length of the body, at most kMostBody
//   4  u16 type
//   6  u16 flags
//   8  u32 stream: an operation or a question on this connection, chosen by the edge
//   12 u32 CRC32C of the first 12 bytes and the body
//
// Little-endian. Control bodies are JSON, data bodies are raw. A frame that breaks these rules ends the connection.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hadal::sandbox {

enum class KeeperMessage : std::uint16_t {
  // to the keeper
  kHello = 1,   // {}: asks for the table
  kStart = 2,   // {op, argv, ...}: starts or attaches
  kAttach = 3,  // {op, out, err}
  kInput = 4,   // raw bytes; kFlagEnd: no more follows
  kSignal = 5,  // {number, tree}
  kResize = 6,  // {rows, columns}
  kForget = 7,  // {op}
  kFile = 8,    // {kind, path, ...}; the data of a write follows as kInput
  kClose = 9,   // everything dies, the keeper too
  // from the keeper
  kTable = 32,    // {boot, ready, error, pid, ops: [{op, running, out, err}]}
  kStarted = 33,  // {pid}
  kOutput = 34,   // u64 offset, then bytes; kFlagErr: of the second stream
  kEnded = 35,    // {status, ...}: last of its stream
  kRefused = 36,  // {code, what}: last of its stream
  kGone = 37,     // {what}: the container died by itself
};

constexpr std::uint16_t kFlagEnd = 1, kFlagErr = 2;
constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kMostBody = 1 << 20;    // bounds what a reader must hold
constexpr std::size_t kDataPiece = 64 << 10;  // a pipe's buffer

struct KeeperFrame {
  KeeperMessage type{};
  std::uint16_t flags = 0;
  std::uint32_t stream = 0;
  std::string_view body;  // into the reader's buffer, until the next call
};

std::uint32_t crc32c(std::string_view bytes, std::uint32_t crc = 0);

// `body` must not be longer than kMostBody.
void append_frame(std::string& out, KeeperMessage type, std::uint32_t stream, std::string_view body,
                  std::uint16_t flags = 0);

class KeeperReader {
 public:
  void feed(std::string_view bytes);
  // The next whole frame, or nothing yet. kBadInput: the peer does not speak this protocol.
  Result<std::optional<KeeperFrame>> next();

 private:
  std::string buffer_;
  std::size_t taken_ = 0;
};

}  // namespace hadal::sandbox
