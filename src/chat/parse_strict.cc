// The reference's reading of a completion, oddities included. A conformance tool: users are served by the lenient
// parser, whose state machine cannot be shared, because here a tag is found first and its attributes matched
// afterwards.
#include <initializer_list>
#include <set>

#include "chat/codec.h"
#include "chat/python_json.h"
#include "chat/templates.h"
#include "chat/utf8.h"

namespace hadal::chat {
namespace {

constexpr std::string_view kBlockStart = "\n\n<｜DSML｜tool_calls", kBlockEnd = "</｜DSML｜tool_calls>";
constexpr std::string_view kInvokeStart = "<｜DSML｜invoke", kInvokeEnd = "</｜DSML｜invoke";
constexpr std::string_view kParameterStart = "<｜DSML｜parameter", kParameterEnd = "/｜DSML｜parameter";

// Python's str.isspace for the code point at the start of the text: its length in bytes, or 0.
std::size_t python_space(std::string_view text) {
  if (text.empty()) return 0;
  auto c = static_cast<unsigned char>(text[0]);
  if ((c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20)) return 1;
  for (std::string_view wide :
       {"\u0085", "\u00A0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006", "\u2007",
        "\u2008", "\u2009", "\u200A", "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"}) {
    if (text.starts_with(wide)) return wide.size();
  }
  return 0;
}

std::string shown(std::string_view text) {
  constexpr std::size_t kMost = 60;  // bytes of the offending text in an error
  return json_string(text.size() <= kMost ? text : text.substr(0, kMost - utf8_waiting(text.substr(0, kMost))));
}

class StrictParser {
 public:
  explicit StrictParser(std::string_view text) : text_(text) {}

  Result<Message> run(bool thinking) {
    Message message;
    message.role = Role::kAssistant;
    if (thinking) {
      message.reasoning_content = read_to({text::kThinkClose, kBlockStart});
      if (stop_ != text::kThinkClose) return wrong("missing_think_end", "the reasoning does not end in </think>");
    }
    message.content = read_to({text::kEos, kBlockStart});
    if (stop_.empty()) return wrong("missing_eos", "the end-of-sentence marker is missing");
    if (stop_ == kBlockStart) {
      message.tool_calls = HADAL_TRY(calls());
      if (!read_to({text::kEos}).empty()) return wrong("content_after_tool_calls", "text follows the tool calls");
    }
    if (at_ != text_.size()) return wrong("trailing_content", "text follows the end-of-sentence marker");
    for (std::string_view marker : {text::kBos, text::kEos, text::kThinkOpen, text::kThinkClose, text::kDsml}) {
      if (message.reasoning_content.find(marker) != std::string::npos ||
          message.content->find(marker) != std::string::npos) {
        return wrong("special_token_in_content", fmt::format("{} occurs inside the text", marker));
      }
    }
    return message;
  }

 private:
  std::unexpected<Error> wrong(std::string_view name, std::string_view what) const {
    return fail(ErrorCode::kBadInput, "{}: {} (byte {} of the completion)", name, what, at_);
  }

  // The text up to the first of the stops, which is consumed and left in stop_; to the end, with stop_ empty, if none.
  std::string_view read_to(std::initializer_list<std::string_view> stops) {
    std::size_t start = at_, found = text_.size();
    stop_ = "";
    for (std::string_view stop : stops) {
      if (std::size_t i = text_.find(stop, start); i < found) found = i, stop_ = stop;
    }
    at_ = found + stop_.size();
    return text_.substr(start, found - start);
  }

  Result<std::vector<ToolCall>> calls() {
    std::vector<ToolCall> calls;
    while (at_ < text_.size()) {
      std::string_view between = read_to({kInvokeStart, kBlockEnd});
      if (between != ">\n") return wrong("tool_block_format", "expected '>' and a newline, found " + shown(between));
      if (stop_ == kBlockEnd) break;
      if (stop_.empty()) return wrong("missing_tool_tag", "the block has neither a call nor an end");
      ToolCall& call = calls.emplace_back();
      call.name = HADAL_TRY(name(read_to({kParameterStart, kInvokeEnd})));
      call.arguments = "{";
      std::set<std::string_view> seen;
      while (stop_ == kParameterStart) HADAL_CHECK_OK(parameter(call, seen));
      call.arguments += "}";
    }
    return calls;
  }

  // ^\s*name="(.*?)">\n$ where $ also matches before a final newline.
  Result<std::string> name(std::string_view tag) {
    std::string_view rest = tag;
    while (std::size_t space = python_space(rest)) rest.remove_prefix(space);
    for (std::string_view end : {"\">\n\n", "\">\n"}) {
      constexpr std::string_view kOpen = "name=\"";
      if (rest.starts_with(kOpen) && rest.ends_with(end) && rest.size() >= kOpen.size() + end.size()) {
        return std::string(rest.substr(kOpen.size(), rest.size() - kOpen.size() - end.size()));
      }
    }
    return wrong("tool_name_format", "expected name=\"...\"> and a newline, found " + shown(tag));
  }

  // ^ name="(.*?)" string="(true|false)">(.*?)<$ with the same $, then '>' and a newline.
  Status parameter(ToolCall& call, std::set<std::string_view>& seen) {
    std::string_view tag = read_to({kParameterEnd});
    constexpr std::string_view kOpen = " name=\"", kFlag = "\" string=\"";
    auto malformed = [&] { return wrong("parameter_format", "malformed parameter " + shown(tag)); };
    if (!tag.starts_with(kOpen)) return malformed();
    std::size_t from = kOpen.size(), flag = tag.find(kFlag, from);
    bool is_string = false;
    std::string_view value;
    for (;; flag = tag.find(kFlag, flag + 1)) {
      if (flag == std::string_view::npos) return malformed();
      value = tag.substr(flag + kFlag.size());
      is_string = value.starts_with("true\">");
      if (is_string || value.starts_with("false\">")) break;
    }
    value.remove_prefix(value.find('>') + 1);
    if (value.ends_with("<\n")) {
      value.remove_suffix(2);
    } else if (value.ends_with("<")) {
      value.remove_suffix(1);
    } else {
      return malformed();
    }
    std::string_view key = tag.substr(from, flag - from);
    if (!seen.insert(key).second) return wrong("duplicate_parameter", "a second parameter " + shown(key));
    if (seen.size() > 1) call.arguments += ", ";
    call.arguments += json_string(key) + ": ";
    call.arguments += is_string ? json_string(value) : std::string(value);
    if (std::string_view after = read_to({kParameterStart, kInvokeEnd}); after != ">\n") {
      return wrong("parameter_format", "expected '>' and a newline after a parameter, found " + shown(after));
    }
    return {};
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string_view stop_;  // which stop the last read_to ended on
};

}  // namespace

Result<Message> parse_strict(std::string_view completion, ThinkingMode mode) {
  return StrictParser(completion).run(mode == ThinkingMode::kThinking);
}

}  // namespace hadal::chat
