// hadal eval: scores with the cases they come from.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/embedded.h"
#include "cli/options.h"
#include "cli/report.h"
#include "eval/cases.h"

namespace hadal::cli {
namespace {

struct Score {
  std::int64_t right = 0, all = 0;
};

Status eval_cases(const EvalOptions& options) {
  std::vector<EvalCase> cases = HADAL_TRY(read_cases(options.file));
  auto checkpoint = HADAL_TRY(Checkpoint::open(model_files(options.model)));
  EngineOptions engine_options;
  engine_options.reference = options.numerics == "reference";
  engine_options.model.numerics.fast = options.numerics == "trained";
  engine_options.model.threads = options.threads;
  Engine engine = HADAL_TRY(Engine::open(checkpoint, engine_options));

  if (!options.kind.empty() &&
      std::none_of(cases.begin(), cases.end(), [&](const EvalCase& c) { return c.kind == options.kind; }))
    return fail(ErrorCode::kUsage, "{}: no case is of kind '{}'", options.file, options.kind);

  std::map<std::string, Score> scores;
  nlohmann::ordered_json failures = nlohmann::ordered_json::array();
  Progress progress("cases", "cases", static_cast<std::int64_t>(cases.size()));
  std::int64_t done = 0;
  for (const EvalCase& c : cases) {
    ++done;
    Score& score = scores[c.kind];
    if ((!options.kind.empty() && c.kind != options.kind) || (options.limit >= 0 && score.all >= options.limit))
      continue;
    if (interrupted()) return fail(ErrorCode::kCancelled, "interrupted after {} of {} cases", done - 1, cases.size());
    EvalOutcome outcome = HADAL_TRY(run_case(engine, c, !options.failures));
    ++score.all;
    score.right += outcome.exact;
    if (!outcome.exact && options.failures) {
      failures.push_back({{"id", c.id}, {"expected", c.expected}, {"answer", outcome.answer}});
      if (!options.json) note("{}\n  expected {}\n  answer   {}\n", c.id, c.expected, outcome.answer);
    }
    progress.update(done);
  }
  progress.finish();
  if (options.json) {
    nlohmann::ordered_json out;
    out["rows"] = nlohmann::ordered_json::array();
    for (const auto& [kind, s] : scores)
      if (s.all)
        out["rows"].push_back({{"kind", kind},
                               {"right", s.right},
                               {"cases", s.all},
                               {"share", static_cast<double>(s.right) / static_cast<double>(s.all)}});
    if (options.failures) out["failures"] = failures;
    fmt::print("{}\n", out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  } else {
    for (const auto& [kind, s] : scores)
      if (s.all)
        fmt::print("{:<16} {:>4} of {:<4} {:5.1f}%\n", kind, s.right, s.all,
                   100.0 * static_cast<double>(s.right) / static_cast<double>(s.all));
  }
  return {};
}

}  // namespace

int run_eval_cases(const EvalOptions& options) {
  Status status = eval_cases(options);
  return status ? 0 : report(status.error());
}

}  // namespace hadal::cli
