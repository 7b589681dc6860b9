#include "cli/conversation.h"

#include <simdjson.h>

#include <fstream>
#include <sstream>

#include "chat/tokenize.h"

namespace hadal::cli {
namespace {

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf())) return fail(ErrorCode::kNotFound, "cannot read {}", path);
  return std::move(text).str();
}

// A JSON list of tools, each {"type": "function", "function": {...}} or the function object itself. The function's own
// spelling is kept.
Result<std::vector<chat::ToolSchema>> read_tools(const std::string& path) {
  std::string text = HADAL_TRY(read_file(path));
  simdjson::padded_string padded(text);
  simdjson::ondemand::parser parser;
  std::vector<chat::ToolSchema> tools;
  auto walk = [&]() -> simdjson::error_code {
    simdjson::ondemand::document document;
    if (auto e = parser.iterate(padded).get(document)) return e;
    simdjson::ondemand::array list;
    if (auto e = document.get_array().get(list)) return e;
    for (auto item : list) {
      simdjson::ondemand::object tool;
      if (auto e = item.get_object().get(tool)) return e;
      std::string_view raw;
      simdjson::ondemand::object function;
      if (tool.find_field_unordered("function").get_object().get(function) == simdjson::SUCCESS) {
        if (auto e = function.raw_json().get(raw)) return e;
      } else {
        if (auto e = tool.reset().error()) return e;
        if (auto e = tool.raw_json().get(raw)) return e;
      }
      tools.push_back({std::string(raw)});
    }
    return simdjson::SUCCESS;
  };
  if (auto e = walk())
    return fail(ErrorCode::kBadInput, "{} is not a JSON list of tool objects ({})", path, simdjson::error_message(e));
  if (tools.empty()) return fail(ErrorCode::kBadInput, "{} declares no tool", path);
  return tools;
}

}  // namespace

Result<Conversation> Conversation::make(const RunOptions& options, ChatGeneration detected) {
  Conversation c;
  c.render_.generation = detected == ChatGeneration::k0731 ? chat::Generation::k0731 : chat::Generation::kPreview;
  if (!options.format.empty()) c.render_.generation = HADAL_TRY(chat::parse_generation(options.format));
  c.render_.mode = options.think == "none" ? chat::ThinkingMode::kChat : chat::ThinkingMode::kThinking;
  if (options.think != "none") c.render_.effort = HADAL_TRY(chat::parse_effort(c.render_.generation, options.think));
  if (!options.system.empty()) {
    chat::Message system;
    system.role = chat::Role::kSystem;
    system.content = options.system;
    c.messages_.push_back(std::move(system));
  }
  if (!options.tools_file.empty()) {
    std::vector<chat::ToolSchema> tools = HADAL_TRY(read_tools(options.tools_file));
    c.tool_types_ = HADAL_TRY(chat::ToolTypes::read(tools));
    chat::declare(c.messages_, std::move(tools), /*response_format=*/"");
  }
  c.head_ = c.messages_.size();
  if (!options.prompt_file.empty()) c.document_ = HADAL_TRY(read_file(options.prompt_file));
  return c;
}

void Conversation::add_user(const std::string& text) {
  chat::Message user;
  user.role = chat::Role::kUser;
  bool first = messages_.size() == head_;
  user.content = first && !document_.empty() ? document_ + "\n\n" + text : text;
  messages_.push_back(std::move(user));
}

Result<std::vector<TokenId>> Conversation::tokens(const Tokenizer& tokenizer) const {
  chat::Rendered rendered = HADAL_TRY(chat::render(messages_, render_));
  return chat::prompt_tokens(tokenizer, rendered);
}

}  // namespace hadal::cli
