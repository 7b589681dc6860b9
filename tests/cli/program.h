// Runs the built program as a user would.
#pragma once

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace hadal {

struct Ran {
  int status = -1;
  std::string out, err;
};

// A shell command in which $H is the program.
inline Ran run_program(const std::string& command) {
  std::string err_file = (std::filesystem::temp_directory_path() / "hadal_cli_XXXXXX").string();
  const int fd = mkstemp(err_file.data());
  if (fd < 0) return {};
  close(fd);
  const std::string full = "H='" + std::string(HADAL_PROGRAM) + "'; { " + command + "\n} 2>'" + err_file + "'";
  Ran ran;
  // popen's shell may lack what completion scripts need.
  FILE* pipe = popen(("exec bash -c \"$(cat <<'HADAL_END'\n" + full + "\nHADAL_END\n)\"").c_str(), "r");
  if (!pipe) return ran;
  std::array<char, 4096> buffer;
  while (std::size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) ran.out.append(buffer.data(), n);
  const int status = pclose(pipe);
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  std::ostringstream text;
  text << std::ifstream(err_file).rdbuf();
  ran.err = text.str();
  std::filesystem::remove(err_file);
  return ran;
}

}  // namespace hadal
