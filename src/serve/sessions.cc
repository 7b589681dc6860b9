#include "serve/sessions.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "cache/prefix_store.h"
#include "chat/templates.h"
#include "serve/native.h"
#include "serve/sessions_json.h"

namespace hadal::serve {
namespace {

// First words shown of a session without a title.
constexpr std::size_t kPreviewBytes = 80;
constexpr std::size_t kMostPreviews = 4096;

RowFormat format_of(const Engine& engine) {
  return engine.model ? engine.model->format() : row_format(engine.checkpoint->config(), Numerics{});
}

std::string first_words(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool blank = c == '\n' || c == '\r' || c == '\t' || c == ' ';
    if (blank && (out.empty() || out.back() == ' ')) continue;
    out += blank ? ' ' : c;
    if (out.size() >= kPreviewBytes) break;
  }
  while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xC0) == 0x80) out.pop_back();
  if (!out.empty() && static_cast<unsigned char>(out.back()) >= 0xC0) out.pop_back();  // half a character
  return out;
}

Result<BranchId> branch_of(const SessionLog& log, std::int64_t asked) {
  if (asked < 0) return log.history().live_branch();
  if (asked >= static_cast<std::int64_t>(log.history().branch_count()))
    return fail(ErrorCode::kUsage, "'branch' is {}; session {} has {}", asked, log.id(), log.history().branch_count());
  return static_cast<BranchId>(asked);
}

// A name beside the sessions that none of them has; what is there goes when this does.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& folder) : path_(folder + "/.moving-" + new_session_id()) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { ::unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

Sessions::Sessions(Scheduler& scheduler, chat::Generation generation)
    : scheduler_(&scheduler),
      generation_(generation),
      context_(scheduler.engine().checkpoint->config().max_position_embeddings),
      meter_(scheduler.engine().checkpoint->config(), format_of(scheduler.engine())) {}

Status Sessions::there() const {
  if (scheduler_->sessions()) return {};
  return fail(ErrorCode::kUnsupported, "this server keeps no sessions; start it with --data DIR");
}

Status Sessions::not_busy(const std::string& id) const {
  if (!scheduler_->session_busy(id)) return {};
  return fail(ErrorCode::kBusy, "session '{}' is being continued by another request; ask again when that has ended",
              id);
}

Result<Transcript> Sessions::transcript(const SessionLog& log, BranchId branch) const {
  if (const auto& ours = store().identity(); ours && log.header().identity.tokenizer != ours->tokenizer)
    return fail(ErrorCode::kUnsupported, "session {} was made with another tokenizer, its ids mean other text here",
                log.id());
  return read_branch(tokenizer(), generation_, log.history(), branch);
}

std::string Sessions::preview(const SessionSummary& s) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = previews_.find(s.id); known != previews_.end() && known->second.first == s.updated_ms)
      return known->second.second;
  }
  std::string words;
  if (auto log = store().read(s.id)) {
    if (auto t = transcript(*log, log->history().live_branch())) {
      auto turn = std::ranges::find(t->turns, chat::Role::kUser, [](const auto& x) { return x.message.role; });
      if (turn == t->turns.end()) turn = t->turns.begin();
      if (turn != t->turns.end()) words = first_words(turn->message.content.value_or(""));
    }
  }
  const std::lock_guard lock(mutex_);
  if (previews_.size() >= kMostPreviews) previews_.clear();
  previews_[s.id] = {s.updated_ms, words};
  return words;
}

std::string Sessions::document(const SessionSummary& s) {
  std::int64_t branch = 0;
  if (s.branches > 0) branch = s.branches - 1;  // the newest is the live one
  return session_document(s, branch, s.title.empty() && s.usable ? preview(s) : s.title,
                          scheduler_->session_busy(s.id));
}

Result<SessionSummary> Sessions::summary(const std::string& id) {
  for (SessionSummary& s : HADAL_TRY(store().list()))
    if (s.id == id) return std::move(s);
  return fail(ErrorCode::kNotFound, "there is no session '{}'", id.substr(0, 64));
}

Result<std::string> Sessions::list(std::int64_t limit, const std::string& after) {
  std::string out = "{\"sessions\": [";
  std::int64_t given = 0;
  bool begun = after.empty(), more = false;
  for (const SessionSummary& s : HADAL_TRY(store().list())) {
    if (begun && given == limit) {
      more = true;
      break;
    }
    if (begun) out += (given++ ? ", " : "") + document(s);
    begun = begun || s.id == after;
  }
  if (!begun) return fail(ErrorCode::kUsage, "'after' names no session");
  return out + "], \"more\": " + (more ? "true" : "false") + "}";
}

