#include "sandbox/container/container.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <set>
#include <sstream>

#include "base/clock.h"
#include "sandbox/cgroups/cgroups.h"
#include "sandbox/container/keeper_config.h"
#include "sandbox/container/keeper_link.h"
#include "sandbox/container/profile.h"
#include "sandbox/digest.h"
#include "sandbox/layers/copy_tree.h"

extern char** environ;

namespace hadal::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr double kStartSeconds = 25;  // the keeper's own deadline for crun is 20
constexpr double kCloseSeconds = 5;
constexpr std::int64_t kIdsEach = 65536;

std::string read_text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

Status make_folder(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST)
    return fail(ErrorCode::kIo, "cannot make {}: {}", path, std::strerror(errno));
  ::chmod(path.c_str(), mode);
  return {};
}

// Runs a program to its end with nothing to read and nothing to say.
int run_quietly(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  for (int fd = 0; fd < 3; ++fd) ::posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return -1;
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class Containers;

class ContainerBox final : public Box {
 public:
  ContainerBox(Containers& owner, std::string id, std::shared_ptr<KeeperLink> link)
      : owner_(owner), id_(std::move(id)), link_(std::move(link)) {}
  const std::string& id() const override { return id_; }
  Agent& agent() override { return *link_; }
  Result<std::int64_t> pause() override;
  Status resume() override;
  bool paused() const override;
  Result<BoxUsage> usage() const override;
  Result<ChangeCopy> copy_changes(const std::string& folder, const std::vector<std::string>& left_out) override;
  Status close() override;

 private:
  Containers& owner_;
  std::string id_;
  std::shared_ptr<KeeperLink> link_;
};

class Containers final : public Substrate {
 public:
  Containers(ContainerOptions options, Cgroups cgroups, std::shared_ptr<LinkLoop> loop, SeccompFilters filters)
      : options_(std::move(options)),
        cgroups_(std::move(cgroups)),
        loop_(std::move(loop)),
        filters_(std::move(filters)) {}

  SubstrateKind kind() const override { return SubstrateKind::kContainer; }

  std::vector<Capability> capabilities() const override {
    const auto can = [](const char* name, bool yes, const char* text, const char* remedy = "") {
      return Capability{name, yes, text, remedy};
    };
    return {can("sessions", true, "a shell that keeps its state"),
            can("tty", true, "terminals of the sandbox's own devpts"),
            can("pause", true, "freezer; caches are given back"),
            can("memory limit", cgroups_.has("memory"), "memory cgroup"),
            can("cpu limit", cgroups_.has("cpu"), "cpu cgroup"),
            can("pids limit", cgroups_.has("pids"), "pids cgroup"),
            can("disk quota", false, "writes go to the data folder's file system without a limit of their own"),
            can("layers", options_.layers != nullptr, "base, workspace and toolkits from the layer store"),
            can("pack_diff", options_.layers != nullptr, "what a sandbox changed becomes a layer"),
            can("full snapshot", false, "containers have no memory image", "use the microvm substrate"),
            can("network", false, "loopback only")};
  }

  Result<std::unique_ptr<Box>> create(const std::string& id, const CreateSpec& spec, CreatePhases& phases) override {
    Stopwatch watch;
    const std::string folder = folder_of(id);
    if (!spec.snapshot.empty())
      return fail(ErrorCode::kUnsupported, "snapshot: containers start from layers; pack_diff makes one of a sandbox");
    if (spec.resources.gpus != 0) return fail(ErrorCode::kUnsupported, "gpus: containers here have none to give");

    const LayerStack stack = HADAL_TRY(root_of(spec, id));
    const int slot = HADAL_TRY(take_slot());
    const auto made = create_in(id, spec, stack, phases, folder, slot, watch);
    if (made) return std::make_unique<ContainerBox>(*this, id, *made);
    (void)destroy(id);
    give_slot(slot);
    return std::unexpected(made.error());
  }

  Result<std::vector<std::string>> list() override {
    std::vector<std::string> ids;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(options_.data + "/sb", error))
      ids.push_back(entry.path().filename());
    if (error) return fail(ErrorCode::kIo, "cannot list {}/sb: {}", options_.data, error.message());
    for (const std::string& id : cgroups_.list())
      if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
    return ids;
  }

  Result<std::unique_ptr<Box>> adopt(const std::string& id) override {
    const std::string folder = folder_of(id);
    const auto config = parse_keeper_config(read_text(folder + "/keeper.json"));
    if (!config) return fail(ErrorCode::kNotFound, "sandbox {} has no keeper", id);
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    const std::string path = folder + "/keeper.sock";
    if (path.size() >= sizeof address.sun_path) return fail(ErrorCode::kUsage, "{} is too long for a socket", path);
    std::copy(path.begin(), path.end(), address.sun_path);
    if (!socket || ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      return fail(ErrorCode::kNotFound, "the keeper of sandbox {} is gone: {}", id, std::strerror(errno));
    auto link = HADAL_TRY(KeeperLink::open(loop_, std::move(socket), kStartSeconds));
    {
      const std::lock_guard lock(mutex_);
      slots_.insert(static_cast<int>((config->first_id - options_.first_id) / kIdsEach));
    }
    if (options_.layers) options_.layers->hold(id, config->layers);
    return std::make_unique<ContainerBox>(*this, id, std::move(link));
  }

  Status destroy(const std::string& id) override {
    const std::string folder = folder_of(id);
    const auto config = parse_keeper_config(read_text(folder + "/keeper.json"));
    // The keeper first, so that it starts nothing more. Its pid may have been given to another process since.
    pid_t keeper = 0;
    std::ifstream(folder + "/keeper.pid") >> keeper;
    if (keeper > 1 && read_text(fmt::format("/proc/{}/comm", keeper)) == "hadal-keeper\n" &&
        read_text(fmt::format("/proc/{}/cmdline", keeper)).find(folder + "/keeper.json") != std::string::npos)
      ::kill(keeper, SIGKILL);
    HADAL_CHECK_OK(cgroups_.remove(id));
    if (config) {
      auto words = config->runtime;
      for (const char* w : {"delete", "--force"}) words.emplace_back(w);
      words.push_back(id);
      (void)run_quietly(words);  // it knows nothing of a container that never started
      give_slot(static_cast<int>((config->first_id - options_.first_id) / kIdsEach));
    }
    std::error_code error;
    fs::remove_all(folder, error);
    if (error) return fail(ErrorCode::kIo, "cannot remove {}: {}", folder, error.message());
    if (options_.layers) options_.layers->release(id);
    return {};
  }

  Cgroups& cgroups() { return cgroups_; }

  // `box` does not run meanwhile.
  Result<ChangeCopy> copy_changes(const std::string& id, const std::string& to,
                                  const std::vector<std::string>& left_out) const {
    const KeeperConfig c = HADAL_TRY(parse_keeper_config(read_text(folder_of(id) + "/keeper.json")));
    const CopyCount count = HADAL_TRY(copy_tree(folder_of(id) + "/upper", to, {c.first_id, left_out}));
    return ChangeCopy{count.files, count.bytes, 0};
  }

 private:
  Result<LayerStack> root_of(const CreateSpec& spec, const std::string& id) {
    if (options_.layers) return options_.layers->mount(spec, id);
    std::error_code ignored;
    if (!spec.image.starts_with("/") || !fs::is_directory(spec.image, ignored))
      return fail(ErrorCode::kNotFound, "image {} is not a directory on this host", spec.image);
    if (!spec.workspace.empty() || !spec.toolkits.empty())
      return fail(ErrorCode::kUnsupported, "workspace and toolkits need a layer store, which is not there");
    return LayerStack{{spec.image}, {}};
  }
  std::string folder_of(const std::string& id) const { return options_.data + "/sb/" + id; }

  Result<int> take_slot() {
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < options_.most; ++i)
      if (slots_.insert(i).second) return i;
    return fail(ErrorCode::kBusy, "{} containers are alive, the most for this host; close some", options_.most);
  }
  void give_slot(int slot) {
    const std::lock_guard lock(mutex_);
    slots_.erase(slot);
  }

  Result<std::shared_ptr<KeeperLink>> create_in(const std::string& id, const CreateSpec& spec, const LayerStack& stack,
                                                CreatePhases& phases, const std::string& folder, int slot,
                                                Stopwatch& watch) {
    KeeperConfig c;
    c.id = id;
    c.folder = folder;
    c.first_id = options_.first_id + slot * kIdsEach;
    for (const char* name : {"", "/lower", "/upper", "/work"})
      HADAL_CHECK_OK(make_folder(folder + name, name[0] ? 0755 : 0700));
    // The upper folder is the root the sandbox sees.
    if (::chown((folder + "/upper").c_str(), static_cast<uid_t>(c.first_id), static_cast<gid_t>(c.first_id)) != 0)
      return fail(ErrorCode::kIo, "cannot own {}/upper: {}", folder, std::strerror(errno));
    const Resources& r = spec.resources;
    HADAL_CHECK_OK(cgroups_.create(id, {r.cpus, r.memory_bytes, r.pids}));
    c.group = cgroups_.paths(id);
    c.runtime = {options_.runtime, "--root", options_.data + "/crun", "--cgroup-manager", "disabled"};
    c.lowers = stack.folders;
    c.layers = stack.layers;
    c.root = options_.data + "/root";
    c.init = options_.keeper;
    c.init_place = options_.data + "/init";
    c.env = spec.env;
    c.user = spec.user;
    c.workdir = spec.workdir;
    c.open_files = r.open_files;
    for (const auto& [number, name] : kept_capabilities()) c.capabilities.push_back(number);
    c.seccomp[0] = filters_.calls;
    c.seccomp[1] = filters_.arguments;
    const auto put = [&](const char* name, const std::string& text) -> Status {
      std::ofstream out(folder + name);
      ::chmod((folder + name).c_str(), 0600);
      out << text;
      out.close();
      if (!out) return fail(ErrorCode::kIo, "cannot write {}{}", folder, name);
      return {};
    };
    HADAL_CHECK_OK(put("/config.json", oci_config(spec, id, c.root, c.init_place, c.first_id)));
    HADAL_CHECK_OK(put("/keeper.json", to_json(c)));
    phases.image_ms = watch.seconds() * 1e3;

    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return fail(ErrorCode::kIo, "no socket for a keeper: {}", std::strerror(errno));
    Fd mine(ends[0]);
    Fd its(ends[1]);
    HADAL_CHECK_OK(spawn_keeper(folder, its.get()));
    its.reset();
    auto link = HADAL_TRY(KeeperLink::open(loop_, std::move(mine), kStartSeconds));
    phases.boot_ms = watch.seconds() * 1e3 - phases.image_ms;
    for (const InitialFile& file : spec.files) {
      FileRequest q;
      q.kind = FileRequest::Kind::kWrite;
      q.path = file.path;
      q.data = file.data;
      q.mode = file.mode;
      std::promise<Result<FileAnswer>> promise;
      link->file(q, [&](Result<FileAnswer> a) { promise.set_value(std::move(a)); });
      if (auto a = promise.get_future().get(); !a) return std::unexpected(a.error());
    }
    phases.agent_ms = watch.seconds() * 1e3 - phases.image_ms - phases.boot_ms;
    return link;
  }

  Status spawn_keeper(const std::string& folder, int socket) {
    std::string program = options_.keeper, keep = "keep", file = folder + "/keeper.json", log = folder + "/keeper.log";
    char* argv[] = {program.data(), keep.data(), file.data(), nullptr};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, socket, 3);
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 2, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    pid_t pid = -1;
    const int failed = ::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv, environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) return fail(ErrorCode::kIo, "cannot run {}: {}", program, std::strerror(failed));
    int status = 0;
    ::waitpid(pid, &status, 0);  // it leaves the keeper behind at once
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
      return fail(ErrorCode::kIo, "{} did not start: {}", program, read_text(log).substr(0, 300));
    return {};
  }

  friend class ContainerBox;
  ContainerOptions options_;
  Cgroups cgroups_;
  std::shared_ptr<LinkLoop> loop_;
  SeccompFilters filters_;
  std::mutex mutex_;
  std::set<int> slots_;
};

