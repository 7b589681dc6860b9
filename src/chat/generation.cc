#include "chat/generation.h"

#include "chat/templates.h"

namespace hadal::chat {
namespace {

// True if some line begins with `name` followed by an assignment, as a top-level Python name would be.
bool assigns(std::string_view source, std::string_view name, std::string_view value = "") {
  for (std::size_t at = source.find(name); at != std::string_view::npos; at = source.find(name, at + 1)) {
    if (at > 0 && source[at - 1] != '\n') continue;
    std::string_view line = source.substr(at, source.find('\n', at) - at);
    std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    char after_name = line[name.size()];
    if (after_name != ' ' && after_name != ':' && after_name != '=') continue;  // a longer name
    if (value.empty() || line.substr(equals).find(value) != std::string_view::npos) return true;
  }
  return false;
}

std::unexpected<Error> wrong_effort(Generation generation, std::string_view name) {
  return fail(ErrorCode::kUsage, "invalid_reasoning_effort: generation {} has no reasoning effort '{}'; use {}",
              generation_name(generation), name,
              generation == Generation::kPreview ? "high or max" : "low, high or max");
}

}  // namespace

Result<Generation> parse_generation(std::string_view name) {
  if (name == "preview" || name == "v4-preview") return Generation::kPreview;
  if (name == "0731" || name == "v4-0731") return Generation::k0731;
  return fail(ErrorCode::kUnsupported,
              "unsupported_encoder: chat format '{}' is not one hadal renders; use preview or 0731", name);
}

std::string_view generation_name(Generation generation) {
  return generation == Generation::kPreview ? "preview" : "0731";
}

Generation detect_generation(std::string_view source) {
  bool later = assigns(source, "REASONING_EFFORT_PROMPTS") && (assigns(source, "DEFAULT_REASONING_EFFORT", "\"low\"") ||
                                                               assigns(source, "DEFAULT_REASONING_EFFORT", "'low'"));
  return later ? Generation::k0731 : Generation::kPreview;
}

Result<ThinkingMode> parse_thinking_mode(std::string_view name) {
  if (name == "chat") return ThinkingMode::kChat;
  if (name == "thinking") return ThinkingMode::kThinking;
  return fail(ErrorCode::kUsage, "invalid_thinking_mode: there is no thinking mode '{}'; use chat or thinking", name);
}

Result<Effort> parse_effort(Generation generation, std::string_view name) {
  if (name == "low" && generation == Generation::k0731) return Effort::kLow;
  if (name == "high") return Effort::kHigh;
  if (name == "max") return Effort::kMax;
  return wrong_effort(generation, name);
}

Result<std::string_view> effort_text(Generation generation, Effort effort) {
  bool preview = generation == Generation::kPreview;
  switch (effort) {
    case Effort::kDefault:
      return "";
    case Effort::kLow:
      if (preview) return wrong_effort(generation, "low");
      return "";
    case Effort::kHigh:
      return preview ? "" : text::kEffortAbsoluteMaximum;
    case Effort::kMax:
      return preview ? text::kEffortAbsoluteMaximum : text::kEffortBeyondMaximum;
  }
  return fail(ErrorCode::kInternal, "an effort outside its enumeration");
}

}  // namespace hadal::chat
