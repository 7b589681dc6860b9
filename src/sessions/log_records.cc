#include "sessions/log_records.h"

#include <sys/random.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "sessions/byte_coder.h"

namespace hadal {
namespace {

std::unexpected<Error> bad(const char* what) { return fail(ErrorCode::kBadInput, "{}", what); }

std::vector<std::byte> taken(const ByteWriter& w) { return {w.bytes().begin(), w.bytes().end()}; }

constexpr std::size_t kMostName = 255;

}  // namespace

bool same(const LoggedSampling& a, const LoggedSampling& b) {
  const SamplingOptions &x = a.options, &y = b.options;
  const auto equal = [](const IdRange& r, const IdRange& s) { return r.begin == s.begin && r.end == s.end; };
  return a.stream == b.stream && x.temperature == y.temperature && x.top_p == y.top_p && x.top_k == y.top_k &&
         x.min_p == y.min_p && x.seed == y.seed && x.stop_ids == y.stop_ids &&
         std::equal(x.forbidden.begin(), x.forbidden.end(), y.forbidden.begin(), y.forbidden.end(), equal);
}

LoggedJob LoggedJob::of(const JobRequest& r, Position prompt) {
  LoggedJob j;
  j.id = r.id;
  j.prompt = prompt;
  j.max_tokens = r.max_tokens;
  j.thinking_budget = r.thinking_budget;
  j.top_logprobs = r.top_logprobs;
  j.priority = r.priority;
  j.detached = r.detached;
  j.client = r.client;
  j.stop = r.stop;
  j.after_thinking = r.after_thinking;
  return j;
}

void put_sampled(std::byte* to, const Sampled& token) {
  const std::int32_t id = to_int(token.id);
  std::memcpy(to, &id, 4);
  std::memcpy(to + 4, &token.logprob, 8);
  std::memcpy(to + 12, &token.raw_logprob, 8);
}

Sampled get_sampled(const std::byte* from) {
  Sampled token;
  std::int32_t id = 0;
  std::memcpy(&id, from, 4);
  token.id = TokenId{id};
  std::memcpy(&token.logprob, from + 4, 8);
  std::memcpy(&token.raw_logprob, from + 12, 8);
  return token;
}

std::vector<std::byte> encode(const SessionHeader& h) {
  ByteWriter w;
  w.put(h.identity.weights);
  w.put(h.identity.tokenizer);
  w.put(h.identity.numerics);
  w.put(static_cast<std::uint32_t>(h.identity.codec));
  w.put(h.created_ms);
  w.put_text(h.id);
  w.put_text(h.model);
  w.put_text(h.parent);
  w.put(h.parent_branch);
  w.put(h.parent_length);
  return taken(w);
}

Result<SessionHeader> decode_header(Bytes bytes) {
  ByteReader r(bytes);
  SessionHeader h;
  h.identity.weights = r.get<std::uint64_t>();
  h.identity.tokenizer = r.get<std::uint64_t>();
  h.identity.numerics = r.get<std::uint32_t>();
  const auto codec = r.get<std::uint32_t>();
  h.identity.codec = static_cast<ChatGeneration>(codec);
  h.created_ms = r.get<std::int64_t>();
  h.id = r.get_text();
  h.model = r.get_text();
  h.parent = r.get_text();
  h.parent_branch = r.get<BranchId>();
  h.parent_length = r.get<Position>();
  if (!r.complete()) return bad("its header has another size than its fields");
  if (codec > static_cast<std::uint32_t>(ChatGeneration::k0731)) return bad("its header names an unknown chat format");
  if (!valid_session_id(h.id)) return bad("its header has no valid session id");
  if (!h.parent.empty() && !valid_session_id(h.parent)) return bad("its header names an impossible parent session");
  if (h.model.size() > kMostName || h.parent_length < 0) return bad("its header has a field out of range");
  return h;
}

std::vector<std::byte> encode(const LoggedSampling& s) {
  ByteWriter w;
  w.put(s.options.temperature);
  w.put(s.options.top_p);
  w.put(s.options.min_p);
  w.put(s.options.top_k);
  w.put(s.options.seed);
  w.put(s.stream);
  w.put_list(s.options.stop_ids);
  w.put(static_cast<std::uint32_t>(s.options.forbidden.size()));
  for (const IdRange& range : s.options.forbidden) {
    w.put(range.begin);
    w.put(range.end);
  }
  return taken(w);
}

Result<LoggedSampling> decode_sampling(Bytes bytes) {
  ByteReader r(bytes);
  LoggedSampling s;
  s.options.temperature = r.get<double>();
  s.options.top_p = r.get<double>();
  s.options.min_p = r.get<double>();
  s.options.top_k = r.get<std::int64_t>();
  s.options.seed = r.get<std::uint64_t>();
  s.stream = r.get<std::uint64_t>();
  s.options.stop_ids = r.get_list<TokenId>();
  const auto ranges = r.get<std::uint32_t>();
  if (!r.ok() || ranges != r.left() / 8) return bad("sampling parameters have another size than their fields");
  s.options.forbidden.reserve(ranges);
  for (std::uint32_t i = 0; i < ranges; ++i) {
    const auto begin = r.get<std::int32_t>();
    s.options.forbidden.push_back({begin, r.get<std::int32_t>()});
  }
  if (!r.complete()) return bad("sampling parameters have another size than their fields");
  HADAL_CHECK_OK(check_sampling(s.options));
  return s;
}

std::vector<std::byte> encode(const LoggedCall& c) {
  ByteWriter w;
  w.put(c.from);
  w.put(c.count);
  w.put_text(c.id);
  return taken(w);
}

Result<LoggedCall> decode_call(Bytes bytes) {
  ByteReader r(bytes);
  LoggedCall c;
  c.from = r.get<Position>();
  c.count = r.get<std::int64_t>();
  c.id = r.get_text();
  if (!r.complete() || c.id.empty()) return bad("a tool call has another size than its fields");
  return c;
}

std::vector<std::byte> encode(const LoggedMark& m) {
  ByteWriter w;
  w.put(m.at);
  w.put(static_cast<std::uint32_t>(m.role));
  return taken(w);
}

Result<LoggedMark> decode_mark(Bytes bytes) {
  ByteReader r(bytes);
  LoggedMark m;
  m.at = r.get<Position>();
  const auto role = r.get<std::uint32_t>();
  m.role = static_cast<MessageRole>(role);
  if (!r.complete()) return bad("a mark has another size than its fields");
  if (role < 1 || role > static_cast<std::uint32_t>(MessageRole::kOther)) return bad("a mark has an unknown role");
  return m;
}

std::vector<std::byte> encode_branch(BranchId parent, Position at) {
  ByteWriter w;
  w.put(parent);
  w.put(std::uint32_t{0});
  w.put(at);
  return taken(w);
}

Result<std::pair<BranchId, Position>> decode_branch(Bytes bytes) {
  ByteReader r(bytes);
  const auto parent = r.get<BranchId>();
  const auto zero = r.get<std::uint32_t>();
  const auto at = r.get<Position>();
  if (!r.complete() || zero != 0) return bad("a rewind has another size than its fields");
  return std::pair(parent, at);
}

std::vector<std::byte> encode(const LoggedJob& j) {
  ByteWriter w;
  w.put(j.prompt);
  w.put(j.begun_ms);
  w.put(j.max_tokens);
  w.put(j.thinking_budget);
  w.put(j.top_logprobs);
  w.put(j.priority);
  w.put(std::uint32_t{j.detached});
  w.put_text(j.id);
  w.put_text(j.client);
  w.put(static_cast<std::uint32_t>(j.stop.size()));
  for (const std::string& s : j.stop) w.put_text(s);
  w.put_list(j.after_thinking);
  return taken(w);
}

Result<LoggedJob> decode_job(Bytes bytes) {
  ByteReader r(bytes);
  LoggedJob j;
  j.prompt = r.get<Position>();
  j.begun_ms = r.get<std::int64_t>();
  j.max_tokens = r.get<std::int64_t>();
  j.thinking_budget = r.get<std::int64_t>();
  j.top_logprobs = r.get<std::int32_t>();
  j.priority = r.get<std::int32_t>();
  const auto detached = r.get<std::uint32_t>();
  j.detached = detached == 1;
  j.id = r.get_text();
  j.client = r.get_text();
  const auto stops = r.get<std::uint32_t>();
  for (std::uint32_t i = 0; i < stops && r.ok(); ++i) j.stop.push_back(r.get_text());
  j.after_thinking = r.get_list<TokenId>();
  if (!r.complete() || detached > 1 || j.id.empty()) return bad("a job has another size than its fields");
  return j;
}

std::vector<std::byte> encode(const JobEnd& e) {
  ByteWriter w;
  w.put(static_cast<std::int32_t>(e.finish));
  w.put(std::int32_t{e.stop_index});
  for (const std::int64_t n : {e.usage.prompt, e.usage.cached, e.usage.generated, e.usage.thinking}) w.put(n);
  for (const double s : {e.usage.queue_seconds, e.usage.prefill_seconds, e.usage.decode_seconds}) w.put(s);
  w.put_text(e.id);
  w.put_text(e.error);
  return taken(w);
}

Result<JobEnd> decode_job_end(Bytes bytes) {
  ByteReader r(bytes);
  JobEnd e;
  const auto finish = r.get<std::int32_t>();
  e.finish = static_cast<JobFinish>(finish);
  e.stop_index = r.get<std::int32_t>();
  for (std::int64_t* n : {&e.usage.prompt, &e.usage.cached, &e.usage.generated, &e.usage.thinking})
    *n = r.get<std::int64_t>();
  for (double* s : {&e.usage.queue_seconds, &e.usage.prefill_seconds, &e.usage.decode_seconds}) *s = r.get<double>();
  e.id = r.get_text();
  e.error = r.get_text();
  if (!r.complete() || e.id.empty()) return bad("the end of a job has another size than its fields");
  if (finish < 0 || finish > static_cast<std::int32_t>(JobFinish::kError)) return bad("a job ended in an unknown way");
  return e;
}

std::vector<std::byte> encode_title(std::string_view title) {
  ByteWriter w;
  w.put_text(std::string(title));
  return taken(w);
}

Result<std::string> decode_title(Bytes bytes) {
  ByteReader r(bytes);
  std::string title = r.get_text();
  if (!r.complete()) return bad("a title has another size than its fields");
  if (title.size() > kMostTitle) return bad("a title is too long");
  return title;
}

std::vector<std::byte> encode_alternatives(std::span<const Sampled> top) {
  std::vector<std::byte> out(top.size() * kSampledBytes);
  for (std::size_t i = 0; i < top.size(); ++i) put_sampled(out.data() + i * kSampledBytes, top[i]);
  return out;
}

Result<std::vector<Sampled>> decode_alternatives(Bytes bytes) {
  constexpr std::size_t kMost = 20;  // what a request may ask for
  const std::size_t n = bytes.size() / kSampledBytes;
  if (bytes.size() % kSampledBytes != 0 || n < 1 || n > kMost) return bad("alternatives have an impossible size");
  std::vector<Sampled> out(n);
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = get_sampled(bytes.data() + i * kSampledBytes);
    if (to_int(out[i].id) < 0) return bad("an alternative is no token id");
  }
  return out;
}

std::string make_up_job_id(std::string_view process, std::int64_t number) {
  return fmt::format("job-{}-{}", process, number);
}

bool made_up_job_id(std::string_view id) {
  constexpr std::size_t kProcess = 4, kDash = 12, kNumber = 13;  // where the parts begin
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto hexadecimal = [&](char c) { return digit(c) || (c >= 'a' && c <= 'f'); };
  return id.starts_with("job-") && id.size() > kNumber && id[kDash] == '-' &&
         std::ranges::all_of(id.substr(kProcess, kDash - kProcess), hexadecimal) &&
         std::ranges::all_of(id.substr(kNumber), digit);
}

bool valid_session_id(std::string_view id) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  // A leading dash would read as an option on a command line.
  return !id.empty() && id.size() <= 64 && id[0] != '-' && std::all_of(id.begin(), id.end(), good);
}

std::string new_session_id() {
  std::uint64_t bits = 0;
  auto* p = reinterpret_cast<char*>(&bits);
  for (std::size_t done = 0; done < sizeof bits;) {
    const ssize_t n = ::getrandom(p + done, sizeof bits - done, 0);
    if (n > 0) done += static_cast<std::size_t>(n);
  }
  return fmt::format("{:016x}", bits);
}

}  // namespace hadal
