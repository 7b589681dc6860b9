// Values of a request's query: "a=1&b=x", with %XX decoded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hadal::serve {

std::string percent_decoded(std::string_view text);
std::string query_value(std::string_view query, std::string_view name);  // empty when absent
Result<std::optional<std::int64_t>> query_number(std::string_view query, std::string_view name, std::int64_t least,
                                                 std::int64_t most);

}  // namespace hadal::serve
