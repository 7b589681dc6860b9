// Writing the container to disk; the format itself is in safetensors.cc.
#include "files/atomic_file.h"
#include "files/safetensors.h"

namespace hadal {

Status SafetensorsWriter::write(const std::string& path) const {
  AtomicFile file = HADAL_TRY(AtomicFile::create(path));
  const std::string head = header();
  file.write(head.data(), head.size());
  for (const auto& e : entries_) file.write(e.data.data(), e.data.size());
  return file.commit();
}

}  // namespace hadal
