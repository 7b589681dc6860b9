#include "sandbox/container/child.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

namespace hadal::sandbox {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostRequest = 4 << 20;   // twice the kernel's default room for arguments
constexpr std::size_t kMostAccounts = 1 << 20;  // of /etc/passwd and /etc/group, which are the sandbox's own
constexpr int kLastCapability = 63;

[[noreturn]] void give_up(int socket, const std::string& sentence) {
  (void)!::write(socket, sentence.data(), sentence.size());
  ::_exit(127);
}

[[noreturn]] void give_up_errno(int socket, const std::string& what) {
  give_up(socket, fmt::format("{}: {}", what, std::strerror(errno)));
}

std::string read_small(int root, const char* path) {
  const Fd place(open_in_root(root, path, O_PATH));
  struct stat info;
  if (!place || ::fstat(place.get(), &info) != 0 || !S_ISREG(info.st_mode)) return "";
  const Fd fd(open_in_root(root, path, O_RDONLY | O_NONBLOCK));
  std::string text;
  char buffer[16384];
  for (ssize_t n; fd && text.size() < kMostAccounts && (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(n));
  return text;
}

std::optional<unsigned> to_id(std::string_view text) {
  unsigned id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || text.empty() || id > 65535) return std::nullopt;
  return id;
}

// The line of /etc/passwd or /etc/group that has `name` in column 0, or the number `id` in column 2.
std::vector<std::string> account(const std::string& text, const std::string& name, std::optional<unsigned> id) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string> columns;
    std::istringstream words(line);
    for (std::string w; std::getline(words, w, ':');) columns.push_back(w);
    if (columns.size() < 3) continue;
    if (id ? to_id(columns[2]) == id : columns[0] == name) return columns;
  }
  return {};
}

struct User {
  unsigned uid = 0, gid = 0;
  std::vector<gid_t> groups;
  std::string home = "/", name = "root";
};

// "name", "uid", "name:group" or "uid:gid", by the sandbox's own accounts.
Result<User> find_user(int root, const std::string& text) {
  User u;
  const auto colon = text.find(':');
  const std::string who = text.empty() ? "0" : text.substr(0, colon);
  const std::string passwd = read_small(root, "/etc/passwd");
  const auto id = to_id(who);
  const auto line = account(passwd, who, id);
  if (!id && line.empty()) return fail(ErrorCode::kNotFound, "user '{}' is not in the sandbox's /etc/passwd", who);
  u.uid = id ? *id : to_id(line[2]).value_or(65534);
  u.name = line.empty() ? who : line[0];
  if (line.size() > 3) u.gid = to_id(line[3]).value_or(u.uid);
  if (line.size() > 5 && line[5].starts_with("/")) u.home = line[5];
  if (line.empty()) u.gid = u.uid == 0 ? 0 : u.uid;
  const std::string group = read_small(root, "/etc/group");
  if (colon != std::string::npos) {
    const std::string g = text.substr(colon + 1);
    const auto gid = to_id(g);
    const auto entry = account(group, g, gid);
    if (!gid && entry.empty()) return fail(ErrorCode::kNotFound, "group '{}' is not in the sandbox's /etc/group", g);
    u.gid = gid ? *gid : to_id(entry[2]).value_or(65534);
  }
  u.groups.push_back(u.gid);
  std::istringstream lines(group);
  for (std::string entry; std::getline(lines, entry) && u.groups.size() < 64;) {
    const auto last = entry.rfind(':');
    if (last == std::string::npos) continue;
    std::istringstream members(entry.substr(last + 1));
    const auto columns = account(entry + "\n", entry.substr(0, entry.find(':')), std::nullopt);
    for (std::string m; std::getline(members, m, ',');)
      if (m == u.name && columns.size() > 2)
        if (const auto g = to_id(columns[2])) u.groups.push_back(*g);
  }
  return u;
}

