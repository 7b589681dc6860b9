// hadal session: durable sessions seen from the command line.
#include <fmt/chrono.h>
#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/embedded.h"
#include "cli/options.h"
#include "cli/report.h"
#include "cli/session_text.h"
#include "sessions/replay.h"
#include "sessions/session_identity.h"
#include "sessions/session_store.h"

namespace hadal::cli {
namespace {

using Json = nlohmann::ordered_json;

void print_json(const Json& document) {
  fmt::print("{}\n", document.dump(-1, ' ', false, Json::error_handler_t::replace));
}

std::string time_text(std::int64_t ms) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(static_cast<std::time_t>(ms / 1000)));
}

std::string hex(std::uint64_t n) { return fmt::format("{:016x}", n); }

// --model as the store and the tokenizer need it.
struct ModelFiles {
  std::shared_ptr<const Checkpoint> checkpoint;
  SessionIdentity identity;
  std::string name;
};

Result<ModelFiles> open_model(const SessionOptions& o) {
  ModelFiles m;
  m.checkpoint = HADAL_TRY(Checkpoint::open(model_files(o.model)));
  m.identity = HADAL_TRY(session_identity(*m.checkpoint, Numerics{}));
  std::string name = o.model;
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  m.name = name.empty() ? "nano" : name.substr(name.rfind('/') + 1);
  return m;
}

Result<std::unique_ptr<SessionStore>> open_store(const SessionOptions& o, const ModelFiles* model = nullptr) {
  SessionStoreOptions options;
  if (model) {
    options.identity = model->identity;
    options.model = model->name;
  }
  options.sync = SyncPolicy::Mode::kEveryWrite;  // a command writes once
  const std::string data = o.data.empty() ? HADAL_TRY(default_data_folder()) : o.data;
  return SessionStore::open(data, options);
}

Result<SessionLog> read_session(SessionStore& store, const SessionOptions& o) {
  const std::string id = HADAL_TRY(store.resolve(o.session));
  return store.read(id);
}

Result<BranchId> branch_of(const SessionLog& log, std::int64_t asked) {
  if (asked < 0) return log.history().live_branch();
  if (asked >= static_cast<std::int64_t>(log.history().branch_count()))
    return fail(ErrorCode::kUsage, "there is no branch {}; session {} has {}", asked, log.id(),
                log.history().branch_count());
  return static_cast<BranchId>(asked);
}

// The tokenizer of --model if it is the session's.
Result<std::shared_ptr<const Tokenizer>> tokenizer_of(const SessionLog& log, const SessionOptions& o) {
  const ModelFiles model = HADAL_TRY(open_model(o));
  if (model.identity.tokenizer != log.header().identity.tokenizer)
    return fail(ErrorCode::kUsage,
                "session {} was made with the tokenizer of {}; name that model with --model, or use "
                "--ids",
                log.id(), printable(log.header().model));
  return read_tokenizer(*model.checkpoint);
}

Status list(const SessionOptions& o) {
  const ModelFiles model = HADAL_TRY(open_model(o));
  const auto store = HADAL_TRY(open_store(o, &model));
  const std::vector<SessionSummary> all = HADAL_TRY(store->list());
  if (o.json) {
    Json rows = Json::array();
    for (const SessionSummary& s : all)
      rows.push_back({{"id", s.id},
                      {"tokens", s.length},
                      {"branches", s.branches},
                      {"created_ms", s.created_ms},
                      {"updated_ms", s.updated_ms},
                      {"bytes", s.file_bytes},
                      {"model", s.model},
                      {"parent", s.parent},
                      {"weights", hex(s.identity.weights)},
                      {"usable", s.usable},
                      {"problem", s.problem}});
    print_json({{"folder", store->folder()}, {"sessions", rows}});
    return {};
  }
  if (all.empty()) {
    note("no session in {}\n", store->folder());
    return {};
  }
  std::size_t width = 2;
  for (const SessionSummary& s : all) width = std::max(width, s.id.size());
  fmt::print("{:<{}}  {:>9}  {:>8}  {:<19}  {}\n", "ID", width, "TOKENS", "BRANCHES", "CHANGED (UTC)", "MODEL");
  for (const SessionSummary& s : all)
    fmt::print("{:<{}}  {:>9}  {:>8}  {:<19}  {}{}\n", s.id, width, s.length, s.branches, time_text(s.updated_ms),
               printable(s.model), s.usable ? "" : (s.model.empty() ? "" : ": ") + printable(s.problem));
  return {};
}

Status show(const SessionOptions& o) {
  const auto store = HADAL_TRY(open_store(o));
  const SessionLog log = HADAL_TRY(read_session(*store, o));
  const BranchId branch = HADAL_TRY(branch_of(log, o.branch));
  const auto tokenizer = o.ids ? nullptr : HADAL_TRY(tokenizer_of(log, o));
  if (o.json) {
    print_json(HADAL_TRY(session_json(log, branch, tokenizer.get())));
    return {};
  }
  fmt::print("{}", HADAL_TRY(session_text(log, branch, tokenizer.get(), o.full)));
  if (log.cut_bytes() > 0) note("hadal: its last {} bytes are being written or torn\n", log.cut_bytes());
  return {};
}

