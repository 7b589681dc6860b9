// What this host can do for sandboxes, found out by doing it.
#pragma once

#include <vector>

#include "sandbox/api.h"

namespace hadal::sandbox {

struct DoctorOptions {
  std::string keeper;  // the program hadal-keeper
  std::string runtime = "crun";
  std::string scratch = "/tmp";  // where small trials leave nothing behind
};

// One row per thing, in the order a reader wants them; never fails, a trial that cannot be made is not available.
std::vector<Capability> examine_host(const DoctorOptions& options);

// Instructions per second of a guest loop under /dev/kvm; kUnsupported or kIo when there is no such guest. Below a
// hundred million KVM is no help: some hosts offer it where guests are interpreted.
constexpr double kUsefulKvm = 1e8;
Result<double> kvm_speed();
// The rule, apart from the measuring.
Capability judge_kvm(const Result<double>& speed);

}  // namespace hadal::sandbox
