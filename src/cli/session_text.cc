#include "cli/session_text.h"

#include <fmt/format.h>

#include <algorithm>

namespace hadal::cli {
namespace {

using Json = nlohmann::ordered_json;

// Tokens of one origin and, if sampled, of one set of parameters.
struct Stretch {
  Position from = 0;
  std::vector<LoggedToken> tokens;
};

Result<std::vector<Stretch>> stretches(const SessionLog& log, BranchId branch) {
  const auto tokens = HADAL_TRY(log.logged(branch, 0, log.history().length(branch)));
  std::vector<Stretch> out;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i == 0 || tokens[i].origin != tokens[i - 1].origin || tokens[i].sampling != tokens[i - 1].sampling)
      out.push_back({static_cast<Position>(i), {}});
    out.back().tokens.push_back(tokens[i]);
  }
  return out;
}

std::vector<TokenId> ids_of(const std::vector<LoggedToken>& tokens, std::size_t from, std::size_t to) {
  std::vector<TokenId> out;
  for (std::size_t i = from; i < to; ++i) out.push_back(tokens[i].sampled.id);
  return out;
}

const char* name(TokenOrigin origin) {
  return origin == TokenOrigin::kPrompt ? "prompt" : origin == TokenOrigin::kSampled ? "sampled" : "spliced";
}

const char* name(MessageRole role) {
  constexpr const char* kNames[] = {"system", "user", "assistant", "tool", "other"};
  return kNames[static_cast<int>(role) - 1];
}

const char* name(JobFinish finish) {
  constexpr const char* kNames[] = {"stop", "stop_string", "length", "cancelled", "error"};
  return kNames[static_cast<int>(finish)];
}

std::string parameters(const LoggedSampling& s) {
  std::string out = s.options.temperature == 0 ? "greedy" : fmt::format("temperature {}", s.options.temperature);
  if (s.options.top_p < 1) out += fmt::format(", top-p {}", s.options.top_p);
  if (s.options.top_k > 0) out += fmt::format(", top-k {}", s.options.top_k);
  if (s.options.min_p > 0) out += fmt::format(", min-p {}", s.options.min_p);
  if (s.options.temperature > 0) out += fmt::format(", seed {}", s.options.seed);
  if (s.stream > 0) out += fmt::format(", stream {}", s.stream);
  return out;
}

