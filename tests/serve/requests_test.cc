// Runs requests/*.txt: what is asked and what is answered, as text.
//
// A file is a list of exchanges. Each begins "> METHOD PATH", then header lines ">> NAME: VALUE" and a body; then
// "< STATUS", header lines "<< NAME: VALUE" that the answer must have, and lines the answer must contain. "# " lines
// are comments, "! WORDS" lines are for the model: what it writes from here on.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "chat/utf8.h"
#include "serve/scripted.h"

namespace hadal::serve {
namespace {

struct Conversation {
  int line = 0;
  std::string method, path, body, model;
  std::vector<Header> sends, gets;
  int status = 0;
  std::vector<std::string> contains;
};

Header header_of(const std::string& text) {
  return {text.substr(0, text.find(": ")), text.substr(text.find(": ") + 2)};
}

std::vector<Conversation> read_conversations(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<Conversation> out;
  std::string line, model;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.starts_with("# ") || line.empty()) continue;
    if (line.starts_with("! ")) {
      model = line.substr(2);
    } else if (line.starts_with(">> ")) {
      out.back().sends.push_back(header_of(line.substr(3)));
    } else if (line.starts_with("<< ")) {
      out.back().gets.push_back(header_of(line.substr(3)));
    } else if (line.starts_with("> ")) {
      Conversation c;
      c.line = number;
      c.method = line.substr(2, line.find(' ', 2) - 2);
      c.path = line.substr(line.find(' ', 2) + 1);
      c.model = model;
      out.push_back(std::move(c));
    } else if (line.starts_with("< ")) {
      out.back().status = std::stoi(line.substr(2));
    } else if (out.back().status == 0) {
      out.back().body += line + "\n";
    } else {
      out.back().contains.push_back(line);
    }
  }
  return out;
}

TEST(Requests, AreAnsweredAsTheirFilesSay) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(HADAL_SOURCE_DIR) + "/tests/serve/requests"))
    files.push_back(entry.path());
  std::ranges::sort(files);
  ASSERT_GE(files.size(), 5u);
  for (const auto& file : files) {
    Station station;
    for (const Conversation& c : read_conversations(file)) {
      SCOPED_TRACE(file.filename().string() + ":" + std::to_string(c.line));
      station.model->completion = c.model.empty() ? "Hello." : c.model;
      const auto exchange = station.ask(c.method, c.path, c.body, c.sends);
      EXPECT_EQ(exchange->answer.status, c.status) << exchange->answer.body;
      const std::string body = exchange->streamed ? exchange->stream : exchange->answer.body;
      EXPECT_TRUE(chat::is_utf8(body));
      for (const std::string& part : c.contains)
        EXPECT_NE(body.find(part), std::string::npos) << part << "\nin: " << body;
      for (const Header& wanted : c.gets) {
        const auto found =
            std::ranges::find_if(exchange->answer.headers, [&](const Header& h) { return h.name == wanted.name; });
        ASSERT_NE(found, exchange->answer.headers.end()) << wanted.name;
        EXPECT_NE(found->value.find(wanted.value), std::string::npos) << found->value;
      }
    }
  }
}