// Becomes root of the sandbox's user namespace; nothing of the host's rights is left.
void join_user_namespace(int pidfd, int socket) {
  ::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);  // else the host's keys come along
  if (::setns(pidfd, CLONE_NEWUSER) != 0) give_up_errno(socket, "cannot join the user namespace");
  if (::setgroups(0, nullptr) != 0 || ::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0)
    give_up_errno(socket, "cannot become root of the sandbox");
  // Until exec this process is the platform's: no one inside may read or trace it.
  ::prctl(PR_SET_DUMPABLE, 0);
}

void apply_seccomp(const KeeperConfig& c, int socket) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) give_up_errno(socket, "no_new_privs");
  for (const auto& words : c.seccomp) {
    if (words.empty()) continue;
    static_assert(sizeof(sock_filter) == sizeof(std::uint64_t));
    sock_fprog program;
    program.len = static_cast<unsigned short>(words.size());
    program.filter = reinterpret_cast<sock_filter*>(const_cast<std::uint64_t*>(words.data()));
    if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) give_up_errno(socket, "seccomp");
  }
}

[[noreturn]] void become_command(const KeeperConfig& c, const LaunchedContainer& container, const Json& request,
                                 int socket, const std::array<int, 3>& streams) {
  join_user_namespace(container.pidfd.get(), socket);
  const std::string who = request.value("user", "");
  const auto user = find_user(container.root.get(), who.empty() ? c.user : who);
  if (!user) give_up(socket, user.error().what);

  std::vector<std::string> env;
  const auto set = [&](const std::string& name, const std::string& value) {
    std::erase_if(env, [&](const std::string& e) { return e.starts_with(name + "="); });
    env.push_back(name + "=" + value);
  };
  set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  set("HOME", user->home);
  set("USER", user->name);
  if (request.value("tty", false)) set("TERM", "xterm-256color");
  for (const auto& [name, value] : c.env) set(name, value);
  for (const auto& [name, value] : request.at("env").get<std::vector<std::pair<std::string, std::string>>>())
    set(name, value);
  auto words = request.at("argv").get<std::vector<std::string>>();
  std::string cwd = request.value("cwd", "");
  if (cwd.empty()) cwd = c.workdir.empty() ? "/" : c.workdir;

  if (::setns(container.pidfd.get(), CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) != 0)
    give_up_errno(socket, "cannot join the namespaces");

  ::setsid();
  for (int i = 0; i < 3; ++i)
    if (::dup2(streams[static_cast<std::size_t>(i)], i) < 0) give_up_errno(socket, "streams");
  if (request.value("tty", false) && ::ioctl(0, TIOCSCTTY, 0) != 0) give_up_errno(socket, "terminal");

  const struct rlimit files = {static_cast<rlim_t>(c.open_files), static_cast<rlim_t>(c.open_files)}, none = {0, 0};
  if (::setrlimit(RLIMIT_NOFILE, &files) != 0) give_up_errno(socket, "limit of open files");
  ::setrlimit(RLIMIT_CORE, &none);
  for (int cap = 0; cap <= kLastCapability; ++cap)
    if (std::find(c.capabilities.begin(), c.capabilities.end(), cap) == c.capabilities.end())
      if (::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EINVAL) give_up_errno(socket, "capabilities");
  if (::setgroups(user->groups.size(), user->groups.data()) != 0 || ::setresgid(user->gid, user->gid, user->gid) != 0 ||
      ::setresuid(user->uid, user->uid, user->uid) != 0)
    give_up_errno(socket, fmt::format("cannot become user {}", user->name));
  if (::chdir(cwd.c_str()) != 0) give_up_errno(socket, fmt::format("working directory {}", cwd));
  // A directory descriptor that leaked in could be the current directory without being inside the root.
  char where[4096];
  if (::getcwd(where, sizeof where) == nullptr || where[0] != '/')
    give_up(socket, fmt::format("working directory {} lies outside the sandbox", cwd));

  ::umask(022);
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t open_signals;
  ::sigemptyset(&open_signals);
  ::sigprocmask(SIG_SETMASK, &open_signals, nullptr);
  ::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
  apply_seccomp(c, socket);

  std::vector<char*> argv, envp;
  for (std::string& w : words) argv.push_back(w.data());
  for (std::string& e : env) envp.push_back(e.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  if (words[0].find('/') != std::string::npos) {
    ::execve(words[0].c_str(), argv.data(), envp.data());
  } else {
    std::string path;
    for (const std::string& e : env)
      if (e.starts_with("PATH=")) path = e.substr(5);
    std::istringstream folders(path);
    int worst = ENOENT;
    for (std::string folder; std::getline(folders, folder, ':');) {
      ::execve(((folder.empty() ? "." : folder) + "/" + words[0]).c_str(), argv.data(), envp.data());
      if (errno == EACCES) worst = EACCES;
      if (errno != ENOENT && errno != EACCES && errno != ENOTDIR) break;
    }
    if (errno == ENOENT || errno == EACCES || errno == ENOTDIR) errno = worst;
  }
  give_up_errno(socket, fmt::format("cannot run '{}'", words[0]));
}

struct Received {
  std::string request;
  std::array<int, 3> streams;
};

Received receive(int socket) {
  char byte;
  struct iovec part = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n != 1) ::_exit(0);  // the keeper is gone or does not want this spare
  std::array<int, 4> fds;
  const cmsghdr* head = CMSG_FIRSTHDR(&message);
  if (head == nullptr || head->cmsg_len != CMSG_LEN(sizeof fds)) ::_exit(1);
  std::memcpy(fds.data(), CMSG_DATA(head), sizeof fds);
  Received r;
  struct stat info;
  if (::fstat(fds[0], &info) != 0 || static_cast<std::size_t>(info.st_size) > kMostRequest) ::_exit(1);
  r.request.resize(static_cast<std::size_t>(info.st_size));
  if (::pread(fds[0], r.request.data(), r.request.size(), 0) != info.st_size) ::_exit(1);
  r.streams = {fds[1], fds[2], fds[3]};
  return r;
}

