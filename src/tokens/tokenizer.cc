#include "tokens/tokenizer.h"

#include <array>
#include <atomic>
#include <fstream>

#include "tokens/added_tokens.h"
#include "tokens/bpe.h"
#include "tokens/piece_cache.h"
#include "tokens/splitter.h"
#include "tokens/tokenizer_json.h"
#include "tokens/vocabulary.h"

namespace hadal {
namespace {

constexpr std::uint64_t kMaxFileBytes = 64 << 20;  // ten times the releases' file

std::unexpected<Error> no_such_token(TokenId id) {
  return fail(ErrorCode::kUsage, "token id {} is not in the tokenizer; its ids must come from the same checkpoint",
              to_int(id));
}

std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> serial{0};
  return ++serial;
}

}  // namespace

struct Tokenizer::Tables {
  tokens::Vocabulary vocabulary;
  tokens::AddedTokens added;
  tokens::Bpe bpe;
  std::uint64_t serial;  // tells this tokenizer's cached pieces from those of a dead one at the same address
};

struct Tokenizer::Scratch {
  tokens::Bpe::Scratch bpe;
  tokens::PieceCache cache;
  std::string joined;       // segments
  std::uint64_t owner = 0;  // serial of the tokenizer whose pieces are cached
};

Tokenizer::Tokenizer(std::unique_ptr<const Tables> tables) : tables_(std::move(tables)) {}
Tokenizer::~Tokenizer() = default;

Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file)
    return fail(ErrorCode::kNotFound, "{}: cannot be opened; a checkpoint directory has a tokenizer.json", path);
  const auto size = static_cast<std::int64_t>(file.tellg());
  if (size < 0 || static_cast<std::uint64_t>(size) > kMaxFileBytes) {
    return fail(ErrorCode::kBadInput, "{}: {} bytes is no size for a tokenizer.json; at most {} are read", path, size,
                kMaxFileBytes);
  }
  std::string json(static_cast<std::size_t>(size), '\0');
  file.seekg(0);
  if (!file.read(json.data(), size)) return fail(ErrorCode::kIo, "{}: reading {} bytes failed", path, size);
  return from_json(json, path);
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::from_json(std::string_view json, const std::string& where) {
  if (json.size() > kMaxFileBytes) {
    return fail(ErrorCode::kBadInput, "{}: {} bytes is no size for a tokenizer.json; at most {} are read", where,
                json.size(), kMaxFileBytes);
  }
  const auto content = HADAL_TRY(tokens::parse_tokenizer_json(json, where));
  auto vocabulary = HADAL_TRY(tokens::Vocabulary::build(content, where));
  auto bpe = HADAL_TRY(tokens::Bpe::build(vocabulary, where));
  tokens::AddedTokens added(vocabulary);
  auto tables = std::make_unique<const Tables>(std::move(vocabulary), std::move(added), std::move(bpe), next_serial());
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(tables)));
}

Tokenizer::Scratch& Tokenizer::scratch() const {
  thread_local Scratch scratch;
  if (scratch.owner != tables_->serial) {
    scratch.cache.clear();
    scratch.owner = tables_->serial;
  }
  return scratch;
}

void Tokenizer::encode_plain(std::string_view text, Scratch& s, std::vector<TokenId>& out) const {
  // Pieces go in small groups: by the time the last of a group is cut, the cache lines of the first have arrived.
  struct Piece {
    std::string_view text;
    tokens::PieceCache::Key key;
  };
  std::array<Piece, 16> group;
  const char* const end = text.data() + text.size();
  tokens::Splitter splitter(text);
  for (std::size_t count = group.size(); count == group.size();) {
    for (count = 0; count < group.size(); ++count) {
      Piece& piece = group[count];
      piece.text = splitter.next();
      if (piece.text.empty()) break;
      if (piece.text.size() > tokens::PieceCache::kMaxPieceBytes) continue;
      piece.key = tokens::PieceCache::key_of(piece.text, static_cast<std::size_t>(end - piece.text.data()));
      s.cache.prefetch(piece.key);
    }
    for (const Piece& piece : std::span(group).first(count)) {
      const bool cacheable = piece.text.size() <= tokens::PieceCache::kMaxPieceBytes;
      if (cacheable) {
        if (const auto ids = s.cache.find(piece.key); !ids.empty()) {
          for (TokenId id : ids) out.push_back(id);  // one to three: faster than insert()
          continue;
        }
      }
      const std::size_t first = out.size();
      tables_->bpe.encode(piece.text, s.bpe, out);
      const auto ids = std::span(std::as_const(out)).subspan(first);
      if (cacheable && ids.size() <= tokens::PieceCache::kMaxIds) s.cache.insert(piece.key, ids);
    }
  }
}

