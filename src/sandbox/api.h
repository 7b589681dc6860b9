// The sandbox on one page: what a sandbox is asked for, what it answers, and the interfaces its parts meet at.
//
// A client talks to the edge (one trusted process per host). The edge asks a Substrate for a Box, which brings an
// Agent: a process that starts commands inside and keeps their output. Containers have their agent outside (the
// keeper), virtual machines inside. The agent outlives the edge; the edge finds it again by Substrate::list().
//
// Everything here is plain data and pure interfaces; each has a fake in the tests. Nothing that comes from an agent is
// believed: lengths and counts are bounded before memory is taken.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace hadal::sandbox {

// ---------------------------------------------------------------------------------------------------------- create

enum class SubstrateKind { kFunction, kContainer, kMicroVm, kVm };

// "function", "container", "microvm", "vm", and back; kUsage for another word.
std::string_view substrate_name(SubstrateKind kind);
Result<SubstrateKind> parse_substrate(std::string_view word);

// What one sandbox may use. Reported with its use; what cannot be honoured is an error at create.
struct Resources {
  double cpus = 1;
  std::int64_t memory_bytes = std::int64_t{2} << 30;
  std::int64_t disk_bytes = std::int64_t{8} << 30;
  std::int64_t pids = 512;
  std::int64_t open_files = 4096;
  int gpus = 0;
};

enum class Qos { kBulk, kLatency };

// Seconds; 0: none.
struct Ttl {
  double idle_s = 300;        // without a call
  double life_s = 0;          // since create, whatever happens
  bool stop_on_idle = false;  // else pause
  double paused_s = 3600;     // how long a paused one is kept
};

// A file put there before the first command.
struct InitialFile {
  std::string path, data;
  std::uint32_t mode = 0644;
};

struct CreateSpec {
  SubstrateKind substrate = SubstrateKind::kContainer;
  std::string image;                  // a layer, or the path of a root directory on the host
  std::string workspace;              // layers over it
  std::vector<std::string> toolkits;  // the last lies on top
  std::string snapshot;               // instead of image
  Resources resources;
  Qos qos = Qos::kBulk;
  Ttl ttl;
  std::vector<InitialFile> files;
  std::vector<std::pair<std::string, std::string>> env;
  std::string user;     // name or uid[:gid] inside; empty: root inside
  std::string workdir;  // empty: /
  std::vector<std::string> hidden_paths, read_only_paths;
  std::string trajectory;    // to attach; empty: a new one
  std::string log = "full";  // full, results, off
  std::string job;           // label of a group
  std::vector<std::pair<std::string, std::string>> labels;
  std::string idempotency_key;  // the same key gives the same sandbox
};

// How long each part of create took.
struct CreatePhases {
  double queued_ms = 0, placed_ms = 0, image_ms = 0, boot_ms = 0, agent_ms = 0;
};

// ---------------------------------------------------------------------------------------------------------- states

enum class State { kCreating, kRunning, kPausing, kPaused, kResuming, kClosing, kClosed, kFailed };

std::string_view state_name(State state);
// creating -> running <-> pausing/paused/resuming -> closing -> closed; from any but closed to failed.
bool may_follow(State from, State to);

// ------------------------------------------------------------------------------------------------------ operations

// What exec runs. argv[0] is looked up in PATH of `env` inside. A shell line is {"/bin/sh", "-c", line}.
struct ExecRequest {
  std::vector<std::string> argv;
  std::string cwd;                                       // empty: the sandbox's workdir
  std::string user;                                      // empty: the sandbox's
  std::vector<std::pair<std::string, std::string>> env;  // added to the sandbox's
  std::string stdin_data;
  bool stdin_open = false;  // input() follows; else end of file after stdin_data
  bool tty = false;
  int rows = 24, columns = 80;          // of the tty
  double timeout_s = 120;               // 0: none
  double grace_s = 2;                   // between SIGTERM and SIGKILL
  std::int64_t output_bytes = 1 << 20;  // kept per stream, half of it the head, half the tail
  bool background = false;              // answer when it has started
  bool follow = false;                  // output as it comes; else with the end
};

enum class ExecStatus { kExited, kSignalled, kTimedOut, kOomKilled, kKilled, kNotStarted };
std::string_view exec_status_name(ExecStatus status);

