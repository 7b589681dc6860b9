// Shared by the parser tests: events in a form that does not depend on how the input was split, and ways to split it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/lenient_parser.h"

namespace hadal::chat {

// Consecutive pieces of one text joined; everything an event says, one line each.
inline std::vector<std::string> canonical(const std::vector<Event>& events) {
  static constexpr std::string_view kNames[] = {"reasoning", "content", "open",    "arguments",
                                                "close",     "ignored", "finished"};
  std::vector<std::string> lines;
  std::string last;
  for (const Event& event : events) {
    std::string head(kNames[static_cast<int>(event.kind)]);
    head += " " + std::to_string(event.call) + " " + std::string(event.reason) + " " +
            std::to_string(static_cast<int>(event.verdict)) + ": ";
    bool joins = event.kind == Event::Kind::kReasoning || event.kind == Event::Kind::kContent ||
                 event.kind == Event::Kind::kArguments || event.reason == "content_after_finished";
    if (joins && head == last) {
      lines.back() += event.text;
    } else {
      lines.push_back(head + event.text);
    }
    last = head;
  }
  return lines;
}

inline std::vector<Event> parse_pieces(const LenientOptions& options, const std::vector<std::string_view>& pieces) {
  LenientParser parser(options);
  std::vector<Event> all;
  for (std::string_view piece : pieces) {
    for (Event& event : parser.push(piece)) all.push_back(std::move(event));
  }
  for (Event& event : parser.finish()) all.push_back(std::move(event));
  return all;
}

inline std::vector<std::string_view> byte_by_byte(std::string_view text) {
  std::vector<std::string_view> pieces;
  for (std::size_t i = 0; i < text.size(); ++i) pieces.push_back(text.substr(i, 1));
  return pieces;
}

}  // namespace hadal::chat