Result<std::string> Sessions::show(const std::string& id) { return document(HADAL_TRY(summary(id))); }

Result<std::string> Sessions::create(const JsonValue& body, std::string_view source) {
  const NewSession asked = HADAL_TRY(read_new_session(body, source));
  std::string id;
  {
    SessionLog log = HADAL_TRY(store().create(asked.id));
    id = log.id();
    if (!asked.title.empty()) HADAL_CHECK_OK(log.set_title(asked.title));
    store().update(log);
  }
  if (!asked.ask.messages.empty() || !asked.ask.tools.empty()) {
    Ask ask = asked.ask;
    // Nothing said yet is still a session: the tools stand in an empty system message.
    if (ask.messages.empty()) ask.messages.emplace_back().role = chat::Role::kSystem;
    if (auto written = write(id, ask); !written) {
      (void)store().remove(id).has_value();  // nothing half made stays
      return written;
    }
  }
  return show(id);
}

Result<std::string> Sessions::set_title(const std::string& id, const std::string& title) {
  HADAL_CHECK_OK(not_busy(id));
  {
    SessionLog log = HADAL_TRY(store().open_session(id));
    HADAL_CHECK_OK(log.set_title(title));
    store().update(log);
  }
  return show(id);
}

Result<std::string> Sessions::remove(const std::string& id) {
  HADAL_CHECK_OK(not_busy(id));
  HADAL_CHECK_OK(store().remove(id));
  return "{\"removed\": " + chat::json_string(id) + "}";
}

Result<std::string> Sessions::messages(const std::string& id, std::int64_t branch) {
  const SessionLog log = HADAL_TRY(store().read(id));
  const BranchId b = HADAL_TRY(branch_of(log, branch));
  return messages_document(id, b, HADAL_TRY(transcript(log, b)));
}

Status Sessions::complete(const std::string& id, Ask& ask, const std::string& job) {
  const SessionLog log = HADAL_TRY(store().read(id));
  if (const LoggedJob* known = job.empty() ? nullptr : log.history().find_job(job)) {
    // Asked again: what it appended is in the log already.
    ask.prompt_ids = HADAL_TRY(log.history().ids(known->branch, known->prompt));
    const Transcript then = read_transcript(tokenizer(), generation_, ask.prompt_ids, false);
    if (then.conversation && !then.turns.empty() && !then.turns.back().message.sampled.empty()) {
      ask.session = id;
      ask.messages.clear();
      ask.tools = then.tools;
      ask.turn_so_far = then.turns.back().message.sampled;
      ask.thinking = then.effort != "none";
      return {};
    }
    ask.prompt_ids.clear();
  }
  Transcript t = HADAL_TRY(transcript(log, log.history().live_branch()));
  if (!t.conversation)
    return fail(ErrorCode::kUnsupported,
                "session '{}' is a raw text, no conversation; continue it with "
                "/v1/completions",
                id);
  ask.session = id;
  if (ask.tools.empty()) ask.tools = t.tools;
  if (ask.choice.kind == ToolChoice::Kind::kNone && !ask.tools.empty())
    return fail(ErrorCode::kUnsupported,
                "'tool_choice' of none would take the tools out of the session; fork it "
                "before");
  if (ask.effort.empty()) {
    ask.effort = t.effort;
    ask.thinking = t.effort != "none";
  }
  if (ask.continues) {
    if (!ask.messages.empty())
      return fail(ErrorCode::kUsage, "'messages' cannot be appended to an answer that 'continue' goes on with");
    if (t.complete || t.turns.empty() || t.turns.back().message.sampled.empty())
      return fail(ErrorCode::kUsage, "'continue' needs a session that ends inside an answer; this one does not");
    ask.turn_so_far = t.turns.back().message.sampled;
    ask.thinking = t.effort != "none";
    const auto ids = log.tokens();
    ask.prompt_ids.assign(ids.begin(), ids.end());
    return {};
  }
  std::vector<chat::Message> all;
  for (TranscriptTurn& turn : t.turns) all.push_back(std::move(turn.message));
  for (chat::Message& m : ask.messages) {
    if (m.role == chat::Role::kSystem && !all.empty())
      return fail(ErrorCode::kUsage,
                  "'messages' has a system message, and the session has begun; it can only be first");
    all.push_back(std::move(m));
  }
  ask.messages = std::move(all);
  return {};
}

