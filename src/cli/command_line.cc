#include "cli/command_line.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <limits>
#include <map>
#include <type_traits>

namespace hadal::cli {
namespace {

template <class T>
struct Inner {
  using Type = T;
};
template <class T>
struct Inner<std::optional<T>> {
  using Type = T;
};

template <class T>
std::optional<T> parse_whole(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The parser's own conversion clamps what is too large and wraps what is negative; this refuses both.
template <class T>
CLI::Validator whole_number(T least) {
  auto check = [least](const std::string& text) {
    const auto value = parse_whole<T>(text);
    if (value && *value >= least) return std::string();
    return fmt::format("'{}' is not a whole number from {} to {}", text, least, std::numeric_limits<T>::max());
  };
  return CLI::Validator(check, "");
}

std::optional<std::vector<std::int64_t>> parse_numbers(std::string_view text, std::int64_t least, std::int64_t most) {
  std::vector<std::int64_t> values;
  while (true) {
    const auto comma = text.find(',');
    const auto value = parse_whole<std::int64_t>(text.substr(0, comma));
    if (!value || *value < least || *value > most) return std::nullopt;
    values.push_back(*value);
    if (comma == std::string_view::npos) return values;
    text.remove_prefix(comma + 1);
  }
}

std::string no_empty_name(const std::string& name) {
  return name.empty() ? std::string("the name is empty") : std::string();
}

}  // namespace

std::optional<std::int64_t> parse_size(std::string_view text) {
  constexpr std::string_view kUnits = "KMGT";
  int shift = 0;
  if (!text.empty())
    if (const auto unit = kUnits.find(text.back()); unit != std::string_view::npos) {
      shift = 10 * (static_cast<int>(unit) + 1);
      text.remove_suffix(1);
    }
  const auto value = parse_whole<std::int64_t>(text);
  if (!value || *value <= 0 || *value > (INT64_MAX - 1) >> shift) return std::nullopt;
  return *value << shift;
}

struct CommandLine::Parser {
  CLI::App app{"an engine and agent platform for DeepSeek-V4", "hadal"};
  std::map<const CLI::Option*, std::vector<std::string>> choices;
  std::function<int()> action;

  CommandInfo describe(const CLI::App& command, const std::string& path) const {
    CommandInfo info{path, command.get_description(), {}, {}};
    for (const CLI::Option* o : command.get_options()) {
      OptionInfo option;
      option.positional = o->get_positional();
      if (option.positional) {
        option.names = {o->get_single_name()};
      } else {
        for (const auto& name : o->get_snames()) option.names.push_back("-" + name);
        for (const auto& name : o->get_lnames()) option.names.push_back("--" + name);
      }
      if (o->get_items_expected_max() > 0) option.value = o->get_type_name();
      // A validator appends what it allows to the type name: "WORD:{none,high,max}".
      option.value = option.value.substr(0, option.value.find(':'));
      if (auto found = choices.find(o); found != choices.end()) option.choices = found->second;
      option.help = o->get_description();
      option.default_text = o->get_default_str();
      option.required = o->get_required();
      info.options.push_back(std::move(option));
    }
    for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; })) {
      info.subcommands.push_back(describe(*sub, path + " " + sub->get_name()));
    }
    return info;
  }
};

Opt& Opt::required() { return option_->required(), *this; }
Opt& Opt::takes(const std::string& value) { return option_->type_name(value), *this; }
Opt& Opt::show_default() { return option_->capture_default_str(), *this; }
Opt& Opt::default_text(const std::string& text) { return option_->default_str(text), *this; }
Opt& Opt::among(std::int64_t least, std::int64_t most) { return option_->check(CLI::Range(least, most)), *this; }
Opt& Opt::among_reals(double least, double most) { return option_->check(CLI::Range(least, most)), *this; }

Command Command::add(const std::string& name, const std::string& summary, std::function<int()> action) {
  CLI::App* c = app_->add_subcommand(name, summary);
  c->set_help_flag("-h,--help", "print this page");
  if (action) {
    c->callback([line = line_, action = std::move(action)] { line->parser_->action = action; });
  } else {
    c->require_subcommand(1);
  }
  return {*line_, c};
}

void Command::flag(const std::string& names, bool& value, const std::string& help) {
  app_->add_flag(names, value, help);
}

Opt Command::text(const std::string& names, std::string& value, const std::string& help) {
  return Opt(app_->add_option(names, value, help)->type_name("TEXT"));
}

Opt Command::text(const std::string& names, std::optional<std::string>& value, const std::string& help) {
  return Opt(app_->add_option(names, value, help)->type_name("TEXT"));
}

Opt Command::texts(const std::string& names, std::vector<std::string>& values, const std::string& help) {
  return Opt(app_->add_option(names, values, help)->allow_extra_args(false)->type_name("TEXT"));
}

