#include "serve/transcript.h"

#include <algorithm>

#include "chat/lenient_parser.h"
#include "chat/templates.h"
#include "chat/tool_types.h"

namespace hadal::serve {
namespace {

using chat::Message;
using chat::Role;

std::string text_of(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  StreamDecoder decoder(tokenizer);
  std::string out;
  for (const TokenId id : ids) decoder.push(id, out);
  decoder.finish(out);
  return out;
}

class Reader {
 public:
  Reader(const Tokenizer& tokenizer, chat::Generation generation, std::span<const TokenId> ids, Transcript& out)
      : tokenizer_(tokenizer), generation_(generation), ids_(ids), out_(out) {
    bos_ = tokenizer.find_added(chat::text::kBos);
    eos_ = tokenizer.find_added(chat::text::kEos);
    user_ = tokenizer.find_added(chat::text::kUser);
    assistant_ = tokenizer.find_added(chat::text::kAssistant);
    reminder_ = tokenizer.find_added(chat::text::kLatestReminder);
    think_ = tokenizer.find_added(chat::text::kThinkOpen);
    close_ = tokenizer.find_added(chat::text::kThinkClose);
  }

  // False: these tokens are no conversation.
  bool run(bool sampled) {
    if (!user_ || !assistant_ || !think_ || !close_ || !eos_) return false;
    if (at_ < ids_.size() && ids_[at_] == bos_) ++at_;
    read_head();
    if (at_ == ids_.size()) return !sampled;
    while (at_ < ids_.size()) {
      if (ids_[at_] == *assistant_)
        read_answer();
      else if (ids_[at_] == *user_)
        read_user();
      else if (reminder_ && ids_[at_] == *reminder_)
        read_reminder();
      else
        return false;
    }
    return true;
  }

  chat::ParsedTurn parse(std::span<const TokenId> turn) const {
    const chat::ToolTypes types = chat::ToolTypes::read(out_.tools).value_or(chat::ToolTypes());
    chat::LenientParser parser(chat::serving_options(types, !turn.empty() && turn.front() == *think_));
    StreamDecoder decoder(tokenizer_);
    chat::ParsedTurn parsed;
    for (std::size_t i = 1; i < turn.size() && turn[i] != *eos_; ++i) {
      std::string text;
      if (decoder.push(turn[i], text)) parsed.add(parser.push(text, tokenizer_.is_added(turn[i])));
    }
    std::string tail;
    decoder.finish(tail);
    parsed.add(parser.push(tail));
    parsed.add(parser.finish());
    return parsed;
  }

  // From an opener on: the turn's tokens, the end of sentence included.
  std::size_t turn_end(std::size_t from) const {
    while (from < ids_.size() && ids_[from] != *eos_ && !starts_turn(ids_[from])) ++from;
    return from < ids_.size() && ids_[from] == *eos_ ? from + 1 : from;
  }

  TokenId think() const { return *think_; }
  TokenId close() const { return *close_; }

 private:
  bool starts_turn(TokenId id) const { return id == *user_ || id == *assistant_ || id == reminder_; }
  std::size_t plain_end(std::size_t from) const {
    while (from < ids_.size() && !starts_turn(ids_[from])) ++from;
    return from;
  }
  std::string text_between(std::size_t from, std::size_t to) const {
    return text_of(tokenizer_, ids_.subspan(from, to - from));
  }

  // Effort, system text and tools.
  void read_head() {
    const std::size_t end = plain_end(at_);
    std::string text = text_between(at_, end);
    const bool newer = generation_ == chat::Generation::k0731;
    out_.effort = newer ? "low" : "high";
    if (text.starts_with(chat::text::kEffortAbsoluteMaximum)) {
      out_.effort = newer ? "high" : "max";
      text.erase(0, chat::text::kEffortAbsoluteMaximum.size());
    } else if (text.starts_with(chat::text::kEffortBeyondMaximum)) {
      out_.effort = "max";
      text.erase(0, chat::text::kEffortBeyondMaximum.size());
    }
    thinking_effort_ = out_.effort;
    out_.effort.clear();
    take_tools(text);
    at_ = end;
    if (text.empty()) return;
    TranscriptTurn turn;
    turn.message.role = Role::kSystem;
    turn.message.content = std::move(text);
    turn.to = static_cast<Position>(end);
    out_.turns.push_back(std::move(turn));
  }

