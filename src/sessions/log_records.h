// What a session log says, and its bytes: docs/formats/session-log.md.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "sampling/sampler.h"
#include "sessions/job.h"
#include "weights/checkpoint.h"

namespace hadal {

// What a log's tokens belong to. With another identity the same ids may mean something else.
struct SessionIdentity {
  std::uint64_t weights = 0;    // Checkpoint::fingerprint
  std::uint64_t tokenizer = 0;  // XXH3-64 of tokenizer.json
  std::uint32_t numerics = 0;   // kNumerics... below
  ChatGeneration codec = ChatGeneration::kPreview;

  static constexpr std::uint32_t kFast = 1, kRoundCache = 2, kRoundInputs = 4, kReference = 8;
  bool operator==(const SessionIdentity&) const = default;
};

using BranchId = std::uint32_t;  // 0 is the first

struct SessionHeader {
  SessionIdentity identity;
  std::string id;               // 1 to 64 of a-z A-Z 0-9 _ -
  std::int64_t created_ms = 0;  // since 1970
  std::string model;            // name for people, at most 255 bytes
  std::string parent;           // the session this was forked from; empty: none
  BranchId parent_branch = 0;   // with parent
  Position parent_length = 0;
};

enum class TokenOrigin : std::uint8_t {
  kPrompt = 1,
  kSampled = 2,
  kSpliced = 3,  // put in by us between sampled ones: </think> at the end of a budget, say
};

enum class MessageRole : std::uint8_t { kSystem = 1, kUser = 2, kAssistant = 3, kTool = 4, kOther = 5 };

enum class LogRecord : std::uint16_t {
  kPrompt = 1,  // tokens, by origin
  kSampled = 2,
  kSpliced = 3,
  kSampling = 4,  // how tokens are drawn from here
  kCall = 5,      // a tool call and the tokens that made it
  kMark = 6,      // where a message ends
  kBranch = 7,    // a rewind
  kJobBegin = 8,
  kJobEnd = 9,
  kTitle = 10,         // what people call the session; the last one holds
  kAlternatives = 11,  // of the token before: the most likely ones there
};

struct LoggedSampling {
  SamplingOptions options;
  std::uint64_t stream = 0;
};
bool same(const LoggedSampling& a, const LoggedSampling& b);

struct LoggedCall {
  std::string id;  // as the client will name it
  BranchId branch = 0;
  Position from = 0;
  std::int64_t count = 0;  // sampled tokens of the turn that made the call
};

struct LoggedMark {
  BranchId branch = 0;
  Position at = 0;  // tokens up to the end of the message
  MessageRole role = MessageRole::kOther;
};

// A job's request, as far as continuing it needs; its prompt and sampling are in the log already.
struct LoggedJob {
  std::string id;
  BranchId branch = 0;
  Position prompt = 0;  // tokens of the log that are its prompt
  std::int64_t begun_ms = 0;
  std::int64_t max_tokens = -1, thinking_budget = -1;
  std::int32_t top_logprobs = 0, priority = 0;
  bool detached = false;
  std::string client;
  std::vector<std::string> stop;
  std::vector<TokenId> after_thinking;
  std::int32_t sampling = -1;  // which of the log's sampling parameters it uses; -1: none yet

  // Once it ended.
  std::optional<JobFinish> finish;
  int stop_index = -1;
  Position end = 0;  // tokens of the branch then
  JobUsage usage;
  std::string error;

  static LoggedJob of(const JobRequest& request, Position prompt);
};

struct JobEnd {
  std::string id;
  JobFinish finish = JobFinish::kStop;
  int stop_index = -1;
  JobUsage usage;
  std::string error;
};

struct LoggedToken {
  TokenOrigin origin = TokenOrigin::kPrompt;
  Sampled sampled;                // logprobs only with kSampled; `kept` is not logged
  std::int32_t sampling = -1;     // kSampled: index into SessionHistory::samplings()
  std::vector<Sampled> top = {};  // alternatives, where they were asked for
};

// Bytes of one sampled token in a record: id, logprob, raw_logprob.
constexpr std::size_t kSampledBytes = 4 + 8 + 8;
void put_sampled(std::byte* to, const Sampled& token);
Sampled get_sampled(const std::byte* from);

// Encoders. Decoders refuse (kBadInput, without a place) what an encoder does not write.
std::vector<std::byte> encode(const SessionHeader& header);
std::vector<std::byte> encode(const LoggedSampling& sampling);
std::vector<std::byte> encode(const LoggedCall& call);
std::vector<std::byte> encode(const LoggedMark& mark);
std::vector<std::byte> encode_branch(BranchId parent, Position at);
std::vector<std::byte> encode(const LoggedJob& job);
std::vector<std::byte> encode(const JobEnd& end);
std::vector<std::byte> encode_title(std::string_view title);
std::vector<std::byte> encode_alternatives(std::span<const Sampled> top);  // at most 20
Result<SessionHeader> decode_header(Bytes bytes);
Result<LoggedSampling> decode_sampling(Bytes bytes);
Result<LoggedCall> decode_call(Bytes bytes);
Result<LoggedMark> decode_mark(Bytes bytes);
Result<std::pair<BranchId, Position>> decode_branch(Bytes bytes);
Result<LoggedJob> decode_job(Bytes bytes);
Result<JobEnd> decode_job_end(Bytes bytes);
Result<std::string> decode_title(Bytes bytes);
Result<std::vector<Sampled>> decode_alternatives(Bytes bytes);

// Bytes a title may have: a line of text in any script.
constexpr std::size_t kMostTitle = 400;

// Ids of requests that came without one: nobody asks for them again. job-PROCESS-NUMBER, PROCESS being the first 8
// digits of a new_session_id().
std::string make_up_job_id(std::string_view process, std::int64_t number);
bool made_up_job_id(std::string_view id);

bool valid_session_id(std::string_view id);
std::string new_session_id();  // 16 random hexadecimal digits

}  // namespace hadal
