#include "sandbox/container/profile.h"

#include <linux/capability.h>
#include <sched.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace hadal::sandbox {
namespace {

using Json = nlohmann::json;

std::vector<std::string> words(const char* text) {
  std::istringstream in(text);
  std::vector<std::string> list;
  for (std::string w; in >> w;) list.push_back(w);
  return list;
}

// Creating namespaces would give a process capabilities over a new one, and with them most of the kernel's surface.
constexpr unsigned kNamespaces =
    CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP;

}  // namespace

const std::vector<std::string>& allowed_calls() {
  static const std::vector<std::string> list = words(
      // files
      "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2 creat close "
      "close_range lseek dup dup2 dup3 fcntl flock fsync fdatasync sync syncfs sync_file_range truncate ftruncate "
      "fallocate fadvise64 readahead sendfile splice tee vmsplice copy_file_range stat fstat lstat newfstatat statx "
      "statfs fstatfs access faccessat faccessat2 chmod fchmod fchmodat chown fchown lchown fchownat umask link linkat "
      "symlink symlinkat unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir readlink readlinkat getdents "
      "getdents64 getcwd chdir fchdir chroot mknod mknodat utime utimes utimensat futimesat setxattr lsetxattr "
      "fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr "
      "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch name_to_handle_at memfd_create "
      // waiting
      "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd "
      "eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime pause futex futex_waitv "
      "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents "
      // memory
      "mmap munmap mremap mprotect madvise mincore msync mlock mlock2 munlock mlockall munlockall brk membarrier "
      "pkey_mprotect pkey_alloc pkey_free memfd_secret get_mempolicy set_mempolicy mbind "
      // processes
      "fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill getpid getppid gettid getpgid getpgrp "
      "setpgid getsid setsid set_tid_address set_robust_list get_robust_list rseq arch_prctl prctl sched_yield "
      "sched_getparam sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max "
      "sched_get_priority_min sched_getaffinity sched_setaffinity sched_rr_get_interval sched_getattr sched_setattr "
      "getpriority setpriority ioprio_get ioprio_set getrlimit setrlimit prlimit64 getrusage times getcpu "
      "pidfd_open pidfd_send_signal capget capset seccomp ptrace process_vm_readv process_vm_writev restart_syscall "
      // users
      "getuid geteuid getgid getegid getresuid getresgid setuid setgid setreuid setregid setresuid setresgid setfsuid "
      "setfsgid getgroups setgroups "
      // signals
      "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo "
      "rt_tgsigqueueinfo sigaltstack alarm setitimer getitimer timer_create timer_settime timer_gettime "
      "timer_getoverrun timer_delete "
      // time
      "time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep "
      // pipes and sockets
      "pipe pipe2 socket socketpair bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt "
      "sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown "
      // System V and POSIX communication, in a namespace of its own
      "shmget shmat shmctl shmdt semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink "
      "mq_timedsend mq_timedreceive mq_notify mq_getsetattr "
      // the rest
      "ioctl uname sysinfo getrandom syslog landlock_create_ruleset landlock_add_rule landlock_restrict_self");
  return list;
}

const std::vector<std::string>& refused_calls() {
  static const std::vector<std::string> list = words(
      "mount umount2 pivot_root unshare setns bpf perf_event_open keyctl add_key request_key userfaultfd kexec_load "
      "kexec_file_load init_module finit_module delete_module reboot swapon swapoff settimeofday clock_settime "
      "clock_adjtime adjtimex acct quotactl open_by_handle_at iopl ioperm sethostname setdomainname personality "
      "fsopen fsmount fsconfig fspick move_mount open_tree mount_setattr lookup_dcookie vhangup kcmp "
      "io_uring_setup io_uring_enter io_uring_register fanotify_init move_pages migrate_pages pidfd_getfd");
  return list;
}

