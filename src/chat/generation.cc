#include "chat/generation.h"

#include "chat/templates.h"

namespace hadal::chat {
namespace {

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
