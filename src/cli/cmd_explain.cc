// hadal session explain-miss: where a request's prompt parts from what is kept.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "chat/generation.h"
#include "cli/embedded.h"
#include "cli/options.h"
#include "cli/report.h"
#include "cli/session_text.h"
#include "files/file_set.h"
#include "serve/dialect.h"
#include "serve/explain.h"
#include "serve/turns.h"
#include "sessions/engine.h"
#include "sessions/session_identity.h"
#include "sessions/session_store.h"

namespace hadal::cli {
namespace {

using Json = nlohmann::ordered_json;

const serve::Dialect& dialect_of(const std::string& api) {
  if (api == "messages") return serve::anthropic_messages();
  if (api == "responses") return serve::openai_responses();
  if (api == "completions") return serve::openai_completions();
  return serve::openai_chat();
}

std::string in_quotes(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

Status explain(const SessionOptions& o) {
  const auto checkpoint = HADAL_TRY(Checkpoint::open(model_files(o.model)));
  const auto tokenizer = HADAL_TRY(read_tokenizer(*checkpoint));
  SessionStoreOptions options;
  options.identity = HADAL_TRY(session_identity(*checkpoint, Numerics{}));
  const std::string data = o.data.empty() ? HADAL_TRY(default_data_folder()) : o.data;
  const auto store = HADAL_TRY(SessionStore::open(data, options));

  std::ifstream file(o.file, std::ios::binary);
  std::ostringstream bytes;
  if (!file || !(bytes << file.rdbuf())) return fail(ErrorCode::kIo, "{}: cannot be read, or is empty", o.file);
  const std::string source = std::move(bytes).str();
  const serve::JsonValue body = HADAL_TRY(serve::parse_body(source));
  serve::Ask ask = HADAL_TRY(dialect_of(o.api).read(body, source));
  // Turns as a running server would put them back.
  std::optional<serve::Turns> turns;
  auto remembered = TurnMemory::read(data + "/turns", options.identity->tokenizer);
  if (remembered)
    turns.emplace(std::move(*remembered));
  else if (remembered.error().code != ErrorCode::kNotFound)
    return std::unexpected(remembered.error());
  serve::PromptSettings settings;
  settings.tokenizer = tokenizer.get();
  settings.generation =
      checkpoint->chat_generation() == ChatGeneration::k0731 ? chat::Generation::k0731 : chat::Generation::kPreview;
  if (!o.format.empty()) settings.generation = HADAL_TRY(chat::parse_generation(o.format));
  settings.turns = turns ? &*turns : nullptr;
  const serve::Prompt prompt = HADAL_TRY(serve::make_prompt(ask, settings));

  serve::Nearest nearest(prompt.ids);
  std::string session;
  BranchId branch = 0;
  std::size_t looked = 0;
  for (const SessionSummary& s : HADAL_TRY(store->list())) {
    if (!s.usable) continue;
    const SessionLog log = HADAL_TRY(store->read(s.id));
    ++looked;
    for (const BranchInfo& b : log.history().branches()) {
      if (!nearest.offer(HADAL_TRY(log.history().ids(b.id)))) continue;
      session = s.id;
      branch = b.id;
    }
  }
  const serve::Parting& parting = nearest.parting();
  const serve::MessagePlaces places = serve::message_places(prompt, ask);
  if (o.json) {
    fmt::print("{{\"tokens\": {}, \"sessions\": {}, \"session\": {}, \"branch\": {}, {}}}\n", prompt.ids.size(), looked,
               session.empty() ? "null" : in_quotes(session), branch,
               serve::parting_members(*tokenizer, parting, places));
    return {};
  }
  if (session.empty() || parting.agree == 0) {
    fmt::print("the prompt has {} tokens, and none of {} sessions begins like it\n", prompt.ids.size(), looked);
    return {};
  }
  fmt::print("the prompt has {} tokens; the first {} are those of session {}, branch {}\n", prompt.ids.size(),
             parting.agree, session, branch);
  if (parting.asked.empty() || parting.kept.empty()) {
    fmt::print("{}\n", parting.asked.empty() ? "all of the prompt is there"
                                             : "all of the branch is in the prompt: what follows is new");
    return {};
  }
  const serve::PartingText text = serve::describe(*tokenizer, parting, places);
  fmt::print("they part in {}, {} tokens into it{}:\n", text.place, text.into,
             text.same_text ? ", in tokens though not in text" : "");
  const auto ids = [](const std::vector<TokenId>& list) {
    return fmt::format("{}", fmt::join(ids_json(list).get<std::vector<std::int32_t>>(), " "));
  };
  fmt::print("  kept:    {}\n           tokens {}\n", in_quotes(text.kept), ids(parting.kept));
  fmt::print("  request: {}\n           tokens {}\n", in_quotes(text.asked), ids(parting.asked));
  return {};
}

}  // namespace

int run_explain_miss(const SessionOptions& o) {
  const Status status = explain(o);
  return status ? 0 : report(status.error());
}

}  // namespace hadal::cli