// The keeper's ends of other commands' pipes must not live on here: a command would never see the end of its input.
void close_inherited(std::array<int, 3> keep) {
  std::sort(keep.begin(), keep.end());
  unsigned from = 3;
  for (const int fd : keep) {
    const auto kept = static_cast<unsigned>(fd);
    if (fd < 0 || kept < from) continue;
    if (kept > from) ::syscall(SYS_close_range, from, kept - 1, 0U);
    from = kept + 1;
  }
  ::syscall(SYS_close_range, from, ~0U, 0U);
}

[[noreturn]] void child_main(const KeeperConfig& c, const LaunchedContainer& container, const std::string& group,
                             int socket) {
  close_inherited({container.pidfd.get(), container.root.get(), socket});
  std::vector<std::string> join = c.group.join;
  join.push_back(group + "/cgroup.procs");
  for (const std::string& file : join) {
    const Fd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd || ::write(fd.get(), "0", 1) != 1) give_up_errno(socket, "cannot join " + file);
  }
  const Received r = receive(socket);
  try {
    const Json request = Json::parse(r.request);
    if (request.at("type") == "exec") become_command(c, container, request, socket, r.streams);
    join_user_namespace(container.pidfd.get(), socket);
    // Enough for the work below; a mistake in it must not become a program.
    for (int cap = 0; cap <= kLastCapability; ++cap)
      if (std::find(c.capabilities.begin(), c.capabilities.end(), cap) == c.capabilities.end())
        ::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    const std::string answer = work_on_files(container.root.get(), r.request, r.streams[0], r.streams[1]);
    (void)!::write(socket, answer.data(), answer.size());
    ::_exit(0);
  } catch (const std::exception& e) {
    give_up(socket, fmt::format("the request cannot be read: {}", e.what()));
  }
}

}  // namespace

