// The bash completion script: a table of commands with what may follow, and one function that reads it.
#include <fmt/format.h>

#include "cli/command_info.h"

namespace hadal::cli {
namespace {

// "hadal chat encode" as a bash function-free key: chat_encode; the top is "top".
std::string key(const CommandInfo& c) {
  std::string k = c.path == "hadal" ? "top" : c.path.substr(6);
  for (char& ch : k) {
    if (ch == ' ') ch = '_';
  }
  return k;
}

// What follows an option: words, or a kind of file name.
std::string values(const OptionInfo& o) {
  const std::string words = fmt::format("{}", fmt::join(o.choices, " "));
  if (o.value == "MODEL") return words + " @dir";  // a name or a directory
  if (!o.choices.empty()) return words;
  if (o.value == "FILE") return "@file";
  if (o.value == "DIR") return "@dir";
  return "@none";
}

// Lines of the two tables. Names are letters, digits, '-', '_': nothing needs quoting inside double quotes.
void add(std::string& words, std::string& after, const CommandInfo& c) {
  std::string list;
  for (const auto& sub : c.subcommands) list += sub.name() + " ";
  if (c.path == "hadal") list += "help ";
  std::string positional;
  for (const auto& o : c.options) {
    if (o.positional) {
      positional += values(o) + " ";
      continue;
    }
    for (const auto& name : o.names) {
      if (name.starts_with("--")) list += name + " ";
      if (!o.value.empty()) after += fmt::format("  [\"{} {}\"]=\"{}\"\n", key(c), name, values(o));
    }
  }
  words += fmt::format("  [{}]=\"{}{}\"\n", key(c), list, positional);
  for (const auto& sub : c.subcommands) add(words, after, sub);
}

constexpr std::string_view kFunction = R"BASH(
_hadal_offer() {  # fills COMPREPLY from words; @file and @dir stand for names on disk
  local current=$1 word
  shift
  for word in "$@"; do
    case $word in
      @file) compopt -o filenames 2>/dev/null; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current") ;;
      @dir) compopt -o filenames 2>/dev/null; mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$current") ;;
      @none) ;;
      -*) if [[ $current == -* && $word == "$current"* ]]; then COMPREPLY+=("$word"); fi ;;
      *) if [[ $word == "$current"* ]]; then COMPREPLY+=("$word"); fi ;;
    esac
  done
}

_hadal() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} at=top word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do  # which command are we in?
    word=${COMP_WORDS[i]}
    if [[ $at == top && $word == help ]]; then continue; fi
    if [[ $at == top ]]; then word=$word; else word=${at}_$word; fi
    if [[ $word != -* && -n ${_hadal_words[$word]+set} ]]; then at=$word; fi
  done
  # "--think=high" arrives as three words: --think, =, high.
  if [[ $current == = ]]; then current=; fi
  if [[ $previous == = ]]; then previous=${COMP_WORDS[COMP_CWORD - 2]}; fi
  if [[ ${COMP_WORDS[COMP_CWORD]} == = ]]; then previous=${COMP_WORDS[COMP_CWORD - 1]}; fi
  if [[ -n ${_hadal_after["$at $previous"]+set} ]]; then
    # shellcheck disable=SC2086
    _hadal_offer "$current" ${_hadal_after["$at $previous"]}
  else
    # shellcheck disable=SC2086
    _hadal_offer "$current" ${_hadal_words[$at]}
  fi
}

complete -F _hadal hadal
)BASH";

}  // namespace

std::string bash_completion(const CommandInfo& tree) {
  std::string words, after;
  add(words, after, tree);
  return "# bash completion for hadal, printed by 'hadal completion bash'.\n"
         "declare -gA _hadal_words=(  # command -> what may come next\n" +
         words + ")\ndeclare -gA _hadal_after=(  # command and option -> its values\n" + after + ")\n" +
         std::string(kFunction);
}

}  // namespace hadal::cli
