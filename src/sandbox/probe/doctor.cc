#include "sandbox/probe/doctor.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "sandbox/cgroups/cgroups.h"
#include "sandbox/fd.h"

namespace hadal::sandbox {
namespace {

constexpr int kTrialMs = 3000;

std::string read_text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::string why(const char* step) { return fmt::format("{}: {}", step, std::strerror(errno)); }

// Makes a trial in a child of its own, so that nothing it does stays. The child gives a sentence, or "" for success.
std::string trial(const std::function<std::string()>& work) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return why("no pipe");
  Fd in(ends[0]), out(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return why("no process");
  if (pid == 0) {
    const std::string text = work();
    (void)!::write(out.get(), text.data(), text.size());
    ::_exit(0);
  }
  out.reset();
  std::string said;
  struct pollfd polled = {in.get(), POLLIN, 0};
  char buffer[512];
  while (::poll(&polled, 1, kTrialMs) > 0) {
    const ssize_t n = ::read(in.get(), buffer, sizeof buffer);
    if (n <= 0) break;
    said.append(buffer, static_cast<std::size_t>(n));
  }
  if (polled.revents == 0) said = "it did not come back";
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  return said;
}

std::string run_program(const std::vector<std::string>& words) {
  return trial([&] {
    std::vector<char*> argv;
    for (const std::string& w : words) argv.push_back(const_cast<char*>(w.c_str()));
    argv.push_back(nullptr);
    const int none = ::open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) ::dup2(none, fd);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::execvp(argv[0], argv.data());
      ::_exit(127);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return std::string();
    return WIFEXITED(status) && WEXITSTATUS(status) == 127 ? std::string("not installed")
                                                           : std::string("it does not run");
  });
}

std::string private_mounts() {
  if (::unshare(CLONE_NEWNS) != 0) return why("no mount namespace");
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return why("mounts cannot be made private");
  return "";
}

// An overlay over a folder whose ids are shifted, as containers use it.
std::string try_overlay(const std::string& scratch, bool shifted) {
  if (const std::string no = private_mounts(); !no.empty()) return no;
  std::string folder = scratch + "/hadal-doctor-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) return why("no folder");
  std::string said = [&]() -> std::string {
    for (const char* name : {"/lower", "/shifted", "/upper", "/work", "/root"})
      if (::mkdir((folder + name).c_str(), 0755) != 0) return why("no folder");
    std::string lower = folder + "/lower";
    if (shifted) {
      const Fd tree(
          static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, lower.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
      int go[2];
      if (!tree || ::pipe2(go, O_CLOEXEC) != 0) return why("open_tree");
      const auto child =
          static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
      if (child == 0) {
        char c;
        ::close(go[1]);
        (void)!::read(go[0], &c, 1);
        ::_exit(0);
      }
      if (child < 0) return why("no user namespace");
      const std::string proc = fmt::format("/proc/{}/", child);
      std::ofstream(proc + "uid_map") << "0 1073741824 65536\n";
      std::ofstream(proc + "gid_map") << "0 1073741824 65536\n";
      const Fd ids(::open((proc + "ns/user").c_str(), O_RDONLY | O_CLOEXEC));
      ::close(go[1]);
      ::waitpid(child, nullptr, 0);
      struct mount_attr attributes = {};
      attributes.attr_set = MOUNT_ATTR_IDMAP;
      attributes.userns_fd = static_cast<std::uint64_t>(ids.get());
      if (::syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
        return why("the file system cannot shift ids");
      lower = folder + "/shifted";
      if (::syscall(SYS_move_mount, tree.get(), "", AT_FDCWD, lower.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
        return why("move_mount");
    }
    const std::string options = "lowerdir=" + lower + ",upperdir=" + folder + "/upper,workdir=" + folder + "/work";
    if (::mount("overlay", (folder + "/root").c_str(), "overlay", 0, options.c_str()) != 0) return why("mount");
    if (std::ofstream probe(folder + "/root" + "/file"); !(probe << "x")) return why("write");
    return "";
  }();
  ::umount2((folder + "/root").c_str(), MNT_DETACH);
  ::umount2((folder + "/shifted").c_str(), MNT_DETACH);
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return said;
}

}  // namespace

std::vector<Capability> examine_host(const DoctorOptions& options) {
  std::vector<Capability> rows;
  const auto add = [&](const char* name, const std::string& reason, const std::string& found, const char* consequence,
                       const char* remedy) {
    rows.push_back(
        {name, reason.empty(), reason.empty() ? found : reason + "; " + consequence, reason.empty() ? "" : remedy});
  };
  struct utsname kernel = {};
  ::uname(&kernel);
  rows.push_back({"kernel", true, kernel.release, ""});
  const bool root = ::geteuid() == 0;
  add("root", root ? "" : "not root", "user 0", "containers cannot be started", "run as root");
  add("user namespace", trial([] { return ::unshare(CLONE_NEWUSER) == 0 ? std::string() : why("unshare"); }),
      "can be made", "root inside would be root on the host, so containers are refused",
      "sysctl user.max_user_namespaces and kernel.unprivileged_userns_clone");
  add("overlay", trial([&] { return try_overlay(options.scratch, false); }), "mounts and takes writes",
      "containers have no writable root", "load the overlay module; use ext4 or xfs for the data folder");
  add("id-shifted mounts", trial([&] { return try_overlay(options.scratch, true); }),
      "an overlay over a shifted folder mounts",
      "images would have to be copied per sandbox, so containers are refused",
      "kernel 5.19 or later, image folder on ext4, xfs, btrfs or tmpfs");

  const auto groups = Cgroups::open(system_control_files());
  add("cgroups", groups ? "" : groups.error().what, groups ? std::string(layout_name(groups->layout())) : "",
      "nothing can be limited, frozen or killed as a whole", "mount cgroup2 on /sys/fs/cgroup and run as root");
  for (const char* name : {"memory", "cpu", "pids", "freezer"})
    add((std::string("cgroup ") + name).c_str(), groups && groups->has(name) ? "" : "no such controller here", "usable",
        "its limit is refused at create", "enable the controller on the kernel command line");
  if (groups) {
    Cgroups g = *groups;
    g.set_owner(std::to_string(::getpid()));
    const std::string reason = [&]() -> std::string {
      if (const Status made = g.create("doctor", {}); !made) return made.error().what;
      const pid_t child = ::fork();
      if (child == 0) {
        ::pause();
        ::_exit(0);
      }
      const GroupPaths p = g.paths("doctor");
      std::string said;
      if (const Status joined = system_control_files().write(p.tree + "/cgroup.procs", std::to_string(child)); !joined)
        said = joined.error().what;
      else if (const Status frozen = g.freeze("doctor"); !frozen)
        said = frozen.error().what;
      (void)g.thaw("doctor");
      if (const auto killed = kill_group(system_control_files(), p.tree, p.v2); !killed && said.empty())
        said = killed.error().what;
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
      (void)g.remove("doctor");
      return said;
    }();
    add("freeze and kill", reason, "a process was frozen and killed by its group", "pause and time-outs do not work",
        "mount the freezer controller, or use cgroup v2");
  }
  add("seccomp", trial([] {
        scmp_filter_ctx filter = ::seccomp_init(SCMP_ACT_ALLOW);
        return filter != nullptr && ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mount), 0) == 0 &&
                       ::seccomp_load(filter) == 0
                   ? std::string()
                   : std::string("a filter cannot be loaded");
      }),
      "a filter loads", "containers are refused", "a kernel with CONFIG_SECCOMP_FILTER");
  const long landlock = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  add("landlock", landlock > 0 ? "" : why("landlock_create_ruleset"), fmt::format("version {}", landlock),
      "protected paths rest on mounts alone", "add landlock to the lsm= list of the kernel command line");
  const std::string lsms = read_text("/sys/kernel/security/lsm");
  rows.push_back({"security modules", !lsms.empty(),
                  lsms.empty() ? "securityfs is not mounted; which are active is not known" : lsms,
                  lsms.empty() ? "mount -t securityfs none /sys/kernel/security" : ""});

  add("crun", run_program({options.runtime, "--version"}), "runs", "containers cannot be started",
      "apt-get install crun");
  add("hadal-keeper", ::access(options.keeper.c_str(), X_OK) == 0 ? "" : options.keeper + " is not there",
      options.keeper, "containers cannot be started", "install hadal-keeper beside hadal");

  const std::string systems = read_text("/proc/filesystems");
  add("erofs", systems.find("\terofs\n") != std::string::npos ? "" : "the kernel does not have it", "the kernel has it",
      "layers are served by FUSE alone", "modprobe erofs");
  add("mkfs.erofs", run_program({"mkfs.erofs", "--version"}), "runs", "layers cannot be made",
      "apt-get install erofs-utils");
  add("fuse", trial([] { return Fd(::open("/dev/fuse", O_RDWR)) ? std::string() : why("/dev/fuse"); }),
      "/dev/fuse opens", "images are unpacked whole instead of on demand", "modprobe fuse");
  add("nftables", run_program({"nft", "list", "tables"}), "answers", "sandboxes have no network but loopback",
      "apt-get install nftables");
  add("tun", trial([] {
        if (::unshare(CLONE_NEWNET) != 0) return why("no network namespace");
        const Fd tun(::open("/dev/net/tun", O_RDWR));
        struct ifreq request = {};
        request.ifr_flags = IFF_TUN | IFF_NO_PI;
        return tun && ::ioctl(tun.get(), TUNSETIFF, &request) == 0 ? std::string() : why("/dev/net/tun");
      }),
      "a device was made", "virtual machines have no network", "modprobe tun");
  add("vsock", trial([] { return Fd(::open("/dev/vhost-vsock", O_RDWR)) ? std::string() : why("/dev/vhost-vsock"); }),
      "/dev/vhost-vsock opens", "virtual machines are reached over a virtio console instead", "modprobe vhost_vsock");
  add("qemu", run_program({"qemu-system-x86_64", "--version"}), "runs", "no microvm and vm substrates",
      "apt-get install qemu-system-x86");
  // In a child, because it takes the timer signal.
  double speed = 0;
  const std::string kvm = trial([] {
    const auto measured = kvm_speed();
    return measured ? fmt::format("={}", *measured) : measured.error().what;
  });
  if (kvm.starts_with("=")) speed = std::atof(kvm.c_str() + 1);
  rows.push_back(judge_kvm(speed > 0 ? Result<double>(speed) : Result<double>(fail(ErrorCode::kIo, "{}", kvm))));
  return rows;
}

}  // namespace hadal::sandbox
