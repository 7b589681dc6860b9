// The edge over HTTP and JSON, without the HTTP: requests in, answers or events out. What carries them is the caller's.
//
//   GET    /v1/capabilities
//   POST   /v1/sandboxes                      create            GET /v1/sandboxes[?job=NAME]
//   GET    /v1/sandboxes/ID                   state and use     DELETE: close
//   POST   /v1/sandboxes/ID/exec              run; "stream": events started, output, end;
//                                             "trajectory", "epoch", "seq" or "op": once, and logged
//   GET    /v1/sandboxes/ID/operations        what the agent knows
//   GET    /v1/sandboxes/ID/operations/OP/wait             the result, when there is one
//   GET    /v1/sandboxes/ID/operations/OP/output?out=&err= events from these offsets on
//   POST   /v1/sandboxes/ID/operations/OP/input[?end=1] | signal | resize      DELETE .../OP: forget a result
//   GET    /v1/sandboxes/ID/file?path=        bytes             PUT: write, atomically; ?mode=0644
//   POST   /v1/sandboxes/ID/files/list | stat | remove | mkdir
//   POST   /v1/sandboxes/ID/sessions          a shell           POST .../sessions/S/run    DELETE .../sessions/S
//   POST   /v1/sandboxes/ID/pause | resume | renew
//   GET    /v1/trajectories                   names
//   POST   /v1/trajectories/NAME/attach       an epoch for this client; {"sandbox"} begins a new one
//   GET    /v1/trajectories/NAME/records      every record, a line of JSON each
//   GET    /v1/trajectories/NAME/blobs/DIGEST a result that is too big for its record
//   POST   /v1/sandboxes/ID/pack_diff         {"name", "scrub"}: what it changed, as a layer
//   GET    /v1/layers                         POST: import      GET, DELETE /v1/layers/NAME    POST .../verify
//   POST   /v1/jobs/NAME/pause | resume | stop
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "sandbox/edge/edge.h"
#include "sandbox/edge/spec_json.h"
#include "sandbox/layers/layer_mounts.h"
#include "sandbox/replay/replay.h"

namespace hadal::sandbox {

struct ApiRequest {
  std::string method, path, query;
  std::string body;
};

// One answer: send() once, or start(), events, finish(). Thread-safe, never blocks.
class ApiReply {
 public:
  virtual ~ApiReply() = default;
  virtual void send(int status, const std::string& type, std::string body) = 0;
  virtual void start() = 0;
  virtual void event(const std::string& name, const std::string& json) = 0;
  virtual void finish() = 0;
  virtual std::size_t unsent() const = 0;  // bytes of events the client has not taken
};

class Sessions;

class EdgeApi {
 public:
  // Without `replay` calls on trajectories are refused. `edge` outlives this.
  // Without `layers` calls on layers are.
  explicit EdgeApi(Edge& edge, std::shared_ptr<Replay> replay = nullptr, std::shared_ptr<LayerMounts> layers = nullptr);
  ~EdgeApi();
  // May block for as long as a create or a close takes.
  void handle(const ApiRequest& request, std::shared_ptr<ApiReply> reply);

 private:
  void route(const ApiRequest& request, const std::shared_ptr<ApiReply>& reply);
  void sandbox_call(const ApiRequest& request, const std::vector<std::string>& path,
                    const std::shared_ptr<ApiReply>& reply);
  void operation_call(const ApiRequest& request, const std::vector<std::string>& path,
                      const std::shared_ptr<ApiReply>& reply);
  void file_call(const ApiRequest& request, const std::vector<std::string>& path,
                 const std::shared_ptr<ApiReply>& reply);
  void session_call(const ApiRequest& request, const std::vector<std::string>& path,
                    const std::shared_ptr<ApiReply>& reply);
  void exec(const std::string& id, const std::string& body, const std::shared_ptr<ApiReply>& reply);

  // api_trajectory.cc
  void exec_once(const std::string& id, const ExecCall& call, std::string request,
                 const std::shared_ptr<ApiReply>& reply);
  void create_on_trajectory(const CreateSpec& spec, const std::shared_ptr<ApiReply>& reply);
  void trajectory_call(const ApiRequest& request, const std::vector<std::string>& path,
                       const std::shared_ptr<ApiReply>& reply);

  // api_layers.cc
  void layer_call(const ApiRequest& request, const std::vector<std::string>& path,
                  const std::shared_ptr<ApiReply>& reply);
  void pack_diff(const std::string& id, const std::string& body, const std::shared_ptr<ApiReply>& reply);

  Edge& edge_;
  std::shared_ptr<Replay> replay_;
  std::shared_ptr<LayerMounts> layers_;
  std::shared_ptr<Sessions> sessions_;
};

// An error as chapter "errors" of the documentation has it, and its HTTP status.
struct ApiError {
  int status = 500;
  std::string body;
};
ApiError api_error(const Refusal& refusal, const std::string& sandbox = "", const std::string& operation = "");
ApiError api_error(const Error& error, const std::string& sandbox = "", const std::string& operation = "");

// The value of `name` in a query, decoded; empty when it is not there.
std::string query_value(const std::string& query, std::string_view name);

}  // namespace hadal::sandbox
