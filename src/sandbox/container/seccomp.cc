#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "sandbox/container/profile.h"
#include "sandbox/fd.h"

namespace hadal::sandbox {
namespace {

using Context = std::unique_ptr<void, void (*)(scmp_filter_ctx)>;

Result<std::vector<std::uint64_t>> program(const Context& context) {
  const Fd memory(::memfd_create("filter", MFD_CLOEXEC));
  if (!memory || ::seccomp_export_bpf(context.get(), memory.get()) != 0)
    return fail(ErrorCode::kInternal, "libseccomp could not write its filter");
  const off_t size = ::lseek(memory.get(), 0, SEEK_END);
  std::vector<std::uint64_t> words(static_cast<std::size_t>(size) / sizeof(std::uint64_t));
  if (::pread(memory.get(), words.data(), static_cast<std::size_t>(size), 0) != size)
    return fail(ErrorCode::kInternal, "libseccomp's filter could not be read back");
  return words;
}

// Requests that swap or move extents between files, inject characters into a terminal, or clone what is not ours.
// Numbers, because not every build host has the headers: EXT4_IOC_MOVE_EXT, EXT4_IOC_SWAP_BOOT, XFS_IOC_SWAPEXT,
// XFS_IOC_EXCHANGE_RANGE, BTRFS_IOC_CLONE_RANGE's dedupe twin FIDEDUPERANGE, TIOCSTI, TIOCLINUX, TIOCSETD.
constexpr unsigned kRefusedRequests[] = {0xC028660F, 0x6611, 0xC0C0586D, 0x40285881,
                                         0xC0189436, 0x5412, 0x541C,     0x5423};

}  // namespace

Result<SeccompFilters> seccomp_filters() {
  const Context calls(::seccomp_init(SCMP_ACT_ERRNO(ENOSYS)), ::seccomp_release);
  const Context arguments(::seccomp_init(SCMP_ACT_ALLOW), ::seccomp_release);
  if (!calls || !arguments) return fail(ErrorCode::kInternal, "libseccomp could not begin a filter");
  // A binary tree over the numbers: the filter runs on every system call.
  (void)::seccomp_attr_set(calls.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  int failed = 0;
  const auto number = [](const std::string& name) { return ::seccomp_syscall_resolve_name(name.c_str()); };
  // A name this libseccomp does not know is a call that stays refused.
  for (const std::string& name : allowed_calls())
    if (number(name) >= 0) failed |= ::seccomp_rule_add(calls.get(), SCMP_ACT_ALLOW, number(name), 0);
  for (const std::string& name : refused_calls())
    if (number(name) >= 0) failed |= ::seccomp_rule_add(calls.get(), SCMP_ACT_ERRNO(EPERM), number(name), 0);
  constexpr std::uint64_t kNamespaces =
      CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP;
  failed |=
      ::seccomp_rule_add(calls.get(), SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, kNamespaces, 0));
  for (const unsigned request : kRefusedRequests)
    failed |= ::seccomp_rule_add(arguments.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                                 SCMP_A1(SCMP_CMP_MASKED_EQ, 0xFFFFFFFFULL, request));
  for (const int family : {AF_ALG, AF_VSOCK, AF_PACKET, AF_KEY, AF_RDS, AF_TIPC, AF_BLUETOOTH, AF_CAN})
    failed |= ::seccomp_rule_add(arguments.get(), SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                                 SCMP_A0(SCMP_CMP_MASKED_EQ, 0xFFFFFFFFULL, static_cast<std::uint64_t>(family)));
  if (failed != 0) return fail(ErrorCode::kInternal, "libseccomp refused a rule of the container profile");
  SeccompFilters filters;
  filters.calls = HADAL_TRY(program(calls));
  filters.arguments = HADAL_TRY(program(arguments));
  return filters;
}

}  // namespace hadal::sandbox
