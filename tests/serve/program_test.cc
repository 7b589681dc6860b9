// hadal serve with the embedded model, as a user starts it.
#include "cli/program.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "serve/server_program.h"

namespace hadal::serve {
namespace {

constexpr std::string_view kHello =
    R"({"messages": [{"role": "user", "content": "Hello."}], "thinking": {"type": "disabled"}})";
// Text without an end: nano is never told to stop.
constexpr std::string_view kLong =
    R"({"prompt": "The", "max_tokens": 100000, "temperature": 1, "seed": 1, "min_p": 0, "stream": true})";

TEST(Serve, AnswersAndStopsOnSigterm) {
  Program program;
  const std::string answer = program.ask("/v1/chat/completions", kHello);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK")) << answer;
  EXPECT_NE(answer.find("\"finish_reason\":\"stop\""), std::string::npos) << answer;
  EXPECT_EQ(program.stop(), 0);
  EXPECT_FALSE(std::filesystem::exists(program.folder.file("ready")));
}

TEST(Serve, AStreamIsTheWholeAnswerInPieces) {
  Program program;
  const std::string whole = program.ask("/v1/chat/completions", kHello);
  std::string body(kHello);
  body.insert(1, "\"stream\": true, ");
  Wire wire(program.port);
  wire.send(post("/v1/chat/completions", body));
  const std::string stream = wire.read("data: [DONE]\n\n\r\n0\r\n\r\n");
  std::string text;
  std::istringstream lines(stream);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("data: {"))
      text += nlohmann::json::parse(line.substr(6))["choices"][0]["delta"].value("content", "");
  EXPECT_FALSE(text.empty());
  EXPECT_NE(whole.find("\"content\":\"" + text + "\""), std::string::npos) << whole << text;
}

TEST(Serve, LeavingEndsTheJobAndStoppingEndsTheRest) {
  Program program;
  {
    Wire leaves(program.port);
    leaves.send(post("/v1/completions", kLong));
    EXPECT_NE(leaves.read("data: {"), "");
  }
  EXPECT_TRUE(program.ask("/v1/chat/completions", kHello).starts_with("HTTP/1.1 200 OK"));
  Wire stays(program.port);
  stays.send(post("/v1/completions", kLong));
  stays.read("data: {");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(program.stop(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));
  const std::string rest = stays.read();
  EXPECT_NE(rest.find("the server stopped this answer"), std::string::npos)
      << rest.substr(rest.size() > 500 ? rest.size() - 500 : 0);
}

TEST(Serve, ADetachedRequestOutlivesItsConnection) {
  Program program;
  const std::string_view ask = R"({"prompt": "The", "max_tokens": 400, "stream": true})";
  {
    Wire wire(program.port);
    wire.send(post("/v1/completions", ask, "X-Hadal-Detach: true\r\nIdempotency-Key: mine\r\n"));
    wire.read("data: {");
  }
  Wire again(program.port);
  again.send(get("/v1/jobs/mine"));
  const std::string stream = again.read("[DONE]");
  EXPECT_NE(stream.find("\"finish_reason\":\"length\""), std::string::npos);
  const std::string joined =
      program.ask("/v1/completions", R"({"prompt": "The", "max_tokens": 400})", "Idempotency-Key: mine\r\n");
  EXPECT_NE(joined.find("\"completion_tokens\":400"), std::string::npos) << joined;
}

TEST(Serve, LargeAndBrokenRequestsHarmNobody) {
  Program program({"--max-body", "1M"});
  EXPECT_TRUE(program.ask("/v1/messages", std::string(2 << 20, 'x')).starts_with("HTTP/1.1 413"));
  const std::string refused = program.ask("/v1/messages", "{\"messages\": [\xff]}");
  EXPECT_NE(refused.find("{\"type\":\"error\""), std::string::npos) << refused;
  EXPECT_TRUE(program.ask("/v1/chat/completions", kHello).starts_with("HTTP/1.1 200 OK"));
}

TEST(Serve, RefusesToOpenTheDoorWithoutAKey) {
  Ran ran = run_program("$H serve --port 0 --host 0.0.0.0");
  EXPECT_EQ(ran.status, 2);
  EXPECT_NE(ran.err.find("give --api-key-file"), std::string::npos) << ran.err;
  ran = run_program("$H serve --port 0 --host localhost");
  EXPECT_EQ(ran.status, 2);
  const test::TemporaryFolder folder;
  const std::string keys = folder.write("keys", "0123456789abcdef0123\n");
  chmod(keys.c_str(), 0644);
  ran = run_program("$H serve --port 0 --api-key-file " + keys);
  EXPECT_EQ(ran.status, 2);
  EXPECT_NE(ran.err.find("chmod 600"), std::string::npos) << ran.err;
  chmod(keys.c_str(), 0600);
  Program program({"--api-key-file", keys});
  EXPECT_TRUE(program.ask("/v1/chat/completions", kHello).starts_with("HTTP/1.1 401"));
  EXPECT_TRUE(program.ask("/v1/chat/completions", kHello, "Authorization: Bearer 0123456789abcdef0123\r\n")
                  .starts_with("HTTP/1.1 200"));
}

TEST(Serve, RemembersTurnsAcrossARestart) {
  const test::TemporaryFolder data;
  const std::string first = R"({"role": "user", "content": "Hello."})";
  std::string trace[2];
  std::string content;
  for (int run = 0; run < 2; ++run) {
    Program program({"--data", data.path(), "--trace", data.file("trace" + std::to_string(run))});
    std::string body = R"({"messages": [)" + first;
    if (run == 1)
      body += R"(, {"role": "assistant", "content": )" + nlohmann::json(content).dump() +
              R"(}, {"role": "user", "content": "Hello."})";
    const std::string answer = program.ask("/v1/chat/completions", body + "], \"max_tokens\": 300}");
    ASSERT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
    content = nlohmann::json::parse(answer.substr(answer.find("\r\n\r\n") + 4))["choices"][0]["message"]["content"];
    EXPECT_EQ(program.stop(), 0);
    std::ostringstream text;
    text << std::ifstream(data.file("trace" + std::to_string(run))).rdbuf();
    trace[run] = text.str();
  }
  EXPECT_NE(trace[1].find("\"turns_as_sampled\": 1, \"turns_rendered\": 0"), std::string::npos) << trace[1];
}

std::string contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(Serve, GivesAnEndedAnswerAgainAfterARestart) {
  const test::TemporaryFolder data;
  const std::string body =
      R"({"prompt": "The", "max_tokens": 30, "temperature": 1, "seed": 3, "min_p": 0, "logprobs": 2})";
  std::string answers[2];
  for (std::string& answer : answers) {
    Program program({"--data", data.path()});
    answer = program.ask("/v1/completions", body, "Idempotency-Key: mine\r\n");
    ASSERT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
    const std::string log = contents(program.folder.file("log"));
    EXPECT_NE(log.find("session"), std::string::npos) << log;
    EXPECT_NE(log.find("no answer was interrupted"), std::string::npos) << log;
    const std::string metrics = [&] {
      Wire wire(program.port);
      wire.send(get("/metrics"));
      return read_answer(wire);
    }();
    const std::size_t generated = metrics.find("\nhadal_generated_tokens_total ");
    ASSERT_NE(generated, std::string::npos) << metrics;
    EXPECT_EQ(metrics[generated + 30], &answer == &answers[0] ? '3' : '0') << metrics;
    EXPECT_EQ(program.stop(), 0);
  }
  const auto choices = [](const std::string& answer) {
    return nlohmann::json::parse(answer.substr(answer.find("\r\n\r\n") + 4))["choices"];
  };
  EXPECT_EQ(choices(answers[0]), choices(answers[1]));
  EXPECT_FALSE(choices(answers[0])[0]["logprobs"]["top_logprobs"].empty());
}

TEST(Serve, SaysWhatItResumes) {
  const test::TemporaryFolder data;
  {
    Program program({"--data", data.path()});
    Wire detached(program.port), other(program.port);
    std::string endless(kLong);
    detached.send(post("/v1/completions", endless, "X-Hadal-Detach: true\r\nIdempotency-Key: a\r\n"));
    detached.read("data: {");
    other.send(
        post("/v1/completions", endless.replace(endless.find("\"The\""), 5, "\"One\""), "Idempotency-Key: b\r\n"));
    other.read("data: {");
    EXPECT_EQ(program.stop(), 0);
  }
  Program program({"--data", data.path()});
  const std::string log = contents(program.folder.file("log"));
  EXPECT_NE(log.find("2 sessions in " + data.path() + "; interrupted answers: 1 go on, 1 wait to be asked for again"),
            std::string::npos)
      << log;
}

TEST(Serve, ExplainsWhyAPromptIsNotFound) {
  const test::TemporaryFolder data;
  const auto body = [](const char* word) {
    return fmt::format(R"({{"messages": [{{"role": "system", "content": "You are calm."}}, {{"role": "user",
      "content": "Hello {}."}}], "max_tokens": 20, "thinking": {{"type": "disabled"}}}})",
                       word);
  };
  Program program({"--data", data.path(), "--trace", data.file("trace")});
  program.ask("/v1/chat/completions", body("there"));
  program.ask("/v1/chat/completions", body("again"));
  const std::string trace = contents(data.file("trace"));
  EXPECT_NE(trace.find(R"("event": "cache")"), std::string::npos) << trace;
  EXPECT_NE(trace.find("\"place\": \"message 1 (user)\""), std::string::npos) << trace;
  EXPECT_NE(trace.find("\"asked\": \"again."), std::string::npos) << trace;
  // The same from the folder, while the server runs.
  const std::string file = data.write("body", body("everybody"));
  const Ran ran = run_program("$H session explain-miss --data '" + data.path() + "' '" + file + "'");
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_NE(ran.out.find("they part in message 1 (user), "), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("request: \"everybody."), std::string::npos) << ran.out;
  const Ran nothing = run_program("$H session explain-miss --data '" + data.path() + "' /nonexistent/body");
  EXPECT_NE(nothing.status, 0);
}

TEST(Serve, RefusesCacheSettingsThatMeanNothing) {
  const Ran ran = run_program("$H serve --port 0 --cache-windows sometimes");
  EXPECT_EQ(ran.status, 2);
  EXPECT_NE(ran.err.find("--cache-windows sometimes: is none of auto, full, none and a number"), std::string::npos)
      << ran.err;
}

}  // namespace
}  // namespace hadal::serve