const std::vector<std::pair<int, std::string>>& kept_capabilities() {
  static const std::vector<std::pair<int, std::string>> list = {{CAP_CHOWN, "CAP_CHOWN"},
                                                                {CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
                                                                {CAP_FOWNER, "CAP_FOWNER"},
                                                                {CAP_FSETID, "CAP_FSETID"},
                                                                {CAP_KILL, "CAP_KILL"},
                                                                {CAP_SETGID, "CAP_SETGID"},
                                                                {CAP_SETUID, "CAP_SETUID"},
                                                                {CAP_SETPCAP, "CAP_SETPCAP"},
                                                                {CAP_SYS_CHROOT, "CAP_SYS_CHROOT"},
                                                                {CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"}};
  return list;
}

std::string oci_config(const CreateSpec& spec, const std::string& id, const std::string& root,
                       const std::string& init_place, std::int64_t first_id) {
  Json names = Json::array();
  for (const auto& [number, name] : kept_capabilities()) names.push_back(name);
  const auto rule = [](const std::vector<std::string>& calls, const char* action) {
    return Json{{"names", calls}, {"action", action}};
  };
  Json refuse = rule(refused_calls(), "SCMP_ACT_ERRNO");
  refuse["errnoRet"] = 1;  // EPERM
  Json clone = rule({"clone"}, "SCMP_ACT_ALLOW");
  clone["args"] = {{{"index", 0}, {"value", kNamespaces}, {"valueTwo", 0}, {"op", "SCMP_CMP_MASKED_EQ"}}};

  const auto tmpfs = [](const char* place, const char* mode, const char* size) {
    return Json{{"destination", place},
                {"type", "tmpfs"},
                {"source", "tmpfs"},
                {"options", {"nosuid", "nodev", mode, size, "nr_inodes=16384"}}};
  };
  Json mounts = Json::array();
  mounts.push_back(
      {{"destination", "/proc"}, {"type", "proc"}, {"source", "proc"}, {"options", {"nosuid", "noexec", "nodev"}}});
  mounts.push_back({{"destination", "/dev"},
                    {"type", "tmpfs"},
                    {"source", "tmpfs"},
                    {"options", {"nosuid", "mode=755", "size=64k", "nr_inodes=1024"}}});
  mounts.push_back({{"destination", "/dev/pts"},
                    {"type", "devpts"},
                    {"source", "devpts"},
                    {"options", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}}});
  mounts.push_back(tmpfs("/dev/shm", "mode=1777", "size=64m"));
  mounts.push_back({{"destination", "/dev/mqueue"},
                    {"type", "mqueue"},
                    {"source", "mqueue"},
                    {"options", {"nosuid", "noexec", "nodev"}}});
  mounts.push_back({{"destination", "/sys"},
                    {"type", "sysfs"},
                    {"source", "sysfs"},
                    {"options", {"nosuid", "noexec", "nodev", "ro"}}});
  mounts.push_back({{"destination", "/dev/.init"},
                    {"type", "bind"},
                    {"source", init_place},
                    {"options", {"bind", "ro", "nosuid", "nodev"}}});

  std::vector<std::string> masked = {"/proc/kcore",
                                     "/proc/kmsg",
                                     "/proc/kallsyms",
                                     "/proc/keys",
                                     "/proc/key-users",
                                     "/proc/latency_stats",
                                     "/proc/timer_list",
                                     "/proc/sched_debug",
                                     "/proc/kpagecount",
                                     "/proc/kpageflags",
                                     "/proc/kpagecgroup",
                                     "/proc/vmallocinfo",
                                     "/proc/slabinfo",
                                     "/proc/modules",
                                     "/proc/iomem",
                                     "/proc/ioports",
                                     "/proc/acpi",
                                     "/proc/scsi",
                                     "/proc/config.gz",
                                     "/proc/cmdline",
                                     "/sys/firmware",
                                     "/sys/kernel",
                                     "/sys/module",
                                     "/sys/devices/virtual/powercap",
                                     "/sys/devices/virtual/dmi"};
  std::vector<std::string> read_only = {"/proc/asound", "/proc/bus", "/proc/fs",
                                        "/proc/irq",    "/proc/sys", "/proc/sysrq-trigger"};
  masked.insert(masked.end(), spec.hidden_paths.begin(), spec.hidden_paths.end());
  read_only.insert(read_only.end(), spec.read_only_paths.begin(), spec.read_only_paths.end());

  Json namespaces = Json::array();
  for (const char* type : {"pid", "network", "ipc", "uts", "mount", "cgroup", "user"})
    namespaces.push_back({{"type", type}});
  const Json map = {{{"containerID", 0}, {"hostID", first_id}, {"size", 65536}}};
  const auto limit = static_cast<std::uint64_t>(spec.resources.open_files);
  const Json config = {
      {"ociVersion", "1.0.0"},
      {"hostname", id},
      {"process",
       {{"terminal", false},
        {"user", {{"uid", 0}, {"gid", 0}}},
        {"args", {"/dev/.init", "init"}},
        {"cwd", "/"},
        {"noNewPrivileges", true},
        {"rlimits", {{{"type", "RLIMIT_NOFILE"}, {"hard", limit}, {"soft", limit}}}},
        {"capabilities", {{"bounding", names}, {"effective", Json::array()}, {"permitted", Json::array()}}}}},
      {"root", {{"path", root}, {"readonly", false}}},
      {"mounts", mounts},
      {"linux",
       {{"namespaces", namespaces},
        {"uidMappings", map},
        {"gidMappings", map},
        {"maskedPaths", masked},
        {"readonlyPaths", read_only},
        {"seccomp",
         {{"defaultAction", "SCMP_ACT_ERRNO"},
          {"defaultErrnoRet", 38},  // ENOSYS
          {"architectures", {"SCMP_ARCH_X86_64"}},
          {"syscalls", {rule(allowed_calls(), "SCMP_ACT_ALLOW"), refuse, clone}}}}}}};
  return config.dump();
}

}  // namespace hadal::sandbox
