// Ten thousand streams that say nothing, and one that does.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <mutex>

#include "serve/http.h"
#include "serve/wire.h"

namespace hadal::serve {
namespace {

TEST(HttpFull, TenThousandIdleStreams) {
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < 10100) GTEST_SKIP() << "only " << limit.rlim_max << " descriptors are allowed here";
  std::mutex mutex;
  std::vector<std::shared_ptr<Exchange>> kept;
  auto server = HttpServer::start(
      {},
      [&](std::shared_ptr<Exchange> e) {
        if (e->request().path == "/echo") return e->send({200, "text/plain", {}, "alive"});
        e->start({200, "text/event-stream", {}, "opened"}, ": beat\n\n", 5);
        const std::lock_guard lock(mutex);
        kept.push_back(std::move(e));
      },
      [](std::string_view, int status, const std::string&) { return Response{status, "text/plain", {}, ""}; });
  ASSERT_TRUE(server);
  const int port = (*server)->port();
  const pid_t child = fork();  // the clients have descriptors of their own
  if (child == 0) {
    std::vector<Wire> wires;
    for (int i = 0; i < 10000; ++i) {
      wires.emplace_back(port);
      if (!wires.back().connected() || !wires.back().send(get("/open"))) _exit(1);
    }
    for (Wire& w : wires)
      if (w.read("opened").empty()) _exit(2);
    Wire one(port);
    one.send(get("/echo"));
    _exit(read_answer(one).ends_with("alive") ? 0 : 3);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(kept.size(), 10000u);
    kept.clear();
  }
}

}  // namespace
}  // namespace hadal::serve
