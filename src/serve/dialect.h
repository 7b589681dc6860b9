// One API: how its requests, answers and errors look. The rest of the server knows only Ask and Answer.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "serve/answer.h"
#include "serve/ask.h"
#include "serve/fields.h"
#include "serve/http.h"

namespace hadal::serve {

struct AnswerHead {
  std::string id;  // hexadecimal; every API puts its own prefix before it
  std::string model;
  std::int64_t created = 0;  // seconds since 1970
  std::int64_t prompt_tokens = 0;
  std::vector<std::string> prompts;  // with echo: what every answer begins with

  // Native sessions only.
  std::string session, job;
  Position turn_from = 0;                             // where the answer's turn begins
  std::function<std::string(Position tokens)> meter;  // the meter's document
};

// How far a prompt is read.
struct Progress {
  std::int64_t place = -1;  // in line; -1: being read
  std::int64_t done = 0, total = 0, cached = 0;
  double tokens_per_second = 0, eta_seconds = -1;  // 0 and -1: not known yet
};

// Writes the answers to one request. Stream: begin, then for every answer steps and an end in any order, then close.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  virtual std::string begin() = 0;
  virtual std::string step(std::size_t index, const Answer& answer, const AnswerStep& step) = 0;
  virtual std::string end(std::size_t index, const Answer& answer) = 0;
  virtual std::string close(std::span<const std::unique_ptr<Answer>> answers) = 0;
  // Whether to tell it now, however fresh the last report is.
  virtual bool wants(const Progress&) const { return false; }
  // A comment, which clients skip.
  virtual std::string progress(const Progress& progress);
  // Instead of what is missing, when an answer failed after the stream began.
  virtual std::string broken(const Error& error) = 0;
  // Not a stream: the body of all answers at once.
  virtual std::string whole(std::span<const std::unique_ptr<Answer>> answers) = 0;
};

class Dialect {
 public:
  virtual ~Dialect() = default;
  virtual Result<Ask> read(const JsonValue& body, std::string_view source) const = 0;
  virtual std::unique_ptr<AnswerWriter> writer(std::shared_ptr<const Ask> ask, AnswerHead head) const = 0;
  virtual Response error(int status, const Error& error, const std::string& request_id) const = 0;
  virtual std::string heartbeat() const { return ": still here\n\n"; }
};

const Dialect& openai_chat();
const Dialect& openai_completions();
const Dialect& openai_responses();
const Dialect& anthropic_messages();

// What OpenAI's APIs share.
Response openai_error(int status, const Error& error);

// HTTP status of an error.
int status_of(ErrorCode code);

// "data: ...\n\n", with an event line before it if named.
std::string sse(std::string_view data, std::string_view event = "");

}  // namespace hadal::serve
