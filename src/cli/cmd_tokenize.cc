// hadal tokenize: JSON lines both ways. A string per line gives its ids; with --decode, ids give the text as it
// streams.
#include <fmt/core.h>
#include <simdjson.h>

#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/embedded.h"
#include "cli/options.h"
#include "cli/report.h"
#include "tokens/tokenizer.h"

namespace hadal::cli {
namespace {

Result<std::shared_ptr<const Tokenizer>> open_tokenizer(const std::string& model) {
  const FileSet files = model_files(model);
  constexpr std::uint64_t kMost = std::uint64_t{64} << 20;  // the official file has 6 MB
  return Tokenizer::from_json(HADAL_TRY(files.read_text("tokenizer.json", kMost)), files.path_of("tokenizer.json"));
}

// One line of input, in messages.
std::unexpected<Error> bad_line(std::int64_t line, std::string_view what) {
  return fail(ErrorCode::kBadInput, "line {} of standard input: {}", line, what);
}

class Lines {
 public:
  Lines(const Tokenizer& tokenizer, const TokenizeOptions& options) : tokenizer_(tokenizer), options_(options) {}

  // The answer to one line, a JSON document without a newline.
  Result<std::string> answer(const std::string& text, std::int64_t line) {
    simdjson::dom::element document;
    const auto error = parser_.parse(text).get(document);
    if (error == simdjson::UTF8_ERROR) return bad_line(line, "not valid UTF-8; JSON is always UTF-8");
    if (error == simdjson::STRING_ERROR) {
      return bad_line(
          line, "a string has an escape that means no character; half a surrogate pair, as \\ud800 alone, is one");
    }
    if (error) return bad_line(line, fmt::format("not valid JSON: {}", simdjson::error_message(error)));
    return options_.decode ? decode(document, line) : encode(document, line);
  }

 private:
  Result<std::string> encode(simdjson::dom::element document, std::int64_t line) {
    std::string_view text;
    if (document.get(text)) return bad_line(line, "not a JSON string; without --decode each line is one");
    // The parser joins surrogate pairs; half of one has no place in UTF-8.
    if (!simdjson::validate_utf8(text))
      return bad_line(line, "the string has half a surrogate pair, which no text holds");
    ids_.clear();
    if (options_.literal) {
      tokenizer_.encode_literal(text, ids_);
    } else {
      tokenizer_.encode(text, ids_);
    }
    std::string out = "[";
    for (TokenId id : ids_) {
      if (out.size() > 1) out += ", ";
      out += std::to_string(to_int(id));
    }
    return out + "]";
  }

  Result<std::string> decode(simdjson::dom::element document, std::int64_t line) {
    simdjson::dom::array list;
    if (document.get(list)) return bad_line(line, "not a JSON list of token ids, which --decode needs");
    StreamDecoder decoder(tokenizer_);
    nlohmann::ordered_json deltas = nlohmann::ordered_json::array();
    for (simdjson::dom::element e : list) {
      std::int64_t id;
      if (e.get(id)) return bad_line(line, "an entry of the list is not an integer");
      if (id < 0 || id >= tokenizer_.vocab_size() || !tokenizer_.contains(TokenId{static_cast<std::int32_t>(id)})) {
        return bad_line(
            line, fmt::format("{} is not an id of this tokenizer, which has 0..{}", id, tokenizer_.vocab_size() - 1));
      }
      std::string delta;
      HADAL_CHECK_OK(decoder.push(TokenId{static_cast<std::int32_t>(id)}, delta));
      deltas.push_back(std::move(delta));
    }
    std::string tail;
    decoder.finish(tail);
    nlohmann::ordered_json out;
    out["deltas"] = std::move(deltas);
    out["tail"] = std::move(tail);
    return out.dump();
  }

  const Tokenizer& tokenizer_;
  const TokenizeOptions& options_;
  simdjson::dom::parser parser_;
  std::vector<TokenId> ids_;
};

Status tokenize(const TokenizeOptions& options) {
  const auto tokenizer = HADAL_TRY(open_tokenizer(options.model));
  Lines lines(*tokenizer, options);
  std::string text;
  std::int64_t line = 0;
  while (!interrupted() && std::getline(std::cin, text)) {
    ++line;
    const std::string answer = HADAL_TRY(lines.answer(text, line));
    fmt::print("{}\n", answer);
    // Whoever feeds lines one at a time waits for each answer.
    if (std::fflush(stdout) != 0) return fail(ErrorCode::kIo, "writing to standard output failed; is the reader gone?");
  }
  return input_ended();
}

}  // namespace

int run_tokenize(const TokenizeOptions& options) {
  const Status status = tokenize(options);
  return status ? 0 : report(status.error());
}

}  // namespace hadal::cli
