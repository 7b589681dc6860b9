// What distinguishes the generations of the chat format, and the modes a turn is asked for in.
// Which generation a checkpoint has is found when it is opened (weights/checkpoint.h).
// Source: chat-format specification 1 and 5.
#pragma once

#include <string_view>

#include "base/result.h"

namespace hadal::chat {

enum class Generation {
  kPreview,  // V4-Pro, V4-Flash (April 2026), the DSpark variants
  k0731,     // V4-Flash-0731 and later V4 checkpoints: effort names and texts moved by one step
};

enum class ThinkingMode { kChat, kThinking };

enum class Effort {
  kDefault,  // not named: preview adds nothing, 0731 means low
  kLow,      // 0731 only
  kHigh,
  kMax,
};

// "preview" or "v4-preview", "0731" or "v4-0731"; `unsupported_encoder` for anything else, v4.1 included.
Result<Generation> parse_generation(std::string_view name);
std::string_view generation_name(Generation generation);  // "preview" or "0731"

// "chat" or "thinking"; else `invalid_thinking_mode`.
Result<ThinkingMode> parse_thinking_mode(std::string_view name);

// "low" (0731), "high", "max"; else `invalid_reasoning_effort`.
Result<Effort> parse_effort(Generation generation, std::string_view name);

// The text an effort puts at the very start of a thinking prompt, often empty. An effort the generation lacks is
// `invalid_reasoning_effort`.
Result<std::string_view> effort_text(Generation generation, Effort effort);

}  // namespace hadal::chat
