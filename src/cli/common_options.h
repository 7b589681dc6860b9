// Options that several commands share, with one text for all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/command_line.h"

namespace hadal::cli {

void model_option(Command& c, std::string& value);
void numerics_option(Command& c, std::string& value);
void format_option(Command& c, std::string& value);
void threads_option(Command& c, int& value);
void expert_memory_option(Command& c, std::int64_t& value);
void repack_cache_option(Command& c, std::string& value);
void json_option(Command& c, bool& value);
void plot_option(Command& c, std::vector<std::string>& values, const std::string& what);

}  // namespace hadal::cli