// Output of one stream: head, then `dropped` bytes that were not kept, then tail.
struct CapturedOutput {
  std::string head, tail;
  std::int64_t total = 0;  // bytes the command wrote
  std::int64_t dropped() const { return total - static_cast<std::int64_t>(head.size() + tail.size()); }
  std::string text() const { return head + tail; }
};

struct Usage {
  double wall_s = 0, user_s = 0, system_s = 0;
  std::int64_t max_resident_bytes = 0;
};

struct ExecResult {
  ExecStatus status = ExecStatus::kNotStarted;
  int exit_code = -1;  // of kExited
  int signal = 0;      // of kSignalled
  std::string reason;  // of kNotStarted: a sentence
  CapturedOutput out, err;
  Usage usage;
  std::int64_t killed = 0;  // processes that had to be killed at the end
};

struct FileInfo {
  std::string name;  // in a listing: without the folder
  char type = 'f';   // f file, d folder, l link, o other
  std::uint32_t mode = 0, uid = 0, gid = 0;
  std::int64_t size = 0, modified_ns = 0;
  std::string target;  // of a link
};

struct FileRequest {
  enum class Kind { kRead, kWrite, kList, kStat, kRemove, kMakeFolder } kind = Kind::kRead;
  std::string path;               // absolute, resolved as if the sandbox's root were /
  std::string data;               // of kWrite
  std::uint32_t mode = 0;         // of kWrite, kMakeFolder; 0: 0644, 0755
  bool recursive = false;         // of kRemove, kMakeFolder
  std::int64_t offset = 0;        // of kRead
  std::int64_t limit = 64 << 20;  // bytes of kRead; more is an error unless `offset` or a smaller limit was asked for
};

struct FileAnswer {
  std::string data;             // of kRead
  FileInfo info;                // of kRead, kStat, kWrite
  std::vector<FileInfo> files;  // of kList
};

// -------------------------------------------------------------------------------------------------------- the agent

// An operation as an agent knows it since its boot.
struct AgentOperation {
  std::string id;
  bool running = false;
  std::int64_t out_total = 0, err_total = 0;
};

// Where an operation's events go: bytes in order, then exactly one end. Called from the edge's own thread; must not
// block.
class OperationSink {
 public:
  virtual ~OperationSink() = default;
  virtual void started(std::int64_t pid) = 0;
  virtual void output(int stream, std::int64_t offset, std::string_view bytes) = 0;  // stream 1 or 2
  virtual void ended(const ExecResult& result) = 0;
  virtual void failed(const Error& error) = 0;  // the agent is gone; the outcome is not known
};

// One per sandbox. Calls do not block; what they ask for arrives at the sink or the callback, once. Thread-safe.
class Agent {
 public:
  virtual ~Agent() = default;
  virtual std::string boot_id() const = 0;  // differs after every start of the agent
  virtual bool alive() const = 0;

  // What it reported when the connection was made, brought up to date since.
  virtual std::vector<AgentOperation> table() const = 0;

  // Starts `op` unless the agent knows it; then the sink is attached to what is there.
  virtual void start(const std::string& op, const ExecRequest& request, std::shared_ptr<OperationSink> sink) = 0;
  // Output from these offsets on, then the end. kNotFound through failed() when the agent does not know `op`.
  virtual void attach(const std::string& op, std::int64_t out_from, std::int64_t err_from,
                      std::shared_ptr<OperationSink> sink) = 0;
  virtual void input(const std::string& op, std::string_view bytes, bool end) = 0;
  virtual void signal(const std::string& op, int number, bool whole_tree) = 0;
  virtual void resize(const std::string& op, int rows, int columns) = 0;
  // The result is durable: the agent may forget the operation.
  virtual void forget(const std::string& op) = 0;
  virtual void file(const FileRequest& request, std::function<void(Result<FileAnswer>)> answer) = 0;
};

// --------------------------------------------------------------------------------------------------------- substrate

// One thing a substrate or a host can do, or why not.
struct Capability {
  std::string name;
  bool available = false;
  std::string detail;  // what was found; or the reason and its consequence
  std::string remedy;  // when not available: what would make it so
};

struct BoxUsage {
  std::int64_t memory_bytes = 0, memory_peak_bytes = 0, processes = 0;
  double cpu_s = 0;
};

