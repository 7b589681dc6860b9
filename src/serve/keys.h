// Who may use the server: keys from a file, one a line, compared in constant time.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "serve/http.h"

namespace hadal::serve {

class Keys {
 public:
  // Lines "KEY" or "KEY NAME"; empty lines and those that begin with '#' are skipped. Names appear in logs and share a
  // fair share; without one a key is called key1, key2, ... kUsage when others than the owner may read the file, or a
  // key has fewer than 16 characters.
  static Result<Keys> read(const std::string& path);
  static Result<Keys> parse(std::string_view text, const std::string& where);

  bool empty() const { return keys_.empty(); }
  // The name of the key a request carries, as "Authorization: Bearer KEY" or "x-api-key: KEY".
  std::optional<std::string> admit(const Request& request) const;

 private:
  struct Key {
    std::array<unsigned char, 32> digest;  // SHA-256: the keys themselves are not kept
    std::string name;
  };
  std::vector<Key> keys_;
};

}  // namespace hadal::serve