int open_in_root(int root, const std::string& path, int flags, unsigned mode) {
  struct open_how how = {};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0;; ++attempt) {
    const long fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
    // The kernel gives up when something is renamed meanwhile; the sandbox could do that for ever.
    if (fd < 0 && errno == EAGAIN && attempt < 32) continue;
    return static_cast<int>(fd);
  }
}

Result<Spare> fork_spare(const KeeperConfig& config, const LaunchedContainer& container, const std::string& name) {
  Spare spare;
  spare.group = config.group.tree + "/" + name;
  HADAL_CHECK_OK(system_control_files().make_folder(spare.group));
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return fail(ErrorCode::kIo, "no socket for an operation: {}", std::strerror(errno));
  Fd mine(ends[0]);
  const Fd its(ends[1]);
  spare.pid = ::fork();
  if (spare.pid < 0) {
    const int e = errno;
    (void)system_control_files().remove_folder(spare.group);
    return fail(ErrorCode::kIo, "no process for an operation: {}", std::strerror(e));
  }
  if (spare.pid == 0) {
    mine.reset();
    child_main(config, container, spare.group, its.get());
  }
  spare.socket = std::move(mine);
  return spare;
}

Status send_request(const Spare& spare, const std::string& request, Fd in, Fd out, Fd err) {
  if (request.size() > kMostRequest)
    return fail(ErrorCode::kUsage, "a command of {} bytes is too long; {} is the most", request.size(), kMostRequest);
  // The request lies in memory both can see, so a stopped child cannot hold this process up.
  const Fd memory(::memfd_create("request", MFD_CLOEXEC));
  if (!memory || ::write(memory.get(), request.data(), request.size()) != static_cast<ssize_t>(request.size()))
    return fail(ErrorCode::kIo, "no memory for a command: {}", std::strerror(errno));
  const std::array<int, 4> fds = {memory.get(), in.get(), out.get(), err.get()};
  char byte = 'r';
  struct iovec part = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof fds);
  std::memcpy(CMSG_DATA(head), fds.data(), sizeof fds);
  if (::sendmsg(spare.socket.get(), &message, MSG_NOSIGNAL) != 1)
    return fail(ErrorCode::kIo, "the process for an operation is gone: {}", std::strerror(errno));
  return {};
}

Result<Terminal> open_terminal(const LaunchedContainer& container, const KeeperConfig& config, int rows, int columns) {
  // What lies at /dev/pts/ptmx is the sandbox's to replace: it is looked at before it is opened.
  const Fd place(open_in_root(container.root.get(), "/dev/pts/ptmx", O_PATH | O_NOFOLLOW));
  struct stat info;
  struct statfs system;
  if (!place || ::fstat(place.get(), &info) != 0 || ::fstatfs(place.get(), &system) != 0 || !S_ISCHR(info.st_mode) ||
      info.st_rdev != makedev(5, 2) || system.f_type != DEVPTS_SUPER_MAGIC)
    return fail(ErrorCode::kUnsupported, "the sandbox has no terminals: /dev/pts/ptmx is not what it should be");
  Terminal t;
  t.master = Fd(::open(fmt::format("/proc/self/fd/{}", place.get()).c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  int unlock = 0;
  if (!t.master || ::ioctl(t.master.get(), TIOCSPTLCK, &unlock) != 0)
    return fail(ErrorCode::kIo, "no terminal: {}", std::strerror(errno));
  t.slave = Fd(::ioctl(t.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!t.slave) return fail(ErrorCode::kIo, "no terminal: {}", std::strerror(errno));
  const auto owner = static_cast<uid_t>(config.first_id);
  (void)!::fchown(t.slave.get(), owner, owner);
  const struct winsize size = {static_cast<unsigned short>(rows), static_cast<unsigned short>(columns), 0, 0};
  ::ioctl(t.master.get(), TIOCSWINSZ, &size);
  return t;
}

}  // namespace hadal::sandbox