Status branches(const SessionOptions& o) {
  const auto store = HADAL_TRY(open_store(o));
  const SessionLog log = HADAL_TRY(read_session(*store, o));
  const SessionHistory& h = log.history();
  Json rows = Json::array();
  if (!o.json) fmt::print("{:>6}  {:>6}  {:>9}  {:>9}\n", "BRANCH", "PARENT", "FROM", "TOKENS");
  for (const BranchInfo& b : h.branches()) {
    if (o.json)
      rows.push_back({{"branch", b.id},
                      {"parent", b.id == 0 ? Json() : Json(b.parent)},
                      {"from", b.from},
                      {"tokens", b.length},
                      {"live", b.id == h.live_branch()}});
    else
      fmt::print("{:>6}  {:>6}  {:>9}  {:>9}{}\n", b.id, b.id == 0 ? "-" : std::to_string(b.parent), b.from, b.length,
                 b.id == h.live_branch() ? "  live" : "");
  }
  if (o.json) print_json({{"session", log.id()}, {"branches", rows}});
  return {};
}

Status diff(const SessionOptions& o) {
  const auto store = HADAL_TRY(open_store(o));
  const SessionLog log = HADAL_TRY(read_session(*store, o));
  const BranchId a = HADAL_TRY(branch_of(log, o.a)), b = HADAL_TRY(branch_of(log, o.b));
  const BranchDiff d = HADAL_TRY(log.history().diff(a, b));
  // Text where it can be had: ids are enough to see that branches differ.
  const auto found = tokenizer_of(log, o);
  const Tokenizer* tokenizer = found ? found->get() : nullptr;
  if (o.json) {
    const auto side = [&](BranchId id, Position length, const std::vector<TokenId>& ids) {
      Json out = {{"branch", id}, {"tokens", length}, {"ids", ids_json(ids)}};
      if (tokenizer) out["text"] = text_of(*tokenizer, ids);
      return out;
    };
    print_json({{"session", log.id()},
                {"common", d.common},
                {"context_from", d.context_from},
                {"a", side(a, d.length_a, d.a)},
                {"b", side(b, d.length_b, d.b)}});
    return {};
  }
  if (d.common == d.length_a && d.common == d.length_b) {
    fmt::print("branches {} and {} are the same {} tokens\n", a, b, d.common);
    return {};
  }
  fmt::print("the first {} tokens are the same; from token {} on:\n", d.common, d.context_from);
  const auto line = [&](BranchId id, Position length, const std::vector<TokenId>& ids) {
    fmt::print("branch {} ({} tokens): {}\n", id, length,
               fmt::join(ids_json(ids).get<std::vector<std::int32_t>>(), " "));
    if (tokenizer)
      fmt::print("  {}\n", Json(text_of(*tokenizer, ids)).dump(-1, ' ', false, Json::error_handler_t::replace));
  };
  line(a, d.length_a, d.a);
  line(b, d.length_b, d.b);
  return {};
}

Status fork(const SessionOptions& o) {
  const auto store = HADAL_TRY(open_store(o));
  const SessionLog log = HADAL_TRY(read_session(*store, o));
  const BranchId branch = HADAL_TRY(branch_of(log, o.branch));
  const Position at = o.at < 0 ? log.history().length(branch) : o.at;
  const SessionLog made = HADAL_TRY(store->fork(log, at, branch, o.as));
  if (o.json)
    print_json({{"session", made.id()}, {"parent", log.id()}, {"branch", branch}, {"tokens", at}});
  else
    fmt::print("{}\n", made.id());
  return {};
}

Status rewind(const SessionOptions& o) {
  const auto store = HADAL_TRY(open_store(o));
  const std::string id = HADAL_TRY(store->resolve(o.session));
  SessionLog log = HADAL_TRY(store->open_session(id));
  const BranchId branch = HADAL_TRY(branch_of(log, o.branch));
  HADAL_CHECK_OK(log.rewind(o.at, branch));
  HADAL_CHECK_OK(log.sync());
  store->update(log);
  if (o.json)
    print_json({{"session", log.id()}, {"branch", log.history().live_branch()}, {"tokens", log.length()}});
  else
    fmt::print("{} has {} tokens in branch {}\n", log.id(), log.length(), log.history().live_branch());
  return {};
}

Status export_session(const SessionOptions& o) {
  const auto store = HADAL_TRY(open_store(o));
  const std::string id = HADAL_TRY(store->resolve(o.session));
  const std::int64_t lost = HADAL_TRY(store->export_to(id, o.file, o.intact));
  const SessionLog log = HADAL_TRY(SessionLog::read(o.file));
  if (o.json)
    print_json({{"session", id},
                {"file", o.file},
                {"bytes", log.file_bytes()},
                {"tokens", log.length()},
                {"lost_bytes", lost}});
  else
    fmt::print("{}: {} bytes, {} tokens\n", o.file, log.file_bytes(), log.length());
  if (lost > 0) note("hadal: the last {} bytes of session {} are damaged and were left out\n", lost, id);
  return {};
}