Json parameters_json(const LoggedSampling& s) {
  return {{"temperature", s.options.temperature},
          {"top_p", s.options.top_p},
          {"top_k", s.options.top_k},
          {"min_p", s.options.min_p},
          {"seed", s.options.seed},
          {"stream", s.stream},
          {"stop_ids", ids_json(s.options.stop_ids)}};
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) {
      out += '?';
    } else if (c == 0xC2 && next >= 0x80 && next < 0xA0) {  // U+0080 to U+009F: terminals obey these too
      out += '?';
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string text_of(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  StreamDecoder decoder(tokenizer);
  std::string out;
  for (const TokenId id : ids) {
    if (decoder.push(id, out)) continue;
    decoder.finish(out);
    out += fmt::format("<{}>", to_int(id));
  }
  decoder.finish(out);
  return out;
}

Json ids_json(const std::vector<TokenId>& ids) {
  Json out = Json::array();
  for (const TokenId id : ids) out.push_back(to_int(id));
  return out;
}

Result<std::string> session_text(const SessionLog& log, BranchId branch, const Tokenizer* tokenizer, bool full) {
  const SessionHistory& h = log.history();
  const SessionHeader& head = log.header();
  std::string out = fmt::format("session {}, model {}, branch {} of {}, {} tokens", head.id, printable(head.model),
                                branch, h.branch_count(), h.length(branch));
  if (!head.parent.empty()) out += fmt::format(", forked from {} at {}", head.parent, head.parent_length);
  out += '\n';
  const auto text = [&](const std::vector<TokenId>& ids) {
    if (tokenizer) return printable(text_of(*tokenizer, ids));
    std::string list;
    for (const TokenId id : ids) list += fmt::format("{}{}", list.empty() ? "" : " ", to_int(id));
    return list;
  };
  for (const Stretch& s : HADAL_TRY(stretches(log, branch))) {
    const std::size_t n = s.tokens.size();
    const LoggedToken& first = s.tokens.front();
    out += fmt::format("[{} {} to {}{}]\n", name(first.origin), s.from, s.from + static_cast<Position>(n) - 1,
                       first.sampling >= 0 ? "; " + parameters(h.samplings()[static_cast<std::size_t>(first.sampling)])
                                           : std::string());
    constexpr std::size_t kHead = 100, kTail = 60;  // tokens: about a screen
    if (full || n <= kHead + kTail) {
      out += text(ids_of(s.tokens, 0, n));
    } else {
      out += text(ids_of(s.tokens, 0, kHead));
      out += fmt::format("\n[... {} tokens ...]\n", n - kHead - kTail);
      out += text(ids_of(s.tokens, n - kTail, n));
    }
    if (!out.ends_with('\n')) out += '\n';
  }
  for (const LoggedCall& c : h.calls(branch))
    out += fmt::format("[call {}: made by tokens {} to {}]\n", printable(c.id), c.from, c.from + c.count - 1);
  for (const LoggedJob& j : h.jobs())
    if (j.branch == branch)
      out += fmt::format("[job {}: prompt of {} tokens, {}]\n", printable(j.id), j.prompt,
                         j.finish ? fmt::format("ended with {} at {}", name(*j.finish), j.end) : "did not end");
  return out;
}

Result<Json> session_json(const SessionLog& log, BranchId branch, const Tokenizer* tokenizer) {
  const SessionHistory& h = log.history();
  const SessionHeader& head = log.header();
  Json out = {{"session", head.id},
              {"model", head.model},
              {"weights", fmt::format("{:016x}", head.identity.weights)},
              {"created_ms", head.created_ms},
              {"parent", head.parent.empty() ? Json() : Json(head.parent)},
              {"parent_branch", head.parent_branch},
              {"parent_length", head.parent_length},
              {"branch", branch},
              {"branches", h.branch_count()},
              {"tokens", h.length(branch)},
              {"torn_bytes", log.cut_bytes()}};
  out["stretches"] = Json::array();
  for (const Stretch& s : HADAL_TRY(stretches(log, branch))) {
    const LoggedToken& first = s.tokens.front();
    const std::vector<TokenId> ids = ids_of(s.tokens, 0, s.tokens.size());
    Json stretch = {{"from", s.from}, {"origin", name(first.origin)}, {"ids", ids_json(ids)}};
    if (tokenizer) stretch["text"] = text_of(*tokenizer, ids);
    if (first.origin == TokenOrigin::kSampled) {
      if (first.sampling >= 0)
        stretch["sampling"] = parameters_json(h.samplings()[static_cast<std::size_t>(first.sampling)]);
      Json logprobs = Json::array();
      for (const LoggedToken& t : s.tokens) logprobs.push_back(t.sampled.raw_logprob);
      stretch["raw_logprobs"] = std::move(logprobs);
    }
    out["stretches"].push_back(std::move(stretch));
  }
  out["messages"] = Json::array();
  for (const LoggedMark& m : h.marks(branch)) out["messages"].push_back({{"role", name(m.role)}, {"end", m.at}});
  out["calls"] = Json::array();
  for (const LoggedCall& c : h.calls(branch))
    out["calls"].push_back({{"id", c.id}, {"from", c.from}, {"tokens", c.count}});
  out["jobs"] = Json::array();
  for (const LoggedJob& j : h.jobs())
    if (j.branch == branch)
      out["jobs"].push_back({{"id", j.id},
                             {"prompt", j.prompt},
                             {"begun_ms", j.begun_ms},
                             {"finish", j.finish ? Json(name(*j.finish)) : Json()},
                             {"end", j.finish ? Json(j.end) : Json()}});
  return out;
}

}  // namespace hadal::cli
