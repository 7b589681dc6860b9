// Errors are values: Result<T> is a value or one Error, a sentence a user can act on.
#pragma once

#include <fmt/core.h>

#include <expected>
#include <string>
#include <utility>

namespace hadal {

// The closed list of what can go wrong. The command line maps kUsage..kUnsupported to exit status 2, the rest to 1.
enum class ErrorCode {
  kUsage,        // the request itself is wrong: flags, fields, ids out of range
  kBadInput,     // a file or message breaks its format: truncated, mis-shaped, corrupt
  kNotFound,     // a file, tensor, session or field is missing
  kUnsupported,  // well-formed, but something hadal does not run; the message names it
  kIo,           // the system refused or failed an operation
  kNoMemory,     // would not fit, or an allocation was refused
  kCancelled,    // the caller or the user stopped it
  kInternal,     // our own mistake
};

struct Error {
  ErrorCode code;
  std::string what;  // one sentence: what, where, what to do
};

template <class T>
using Result = std::expected<T, Error>;
using Status = std::expected<void, Error>;

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
