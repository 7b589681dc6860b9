// Shells that keep their state between commands: directory, variables, functions.
//
// A session is one operation, a shell that reads from a pipe. A command is given to it with `eval`, followed by a line
// that prints a mark nobody can guess on both streams; what comes before the marks is the command's output.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "sandbox/edge/edge.h"

namespace hadal::sandbox {

struct SessionRun {
  std::string command;
  double timeout_s = 120;
  std::int64_t output_bytes = 1 << 20;
};

class Sessions : public std::enable_shared_from_this<Sessions> {
 public:
  explicit Sessions(Edge& edge) : edge_(edge) {}

  // Starts `shell` (empty: /bin/sh) in a sandbox and names the session. kBusy at 32 of one sandbox.
  Result<std::string> open(const std::string& sandbox, const ExecRequest& shell);
  // Runs a command after those before it; `done` is called once. On time-out the session ends with everything in it.
  void run(const std::string& sandbox, const std::string& session, const SessionRun& run,
           std::function<void(Result<ExecResult>)> done);
  Status close(const std::string& sandbox, const std::string& session);
  void keep_time();  // from time to time: ends what took too long

 private:
  class Shell;
  Result<std::shared_ptr<Shell>> find(const std::string& sandbox, const std::string& session);

  Edge& edge_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Shell>> shells_;  // by "sandbox/session"
};

}  // namespace hadal::sandbox
