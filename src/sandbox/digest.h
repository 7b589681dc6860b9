// SHA-256 (FIPS 180-4), as 64 lower-case hexadecimal digits: requests and results are named by it in the trajectory
// log.
#pragma once

#include <string>
#include <string_view>

namespace hadal::sandbox {

std::string sha256_hex(std::string_view bytes);

}  // namespace hadal::sandbox
