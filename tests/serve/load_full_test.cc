// A thousand requests of every kind from clients that leave, dawdle, stop sending and send nonsense. Run it on
// sanitizer builds too (./test.sh --full does): the server's exit status carries what they have to say.
#include <gtest/gtest.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "serve/server_program.h"

namespace hadal::serve {
namespace {

using Json = nlohmann::json;
constexpr int kClients = 8, kRequests = 125;  // a thousand together

Json tool() {
  return {{"type", "function"},
          {"function",
           {{"name", "run_shell"},
            {"description", "Run a command in the shell and return its output"},
            {"parameters", {{"type", "object"}, {"properties", {{"command", {{"type", "string"}}}}}}}}}};
}

// Path and body of a request to one of the APIs.
std::pair<std::string, std::string> any_request(std::mt19937& random) {
  const auto up_to = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  std::string text = "Can you please execute `ls " + std::to_string(up_to(50)) + "`?";
  for (int n = up_to(4) == 0 ? up_to(300) : up_to(10); n > 0; --n)
    text += " Box " + std::to_string(n) + " holds stones.";
  const bool stream = up_to(3) != 0;
  const int most = 1 + up_to(60), seed = up_to(1000);
  const Json user = Json::array({{{"role", "user"}, {"content", text}}});
  switch (up_to(5)) {
    case 0:
      return {
          "/v1/completions",
          Json{{"prompt", text}, {"max_tokens", most}, {"stream", stream}, {"temperature", 1}, {"seed", seed}}.dump()};
    case 1: {
      Json body{{"model", "nano"}, {"messages", user}, {"max_tokens", most}, {"stream", stream}};
      return {"/v1/messages", body.dump()};
    }
    case 2:
      return {"/v1/responses", Json{{"input", text}, {"max_output_tokens", most}, {"stream", stream}}.dump()};
    default: {
      Json body{{"messages", user}, {"max_tokens", most}, {"stream", stream}, {"seed", seed}, {"n", 1 + up_to(2)}};
      if (up_to(2)) body["tools"] = Json::array({tool()});
      if (up_to(2)) body["thinking"] = {{"type", "disabled"}};
      return {"/v1/chat/completions", body.dump()};
    }
  }
}

struct Seen {
  std::atomic<int> whole = 0, full = 0, left = 0, nonsense = 0, wrong = 0;
};

void one_client(int port, unsigned seed, Seen& seen) {
  std::mt19937 random(seed);
  for (int i = 0; i < kRequests; ++i) {
    const auto [path, body] = any_request(random);
    std::string bytes = post(path, body);
    Wire wire(port);
    if (!wire.connected()) {
      ++seen.wrong;
      continue;
    }
    switch (random() % 8) {
      case 0:  // leaves at some moment
        wire.send(bytes);
        wire.read("", 0.001 * static_cast<double>(random() % 60), random() % 4000 + 1);
        ++seen.left;
        break;
      case 1:  // stops sending, and so has left
        wire.send(bytes);
        wire.close_sending();
        wire.read("", 5);
        ++seen.left;
        break;
      case 2:  // leaves in the middle of its own request
        wire.send(std::string_view(bytes).substr(0, random() % bytes.size()));
        ++seen.left;
        break;
      case 3: {  // nonsense
        bytes = post(path, body.substr(0, random() % body.size()) + "\xff");
        wire.send(bytes);
        const std::string answer = wire.read("\r\n\r\n", 60);
        if (!answer.starts_with("HTTP/1.1 400 ")) ++seen.wrong;
        ++seen.nonsense;
        break;
      }
      case 4: {  // takes the answer slowly
        wire.send(bytes);
        std::string answer;
        for (int n = 0; n < 40 && !wire.closed(); ++n) {
          answer += wire.read("", 0.5, 16);
          std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
        if (!answer.starts_with("HTTP/1.1 200 ") && !answer.starts_with("HTTP/1.1 429 ")) ++seen.wrong;
        ++seen.left;
        break;
      }
      default: {
        wire.send(bytes);
        std::string answer = read_answer(wire);
        // A stream is read to its last chunk.
        if (answer.find("Transfer-Encoding: chunked") != std::string::npos) {
          answer += wire.read("\r\n0\r\n\r\n", 120);
          if (!answer.ends_with("\r\n0\r\n\r\n")) {
            ++seen.wrong;
            break;
          }
        }
        if (answer.starts_with("HTTP/1.1 200 "))
          ++seen.whole;
        else if (answer.starts_with("HTTP/1.1 429 "))
          ++seen.full;
        else
          ++seen.wrong;
      }
    }
  }
}

std::size_t open_files(pid_t pid) {
  std::size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd"))
    n += !entry.path().empty();
  return n;
}

TEST(Load, AThousandRequestsAndEveryKindOfLeaving) {
  test::TemporaryFolder data;
  Program program({"--data", data.path(), "--running", "6", "--waiting", "12"});
  const std::string fixed =
      R"({"messages": [{"role": "user", "content": "Can you please execute `ls harbour`?"}], "temperature": 0, "max_tokens": 80})";
  const auto content = [&] {
    const std::string answer = program.ask("/v1/chat/completions", fixed);
    return Json::parse(answer.substr(answer.find("\r\n\r\n") + 4), nullptr, false)["choices"][0]["message"].dump();
  };
  const std::string before = content();
  ASSERT_NE(before, "null");
  const std::size_t files = open_files(program.pid);

  Seen seen;
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> clients;
  for (unsigned c = 0; c < kClients; ++c) clients.emplace_back(one_client, program.port, c + 1, std::ref(seen));
  for (auto& c : clients) c.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("[ figures  ] %d requests in %.1f s: %d answered whole, %d told to come back, %d left, %d nonsense\n",
              kClients * kRequests, took.count(), seen.whole.load(), seen.full.load(), seen.left.load(),
              seen.nonsense.load());
  EXPECT_EQ(seen.wrong, 0);
  EXPECT_GT(seen.whole, kClients * kRequests / 10);

  EXPECT_EQ(content(), before) << "the same request has another answer now";
  // Connections and jobs of clients that left are gone.
  for (int i = 0; i < 100 && open_files(program.pid) > files + 2; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_LE(open_files(program.pid), files + 2);
  EXPECT_EQ(program.stop(), 0) << std::ifstream(program.folder.file("log")).rdbuf();
}

}  // namespace
}  // namespace hadal::serve
