#include <memory>

#include "cli/common_options.h"
#include "cli/options.h"

namespace hadal::cli {
namespace {

using Shared = std::shared_ptr<SandboxOptions>;

Command simple(Command group, const Shared& o, const std::string& name, const std::string& summary) {
  return group.add(name, summary, [o, name] { return run_sandbox(*o, name); });
}

Command about_one(Command group, const Shared& o, const std::string& name, const std::string& summary) {
  Command c = simple(group, o, name, summary);
  c.text("sandbox", o->sandbox, "its id").required().takes("ID");
  return c;
}

void data_and_json(Command c, const Shared& o) {
  c.path("--data", o->data, "folder of the edge (default: /var/lib/hadal/sandbox)").takes("DIR");
  json_option(c, o->json);
}

void define_create(Command group, const Shared& o) {
  Command c = simple(group, o, "create", "make a sandbox and print its id");
  c.text("--image", o->image, "layer or directory that becomes its root").required().takes("LAYER|DIR");
  c.text("--workspace", o->workspace, "layer over it").takes("LAYER");
  c.text("--toolkits", o->toolkits, "layers over both, separated by commas; the last lies on top").takes("LAYERS");
  c.number("--cpus", o->cpus, "processors (default: 1)");
  c.number("--memory-mb", o->memory_mb, "memory (default: 2048)");
  c.number("--pids", o->pids, "processes (default: 512)");
  c.number("--idle", o->idle_s, "seconds without a call after which it is paused (default: 300)");
  c.number("--life", o->life_s, "seconds after which it is closed (default: none)");
  c.text("--job", o->job, "label of a group").takes("NAME");
  c.text("--user", o->user, "who runs its commands (default: root inside)").takes("NAME");
  data_and_json(c, o);
}

void define_exec(Command group, const Shared& o) {
  Command c = about_one(group, o, "exec", "run a command in a sandbox; its exit status becomes this one's");
  c.words("command", o->words, "program and arguments, after --").required();
  c.flag("-c", o->shell_line, "the command is one line for /bin/sh");
  c.flag("-i", o->read_input, "pass standard input on");
  c.text("--cwd", o->cwd, "working directory").takes("DIR");
  c.text("--user", o->user, "who runs it").takes("NAME");
  c.number("--timeout", o->timeout_s, "seconds; 0 for none (default: 120)");
  data_and_json(c, o);
}

Command layer_command(Command group, const Shared& o, const std::string& name, const std::string& summary) {
  Command c = group.add(name, summary, [o, name] { return run_sandbox_layer(*o, name); });
  data_and_json(c, o);
  return c;
}

void define_layers(Command group, const Shared& o) {
  Command diff = layer_command(group, o, "pack-diff", "make a layer of what a sandbox changed");
  diff.text("sandbox", o->sandbox, "its id").required().takes("ID");
  diff.text("--name", o->name, "name of the layer").takes("NAME");

  Command layers = group.add("layer", "the read-only trees that sandboxes are stacked of");
  Command import = layer_command(layers, o, "import", "make a layer of a folder, a tar file or an OCI layout");
  import.path("from", o->from, "folder, tar file, or OCI layout with :TAG").required().takes("FROM");
  import.text("--name", o->name, "name of the layer").takes("NAME");
  import.text("--kind", o->kind, "base, workspace or toolkit (default: base)").takes("KIND");
  layer_command(layers, o, "ls", "every layer of this machine");
  for (const auto& [name, summary] : {std::pair{"show", "a layer's manifest"},
                                      {"verify", "check every byte of a layer against its checksums"},
                                      {"rm", "remove a layer that nothing lies on"}})
    layer_command(layers, o, name, summary)
        .text("layer", o->layer, "its name, its id or the first digits of it")
        .required()
        .takes("LAYER");
}

}  // namespace

void define_sandbox_commands(Command root) {
  const auto o = std::make_shared<SandboxOptions>();
  Command group = root.add("sandbox", "run other people's commands where they can do no harm");

  data_and_json(group.add("doctor", "what this machine can do for sandboxes, found out by doing it",
                          [o] { return run_sandbox_doctor(*o); }),
                o);
  Command up = group.add("up", "be the edge of this machine: hold its sandboxes", [o] { return run_sandbox_up(*o); });
  up.number("--most", o->most, "sandboxes at a time (default: 1000)");
  data_and_json(up, o);

  define_create(group, o);
  Command ls = simple(group, o, "ls", "every sandbox of this machine");
  ls.text("--job", o->job, "only of this group").takes("NAME");
  data_and_json(ls, o);
  define_exec(group, o);

  Command shell = about_one(group, o, "shell", "a terminal in a sandbox");
  shell.words("command", o->words, "program and arguments, after --");
  data_and_json(shell, o);

  Command cp = simple(group, o, "cp", "copy a file into a sandbox or out of it");
  cp.text("from", o->from, "a file here, or ID:/PATH").required().takes("FROM");
  cp.text("to", o->to, "the other of the two").required().takes("TO");
  data_and_json(cp, o);

  data_and_json(about_one(group, o, "pause", "stop every process of a sandbox where it is"), o);
  data_and_json(about_one(group, o, "resume", "let them go on"), o);
  data_and_json(about_one(group, o, "rm", "end a sandbox"), o);

  define_layers(group, o);

  Command bench = group.add("bench", "measure this machine's sandboxes", [o] { return run_sandbox_bench(*o); });
  bench.path("--image", o->image, "directory with a shell to run (default: one made of busybox)").takes("DIR");
  bench.number("--count", o->count, "times per row (default: 30)", 3);
  data_and_json(bench, o);
}

}  // namespace hadal::cli
