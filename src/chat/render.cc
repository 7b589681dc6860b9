#include <algorithm>

#include "chat/codec.h"
#include "chat/prepare.h"
#include "chat/python_json.h"
#include "chat/templates.h"

namespace hadal::chat {
namespace {

// Collects text and remembers where each piece came from.
class Writer {
 public:
  void set_message(int index) { message_ = index; }
  void marker(std::string_view text) { add(SegmentKind::kMarker, text); }
  void plain(std::string_view text) { add(SegmentKind::kPlain, text); }

  // Template text: the markers in it become markers. Those quoted inside the tool instructions too, as plain
  // tokenisation of the reference's output gives.
  void fixed(std::string_view text) { split(text, kTemplateMarkers, SegmentKind::kTemplate); }

  // Text in which the one marker a client is meant to write is a marker.
  void plain_with_urls(std::string_view text) { split(text, std::span(&text::kExtractedUrl, 1), SegmentKind::kPlain); }

  Rendered take() { return std::move(out_); }

 private:
  static constexpr std::string_view kTemplateMarkers[] = {text::kThinkOpen, text::kThinkClose, text::kDsml};

  void split(std::string_view text, std::span<const std::string_view> markers, SegmentKind between) {
    while (!text.empty()) {
      std::size_t at = text.size();
      std::string_view found;
      for (std::string_view marker : markers) {
        if (std::size_t i = text.find(marker); i < at) at = i, found = marker;
      }
      add(between, text.substr(0, at));
      marker(found);
      text.remove_prefix(at + found.size());
    }
  }

  void add(SegmentKind kind, std::string_view text) {
    if (text.empty()) return;
    std::size_t begin = out_.text.size();
    out_.text += text;
    Segment* last = out_.segments.empty() ? nullptr : &out_.segments.back();
    if (last && kind != SegmentKind::kMarker && last->kind == kind && last->message == message_) {
      last->end = out_.text.size();
    } else {
      out_.segments.push_back({kind, begin, out_.text.size(), message_});
    }
  }

  Rendered out_;
  int message_ = -1;
};

class Renderer {
 public:
  Renderer(const Prepared& prepared, const RenderOptions& options, std::string_view effort)
      : turns_(prepared.turns),
        prepared_(prepared),
        options_(options),
        effort_(effort),
        thinking_(options.mode == ThinkingMode::kThinking) {}

  Result<Rendered> run(bool bos) {
    if (bos) out_.marker(text::kBos);
    for (std::size_t i = prepared_.first; i < turns_.size(); ++i) {
      out_.set_message(turns_[i].index);
      if (i == 0 && thinking_) out_.fixed(effort_);
      HADAL_CHECK_OK(turn(i));
      HADAL_CHECK_OK(follow(i));
    }
    return out_.take();
  }

 private:
  std::unexpected<Error> wrong(std::string_view name, const Turn& turn, std::string_view what) const {
    return fail(ErrorCode::kBadInput, "{}: message {} {}", name, turn.index, what);
  }

  Status turn(std::size_t i) {
    const Turn& turn = turns_[i];
    const Message& message = *turn.message;
    switch (turn.role) {
      case Role::kSystem:
        out_.plain(message.content.value_or(""));
        return declarations(turn);
      case Role::kDeveloper:
        if (message.content.value_or("").empty()) return wrong("empty_developer", turn, "(developer) has no content");
        out_.marker(text::kUser);
        out_.plain(*message.content);
        return declarations(turn);
      case Role::kUser:
        return user(turn);
      case Role::kLatestReminder:
        if (!message.content) return wrong("type_error", turn, "(latest_reminder) has null content");
        out_.marker(text::kLatestReminder);
        out_.plain(*message.content);
        return {};
      case Role::kAssistant:
        return assistant(i);
      default:
        return wrong("unknown_role", turn, fmt::format("has role '{}', which cannot be rendered", message.role_name));
    }
  }

  // The tools and the reply format a system or developer message declares.
  Status declarations(const Turn& turn) {
    const Message& message = *turn.message;
    if (!message.tools.empty()) {
      out_.fixed(text::kToolsLead);
      out_.fixed(text::kToolsPrefix);
      for (std::size_t i = 0; i < message.tools.size(); ++i) {
        if (i > 0) out_.fixed(text::kToolSchemaSeparator);
        auto schema = respell_json(message.tools[i].function_json);
        if (!schema) return wrong("malformed_json", turn, fmt::format("tool {}: {}", i, schema.error().what));
        out_.plain(*schema);
      }
      out_.fixed(text::kToolsSuffix);
    }
    if (!message.response_format.empty()) {
      auto format = respell_json(message.response_format);
      if (!format) return wrong("malformed_json", turn, fmt::format("response_format: {}", format.error().what));
      out_.fixed(text::kResponseFormatLead);
      out_.fixed(text::kResponseFormat);
      out_.plain(*format);
    }
    return {};
  }

  Status user(const Turn& turn) {
    out_.marker(text::kUser);
    for (std::size_t i = 0; i < turn.parts.size(); ++i) {
      const TurnPart& part = turn.parts[i];
      const Message& message = *part.message;
      if (i > 0) out_.fixed(text::kBlockJoin);
      out_.set_message(part.index);
      if (part.is_result()) {
        tool_result(message);
      } else if (!message.content) {
        return wrong("type_error", turn, "(user) has null content; use an empty string");
      } else if (turn.task() == "read_url") {
        out_.plain_with_urls(*message.content);
      } else {
        out_.plain(*message.content);
      }
    }
    return {};
  }