// Every body that is not what an API expects gets an error of that API, whatever it is.
TEST(Requests, NonsenseIsRefusedInEveryDialectsShape) {
  Station station;
  std::string deep = "{\"messages\": ";
  for (int i = 0; i < 600; ++i) deep += '[';
  const std::string bodies[] = {
      "",
      "{",
      "[]",
      "null",
      "\"messages\"",
      "{\"messages\": 5}",
      "{\"messages\": [5]}",
      "{\"messages\": [{}]}",
      "{\"messages\": [{\"role\": 5}]}",
      "{\"messages\": [{\"role\": \"user\", \"content\": {\"a\": 1}}]}",
      "{\"messages\": [{\"role\": \"user\", \"content\": \"\xff\xfe\"}]}",
      "{\"input\": 7, \"prompt\": {}, \"messages\": {}}",
      "{\"messages\": [{\"role\": \"user\", \"content\": [null]}]}",
      "{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{}], \"content\": [{\"type\": \"tool_use\"}]}]}",
      deep,
      std::string("{\"a\": [") + std::string(7'000'000, ',') + "]}",
      std::string(1 << 20, ' ')};
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages",
                           "/v1/messages/count_tokens", "/tokenize", "/detokenize"}) {
    for (const std::string& body : bodies) {
      SCOPED_TRACE(std::string(path) + " " + body.substr(0, 80));
      const auto exchange = station.ask("POST", path, body);
      EXPECT_EQ(exchange->answer.status, 400) << exchange->answer.body;
      const auto j = nlohmann::json::parse(exchange->answer.body, nullptr, false);
      ASSERT_TRUE(j.is_object()) << exchange->answer.body;
      EXPECT_TRUE(j["error"]["message"].is_string());
      if (std::string_view(path).starts_with("/v1/messages")) {
        EXPECT_EQ(j["type"], "error");
      }
    }
  }
  EXPECT_TRUE(station.model->asked.empty());
}

TEST(Requests, SamplingGoesToTheSchedulerAsAsked) {
  Station station;
  station.ask("POST", "/v1/chat/completions",
              R"({"messages": [{"role": "user", "content": "x"}], "temperature": 0.5, "top_p": 0.9,
    "top_k": 7, "min_p": 0.1, "seed": 42, "max_completion_tokens": 9, "stop": ["a", "b"], "n": 3, "logprobs": true,
    "top_logprobs": 4, "thinking": {"type": "enabled", "budget_tokens": 11}, "user": "me"})");
  ASSERT_EQ(station.model->asked.size(), 3u);
  const JobRequest& r = station.model->asked[2];
  EXPECT_EQ(r.sampling.temperature, 0.5);
  EXPECT_EQ(r.sampling.top_p, 0.9);
  EXPECT_EQ(r.sampling.top_k, 7);
  EXPECT_EQ(r.sampling.min_p, 0.1);
  EXPECT_EQ(r.sampling.seed, 42u);
  EXPECT_EQ(r.stream, 2u);
  EXPECT_EQ(r.max_tokens, 9);
  EXPECT_EQ(r.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(r.top_logprobs, 4);
  EXPECT_EQ(r.thinking_budget, 11);
  EXPECT_EQ(r.client, "me");
  EXPECT_FALSE(r.detached);
  EXPECT_FALSE(r.borders.empty());
  station.ask("POST", "/v1/chat/completions", R"({"messages": [{"role": "user", "content": "x"}]})");
  EXPECT_EQ(station.model->asked[3].sampling.temperature, 0);  // nano's own
}

TEST(Requests, EffortsReachThePromptByGeneration) {
  auto text = [](chat::Generation generation, const char* effort) {
    ServiceOptions options;
    options.generation = generation;
    Station station(std::move(options));
    station.ask("POST", "/v1/chat/completions",
                fmt::format(R"({{"messages": [{{"role": "user", "content": "x"}}], "reasoning_effort": {}}})", effort));
    return nano_files().tokenizer->decode(station.model->asked.at(0).prompt).value();
  };
  using chat::Generation;
  EXPECT_TRUE(text(Generation::kPreview, "\"none\"").ends_with("<｜Assistant｜></think>"));
  EXPECT_EQ(text(Generation::kPreview, "null"), "<｜begin▁of▁sentence｜><｜User｜>x<｜Assistant｜><think>");
  for (const char* same : {"\"minimal\"", "\"low\"", "\"medium\"", "\"high\"", "\"xhigh\""})
    EXPECT_EQ(text(Generation::kPreview, same), text(Generation::kPreview, "null")) << same;
  EXPECT_NE(text(Generation::kPreview, "\"max\"").find("Absolute maximum"), std::string::npos);
  EXPECT_EQ(text(Generation::k0731, "\"low\""), "<｜begin▁of▁sentence｜><｜User｜>x<｜Assistant｜><think>");
  EXPECT_NE(text(Generation::k0731, "null").find("Absolute maximum"), std::string::npos);
  EXPECT_NE(text(Generation::k0731, "\"max\"").find("Beyond maximum"), std::string::npos);
}