  void take_tools(std::string& text) {
    const std::string lead = std::string(chat::text::kToolsLead) + std::string(chat::text::kToolsPrefix);
    const std::size_t begin = text.find(lead);
    if (begin == std::string::npos || !text.ends_with(chat::text::kToolsSuffix)) return;
    std::string_view schemas = text;
    schemas.remove_prefix(begin + lead.size());
    if (schemas.size() < chat::text::kToolsSuffix.size()) return;
    schemas.remove_suffix(chat::text::kToolsSuffix.size());
    std::vector<chat::ToolSchema> tools;
    while (!schemas.empty()) {
      const std::size_t line = std::min(schemas.find(chat::text::kToolSchemaSeparator), schemas.size());
      tools.push_back({std::string(schemas.substr(0, line))});
      schemas.remove_prefix(std::min(schemas.size(), line + chat::text::kToolSchemaSeparator.size()));
    }
    if (tools.empty() || !chat::ToolTypes::read(tools)) return;
    out_.tools = std::move(tools);
    text.erase(begin);
  }

  void read_user() {
    const std::size_t from = at_;
    at_ = plain_end(from + 1);
    std::string text = text_between(from + 1, at_);
    const auto add = [&](Role role, std::string content, std::string id) {
      TranscriptTurn turn;
      turn.message.role = role;
      turn.message.content = std::move(content);
      turn.message.tool_call_id = std::move(id);
      turn.from = static_cast<Position>(from);
      turn.to = static_cast<Position>(at_);
      out_.turns.push_back(std::move(turn));
    };
    std::vector<std::string> calls;
    if (!out_.turns.empty())
      for (const chat::ToolCall& call : out_.turns.back().message.tool_calls) calls.push_back(call.id);
    for (std::size_t i = 0; i < calls.size() && text.starts_with(chat::text::kResultOpen); ++i) {
      const std::string close(chat::text::kResultClose);
      const std::string next = close + std::string(chat::text::kBlockJoin) + std::string(chat::text::kResultOpen);
      // The last result ends where nothing or the user's own text follows.
      std::size_t end = i + 1 < calls.size() ? text.find(next) : std::string::npos;
      if (end == std::string::npos) end = text.find(close + std::string(chat::text::kBlockJoin));
      if (end == std::string::npos && text.ends_with(close)) end = text.size() - close.size();
      if (end == std::string::npos) break;
      add(Role::kTool, text.substr(chat::text::kResultOpen.size(), end - chat::text::kResultOpen.size()), calls[i]);
      text.erase(0, end + close.size());
      if (text.starts_with(chat::text::kBlockJoin)) text.erase(0, chat::text::kBlockJoin.size());
      if (text.empty()) return;
    }
    add(Role::kUser, std::move(text), "");
  }

  void read_reminder() {
    TranscriptTurn turn;
    turn.message.role = Role::kLatestReminder;
    turn.from = static_cast<Position>(at_);
    const std::size_t end = plain_end(at_ + 1);
    turn.message.content = text_between(at_ + 1, end);
    at_ = end;
    turn.to = static_cast<Position>(end);
    out_.turns.push_back(std::move(turn));
  }

