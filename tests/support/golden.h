// Where test data lives. tests/golden/ is part of the repository; HADAL_GOLDEN names the larger set that is not.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "files/safetensors.h"

namespace hadal::test {

inline std::string golden_path(const std::string& relative) {
  return std::string(HADAL_SOURCE_DIR "/tests/golden/") + relative;
}

// The larger golden set, or an empty string when the environment does not name one.
inline std::string external_golden() {
  const char* root = std::getenv("HADAL_GOLDEN");
  return root ? root : "";
}

// Elements of a tensor as T; the test fails when it is missing or T has the wrong size.
template <class T>
std::vector<T> tensor(const SafetensorsFile& file, const std::string& name) {
  const TensorInfo* info = file.find(name);
  if (!info || dtype_bytes(info->dtype) != static_cast<std::int64_t>(sizeof(T))) {
    ADD_FAILURE() << file.path() << ": no tensor " << name << " of " << sizeof(T) << "-byte elements";
    return {};
  }
  const Bytes data = file.data(*info);
  std::vector<T> out(data.size() / sizeof(T));
  std::memcpy(out.data(), data.data(), data.size());
  return out;
}

}  // namespace hadal::test
