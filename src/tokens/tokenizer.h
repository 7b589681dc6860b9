// Text to token ids and back, as the DeepSeek-V4 releases do it: byte-level BPE with added tokens, no BOS, no
// normalisation. Source: the release's tokenizer.json; everything this class knows about ids comes from that file.
//
// Every byte string can be encoded, and its ids give the same bytes back. A Tokenizer never changes after loading and
// may be used from many threads; each thread that encodes keeps about 0.5 MiB of scratch for the tokenizer it used
// last.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "tokens/utf8_stream.h"

namespace hadal {

// A stretch of a prompt. In markup, which a template wrote, added tokens are recognised; in text from users, tools or
// models they are not, whatever it contains.
struct TextSegment {
  std::string_view text;
  bool is_markup = false;
};

class Tokenizer {
 public:
  // Reads a tokenizer.json; refuses any pipeline other than the family's, naming the field.
  static Result<std::shared_ptr<const Tokenizer>> load(const std::string& path);
  // The same from memory; `where` names the source in errors.
  static Result<std::shared_ptr<const Tokenizer>> from_json(std::string_view json, const std::string& where);
  ~Tokenizer();

  // Ids of `text`, with added tokens recognised, leftmost and longest first. The second form appends.
  std::vector<TokenId> encode(std::string_view text) const;
  void encode(std::string_view text, std::vector<TokenId>& out) const;

  // Ids of `text`, with no added token recognised: for untrusted text.
  std::vector<TokenId> encode_literal(std::string_view text) const;
  void encode_literal(std::string_view text, std::vector<TokenId>& out) const;

  // Ids of the segments' concatenation, with added tokens recognised only where they lie within markup. Text between
  // two recognised tokens is encoded as one string, however many segments it spans: cutting a segment in two changes
  // nothing.
  std::vector<TokenId> encode(std::span<const TextSegment> segments) const;
  void encode(std::span<const TextSegment> segments, std::vector<TokenId>& out) const;

  // The text of `ids`; ill-formed UTF-8 becomes U+FFFD, one per maximal subpart. An id the tokenizer lacks is an error.
  Result<std::string> decode(std::span<const TokenId> ids) const;
  // The same without the tokens whose flag `special` is set. <think> and <｜User｜> are not among them, EOS is.
  Result<std::string> decode_without_special(std::span<const TokenId> ids) const;
  // Appends the exact bytes.
  Status decode_bytes(std::span<const TokenId> ids, std::string& out) const;

  // Bytes of one token; empty if there is no such token (every token has at least one byte).
  std::string_view bytes_of(TokenId id) const;
  bool contains(TokenId id) const { return !bytes_of(id).empty(); }
  bool is_added(TokenId id) const;    // one of the file's added_tokens
  bool is_special(TokenId id) const;  // an added token with the flag `special`

  // The added token with exactly this content.
  std::optional<TokenId> find_added(std::string_view content) const;

  // Largest id + 1. The model's vocabulary may be larger: ids between the two are in no text.
  std::int32_t vocab_size() const;

  std::size_t memory_bytes() const;  // of the tables, about

 private:
  struct Tables;
  struct Scratch;
  explicit Tokenizer(std::unique_ptr<const Tables> tables);
  Scratch& scratch() const;
  void encode_plain(std::string_view text, Scratch& scratch, std::vector<TokenId>& out) const;
  Result<std::string> decode_text(std::span<const TokenId> ids, bool skip_special) const;

  std::unique_ptr<const Tables> tables_;
};

// Text deltas for tokens that come one at a time. Costs the token's bytes; nothing is decoded twice.
class StreamDecoder {
 public:
  // The tokenizer must outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  // Appends what the token adds: whole characters only. An id the tokenizer lacks is an error and changes nothing.
  Status push(TokenId id, std::string& out);
  // Appends the tail: one U+FFFD if a character is unfinished. The decoder may be used again.
  void finish(std::string& out) { stream_.finish(out); }
  std::string_view pending() const { return stream_.pending(); }  // bytes held back, 0..3

 private:
  const Tokenizer* tokenizer_;
  Utf8Stream stream_;
};

}  // namespace hadal
