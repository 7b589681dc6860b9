// From messages to turns: merging tool results into user turns, sorting them, dropping old reasoning.
// Source: chat-format specification 3.1; the order of the four steps matters.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "chat/messages.h"

namespace hadal::chat {

// A part of a user turn. Views point into the messages.
struct TurnPart {
  const Message* message;  // a user text or a tool result
  int index;               // of the message in the caller's list, context included
  bool is_result() const { return message->role == Role::kTool; }
};

// One message after merging. For a user turn `message` is the one that opened it and `parts` holds everything it
// absorbed.
struct Turn {
  Role role;
  const Message* message;
  int index;  // of `message` in the caller's list, context included
  std::vector<TurnPart> parts;
  bool reasoning_dropped = false;

  // Only a user message passes its task on to its turn: a turn opened by a tool result has none.
  const std::optional<std::string>& task() const;
};

struct Prepared {
  std::vector<Turn> turns;
  std::size_t first = 0;     // turns before this one belong to the context and are not emitted
  std::ptrdiff_t last_user;  // index in `turns` of the last user or developer turn; -1 without one
  bool drops;                // old reasoning is dropped in this render
};

// The whole conversation is context followed by messages. Both must outlive the result.
Prepared prepare(std::span<const Message> context, std::span<const Message> messages, bool thinking,
                 bool drop_thinking);

}  // namespace hadal::chat
