#include <memory>

#include "cli/common_options.h"
#include "cli/options.h"

namespace hadal::cli {
namespace {

using Shared = std::shared_ptr<SessionOptions>;

Command about_one(Command group, const Shared& o, const std::string& name, const std::string& summary) {
  Command c = group.add(name, summary, [o, name] { return run_session(*o, name); });
  c.text("session", o->session, "its id, or the beginning of it").required().takes("ID");
  return c;
}

void data_and_json(Command c, const Shared& o) {
  c.path("--data", o->data, "folder of durable data (default: $XDG_DATA_HOME/hadal or ~/.local/share/hadal)")
      .takes("DIR");
  json_option(c, o->json);
}

void model_data_and_json(Command c, const Shared& o) {
  model_option(c, o->model);
  data_and_json(c, o);
}

void branch_option(Command c, const Shared& o) { c.number("--branch", o->branch, "a branch (default: the live one)"); }

}  // namespace

void define_session_commands(Command root) {
  const auto o = std::make_shared<SessionOptions>();
  Command group = root.add("session", "durable sessions: look at them, fork, rewind, move and verify them");

  Command list =
      group.add("list", "every session, the one changed last first", [o] { return run_session(*o, "list"); });
  model_data_and_json(list, o);

  Command show = about_one(group, o, "show", "the text of a session and where it came from");
  branch_option(show, o);
  show.flag("--full", o->full, "do not fold long stretches");
  show.flag("--ids", o->ids, "token ids instead of text; works without the session's model");
  model_data_and_json(show, o);

  data_and_json(about_one(group, o, "branches", "what rewinding left: every branch and where it began"), o);

  Command diff = about_one(group, o, "diff", "where two branches part");
  diff.number("a", o->a, "a branch").required();
  diff.number("b", o->b, "another").required();
  model_data_and_json(diff, o);

  Command fork = about_one(group, o, "fork", "a new session with the first tokens of another");
  fork.number("--at", o->at, "how many tokens (default: all)");
  branch_option(fork, o);
  fork.text("--as", o->as, "id of the new session (default: made up)").takes("ID");
  data_and_json(fork, o);

  Command rewind = about_one(group, o, "rewind", "go back to the first tokens, in a new branch");
  rewind.number("length", o->at, "how many tokens stay").required();
  branch_option(rewind, o);
  data_and_json(rewind, o);

  Command out = about_one(group, o, "export", "one file that holds the whole session");
  out.path("file", o->file, "the file to make").required();
  out.flag("--intact", o->intact, "of a damaged session, what comes before the damage");
  data_and_json(out, o);

  Command in = group.add("import", "take over a file that export made", [o] { return run_session(*o, "import"); });
  in.path("file", o->file, "the file").required();
  in.text("--as", o->as, "id to keep it under (default: its own)").takes("ID");
  in.flag("--any-model", o->any_model, "also one of other weights: its tokens stay, its cache is made again");
  model_data_and_json(in, o);

  Command verify =
      about_one(group, o, "verify", "feed a session again and compare what the model says with what the log says");
  branch_option(verify, o);
  threads_option(verify, o->threads);
  model_data_and_json(verify, o);

  Command explain = group.add("explain-miss", "where a request's prompt parts from the sessions that are kept",
                              [o] { return run_explain_miss(*o); });
  explain.path("file", o->file, "the request's body").required();
  explain.choice("--api", o->api, "whose request it is", {"chat", "messages", "responses", "completions"})
      .show_default();
  format_option(explain, o->format);
  model_data_and_json(explain, o);

  data_and_json(about_one(group, o, "remove", "delete a session"), o);
}

}  // namespace hadal::cli
