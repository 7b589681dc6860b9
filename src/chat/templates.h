// The literal strings the models were trained on. Data, not prose: every byte matters.
//
// The strings are those of the reference encoder published with the DeepSeek-V4 weights:
//
//   MIT License. Copyright (c) 2023 DeepSeek
//
//   Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
//   documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
//   rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
//   permit persons to whom the Software is furnished to do so, subject to the following conditions:
//
//   The above copyright notice and this permission notice shall be included in all copies or substantial portions of
//   the Software.
//
//   THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO
//   THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
//   AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT,
//   TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
//   SOFTWARE.
//
// The bar in every marker is U+FF5C and the low line U+2581; neither is ASCII.
#pragma once

#include <array>
#include <string_view>
#include <utility>

namespace hadal::chat::text {

// Markers: each is exactly one token of the vocabulary.
inline constexpr std::string_view kBos = "<｜begin▁of▁sentence｜>";
inline constexpr std::string_view kEos = "<｜end▁of▁sentence｜>";
inline constexpr std::string_view kUser = "<｜User｜>";
inline constexpr std::string_view kAssistant = "<｜Assistant｜>";
inline constexpr std::string_view kLatestReminder = "<｜latest_reminder｜>";
inline constexpr std::string_view kThinkOpen = "<think>";
inline constexpr std::string_view kThinkClose = "</think>";
inline constexpr std::string_view kDsml = "｜DSML｜";  // a tag is '<' or '</', this, a name
inline constexpr std::string_view kExtractedUrl = "<｜extracted_url｜>";
inline constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kTasks = {{
    {"action", "<｜action｜>"},
    {"query", "<｜query｜>"},
    {"authority", "<｜authority｜>"},
    {"domain", "<｜domain｜>"},
    {"title", "<｜title｜>"},
    {"read_url", "<｜read_url｜>"},
}};

// User turns. These are plain text, not tokens.
inline constexpr std::string_view kBlockJoin = "\n\n";
inline constexpr std::string_view kResultOpen = "<tool_result>", kResultClose = "</tool_result>";
inline constexpr std::string_view kUnsupportedOpen = "[Unsupported ", kUnsupportedClose = "]";

// System and developer turns.
inline constexpr std::string_view kResponseFormatLead = "\n\n";
inline constexpr std::string_view kResponseFormat = R"TEXT(## Response Format:

You MUST strictly adhere to the following schema to reply:
)TEXT";
inline constexpr std::string_view kToolsLead = "\n\n";
inline constexpr std::string_view kToolSchemaSeparator = "\n";
inline constexpr std::string_view kToolsPrefix = R"TEXT(## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a "<｜DSML｜tool_calls>" block like the following:

<｜DSML｜tool_calls>
<｜DSML｜invoke name="$TOOL_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$TOOL_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜tool_calls>

String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, arrays, objects), pass the value in JSON format and set `string="false"`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside <think>...</think> BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

)TEXT";
inline constexpr std::string_view kToolsSuffix = R"TEXT(

You MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.
)TEXT";

// Calls in assistant turns.
inline constexpr std::string_view kFallbackArgument = "arguments";
inline constexpr std::string_view kCallsLead = "\n\n";
inline constexpr std::string_view kCallsOpen = "<｜DSML｜tool_calls>\n";
inline constexpr std::string_view kCallsClose = "\n</｜DSML｜tool_calls>";
inline constexpr std::string_view kInvokeOpen = "<｜DSML｜invoke name=\"", kInvokeNameEnd = "\">\n";
inline constexpr std::string_view kInvokeClose = "\n</｜DSML｜invoke>";
inline constexpr std::string_view kInvokeSeparator = "\n";
inline constexpr std::string_view kParameterOpen = "<｜DSML｜parameter name=\"", kParameterNameEnd = "\" string=\"";
inline constexpr std::string_view kParameterTypeEnd = "\">", kParameterClose = "</｜DSML｜parameter>";
inline constexpr std::string_view kParameterSeparator = "\n";
inline constexpr std::string_view kStringFlag = "true", kJsonFlag = "false";

// Reasoning effort, at the start of the first turn. The preview's "max" is what 0731 calls "high".
inline constexpr std::string_view kEffortAbsoluteMaximum =
    R"TEXT(Reasoning Effort: Absolute maximum with no shortcuts permitted.
You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.
Explicitly write out your entire deliberation process, documenting every intermediate step, considered alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.

)TEXT";
inline constexpr std::string_view kEffortBeyondMaximum =
    R"TEXT(Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.
You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: exhaustively decompose the problem into its most fundamental components, trace every causal chain to its root, and resolve the underlying cause rather than any surface symptom.
Do not stop reasoning until you have independently verified the solution from multiple angles and are certain that no assumption remains unchecked and no error remains undiscovered.

)TEXT";

}  // namespace hadal::chat::text