TEST(Requests, ACallThatMustBeMadeIsOpened) {
  Station station;
  station.model->completion = "bash\">\n\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
  const std::string tools =
      R"("tools": [{"type": "function", "function": {"name": "bash"}}], "reasoning_effort": "none")";
  auto answer =
      station.ask("POST", "/v1/chat/completions",
                  R"({"messages": [{"role": "user", "content": "x"}], "tool_choice": "required", )" + tools + "}");
  EXPECT_NE(answer->answer.body.find("\"name\":\"bash\""), std::string::npos) << answer->answer.body;
  EXPECT_EQ(nano_files().tokenizer->decode(station.model->asked[0].after_thinking).value(),
            "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"");
  station.model->completion = "\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
  answer = station.ask(
      "POST", "/v1/messages",
      R"({"messages": [{"role": "user", "content": "x"}], "max_tokens": 99, "thinking": {"type": "disabled"},
                           "tool_choice": {"type": "tool", "name": "bash"}, "tools": [{"name": "bash", "input_schema": {}}]})");
  EXPECT_NE(answer->answer.body.find("\"name\":\"bash\",\"input\":{}"), std::string::npos) << answer->answer.body;
}

TEST(Requests, AnIdempotencyKeyJoinsAndCanBeAttachedTo) {
  Station station;
  station.model->completion = "<think>Hm.</think>Hello.";
  const std::string ask =
      R"({"messages": [{"role": "user", "content": "x"}], "stream": true, "thinking": {"type": "disabled"}})";
  const auto first = station.ask("POST", "/v1/chat/completions", ask, {{"Idempotency-Key", "k 1"}});
  const auto second = station.ask("POST", "/v1/chat/completions", ask, {{"Idempotency-Key", "k 1"}});
  EXPECT_EQ(station.model->jobs.size(), 1u);
  auto ids = [](const std::string& s) { return s.substr(s.find("chatcmpl-"), 25); };
  EXPECT_EQ(ids(first->stream), ids(second->stream));
  const auto again = station.ask("GET", "/v1/jobs/k%201", "");
  EXPECT_EQ(ids(again->stream), ids(first->stream));
  EXPECT_NE(again->stream.find("[DONE]"), std::string::npos);
  EXPECT_EQ(station.ask("GET", "/v1/jobs/other", "")->answer.status, 404);
  EXPECT_EQ(station.ask("DELETE", "/v1/jobs/k%201", "")->answer.status, 200);
  EXPECT_TRUE(station.model->jobs[0]->cancelled);
}

TEST(Requests, KeysAdmitAndNothingElseDoes) {
  ServiceOptions options;
  options.keys = Keys::parse("# people\nsecret-secret-secret-1 anna\nsecret-secret-secret-2\n", "keys").value();
  Station station(std::move(options));
  const std::string ask = R"({"messages": [{"role": "user", "content": "x"}]})";
  EXPECT_EQ(station.ask("POST", "/v1/chat/completions", ask)->answer.status, 401);
  EXPECT_EQ(station.ask("POST", "/v1/chat/completions", ask, {{"Authorization", "Bearer secret"}})->answer.status, 401);
  EXPECT_EQ(station.ask("POST", "/v1/chat/completions", ask, {{"Authorization", "Bearer secret-secret-secret-1"}})
                ->answer.status,
            200);
  EXPECT_EQ(station
                .ask("POST", "/v1/messages", R"({"max_tokens": 5, "messages": [{"role": "user", "content": "x"}]})",
                     {{"x-api-key", "secret-secret-secret-2"}})
                ->answer.status,
            200);
  EXPECT_EQ(station.model->asked[0].client, "anna");
  EXPECT_EQ(station.model->asked[1].client, "key2");
  EXPECT_EQ(station.ask("GET", "/healthz", "")->answer.status, 200);
  EXPECT_EQ(station.ask("GET", "/metrics", "")->answer.status, 401);
  EXPECT_FALSE(Keys::parse("short\n", "keys"));
  EXPECT_FALSE(Keys::parse("# nothing\n", "keys"));
}

