#include "serve/http.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <mutex>
#include <thread>

#include "serve/wire.h"
#include "support/tiny_checkpoint.h"

namespace hadal::serve {
namespace {

bool eventually(const std::function<bool()>& holds, double seconds = 10) {
  for (int i = 0; i < static_cast<int>(seconds * 200); ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return holds();
}

// Answers by path: /echo, /stream (three pieces), /wait (nothing, kept), /drop (forgotten), /flood (8 MiB in pieces).
struct Site {
  std::unique_ptr<HttpServer> server;
  std::mutex mutex;
  std::vector<std::shared_ptr<Exchange>> kept;
  std::atomic<int> left{0}, drained{0};

  explicit Site(HttpOptions options = {}) {
    auto started = HttpServer::start(
        options, [this](std::shared_ptr<Exchange> e) { handle(std::move(e)); },
        [](std::string_view path, int status, const std::string& sentence) {
          return Response{status, "text/plain", {}, std::string(path) + ": " + sentence};
        });
    EXPECT_TRUE(started) << started.error().what;
    if (started) server = std::move(*started);
  }
  ~Site() {
    {
      const std::lock_guard lock(mutex);
      kept.clear();
    }
    server.reset();
  }
  void handle(std::shared_ptr<Exchange> e) {
    const Request& r = e->request();
    if (r.path == "/echo")
      return e->send({200, "text/plain", {{"X-Made", "a\r\nb"}}, r.method + " " + r.query + " " + r.body});
    if (r.path == "/stream") {
      e->start({200, "text/event-stream", {}, "one "}, "", 0);
      e->write("two ");
      e->write("three");
      return e->finish();
    }
    if (r.path == "/drop") return;
    e->on_closed([this] { ++left; });
    e->on_drained([this] { ++drained; });
    if (r.path == "/beat") e->start({200, "text/event-stream", {}, ""}, ": beat\n\n", 0.05);
    if (r.path == "/open") e->start({200, "text/event-stream", {}, "opened"}, "", 0);
    if (r.path == "/flood") {
      e->start({200, "text/event-stream", {}, ""}, "", 0);
      for (int i = 0; i < 128; ++i) e->write(std::string(65536, 'x'));
    }
    const std::lock_guard lock(mutex);
    kept.push_back(std::move(e));
  }
  int port() const { return server->port(); }
};

TEST(Http, AnswersAndKeepsTheConnection) {
  Site site;
  Wire wire(site.port());
  for (int i = 0; i < 3; ++i) {
    wire.send(post("/echo?a=b", "body " + std::to_string(i), "X-Request-Id: my-id\r\n"));
    const std::string answer = read_answer(wire);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
    EXPECT_NE(answer.find("X-Request-Id: my-id\r\n"), std::string::npos);
    EXPECT_NE(answer.find("X-Made: a  b\r\n"), std::string::npos);  // a line break cannot smuggle in a header
    EXPECT_TRUE(answer.ends_with("POST a=b body " + std::to_string(i))) << answer;
  }
  EXPECT_EQ(site.server->counters().accepted, 1);
}

TEST(Http, PipelinedRequestsAreAnsweredInOrder) {
  Site site;
  Wire wire(site.port());
  wire.send(post("/echo", "1") + get("/stream") + post("/echo", "2", "Connection: close\r\n"));
  const std::string all = wire.read();
  const auto one = all.find("POST  1"), two = all.find("three"), three = all.find("POST  2");
  EXPECT_TRUE(one < two && two < three && three != std::string::npos) << all;
}

TEST(Http, StreamsInChunksOrUntilTheEndForOldClients) {
  Site site;
  Wire wire(site.port());
  wire.send(get("/stream"));
  const std::string chunked = wire.read("0\r\n\r\n");
  EXPECT_NE(chunked.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  EXPECT_NE(chunked.find("4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0\r\n\r\n"), std::string::npos) << chunked;
  wire.send(post("/echo", "again"));  // the connection lives on
  EXPECT_TRUE(read_answer(wire).ends_with("again"));
  Wire old(site.port());
  old.send("GET /stream HTTP/1.0\r\n\r\n");
  const std::string plain = old.read();
  EXPECT_TRUE(plain.ends_with("\r\n\r\none two three")) << plain;
}

TEST(Http, HeadHasTheHeaderOnly) {
  Site site;
  Wire wire(site.port());
  wire.send("HEAD /echo HTTP/1.1\r\nHost: localhost\r\n\r\n" + post("/echo", "next"));
  const std::string both = wire.read("next");
  EXPECT_NE(both.find("Content-Length: 6\r\n\r\nHTTP/1.1 200"), std::string::npos) << both;
}

TEST(Http, ContinuesWhenAskedTo) {
  Site site;
  Wire wire(site.port());
  wire.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  EXPECT_EQ(wire.read("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  wire.send("abc");
  EXPECT_TRUE(read_answer(wire).ends_with("abc"));
}

TEST(Http, LimitsAreSaidInAnAnswer) {
  HttpOptions options;
  options.limits.body_bytes = 1000;
  options.limits.header_bytes = 2000;
  Site site(options);
  Wire large(site.port());
  large.send(post("/echo", std::string(5000, 'a')));
  const std::string answer = large.read();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 413 ")) << answer;
  EXPECT_NE(answer.find("/echo: the request's body is larger than 1000 bytes"), std::string::npos) << answer;
  Wire chunked(site.port());
  chunked.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + std::string(2000, 'a') +
               "\r\n");
  EXPECT_TRUE(chunked.read().starts_with("HTTP/1.1 413 "));
  Wire header(site.port());
  header.send("GET /echo HTTP/1.1\r\nX: " + std::string(5000, 'a'));
  EXPECT_TRUE(header.read().starts_with("HTTP/1.1 431 "));
  Wire nonsense(site.port());
  nonsense.send("\x16\x03\x01 this is TLS\r\n\r\n");
  EXPECT_TRUE(nonsense.read().starts_with("HTTP/1.1 400 "));
  Wire after(site.port());
  after.send(post("/echo", "fine"));
  EXPECT_TRUE(read_answer(after).ends_with("fine"));
}

TEST(Http, SlowSendersAreToldAndLeft) {
  HttpOptions options;
  options.limits.header_seconds = 0.2;
  options.limits.idle_seconds = 0.3;
  Site site(options);
  Wire slow(site.port());
  slow.send("GET /echo HTT");
  EXPECT_TRUE(slow.read().starts_with("HTTP/1.1 408 "));
  Wire body(site.port());
  body.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
  EXPECT_TRUE(body.read().starts_with("HTTP/1.1 408 "));
  Wire idle(site.port());
  EXPECT_EQ(idle.read(), "");
  EXPECT_TRUE(idle.closed());
}

TEST(Http, AClientThatTakesNothingIsLeft) {
  HttpOptions options;
  options.limits.write_seconds = 0.3;
  Site site(options);
  Wire wire(site.port());
  wire.send(get("/flood"));
  EXPECT_TRUE(eventually([&] { return site.left == 1; }));
}

TEST(Http, WhatIsUnsentCanBeAsked) {
  Site site;
  Wire wire(site.port());
  wire.send(get("/flood"));
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard lock(site.mutex);
    return !site.kept.empty() && site.kept[0]->unsent() > (1 << 20);
  }));
  std::size_t got = 0;
  while (got < 128 * 65536) {
    const std::string piece = wire.read("", 5, 1 << 20);
    if (piece.empty()) break;
    got += piece.size();
  }
  EXPECT_TRUE(eventually([&] { return site.kept[0]->unsent() == 0 && site.drained > 0; }));
}

TEST(Http, LeavingIsNoticedWhileNothingIsWritten) {
  Site site;
  {
    Wire wire(site.port());
    wire.send(get("/wait"));
    ASSERT_TRUE(eventually([&] {
      const std::lock_guard lock(site.mutex);
      return site.kept.size() == 1;
    }));
  }
  EXPECT_TRUE(eventually([&] { return site.left == 1; }));
  EXPECT_TRUE(site.kept[0]->closed());
  Wire half(site.port());
  half.send(get("/open"));
  half.read("opened");
  half.close_sending();
  EXPECT_TRUE(eventually([&] { return site.left == 2; }));
}

TEST(Http, HeartbeatsFillSilence) {
  Site site;
  Wire wire(site.port());
  wire.send(get("/beat"));
  const std::string text = wire.read(": beat\n\n\r\n8\r\n: beat");
  EXPECT_NE(text.find("8\r\n: beat\n\n\r\n8\r\n: beat"), std::string::npos) << text;
}

TEST(Http, AForgottenExchangeAnswers500) {
  Site site;
  Wire wire(site.port());
  wire.send(get("/drop"));
  EXPECT_TRUE(read_answer(wire).starts_with("HTTP/1.1 500 "));
}

TEST(Http, ListensOnAUnixSocketOfThisUserAlone) {
  const test::TemporaryFolder folder;
  HttpOptions options;
  options.port = -1;
  options.unix_path = folder.file("socket");
  {
    Site site(options);
    Wire wire(options.unix_path);
    wire.send(post("/echo", "x"));
    EXPECT_TRUE(read_answer(wire).ends_with("POST  x"));
    EXPECT_EQ(std::filesystem::status(options.unix_path).permissions(), std::filesystem::perms(0600));
    auto second = HttpServer::start(options, [](auto) {}, [](auto, auto, auto&) { return Response{}; });
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().what.find("another server is listening"), std::string::npos);
  }
  EXPECT_FALSE(std::filesystem::exists(options.unix_path));
  folder.write("socket", "a file");
  auto refused = HttpServer::start(options, [](auto) {}, [](auto, auto, auto&) { return Response{}; });
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().what.find("not a socket"), std::string::npos);
}

