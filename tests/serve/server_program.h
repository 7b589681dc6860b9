// `hadal serve` with the embedded model as a child process, on a port of its own.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "serve/wire.h"
#include "support/tiny_checkpoint.h"

namespace hadal::serve {

struct Program {
  pid_t pid = -1;
  int port = 0;
  test::TemporaryFolder folder;

  explicit Program(std::vector<std::string> more = {}) {
    const std::string ready = folder.file("ready"), log = folder.file("log");
    std::vector<std::string> words{HADAL_PROGRAM, "serve", "--port", "0", "--threads", "1", "--ready-file", ready};
    words.insert(words.end(), more.begin(), more.end());
    pid = fork();
    if (pid == 0) {
      if (!freopen(log.c_str(), "w", stderr)) _exit(9);
      std::vector<char*> argv;
      for (std::string& w : words) argv.push_back(w.data());
      argv.push_back(nullptr);
      execv(argv[0], argv.data());
      _exit(9);
    }
    for (int i = 0; i < 1200 && !std::filesystem::exists(ready); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    std::string url;
    std::ifstream(ready) >> url;
    if (url.rfind(':') != std::string::npos) port = std::stoi(url.substr(url.rfind(':') + 1));
    EXPECT_GT(port, 0) << url;
  }
  int stop(int signal = SIGTERM) {
    kill(pid, signal);
    int status = 0;
    waitpid(std::exchange(pid, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  ~Program() {
    if (pid > 0) stop(SIGKILL);
  }
  std::string ask(std::string_view path, std::string_view body, std::string_view headers = "") {
    Wire wire(port);
    wire.send(post(path, body, headers));
    return read_answer(wire);
  }
};

}  // namespace hadal::serve