TEST(Requests, WithoutAKeyOnlyThisMachineIsAnswered) {
  Station station;
  EXPECT_EQ(station.ask("GET", "/v1/models", "", {{"Host", "localhost:8420"}})->answer.status, 200);
  EXPECT_EQ(station.ask("GET", "/v1/models", "", {{"Host", "[::1]:8420"}})->answer.status, 200);
  EXPECT_EQ(station.ask("GET", "/v1/models", "", {{"Host", "evil.example"}})->answer.status, 403);
  EXPECT_EQ(
      station.ask("GET", "/v1/models", "", {{"Host", "localhost"}, {"Origin", "https://evil.example"}})->answer.status,
      403);
  EXPECT_EQ(
      station.ask("GET", "/v1/models", "", {{"Host", "localhost"}, {"Origin", "http://localhost:3000"}})->answer.status,
      200);
}

TEST(Requests, RulesTakeNoncesOut) {
  ServiceOptions options;
  options.rewriting =
      Rewriting::parse(R"([{"name": "nonce", "pattern": "nonce=[0-9a-f]+\\n", "replacement": ""}])", "rules").value();
  Station station(std::move(options));
  for (const char* nonce : {"1f", "2e"})
    station.ask(
        "POST", "/v1/chat/completions",
        fmt::format(
            R"({{"messages": [{{"role": "system", "content": "nonce={}\nYou help."}}, {{"role": "user", "content": "nonce=1f\nx"}}]}})",
            nonce));
  EXPECT_EQ(station.model->asked[0].prompt, station.model->asked[1].prompt);
  const std::string text = nano_files().tokenizer->decode(station.model->asked[0].prompt).value();
  EXPECT_TRUE(text.starts_with("<｜begin▁of▁sentence｜>You help.<｜User｜>nonce=1f")) << text;
  EXPECT_FALSE(Rewriting::parse(R"([{"name": "a", "pattern": "("}])", "rules"));
  EXPECT_FALSE(Rewriting::parse(R"([{"name": "a", "pattern": "b", "where": "everywhere"}])", "rules"));
}

// Fifty rounds through the server itself, by a client that respells, reorders and forgets reasoning.
TEST(Requests, FiftyRoundsExtendWhatWasSampled) {
  using Json = nlohmann::ordered_json;
  Station station;
  Json messages = {{{"role", "user"}, {"content", "Begin."}}};
  const Json tools = {
      {{"type", "function"},
       {"function",
        {{"name", "step"},
         {"parameters",
          {{"type", "object"}, {"properties", {{"n", {{"type", "integer"}}}, {"s", {{"type", "string"}}}}}}}}}}};
  std::vector<TokenId> past;
  for (int round = 0; round < 50; ++round) {
    station.model->by_bytes = round % 2 == 0;
    station.model->completion = fmt::format(
        "Thought {}.\n</think>Text.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"step\">\n<｜DSML｜parameter "
        "name=\"n\" string=\"false\">{}</｜DSML｜parameter>\n"
        "<｜DSML｜parameter name=\"s\" "
        "string=\"true\">é\"</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
        round, round);
    const auto exchange =
        station.ask("POST", "/v1/chat/completions", Json{{"messages", messages}, {"tools", tools}}.dump());
    const std::vector<TokenId>& prompt = station.model->asked.back().prompt;
    ASSERT_GT(prompt.size(), past.size());
    ASSERT_TRUE(std::equal(past.begin(), past.end(), prompt.begin())) << "round " << round;
    past = prompt;
    const auto ids = station.model->ids();
    past.insert(past.end(), ids.begin(), ids.end());
    Json message = Json::parse(exchange->answer.body)["choices"][0]["message"];
    message.erase("reasoning_content");
    message["tool_calls"][0]["function"]["arguments"] = fmt::format(R"({{"s":"\u00e9\"","n":{}e0}})", round);
    messages.push_back(message);
    messages.push_back({{"role", "tool"},
                        {"tool_call_id", message["tool_calls"][0]["id"]},
                        {"content", {{{"type", "text"}, {"text", "ok"}}}}});
  }
}