  void read_answer() {
    TranscriptTurn turn;
    turn.message.role = Role::kAssistant;
    turn.from = static_cast<Position>(at_);
    const std::size_t begin = at_ + 1;
    at_ = turn_end(begin);
    const auto ids = ids_.subspan(begin, at_ - begin);
    turn.finished = !ids.empty() && ids.back() == *eos_;
    turn.to = static_cast<Position>(at_);
    if (!ids.empty()) {
      const chat::ParsedTurn parsed = parse(ids);
      turn.message = parsed.message();
      turn.message.role = Role::kAssistant;
      for (std::size_t i = 0, closed = 0; i < parsed.calls.size(); ++i)
        if (parsed.calls[i].closed) turn.message.tool_calls[closed++].id = fmt::format("call_{}_{}", turn.from, i);
      turn.message.sampled.assign(ids.begin(), ids.end());
      out_.effort = ids.front() == *think_ ? thinking_effort_ : "none";
      // Generation ends behind the calls; the end-of-sentence token is put in when their results follow.
      const bool all_closed =
          std::all_of(parsed.calls.begin(), parsed.calls.end(), [](const auto& c) { return c.closed; });
      if (!parsed.calls.empty() && all_closed)
        turn.finished = turn.finished || text_between(begin, at_).ends_with(chat::text::kCallsClose);
    }
    out_.complete = turn.finished;
    out_.turns.push_back(std::move(turn));
  }

  const Tokenizer& tokenizer_;
  const chat::Generation generation_;
  const std::span<const TokenId> ids_;
  Transcript& out_;
  std::optional<TokenId> bos_, eos_, user_, assistant_, reminder_, think_, close_;
  std::string thinking_effort_;
  std::size_t at_ = 0;
};

}  // namespace

Position Transcript::tokens_of(std::size_t count) const {
  if (count >= turns.size()) return length;
  return turns[count].from;
}

Transcript read_transcript(const Tokenizer& tokenizer, chat::Generation generation, std::span<const TokenId> ids,
                           bool sampled) {
  Transcript out;
  if (!Reader(tokenizer, generation, ids, out).run(sampled)) {
    out = {};
    out.conversation = false;
    TranscriptTurn turn;
    turn.message.role = Role::kUnknown;
    turn.message.content = text_of(tokenizer, ids);
    turn.to = static_cast<Position>(ids.size());
    out.turns.push_back(std::move(turn));
  }
  out.length = static_cast<Position>(ids.size());
  return out;
}

Result<Transcript> read_branch(const Tokenizer& tokenizer, chat::Generation generation, const SessionHistory& history,
                               BranchId branch) {
  const std::vector<TokenId> ids = HADAL_TRY(history.ids(branch));
  bool sampled = false;
  for (const TokenRun& run : HADAL_TRY(history.runs(branch, static_cast<Position>(ids.size()))))
    sampled |= run.origin != TokenOrigin::kPrompt;
  Transcript out = read_transcript(tokenizer, generation, ids, sampled);
  if (!out.conversation) return out;
  // Dropping a turn's reasoning began a branch where its opener stands; the parent has the turn with it.
  const std::vector<BranchInfo> branches = history.branches();
  for (BranchId b = branch; b != 0; b = branches[b].parent) {
    const Position at = branches[b].from;
    const auto turn = std::ranges::find(out.turns, at - 1, &TranscriptTurn::from);
    if (turn == out.turns.end() || turn->message.role != Role::kAssistant) continue;
    const BranchId parent = branches[b].parent;
    const std::vector<TokenId> rest = HADAL_TRY(history.ids_between(parent, at, branches[parent].length));
    Transcript none;
    none.tools = out.tools;
    const Reader reader(tokenizer, generation, rest, none);
    if (rest.empty() || rest.front() != reader.think() || turn->message.sampled.empty() ||
        turn->message.sampled.front() != reader.close())
      continue;
    const chat::ParsedTurn parsed = reader.parse(std::span(rest).first(reader.turn_end(0)));
    if (parsed.content != turn->message.content) continue;  // another answer
    turn->message.reasoning_content = parsed.reasoning;
    turn->reasoning_in_context = false;
  }
  return out;
}

}  // namespace hadal::serve
