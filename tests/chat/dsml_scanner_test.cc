// The scanner's promise: its pieces joined are the input, whatever the input and however it was cut.
#include "chat/dsml_scanner.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace hadal::chat {
namespace {

std::vector<Piece> scan(const ScannerOptions& options, const std::vector<std::string>& pushes) {
  DsmlScanner scanner(options);
  std::vector<Piece> pieces;
  for (const std::string& push : pushes) scanner.push(push, pieces);
  scanner.finish(pieces);
  return pieces;
}

// Neighbours of one kind joined.
std::vector<std::pair<PieceKind, std::string>> joined(const std::vector<Piece>& pieces) {
  std::vector<std::pair<PieceKind, std::string>> out;
  for (const Piece& piece : pieces) {
    EXPECT_FALSE(piece.bytes.empty());
    if (!out.empty() && out.back().first == piece.kind) {
      out.back().second += piece.bytes;
    } else {
      out.emplace_back(piece.kind, piece.bytes);
    }
  }
  return out;
}

std::string all_bytes(const std::vector<Piece>& pieces) {
  std::string out;
  for (const Piece& piece : pieces) out += piece.bytes;
  return out;
}

// Texts made of the fragments that matter, whole and broken.
std::string random_completion(std::mt19937& random) {
  static const std::vector<std::string> kFragments = {"<｜DSML｜",
                                                      "</｜DSML｜",
                                                      "｜DSML｜",
                                                      "tool_calls>",
                                                      " calls>",
                                                      "function_calls>",
                                                      "invoke name=\"",
                                                      "f",
                                                      "\"",
                                                      "\">",
                                                      ">",
                                                      "\n",
                                                      "\n\n",
                                                      "parameter name=\"",
                                                      " string=\"",
                                                      "true\">",
                                                      "false\">",
                                                      "invoke>",
                                                      "parameter>",
                                                      "</think>",
                                                      "<think>",
                                                      "<",
                                                      "</",
                                                      "<｜",
                                                      "</thi",
                                                      "a",
                                                      "é",
                                                      "🙂",
                                                      "\xE2",
                                                      "\xFF",
                                                      " ",
                                                      "STOP",
                                                      "ST",
                                                      "{\"a\": 1}",
                                                      "text text"};
  std::string out;
  for (std::size_t n = random() % 40; n > 0; --n) out += kFragments[random() % kFragments.size()];
  return out;
}

std::vector<ScannerOptions> all_options() {
  std::vector<ScannerOptions> out;
  for (unsigned bits = 0; bits < 32; ++bits) {
    ScannerOptions options;
    options.thinking = bits & 1;
    options.calls = !(bits & 2);
    options.require_call_shape = bits & 4;
    options.keep_leading_newlines = bits & 8;
    if (bits & 16) options.stop = {"STOP", "text", "\n\n\n", "\na"};
    out.push_back(options);
  }
  return out;
}

TEST(Scanner, LosesNothingAndDoesNotDependOnTheSplit) {
  std::mt19937 random(7);
  for (int round = 0; round < 120; ++round) {
    std::string text = random_completion(random);
    for (const ScannerOptions& options : all_options()) {
      auto whole = scan(options, {text});
      ASSERT_EQ(all_bytes(whole), text);
      std::vector<std::string> bytes, pieces;
      for (char c : text) bytes.emplace_back(1, c);
      ASSERT_EQ(joined(scan(options, bytes)), joined(whole)) << text;
      for (std::size_t at = 0; at < text.size();) {
        std::size_t n = 1 + random() % 9;
        pieces.push_back(text.substr(at, n));
        at += n;
      }
      ASSERT_EQ(joined(scan(options, pieces)), joined(whole)) << text;
    }
  }
}

TEST(Scanner, LabelsEveryByteOfACall) {
  using enum PieceKind;
  std::string call =
      "a\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"k\" "
      "string=\"true\">v</｜DSML｜parameter>\n"
      "</｜DSML｜invoke>\n</｜DSML｜tool_calls>z";
  std::vector<std::pair<PieceKind, std::string>> expected = {{kContent, "a"},
                                                             {kMarkup, "\n\n<｜DSML｜"},
                                                             {kBlockText, "tool_calls>\n<｜DSML｜"},
                                                             {kCallOpen, "invoke name=\""},
                                                             {kCallName, "f"},
                                                             {kCallNameEnd, "\""},
                                                             {kCallText, ">\n<｜DSML｜"},
                                                             {kKeyOpen, "parameter name=\""},
                                                             {kKey, "k"},
                                                             {kKeyEnd, "\""},
                                                             {kTypeText, " string=\""},
                                                             {kStringOpen, "true\">"},
                                                             {kStringValue, "v"},
                                                             {kStringEnd, "</｜DSML｜"},
                                                             {kCallText, "parameter>\n"},
                                                             {kCallClose, "</｜DSML｜"},
                                                             {kBlockText, "invoke>\n"},
                                                             {kBlockClose, "</｜DSML｜tool_calls>"},
                                                             {kAfterEnd, "z"}};
  EXPECT_EQ(joined(scan({}, {call})), expected);
}

}  // namespace
}  // namespace hadal::chat
