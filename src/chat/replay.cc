#include "chat/replay.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "chat/python_json.h"
#include "chat/templates.h"

namespace hadal::chat {
namespace {

// Texts are written with their lengths, so that no two different lists of texts look the same.
void put(std::string& out, std::string_view text) {
  out += fmt::format("{}:", text.size());
  out += text;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// The same for any order of keys and any spelling of a number or string that a JSON library may choose. Numbers as
// doubles, because many clients have no others.
void put_canonical(std::string& out, const JsonValue& value) {
  using Kind = JsonValue::Kind;
  switch (value.kind) {
    case Kind::kNull:
      out += 'n';
      break;
    case Kind::kFalse:
      out += 'f';
      break;
    case Kind::kTrue:
      out += 't';
      break;
    case Kind::kNumber:
      put(out, python_float(std::strtod(value.text.c_str(), nullptr)));
      break;
    case Kind::kString:
      out += 's';
      put(out, value.text);
      break;
    case Kind::kArray:
      out += '[';
      for (const JsonValue& item : value.items) put_canonical(out, item);
      out += ']';
      break;
    case Kind::kObject: {
      std::vector<const JsonMember*> members;
      for (const JsonMember& m : value.members) members.push_back(&m);
      std::ranges::sort(members, {}, &JsonMember::key);
      out += '{';
      for (const JsonMember* m : members) {
        put(out, m->key);
        put_canonical(out, m->value);
      }
      out += '}';
      break;
    }
  }
}

// What a client shows of a message.
std::string shown(const Message& m) {
  std::string out = fmt::format("{};", static_cast<int>(m.role));
  put(out, trimmed(m.content.value_or("")));
  for (const ContentBlock& b : m.blocks) put(out, trimmed(b.text));
  for (const ToolCall& call : m.tool_calls) {
    put(out, call.name);
    if (auto arguments = parse_json(call.arguments.empty() ? "{}" : call.arguments))
      put_canonical(out, *arguments);
    else
      put(out, trimmed(call.arguments));
  }
  return out;
}

TurnKey hash(const std::string& text) {
  const XXH128_hash_t h = XXH3_128bits(text.data(), text.size());
  return {h.high64, h.low64};
}

TurnKey place(const TurnKey& before, const std::string& what) {
  return hash(fmt::format("place {:x} {:x} ", before.high, before.low) + what);
}
TurnKey call_key(const std::string& id, const std::string& what) {
  std::string text = "call ";
  put(text, id);
  return hash(text + what);
}

std::vector<TurnKey> keys_at(const TurnKey& before, const Message& turn) {
  const std::string what = shown(turn);
  std::vector<TurnKey> keys{place(before, what)};
  for (const ToolCall& call : turn.tool_calls)
    if (!call.id.empty()) keys.push_back(call_key(call.id, what));
  return keys;
}

class Assembler {
 public:
  Assembler(const Tokenizer& tokenizer, const Rendered& rendered, Replayed& out)
      : tokenizer_(tokenizer), rendered_(rendered), out_(out) {}

  Status run(const std::vector<std::vector<TokenId>>& turns) {
    think_ = HADAL_TRY(marker(text::kThinkOpen));
    close_ = HADAL_TRY(marker(text::kThinkClose));
    eos_ = HADAL_TRY(marker(text::kEos));
    const auto& segments = rendered_.segments;
    for (std::size_t i = 0; i < segments.size();) {
      const int message = segments[i].message;
      if (message >= 0 && (out_.starts.empty() || out_.starts.back().second < message))
        out_.starts.emplace_back(static_cast<Position>(out_.ids.size()), message);
      const std::vector<TokenId>* turn = message >= 0 ? &turns[static_cast<std::size_t>(message)] : nullptr;
      const bool starts = i > 0 && segments[i - 1].message != message;
      if (turn && !turn->empty() && starts) {
        std::size_t end = i;
        while (end < segments.size() && segments[end].message == message) ++end;
        const Segment& last = segments[end - 1];
        if (text_of(last) == text::kEos && last.kind == SegmentKind::kMarker && splice(*turn)) {
          ++out_.remembered;
          i = end;
          continue;
        }
      }
      if (segments[i].kind == SegmentKind::kMarker) {
        HADAL_CHECK_OK(put_marker(text_of(segments[i])));
        ++i;
        continue;
      }
      const std::size_t begin = segments[i].begin;
      std::size_t end = begin;
      for (; i < segments.size() && segments[i].kind != SegmentKind::kMarker; ++i) end = segments[i].end;
      tokenizer_.encode_literal(std::string_view(rendered_.text).substr(begin, end - begin), out_.ids);
    }
    return {};
  }

 private:
  std::string_view text_of(const Segment& s) const {
    return std::string_view(rendered_.text).substr(s.begin, s.end - s.begin);
  }
  Result<TokenId> marker(std::string_view text) const {
    const auto id = tokenizer_.find_added(text);
    if (!id) return fail(ErrorCode::kUnsupported, "the tokenizer has no token {}, which this conversation needs", text);
    return *id;
  }
  void border() {
    const auto here = static_cast<Position>(out_.ids.size());
    if (here > 1 && (out_.borders.empty() || out_.borders.back() < here)) out_.borders.push_back(here);
  }
  Status put_marker(std::string_view text) {
    if (text == text::kUser || text == text::kLatestReminder) border();
    out_.ids.push_back(HADAL_TRY(marker(text)));
    if (text == text::kAssistant) border();
    return {};
  }

  // Puts a remembered turn after the header that was just written. False, and nothing done: they do not go together.
  bool splice(const std::vector<TokenId>& turn) {
    const TokenId header = out_.ids.back();
    auto from = turn.begin() + 1;
    if (header == close_ && turn.front() == think_) {  // its reasoning is dropped
      from = std::find(from, turn.end(), close_);
      if (from == turn.end()) return false;
      ++from;
    } else if (header == think_ && turn.front() == close_) {
      out_.ids.push_back(close_);
    } else if (header != turn.front()) {
      return false;
    }
    out_.ids.insert(out_.ids.end(), from, turn.end());
    if (turn.back() == eos_) return true;
    // Cut off by a limit: ended as rendering ends it.
    if (header == think_ && turn.front() == think_ && std::find(from, turn.end(), close_) == turn.end())
      out_.ids.push_back(close_);
    out_.ids.push_back(eos_);
    return true;
  }

  const Tokenizer& tokenizer_;
  const Rendered& rendered_;
  Replayed& out_;
  TokenId think_{}, close_{}, eos_{};
};

}  // namespace

std::vector<TurnKey> turn_keys(std::span<const Message> messages, const Message& answer) {
  TurnKey before;
  for (const Message& m : messages) before = place(before, shown(m));
  return keys_at(before, answer);
}

Result<Replayed> replay(const Tokenizer& tokenizer, std::span<const Message> messages, const RenderOptions& options,
                        const TurnLookup* turns) {
  Rendered rendered = HADAL_TRY(render(messages, options));
  Replayed out;
  std::vector<std::vector<TokenId>> found(messages.size());
  TurnKey before;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& m = messages[i];
    if (m.role == Role::kAssistant && !m.wo_eos && m.sampled.size() > 1) {
      found[i] = m.sampled;
    } else if (turns && m.role == Role::kAssistant && !m.wo_eos) {
      for (const TurnKey& key : keys_at(before, m)) {
        auto ids = turns->find(key);
        if (!ids || ids->size() < 2) continue;
        found[i] = std::move(*ids);
        break;
      }
    }
    if (turns) before = place(before, shown(m));
  }
  HADAL_CHECK_OK(Assembler(tokenizer, rendered, out).run(found));
  for (const Message& m : messages) out.rendered += m.role == Role::kAssistant;
  out.rendered -= out.remembered;
  const Message& last = messages.back();
  out.continues = last.role == Role::kAssistant && last.wo_eos;
  const auto think = tokenizer.find_added(text::kThinkOpen);
  out.thinking = out.continues ? last.open_reasoning && options.mode == ThinkingMode::kThinking
                               : !out.ids.empty() && think && out.ids.back() == *think;
  out.text = std::move(rendered.text);
  return out;
}

}  // namespace hadal::chat
