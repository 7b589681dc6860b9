// The native API's own work: sessions listed, shown, changed. Every answer is the JSON of one document
// (docs/sessions-api.md). Any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "chat/generation.h"
#include "serve/ask.h"
#include "serve/fields.h"
#include "serve/meter.h"
#include "serve/prompt.h"
#include "serve/transcript.h"
#include "sessions/scheduler.h"
#include "sessions/session_store.h"

namespace hadal::serve {

class Sessions {
 public:
  Sessions(Scheduler& scheduler, chat::Generation generation);

  // kUnsupported when the server keeps no sessions.
  Status there() const;

  Result<std::string> list(std::int64_t limit, const std::string& after);
  Result<std::string> show(const std::string& id);
  Result<std::string> create(const JsonValue& body, std::string_view source);
  Result<std::string> set_title(const std::string& id, const std::string& title);
  Result<std::string> remove(const std::string& id);
  Result<std::string> messages(const std::string& id, std::int64_t branch);
  Result<std::string> append(const std::string& id, const JsonValue& body, std::string_view source);
  Result<std::string> fork(const std::string& id, const JsonValue& body);
  Result<std::string> rewind(const std::string& id, const JsonValue& body);
  Result<std::string> branches(const std::string& id);
  Result<std::string> diff(const std::string& id, std::int64_t a, std::int64_t b);
  Result<std::string> export_file(const std::string& id);  // the file's bytes
  Result<std::string> import_file(std::string_view bytes, const std::string& as, bool any_model);

  // The meter needs the engine's thread for `cached`: `then` is called there, or at once.
  Status meter(const std::string& id, std::int64_t branch, std::function<void(std::string)> then);
  std::string meter_json(Position tokens, std::optional<Position> cached) const;

  // Puts the session's past before what the client appended. `job`: the name of a request that may have come before,
  // whose prompt then counts; may be empty.
  Status complete(const std::string& id, Ask& ask, const std::string& job = "");

  // The live branch's tokens up to where a Quick Instruction belongs, and the instruction.
  Result<std::vector<TokenId>> instruction(const std::string& id, const std::string& task, const std::string& url);

 private:
  SessionStore& store() const { return *scheduler_->sessions(); }
  const Tokenizer& tokenizer() const { return *scheduler_->engine().tokenizer; }
  Status not_busy(const std::string& id) const;
  Result<Transcript> transcript(const SessionLog& log, BranchId branch) const;
  Result<Position> position(const SessionLog& log, BranchId branch, Fields& f) const;
  std::string preview(const SessionSummary& s);
  Result<SessionSummary> summary(const std::string& id);
  std::string document(const SessionSummary& s);
  Result<std::string> write(const std::string& id, Ask& ask);

  Scheduler* scheduler_;
  chat::Generation generation_;
  std::int64_t context_ = 0;
  CacheMeter meter_;
  std::mutex mutex_;
  std::map<std::string, std::pair<std::int64_t, std::string>> previews_;  // by id: time of change, first words
};

// A Quick Instruction's own tokens, as they follow the conversation. kUsage: not one of the six; read_url without url.
Result<std::vector<TokenId>> instruction_tokens(const Tokenizer& tokenizer, const std::string& task,
                                                const std::string& url);
constexpr std::int64_t kInstructionTokens = 64;  // the longest answer worth waiting for: a search query

}  // namespace hadal::serve
