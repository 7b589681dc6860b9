// Bytes of commands in JSON: as text where they are UTF-8, else in base 64.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hadal::sandbox {

bool is_utf8(std::string_view bytes);
std::string base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);   // nothing when it is not that
std::optional<std::string> from_percent(std::string_view text);  // "%2F" and so on, for paths in a query

// For a path or a query: letters, digits, '-', '.', '_' and '/' stay.
std::string to_percent(std::string_view text);

}  // namespace hadal::sandbox
