#include "serve/keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

namespace hadal::serve {
namespace {

// Short keys can be guessed; 16 characters of any alphabet cannot.
constexpr std::size_t kShortestKey = 16;

std::array<unsigned char, 32> digest_of(std::string_view key) {
  std::array<unsigned char, 32> out{};
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), out.data());
  return out;
}

}  // namespace

Result<Keys> Keys::read(const std::string& path) {
  struct stat about{};
  if (stat(path.c_str(), &about) != 0)
    return fail(ErrorCode::kNotFound, "--api-key-file {}: there is no such file", path);
  if ((about.st_mode & 077) != 0)
    return fail(ErrorCode::kUsage, "--api-key-file {}: others may read it; run chmod 600 on it", path);
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return fail(ErrorCode::kIo, "--api-key-file {}: cannot be read", path);
  return parse(text.str(), "--api-key-file " + path);
}

Result<Keys> Keys::parse(std::string_view text, const std::string& where) {
  Keys out;
  std::istringstream lines{std::string(text)};
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line);
    std::string key, name;
    if (!(words >> key) || key[0] == '#') continue;
    words >> name;
    if (key.size() < kShortestKey)
      return fail(ErrorCode::kUsage, "{}: the key in line {} has fewer than {} characters", where, number,
                  kShortestKey);
    if (name.empty()) name = fmt::format("key{}", out.keys_.size() + 1);
    out.keys_.push_back({digest_of(key), name});
  }
  if (out.keys_.empty()) return fail(ErrorCode::kUsage, "{}: holds no key; write one in a line", where);
  return out;
}

std::optional<std::string> Keys::admit(const Request& request) const {
  std::string_view given = request.header("authorization");
  constexpr std::string_view kBearer = "bearer ";
  if (given.size() > kBearer.size()) {
    std::string scheme(given.substr(0, kBearer.size()));
    for (char& c : scheme) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    given = scheme == kBearer ? given.substr(kBearer.size()) : std::string_view();
  } else {
    given = {};
  }
  if (given.empty()) given = request.header("x-api-key");
  const auto digest = digest_of(given);
  // Every key is compared, so that time tells nothing about which one was near.
  const Key* found = nullptr;
  for (const Key& key : keys_)
    if (CRYPTO_memcmp(key.digest.data(), digest.data(), digest.size()) == 0) found = &key;
  if (!found) return std::nullopt;
  return found->name;
}

}  // namespace hadal::serve
