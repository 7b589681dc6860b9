#include "cli/conversation.h"

#include <simdjson.h>

#include "chat/python_json.h"
#include "chat/tokenize.h"
#include "chat/utf8.h"
#include "files/mapped_file.h"

namespace hadal::cli {
namespace {

constexpr std::size_t kMostFileBytes = std::size_t{64} << 20;  // a million tokens of prose take 4 MB

Result<std::string> read_file(const std::string& path) {
  const MappedFile file = HADAL_TRY(MappedFile::open(path));
  if (file.size() == 0)
    return fail(ErrorCode::kBadInput, "{}: is empty; leave the option out or name another file", path);
  if (file.size() > kMostFileBytes)
    return fail(ErrorCode::kBadInput, "{}: {} bytes are more than the {} read at most; name a part of it", path,
                file.size(), kMostFileBytes);
  std::string text(reinterpret_cast<const char*>(file.bytes().data()), file.size());
  HADAL_CHECK_OK(check_text(text, path));
  return text;
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
    // Asking for the place in the text fails exactly when all of it was read.
    if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) return simdjson::TRAILING_CONTENT;
    return simdjson::SUCCESS;
  };
  if (auto e = walk())
    return fail(ErrorCode::kBadInput, "{} is not a JSON list of tool objects ({})", path, simdjson::error_message(e));
  if (tools.empty()) return fail(ErrorCode::kBadInput, "{} declares no tool", path);
  for (std::size_t i = 0; i < tools.size(); ++i) {
    const auto function = chat::parse_json(tools[i].function_json);
    const chat::JsonValue* name = function ? function->find("name") : nullptr;
    if (!name || !name->is(chat::JsonValue::Kind::kString) || name->text.empty())
      return fail(ErrorCode::kBadInput, "{}: tool {} has no \"name\", a string; the model could not call it", path,
                  i + 1);
  }
  return tools;
}

}  // namespace

Status check_text(std::string_view text, std::string_view name) {
  if (chat::is_utf8(text)) return {};
  return fail(ErrorCode::kBadInput, "{}: not valid UTF-8; convert it, for example with iconv", name);
}

Result<Conversation> Conversation::make(const RunOptions& options, ChatGeneration detected) {
  Conversation c;
  c.render_.generation = detected == ChatGeneration::k0731 ? chat::Generation::k0731 : chat::Generation::kPreview;
  if (!options.format.empty()) c.render_.generation = HADAL_TRY(chat::parse_generation(options.format));
  c.render_.mode = options.think == "none" ? chat::ThinkingMode::kChat : chat::ThinkingMode::kThinking;
  if (options.think != "none") c.render_.effort = HADAL_TRY(chat::parse_effort(c.render_.generation, options.think));
  HADAL_CHECK_OK(check_text(options.system, "--system"));
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
