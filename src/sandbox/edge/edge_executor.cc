#include "sandbox/edge/edge_executor.h"

#include "sandbox/edge/spec_json.h"

namespace hadal::sandbox {
namespace {

class RunOfAgent final : public OperationSink {
 public:
  RunOfAgent(std::shared_ptr<RunSink> inner, Edge::Use held) : inner_(std::move(inner)), held_(std::move(held)) {}
  void started(std::int64_t pid) override { inner_->started(pid); }
  void output(int stream, std::int64_t offset, std::string_view bytes) override {
    inner_->output(stream, offset, bytes);
  }
  void ended(const ExecResult& result) override {
    inner_->ended(result_fields(result));
    held_ = {};
  }
  void failed(const Error& error) override {
    inner_->failed(error.what);
    held_ = {};
  }

 private:
  std::shared_ptr<RunSink> inner_;
  Edge::Use held_;
};

}  // namespace

Result<std::string> EdgeExecutor::boot(const std::string& sandbox) {
  const Edge::Use used = HADAL_TRY(edge_.use(sandbox));
  return used.agent().boot_id();
}

Status EdgeExecutor::start(const std::string& sandbox, const std::string& name, const std::string& request, bool follow,
                           std::shared_ptr<RunSink> sink) {
  ExecCall call = HADAL_TRY(parse_exec(request));
  call.request.follow = follow;
  Edge::Use used = HADAL_TRY(edge_.use(sandbox));
  Agent& agent = used.agent();
  agent.start(name, call.request, std::make_shared<RunOfAgent>(std::move(sink), std::move(used)));
  return {};
}

void EdgeExecutor::follow(const std::string& sandbox, const std::string& name, std::shared_ptr<RunSink> sink) {
  auto used = edge_.use(sandbox);
  if (!used) return sink->failed(used.error().what);
  Agent& agent = used->agent();
  agent.attach(name, 0, 0, std::make_shared<RunOfAgent>(std::move(sink), std::move(*used)));
}

void EdgeExecutor::forget(const std::string& sandbox, const std::string& name) {
  if (const auto used = edge_.use(sandbox)) used->agent().forget(name);
}

}  // namespace hadal::sandbox