Opt Command::words(const std::string& name, std::vector<std::string>& values, const std::string& help) {
  return Opt(app_->add_option(name, values, help)->type_name("WORD"));
}

Opt Command::path(const std::string& names, std::string& value, const std::string& help) {
  return Opt(app_->add_option(names, value, help)->type_name("FILE")->check(no_empty_name));
}

Opt Command::path_or_word(const std::string& names, std::string& value, const std::string& help,
                          std::vector<std::string> words) {
  CLI::Option* o = app_->add_option(names, value, help)->type_name("FILE")->check(no_empty_name);
  line_->parser_->choices[o] = std::move(words);
  return Opt(o);
}

Opt Command::choice(const std::string& names, std::string& value, const std::string& help,
                    std::vector<std::string> choices) {
  CLI::Option* o = app_->add_option(names, value, help)->type_name("WORD")->check(CLI::IsMember(choices));
  line_->parser_->choices[o] = std::move(choices);
  return Opt(o);
}

template <class T>
Opt Command::number(const std::string& names, T& value, const std::string& help, int least) {
  CLI::Option* o = app_->add_option(names, value, help)->type_name("N");
  using Value = typename Inner<T>::Type;
  if constexpr (std::is_integral_v<Value>) o->check(whole_number<Value>(static_cast<Value>(least)));
  return Opt(o);
}
template Opt Command::number(const std::string&, int&, const std::string&, int);
template Opt Command::number(const std::string&, std::int64_t&, const std::string&, int);
template Opt Command::number(const std::string&, std::uint64_t&, const std::string&, int);
template Opt Command::number(const std::string&, double&, const std::string&, int);
template Opt Command::number(const std::string&, std::optional<std::int64_t>&, const std::string&, int);
template Opt Command::number(const std::string&, std::optional<std::uint64_t>&, const std::string&, int);
template Opt Command::number(const std::string&, std::optional<double>&, const std::string&, int);

Opt Command::numbers(const std::string& names, std::vector<std::int64_t>& values, const std::string& help,
                     std::int64_t least, std::int64_t most) {
  std::string shown;
  for (const auto value : values) shown += (shown.empty() ? "" : ",") + std::to_string(value);
  CLI::Option* o = app_->add_option(
      names,
      [&values, least, most](const CLI::results_t& given) {
        values = *parse_numbers(given.back(), least, most);
        return true;
      },
      help);
  o->type_name("N,...")->check([least, most](const std::string& text) {
    return parse_numbers(text, least, most)
               ? std::string()
               : fmt::format("'{}' is not a list of whole numbers from {} to {} with commas between them", text, least,
                             most);
  });
  if (!shown.empty()) o->default_str(shown);
  return Opt(o);
}

Opt Command::bytes_or_word(const std::string& names, std::int64_t& value, const std::string& help,
                           std::function<std::optional<std::int64_t>(const std::string&)> read,
                           const std::string& what) {
  CLI::Option* o = app_->add_option(
      names,
      [&value, read](const CLI::results_t& given) {
        value = *read(given.back());
        return true;
      },
      help);
  o->type_name("SIZE")->check([read, what](const std::string& text) {
    return read(text) ? std::string() : fmt::format("'{}' is not {}", text, what);
  });
  return Opt(o);
}

Opt Command::size(const std::string& names, std::int64_t& value, const std::string& help, std::int64_t most) {
  const auto read = [most](const std::string& text) {
    auto bytes = parse_size(text);
    return bytes && *bytes <= most ? bytes : std::nullopt;
  };
  return bytes_or_word(
      names, value, help, read,
      most == INT64_MAX ? "a size (bytes, or with K, M, G or T)" : fmt::format("a size up to {}G", most >> 30));
}

CommandLine::CommandLine() : parser_(std::make_unique<Parser>()) {
  CLI::App& app = parser_->app;
  app.set_version_flag("--version", "hadal " HADAL_VERSION, "print the version");
  app.set_help_flag("-h,--help", "print this page");
  app.require_subcommand(1);
}

CommandLine::~CommandLine() = default;

Command CommandLine::root() { return {*this, &parser_->app}; }
int CommandLine::run() const { return parser_->action(); }
CommandInfo CommandLine::tree() const { return parser_->describe(parser_->app, "hadal"); }

Parsed CommandLine::parse(int argc, char** argv) {
  try {
    parser_->app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return {Parsed::kHelp, {}, false};
  } catch (const CLI::CallForVersion& version) {
    return {Parsed::kVersion, version.what(), false};
  } catch (const CLI::ParseError& error) {
    return {Parsed::kRefused, error.what(), dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr};
  }
  return {};
}

}  // namespace hadal::cli
