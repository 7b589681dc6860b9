#include "serve/openapi.h"

#include <nlohmann/json.hpp>

namespace hadal::serve {
namespace {

using Json = nlohmann::ordered_json;

struct Entry {
  const char *method, *path, *summary;
  bool streams;
};

constexpr Entry kEntries[] = {
    {"post", "/v1/chat/completions", "OpenAI Chat Completions", true},
    {"post", "/v1/completions", "OpenAI Completions: a text continued, without the chat format", true},
    {"post", "/v1/responses", "OpenAI Responses, without storage", true},
    {"post", "/v1/messages", "Anthropic Messages", true},
    {"post", "/v1/messages/count_tokens", "Tokens an Anthropic request would read", false},
    {"get", "/v1/models", "The model that is served, with the length of its context", false},
    {"get", "/v1/models/{model}", "The same, of one model", false},
    {"get", "/v1/jobs/{job}", "Attach to a request sent with Idempotency-Key or X-Hadal-Detach", true},
    {"delete", "/v1/jobs/{job}", "End such a request", false},
    {"get", "/v1/sessions", "Kept sessions, the one changed last first", false},
    {"post", "/v1/sessions", "A new session", false},
    {"post", "/v1/sessions/import", "A session from a file that export made", false},
    {"get", "/v1/sessions/{session}", "One session", false},
    {"patch", "/v1/sessions/{session}", "Name it", false},
    {"delete", "/v1/sessions/{session}", "Remove it", false},
    {"get", "/v1/sessions/{session}/messages", "Its conversation", false},
    {"post", "/v1/sessions/{session}/messages", "Append messages", false},
    {"post", "/v1/sessions/{session}/generate", "Append messages and answer", true},
    {"post", "/v1/sessions/{session}/instruct", "A Quick Instruction", false},
    {"post", "/v1/sessions/{session}/fork", "A new session with the beginning of this one", false},
    {"post", "/v1/sessions/{session}/rewind", "Back to the beginning, as a new branch", false},
    {"get", "/v1/sessions/{session}/branches", "What rewinding left", false},
    {"get", "/v1/sessions/{session}/diff", "Where two branches part", false},
    {"get", "/v1/sessions/{session}/export", "The whole session as one file", false},
    {"get", "/v1/sessions/{session}/meter", "What the context holds and costs", false},
    {"post", "/tokenize", "Token ids of a text ('prompt') or of a conversation ('messages')", false},
    {"post", "/detokenize", "Text of token ids ('tokens')", false},
    {"get", "/healthz", "The process answers", false},
    {"get", "/readyz", "New requests are taken", false},
    {"get", "/metrics", "Counters in Prometheus' text form", false},
    {"get", "/openapi.json", "This document", false},
};

}  // namespace

std::string openapi_document() {
  Json j;
  j["openapi"] = "3.1.0";
  j["info"] = {
      {"title", "hadal"}, {"version", "1"}, {"description", "docs/http.md describes fields, headers and errors"}};
  j["components"]["securitySchemes"]["key"] = {{"type", "http"}, {"scheme", "bearer"}};
  j["security"] = Json::array({{{"key", Json::array()}}, Json::object()});
  for (const Entry& e : kEntries) {
    Json& at = j["paths"][e.path][e.method];
    at["summary"] = e.summary;
    const std::string path = e.path;
    if (const std::size_t open = path.find('{'); open != std::string::npos)
      at["parameters"] = Json::array({{{"name", path.substr(open + 1, path.find('}') - open - 1)},
                                       {"in", "path"},
                                       {"required", true},
                                       {"schema", {{"type", "string"}}}}});
    if (std::string(e.method) == "post" || std::string(e.method) == "patch")
      at["requestBody"] = {{"required", true}, {"content", {{"application/json", {{"schema", {{"type", "object"}}}}}}}};
    Json content;
    const bool plain = path == "/metrics" || path == "/healthz" || path == "/readyz";
    content[plain ? "text/plain" : "application/json"] = Json::object();
    if (e.streams) content["text/event-stream"] = Json::object();
    at["responses"]["200"] = {{"description", "the answer"}, {"content", content}};
    at["responses"]["default"] = {{"description", "an error in the shape of the API"}};
  }
  return j.dump();
}

}  // namespace hadal::serve
