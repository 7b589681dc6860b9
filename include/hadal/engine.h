// hadal inside another program: a model (Engine), a line of tokens it continues (Session), and its saved form
// (Snapshot).
//
//   auto engine = hadal::Engine::open("/models/DeepSeek-V4-Flash");
//   auto session = engine->new_session();
//   auto answer = session->generate(engine->tokenize("...").value(), {.max_tokens = 100});
//
// Same tokens, same bits: what a session answers depends on the weights, the arithmetic and its own tokens, not on
// threads, on how a prompt was cut, or on forks, rewinds and restores in between. Objects may be moved between threads;
// sessions of one engine take turns.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hadal/result.h"

namespace hadal::embed {

enum class Arithmetic {
  kTrained,    // cache and index rounding as trained, fast kernels; the default
  kExact,      // float32 throughout
  kReference,  // double precision, slow: the definition. One session at a time, no snapshots
};

struct EngineSettings {
  Arithmetic arithmetic = Arithmetic::kTrained;
  int threads = 0;  // 0: every core this process may use
};

class Session;

class Engine {
 public:
  // A checkpoint directory in the release layout. Errors name file, tensor or field.
  static Result<Engine> open(const std::string& directory, const EngineSettings& settings = {});

  // Text to ids; special tokens are recognised unless `literal`, which is for text from strangers.
  Result<std::vector<std::int32_t>> tokenize(std::string_view text, bool literal = false) const;
  Result<std::string> detokenize(const std::vector<std::int32_t>& ids) const;

  Result<Session> new_session() const;
  // A session saved by Session::save with these weights and this arithmetic; anything else is refused.
  Result<Session> restore(const std::string& path) const;

  std::int64_t vocabulary() const;
  std::int64_t context() const;  // tokens a session can hold

  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();

 private:
  friend class Session;
  struct State;
  explicit Engine(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace hadal::embed
