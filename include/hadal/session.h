// A line of tokens that a model continues, and everything the model remembers of it. See engine.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hadal/engine.h"

namespace hadal::embed {

struct GenerateSettings {
  std::int64_t max_tokens = -1;  // -1: until a stop token or the end of the context
  double temperature = -1;       // below 0: the release's default; 0: greedy
  double top_p = -1;             // below 0: the release's default
  std::uint64_t seed = 0;
  std::function<bool(std::int32_t id, std::string_view text)>
      on_token;  // text: what the token adds, whole characters; false stops
};

struct Generated {
  std::vector<std::int32_t> ids;
  std::string text;      // special tokens spelled out
  bool stopped = false;  // a stop token was sampled (it is the last id)
};

class Session {
 public:
  // Appends tokens; cheap to call in pieces.
  Status append(const std::vector<std::int32_t>& ids);
  // Appends `prompt` (not empty) and continues it. Every sampled token has been appended when this returns.
  Result<Generated> generate(const std::vector<std::int32_t>& prompt, const GenerateSettings& settings = {});

  Result<Session> fork() const;                // shares the past, copies a few MiB
  Status rewind(std::int64_t length);          // back to `length` tokens
  Status save(const std::string& path) const;  // docs/formats/sequence.md
  std::vector<std::int32_t> ids() const;
  std::int64_t length() const;
  std::int64_t memory_bytes() const;

  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

 private:
  friend class Engine;
  struct State;
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hadal::embed
