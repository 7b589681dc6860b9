#include "chat/lenient_parser.h"

#include <utility>

#include "chat/python_json.h"

namespace hadal::chat {

LenientParser::LenientParser(LenientOptions options)
    : scanner_({.thinking = options.thinking,
                .keep_leading_newlines = options.keep_leading_newlines,
                .calls = options.calls,
                .calls_in_reasoning = options.calls_in_reasoning,
                .marker_tokens_only = options.marker_tokens_only,
                .stop = std::move(options.stop)}) {}

std::vector<Event> LenientParser::push(std::string_view bytes, bool is_marker) {
  std::vector<Event> events;
  scanner_.push(bytes, pieces_, is_marker);
  convert(events);
  return events;
}

std::vector<Event> LenientParser::finish() {
  std::vector<Event> events;
  scanner_.finish(pieces_);
  convert(events);
  return events;
}

void LenientParser::convert(std::vector<Event>& out) {
  auto arguments = [&](std::string text) { out.push_back({Event::Kind::kArguments, std::move(text), calls_ - 1}); };
  auto escaped = [&](std::string_view text) {
    std::string piece;
    append_json_escaped(piece, text);
    arguments(std::move(piece));
  };
  for (Piece& piece : std::exchange(pieces_, {})) {
    switch (piece.kind) {
      case PieceKind::kReasoning:
        out.push_back({Event::Kind::kReasoning, std::move(piece.bytes)});
        break;
      case PieceKind::kContent:
        out.push_back({Event::Kind::kContent, std::move(piece.bytes)});
        break;
      case PieceKind::kStrayThinkClose:
        out.push_back({Event::Kind::kIgnored, std::move(piece.bytes), -1, "extra_end_of_thinking"});
        break;
      case PieceKind::kAfterEnd:
        out.push_back({Event::Kind::kIgnored, std::move(piece.bytes), -1, "content_after_finished"});
        break;
      case PieceKind::kCallName:
        name_ += piece.bytes;
        break;
      case PieceKind::kCallNameEnd:
        has_parameters_ = false;
        out.push_back({Event::Kind::kCallOpened, std::exchange(name_, {}), calls_++});
        break;
      case PieceKind::kKeyOpen:
        arguments(has_parameters_ ? ", \"" : "{\"");
        has_parameters_ = true;
        break;
      case PieceKind::kKey:
        escaped(piece.bytes);
        break;
      case PieceKind::kKeyEnd:
        arguments("\": ");
        break;
      case PieceKind::kStringOpen:
        arguments("\"");
        break;
      case PieceKind::kStringValue:
        escaped(piece.bytes);
        break;
      case PieceKind::kJsonValue:
        arguments(std::move(piece.bytes));
        break;
      case PieceKind::kStringEnd:
        arguments("\"");
        break;
      case PieceKind::kCallClose:
        arguments(has_parameters_ ? "}" : "{}");
        out.push_back({Event::Kind::kCallClosed, "", calls_ - 1});
        break;
      default:
        break;
    }
  }
}

std::string_view LenientParser::state_name() const {
  switch (scanner_.state()) {
    case DsmlScanner::State::kReasoning:
      return "reasoning";
    case DsmlScanner::State::kContent:
      return "content";
    case DsmlScanner::State::kBlock:
      return "tool_calls";
    case DsmlScanner::State::kCallName:
      return "tool_name";
    case DsmlScanner::State::kCall:
      return "parameters";
    case DsmlScanner::State::kKey:
      return "parameter_name";
    case DsmlScanner::State::kType:
      return "parameter_type";
    case DsmlScanner::State::kStringValue:
    case DsmlScanner::State::kJsonValue:
      return "parameter_value";
    case DsmlScanner::State::kFinished:
      return "finished";
  }
  return "";
}

void ParsedTurn::add(const std::vector<Event>& events) {
  for (const Event& event : events) {
    switch (event.kind) {
      case Event::Kind::kReasoning:
        reasoning += event.text;
        break;
      case Event::Kind::kContent:
        content += event.text;
        break;
      case Event::Kind::kCallOpened:
        calls.push_back({event.text, ""});
        break;
      case Event::Kind::kArguments:
        calls[static_cast<std::size_t>(event.call)].arguments += event.text;
        break;
      case Event::Kind::kCallClosed:
        calls[static_cast<std::size_t>(event.call)].closed = true;
        break;
      case Event::Kind::kIgnored:
        if (event.reason != "content_after_finished" || ignored.empty() || ignored.back() != event.reason) {
          ignored.emplace_back(event.reason);
        }
        break;
      case Event::Kind::kFinished:
        finished = true;
        break;
    }
  }
}

Message ParsedTurn::message() const {
  Message message;
  message.role = Role::kAssistant;
  message.content = content;
  message.reasoning_content = reasoning;
  for (const Call& call : calls) {
    if (call.closed) message.tool_calls.push_back({"", call.name, call.arguments});
  }
  return message;
}

}  // namespace hadal::chat
