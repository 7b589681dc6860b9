// The smallest guest: sixteen-bit code in one page that counts down and halts.
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>

#include "base/clock.h"
#include "sandbox/fd.h"
#include "sandbox/probe/doctor.h"

namespace hadal::sandbox {
namespace {

constexpr std::size_t kPage = 4096;
// mov ecx, 4000000; L: dec ecx; jnz L; hlt. At 100 M instructions/s that is 80 ms.
constexpr std::uint32_t kRounds = 4'000'000;
constexpr unsigned char kCode[] = {
    0x66, 0xB9, kRounds & 255, kRounds >> 8 & 255, kRounds >> 16 & 255, kRounds >> 24, 0x66, 0x49, 0x75, 0xFC, 0xF4};

struct Mapping {
  void* at = MAP_FAILED;
  std::size_t size = 0;
  ~Mapping() {
    if (at != MAP_FAILED) ::munmap(at, size);
  }
};

}  // namespace

Result<double> kvm_speed() {
  const Fd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!kvm) return fail(ErrorCode::kUnsupported, "/dev/kvm cannot be opened: {}", std::strerror(errno));
  const auto broken = [](const char* step) { return fail(ErrorCode::kIo, "KVM: {}: {}", step, std::strerror(errno)); };
  const Fd vm(::ioctl(kvm.get(), KVM_CREATE_VM, 0));
  if (!vm) return broken("no machine");
  Mapping memory{::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), kPage};
  if (memory.at == MAP_FAILED) return broken("no memory");
  std::memcpy(memory.at, kCode, sizeof kCode);
  kvm_userspace_memory_region region = {0, 0, 0x1000, kPage, reinterpret_cast<std::uint64_t>(memory.at)};
  if (::ioctl(vm.get(), KVM_SET_USER_MEMORY_REGION, &region) != 0) return broken("memory");
  const Fd cpu(::ioctl(vm.get(), KVM_CREATE_VCPU, 0));
  if (!cpu) return broken("no processor");
  const int run_size = ::ioctl(kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_size < static_cast<int>(sizeof(kvm_run))) return broken("processor state");
  Mapping state{::mmap(nullptr, static_cast<std::size_t>(run_size), PROT_READ | PROT_WRITE, MAP_SHARED, cpu.get(), 0),
                static_cast<std::size_t>(run_size)};
  if (state.at == MAP_FAILED) return broken("processor state");
  kvm_sregs segments;
  if (::ioctl(cpu.get(), KVM_GET_SREGS, &segments) != 0) return broken("registers");
  segments.cs.base = 0;
  segments.cs.selector = 0;
  kvm_regs registers = {};
  registers.rip = 0x1000;
  registers.rflags = 2;
  if (::ioctl(cpu.get(), KVM_SET_SREGS, &segments) != 0 || ::ioctl(cpu.get(), KVM_SET_REGS, &registers) != 0)
    return broken("registers");
  // A slow guest is interrupted after half a second: what it did by then is answer enough.
  struct sigaction quiet = {}, before = {};
  quiet.sa_handler = [](int) {};
  ::sigaction(SIGALRM, &quiet, &before);
  const itimerval half = {{0, 0}, {0, 500'000}}, none = {};
  ::setitimer(ITIMER_REAL, &half, nullptr);
  const Stopwatch watch;
  const int ran = ::ioctl(cpu.get(), KVM_RUN, 0);
  const double seconds = watch.seconds();
  const int e = errno;
  ::setitimer(ITIMER_REAL, &none, nullptr);
  ::sigaction(SIGALRM, &before, nullptr);
  errno = e;
  if (ran != 0 && errno != EINTR) return broken("run");
  if (::ioctl(cpu.get(), KVM_GET_REGS, &registers) != 0) return broken("registers");
  const auto* run = static_cast<const kvm_run*>(state.at);
  if (ran == 0 && run->exit_reason != KVM_EXIT_HLT)
    return fail(ErrorCode::kIo, "KVM: the guest stopped for reason {} instead of halting", run->exit_reason);
  const double done = kRounds - static_cast<double>(registers.rcx & 0xFFFFFFFF);
  return 2 * done / std::max(seconds, 1e-6);
}

Capability judge_kvm(const Result<double>& speed) {
  Capability c{"kvm", false, "", ""};
  if (!speed) {
    c.detail = speed.error().what + "; virtual machines are emulated (TCG)";
    c.remedy = "run on a machine with hardware virtualisation and access to /dev/kvm";
  } else if (*speed < kUsefulKvm) {
    c.detail =
        fmt::format("a guest runs {:.1f} M instructions/s, too slow to be of use; virtual machines are emulated (TCG)",
                    *speed / 1e6);
    c.remedy = "this host virtualises by page tables or nests; use one with hardware virtualisation";
  } else {
    c.available = true;
    c.detail = fmt::format("a guest runs {:.0f} M instructions/s", *speed / 1e6);
  }
  return c;
}

}  // namespace hadal::sandbox