TEST(Http, ThousandsOfIdleStreamsDisturbNobody) {
  HttpOptions options;
  options.limits.connections = 1201;
  Site site(options);
  std::vector<Wire> wires;
  for (int i = 0; i < 1200; ++i) {
    wires.emplace_back(site.port());
    ASSERT_TRUE(wires.back().connected());
    wires.back().send(get("/open"));
  }
  Wire one(site.port());
  one.send(post("/echo", "alive"));
  EXPECT_TRUE(read_answer(one).ends_with("alive"));
  EXPECT_EQ(site.server->counters().connections, 1201);
  Wire more(site.port());
  more.send(get("/echo"));
  EXPECT_TRUE(more.read().starts_with("HTTP/1.1 503 "));
}

TEST(Http, DrainsGently) {
  Site site;
  Wire idle(site.port()), busy(site.port());
  busy.send(get("/open"));
  busy.read("opened");
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const std::lock_guard lock(site.mutex);
    site.kept[0]->write("last words");
    site.kept[0]->finish();
  });
  EXPECT_TRUE(site.server->drain(5));
  later.join();
  EXPECT_NE(busy.read().find("last words"), std::string::npos);
  EXPECT_FALSE(Wire(site.port()).connected());
}

}  // namespace
}  // namespace hadal::serve
