// An agent's client that gives turns back in other words: arguments re-spelled with their keys in another order,
// reasoning dropped. Prefixes must be found all the same, also after a restart, and answers be those of a client that
// gives everything back as it came. Included by one file of each test program.
#pragma once

#include <gtest/gtest.h>

#include "serve/live.h"

namespace hadal::serve {
namespace {

using Json = nlohmann::ordered_json;

const Json kParameters = {{"type", "object"},
                          {"properties", {{"path", {{"type", "string"}}}, {"content", {{"type", "string"}}}}},
                          {"required", {"path", "content"}}};

struct Answer {
  std::string text, reasoning;
  std::vector<std::pair<std::string, Json>> calls;  // id, arguments
  std::int64_t prompt = 0, cached = 0, generated = 0;
  Json raw;  // what a faithful client sends back
};

// How one API says things.
struct Dialect {
  std::string path, list;  // the field with the conversation
  std::function<Json()> tools;
  std::function<Json(const std::string&)> user;
  std::function<Json(const std::string& id)> result;
  std::function<Answer(const Json&)> read;
  std::function<Json(const Answer&)> respelled;  // turns: one or several entries of the list
};

Json reordered(const Json& arguments) {
  Json out = Json::object();
  std::vector<std::string> keys;
  for (const auto& [key, value] : arguments.items()) keys.insert(keys.begin(), key);
  for (const auto& key : keys) out[key] = arguments[key];
  return out;
}

Dialect chat() {
  Dialect d;
  d.path = "/v1/chat/completions";
  d.list = "messages";
  d.tools = [] {
    return Json::array(
        {{{"type", "function"},
          {"function",
           {{"name", "write_file"}, {"description", "Write text to a file"}, {"parameters", kParameters}}}}});
  };
  d.user = [](const std::string& text) { return Json{{"role", "user"}, {"content", text}}; };
  d.result = [](const std::string& id) { return Json{{"role", "tool"}, {"tool_call_id", id}, {"content", "done"}}; };
  d.read = [](const Json& j) {
    Answer a;
    a.raw = Json::array({j["choices"][0]["message"]});
    const Json& m = a.raw[0];
    a.text = m["content"].is_string() ? m["content"].get<std::string>() : "";
    a.reasoning = m.value("reasoning_content", "");
    if (m.contains("tool_calls") && m["tool_calls"].is_array())
      for (const Json& c : m["tool_calls"])
        a.calls.emplace_back(c["id"], Json::parse(c["function"]["arguments"].get<std::string>()));
    a.prompt = j["usage"]["prompt_tokens"];
    a.cached = j["usage"]["prompt_tokens_details"]["cached_tokens"];
    a.generated = j["usage"]["completion_tokens"];
    return a;
  };
  d.respelled = [](const Answer& a) {
    Json m{{"role", "assistant"}, {"content", a.text}};
    for (const auto& [id, arguments] : a.calls)
      m["tool_calls"].push_back({{"type", "function"},
                                 {"id", id},
                                 {"function", {{"arguments", reordered(arguments).dump(3)}, {"name", "write_file"}}}});
    return Json::array({m});
  };
  return d;
}

Dialect anthropic() {
  Dialect d = chat();
  d.path = "/v1/messages";
  d.tools = [] {
    return Json::array(
        {{{"name", "write_file"}, {"description", "Write text to a file"}, {"input_schema", kParameters}}});
  };
  d.result = [](const std::string& id) {
    return Json{{"role", "user"}, {"content", {{{"type", "tool_result"}, {"tool_use_id", id}, {"content", "done"}}}}};
  };
  d.read = [](const Json& j) {
    Answer a;
    a.raw = Json::array({{{"role", "assistant"}, {"content", j["content"]}}});
    for (const Json& part : j["content"]) {
      if (part["type"] == "text") a.text += part["text"];
      if (part["type"] == "thinking") a.reasoning += part["thinking"];
      if (part["type"] == "tool_use") a.calls.emplace_back(part["id"], part["input"]);
    }
    a.cached = j["usage"]["cache_read_input_tokens"];
    a.prompt = a.cached + j["usage"]["input_tokens"].get<std::int64_t>();
    a.generated = j["usage"]["output_tokens"];
    return a;
  };
  d.respelled = [](const Answer& a) {
    Json parts = Json::array();
    if (!a.text.empty()) parts.push_back({{"type", "text"}, {"text", a.text}});
    for (const auto& [id, arguments] : a.calls)
      parts.push_back({{"input", reordered(arguments)}, {"name", "write_file"}, {"id", id}, {"type", "tool_use"}});
    return Json::array({{{"role", "assistant"}, {"content", parts}}});
  };
  return d;
}

Dialect responses() {
  Dialect d = chat();
  d.path = "/v1/responses";
  d.list = "input";
  d.tools = [] {
    return Json::array({{{"type", "function"},
                         {"name", "write_file"},
                         {"description", "Write text to a file"},
                         {"parameters", kParameters}}});
  };
  d.result = [](const std::string& id) {
    return Json{{"type", "function_call_output"}, {"call_id", id}, {"output", "done"}};
  };
  d.read = [](const Json& j) {
    Answer a;
    a.raw = j["output"];
    for (const Json& item : j["output"]) {
      if (item["type"] == "message")
        for (const Json& part : item["content"]) a.text += part["text"];
      if (item["type"] == "reasoning") a.reasoning += item["summary"].dump();
      if (item["type"] == "function_call")
        a.calls.emplace_back(item["call_id"], Json::parse(item["arguments"].get<std::string>()));
    }
    a.prompt = j["usage"]["input_tokens"];
    a.cached = j["usage"]["input_tokens_details"]["cached_tokens"];
    a.generated = j["usage"]["output_tokens"];
    return a;
  };
  d.respelled = [](const Answer& a) {
    Json items = Json::array();
    if (!a.text.empty())
      items.push_back(
          {{"type", "message"}, {"role", "assistant"}, {"content", {{{"type", "output_text"}, {"text", a.text}}}}});
    for (const auto& [id, arguments] : a.calls)
      items.push_back({{"arguments", reordered(arguments).dump(1)},
                       {"type", "function_call"},
                       {"name", "write_file"},
                       {"call_id", id}});
    return items;
  };
  return d;
}

// `count` rounds: a request, usually a call and its result, an answer. `restart`: the server is another process from
// the middle on, as far as memory goes.
std::vector<Answer> rounds(const Dialect& d, int count, bool respell, bool restart) {
  const test::TemporaryFolder data;
  auto live = std::make_unique<Live>(data.path());
  std::vector<Answer> answers;
  Json list = Json::array();
  const auto turn = [&] {
    Json body{{"model", "nano"}, {d.list, list}, {"tools", d.tools()}, {"temperature", 0}};
    body[d.path == "/v1/responses" ? "max_output_tokens" : "max_tokens"] = 120;
    answers.push_back(d.read(live->json("POST", d.path, body)));
    for (const Json& entry : respell ? d.respelled(answers.back()) : answers.back().raw) list.push_back(entry);
  };
  for (int i = 0; i < count && !testing::Test::HasFailure(); ++i) {
    if (restart && i == count / 2) {
      live.reset();
      live = std::make_unique<Live>(data.path());
    }
    list.push_back(d.user("Can you please save \"stone " + std::to_string(i) + "\" in the file box/" +
                          std::to_string(i) + ".txt?"));
    turn();
    if (answers.back().calls.empty()) continue;
    const auto calls = answers.back().calls;
    for (const auto& [id, arguments] : calls) list.push_back(d.result(id));
    turn();
    if (!answers.back()
             .calls.empty())  // more calls than asked for: answer them too, so that the history is well formed
      for (const auto& [id, arguments] : answers.back().calls) list.push_back(d.result(id));
  }
  return answers;
}

void check(const Dialect& d, int count) {
  const std::vector<Answer> faithful = rounds(d, count, false, false), respelled = rounds(d, count, true, true);
  ASSERT_EQ(respelled.size(), faithful.size());
  std::size_t calls = 0;
  double least = 1;
  for (std::size_t i = 0; i < faithful.size(); ++i) {
    EXPECT_EQ(respelled[i].text, faithful[i].text) << i;
    EXPECT_EQ(respelled[i].reasoning, faithful[i].reasoning) << i;
    EXPECT_EQ(respelled[i].generated, faithful[i].generated) << i;
    EXPECT_EQ(respelled[i].prompt, faithful[i].prompt) << i;
    ASSERT_EQ(respelled[i].calls.size(), faithful[i].calls.size()) << i;
    for (std::size_t c = 0; c < faithful[i].calls.size(); ++c)
      EXPECT_EQ(respelled[i].calls[c].second, faithful[i].calls[c].second);
    if (testing::Test::HasFailure()) return;  // what follows would only repeat it
    calls += faithful[i].calls.size();
    if (i == 0) continue;
    const double prefix = static_cast<double>(respelled[i - 1].prompt + respelled[i - 1].generated);
    least = std::min(least, static_cast<double>(respelled[i].cached) / prefix);
  }
  EXPECT_GE(calls, static_cast<std::size_t>(count) * 9 / 10) << "too few calls to show anything";
  EXPECT_GE(least, 0.99);
  std::printf("[ figures  ] %s: %zu turns, %zu calls, at least %.2f %% of the prefix reused\n", d.path.c_str(),
              faithful.size(), calls, 100 * least);
}

}  // namespace
}  // namespace hadal::serve
