// The constants are the published strings, byte for byte.
#include "chat/templates.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "chat/python_json.h"

namespace hadal::chat {
namespace {

class Templates : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream file(std::string(HADAL_SOURCE_DIR) + "/tests/golden/chat/chat-templates.json");
    std::string source(std::istreambuf_iterator<char>(file), {});
    document_ = parse_json(source).value();
  }
  // "a/b/0": members and list items.
  std::string at(std::string_view path) {
    const JsonValue* value = &document_;
    while (!path.empty()) {
      std::size_t slash = std::min(path.find('/'), path.size());
      std::string key(path.substr(0, slash));
      value = value->is(JsonValue::Kind::kArray) ? &value->items.at(std::stoul(key)) : value->find(key);
      if (!value) throw std::out_of_range(key);
      path.remove_prefix(std::min(slash + 1, path.size()));
    }
    return value->text;
  }
  JsonValue document_;
};

TEST_F(Templates, MatchThePublishedStrings) {
  using namespace text;
  EXPECT_EQ(kBos, at("tokens/bos"));
  EXPECT_EQ(kEos, at("tokens/eos"));
  EXPECT_EQ(kUser, at("tokens/user"));
  EXPECT_EQ(kAssistant, at("tokens/assistant"));
  EXPECT_EQ(kLatestReminder, at("tokens/latest_reminder"));
  EXPECT_EQ(kThinkOpen, at("tokens/think_open"));
  EXPECT_EQ(kThinkClose, at("tokens/think_close"));
  EXPECT_EQ(kDsml, at("tokens/dsml"));
  EXPECT_EQ(kExtractedUrl, at("tokens/extracted_url"));
  for (auto [name, token] : kTasks) EXPECT_EQ(token, at("tokens/tasks/" + std::string(name)));
  EXPECT_EQ(kTasks.size(), document_.find("tokens")->find("tasks")->members.size());
  EXPECT_EQ(kBlockJoin, at("block_join"));
  EXPECT_EQ(kResultOpen, at("tool_result/0"));
  EXPECT_EQ(kResultClose, at("tool_result/1"));
  EXPECT_EQ(kUnsupportedOpen, at("unsupported_block/0"));
  EXPECT_EQ(kUnsupportedClose, at("unsupported_block/1"));
  EXPECT_EQ(kResponseFormatLead, at("response_format/lead"));
  EXPECT_EQ(kResponseFormat, at("response_format/prefix"));
  EXPECT_EQ("", at("response_format/suffix"));
  EXPECT_EQ(kToolsLead, at("tools_lead"));
  EXPECT_EQ(kToolSchemaSeparator, at("tool_schema_separator"));
  EXPECT_EQ(kToolsPrefix, at("v4/tools/prefix"));
  EXPECT_EQ(kToolsSuffix, at("v4/tools/suffix"));
  EXPECT_EQ(kFallbackArgument, at("fallback_argument_name"));
  EXPECT_EQ(kCallsLead, at("v4/dsml/block_lead"));
  EXPECT_EQ(kCallsOpen, at("v4/dsml/block_open"));
  EXPECT_EQ(kCallsClose, at("v4/dsml/block_close"));
  EXPECT_EQ(kInvokeOpen, at("v4/dsml/invoke_open/0"));
  EXPECT_EQ(kInvokeNameEnd, at("v4/dsml/invoke_open/1"));
  EXPECT_EQ(kInvokeClose, at("v4/dsml/invoke_close"));
  EXPECT_EQ(kInvokeSeparator, at("v4/dsml/invoke_separator"));
  EXPECT_EQ(kParameterOpen, at("v4/dsml/parameter/0"));
  EXPECT_EQ(kParameterNameEnd, at("v4/dsml/parameter/1"));
  EXPECT_EQ(kParameterTypeEnd, at("v4/dsml/parameter/2"));
  EXPECT_EQ(kParameterClose, at("v4/dsml/parameter/3"));
  EXPECT_EQ(kParameterSeparator, at("v4/dsml/parameter_separator"));
  EXPECT_EQ(kStringFlag, at("v4/dsml/string_flag/string"));
  EXPECT_EQ(kJsonFlag, at("v4/dsml/string_flag/json"));
  EXPECT_EQ(kEffortAbsoluteMaximum, at("reasoning_effort/preview/prefix/max"));
  EXPECT_EQ(kEffortAbsoluteMaximum, at("reasoning_effort/ga_0731/prefix/high"));
  EXPECT_EQ(kEffortBeyondMaximum, at("reasoning_effort/ga_0731/prefix/max"));
}

}  // namespace
}  // namespace hadal::chat
