// Any bytes, cut anywhere, under any setting: the lenient parser loses none of them and does not care about the cuts.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "chat/lenient_parser.h"
#include "chat/python_json.h"
#include "chat/support.h"
#include "chat/utf8.h"

namespace {

using namespace hadal::chat;

void require(bool holds) {
  if (!holds) std::abort();
}

const ToolTypes& declared_tools() {
  static const ToolTypes kTools = [] {
    std::vector<ToolSchema> schemas = {
        {R"({"name": "f", "parameters": {"properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {}}, "required": ["a"]}})"},
        {R"({"name": "g"})"}};
    return ToolTypes::read(schemas).value();
  }();
  return kTools;
}

std::string joined(const std::vector<Piece>& pieces, PieceKind kind) {
  std::string out;
  for (const Piece& piece : pieces) out += piece.kind == kind ? piece.bytes : "";
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  std::uint8_t bits = data[0];
  std::size_t step = 1 + data[1] % 16, marker = data[2];
  std::string_view text(reinterpret_cast<const char*>(data) + 3, size - 3);

  LenientOptions options;
  if (bits & 1) options = serving_options(declared_tools(), false);
  options.thinking = bits & 2;
  options.calls = bits & 4;
  options.calls_in_reasoning = bits & 8;
  options.keep_leading_newlines = bits & 16;
  options.marker_tokens_only = bits & 32;
  if (bits & 64) options.stop = {"STOP", "\n\n\n"};

  // Every byte comes out of the scanner, once and in order, and the texts of the events are the scanner's.
  ScannerOptions scanning{.thinking = options.thinking,
                          .keep_leading_newlines = options.keep_leading_newlines,
                          .calls = options.calls,
                          .calls_in_reasoning = options.calls_in_reasoning,
                          .marker_tokens_only = options.marker_tokens_only,
                          .require_call_shape = options.require_call_shape,
                          .stop = options.stop};
  DsmlScanner scanner(scanning);
  std::vector<Piece> pieces;
  scanner.push(text, pieces);
  scanner.finish(pieces);
  std::string all;
  for (const Piece& piece : pieces) all += piece.bytes;
  require(all == text);

  std::vector<Event> whole = parse_pieces(options, {text});
  ParsedTurn turn;
  turn.add(whole);
  require(turn.reasoning == joined(pieces, PieceKind::kReasoning));
  require(turn.content == joined(pieces, PieceKind::kContent));
  if (options.tools && is_utf8(text)) {
    for (const ParsedTurn::Call& call : turn.calls) {
      bool valid = parse_json(call.arguments).has_value();
      require(!call.closed || call.verdict == ArgumentsVerdict::kInvalid || valid);
    }
  }

  std::vector<std::string_view> steps;
  for (std::size_t at = 0; at < text.size(); at += step) steps.push_back(text.substr(at, step));
  require(canonical(parse_pieces(options, steps)) == canonical(whole));

  // The same cut, with some pieces claimed to be marker tokens.
  LenientParser parser(options);
  for (std::size_t i = 0; i < steps.size(); ++i) parser.push(steps[i], i % 8 == marker % 8);
  parser.finish();
  return 0;
}
