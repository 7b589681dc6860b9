// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace hadal::cli {

std::string grouped(double x, int digits = 0);  // 1,048,576
std::string bytes_text(double b);               // 3.69 GB
inline std::string bytes_text(std::int64_t b) { return bytes_text(static_cast<double>(b)); }
std::string percent(double share);  // 7.32 %
std::string operations(double x);   // 26.5 G
std::string rate(double tokens_per_second);
std::string parameters(double n);      // 284.33 B
std::string duration(double seconds);  // 4 s, 12 min, 3.2 h

}  // namespace hadal::cli
