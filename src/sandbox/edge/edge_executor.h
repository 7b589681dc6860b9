// The edge's sandboxes as what calls of trajectories run on.
#pragma once

#include <memory>
#include <string>

#include "sandbox/edge/edge.h"
#include "sandbox/replay/replay.h"

namespace hadal::sandbox {

class EdgeExecutor final : public Executor {
 public:
  explicit EdgeExecutor(Edge& edge) : edge_(edge) {}
  Result<std::string> boot(const std::string& sandbox) override;
  // `request` is the JSON that parse_exec reads.
  Status start(const std::string& sandbox, const std::string& name, const std::string& request, bool follow,
               std::shared_ptr<RunSink> sink) override;
  void follow(const std::string& sandbox, const std::string& name, std::shared_ptr<RunSink> sink) override;
  void forget(const std::string& sandbox, const std::string& name) override;

 private:
  Edge& edge_;
};

}  // namespace hadal::sandbox
