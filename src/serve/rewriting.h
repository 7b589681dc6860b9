// Rules that take out of system prompts what differs with every request and means nothing: a nonce some clients put
// there. Off unless a file names them; every use goes into the trace.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/messages.h"

namespace hadal::serve {

class Rewriting {
 public:
  Rewriting();
  ~Rewriting();
  Rewriting(Rewriting&&) noexcept;
  Rewriting& operator=(Rewriting&&) noexcept;

  // A JSON list of {"name", "pattern", "replacement"}. The pattern, an ECMAScript regular expression, must match at the
  // very start of the system prompt; what it matched is replaced.
  static Result<Rewriting> read(const std::string& path);
  static Result<Rewriting> parse(std::string_view json, const std::string& where);

  // Applies every rule once, in order, to the first message if that is a system message. Names of those that changed
  // it.
  std::vector<std::string> apply(std::vector<chat::Message>& messages) const;

 private:
  struct Rule;
  std::vector<Rule> rules_;
};

}  // namespace hadal::serve
