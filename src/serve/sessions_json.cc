#include "serve/sessions_json.h"

#include "chat/python_json.h"
#include "serve/openai.h"
#include "serve/prompt.h"

namespace hadal::serve {
namespace {

using Json = nlohmann::ordered_json;

// Text of ids; what the tokenizer lacks comes as <id>.
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

}  // namespace

std::string session_document(const SessionSummary& s, std::int64_t live_branch, const std::string& title, bool busy) {
  Json j;
  j["id"] = s.id;
  j["title"] = title;
  j["title_set"] = !s.title.empty();
  j["model"] = s.model;
  j["created_ms"] = s.created_ms;
  j["updated_ms"] = s.updated_ms;
  j["length"] = s.length;
  j["branch"] = live_branch;
  j["branches"] = s.branches;
  j["file_bytes"] = s.file_bytes;
  j["parent"] = s.parent.empty() ? Json(nullptr) : Json(s.parent);
  j["busy"] = busy;
  j["usable"] = s.usable;
  j["problem"] = s.problem;
  return dump(j);
}

Json message_object(const TranscriptTurn& turn) {
  const chat::Message& m = turn.message;
  Json j;
  const bool assistant = m.role == chat::Role::kAssistant;
  j["role"] = m.role == chat::Role::kUnknown ? "text" : std::string(role_name(m.role));
  if (assistant && !m.reasoning_content.empty()) {
    j["reasoning"] = m.reasoning_content;
    j["reasoning_in_context"] = turn.reasoning_in_context;
  }
  if (m.role == chat::Role::kTool) j["tool_call_id"] = m.tool_call_id;
  j["content"] = m.content.value_or("");
  if (assistant) j["finished"] = turn.finished;
  for (const chat::ToolCall& call : m.tool_calls)
    j["tool_calls"].push_back({{"id", call.id}, {"name", call.name}, {"arguments", call.arguments}});
  j["from"] = turn.from;
  j["to"] = turn.to;
  return j;
}

std::string messages_document(const std::string& session, BranchId branch, const Transcript& t) {
  Json j;
  j["session"] = session;
  j["branch"] = branch;
  j["length"] = t.length;
  j["complete"] = t.complete;
  j["effort"] = t.effort.empty() ? Json(nullptr) : Json(t.effort);
  j["tools"] = Json::array();
  for (const chat::ToolSchema& tool : t.tools) {
    Json schema = Json::parse(tool.function_json, nullptr, false);
    j["tools"].push_back(schema.is_discarded() ? Json(tool.function_json) : std::move(schema));
  }
  j["messages"] = Json::array();
  for (const TranscriptTurn& turn : t.turns) j["messages"].push_back(message_object(turn));
  return dump(j);
}

std::string branches_document(const SessionLog& log) {
  Json j;
  j["session"] = log.id();
  j["branches"] = Json::array();
  for (const BranchInfo& b : log.history().branches())
    j["branches"].push_back({{"branch", b.id},
                             {"parent", b.id == 0 ? Json(nullptr) : Json(b.parent)},
                             {"from", b.from},
                             {"length", b.length},
                             {"live", b.id == log.history().live_branch()}});
  return dump(j);
}

std::string diff_document(const SessionLog& log, BranchId a, BranchId b, const BranchDiff& d,
                          const Tokenizer& tokenizer) {
  const auto side = [&](BranchId id, Position length, const std::vector<TokenId>& ids) {
    Json j;
    j["branch"] = id;
    j["length"] = length;
    j["text"] = text_of(tokenizer, ids);
    j["ids"] = Json::array();
    for (const TokenId token : ids) j["ids"].push_back(to_int(token));
    return j;
  };
  Json j;
  j["session"] = log.id();
  j["common"] = d.common;
  j["context_from"] = d.context_from;
  j["a"] = side(a, d.length_a, d.a);
  j["b"] = side(b, d.length_b, d.b);
  return dump(j);
}

Json meter_object(const CacheMeter& meter, Position tokens, std::optional<Position> cached, std::int64_t context,
                  const SchedulerStats& stats) {
  const CacheBytes bytes = meter.of(tokens);
  Json j;
  j["tokens"] = tokens;
  j["context_length"] = context;
  j["cached"] = cached ? Json(*cached) : Json(nullptr);
  Json compressed = Json::object();
  for (const auto& [ratio, n] : bytes.compressed) compressed[fmt::format("ratio_{}", ratio)] = n;
  j["cache_bytes"] = {{"window", bytes.window},
                      {"compressed", compressed},
                      {"index_keys", bytes.index_keys},
                      {"open_windows", bytes.open_windows},
                      {"total", bytes.total()}};
  j["budget_bytes"] = meter.of(context).total();
  j["kept"] = {{"bytes", stats.cache_bytes},
               {"limit_bytes", stats.cache_limit},
               {"disk_bytes", stats.cache_disk_bytes},
               {"disk_limit_bytes", stats.cache_disk_limit}};
  return j;
}

std::string meter_document(const CacheMeter& meter, Position tokens, std::optional<Position> cached,
                           std::int64_t context, const SchedulerStats& stats) {
  return dump(meter_object(meter, tokens, cached, context, stats));
}

Json usage_object(const JobUsage& u) {
  return {{"prompt_tokens", u.prompt},         {"cached_tokens", u.cached},
          {"generated_tokens", u.generated},   {"reasoning_tokens", u.thinking},
          {"queue_seconds", u.queue_seconds},  {"prefill_seconds", u.prefill_seconds},
          {"decode_seconds", u.decode_seconds}};
}

}  // namespace hadal::serve
