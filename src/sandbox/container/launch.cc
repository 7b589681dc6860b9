#include "sandbox/container/launch.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>

namespace hadal::sandbox {
namespace {

[[noreturn]] void give_up(int out, const char* step) {
  const std::string text = fmt::format("{}: {}", step, std::strerror(errno));
  (void)!::write(out, text.data(), text.size());
  ::_exit(127);
}

bool write_file(const std::string& path, const std::string& text) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// A user namespace in which id 0 is `first_id`: the kernel wants one to say how a mount shifts ids.
Fd id_namespace(std::int64_t first_id) {
  int go[2];
  if (::pipe2(go, O_CLOEXEC) != 0) return {};
  const pid_t pid =
      static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (pid == 0) {
    char c;
    ::close(go[1]);
    (void)!::read(go[0], &c, 1);
    ::_exit(0);
  }
  ::close(go[0]);
  Fd ns;
  if (pid > 0) {
    const std::string proc = fmt::format("/proc/{}/", pid), map = fmt::format("0 {} 65536\n", first_id);
    if (write_file(proc + "uid_map", map) && write_file(proc + "gid_map", map))
      ns = Fd(::open((proc + "ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  }
  ::close(go[1]);
  if (pid > 0) ::waitpid(pid, nullptr, 0);
  return ns;
}

// The child up to exec. Nothing here is undone: its namespace dies with it.
[[noreturn]] void enter_and_exec(const KeeperConfig& c, int out) {
  const auto join = [&](const std::string& file) {
    if (!write_file(file, "0")) give_up(out, ("cannot join " + file).c_str());
  };
  join(c.group.tree + "/cgroup.procs");
  for (const std::string& file : c.group.join) join(file);
  if (::unshare(CLONE_NEWNS) != 0) give_up(out, "no private mount namespace");
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) give_up(out, "mounts cannot be made private");
  if (!c.group.v2) (void)::umount2("/sys/fs/cgroup/unified", MNT_DETACH);  // absent on plain v1

  // Layers belong to the host's ids; seen through these mounts they belong to the sandbox's.
  const Fd ids = id_namespace(c.first_id);
  if (!ids) give_up(out, "no user namespace");
  std::string lowers;
  for (std::size_t i = 0; i < c.lowers.size(); ++i) {
    const Fd tree(
        static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, c.lowers[i].c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
    if (!tree) give_up(out, "the image folder cannot be mounted");
    struct mount_attr attributes = {};
    attributes.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID;
    attributes.userns_fd = static_cast<std::uint64_t>(ids.get());
    if (::syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
      give_up(out, "the image's file system cannot shift ids");
    const std::string lower = fmt::format("{}/lower/{}", c.folder, i);
    if (::mkdir(lower.c_str(), 0755) != 0 && errno != EEXIST) give_up(out, "no place for the image");
    if (::syscall(SYS_move_mount, tree.get(), "", AT_FDCWD, lower.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
      give_up(out, "the image cannot be put in place");
    lowers += (i > 0 ? ":" : "") + lower;
  }
  const std::string options = "lowerdir=" + lowers + ",upperdir=" + c.folder + "/upper,workdir=" + c.folder + "/work";
  if (::mount("overlay", c.root.c_str(), "overlay", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
    give_up(out, "overlay");
  if (::mount(c.init.c_str(), c.init_place.c_str(), nullptr, MS_BIND, nullptr) != 0) give_up(out, "bind of init");
  (void)::mount(nullptr, c.init_place.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV,
                nullptr);

  std::vector<std::string> words = c.runtime;
  for (const char* w : {"run", "--detach", "--pid-file"}) words.emplace_back(w);
  words.push_back(c.folder + "/init.pid");
  words.emplace_back("--bundle");
  words.push_back(c.folder);
  words.push_back(c.id);
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  const int none = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(none, 0);
  ::dup2(none, 1);
  ::dup2(out, 2);
  sigset_t open_signals;
  ::sigemptyset(&open_signals);
  ::sigprocmask(SIG_SETMASK, &open_signals, nullptr);
  ::setsid();
  ::execvp(argv[0], argv.data());
  give_up(out, ("cannot run " + c.runtime[0]).c_str());
}

}  // namespace

Result<LaunchedContainer> launch_container(const KeeperConfig& config, double seconds) {
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return fail(ErrorCode::kIo, "no pipe: {}", std::strerror(errno));
  Fd in(pipe_fds[0]), out(pipe_fds[1]);
  const pid_t child = ::fork();
  if (child < 0) return fail(ErrorCode::kIo, "no process for crun: {}", std::strerror(errno));
  if (child == 0) enter_and_exec(config, out.get());
  out.reset();

  // The detached container keeps crun's stderr open, so its end is no sign; the exit of crun is.
  std::string said;
  int status = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  const Fd child_fd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  bool exited = false;
  while (!exited && std::chrono::steady_clock::now() < end) {
    struct pollfd polled[2] = {{child_fd.get(), POLLIN, 0}, {in.get(), POLLIN, 0}};
    ::poll(polled, 2, 100);
    if (polled[1].revents != 0 && said.size() < 4096) {
      char buffer[1024];
      const ssize_t n = ::read(in.get(), buffer, sizeof buffer);
      if (n > 0) said.append(buffer, static_cast<std::size_t>(n));
      if (n <= 0) in.reset();
    } else if (polled[1].revents != 0) {
      in.reset();
    }
    if (polled[0].revents != 0) exited = ::waitpid(child, &status, 0) == child;
  }
  if (!exited) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return fail(ErrorCode::kIo, "{} did not start sandbox {} within {} s", config.runtime[0], config.id, seconds);
  }
  while (!said.empty() && said.back() == '\n') said.pop_back();
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(ErrorCode::kIo, "{} could not start sandbox {}: {}", config.runtime[0], config.id,
                said.empty() ? "it said nothing" : said);

  LaunchedContainer made;
  std::ifstream(config.folder + "/init.pid") >> made.pid;
  if (made.pid <= 1) return fail(ErrorCode::kIo, "{} left no process id for sandbox {}", config.runtime[0], config.id);
  made.pidfd = Fd(static_cast<int>(::syscall(SYS_pidfd_open, made.pid, 0)));
  made.root = Fd(::open(fmt::format("/proc/{}/root", made.pid).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!made.pidfd || !made.root)
    return fail(ErrorCode::kIo, "the first process of sandbox {} died at once: {}", config.id,
                said.empty() ? "it said nothing" : said);
  // crun says done just before its last exec, and until then the process is closed to everyone. The program gives
  // itself this name as its first act.
  for (int i = 0; i < 20000; ++i) {
    std::string name;
    std::getline(std::ifstream(fmt::format("/proc/{}/comm", made.pid)), name);
    if (name == "init") return made;
    ::usleep(100);
  }
  return fail(ErrorCode::kIo, "the first process of sandbox {} does not begin", config.id);
}

}  // namespace hadal::sandbox
