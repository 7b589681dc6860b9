// The edge: the table of this host's sandboxes, their states and times, and who may still be let in.
//
// Calls are thread-safe. create(), close(), pause() and resume() block; operations answer through their sinks. The edge
// may be killed at any moment: keepers go on, and the next edge finds them by the folder of each sandbox.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "sandbox/api.h"

namespace hadal::sandbox {

struct EdgeOptions {
  std::string data;  // folder
  std::int64_t most_sandboxes = 1000;
  double cpu_overcommit = 16;                                 // most sandboxes use a twentieth of what they ask for
  double memory_overcommit_bulk = 4;                          // of what they were seen to use
  std::int64_t memory_floor_bytes = std::int64_t{512} << 20;  // of the host, never promised
  std::int64_t host_memory_bytes = 0;                         // 0: this machine's; the same for cores
  int host_cpus = 0;
  std::shared_ptr<LayerStore> layers;  // for pack_diff()
};

struct SandboxInfo {
  std::string id, image, job, reason;
  SubstrateKind substrate = SubstrateKind::kContainer;
  State state = State::kCreating;
  std::vector<std::pair<std::string, std::string>> labels;
  double age_s = 0, idle_s = 0;
  std::int64_t operations = 0;  // in flight
  CreatePhases phases;
  Resources resources;
  BoxUsage usage;  // of running and paused ones, in info() only
};

class Edge {
 public:
  // Finds what an earlier edge left alive. Substrates that this host cannot have are absent.
  static Result<std::unique_ptr<Edge>> open(const EdgeOptions& options,
                                            std::vector<std::unique_ptr<Substrate>> substrates);
  ~Edge();  // sandboxes stay alive

  std::vector<std::pair<std::string, std::vector<Capability>>> capabilities() const;

  Result<std::string> create(const CreateSpec& spec);
  Result<SandboxInfo> info(const std::string& id);
  std::vector<SandboxInfo> list(const std::string& job = "");
  Status close(const std::string& id);
  Result<std::int64_t> pause(const std::string& id);
  Status resume(const std::string& id);
  Status renew(const std::string& id, const Ttl& ttl);
  // What it changed, as a layer over its own. It stands still while that is copied, not while it is packed.
  Result<DiffLayer> pack_diff(const std::string& id, const DiffRequest& request);
  // Every sandbox of a job; how many. what: "pause", "resume", "stop".
  Result<int> for_job(const std::string& job, const std::string& what);

  // A sandbox's agent, resumed if it was paused, held busy until the object goes.
  class Use {
   public:
    Use() = default;
    Use(Use&&) = default;
    Use& operator=(Use&&) = default;
    Agent& agent() const { return *agent_; }

   private:
    friend class Edge;
    std::shared_ptr<void> busy_;
    Agent* agent_ = nullptr;
  };
  Result<Use> use(const std::string& id);

  // Runs a command. An operation the agent knows is attached to, not started again. `op` empty: one is made up, and the
  // agent forgets it after the answer.
  Status exec(const std::string& id, const std::string& op, const ExecRequest& request,
              std::shared_ptr<OperationSink> sink);
  std::string new_name(const char* prefix);  // unique in this edge

  int adopted() const { return adopted_; }

 private:
  struct Sandbox;
  Edge() = default;
  Result<std::shared_ptr<Sandbox>> find(const std::string& id);
  Status admit(const CreateSpec& spec);
  void set_state(Sandbox& s, State state, const std::string& reason = "");
  void store(const Sandbox& s);
  void adopt_all();
  void keep_time();
  Status resume_locked(Sandbox& s);
  Result<std::int64_t> pause_locked(Sandbox& s);
  Status close_locked(Sandbox& s, const std::string& why);

  EdgeOptions options_;
  std::vector<std::unique_ptr<Substrate>> substrates_;
  std::string name_;  // "<edge>.<boot>"
  std::mutex mutex_;  // of the table
  std::condition_variable stop_;
  bool stopping_ = false;
  std::map<std::string, std::shared_ptr<Sandbox>> sandboxes_;
  std::map<std::string, std::string> closed_;  // id -> why and when, the last thousand
  std::vector<std::string> closed_order_;
  std::map<std::string, std::string> by_key_;  // idempotency key -> id
  std::int64_t next_ = 0;
  int adopted_ = 0;
  std::thread clock_;
};

// Why `wanted` cannot join what is there, if so: the rule of admission as plain arithmetic.
struct Promised {
  double cpus = 0, memory_bytes = 0;  // already divided by their overcommit
  std::int64_t sandboxes = 0;
};
Status may_enter(const EdgeOptions& options, const Promised& promised, const CreateSpec& wanted,
                 std::int64_t available_bytes);

}  // namespace hadal::sandbox
