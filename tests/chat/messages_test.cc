#include "chat/messages.h"

#include <gtest/gtest.h>

#include "chat/codec.h"

namespace hadal::chat {
namespace {

Message said(Role role, std::string text) {
  Message message;
  message.role = role;
  message.content = std::move(text);
  return message;
}

TEST(Normalise, NullsAndEmptyArgumentsBecomeRenderable) {
  std::vector<Message> messages = {said(Role::kUser, ""), said(Role::kAssistant, "a"), said(Role::kTool, "")};
  messages[0].content = messages[2].content = std::nullopt;
  messages[1].tool_calls = {{"", "f", ""}, {"", "g", "null"}, {"", "h", "{\"a\": 1}"}, {"", "i", "not JSON"}};
  normalise(messages);
  EXPECT_EQ(messages[0].content, "");
  EXPECT_EQ(messages[2].content, "");
  EXPECT_EQ(messages[1].tool_calls[0].arguments, "{}");
  EXPECT_EQ(messages[1].tool_calls[1].arguments, "{}");
  EXPECT_EQ(messages[1].tool_calls[2].arguments, "{\"a\": 1}");
  EXPECT_EQ(messages[1].tool_calls[3].arguments, "not JSON");
  EXPECT_TRUE(render(messages, {}));
}

TEST(Declare, AttachesToTheFirstMessageOrANewOne) {
  std::vector<Message> with_system = {said(Role::kSystem, "s"), said(Role::kUser, "u")};
  declare(with_system, {{"{\"name\":\"f\"}"}}, "");
  ASSERT_EQ(with_system.size(), 2u);
  EXPECT_EQ(with_system[0].tools.size(), 1u);

  std::vector<Message> without = {said(Role::kUser, "u")};
  declare(without, {}, "{\"type\":\"json_object\"}");
  ASSERT_EQ(without.size(), 2u);
  EXPECT_EQ(without[0].role, Role::kSystem);
  EXPECT_TRUE(render(without, {.add_bos = false}).value().text.starts_with("\n\n## Response Format:"));

  std::vector<Message> nothing = {said(Role::kUser, "u")};
  declare(nothing, {}, "");
  EXPECT_EQ(nothing.size(), 1u);
}

}  // namespace
}  // namespace hadal::chat