// Brings the session's live branch to what the ask's messages are, without an answer.
Result<std::string> Sessions::write(const std::string& id, Ask& ask) {
  HADAL_CHECK_OK(not_busy(id));
  HADAL_CHECK_OK(complete(id, ask));
  PromptSettings settings;
  settings.tokenizer = &tokenizer();
  settings.generation = generation_;
  settings.header = false;
  const Prompt prompt = HADAL_TRY(make_prompt(ask, settings));
  if (std::ssize(prompt.ids) > context_)
    return fail(ErrorCode::kUsage, "'messages' make the session {} tokens long; the model reads {}", prompt.ids.size(),
                context_);
  SessionLog log = HADAL_TRY(store().open_session(id));
  const auto have = log.tokens();
  const auto at = std::ranges::mismatch(have, prompt.ids).in1 - have.begin();
  log.hold();
  if (at < log.length()) HADAL_CHECK_OK(log.rewind(at));
  if (at < std::ssize(prompt.ids))
    HADAL_CHECK_OK(log.append(TokenOrigin::kPrompt, std::span(prompt.ids).subspan(static_cast<std::size_t>(at))));
  for (const Position border : prompt.borders)
    if (border > at) HADAL_CHECK_OK(log.add_mark(MessageRole::kOther, border));
  HADAL_CHECK_OK(log.release());
  store().update(log);
  const BranchId branch = log.history().live_branch();
  return messages_document(id, branch, HADAL_TRY(transcript(log, branch)));
}

Result<std::string> Sessions::append(const std::string& id, const JsonValue& body, std::string_view source) {
  Ask ask = HADAL_TRY(read_appended(body, source));
  return write(id, ask);
}

// Where the first messages or tokens end, as a body says.
Result<Position> Sessions::position(const SessionLog& log, BranchId branch, Fields& f) const {
  const auto tokens = HADAL_TRY(f.integer("tokens", 0, INT64_MAX));
  const auto count = HADAL_TRY(f.integer("messages", 0, INT64_MAX));
  if (tokens && count) return fail(ErrorCode::kUsage, "'tokens' and 'messages' say the same; send one of them");
  if (tokens) return *tokens;
  if (!count) return log.history().length(branch);
  const Transcript t = HADAL_TRY(transcript(log, branch));
  if (*count > std::ssize(t.turns))
    return fail(ErrorCode::kUsage, "'messages' is {}; the branch has {}", *count, t.turns.size());
  return t.tokens_of(static_cast<std::size_t>(*count));
}

Result<std::string> Sessions::fork(const std::string& id, const JsonValue& body) {
  Fields f = HADAL_TRY(Fields::of(body, ""));
  const std::string as = HADAL_TRY(f.text("as")).value_or("");
  const SessionLog log = HADAL_TRY(store().read(id));
  const auto asked = HADAL_TRY(f.integer("branch", 0, INT32_MAX));
  const BranchId branch = HADAL_TRY(branch_of(log, asked.value_or(-1)));
  const Position at = HADAL_TRY(position(log, branch, f));
  const std::string made = HADAL_TRY(store().fork(log, at, branch, as)).id();
  return show(made);
}

Result<std::string> Sessions::rewind(const std::string& id, const JsonValue& body) {
  Fields f = HADAL_TRY(Fields::of(body, ""));
  HADAL_CHECK_OK(not_busy(id));
  {
    SessionLog log = HADAL_TRY(store().open_session(id));
    const auto asked = HADAL_TRY(f.integer("branch", 0, INT32_MAX));
    const BranchId branch = HADAL_TRY(branch_of(log, asked.value_or(-1)));
    const Position at = HADAL_TRY(position(log, branch, f));
    HADAL_CHECK_OK(log.rewind(at, branch));
    store().update(log);
  }
  return show(id);
}

Result<std::string> Sessions::branches(const std::string& id) { return branches_document(HADAL_TRY(store().read(id))); }

Result<std::string> Sessions::diff(const std::string& id, std::int64_t a, std::int64_t b) {
  const SessionLog log = HADAL_TRY(store().read(id));
  const BranchId x = HADAL_TRY(branch_of(log, a)), y = HADAL_TRY(branch_of(log, b));
  return diff_document(log, x, y, HADAL_TRY(log.history().diff(x, y)), tokenizer());
}

