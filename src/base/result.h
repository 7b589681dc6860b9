// Errors are values: Result<T> is a value or one Error, a sentence a user can act on.
#pragma once

#include <fmt/core.h>

#include <string>
#include <utility>

#include "hadal/result.h"  // ErrorCode, Error, Result, Status

namespace hadal {

// fail(ErrorCode::kBadInput, "{}: tensor '{}' has shape {}, expected {}", file, name, ...)
template <class... Args>
[[nodiscard]] std::unexpected<Error> fail(ErrorCode code, fmt::format_string<Args...> text, Args&&... args) {
  return std::unexpected(Error{code, fmt::format(text, std::forward<Args>(args)...)});
}

// Exit status of the command line for an error: 2 unusable input, 1 the work failed.
inline int exit_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
    case ErrorCode::kBadInput:
    case ErrorCode::kNotFound:
    case ErrorCode::kUnsupported:
      return 2;
    default:
      return 1;
  }
}

}  // namespace hadal

// auto x = HADAL_TRY(f());  unwraps a Result or returns its error from the enclosing function.
#define HADAL_TRY(...)                                                      \
  ({                                                                        \
    auto&& hadal_try_ = (__VA_ARGS__);                                      \
    if (!hadal_try_) return std::unexpected(std::move(hadal_try_).error()); \
    std::move(hadal_try_).value();                                          \
  })
// HADAL_CHECK_OK(f());  the same for a Status.
#define HADAL_CHECK_OK(...)                                                                    \
  do {                                                                                         \
    if (auto hadal_ok_ = (__VA_ARGS__); !hadal_ok_) return std::unexpected(hadal_ok_.error()); \
  } while (0)