Status import_session(const SessionOptions& o) {
  const ModelFiles model = HADAL_TRY(open_model(o));
  const auto store = HADAL_TRY(open_store(o, &model));
  const SessionIdentity before = HADAL_TRY(SessionLog::read_header(o.file)).identity;
  ImportOptions options;
  options.id = o.as;
  options.any_model = o.any_model;
  const std::string id = HADAL_TRY(store->import_from(o.file, options));
  const std::string_view other = first_difference(before, model.identity);
  if (o.json)
    print_json({{"session", id}, {"cache", other.empty() ? "usable" : "made again"}});
  else
    fmt::print("{}\n", id);
  if (!other.empty())
    note(
        "hadal: it was made with other {}: the cache is made again from its tokens, and 'verify' may find "
        "differences\n",
        other);
  return {};
}

Status verify(const SessionOptions& o) {
  const auto store = HADAL_TRY(open_store(o));
  const SessionLog log = HADAL_TRY(read_session(*store, o));
  const BranchId branch = HADAL_TRY(branch_of(log, o.branch));
  const SessionIdentity& identity = log.header().identity;
  EngineOptions options;
  options.reference = (identity.numerics & SessionIdentity::kReference) != 0;
  options.model.numerics.fast = (identity.numerics & SessionIdentity::kFast) != 0;
  options.model.numerics.round_cache = (identity.numerics & SessionIdentity::kRoundCache) != 0;
  options.model.numerics.round_inputs = (identity.numerics & SessionIdentity::kRoundInputs) != 0;
  options.model.threads = o.threads;
  options.context_tokens = std::max<std::int64_t>(log.history().length(branch), 1);
  const auto checkpoint = HADAL_TRY(Checkpoint::open(model_files(o.model)));
  const SessionIdentity here = HADAL_TRY(session_identity(*checkpoint, options.model.numerics, options.reference));
  if (const auto other = first_difference(here, identity); !other.empty() && other != "chat format")
    return fail(ErrorCode::kUsage, "session {} was made with other {} ({}); name that model with --model", log.id(),
                other, printable(log.header().model));
  const Engine engine = HADAL_TRY(Engine::open(checkpoint, options));
  Progress progress("verifying", "tokens", log.history().length(branch));
  const ReplayReport r = HADAL_TRY(replay(log, branch, engine, [&](Position done, Position) {
    progress.update(done);
    return !interrupted();
  }));
  progress.finish();
  const auto& d = r.first_difference;
  if (o.json) {
    Json out = {{"session", log.id()}, {"branch", branch}, {"tokens", r.tokens},
                {"greedy", r.greedy},  {"drawn", r.drawn}, {"without_parameters", r.unexplained},
                {"same", !d}};
    if (d)
      out["first_difference"] = {{"token", d->position},
                                 {"logged", to_int(d->logged)},
                                 {"drawn", to_int(d->drawn)},
                                 {"logged_logprob", d->logged_logprob},
                                 {"drawn_logprob", d->drawn_logprob}};
    print_json(out);
  } else if (!d) {
    fmt::print("{}, branch {}: {} tokens fed; {} greedy and {} drawn tokens came out the same\n", log.id(), branch,
               r.tokens, r.greedy, r.drawn);
  }
  if (!o.json && r.unexplained > 0)
    note("hadal: {} sampled tokens have no parameters in the log and were not compared\n", r.unexplained);
  if (!d) return {};
  const auto text = [&](TokenId id) {
    return Json(text_of(*engine.tokenizer, {id})).dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  if (d->logged == d->drawn)
    return fail(ErrorCode::kInternal,
                "session {}: token {} is {} {} in the log and here, but its probability differs "
                "({} and {})",
                log.id(), d->position, to_int(d->logged), text(d->logged), d->logged_logprob, d->drawn_logprob);
  return fail(ErrorCode::kInternal, "session {}: token {} is {} {} in the log, the model gives {} {}", log.id(),
              d->position, to_int(d->logged), text(d->logged), to_int(d->drawn), text(d->drawn));
}

Status remove(const SessionOptions& o) {
  const auto store = HADAL_TRY(open_store(o));
  // The whole id: a slip of the finger should not cost another session.
  HADAL_CHECK_OK(store->remove(o.session));
  if (o.json) print_json({{"removed", o.session}});
  return {};
}

}  // namespace

int run_session(const SessionOptions& o, const std::string& what) {
  const Status status = what == "list"       ? list(o)
                        : what == "show"     ? show(o)
                        : what == "branches" ? branches(o)
                        : what == "diff"     ? diff(o)
                        : what == "fork"     ? fork(o)
                        : what == "rewind"   ? rewind(o)
                        : what == "export"   ? export_session(o)
                        : what == "import"   ? import_session(o)
                        : what == "verify"   ? verify(o)
                                             : remove(o);
  return status ? 0 : report(status.error());
}

}  // namespace hadal::cli
