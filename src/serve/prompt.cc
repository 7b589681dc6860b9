#include "serve/prompt.h"

#include <algorithm>

#include "chat/codec.h"
#include "chat/templates.h"
#include "serve/conversation.h"

namespace hadal::serve {
namespace {

// A call that must be made is opened for the model: it goes on from the name, or from after it.
Status open_call(const Ask& ask, const Tokenizer& tokenizer, Prompt& out) {
  if (ask.choice.kind == ToolChoice::Kind::kAuto || ask.choice.kind == ToolChoice::Kind::kNone) return {};
  std::string text =
      std::string(chat::text::kCallsLead) + std::string(chat::text::kCallsOpen) + std::string(chat::text::kInvokeOpen);
  const bool named = ask.choice.kind == ToolChoice::Kind::kNamed;
  if (ask.tools.empty())
    return fail(ErrorCode::kUsage, "'tool_choice' asks for a call, but no tool is declared in 'tools'");
  if (named && !out.reading.tools->find(ask.choice.name))
    return fail(ErrorCode::kUsage, "'tool_choice' names the tool '{}', which 'tools' does not declare",
                ask.choice.name);
  const std::size_t dsml = text.rfind(chat::text::kDsml) + chat::text::kDsml.size();
  const std::string tail =
      text.substr(dsml) + (named ? ask.choice.name + std::string(chat::text::kInvokeNameEnd) : std::string());
  const TextSegment segments[] = {{std::string_view(text).substr(0, dsml), true}, {tail, false}};
  out.after_thinking = tokenizer.encode(segments);
  return {};
}

Result<Prompt> raw_prompt(const Ask& ask, const Tokenizer& tokenizer) {
  Prompt out;
  out.reading.raw = true;
  out.reading.tools = std::make_shared<const chat::ToolTypes>();
  out.reading.stop = ask.stop;
  out.reading.logprobs = ask.logprobs;
  out.job_stop = ask.stop;
  out.ids = ask.prompt_ids;
  if (out.ids.empty()) out.ids = tokenizer.encode(ask.prompt);
  for (TokenId id : out.ids)
    if (!tokenizer.contains(id))
      return fail(ErrorCode::kUsage, "'prompt' holds the token id {}, which this model lacks", to_int(id));
  const auto bos = tokenizer.find_added(chat::text::kBos);
  if (bos && (out.ids.empty() || out.ids.front() != *bos)) out.ids.insert(out.ids.begin(), *bos);
  return out;
}

// A turn that was cut off goes on exactly where its tokens end.
Result<Prompt> continued_prompt(const Ask& ask, const Tokenizer& tokenizer) {
  Prompt out;
  const auto think = tokenizer.find_added(chat::text::kThinkOpen);
  out.ids = ask.prompt_ids;
  out.opener = ask.turn_so_far.front();
  out.reading.tools = std::make_shared<const chat::ToolTypes>(HADAL_TRY(chat::ToolTypes::read(ask.tools)));
  out.reading.thinking = think && out.opener == *think;
  out.reading.before.assign(ask.turn_so_far.begin() + 1, ask.turn_so_far.end());
  out.reading.parallel = ask.parallel;
  out.reading.stop = ask.stop;
  out.reading.logprobs = ask.logprobs;
  if (ask.tools.empty()) out.job_stop = ask.stop;
  return out;
}

}  // namespace

Result<Prompt> make_prompt(Ask& ask, const PromptSettings& settings) {
  const Tokenizer& tokenizer = *settings.tokenizer;
  if (ask.raw) return raw_prompt(ask, tokenizer);
  if (!ask.turn_so_far.empty()) return continued_prompt(ask, tokenizer);
  Prompt out;
  HADAL_CHECK_OK(settle(ask.messages));
  if (settings.rewriting) out.rewritten = settings.rewriting->apply(ask.messages);
  // Told to call nothing, the model is not shown the tools, as on the official API.
  if (ask.choice.kind == ToolChoice::Kind::kNone) ask.tools.clear();

  chat::RenderOptions render;
  render.generation = settings.generation;
  render.add_generation_header = settings.header;
  const auto effort = effort_of(ask.effort, settings.generation);
  if (!effort)
    return fail(ErrorCode::kUsage,
                "the reasoning effort '{}' is not known; use none, minimal, low, medium, high, xhigh or max",
                ask.effort);
  ask.thinking = ask.thinking && effort->thinking;
  render.mode = ask.thinking ? chat::ThinkingMode::kThinking : chat::ThinkingMode::kChat;
  render.effort = ask.thinking ? effort->effort : chat::Effort::kDefault;

  out.reading.tools = std::make_shared<const chat::ToolTypes>(HADAL_TRY(chat::ToolTypes::read(ask.tools)));
  if (settings.header && ask.messages.back().role == chat::Role::kAssistant) ask.messages.back().wo_eos = true;
  std::vector<chat::Message> shown = ask.messages;
  chat::declare(shown, ask.tools, "");
  chat::Replayed prompt = HADAL_TRY(chat::replay(tokenizer, shown, render, settings.turns));
  // Turn keys are taken over what is rendered, so that remembering and finding agree.
  ask.messages = std::move(shown);
  if (!prompt.ids.empty()) out.opener = prompt.ids.back();
  out.ids = std::move(prompt.ids);
  out.borders = std::move(prompt.borders);
  out.starts = std::move(prompt.starts);
  out.text = std::move(prompt.text);
  out.remembered = prompt.remembered;
  out.rendered = prompt.rendered;
  out.reading.thinking = prompt.thinking;
  out.reading.continues = prompt.continues;
  out.reading.parallel = ask.parallel;
  out.reading.stop = ask.stop;
  out.reading.logprobs = ask.logprobs;
  // Stop strings are for the answer's text. Inside calls only the reader of the answer can tell, so it stops the job.
  if (ask.tools.empty()) out.job_stop = ask.stop;
  HADAL_CHECK_OK(open_call(ask, tokenizer, out));
  return out;
}

std::string_view role_name(chat::Role role) {
  switch (role) {
    case chat::Role::kSystem:
      return "system";
    case chat::Role::kDeveloper:
      return "developer";
    case chat::Role::kUser:
      return "user";
    case chat::Role::kAssistant:
      return "assistant";
    case chat::Role::kTool:
      return "tool";
    case chat::Role::kLatestReminder:
      return "latest_reminder";
    default:
      return "other";
  }
}

MessagePlaces message_places(const Prompt& prompt, const Ask& ask) {
  MessagePlaces out;
  for (const auto& [at, message] : prompt.starts)
    out.emplace_back(
        at, fmt::format("message {} ({})", message, role_name(ask.messages[static_cast<std::size_t>(message)].role)));
  return out;
}

}  // namespace hadal::serve
