// Runs answers/*.txt: what a model may write, and what clients must be shown, by every API, whole and streamed, token
// by token and byte by byte.
//
// A file is settings ("thinking: yes", "cut: yes" for an answer that a limit ended, "stop: TEXT", "parallel: no"), then
// "--- tools" with one schema a line, "--- completion" with the model's text, and "=== answer" with what must be shown.
// Lines that begin with '#' before the first section are comments.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "serve/scripted.h"

namespace hadal::serve {
namespace {

using Json = nlohmann::ordered_json;

struct Case {
  std::map<std::string, std::string> settings, sections;
};

Case read_case(const std::filesystem::path& path) {
  std::ifstream file(path);
  Case out;
  std::string line, section;
  while (std::getline(file, line)) {
    if (line.starts_with("--- ") || line.starts_with("=== ")) {
      section = line.substr(4);
      out.sections[section];
    } else if (!section.empty()) {
      out.sections[section] += line + "\n";
    } else if (const std::size_t colon = line.find(": "); colon != std::string::npos && !line.starts_with('#')) {
      out.settings[line.substr(0, colon)] = line.substr(colon + 2);
    }
  }
  for (auto& [name, text] : out.sections)
    if (!text.empty()) text.pop_back();
  return out;
}

std::vector<Json> schemas(const Case& c) {
  std::vector<Json> out;
  if (!c.sections.contains("tools")) return out;
  std::istringstream lines(c.sections.at("tools"));
  for (std::string line; std::getline(lines, line);) out.push_back(Json::parse(line));
  return out;
}

// What an answer shows, in one form for all APIs.
struct Shown {
  std::string reasoning, content, finish;
  std::vector<std::pair<std::string, std::string>> calls;
  std::string text() const {
    std::string out = "finish: " + finish + "\n";
    if (!reasoning.empty()) out += "reasoning: " + reasoning + "\n";
    if (!content.empty()) out += "content: " + content + "\n";
    for (const auto& [name, arguments] : calls) out += "call " + name + ": " + arguments + "\n";
    out.pop_back();
    return out;
  }
};

std::vector<Json> events_of(const std::string& stream) {
  std::vector<Json> out;
  std::istringstream lines(stream);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("data: ") && line != "data: [DONE]") out.push_back(Json::parse(line.substr(6)));
  return out;
}
std::string string_at(const Json& j, const char* key) {
  return j.contains(key) && j[key].is_string() ? j[key].get<std::string>() : "";
}

Shown chat_shown(const Json& j) {
  Shown s;
  const Json& choice = j["choices"][0];
  s.reasoning = string_at(choice["message"], "reasoning_content");
  s.content = string_at(choice["message"], "content");
  for (const Json& c : choice["message"].value("tool_calls", Json::array()))
    s.calls.emplace_back(c["function"]["name"], c["function"]["arguments"]);
  s.finish = choice["finish_reason"];
  return s;
}
Shown chat_streamed(const std::string& stream) {
  Shown s;
  for (const Json& e : events_of(stream)) {
    const Json& delta = e["choices"][0]["delta"];
    s.reasoning += string_at(delta, "reasoning_content");
    s.content += string_at(delta, "content");
    if (delta.contains("tool_calls")) {
      EXPECT_FALSE(delta["tool_calls"].empty());
      const Json& c = delta["tool_calls"][0];
      if (c.contains("id")) s.calls.emplace_back(c["function"]["name"], "");
      EXPECT_EQ(c["index"], s.calls.size() - 1);
      s.calls.back().second += c["function"].value("arguments", "");
    }
    if (e["choices"][0]["finish_reason"].is_string()) s.finish = e["choices"][0]["finish_reason"];
  }
  return s;
}

std::string anthropic_finish(const std::string& reason) {
  return reason == "tool_use" ? "tool_calls" : reason == "max_tokens" ? "length" : "stop";
}
Shown messages_shown(const Json& j) {
  Shown s;
  for (const Json& b : j["content"]) {
    if (b["type"] == "thinking") s.reasoning += b["thinking"];
    if (b["type"] == "text") s.content += b["text"];
    if (b["type"] == "tool_use") s.calls.emplace_back(b["name"], b["input"].dump());
  }
  s.finish = anthropic_finish(j["stop_reason"]);
  return s;
}
Shown messages_streamed(const std::string& stream) {
  Shown s;
  int open = -1, count = 0;
  for (const Json& e : events_of(stream)) {
    if (e["type"] == "content_block_start") {
      EXPECT_EQ(open, -1);
      open = e["index"];
      EXPECT_EQ(open, count++);
      if (e["content_block"]["type"] == "tool_use") s.calls.emplace_back(e["content_block"]["name"], "");
    } else if (e["type"] == "content_block_stop") {
      EXPECT_EQ(e["index"], open);
      open = -1;
    } else if (e["type"] == "content_block_delta") {
      EXPECT_EQ(e["index"], open);
      s.reasoning += string_at(e["delta"], "thinking");
      s.content += string_at(e["delta"], "text");
      if (e["delta"].contains("partial_json")) s.calls.back().second += e["delta"]["partial_json"];
    } else if (e["type"] == "message_delta") {
      s.finish = anthropic_finish(e["delta"]["stop_reason"]);
    }
  }
  EXPECT_EQ(open, -1);
  return s;
}

Shown responses_shown(const Json& j) {
  Shown s;
  for (const Json& o : j["output"]) {
    if (o["type"] == "reasoning" && !o["summary"].empty()) s.reasoning += o["summary"][0]["text"];
    if (o["type"] == "message" && !o["content"].empty()) s.content += o["content"][0]["text"];
    if (o["type"] == "function_call") s.calls.emplace_back(o["name"], o["arguments"]);
  }
  s.finish = j["status"] == "incomplete" ? "length" : s.calls.empty() ? "stop" : "tool_calls";
  return s;
}
Shown responses_streamed(const std::string& stream) {
  Shown s, last;
  std::int64_t sequence = 0;
  for (const Json& e : events_of(stream)) {
    EXPECT_EQ(e["sequence_number"], sequence++);
    const std::string type = e["type"];
    if (type == "response.output_item.added" && e["item"]["type"] == "function_call")
      s.calls.emplace_back(e["item"]["name"], "");
    if (type == "response.reasoning_summary_text.delta") s.reasoning += e["delta"];
    if (type == "response.output_text.delta") s.content += e["delta"];
    if (type == "response.function_call_arguments.delta") s.calls.back().second += e["delta"];
    if (type == "response.completed" || type == "response.incomplete") last = responses_shown(e["response"]);
  }
  s.finish = last.finish;
  EXPECT_EQ(s.reasoning, last.reasoning);
  EXPECT_EQ(s.content, last.content);
  if (last.calls.size() < s.calls.size()) s.calls = last.calls;  // one that was cut off is not part of the result
  EXPECT_EQ(s.calls, last.calls);
  return s;
}

// A cut-off call may be streamed in part, but no result holds it; clients see "length" and must not run it.
Shown without_open_call(Shown s, const Shown& whole) {
  if (whole.finish == "length" && s.calls.size() > whole.calls.size()) s.calls.resize(whole.calls.size());
  return s;
}

TEST(Answers, AreShownAsTheirFilesSay) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(HADAL_SOURCE_DIR) + "/tests/serve/answers"))
    files.push_back(entry.path());
  std::ranges::sort(files);
  ASSERT_GE(files.size(), 14u);
  for (const auto& file : files) {
    Case c = read_case(file);
    const bool thinking = c.settings["thinking"] == "yes";
    const std::string& expected = c.sections["answer"];
    Json chat, messages, responses;
    chat["messages"] = messages["messages"] = {{{"role", "user"}, {"content", "Hi"}}};
    responses["input"] = "Hi";
    chat["thinking"] = messages["thinking"] = {{"type", thinking ? "enabled" : "disabled"}};
    if (!thinking) responses["reasoning"] = {{"effort", "none"}};
    messages["max_tokens"] = 100000;
    for (const Json& schema : schemas(c)) {
      chat["tools"].push_back({{"type", "function"}, {"function", schema}});
      Json flat = schema;
      flat["type"] = "function";
      responses["tools"].push_back(flat);
      Json theirs;
      theirs["name"] = schema["name"];
      if (schema.contains("parameters")) theirs["input_schema"] = schema["parameters"];
      messages["tools"].push_back(theirs);
    }
    if (c.settings.contains("stop")) {
      chat["stop"] = responses["stop"] = c.settings["stop"];
      messages["stop_sequences"] = {c.settings["stop"]};
    }
    if (c.settings["parallel"] == "no") {
      chat["parallel_tool_calls"] = responses["parallel_tool_calls"] = false;
      messages["tool_choice"] = {{"type", "auto"}, {"disable_parallel_tool_use", true}};
    }
    struct Api {
      const char* path;
      Json ask;
      Shown (*whole)(const Json&);
      Shown (*streamed)(const std::string&);
    };
    const Api apis[] = {{"/v1/chat/completions", chat, chat_shown, chat_streamed},
                        {"/v1/messages", messages, messages_shown, messages_streamed},
                        {"/v1/responses", responses, responses_shown, responses_streamed}};
    for (bool by_bytes : {false, true}) {
      for (const Api& api : apis) {
        SCOPED_TRACE(file.filename().string() + " " + api.path + (by_bytes ? " by bytes" : ""));
        Station station;
        station.model->completion = c.sections["completion"];
        station.model->by_bytes = by_bytes;
        station.model->ends = c.settings["cut"] != "yes";
        Json ask = api.ask;
        const auto whole = station.ask("POST", api.path, ask.dump());
        ASSERT_EQ(whole->answer.status, 200) << whole->answer.body;
        const Shown shown = api.whole(Json::parse(whole->answer.body));
        // Anthropic's input is an object, so its spelling is the JSON library's.
        auto spelled = [](std::string text) {
          std::string out;
          std::istringstream lines(text);
          for (std::string line; std::getline(lines, line);) {
            if (line.starts_with("call ")) {
              const std::size_t colon = line.find(": ");
              const Json j = Json::parse(line.substr(colon + 2), nullptr, false);
              if (!j.is_discarded()) line = line.substr(0, colon + 2) + j.dump();
            }
            out += line + "\n";
          }
          return out;
        };
        EXPECT_EQ(spelled(shown.text()), spelled(expected));
        ask["stream"] = true;
        const auto streamed = station.ask("POST", api.path, ask.dump());
        ASSERT_TRUE(streamed->streamed);
        EXPECT_EQ(spelled(without_open_call(api.streamed(streamed->stream), shown).text()), spelled(expected))
            << streamed->stream;
      }
    }
  }
}

}  // namespace
}  // namespace hadal::serve