// How a copy of what a sandbox changed went.
struct ChangeCopy {
  std::int64_t files = 0, bytes = 0;
  double frozen_s = 0;
};

// A sandbox as its substrate holds it. Destroying the object leaves the sandbox alive; close() ends it.
class Box {
 public:
  virtual ~Box() = default;
  virtual const std::string& id() const = 0;
  virtual Agent& agent() = 0;
  // Blocks until every process inside stands still. Bytes of memory given back to the host.
  virtual Result<std::int64_t> pause() = 0;
  virtual Status resume() = 0;
  virtual bool paused() const = 0;
  virtual Result<BoxUsage> usage() const = 0;
  // Puts what the sandbox changed in its root into an empty folder, as overlayfs keeps it, with the owners seen inside.
  // It stands still meanwhile. kUnsupported where a substrate cannot.
  virtual Result<ChangeCopy> copy_changes(const std::string& folder, const std::vector<std::string>& left_out) {
    (void)folder, (void)left_out;
    return std::unexpected(Error{ErrorCode::kUnsupported, "this substrate cannot copy what a sandbox changed"});
  }
  // Every process dies, every mount and cgroup goes. May be called again after a failure.
  virtual Status close() = 0;
};

class Substrate {
 public:
  virtual ~Substrate() = default;
  virtual SubstrateKind kind() const = 0;
  virtual std::vector<Capability> capabilities() const = 0;
  // Blocks until the agent says ready, at most until the substrate's own deadline. kUnsupported names what this
  // substrate cannot do; kBusy when the host has no room.
  virtual Result<std::unique_ptr<Box>> create(const std::string& id, const CreateSpec& spec, CreatePhases& phases) = 0;
  // Ids of what is alive or half dead on this host, from the system itself.
  virtual Result<std::vector<std::string>> list() = 0;
  // Connects to a live sandbox made by an earlier edge. kNotFound when its agent is gone.
  virtual Result<std::unique_ptr<Box>> adopt(const std::string& id) = 0;
  // Removes whatever is left of `id`, alive or not.
  virtual Status destroy(const std::string& id) = 0;
};

// ------------------------------------------------------------------------------------------- layers and the cluster

// What a root is stacked of, the top one first.
struct LayerStack {
  std::vector<std::string> folders;  // of this host
  std::vector<std::string> layers;   // their ids; fewer when the image is a plain folder, which has none
};

// What a sandbox changed, as a layer.
struct DiffRequest {
  std::string name;                // of the layer; empty: none
  std::vector<std::string> scrub;  // fnmatch(3) patterns of paths without the first /, left out besides the usual
};
struct DiffLayer {
  std::string layer;  // its id
  ChangeCopy copied;
};

// Where root file systems come from.
class LayerStore {
 public:
  virtual ~LayerStore() = default;
  // For `spec`. Kept until release(). kNotFound, kUnsupported.
  virtual Result<LayerStack> mount(const CreateSpec& spec, const std::string& sandbox) = 0;
  // Keeps what a sandbox of an earlier edge lies on.
  virtual void hold(const std::string& sandbox, const std::vector<std::string>& layers) = 0;
  virtual void release(const std::string& sandbox) = 0;
  // A layer over those of `sandbox`, of what `copy` puts into an empty folder. kUnsupported when its image is none.
  using CopyChanges = std::function<Result<ChangeCopy>(const std::string& folder, const std::vector<std::string>&)>;
  virtual Result<DiffLayer> pack_diff(const std::string& sandbox, const DiffRequest& request,
                                      const CopyChanges& copy) = 0;
};

// What a host has left, for placement.
struct HostLoad {
  std::string edge;
  double cpu_share = 0, memory_share = 0;  // 0..1 of what may be promised
  bool draining = false;
};

class Placement {
 public:
  virtual ~Placement() = default;
  // Edges to try, the best first. kBusy when none will take it.
  virtual Result<std::vector<std::string>> choose(const CreateSpec& spec, const std::vector<HostLoad>& hosts) = 0;
};

// Ownership that only one edge has at a time: of its own name, of trajectories.
class Coordinator {
 public:
  virtual ~Coordinator() = default;
  // A number higher than any given for `name` before. kBusy when another living owner has it.
  virtual Result<std::int64_t> take(const std::string& name) = 0;
  virtual Status release(const std::string& name) = 0;
};

}  // namespace hadal::sandbox
