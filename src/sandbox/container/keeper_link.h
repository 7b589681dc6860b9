// The edge's end of the channel to a keeper: an Agent.
//
// One thread serves the sockets of all keepers; sinks and callbacks run on it. What comes from a keeper is bounded by
// what was asked for.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "sandbox/api.h"
#include "sandbox/container/keeper_wire.h"
#include "sandbox/fd.h"

namespace hadal::sandbox {

class KeeperLink;

class LinkLoop {
 public:
  static Result<std::shared_ptr<LinkLoop>> start();
  ~LinkLoop();

 private:
  friend class KeeperLink;
  LinkLoop() = default;
  void run();
  void watch(const std::shared_ptr<KeeperLink>& link, bool writing, bool is_new);
  void drop(int fd);

  Fd poll_, wake_;
  std::mutex mutex_;
  std::map<int, std::weak_ptr<KeeperLink>> links_;
  std::thread thread_;
};

class KeeperLink final : public Agent, public std::enable_shared_from_this<KeeperLink> {
 public:
  // Takes a connected socket and waits for the keeper's table, at most `seconds`. kIo with what the keeper says when
  // its container could not be started.
  static Result<std::shared_ptr<KeeperLink>> open(std::shared_ptr<LinkLoop> loop, Fd socket, double seconds);
  ~KeeperLink() override;

  std::string boot_id() const override;
  bool alive() const override;
  std::vector<AgentOperation> table() const override;
  void start(const std::string& op, const ExecRequest& request, std::shared_ptr<OperationSink> sink) override;
  void attach(const std::string& op, std::int64_t out_from, std::int64_t err_from,
              std::shared_ptr<OperationSink> sink) override;
  void input(const std::string& op, std::string_view bytes, bool end) override;
  void signal(const std::string& op, int number, bool whole_tree) override;
  void resize(const std::string& op, int rows, int columns) override;
  void forget(const std::string& op) override;
  void file(const FileRequest& request, std::function<void(Result<FileAnswer>)> answer) override;

  // Everything in the sandbox dies and the keeper ends; true when it did so within `seconds`.
  bool close(double seconds);
  std::int64_t container_pid() const;

 private:
  friend class LinkLoop;
  struct Waiting;

  KeeperLink(std::shared_ptr<LinkLoop> loop, Fd socket) : loop_(std::move(loop)), socket_(std::move(socket)) {}
  void send(KeeperMessage type, std::uint32_t stream, std::string_view body, std::uint16_t flags = 0);
  void send_data(std::uint32_t stream, std::string_view bytes, bool end);
  void flush_locked();
  void ready(bool readable, bool writable);  // from the loop
  void handle(const KeeperFrame& frame);
  void lost(const std::string& why);
  std::shared_ptr<Waiting> find(std::uint32_t stream);
  std::uint32_t stream_of(const std::string& op);

  std::shared_ptr<LinkLoop> loop_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Fd socket_;
  bool alive_ = true, has_table_ = false, gone_ = false;
  std::string unsent_, boot_, error_;
  std::int64_t pid_ = 0;
  KeeperReader reader_;  // of the loop's thread alone
  std::uint32_t next_stream_ = 1;
  std::map<std::uint32_t, std::shared_ptr<Waiting>> waiting_;
  std::map<std::string, std::uint32_t> streams_;
  std::map<std::string, AgentOperation> table_;
};

}  // namespace hadal::sandbox