Result<std::int64_t> ContainerBox::pause() {
  HADAL_CHECK_OK(owner_.cgroups().freeze(id_));
  return owner_.cgroups().reclaim(id_);
}
Status ContainerBox::resume() { return owner_.cgroups().thaw(id_); }
bool ContainerBox::paused() const { return owner_.cgroups().frozen(id_); }
Result<BoxUsage> ContainerBox::usage() const {
  const GroupUsage u = HADAL_TRY(owner_.cgroups().usage(id_));
  return BoxUsage{u.memory_bytes, u.memory_peak_bytes, u.processes, u.cpu_s};
}
Result<ChangeCopy> ContainerBox::copy_changes(const std::string& folder, const std::vector<std::string>& left_out) {
  const bool was = paused();
  if (!was) HADAL_CHECK_OK(owner_.cgroups().freeze(id_));
  const Stopwatch watch;
  auto copied = owner_.copy_changes(id_, folder, left_out);
  if (copied) copied->frozen_s = was ? 0 : watch.seconds();
  if (!was) HADAL_CHECK_OK(owner_.cgroups().thaw(id_));
  return copied;
}
Status ContainerBox::close() {
  link_->close(kCloseSeconds);
  return owner_.destroy(id_);
}

}  // namespace

Result<std::unique_ptr<Substrate>> open_containers(const ContainerOptions& options) {
  if (::geteuid() != 0) return fail(ErrorCode::kUnsupported, "containers need root on this host; run the edge as root");
  if (::access(options.keeper.c_str(), X_OK) != 0)
    return fail(ErrorCode::kUnsupported, "the program {} is not there; it belongs beside hadal", options.keeper);
  if (run_quietly({options.runtime, "--version"}) != 0)
    return fail(ErrorCode::kUnsupported, "{} is not installed; apt-get install crun", options.runtime);
  // The root is mounted at <data>/root in each container's own mount namespace, where an unprivileged process must be
  // able to reach it; what belongs to the platform lies in sb/, closed to everyone.
  HADAL_CHECK_OK(make_folder(options.data, 0711));
  HADAL_CHECK_OK(make_folder(options.data + "/root", 0755));
  HADAL_CHECK_OK(make_folder(options.data + "/sb", 0700));
  HADAL_CHECK_OK(make_folder(options.data + "/crun", 0700));
  if (std::ofstream place(options.data + "/init", std::ios::app); !place)
    return fail(ErrorCode::kIo, "cannot write in {}", options.data);
  Cgroups cgroups = HADAL_TRY(Cgroups::open(system_control_files()));
  // The data folder is the edge's identity: one that starts must not clear away another's sandboxes.
  cgroups.set_owner(sha256_hex(fs::weakly_canonical(options.data).string()).substr(0, 12));
  auto loop = HADAL_TRY(LinkLoop::start());
  auto filters = HADAL_TRY(seccomp_filters());
  return std::make_unique<Containers>(options, std::move(cgroups), std::move(loop), std::move(filters));
}

}  // namespace hadal::sandbox
