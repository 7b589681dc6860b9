#include "cli/arguments.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>
#include <vector>

#include "cli/command_info.h"
#include "cli/command_line.h"
#include "cli/report.h"

namespace hadal::cli {
namespace {

// In the order of 'hadal help'.
void define_all(CommandLine& line) {
  const Command root = line.root();
  define_model_commands(root);
  define_check_commands(root);
  define_bench_commands(root);
  define_session_commands(root);
  define_sandbox_commands(root);
  define_completion_command(root);
}

int usage_error(const std::string& sentence) { return report(Error{ErrorCode::kUsage, sentence}); }

// The deepest command that the leading words name, and how many words that took.
std::pair<const CommandInfo*, int> named_command(const CommandInfo& tree, int argc, char** argv) {
  const CommandInfo* at = &tree;
  int i = 1;
  while (i < argc) {
    const CommandInfo* next = at->find(argv[i]);
    if (!next) break;
    at = next;
    ++i;
  }
  return {at, i};
}

std::string suggestion(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string near = nearest(word, candidates);
  return near.empty() ? "" : fmt::format("; did you mean '{}'?", near);
}

int unknown_command(const CommandInfo& command, const std::string& word) {
  std::vector<std::string> names;
  for (const auto& sub : command.subcommands) names.push_back(sub.name());
  const std::string hint = suggestion(word, names);
  return usage_error(
      fmt::format("'{}' is not a command of '{}'{}", word, command.path,
                  hint.empty() ? fmt::format("; 'hadal help{}' lists them", command.path.substr(5)) : hint));
}

// What the parser refused, as one sentence that says where to look.
int parse_failure(const Parsed& parsed, const CommandInfo& command, int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {  // an unknown option deserves a suggestion; the parser only calls it unexpected
    const std::string word = argv[i];
    if (word == "--") break;
    if (!word.starts_with("--")) continue;
    const std::string name = word.substr(0, word.find('='));
    std::vector<std::string> names;
    for (const auto& o : command.options) names.insert(names.end(), o.names.begin(), o.names.end());
    if (std::find(names.begin(), names.end(), name) == names.end() &&
        (parsed.unexpected || !command.subcommands.empty())) {
      const std::string hint = suggestion(name, names);
      return usage_error(
          fmt::format("'{}' has no option '{}'{}", command.path, name,
                      hint.empty() ? fmt::format("; see 'hadal help{}'", command.path.substr(5)) : hint));
    }
  }
  std::string what = parsed.text;
  while (!what.empty() && (what.back() == '\n' || what.back() == ' ' || what.back() == '.')) what.pop_back();
  for (char& c : what) {
    if (c == '\n') c = ' ';
  }
  if (!what.empty()) what[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(what[0])));
  return usage_error(fmt::format("'{}': {}; see 'hadal help{}'", command.path, what, command.path.substr(5)));
}

}  // namespace

CommandInfo command_tree() {
  CommandLine line;
  define_all(line);
  return line.tree();
}

int dispatch(int argc, char** argv) {
  CommandLine line;
  define_all(line);
  const CommandInfo tree = line.tree();
  if (argc > 1 && std::string_view(argv[1]) == "help") {
    const bool itself = argc == 3 && (std::string_view(argv[2]) == "help" || std::string_view(argv[2]) == "--help");
    if (itself) argc = 2;
    auto [command, used] = named_command(tree, argc - 1, argv + 1);
    if (used < argc - 1) return unknown_command(*command, argv[used + 1]);
    fmt::print("{}", manual_page(*command));
    return 0;
  }
  auto [command, used] = named_command(tree, argc, argv);
  if (!command->subcommands.empty()) {
    if (used == argc) {
      return usage_error(
          fmt::format("'{}' needs a command; 'hadal help{}' lists them", command->path, command->path.substr(5)));
    }
    if (argv[used][0] != '-') return unknown_command(*command, argv[used]);
  }
  const Parsed parsed = line.parse(argc, argv);
  switch (parsed.kind) {
    case Parsed::kHelp:
      fmt::print("{}", manual_page(*command));
      return 0;
    case Parsed::kVersion:
      fmt::print("{}\n", parsed.text);
      return 0;
    case Parsed::kRefused:
      return parse_failure(parsed, *command, argc, argv);
    case Parsed::kRun:
      break;
  }
  return line.run();
}

}  // namespace hadal::cli
