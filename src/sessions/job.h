// A job: one answer being generated. It belongs to the scheduler, not to whoever asked: listeners come and go, tokens
// are kept, and a second request with the same id joins the job instead of starting another.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "sampling/sampler.h"

namespace hadal {

struct JobRequest {
  std::string id;                 // the request's idempotency key; empty: the scheduler makes one
  std::string session;            // the durable session that gets the tokens; empty: one is found or made by the prompt
  std::vector<TokenId> prompt;    // the whole context; how much of it is cached is found, never told
  std::vector<Position> borders;  // ascending positions in `prompt` where messages end: worth keeping state at
  SamplingOptions sampling;
  std::uint64_t stream = 0;      // which of several answers to one request (sampling/philox.h)
  std::int64_t max_tokens = -1;  // -1: until a stop id or the end of the model's context
  int top_logprobs = 0;          // alternatives reported with every token, most likely first; at most 20
  // Text that ends the answer. Looked for after </think> only, unless the prompt leaves no thinking open.
  std::vector<std::string> stop;
  std::int64_t thinking_budget = -1;    // tokens of reasoning after which </think> is put in; -1: no limit
  std::vector<TokenId> after_thinking;  // put in where the answer starts (an opened tool call); fed, not sampled
  std::string client;                   // jobs of one client share one fair share
  int priority = 0;                     // higher first; jobs of one priority share fairly
  bool detached = false;                // true: runs on when the last listener leaves; false: cancelled then
  bool unlogged = false;                // true: no session gets its tokens, and it is forgotten with the process
};

enum class JobFinish {
  kStop,        // a stop id; it is the last token
  kStopString,  // a stop string was completed; stop_index says which, -1: one that only the listener knows of
  kLength,      // max_tokens, or the model's context is full
  kCancelled,   // by its listener's leaving, by cancel(), or by shutdown
  kError,       // see `error`
};

struct JobToken {
  std::int64_t index = 0;  // in the answer, from 0
  Sampled sampled;
  bool spliced = false;  // put in, not sampled: </think> at the end of a budget, or after_thinking
  std::vector<Sampled> top;
};

struct JobUsage {
  std::int64_t prompt = 0, cached = 0, generated = 0, thinking = 0;  // tokens
  double queue_seconds = 0, prefill_seconds = 0, decode_seconds = 0;
};

// What a listener is told, in order: any number of kPrefill, then kToken, then one kDone.
struct JobEvent {
  enum class Kind { kQueued, kPrefill, kToken, kDone };
  Kind kind = Kind::kToken;
  std::int64_t done = 0, total = 0;     // kPrefill: prompt tokens, cached ones counted as done. kQueued: place in line
  std::int64_t cached = 0;              // kPrefill: of these, found in the cache
  JobToken token;                       // kToken
  JobFinish finish = JobFinish::kStop;  // kDone
  int stop_index = -1;
  Error error{ErrorCode::kInternal, ""};  // kDone with kError
  JobUsage usage;                         // kDone
};

class Job {
 public:
  virtual ~Job() = default;
  virtual const std::string& id() const = 0;
  virtual const std::string& session() const = 0;  // id of the durable session behind it; empty without a data folder
  virtual bool finished() const = 0;

  // Hears every event from token `from` on, those already past first. Called on the engine's thread (or, for past
  // events, on the caller's, before listen returns): must not block and must not call the scheduler. Returns a handle;
  // destroying it ends the calls, and once it is destroyed none is running.
  using Listener = std::function<void(const JobEvent&)>;
  virtual std::shared_ptr<void> listen(std::int64_t from, Listener listener) = 0;

  virtual void cancel() = 0;  // takes effect within one step
  // Its listener has all it can show: ends as if a stop string had come, with stop_index -1.
  virtual void stop() { cancel(); }
};

}  // namespace hadal