Result<std::string> Sessions::export_file(const std::string& id) {
  const TemporaryFile file(store().folder());
  HADAL_CHECK_OK(store().export_to(id, file.path()));
  std::ostringstream bytes;
  bytes << std::ifstream(file.path(), std::ios::binary).rdbuf();
  return std::move(bytes).str();
}

Result<std::string> Sessions::import_file(std::string_view bytes, const std::string& as, bool any_model) {
  if (bytes.empty()) return fail(ErrorCode::kUsage, "the request's body is empty; send a file that export made");
  const TemporaryFile file(store().folder());
  std::ofstream out(file.path(), std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) return fail(ErrorCode::kIo, "{}: cannot be written", file.path());
  ImportOptions options;
  options.id = as;
  options.any_model = any_model;
  auto id = store().import_from(file.path(), options);
  if (id) return show(*id);
  // The client sent no file of that name.
  std::string what = id.error().what;
  for (std::size_t at = what.find(file.path()); at != std::string::npos; at = what.find(file.path()))
    what.replace(at, file.path().size(), "the file");
  return fail(id.error().code, "{}", what);
}

std::string Sessions::meter_json(Position tokens, std::optional<Position> cached) const {
  return meter_document(meter_, tokens, cached, context_, scheduler_->stats());
}

Status Sessions::meter(const std::string& id, std::int64_t branch, std::function<void(std::string)> then) {
  const SessionLog log = HADAL_TRY(store().read(id));
  const BranchId shown = HADAL_TRY(branch_of(log, branch));
  std::vector<TokenId> ids = HADAL_TRY(log.history().ids(shown));
  const Position tokens = std::ssize(ids);
  if (tokens == 0) {
    then(meter_json(0, 0));
    return {};
  }
  scheduler_->explain(std::move(ids), [this, tokens, then = std::move(then)](const PrefixMiss& miss) {
    then(meter_json(tokens, miss.boundary));
  });
  return {};
}

Result<std::vector<TokenId>> instruction_tokens(const Tokenizer& tokenizer, const std::string& task,
                                                const std::string& url) {
  const auto known = std::ranges::find(chat::text::kTasks, task, [](const auto& t) { return t.first; });
  if (known == chat::text::kTasks.end())
    return fail(ErrorCode::kUsage,
                "'{}' is no Quick Instruction; use title, query, action, authority, domain or "
                "read_url",
                task);
  if ((task == "read_url") != !url.empty())
    return fail(ErrorCode::kUsage, "'url' belongs to the instruction read_url, which needs it");
  std::vector<TokenId> out;
  const auto marker = [&](std::string_view text) -> Status {
    const auto id = tokenizer.find_added(text);
    if (!id) return fail(ErrorCode::kUnsupported, "the tokenizer has no token {}", text);
    out.push_back(*id);
    return {};
  };
  if (!url.empty()) {
    HADAL_CHECK_OK(marker(chat::text::kExtractedUrl));
    tokenizer.encode_literal(url, out);
  }
  HADAL_CHECK_OK(marker(known->second));
  return out;
}

Result<std::vector<TokenId>> Sessions::instruction(const std::string& id, const std::string& task,
                                                   const std::string& url) {
  const std::vector<TokenId> own = HADAL_TRY(instruction_tokens(tokenizer(), task, url));
  const SessionLog log = HADAL_TRY(store().read(id));
  const Transcript t = HADAL_TRY(transcript(log, log.history().live_branch()));
  const auto ids = log.tokens();
  std::vector<TokenId> out(ids.begin(), ids.end());
  if (task == "title") {
    if (!t.conversation || !t.complete || t.turns.empty() || t.turns.back().message.role != chat::Role::kAssistant)
      return fail(ErrorCode::kUsage, "'title' follows a complete answer, and session '{}' does not end with one", id);
  } else {
    const auto last = std::ranges::find(t.turns.rbegin(), t.turns.rend(), chat::Role::kUser,
                                        [](const TranscriptTurn& turn) { return turn.message.role; });
    if (!t.conversation || last == t.turns.rend())
      return fail(ErrorCode::kUsage, "'{}' is about a user's message, and session '{}' has none", task, id);
    out.resize(static_cast<std::size_t>(last->to));
    if (task == "action") {
      const bool thinks = t.effort != "none";
      for (std::string_view text : {chat::text::kAssistant, thinks ? chat::text::kThinkOpen : chat::text::kThinkClose})
        out.push_back(tokenizer().find_added(text).value());
    }
  }
  out.insert(out.end(), own.begin(), own.end());
  return out;
}

}  // namespace hadal::serve