// An answer that was ended after its one call goes on as if the model had ended it there.
TEST(Requests, ATurnCutAfterItsOneCallIsRemembered) {
  using Json = nlohmann::ordered_json;
  for (const bool by_bytes : {false, true}) {
    Station station;
    station.model->by_bytes = by_bytes;
    const std::string call =
        "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"step\">\n<｜DSML｜parameter name=\"n\" string=\"false\">1"
        "</｜DSML｜parameter>\n</｜DSML｜invoke>";
    station.model->completion =
        "Thought.</think>Text." + call + "\n<｜DSML｜invoke name=\"step\">\n\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
    Json ask = {{"messages", {{{"role", "user"}, {"content", "Begin."}}}},
                {"parallel_tool_calls", false},
                {"tools", {{{"type", "function"}, {"function", {{"name", "step"}}}}}}};
    const auto first = station.ask("POST", "/v1/chat/completions", ask.dump());
    Json message = Json::parse(first->answer.body)["choices"][0]["message"];
    ASSERT_EQ(message["tool_calls"].size(), 1u);
    message.erase("reasoning_content");
    message["tool_calls"][0]["function"]["arguments"] = "{\"n\": 1.0}";
    ask["messages"].push_back(message);
    ask["messages"].push_back({{"role", "tool"}, {"tool_call_id", message["tool_calls"][0]["id"]}, {"content", "ok"}});
    station.ask("POST", "/v1/chat/completions", ask.dump());
    const std::string text = nano_files().tokenizer->decode(station.model->asked[1].prompt).value();
    EXPECT_NE(
        text.find("<think>Thought.</think>Text." + call + "\n</｜DSML｜tool_calls><｜end▁of▁sentence｜><｜User｜>"),
        std::string::npos)
        << text;
    // Token by token up to the marker that ends the call: what is sampled behind it depends on when the job hears.
    std::vector<TokenId> sampled = station.model->asked[0].prompt;
    const auto& tokenizer = *nano_files().tokenizer;
    const auto ids = station.model->ids();
    std::string so_far;
    for (const TokenId id : ids) {
      so_far += tokenizer.bytes_of(id);
      if (so_far.size() > ("Thought.</think>Text." + call).size() - std::string_view("invoke>").size()) break;
      sampled.push_back(id);
    }
    const auto& prompt = station.model->asked[1].prompt;
    ASSERT_GT(prompt.size(), sampled.size());
    EXPECT_TRUE(std::equal(sampled.begin(), sampled.end(), prompt.begin()));
  }
}

TEST(Requests, StreamsTellHowFarThePromptIsRead) {
  ServiceOptions options;
  options.progress_seconds = 0;
  Station station(std::move(options));
  station.model->read = {100, 600, 1000};
  for (const char* path : {"/v1/chat/completions", "/v1/messages"}) {
    const auto exchange = station.ask(
        "POST", path, R"({"messages": [{"role": "user", "content": "x"}], "max_tokens": 50, "stream": true})");
    EXPECT_NE(exchange->stream.find("\n\n: reading the prompt, 600 of 1000 tokens"), std::string::npos)
        << exchange->stream;
    EXPECT_NE(exchange->stream.find(" tokens/s, about "), std::string::npos) << exchange->stream;
  }
  Station patient;  // nothing for what takes less than a second
  patient.model->read = {100, 1000};
  EXPECT_EQ(
      patient
          .ask("POST", "/v1/chat/completions", R"({"messages": [{"role": "user", "content": "x"}], "stream": true})")
          ->stream.find("reading"),
      std::string::npos);
}

}  // namespace
}  // namespace hadal::serve