std::vector<TokenId> Tokenizer::encode(std::string_view text) const {
  std::vector<TokenId> out;
  encode(text, out);
  return out;
}

void Tokenizer::encode(std::string_view text, std::vector<TokenId>& out) const {
  const TextSegment segment{text, true};
  encode(std::span(&segment, 1), out);
}

std::vector<TokenId> Tokenizer::encode_literal(std::string_view text) const {
  std::vector<TokenId> out;
  encode_literal(text, out);
  return out;
}

void Tokenizer::encode_literal(std::string_view text, std::vector<TokenId>& out) const {
  encode_plain(text, scratch(), out);
}

std::vector<TokenId> Tokenizer::encode(std::span<const TextSegment> segments) const {
  std::vector<TokenId> out;
  encode(segments, out);
  return out;
}

void Tokenizer::encode(std::span<const TextSegment> segments, std::vector<TokenId>& out) const {
  Scratch& s = scratch();
  std::string_view text;
  if (segments.size() == 1) {
    text = segments[0].text;
  } else {
    s.joined.clear();
    for (const TextSegment& segment : segments) s.joined.append(segment.text);
    text = s.joined;
  }

  std::size_t encoded = 0;  // everything before is in `out`
  std::size_t begin = 0;    // of the current run of segments of one kind
  for (std::size_t i = 0; i < segments.size();) {
    const bool is_markup = segments[i].is_markup;
    std::size_t end = begin;
    for (; i < segments.size() && segments[i].is_markup == is_markup; ++i) end += segments[i].text.size();
    if (is_markup) {
      const std::string_view run_and_before = text.substr(0, end);
      for (auto match = tables_->added.find(run_and_before, begin); match;
           match = tables_->added.find(run_and_before, encoded)) {
        encode_plain(text.substr(encoded, match->position - encoded), s, out);
        out.push_back(match->id);
        encoded = match->position + match->length;
      }
    }
    begin = end;
  }
  encode_plain(text.substr(encoded), s, out);
}

Status Tokenizer::decode_bytes(std::span<const TokenId> ids, std::string& out) const {
  for (TokenId id : ids) {
    const std::string_view bytes = bytes_of(id);
    if (bytes.empty()) return no_such_token(id);
    out.append(bytes);
  }
  return {};
}

Result<std::string> Tokenizer::decode_text(std::span<const TokenId> ids, bool skip_special) const {
  std::string out;
  Utf8Stream stream;
  for (TokenId id : ids) {
    const std::string_view bytes = bytes_of(id);
    if (bytes.empty()) return no_such_token(id);
    if (!(skip_special && is_special(id))) stream.push(bytes, out);
  }
  stream.finish(out);
  return out;
}

Result<std::string> Tokenizer::decode(std::span<const TokenId> ids) const { return decode_text(ids, false); }
Result<std::string> Tokenizer::decode_without_special(std::span<const TokenId> ids) const {
  return decode_text(ids, true);
}

std::string_view Tokenizer::bytes_of(TokenId id) const { return tables_->vocabulary.bytes_of(id); }
bool Tokenizer::is_added(TokenId id) const { return tables_->vocabulary.is_added(id); }
bool Tokenizer::is_special(TokenId id) const { return tables_->vocabulary.is_special(id); }
std::optional<TokenId> Tokenizer::find_added(std::string_view content) const { return tables_->added.exact(content); }
std::int32_t Tokenizer::vocab_size() const { return tables_->vocabulary.size(); }
std::size_t Tokenizer::memory_bytes() const { return tables_->bpe.memory_bytes(); }

Status StreamDecoder::push(TokenId id, std::string& out) {
  const std::string_view bytes = tokenizer_->bytes_of(id);
  if (bytes.empty()) return no_such_token(id);
  stream_.push(bytes, out);
  return {};
}

}  // namespace hadal
