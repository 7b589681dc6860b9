// Pages and boundaries as files of one folder, docs/formats/page-files.md. A file is whole or absent, says what it was
// made with, holds its own token ids, and names the page it continues; the folder is its own manifest.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "cache/cache_identity.h"

namespace hadal {

// XXH3-128, canonical (big-endian) bytes, of an identity and all tokens up to a point. The name of a file.
using CacheKey = std::array<std::uint8_t, 16>;

// The key of the empty prefix: of the identity alone.
CacheKey root_key(const CacheIdentity& identity);
// The key of `parent`'s tokens followed by `ids`; a boundary's key differs from a page's.
CacheKey next_key(const CacheKey& parent, std::span<const TokenId> ids, bool boundary);

struct CacheFileHead {
  bool boundary = false;   // false: a full page
  bool has_state = false;  // a boundary's state image is in the payload, before its rows
  bool border = false;     // a message ends here
  CacheKey parent = {}, key = {};
  Position start = 0;        // tokens before `ids`; a multiple of the page
  std::vector<TokenId> ids;  // a page's tokens, or those a boundary has beyond its last full page (may be none)
  std::int64_t payload_bytes = 0, payload_offset = 0;
  CacheKey payload_sum = {};
  std::int64_t modified_ns = 0;  // of the file, when it was read from one

  Position length() const { return start + static_cast<Position>(ids.size()); }
};

// Fills in where the payload lies and its size: a page's bytes, or the images of live_parts.h (state, then rows).
void set_payload_place(const CacheLayout& layout, CacheFileHead& head);

// The bytes of a file up to its payload. `payload_sum` is filled in from `payload`.
std::vector<std::byte> make_head(const CacheIdentity& identity, CacheFileHead head, Bytes payload);

// Reads a head back; `file` are the first bytes of a file of `file_bytes` bytes, `name` is for messages. Everything is
// checked but the payload: kUnsupported for another version, kBadInput for the rest (other weights or arithmetic, sizes
// that do not fit, damage, ids outside the vocabulary).
Result<CacheFileHead> parse_head(Bytes file, std::int64_t file_bytes, const CacheIdentity& identity,
                                 const CacheLayout& layout, std::int64_t vocab_size, const std::string& name);
bool payload_holds(const CacheFileHead& head, Bytes payload);

// DATA/pages of one model. Not for two processes at once: open() takes the folder's lock.
class PageFolder {
 public:
  // Makes the folder and removes what a killed writer left. kIo; kBusy when another process has it.
  static Result<std::unique_ptr<PageFolder>> open(const std::string& path, const CacheIdentity& identity,
                                                  const CacheLayout& layout, std::int64_t vocab_size);
  ~PageFolder();
  PageFolder(const PageFolder&) = delete;
  PageFolder& operator=(const PageFolder&) = delete;

  // Every readable head, least recently used first; files that are damaged or of another version are removed with one
  // line of log, files of other weights or arithmetic are left alone and not listed.
  Result<std::vector<CacheFileHead>> scan();

  Status write(const CacheFileHead& head, Bytes payload) const;
  // The payload of the file that `head` describes, checked against it, into `to` [head.payload_bytes]. kBadInput when
  // the file is not the one described any more.
  Status read(const CacheFileHead& head, std::byte* to) const;
  void expect(const CacheFileHead& head) const;  // starts reading the file into the page cache
  void remove(const CacheFileHead& head) const;
  void touch(const CacheFileHead& head) const;  // most recently used from now on

  std::string path_of(const CacheFileHead& head) const;
  std::int64_t removed() const { return removed_; }  // damaged files that scan() found

 private:
  PageFolder(std::string path, const CacheIdentity& identity, const CacheLayout& layout, std::int64_t vocab_size)
      : path_(std::move(path)), identity_(identity), layout_(layout), vocab_size_(vocab_size) {}
  std::string path_;
  CacheIdentity identity_;
  CacheLayout layout_;
  std::int64_t vocab_size_;
  int lock_ = -1;
  std::int64_t removed_ = 0;
};

}  // namespace hadal
