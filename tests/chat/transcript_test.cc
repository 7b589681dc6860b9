// Runs tests/chat/transcripts/*.txt: conversations and completions written so that anyone can read and add them.
//
// A file is settings ("thinking: yes"), then sections. A section is a line "--- word argument" and the text below it,
// up to the newline before the next such line. Lines that begin with '#' before the first section are comments.
// Settings:
//
//   thinking: yes | no      generation: preview | 0731      effort: low | high | max
//
// To check rendering, write the conversation and the prompt it must give:
//   --- system, --- user, --- developer, --- reminder, --- assistant    the text of a message
//   --- tools               schemas of the message above, one JSON object a line
//   --- reasoning, --- call NAME [ID]     of the assistant message above; a call's text is its arguments
//   --- result [ID]         a tool's result
//   === prompt              the exact prompt
//
// To check reading, write a completion and what it must mean. Tools declared with --- tools turn on repairs:
//   --- completion
//   === reasoning, === content, === call NAME (its arguments below), === unfinished call NAME, === ignored (reasons)
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "chat/codec.h"
#include "chat/lenient_parser.h"

namespace hadal::chat {
namespace {

struct Section {
  std::string word, argument, text;
  bool expected = false;  // began with ===
};

struct Transcript {
  std::map<std::string, std::string> settings;
  std::vector<Section> sections;
};

Transcript read_transcript(const std::filesystem::path& path) {
  std::ifstream file(path);
  Transcript out;
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("--- ") || line.starts_with("=== ")) {
      std::istringstream words(line.substr(4));
      Section section;
      section.expected = line[0] == '=';
      words >> section.word;
      std::getline(words >> std::ws, section.argument);
      out.sections.push_back(section);
    } else if (!out.sections.empty()) {
      Section& section = out.sections.back();
      section.text += line + "\n";
    } else if (std::size_t colon = line.find(": "); colon != std::string::npos && !line.starts_with('#')) {
      out.settings[line.substr(0, colon)] = line.substr(colon + 2);
    }
  }
  for (Section& section : out.sections) {
    if (!section.text.empty()) section.text.pop_back();
  }
  return out;
}

void add_schemas(const std::string& text, std::vector<ToolSchema>& tools) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) tools.push_back({line});
}

Message message_of(Role role, const std::string& text) {
  Message message;
  message.role = role;
  message.content = text;
  return message;
}

void check_prompt(const Transcript& transcript, const RenderOptions& options) {
  static const std::map<std::string, Role> kRoles = {{"system", Role::kSystem},
                                                     {"user", Role::kUser},
                                                     {"developer", Role::kDeveloper},
                                                     {"reminder", Role::kLatestReminder},
                                                     {"assistant", Role::kAssistant}};
  std::vector<Message> messages;
  std::string expected;
  for (const Section& section : transcript.sections) {
    if (section.expected) {
      ASSERT_EQ(section.word, "prompt");
      expected = section.text;
    } else if (auto role = kRoles.find(section.word); role != kRoles.end()) {
      messages.push_back(message_of(role->second, section.text));
    } else if (section.word == "result") {
      messages.push_back(message_of(Role::kTool, section.text));
      messages.back().tool_call_id = section.argument;
    } else {
      ASSERT_FALSE(messages.empty()) << section.word;
      Message& last = messages.back();
      if (section.word == "tools") {
        add_schemas(section.text, last.tools);
      } else if (section.word == "reasoning") {
        last.reasoning_content = section.text;
      } else if (section.word == "call") {
        std::size_t space = std::min(section.argument.find(' '), section.argument.size());
        std::string id = space < section.argument.size() ? section.argument.substr(space + 1) : "";
        last.tool_calls.push_back({id, section.argument.substr(0, space), section.text});
      } else {
        FAIL() << "unknown section " << section.word;
      }
    }
  }
  auto rendered = render(messages, options);
  ASSERT_TRUE(rendered) << rendered.error().what;
  EXPECT_EQ(rendered->text, expected);
}

void check_reading(const Transcript& transcript, bool thinking) {
  std::vector<ToolSchema> schemas;
  std::string completion;
  std::vector<std::string> expected, actual;
  for (const Section& section : transcript.sections) {
    if (section.expected) {
      expected.push_back(section.word + (section.argument.empty() ? "" : " " + section.argument) + ": " + section.text);
    } else if (section.word == "tools") {
      add_schemas(section.text, schemas);
    } else if (section.word == "completion") {
      completion = section.text;
    } else {
      FAIL() << "unknown section " << section.word;
    }
  }
  auto tools = ToolTypes::read(schemas);
  ASSERT_TRUE(tools) << tools.error().what;
  LenientParser parser(serving_options(*tools, thinking));
  ParsedTurn turn;
  turn.add(parser.push(completion));
  turn.add(parser.finish());
  if (!turn.reasoning.empty()) actual.push_back("reasoning: " + turn.reasoning);
  if (!turn.content.empty()) actual.push_back("content: " + turn.content);
  for (const ParsedTurn::Call& call : turn.calls) {
    actual.push_back((call.closed ? "call " : "unfinished call ") + call.name + ": " + call.arguments);
  }
  std::string reasons;
  for (const std::string& reason : turn.ignored) reasons += (reasons.empty() ? "" : "\n") + reason;
  if (!reasons.empty()) actual.push_back("ignored: " + reasons);
  EXPECT_EQ(actual, expected);
}

TEST(Transcripts, AllHold) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(HADAL_SOURCE_DIR) + "/tests/chat/transcripts")) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  ASSERT_GE(files.size(), 12u);
  for (const auto& file : files) {
    SCOPED_TRACE(file.filename().string());
    Transcript transcript = read_transcript(file);
    ASSERT_FALSE(transcript.sections.empty());
    bool thinking = transcript.settings["thinking"] == "yes";
    bool reads = std::ranges::find(transcript.sections, "completion", &Section::word) != transcript.sections.end();
    if (reads) {
      check_reading(transcript, thinking);
      continue;
    }
    RenderOptions options;
    options.mode = thinking ? ThinkingMode::kThinking : ThinkingMode::kChat;
    if (transcript.settings.contains("generation")) {
      options.generation = parse_generation(transcript.settings["generation"]).value();
    }
    if (transcript.settings.contains("effort")) {
      options.effort = parse_effort(options.generation, transcript.settings["effort"]).value();
    }
    check_prompt(transcript, options);
  }
}

}  // namespace
}  // namespace hadal::chat
