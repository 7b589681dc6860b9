// The embedding API as its header shows it, on the shipped nano model.
#include <gtest/gtest.h>

#include "hadal/engine.h"
#include "hadal/session.h"
#include "support/tiny_checkpoint.h"

namespace hadal::embed {
namespace {

TEST(Embed, ContinuesForksRewindsAndRestores) {
  auto engine = Engine::open(HADAL_SOURCE_DIR "/nano/weights", {.threads = 1});
  ASSERT_TRUE(engine.has_value()) << engine.error().what;
  auto prompt = engine->tokenize("<｜begin▁of▁sentence｜><｜User｜>Repeat: zebra 512<｜Assistant｜></think>");
  ASSERT_TRUE(prompt.has_value());
  auto session = engine->new_session();
  ASSERT_TRUE(session.has_value());
  std::string streamed;
  GenerateSettings settings;
  settings.temperature = 0;
  settings.max_tokens = 12;
  settings.on_token = [&](std::int32_t, std::string_view text) { return streamed += text, true; };
  auto answer = session->generate(*prompt, settings);
  ASSERT_TRUE(answer.has_value()) << answer.error().what;
  EXPECT_EQ(streamed, answer->text);
  EXPECT_EQ(session->length(), static_cast<std::int64_t>(prompt->size() + answer->ids.size()));

  // The same answer again: from a rewound session, a fork, and a restored file.
  test::TemporaryFolder folder;
  auto start = static_cast<std::int64_t>(prompt->size()) - 1;
  std::vector<std::int32_t> last = {prompt->back()};
  ASSERT_TRUE(session->rewind(start).has_value());
  ASSERT_TRUE(session->save(folder.file("session")).has_value());
  auto fork = session->fork();
  auto restored = engine->restore(folder.file("session"));
  ASSERT_TRUE(fork.has_value() && restored.has_value());
  settings.on_token = nullptr;
  for (Session* s : {&*session, &*fork, &*restored}) {
    auto again = s->generate(last, settings);
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(again->ids, answer->ids);
  }
}

TEST(Embed, ErrorsAreSentences) {
  auto missing = Engine::open("/nowhere/at/all");
  ASSERT_FALSE(missing.has_value());
  EXPECT_NE(missing.error().what.find("/nowhere/at/all"), std::string::npos);
  auto engine = Engine::open(HADAL_SOURCE_DIR "/nano/weights", {.threads = 1});
  ASSERT_TRUE(engine.has_value());
  auto session = engine->new_session();
  EXPECT_FALSE(session->append({static_cast<std::int32_t>(engine->vocabulary())}).has_value());
  EXPECT_FALSE(session->generate({}).has_value());
  EXPECT_FALSE(engine->restore("/nowhere/at/all").has_value());
}

}  // namespace
}  // namespace hadal::embed
