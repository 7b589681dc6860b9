#include "chat/lenient_parser.h"

#include <utility>

#include "chat/python_json.h"

namespace hadal::chat {

namespace {

ScannerOptions scanner_options(const LenientOptions& options) {
  ScannerOptions out;
  out.thinking = options.thinking;
  out.keep_leading_newlines = options.keep_leading_newlines;
  out.calls = options.calls;
  out.calls_in_reasoning = options.calls_in_reasoning;
  out.marker_tokens_only = options.marker_tokens_only;
  out.require_call_shape = options.require_call_shape;
  out.stop = options.stop;
  return out;
}

// Skipped text without the tags a well-formed block has there: what is left is something the model wanted to say.
std::string without_tags(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    std::size_t tag = 0;
    for (std::string_view word : {"tool_calls>", "function_calls>", "calls>", "invoke>", "parameter>", "string=\"",
                                  "<｜DSML｜", "</｜DSML｜", "/>", ">", " ", "\t", "\r", "\n"}) {
      if (tag == 0 && text.starts_with(word)) tag = word.size();
    }
    if (tag == 0) {
      out += text[0];
      tag = 1;
    }
    text.remove_prefix(tag);
  }
  return out;
}

}  // namespace

LenientOptions serving_options(const ToolTypes& tools, bool thinking) {
  LenientOptions options;
  options.thinking = thinking;
  options.calls = !tools.empty();
  options.require_call_shape = true;
  options.report_skipped_text = true;
  options.tools = &tools;
  return options;
}

LenientParser::LenientParser(LenientOptions options)
    : options_(std::move(options)), scanner_(scanner_options(options_)) {}

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
  if (arguments_) {  // the last call did not close
    std::string text;
    arguments_->abandon(text);
    if (!text.empty()) events.push_back({Event::Kind::kArguments, std::move(text), calls_ - 1});
    arguments_.reset();
  }
  if (!name_.empty()) events.push_back({Event::Kind::kIgnored, std::exchange(name_, {}), -1, "unfinished_call"});
  skipped_ += std::exchange(body_, {});
  report_skipped(events);
  return events;
}

void LenientParser::convert(std::vector<Event>& out) {
  for (Piece& piece : std::exchange(pieces_, {})) {
    auto ignored = [&](std::string_view reason) {
      out.push_back({Event::Kind::kIgnored, std::move(piece.bytes), -1, reason});
    };
    switch (piece.kind) {
      case PieceKind::kReasoning:
        out.push_back({Event::Kind::kReasoning, std::move(piece.bytes)});
        break;
      case PieceKind::kContent:
        out.push_back({Event::Kind::kContent, std::move(piece.bytes)});
        break;
      case PieceKind::kMarkup:
        break;
      case PieceKind::kStrayThinkClose:
        ignored("extra_end_of_thinking");
        break;
      case PieceKind::kStrayClose:
        ignored("stray_markup");
        break;
      case PieceKind::kAfterEnd:
        ignored("content_after_finished");
        break;
      case PieceKind::kBlockText:
        skipped_ += piece.bytes;
        break;
      case PieceKind::kBlockClose:
        report_skipped(out);
        // An empty block ends nothing where a call's shape is required: the answer goes on.
        if (calls_ > 0 || !options_.require_call_shape) out.push_back({Event::Kind::kFinished, ""});
        break;
      case PieceKind::kStop:
        out.push_back({Event::Kind::kFinished, std::move(piece.bytes)});
        break;
      default:
        convert_call(piece, out);
    }
  }
}

void LenientParser::convert_call(Piece& piece, std::vector<Event>& out) {
  std::string text;  // of the arguments
  switch (piece.kind) {
    case PieceKind::kCallOpen:
      report_skipped(out);
      break;
    case PieceKind::kCallName:
      name_ += piece.bytes;
      break;
    case PieceKind::kCallNameEnd:
      arguments_.emplace(options_.tools, name_);
      has_parameters_ = false;
      out.push_back({Event::Kind::kCallOpened, std::exchange(name_, {}), calls_++});
      break;
    case PieceKind::kCallText:
      (has_parameters_ ? skipped_ : body_) += piece.bytes;
      break;
    case PieceKind::kTypeText:
      skipped_ += piece.bytes;
      break;
    case PieceKind::kKeyOpen:
      has_parameters_ = true;
      arguments_->open_key(text);
      break;
    case PieceKind::kKey:
      arguments_->key(piece.bytes, text);
      break;
    case PieceKind::kKeyEnd:
      arguments_->close_key(text);
      break;
    case PieceKind::kStringOpen:
    case PieceKind::kJsonOpen:
      arguments_->open_value(piece.kind == PieceKind::kStringOpen, text);
      break;
    case PieceKind::kStringValue:
    case PieceKind::kJsonValue:
      arguments_->value(piece.bytes, text);
      break;
    case PieceKind::kStringEnd:
    case PieceKind::kJsonEnd:
      arguments_->close_value(text);
      break;
    case PieceKind::kCallClose:
      close_call(out);
      break;
    default:
      break;
  }
  if (!text.empty()) out.push_back({Event::Kind::kArguments, std::move(text), calls_ - 1});
}

void LenientParser::close_call(std::vector<Event>& out) {
  // A call without parameters may have its arguments as one JSON object between the tags.
  std::string_view body = body_;
  if (has_parameters_) body = "";
  if (body.starts_with('>')) body.remove_prefix(1);
  std::string text;
  bool used_body = false;
  ArgumentsVerdict verdict = arguments_->close_call(body, text, used_body);
  if (!used_body) skipped_ += body_;
  body_.clear();
  arguments_.reset();
  out.push_back({Event::Kind::kArguments, std::move(text), calls_ - 1});
  out.push_back({Event::Kind::kCallClosed, "", calls_ - 1, "", verdict});
  report_skipped(out);
}

void LenientParser::report_skipped(std::vector<Event>& out) {
  std::string left = without_tags(std::exchange(skipped_, {}));
  if (options_.report_skipped_text && !left.empty()) {
    out.push_back({Event::Kind::kIgnored, std::move(left), -1, "text_in_block"});
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
        calls[static_cast<std::size_t>(event.call)].verdict = event.verdict;
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

std::string_view ParsedTurn::finish_reason(bool hit_limit) const {
  if (hit_limit && !finished) return "length";
  for (const Call& call : calls) {
    if (call.closed) return "tool_calls";
  }
  return "stop";
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
