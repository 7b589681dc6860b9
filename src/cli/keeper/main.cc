// hadal-keeper: the small static program beside hadal that looks after one container. Started by the edge, never by
// hand: `hadal-keeper keep FILE` with a socket as descriptor 3; `hadal-keeper init` is process 1 of a container.
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string_view>

#include "sandbox/container/keeper.h"

int main(int argc, char** argv) {
  using namespace hadal::sandbox;
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "init" && ::getpid() == 1) run_init();
  if (what != "keep" || argc != 3) {
    std::fputs("hadal-keeper: started by 'hadal sandbox up' for each container; there is nothing to do by hand\n",
               stderr);
    return 2;
  }
  // The edge's descriptors are none of this process's business; it must also outlive the edge.
  ::syscall(SYS_close_range, 4U, ~0U, 0U);
  if (::fcntl(3, F_SETFD, FD_CLOEXEC) != 0) return 2;
  const pid_t pid = ::fork();
  if (pid != 0) _exit(pid < 0 ? 1 : 0);
  ::setsid();
  std::ostringstream text;
  text << std::ifstream(argv[2]).rdbuf();
  const auto config = parse_keeper_config(text.str());
  if (!config) {
    std::fprintf(stderr, "hadal-keeper: %s\n", config.error().what.c_str());
    return 2;
  }
  std::ofstream(config->folder + "/keeper.pid") << ::getpid() << "\n";
  return run_keeper(*config, 3);
}
