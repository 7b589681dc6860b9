// The command line as plain data: what help texts and completion scripts are made from. command_line.cc fills it from
// the parser, so that neither can disagree with what is accepted.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hadal::cli {

struct OptionInfo {
  std::vector<std::string> names;    // "-n", "--max-tokens"; a positional has one name without dashes
  std::string value;                 // what it takes, in capitals: "N", "FILE", "DIR", "MODEL"; empty for a flag
  std::vector<std::string> choices;  // the only values it takes, if there are few
  std::string help;
  std::string default_text;
  bool positional = false, required = false;
};

struct CommandInfo {
  std::string path;     // "hadal", "hadal plan", "hadal chat encode"
  std::string summary;  // one line
  std::vector<OptionInfo> options;
  std::vector<CommandInfo> subcommands;

  std::string name() const { return path.substr(path.rfind(' ') == std::string::npos ? 0 : path.rfind(' ') + 1); }
  const CommandInfo* find(std::string_view subcommand) const;  // null: no such subcommand
};

// The whole tree, from the definitions in commands_<subject>.cc.
CommandInfo command_tree();

// The manual page of one command: name, usage, description, options, examples, exit status. Lines of at most 80
// columns.
std::string manual_page(const CommandInfo& command);

// A script for `source <(hadal completion bash)`.
std::string bash_completion(const CommandInfo& tree);

// The candidate nearest to `word` if it is near enough to be a slip of the finger; empty otherwise.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace hadal::cli
