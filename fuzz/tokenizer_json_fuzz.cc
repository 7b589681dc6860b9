// tokenizer.json from an unknown source: a named error, or a tokenizer that encodes any text and gives it back.
// The input is a patch to a small valid file, so that most of it passes the outer checks: up to the first newline a
// program that makes merges, up to the second a list of added tokens, then text; without newlines the input is the file
// itself.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tokens/byte_alphabet.h"
#include "tokens/tokenizer.h"

namespace {

// The embedded model's file, cut where its model and its added tokens go.
struct Frame {
  std::string before_added, before_vocabulary, after_merges;
  Frame() {
    std::ifstream file(HADAL_SOURCE_DIR "/nano/weights/tokenizer.json", std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    const std::string all = text.str();
    const auto added = all.find('[', all.find("\"added_tokens\""));
    const auto added_end = all.find("\"normalizer\"");
    const auto vocabulary = all.find('{', all.find("\"vocab\""));
    if (added == std::string::npos || added_end == std::string::npos || vocabulary == std::string::npos) std::abort();
    before_added = all.substr(0, added);
    before_vocabulary = ", " + all.substr(added_end, vocabulary - added_end);
    after_merges = "}}";
  }
};

std::string quoted(std::string_view printable) {
  std::string out = "\"";
  for (char c : printable) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

using Merges = std::vector<std::pair<std::string, std::string>>;

// Each pair of bytes of `program` names two tokens that exist so far; they are joined, unless their product exists.
Merges merges_of(std::string_view program) {
  std::vector<std::string> tokens = {"a", "b", "c", "d"};
  Merges merges;
  for (std::size_t i = 0; i + 1 < program.size() && i < 400; i += 2) {
    const std::string left = tokens[static_cast<unsigned char>(program[i]) % tokens.size()];
    const std::string right = tokens[static_cast<unsigned char>(program[i + 1]) % tokens.size()];
    if (left.size() + right.size() > 1000 || std::ranges::find(tokens, left + right) != tokens.end()) continue;
    merges.emplace_back(left, right);
    tokens.push_back(left + right);
  }
  return merges;
}

// Ids: bytes 0..255, products of merges in their order, then the words of `added`.
std::string made_up(const Merges& merges, std::string_view added) {
  static const Frame frame;
  std::string vocabulary, list, added_list;
  std::size_t id = 0;
  for (; id < 256; ++id) {
    const char byte = static_cast<char>(id);
    vocabulary +=
        (id == 0 ? "" : ", ") + quoted(hadal::tokens::printable_of_bytes({&byte, 1})) + ": " + std::to_string(id);
  }
  for (const auto& [left, right] : merges) {
    list += (list.empty() ? "[" : ", [") + quoted(left) + ", " + quoted(right) + "]";
    vocabulary += ", " + quoted(left + right) + ": " + std::to_string(id++);
  }
  while (!added.empty()) {
    const std::string_view content = added.substr(0, added.find(' '));
    added.remove_prefix(std::min(added.size(), content.size() + 1));
    added_list += (added_list.empty() ? "" : ", ") + std::string("{\"id\": ") + std::to_string(id++) +
                  ", \"content\": " + quoted(content) + ", \"special\": false}";
  }
  return frame.before_added + "[" + added_list + "]" + frame.before_vocabulary + "{" + vocabulary + "}, \"merges\": [" +
         list + "]" + frame.after_merges;
}

// The ids of letters by the textbook: the first merge of the list that applies, at its first place, until none does.
std::vector<hadal::TokenId> by_textbook(const Merges& merges, std::string_view letters) {
  std::vector<std::string> parts;
  for (char letter : letters) parts.emplace_back(1, letter);
  for (;;) {
    std::size_t best = merges.size(), place = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      for (std::size_t rank = 0; rank < best; ++rank) {
        if (parts[i] != merges[rank].first || parts[i + 1] != merges[rank].second) continue;
        best = rank;
        place = i;
      }
    }
    if (best == merges.size()) break;
    parts[place] += parts[place + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(place + 1));
  }
  std::vector<hadal::TokenId> ids;
  for (const std::string& part : parts) {
    std::int32_t id = static_cast<unsigned char>(part[0]);
    for (std::size_t rank = 0; part.size() > 1 && rank < merges.size(); ++rank) {
      if (merges[rank].first + merges[rank].second == part) id = static_cast<std::int32_t>(256 + rank);
    }
    ids.push_back(hadal::TokenId{id});
  }
  return ids;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hadal;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto first = input.find('\n');
  const auto second = first == std::string_view::npos ? first : input.find('\n', first + 1);
  const bool patch = second != std::string_view::npos && !input.starts_with('{');
  const Merges merges = patch ? merges_of(input.substr(0, first)) : Merges{};
  const std::string json = patch ? made_up(merges, input.substr(first + 1, second - first - 1)) : std::string(input);
  const auto tokenizer = Tokenizer::from_json(json, "fuzz");
  if (!tokenizer) {
    if (tokenizer.error().what.empty()) std::abort();
    return 0;
  }
  const std::string text(patch ? input.substr(second + 1) : "abcabcaabbccddabcd<x> 中文\xff");
  std::string back;
  if (!(*tokenizer)->decode_bytes((*tokenizer)->encode(text), back) || back != text) std::abort();
  if (!patch) return 0;

  std::string letters;  // one piece, whatever it says
  for (char c : std::string_view(text).substr(0, 60)) letters += "abcd"[static_cast<unsigned char>(c) % 4];
  if ((*tokenizer)->encode_literal(letters) != by_textbook(merges, letters)) std::abort();
  return 0;
}
