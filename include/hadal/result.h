// Errors are values: Result<T> is a value or one Error, a sentence a user can act on.
#pragma once

#include <expected>
#include <string>

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
  kBusy,         // every place is taken; the same request may succeed later
  kInternal,     // our own mistake
};

struct Error {
  ErrorCode code;
  std::string what;  // one sentence: what, where, what to do
};

template <class T>
using Result = std::expected<T, Error>;
using Status = std::expected<void, Error>;

}  // namespace hadal
