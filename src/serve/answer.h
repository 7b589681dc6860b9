// A job's tokens as what a client may see: reasoning, text, calls, with what they cost and how they ended.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chat/lenient_parser.h"
#include "sessions/job.h"
#include "tokens/tokenizer.h"

namespace hadal::serve {

struct TokenLogprob {
  std::string bytes;
  double logprob = 0;
  std::vector<std::pair<std::string, double>> top;  // most likely first
};

enum class Finish { kStop, kStopString, kToolCalls, kLength, kCancelled, kError };

// What one token, or the end, adds.
struct AnswerStep {
  std::vector<chat::Event> events;
  std::vector<TokenLogprob> logprobs;  // of the answer's text, if asked for
};

struct AnswerOptions {
  bool raw = false;        // no parsing: all text is content
  bool thinking = false;   // the prompt ends in <think>
  bool continues = false;  // the prompt ends inside a text
  bool parallel = true;    // false: the first call is the last
  bool logprobs = false;
  std::vector<std::string> stop;
  std::shared_ptr<const chat::ToolTypes> tools;  // never null; empty: no calls
  std::string call_seed;        // call ids are made from it, so that whoever joins the job sees the same
  std::string call_prefix;      // instead: an id is this and the call's number
  std::vector<TokenId> before;  // the beginning of the turn that this answer goes on with, its opener not counted
};

class Answer {
 public:
  Answer(const Tokenizer& tokenizer, AnswerOptions options, std::span<const TokenId> stop_ids);

  AnswerStep add(const JobToken& token);
  // The job's end: what was held back, then finish(), usage() and error() hold.
  AnswerStep end(const JobEvent& done);

  // Nothing that comes would be shown: a stop string the job does not know of, or the one call that was allowed.
  bool enough() const { return enough_; }
  const AnswerOptions& options() const { return options_; }
  bool ended() const { return ended_; }

  const chat::ParsedTurn& turn() const { return turn_; }
  std::string call_id(int call) const;
  const std::vector<TokenLogprob>& logprobs() const { return logprobs_; }
  const std::vector<TokenId>& ids() const { return ids_; }  // as sampled or put in, stop id included
  Finish finish() const { return finish_; }
  const std::string& stop_string() const { return stop_string_; }  // kStopString
  const JobUsage& usage() const { return usage_; }
  const Error& error() const { return error_; }
  // The whole turn is as the model wrote it and a client can send back all of it: fit to be remembered.
  bool memorable() const { return memorable_; }

 private:
  AnswerStep show(std::string_view text, bool is_marker);
  void end_after_call();
  void end_after_block();
  const Tokenizer* tokenizer_;
  AnswerOptions options_;
  std::vector<TokenId> stop_ids_;
  StreamDecoder decoder_;
  chat::LenientParser parser_;
  chat::ParsedTurn turn_;
  std::vector<TokenLogprob> logprobs_;
  std::vector<TokenId> ids_;
  Finish finish_ = Finish::kError;
  std::string stop_string_;
  JobUsage usage_;
  Error error_{ErrorCode::kInternal, ""};
  std::int64_t told_ = 0;  // tokens heard of until it was enough
  bool enough_ = false, ended_ = false, memorable_ = false;
  bool one_call_ = false;  // the turn was cut after the only call it may have
};

}  // namespace hadal::serve
