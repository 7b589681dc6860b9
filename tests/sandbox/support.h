// A root directory of busybox and a container substrate over it, or the reason why this host has none.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <future>
#include <memory>
#include <string>

#include "sandbox/api.h"
#include "sandbox/container/container.h"
#include "sandbox/layers/layer_mounts.h"

namespace hadal::sandbox {

inline std::string keeper_program() {
  const std::string program = HADAL_PROGRAM;
  return program.substr(0, program.rfind('/')) + "/hadal-keeper";
}

// What one command said and how it ended.
class Waiter final : public OperationSink {
 public:
  void started(std::int64_t) override { started_ = true; }
  void output(int stream, std::int64_t, std::string_view bytes) override { (stream == 1 ? out_ : err_) += bytes; }
  void ended(const ExecResult& result) override { promise_.set_value(result); }
  void failed(const Error& error) override { promise_.set_value(std::unexpected(error)); }

  Result<ExecResult> wait(double seconds = 30) {
    auto future = promise_.get_future();
    if (future.wait_for(std::chrono::duration<double>(seconds)) != std::future_status::ready)
      return fail(ErrorCode::kBusy, "no answer within {} s", seconds);
    return future.get();
  }
  bool started_ = false;
  std::string out_, err_;

 private:
  std::promise<Result<ExecResult>> promise_;
};

class ContainerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    namespace fs = std::filesystem;
    if (!fs::exists("/bin/busybox")) GTEST_SKIP() << "busybox-static is not installed";
    char name[] = "/tmp/hadal-box-XXXXXX";
    folder_ = ::mkdtemp(name);
    fs::permissions(folder_, fs::perms(0711));
    image_ = folder_ + "/image";
    for (const char* d : {"bin", "etc", "tmp", "proc", "sys", "dev", "root", "usr/bin"})
      fs::create_directories(image_ + "/" + d);
    fs::permissions(image_ + "/tmp", fs::perms(01777));
    fs::copy_file("/bin/busybox", image_ + "/bin/busybox");
    for (const char* tool : {"sh",     "ls",       "cat",   "echo",     "sleep", "id",     "yes",   "head",   "env",
                             "pwd",    "touch",    "mkdir", "ln",       "rm",    "dd",     "kill",  "ps",     "mkfifo",
                             "stty",   "tty",      "true",  "false",    "grep",  "wc",     "mount", "setsid", "find",
                             "printf", "readlink", "stat",  "hostname", "tail",  "ulimit", "chmod", "chown"})
      fs::create_symlink("busybox", image_ + "/bin/" + tool);
    write(image_ + "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nsam:x:1000:1000::/tmp:/bin/sh\n");
    write(image_ + "/etc/group", "root:x:0:\nsam:x:1000:\nextra:x:1001:sam\n");
    ContainerOptions options;
    options.data = folder_ + "/data";
    options.keeper = keeper_program();
    auto folder = LayerFolder::open(folder_ + "/store");
    ASSERT_TRUE(folder) << folder.error().what;
    layers_ = LayerMounts::open(std::move(*folder), folder_ + "/mounts").value_or(nullptr);
    ASSERT_TRUE(layers_);
    options.layers = layers_;
    auto opened = open_containers(options);
    if (!opened) {
      if (opened.error().code == ErrorCode::kUnsupported) GTEST_SKIP() << opened.error().what;
      FAIL() << opened.error().what;
    }
    substrate_ = std::move(*opened);
  }

  void TearDown() override {
    box_.reset();
    if (substrate_) {
      const auto ids = substrate_->list();
      EXPECT_TRUE(ids);
      for (const std::string& id : ids ? *ids : std::vector<std::string>()) {
        EXPECT_TRUE(substrate_->destroy(id));
      }
    }
    if (layers_) layers_->unmount_all();
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  CreateSpec spec() const {
    CreateSpec s;
    s.image = image_;
    s.resources.memory_bytes = 256 << 20;
    return s;
  }

  // A running sandbox named `id`, kept in box_.
  void create(const CreateSpec& s, const std::string& id = "t1") {
    auto made = substrate_->create(id + unique(), s, phases_);
    ASSERT_TRUE(made) << made.error().what;
    box_ = std::move(*made);
  }

  Result<ExecResult> exec(ExecRequest request) {
    auto waiter = std::make_shared<Waiter>();
    const std::string op = "op" + std::to_string(++ops_);
    box_->agent().start(op, request, waiter);
    auto result = waiter->wait();
    box_->agent().forget(op);
    return result;
  }
  Result<ExecResult> sh(const std::string& line) {
    ExecRequest request;
    request.argv = {"/bin/sh", "-c", line};
    return exec(request);
  }
  // Output of a line that must exit with 0.
  std::string say(const std::string& line) {
    const auto r = sh(line);
    if (!r) return "error: " + r.error().what;
    if (r->status != ExecStatus::kExited || r->exit_code != 0)
      return "status " + std::string(exec_status_name(r->status)) + " " + std::to_string(r->exit_code) + " " +
             r->reason + r->err.text();
    return r->out.text();
  }
  Result<FileAnswer> file(const FileRequest& request) {
    std::promise<Result<FileAnswer>> promise;
    box_->agent().file(request, [&](Result<FileAnswer> a) { promise.set_value(std::move(a)); });
    return promise.get_future().get();
  }

  static void write(const std::string& path, const std::string& text) {
    FILE* f = std::fopen(path.c_str(), "w");
    std::fwrite(text.data(), 1, text.size(), f);
    std::fclose(f);
  }
  std::string unique() const { return "-" + folder_.substr(folder_.size() - 6); }

  std::string folder_, image_;
  std::shared_ptr<LayerMounts> layers_;
  std::unique_ptr<Substrate> substrate_;
  std::unique_ptr<Box> box_;
  CreatePhases phases_;
  int ops_ = 0;
};

}  // namespace hadal::sandbox
