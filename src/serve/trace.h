// A file of JSON lines that says what was made of every request: for finding out why a prompt looks as it does, or why
// it was not found in the cache. Holds the users' texts.
#pragma once

#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hadal::serve {

class Trace {
 public:
  // Appends to `path`, which gets mode 0600.
  static Result<std::shared_ptr<Trace>> open(const std::string& path);
  ~Trace();
  // One line. `members` is the inside of a JSON object.
  void line(const std::string& request, std::string_view event, const std::string& members);

 private:
  explicit Trace(std::FILE* file) : file_(file) {}
  std::mutex mutex_;
  std::FILE* file_;
};

}  // namespace hadal::serve