  void tool_result(const Message& message) {
    out_.fixed(text::kResultOpen);
    for (std::size_t i = 0; i < message.blocks.size(); ++i) {
      if (i > 0) out_.fixed(text::kBlockJoin);
      bool unsupported = message.blocks[i].kind == ContentBlock::Kind::kUnsupported;
      if (unsupported) out_.fixed(text::kUnsupportedOpen);
      out_.plain(message.blocks[i].text);
      if (unsupported) out_.fixed(text::kUnsupportedClose);
    }
    // Python's spelling of null, which is what the reference writes.
    if (message.blocks.empty()) out_.plain(message.content ? *message.content : "None");
    out_.fixed(text::kResultClose);
  }

  Status assistant(std::size_t i) {
    const Turn& turn = turns_[i];
    const Message& message = *turn.message;
    bool answers_task = i > 0 && turns_[i - 1].task();
    bool current = static_cast<std::ptrdiff_t>(i) > prepared_.last_user;
    if (thinking_ && !answers_task && (!prepared_.drops || current)) {
      if (!turn.reasoning_dropped) out_.plain(message.reasoning_content);
      if (message.wo_eos && message.open_reasoning) return {};
      out_.marker(text::kThinkClose);
    }
    out_.plain(message.content.value_or(""));
    if (!message.tool_calls.empty()) {
      out_.fixed(text::kCallsLead);
      out_.fixed(text::kCallsOpen);
      for (std::size_t k = 0; k < message.tool_calls.size(); ++k) {
        if (k > 0) out_.fixed(text::kInvokeSeparator);
        HADAL_CHECK_OK(call(turn, message.tool_calls[k]));
      }
      out_.fixed(text::kCallsClose);
    }
    if (!message.wo_eos) out_.marker(text::kEos);
    return {};
  }

  Status call(const Turn& turn, const ToolCall& call) {
    out_.fixed(text::kInvokeOpen);
    out_.plain(call.name);
    out_.fixed(text::kInvokeNameEnd);
    auto arguments = parse_json(call.arguments);
    if (!arguments) {
      parameter(text::kFallbackArgument, true, call.arguments);  // not JSON: one string holding it all
    } else if (!arguments->is(JsonValue::Kind::kObject)) {
      return wrong("type_error", turn, fmt::format("calls '{}' with arguments that are not a JSON object", call.name));
    } else {
      for (std::size_t i = 0; i < arguments->members.size(); ++i) {
        if (i > 0) out_.fixed(text::kParameterSeparator);
        const JsonValue& value = arguments->members[i].value;
        bool is_string = value.is(JsonValue::Kind::kString);
        parameter(arguments->members[i].key, is_string, is_string ? value.text : python_json(value));
      }
    }
    out_.fixed(text::kInvokeClose);
    return {};
  }

  void parameter(std::string_view key, bool is_string, std::string_view value) {
    out_.fixed(text::kParameterOpen);
    out_.plain(key);
    out_.fixed(text::kParameterNameEnd);
    out_.fixed(is_string ? text::kStringFlag : text::kJsonFlag);
    out_.fixed(text::kParameterTypeEnd);
    out_.plain(value);
    out_.fixed(text::kParameterClose);
  }

  // What comes after a turn: the assistant header, a task's token, or nothing.
  Status follow(std::size_t i) {
    const Turn& turn = turns_[i];
    if (i + 1 < turns_.size()) {
      Role next = turns_[i + 1].role;
      if (next != Role::kAssistant && next != Role::kLatestReminder) return {};
    } else if (!options_.add_generation_header) {
      return {};
    }
    if (turn.task()) return task(turn);
    if (turn.role != Role::kUser && turn.role != Role::kDeveloper) return {};
    bool current = static_cast<std::ptrdiff_t>(i) >= prepared_.last_user;
    header(thinking_ && (!prepared_.drops || current));
    return {};
  }

  Status task(const Turn& turn) {
    auto found = std::ranges::find(text::kTasks, *turn.task(), &std::pair<std::string_view, std::string_view>::first);
    if (found == text::kTasks.end()) {
      return wrong("invalid_task", turn, fmt::format("asks for task '{}', which does not exist", *turn.task()));
    }
    if (found->first == "action") header(thinking_);
    out_.marker(found->second);
    return {};
  }

  void header(bool think) {
    out_.marker(text::kAssistant);
    out_.marker(think ? text::kThinkOpen : text::kThinkClose);
  }

  const std::vector<Turn>& turns_;
  const Prepared& prepared_;
  const RenderOptions& options_;
  std::string_view effort_;
  bool thinking_;
  Writer out_;
};

}  // namespace

Result<Rendered> render(std::span<const Message> messages, const RenderOptions& options,
                        std::span<const Message> context) {
  std::string_view effort = HADAL_TRY(effort_text(options.generation, options.effort));
  bool thinking = options.mode == ThinkingMode::kThinking;
  Prepared prepared = prepare(context, messages, thinking, options.drop_thinking);
  return Renderer(prepared, options, effort).run(options.add_bos && context.empty());
}

std::vector<TokenRun> token_runs(const Rendered& rendered) {
  std::vector<TokenRun> runs;
  std::string_view text = rendered.text;
  for (std::size_t i = 0; i < rendered.segments.size();) {
    std::size_t begin = rendered.segments[i].begin, end = rendered.segments[i].end;
    bool is_marker = rendered.segments[i].kind == SegmentKind::kMarker;
    for (++i; !is_marker && i < rendered.segments.size() && rendered.segments[i].kind != SegmentKind::kMarker; ++i) {
      end = rendered.segments[i].end;
    }
    runs.push_back({is_marker, text.substr(begin, end - begin)});
  }
  return runs;
}

}  // namespace hadal::chat
