#include "sandbox/layers/command.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "sandbox/fd.h"

extern char** environ;

namespace hadal::sandbox {

Status run_program(std::vector<std::string> words, const std::string& package,
                   const std::vector<std::string>& environment) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(ErrorCode::kIo, "no pipe: {}", std::strerror(errno));
  const Fd in(ends[0]);
  Fd out(ends[1]);
  std::vector<char*> argv, env;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  std::vector<std::string> added = environment;
  for (char** e = environ; *e != nullptr; ++e) env.push_back(*e);
  for (std::string& e : added) env.push_back(e.data());
  env.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, out.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, out.get(), 2);
  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), env.data());
  ::posix_spawn_file_actions_destroy(&actions);
  out.reset();
  if (failed == ENOENT)
    return fail(ErrorCode::kUnsupported, "{} is not installed; apt-get install {}", words[0].c_str(), package);
  if (failed != 0) return fail(ErrorCode::kIo, "cannot run {}: {}", words[0].c_str(), std::strerror(failed));
  std::string said;
  char buffer[4096];
  for (ssize_t n; (n = ::read(in.get(), buffer, sizeof buffer)) > 0;)
    if (said.size() < sizeof buffer) said.append(buffer, static_cast<std::size_t>(n));
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  while (!said.empty() && said.back() == '\n') said.pop_back();
  return fail(ErrorCode::kIo, "{} failed: {:.500}", words[0].c_str(), said.empty() ? "it said nothing" : said);
}

}  // namespace hadal::sandbox
