// /v1/sessions against the shipped model: what is shown is what the log holds, and a session goes on as it was.
#include "serve/sessions.h"

#include <algorithm>
#include <fstream>
#include <thread>

#include "serve/live.h"

namespace hadal::serve {
namespace {

using Json = nlohmann::ordered_json;

Json user(const std::string& text) { return {{"role", "user"}, {"content", text}}; }

Json ask_for(const std::string& text, std::int64_t most = 40) {
  return {{"messages", {user(text)}}, {"effort", "none"}, {"temperature", 0}, {"max_tokens", most}};
}

std::string made(Live& live, const Json& body = Json::object()) {
  return live.json("POST", "/v1/sessions", body, 201)["id"];
}

TEST(Sessions, AConversationIsKeptAndShown) {
  const test::TemporaryFolder data;
  std::string id;
  Json shown;
  {
    Live live(data.path());
    id = made(live, {{"system", "You repeat."}});
    const std::string path = "/v1/sessions/" + id;
    const Json first = live.json("POST", path + "/generate", ask_for("Repeat: zebra 104"));
    EXPECT_EQ(first["session"], id);
    EXPECT_EQ(first["message"]["role"], "assistant");
    const Json second = live.json("POST", path + "/generate", ask_for("Repeat: yak 7"));
    // All but the last token of the first turn, which was never fed, and the new question.
    EXPECT_GE(second["usage"]["cached_tokens"], first["message"]["to"].get<int>() - 1);
    shown = live.json("GET", path + "/messages");
    ASSERT_EQ(shown["messages"].size(), 5u);
    EXPECT_EQ(shown["messages"][0]["content"], "You repeat.");
    EXPECT_EQ(shown["messages"][1]["content"], "Repeat: zebra 104");
    EXPECT_EQ(shown["messages"][2], first["message"]);
    EXPECT_EQ(shown["messages"][4], second["message"]);
    EXPECT_EQ(shown["effort"], "none");
    EXPECT_EQ(shown["length"], second["message"]["to"]);
    // The turns tile the branch.
    for (std::size_t i = 1; i < shown["messages"].size(); ++i)
      EXPECT_EQ(shown["messages"][i]["from"], shown["messages"][i - 1]["to"]) << i;
    const Json list = live.json("GET", "/v1/sessions");
    ASSERT_EQ(list["sessions"].size(), 1u);
    EXPECT_EQ(list["sessions"][0]["title"], "Repeat: zebra 104");
    EXPECT_EQ(list["sessions"][0]["title_set"], false);
  }
  Live live(data.path());
  EXPECT_EQ(live.json("GET", "/v1/sessions/" + id + "/messages"), shown);
  EXPECT_EQ(live.json("PATCH", "/v1/sessions/" + id, {{"title", "Animals"}})["title"], "Animals");
  EXPECT_EQ(live.json("GET", "/v1/sessions")["sessions"][0]["title"], "Animals");
  live.json("DELETE", "/v1/sessions/" + id);
  live.json("GET", "/v1/sessions/" + id, nullptr, 404);
}

TEST(Sessions, AStreamSaysWhatTheWholeAnswerSays) {
  const test::TemporaryFolder data;
  Live live(data.path());
  const std::string id = made(live);
  const auto events = live.events("/v1/sessions/" + id + "/generate", ask_for("Repeat: zebra 104"));
  ASSERT_GE(events.size(), 4u);
  EXPECT_EQ(events.front().name, "start");
  EXPECT_EQ(events.front().data["session"], id);
  std::string content;
  bool read = false, metered = false;
  for (const Event& e : events) {
    if (e.name == "content") content += e.data["delta"];
    if (e.name == "prefill" && e.data["done"] == e.data["total"]) read = true;
    if (e.name == "meter") metered = true;
  }
  EXPECT_TRUE(read);
  EXPECT_TRUE(metered);
  const Json& done = events.back().data;
  EXPECT_EQ(events.back().name, "done");
  EXPECT_EQ(done["message"]["content"], content);
  EXPECT_EQ(done["meter"]["tokens"], done["message"]["to"]);
  const Json shown = live.json("GET", "/v1/sessions/" + id + "/messages");
  EXPECT_EQ(shown["messages"].back(), done["message"]);
  // The same question asked anew, whole.
  const std::string other = made(live);
  const Json whole = live.json("POST", "/v1/sessions/" + other + "/generate", ask_for("Repeat: zebra 104"));
  EXPECT_EQ(whole["message"], done["message"]);
}

TEST(Sessions, DroppedReasoningIsShownFromItsBranch) {
  const test::TemporaryFolder data;
  Live live(data.path());
  const std::string path = "/v1/sessions/" + made(live);
  Json ask = ask_for("Repeat: zebra 104", 200);
  ask["effort"] = "high";
  ask["thinking_budget"] = 20;
  const Json first = live.json("POST", path + "/generate", ask);
  ASSERT_TRUE(first["message"].contains("reasoning")) << first;
  EXPECT_EQ(first["message"]["reasoning_in_context"], true);
  ask["messages"] = Json::array({user("Repeat: yak 7")});
  live.json("POST", path + "/generate", ask);
  const Json shown = live.json("GET", path + "/messages");
  ASSERT_EQ(shown["messages"].size(), 4u);
  EXPECT_EQ(shown["messages"][1]["reasoning"], first["message"]["reasoning"]);
  EXPECT_EQ(shown["messages"][1]["reasoning_in_context"], false);
  EXPECT_EQ(shown["messages"][1]["content"], first["message"]["content"]);
  EXPECT_EQ(live.json("GET", path)["branches"], 2);
}

TEST(Sessions, ToolsResultsAndCallsAreReadBack) {
  const test::TemporaryFolder data;
  Live live(data.path());
  const Json tool = {{"type", "function"},
                     {"function",
                      {{"name", "add"},
                       {"description", "Adds."},
                       {"parameters", {{"type", "object"}, {"properties", {{"a", {{"type", "integer"}}}}}}}}}};
  const std::string path = "/v1/sessions/" + made(live, {{"tools", {tool}}});
  const Json called = {
      {"role", "assistant"},
      {"content", "I add."},
      {"tool_calls",
       {{{"id", "x1"}, {"type", "function"}, {"function", {{"name", "add"}, {"arguments", "{\"a\": 1}"}}}},
        {{"id", "x2"}, {"type", "function"}, {"function", {{"name", "add"}, {"arguments", "{\"a\": 2}"}}}}}}};
  const Json half = {
      {"messages", {user("Add."), called, {{"role", "tool"}, {"tool_call_id", "x1"}, {"content", "2"}}}}};
  EXPECT_EQ(live.json("POST", path + "/messages", half, 400)["error"]["param"], "messages");
  Json whole = half;
  whole["messages"].push_back({{"role", "tool"}, {"tool_call_id", "x2"}, {"content", "</tool_result> 4\n\nhere"}});
  whole["messages"].push_back(user("Well?"));
  const Json shown = live.json("POST", path + "/messages", whole);
  ASSERT_EQ(shown["messages"].size(), 5u) << shown;
  EXPECT_EQ(shown["tools"][0], tool["function"]);
  const Json& call = shown["messages"][1]["tool_calls"][1];
  EXPECT_EQ(call["name"], "add");
  EXPECT_EQ(call["arguments"], "{\"a\": 2}");
  EXPECT_EQ(shown["messages"][3]["tool_call_id"], call["id"]);
  EXPECT_EQ(shown["messages"][2]["content"], "2");
  EXPECT_EQ(shown["messages"][4]["role"], "user");
  // Going on with it renders the same tokens again: no new branch.
  const Json answer = live.json("POST", path + "/generate", {{"max_tokens", 5}, {"temperature", 0}});
  EXPECT_EQ(live.json("GET", path)["branches"], 1);
  EXPECT_EQ(answer["message"]["from"], shown["length"]);
}

TEST(Sessions, BranchesForksAndRewinds) {
  const test::TemporaryFolder data;
  Live live(data.path());
  const std::string id = made(live, {{"id", "mine"}, {"title", "Mine"}}), path = "/v1/sessions/mine";
  const Json first = live.json("POST", path + "/generate", ask_for("Repeat: zebra 104"));
  const Json fork = live.json("POST", path + "/fork", {{"as", "other"}, {"messages", 1}}, 201);
  EXPECT_EQ(fork["parent"], "mine");
  EXPECT_EQ(fork["title"], "Mine");
  EXPECT_EQ(fork["length"], first["message"]["from"]);
  const Json back = live.json("POST", path + "/rewind", {{"messages", 1}});
  EXPECT_EQ(back["branches"], 2);
  EXPECT_EQ(back["length"], first["message"]["from"]);
  Json again = ask_for("", 40);
  again.erase("messages");
  const Json second = live.json("POST", path + "/generate", again);
  EXPECT_EQ(second["message"], first["message"]);  // greedy: the same answer
  const Json branches = live.json("GET", path + "/branches");
  ASSERT_EQ(branches["branches"].size(), 2u);
  EXPECT_EQ(branches["branches"][1]["live"], true);
  EXPECT_EQ(live.json("GET", path + "/diff?a=0&b=1")["common"], second["message"]["to"]);
  EXPECT_EQ(live.json("GET", path + "/messages?branch=0")["messages"].back(), first["message"]);
  live.json("GET", path + "/messages?branch=9", nullptr, 400);
  live.json("POST", path + "/rewind", {{"messages", 99}}, 400);
  live.json("POST", path + "/rewind", {{"messages", 1}, {"tokens", 1}}, 400);
  live.json("POST", "/v1/sessions", {{"id", "mine"}}, 400);
  live.json("POST", "/v1/sessions", {{"id", "../x"}}, 400);
}

TEST(Sessions, ExportsAreImportedElsewhere) {
  const test::TemporaryFolder data, elsewhere;
  Live live(data.path());
  const std::string id = made(live);
  live.json("POST", "/v1/sessions/" + id + "/generate", ask_for("Repeat: zebra 104"));
  const Json shown = live.json("GET", "/v1/sessions/" + id + "/messages");
  const auto file = live.ask("GET", "/v1/sessions/" + id + "/export");
  EXPECT_EQ(file->answer.content_type, "application/octet-stream");
  Live other(elsewhere.path());
  auto in = other.ask("POST", "/v1/sessions/import", file->answer.body);
  EXPECT_EQ(in->answer.status, 201) << in->answer.body;
  EXPECT_EQ(other.json("GET", "/v1/sessions/" + id + "/messages"), shown);
  EXPECT_EQ(other.ask("POST", "/v1/sessions/import", file->answer.body)->answer.status, 400);
  EXPECT_EQ(other.ask("POST", "/v1/sessions/import?as=twice", file->answer.body)->answer.status, 201);
  EXPECT_EQ(other.ask("POST", "/v1/sessions/import", file->answer.body.substr(0, 90))->answer.status, 400);
  const auto nonsense = other.ask("POST", "/v1/sessions/import", "nonsense");
  EXPECT_EQ(nonsense->answer.status, 400);
  EXPECT_EQ(nonsense->answer.body.find(elsewhere.path()), std::string::npos) << nonsense->answer.body;
  EXPECT_EQ(other.json("GET", "/v1/sessions")["sessions"].size(), 2u);
}

TEST(Sessions, ACutAnswerGoesOn) {
  const test::TemporaryFolder data;
  Live live(data.path());
  const std::string path = "/v1/sessions/" + made(live), other = "/v1/sessions/" + made(live);
  const Json whole = live.json("POST", other + "/generate", ask_for("Repeat: zebra 104", 20));
  const Json cut = live.json("POST", path + "/generate", ask_for("Repeat: zebra 104", 3));
  EXPECT_EQ(cut["finish_reason"], "length");
  EXPECT_EQ(live.json("GET", path + "/messages")["complete"], false);
  const auto events = live.events(path + "/generate", {{"continue", true}, {"temperature", 0}, {"max_tokens", 17}});
  const Json& done = events.back().data;
  EXPECT_EQ(done["message"], whole["message"]);
  std::string rest;
  for (const Event& e : events)
    if (e.name == "content") rest += e.data["delta"];
  EXPECT_EQ(cut["message"]["content"].get<std::string>() + rest, whole["message"]["content"]);
  EXPECT_EQ(live.json("GET", path)["branches"], 1);
  if (whole["message"]["finished"] == true) live.json("POST", path + "/generate", {{"continue", true}}, 400);
}

TEST(Sessions, AnAnswerCutInItsReasoningGoesOn) {
  const test::TemporaryFolder data;
  Live live(data.path());
  const std::string path = "/v1/sessions/" + made(live), other = "/v1/sessions/" + made(live);
  Json ask = ask_for("Repeat: zebra 104", 60);
  ask["effort"] = "high";
  const Json whole = live.json("POST", other + "/generate", ask);
  ASSERT_TRUE(whole["message"].contains("reasoning"));
  ask["max_tokens"] = 3;
  live.json("POST", path + "/generate", ask);
  const Json done = live.json("POST", path + "/generate", {{"continue", true}, {"temperature", 0}, {"max_tokens", 57}});
  EXPECT_EQ(done["message"], whole["message"]);
}

TEST(Sessions, AKeyGivesTheAnswerAgain) {
  const test::TemporaryFolder data;
  const std::vector<Header> key = {{"Idempotency-Key", "one"}};
  Json first;
  std::string path;
  {
    Live live(data.path());
    path = "/v1/sessions/" + made(live);
    first = Json::parse(live.ask("POST", path + "/generate", ask_for("Repeat: zebra 104").dump(), key)->answer.body);
    const Json again =
        Json::parse(live.ask("POST", path + "/generate", ask_for("Repeat: zebra 104").dump(), key)->answer.body);
    EXPECT_EQ(again["message"], first["message"]);
  }
  Live live(data.path());
  const Json again =
      Json::parse(live.ask("POST", path + "/generate", ask_for("Repeat: zebra 104").dump(), key)->answer.body);
  EXPECT_EQ(again["message"], first["message"]);
  EXPECT_EQ(live.service->scheduler().stats().steps, 0);
  EXPECT_EQ(live.json("GET", path + "/messages")["messages"].size(), 2u);
}

TEST(Sessions, WhatIsBeingWrittenIsNotChanged) {
  const test::TemporaryFolder data;
  Live live(data.path());
  // Text without an end, as another API keeps it.
  auto exchange =
      live.begin("POST", "/v1/completions",
                 R"({"prompt": "The", "max_tokens": 100000, "temperature": 1, "seed": 1, "min_p": 0, "stream": true})");
  exchange->run([&] { return exchange->stream.find("data: {") != std::string::npos; });
  const auto& headers = exchange->answer.headers;
  const auto named = std::ranges::find(headers, std::string("X-Hadal-Session"), &Header::name);
  ASSERT_NE(named, headers.end());
  const std::string path = "/v1/sessions/" + named->value;
  EXPECT_EQ(live.json("GET", path)["busy"], true);
  live.json("DELETE", path, nullptr, 429);
  EXPECT_EQ(live.json("POST", path + "/rewind", {{"tokens", 1}}, 429)["error"]["code"], "busy");
  exchange->leave();
  for (int i = 0; i < 1000 && live.json("GET", path)["busy"] == true; ++i) {
    exchange->run_ready();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(live.json("GET", path)["busy"], false);
  const Json shown = live.json("GET", path + "/messages");
  ASSERT_EQ(shown["messages"].size(), 1u);
  EXPECT_EQ(shown["messages"][0]["role"], "text");
  live.json("POST", path + "/generate", ask_for("Repeat: zebra 104"), 400);
  EXPECT_EQ(live.json("POST", path + "/rewind", {{"tokens", 1}})["length"], 1);
}

TEST(Sessions, TheMeterAddsUp) {
  const test::TemporaryFolder data;
  Live live(data.path());
  const std::string path = "/v1/sessions/" + made(live);
  EXPECT_EQ(live.json("GET", path + "/meter")["tokens"], 0);
  const Json answer = live.json("POST", path + "/generate", ask_for("Repeat: zebra 104"));
  const Json meter = live.json("GET", path + "/meter");
  const int tokens = answer["message"]["to"];
  EXPECT_EQ(meter["tokens"], tokens);
  EXPECT_EQ(meter["cached"], tokens - 1);  // the last token of an answer is not fed
  std::int64_t sum = 0;
  for (const auto& [name, bytes] : meter["cache_bytes"].items()) {
    if (name == "compressed")
      for (const auto& [ratio, n] : bytes.items()) sum += n.get<std::int64_t>();
    else if (name != "total")
      sum += bytes.get<std::int64_t>();
  }
  EXPECT_EQ(meter["cache_bytes"]["total"], sum);
  EXPECT_GT(meter["budget_bytes"], meter["cache_bytes"]["total"]);
  // Growth per token is the layout's, at a whole number of pages.
  const auto& config = nano_engine().checkpoint->config();
  const CacheLayout layout = CacheLayout::make(config, nano_engine().model->format());
  const CacheMeter counter(config, nano_engine().model->format());
  std::int64_t rows = 0;
  for (std::int64_t i = 0; i < layout.main_layers; ++i) {
    const auto& layer = layout.layers[static_cast<std::size_t>(i)];
    if (layer.ratio > 0 && layer.rows_per_page > 0) rows += 4096 / layer.ratio * layout.row_bytes;
    if (layer.keys_per_page > 0) rows += 4096 / layer.ratio * layout.key_bytes;
  }
  EXPECT_EQ(counter.of(8192).total() - counter.of(4096).total(), rows);
}

TEST(Sessions, InstructionsReadOnlyTheirOwnTokens) {
  const test::TemporaryFolder data;
  Live live(data.path());
  const std::string path = "/v1/sessions/" + made(live, {{"system", "You repeat."}});
  Json ask = ask_for("Repeat: zebra 104");
  ask["instructions"] = {"title", "query", "action", "authority", "domain"};
  const auto events = live.events(path + "/generate", ask);
  const Json& done = events.back().data;
  ASSERT_EQ(events.back().name, "done");
  std::map<std::string, Json> heard;
  for (const Event& e : events)
    if (e.name == "instruction") heard[e.data["task"]] = e.data;
  ASSERT_EQ(heard.size(), 5u);
  for (const auto& [task, one] : heard) {
    ASSERT_TRUE(one.contains("text")) << one;
    EXPECT_EQ(done["instructions"][task], one["text"]);
    const int read = one["usage"]["prompt_tokens"].get<int>() - one["usage"]["cached_tokens"].get<int>();
    // Behind an answer the end of sentence is read too: it was sampled and never fed.
    EXPECT_EQ(read, task == "title" ? 2 : 1) << task;
  }
  const SchedulerStats stats = live.service->scheduler().stats();
  const std::int64_t prompt = done["usage"]["prompt_tokens"];
  EXPECT_EQ(stats.prompt_tokens - stats.cached_tokens, prompt + 4 + 2);
  // They leave nothing behind but the title.
  const Json session = live.json("GET", path);
  EXPECT_EQ(session["length"], done["message"]["to"]);
  EXPECT_EQ(session["branches"], 1);
  EXPECT_EQ(live.json("GET", "/v1/sessions")["sessions"].size(), 1u);
  if (heard["title"]["usage"]["generated_tokens"] < kInstructionTokens && !heard["title"]["text"].empty()) {
    EXPECT_EQ(session["title_set"], true);
  }

  // Alone: the same words from the same state.
  const Json query = live.json("POST", path + "/instruct", {{"task", "query"}});
  EXPECT_EQ(query["text"], heard["query"]["text"]);
  const Json title = live.json("POST", path + "/instruct", {{"task", "title"}, {"save", false}});
  EXPECT_EQ(title["text"], heard["title"]["text"]);
  EXPECT_EQ(title["usage"]["prompt_tokens"].get<int>() - title["usage"]["cached_tokens"].get<int>(), 1)
      << "its prompt was read before";
  const Json url = live.json("POST", path + "/instruct", {{"task", "read_url"}, {"url", "https://example.org/"}});
  EXPECT_TRUE(url["text"].is_string());
  live.json("POST", path + "/instruct", {{"task", "read_url"}}, 400);
  live.json("POST", path + "/instruct", {{"task", "poem"}}, 400);
  ask["instructions"] = {"query", "query"};
  live.json("POST", path + "/generate", ask, 400);
}

TEST(Sessions, WithoutADataFolderEverythingIsRefusedByName) {
  Live live("");
  for (const char* path : {"/v1/sessions", "/v1/sessions/x", "/v1/sessions/x/messages"}) {
    const Json refused = live.json("GET", path, nullptr, 400);
    EXPECT_NE(refused["error"]["message"].get<std::string>().find("--data"), std::string::npos) << refused;
  }
}

TEST(Sessions, NonsenseIsRefused) {
  const test::TemporaryFolder data;
  Live live(data.path());
  const std::string path = "/v1/sessions/" + made(live);
  live.json("GET", "/v1/sessions/none", nullptr, 404);
  live.json("GET", "/v1/sessions/..%2f..", nullptr, 404);
  live.json("GET", path + "/nothing", nullptr, 404);
  live.json("PUT", path, Json::object(), 405);
  live.json("POST", path + "/meter", Json::object(), 405);
  live.json("POST", path + "/messages", Json::object(), 400);
  live.json("POST", path + "/generate", {{"continue", true}}, 400);
  live.json("POST", path + "/generate", Json::object(), 400);
  live.json("POST", path + "/instruct", {{"task", "title"}}, 400);
  live.json("GET", "/v1/sessions?limit=0", nullptr, 400);
  live.json("GET", "/v1/sessions?after=none", nullptr, 400);
  live.json("POST", "/v1/sessions", {{"colour", "red"}}, 400);
  EXPECT_EQ(live.json("GET", "/v1/sessions")["sessions"].size(), 1u);
}

}  // namespace
}  // namespace hadal::serve
