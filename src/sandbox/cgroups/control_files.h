// The control files of cgroups as a pure interface: the real ones, and fakes of the three layouts in the tests.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::sandbox {

class ControlFiles {
 public:
  virtual ~ControlFiles() = default;
  virtual Result<std::string> read(const std::string& path) = 0;  // kNotFound when it is not there
  virtual Status write(const std::string& path, std::string_view text) = 0;
  virtual Status make_folder(const std::string& path) = 0;    // fine when it is there
  virtual Status remove_folder(const std::string& path) = 0;  // fine when it is not there; kBusy with processes in it
  virtual std::vector<std::string> folders(const std::string& path) = 0;  // names; empty when it is not there
  virtual void kill(std::int64_t pid, int number) = 0;                    // sends a signal; a pid that is gone is fine
};

// Of this host. The object lives for the whole process.
ControlFiles& system_control_files();

}  // namespace hadal::sandbox
