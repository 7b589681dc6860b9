// Definitions of commands and their options, kept apart from the parser behind them: each commands_<subject>.cc
// describes its commands through this header, and command_line.cc alone knows CLI11.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command_info.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace hadal::cli {

// The digits of `text` with K, M, G or T for a power of 1,024, in bytes. Nothing for what is not that, not above zero,
// or too large for 64 bits.
std::optional<std::int64_t> parse_size(std::string_view text);

class CommandLine;

// One option or positional argument, for what is said of it beyond its name.
class Opt {
 public:
  explicit Opt(CLI::Option* option) : option_(option) {}
  Opt& required();
  Opt& takes(const std::string& value);  // what help calls its value: "N", "DIR"
  Opt& show_default();                   // help shows the variable's value at definition
  Opt& default_text(const std::string& text);
  Opt& among(std::int64_t least, std::int64_t most);
  Opt& among_reals(double least, double most);

 private:
  CLI::Option* option_;
};

// One command. Variables bound to options must outlive the parse: keep them in a struct that the action shares.
class Command {
 public:
  Command(CommandLine& line, CLI::App* app) : line_(&line), app_(app) {}

  // A subcommand; without an action it is a group that needs one of its own.
  Command add(const std::string& name, const std::string& summary, std::function<int()> action = {});

  void flag(const std::string& names, bool& value, const std::string& help);
  Opt text(const std::string& names, std::string& value, const std::string& help);
  Opt text(const std::string& names, std::optional<std::string>& value, const std::string& help);
  // Each use of the option adds one, so that a positional argument may follow.
  Opt texts(const std::string& names, std::vector<std::string>& values, const std::string& help);
  // A positional argument that takes every word that is left, as those after --.
  Opt words(const std::string& name, std::vector<std::string>& values, const std::string& help);
  // A file or directory. An empty name is a script's unset variable, and must not mean "not given".
  Opt path(const std::string& names, std::string& value, const std::string& help);
  // One of a few words; the list serves the check, the help text and completion.
  Opt choice(const std::string& names, std::string& value, const std::string& help, std::vector<std::string> choices);
  // Whole numbers are at least `least`, and refused where they do not fit. T: int, int64_t, uint64_t, double, and
  // optionals of the last three.
  template <class T>
  Opt number(const std::string& names, T& value, const std::string& help, int least = 0);
  // Whole numbers from `least` to `most` with commas between them.
  Opt numbers(const std::string& names, std::vector<std::int64_t>& values, const std::string& help, std::int64_t least,
              std::int64_t most);
  // Bytes, by parse_size, at most `most`.
  Opt size(const std::string& names, std::int64_t& value, const std::string& help, std::int64_t most = INT64_MAX);
  // Text that `read` turns into a number; `what` completes "'x' is not".
  Opt bytes_or_word(const std::string& names, std::int64_t& value, const std::string& help,
                    std::function<std::optional<std::int64_t>(const std::string&)> read, const std::string& what);
  // A file or directory for which completion also offers words.
  Opt path_or_word(const std::string& names, std::string& value, const std::string& help,
                   std::vector<std::string> words);

 private:
  CommandLine* line_;
  CLI::App* app_;
};

// What parsing came to.
struct Parsed {
  enum Kind : std::uint8_t { kRun, kHelp, kVersion, kRefused } kind = kRun;
  std::string text;         // of the version, or why it was refused
  bool unexpected = false;  // refused for words that nothing takes
};

class CommandLine {
 public:
  CommandLine();
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  Command root();
  Parsed parse(int argc, char** argv);
  int run() const;  // the action of the command that was parsed; its exit status
  CommandInfo tree() const;

 private:
  friend class Command;
  struct Parser;
  std::unique_ptr<Parser> parser_;
};

// Every command, defined in the files of these names.
void define_model_commands(Command root);      // commands_model.cc: run, serve, plan
void define_check_commands(Command root);      // commands_check.cc: inspect, logits, tokenize, chat
void define_bench_commands(Command root);      // commands_bench.cc: bench, eval
void define_session_commands(Command root);    // commands_session.cc
void define_sandbox_commands(Command root);    // commands_sandbox.cc
void define_completion_command(Command root);  // commands_check.cc

}  // namespace hadal::cli
