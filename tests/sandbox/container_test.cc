#include "sandbox/container/container.h"

#include <signal.h>

#include <thread>

#include "sandbox/support.h"

namespace hadal::sandbox {
namespace {

using Container = ContainerTest;

TEST_F(Container, RunsACommandAndTellsHowItEnded) {
  create(spec());
  const auto r = sh("echo out; echo err >&2; exit 3");
  ASSERT_TRUE(r) << r.error().what;
  EXPECT_EQ(r->status, ExecStatus::kExited) << r->reason;
  EXPECT_EQ(r->exit_code, 3);
  EXPECT_EQ(r->out.text(), "out\n");
  EXPECT_EQ(r->err.text(), "err\n");
  EXPECT_GT(r->usage.wall_s, 0);
  // Input, directory, environment and user of the request; groups by the sandbox's own accounts.
  ExecRequest q;
  q.argv = {"sh", "-c", "cat; pwd; echo $A; id"};
  q.stdin_data = "in\n";
  q.cwd = "/tmp";
  q.env = {{"A", "b c"}};
  q.user = "sam";
  const auto s = exec(q);
  ASSERT_TRUE(s);
  EXPECT_EQ(s->out.text(), "in\n/tmp\nb c\nuid=1000(sam) gid=1000(sam) groups=1000(sam),1001(extra)\n");
}

TEST_F(Container, SaysWhatCouldNotBeStarted) {
  create(spec());
  ExecRequest q;
  q.argv = {"no-such-program"};
  auto r = exec(q);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->status, ExecStatus::kNotStarted);
  EXPECT_EQ(r->reason, "cannot run 'no-such-program': No such file or directory");
  q.argv = {"/bin/true"};
  q.user = "nobody-here";
  r = exec(q);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->reason, "user 'nobody-here' is not in the sandbox's /etc/passwd");
}

TEST_F(Container, ATimeoutKillsEverythingTheCommandStarted) {
  create(spec());
  ExecRequest q;
  // Ignores the polite signal, and leaves a process of another session behind that holds the pipe.
  q.argv = {"/bin/sh", "-c", "trap '' TERM; setsid sleep 1234 & echo begun; while true; do sleep 1; done"};
  q.timeout_s = 0.3;
  q.grace_s = 0.2;
  const auto r = exec(q);
  ASSERT_TRUE(r) << r.error().what;
  EXPECT_EQ(r->status, ExecStatus::kTimedOut);
  EXPECT_EQ(r->out.text(), "begun\n");
  EXPECT_GT(r->killed, 0);
  EXPECT_EQ(say("ps | grep -c '[s]leep 1234' || true"), "0\n");
}

TEST_F(Container, KeepsHeadAndTailOfEndlessOutput) {
  create(spec());
  ExecRequest q;
  q.argv = {"/bin/sh", "-c", "echo first; yes | head -c 3000000; echo last"};
  q.output_bytes = 1000;
  const auto r = exec(q);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->exit_code, 0);
  EXPECT_EQ(r->out.total, 3000000 + 6 + 5);
  EXPECT_EQ(r->out.head.size() + r->out.tail.size(), 1000u);
  EXPECT_TRUE(r->out.head.starts_with("first\ny\n"));
  EXPECT_TRUE(r->out.tail.ends_with("y\nlast\n"));
}

TEST_F(Container, TheSameOperationStartsOnce) {
  create(spec());
  ExecRequest q;
  q.argv = {"/bin/sh", "-c", "echo run >> /tmp/count; sleep 0.2; cat /tmp/count"};
  auto first = std::make_shared<Waiter>(), second = std::make_shared<Waiter>();
  box_->agent().start("once", q, first);
  box_->agent().start("once", q, second);
  const auto a = first->wait(), b = second->wait();
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->out.text(), "run\n");
  EXPECT_EQ(b->out.text(), "run\n");
}

TEST_F(Container, OutlivesTheEdge) {
  create(spec());
  const std::string id = box_->id(), boot = box_->agent().boot_id();
  ExecRequest q;
  q.argv = {"/bin/sh", "-c", "echo begun; sleep 0.5; echo ended"};
  auto lost = std::make_shared<Waiter>();
  box_->agent().start("long", q, lost);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  // What a killed edge leaves: no goodbye, and the next one knows only the folder.
  box_.reset();
  ContainerOptions options;
  options.data = folder_ + "/data";
  options.keeper = keeper_program();
  auto opened = open_containers(options);
  ASSERT_TRUE(opened);
  substrate_ = std::move(*opened);
  auto found = substrate_->adopt(id);
  ASSERT_TRUE(found) << found.error().what;
  box_ = std::move(*found);
  EXPECT_EQ(box_->agent().boot_id(), boot);
  ASSERT_EQ(box_->agent().table().size(), 1u);
  EXPECT_EQ(box_->agent().table()[0].id, "long");
  auto again = std::make_shared<Waiter>();
  box_->agent().attach("long", 0, 0, again);
  const auto r = again->wait();
  ASSERT_TRUE(r) << r.error().what;
  EXPECT_EQ(again->out_, "begun\nended\n");
}

TEST_F(Container, SeesTheEndOfItsInputWhateverStartsBeside) {
  create(spec());
  ExecRequest q;
  q.argv = {"/bin/cat"};
  q.stdin_open = true;
  auto cat = std::make_shared<Waiter>();
  box_->agent().start("cat", q, cat);
  // Processes that are made while the input is open must not hold it open.
  EXPECT_EQ(say("echo beside"), "beside\n");
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  box_->agent().input("cat", "hello\n", true);
  const auto r = cat->wait(10);
  ASSERT_TRUE(r) << r.error().what;
  EXPECT_EQ(cat->out_, "hello\n");
}

TEST_F(Container, FilesStayInside) {
  create(spec());
  FileRequest q;
  q.kind = FileRequest::Kind::kWrite;
  q.path = "/tmp/a";
  q.data = std::string(300'000, 'x');
  q.mode = 0640;
  const auto written = file(q);
  ASSERT_TRUE(written) << written.error().what;
  EXPECT_EQ(say("stat -c '%s %a %u' /tmp/a"), "300000 640 0\n");
  q.kind = FileRequest::Kind::kRead;
  EXPECT_EQ(file(q)->data, q.data);
  // Links that lead out of the root lead nowhere else than to the same place inside.
  say("ln -s ../../../../../../etc/hostname /tmp/link; ln -s /proc/1/root /tmp/magic; mkfifo /tmp/fifo");
  q.path = "/tmp/link";
  EXPECT_FALSE(file(q));
  q.path = "/tmp/magic/etc/hostname";
  EXPECT_FALSE(file(q));
  q.path = "/tmp/fifo";
  const auto fifo = file(q);
  ASSERT_FALSE(fifo);
  EXPECT_EQ(fifo.error().what, "/tmp/fifo is not a regular file");
  q.kind = FileRequest::Kind::kList;
  q.path = "/tmp";
  const auto rows = file(q);
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->files.size(), 4u);
  EXPECT_EQ(rows->files[0].name, "a");
  EXPECT_EQ(rows->files[2].target, "../../../../../../etc/hostname");
  q.kind = FileRequest::Kind::kRemove;
  q.recursive = true;
  EXPECT_TRUE(file(q));
  EXPECT_EQ(say("ls /tmp 2>/dev/null | wc -l"), "0\n");
}

TEST_F(Container, StandsStillWhilePaused) {
  create(spec());
  ExecRequest q;
  q.argv = {"/bin/sh", "-c", "while true; do echo x >> /tmp/ticks; done"};
  auto sink = std::make_shared<Waiter>();
  box_->agent().start("ticker", q, sink);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  ASSERT_TRUE(box_->pause());
  EXPECT_TRUE(box_->paused());
  const std::string ticks = folder_ + "/data/sb/" + box_->id() + "/upper/tmp/ticks";
  const auto before = std::filesystem::file_size(ticks);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(std::filesystem::file_size(ticks), before);
  ASSERT_TRUE(box_->resume());
  box_->agent().signal("ticker", SIGKILL, true);
  const auto r = sink->wait();
  ASSERT_TRUE(r);
  EXPECT_EQ(r->status, ExecStatus::kKilled);
}

TEST_F(Container, ATerminalIsTheSandboxsOwn) {
  create(spec());
  ExecRequest q;
  q.argv = {"/bin/sh", "-c", "tty; stty size; read line; echo got $line"};
  q.tty = true;
  q.stdin_open = true;
  q.rows = 33;
  q.columns = 77;
  auto sink = std::make_shared<Waiter>();
  box_->agent().start("tty", q, sink);
  box_->agent().input("tty", "hello\n", false);
  const auto r = sink->wait();
  ASSERT_TRUE(r) << r.error().what;
  EXPECT_NE(r->out.text().find("33 77\r\n"), std::string::npos) << r->out.text();
  EXPECT_NE(r->out.text().find("got hello\r\n"), std::string::npos) << r->out.text();
}

// The security table of the specification, as far as a shell can try it.
TEST_F(Container, RootInsideIsNobodyOutside) {
  create(spec());
  EXPECT_EQ(say("mount -t tmpfs none /tmp 2>/dev/null && echo mounted || echo refused"), "refused\n");
  EXPECT_EQ(say("cat /proc/kcore 2>/dev/null | wc -c"), "0\n");
  EXPECT_EQ(say("echo b > /proc/sysrq-trigger 2>/dev/null && echo wrote || echo refused"), "refused\n");
  EXPECT_EQ(say("echo 1 > /proc/sys/kernel/panic 2>/dev/null && echo wrote || echo refused"), "refused\n");
  EXPECT_EQ(say("cat /dev/.init > /dev/null; echo x > /dev/.init 2>/dev/null && echo wrote || echo refused"),
            "refused\n");
  // Process 1 and commands have the same profile; only the filter of arguments comes on top.
  const std::string lines = "grep -E 'CapBnd|NoNewPrivs|Uid|Gid|^Seccomp:'";
  EXPECT_EQ(say(lines + " /proc/1/status"), say(lines + " /proc/self/status"));
  EXPECT_EQ(say("for n in mnt net ipc uts pid user cgroup; do [ \"$(readlink /proc/1/ns/$n)\" = \"$(readlink "
                "/proc/self/ns/$n)\" ] || echo $n; done"),
            "");
  // No descriptor but the three, no interface but loopback, nothing of the platform to be found.
  EXPECT_EQ(say("ls /proc/self/fd | wc -l"), "4\n");  // and the one ls reads with
  EXPECT_EQ(say("ls /sys/class/net"), "lo\n");
  EXPECT_EQ(say("find / -name 'keeper*' -o -name edge.sock 2>/dev/null | wc -l"), "0\n");
}

TEST_F(Container, AForkBombStaysInItsLimit) {
  CreateSpec s = spec();
  s.resources.pids = 40;
  create(s);
  ExecRequest q;
  q.argv = {"/bin/sh", "-c", "f() { f | f & }; f 2>/dev/null; sleep 60"};
  q.timeout_s = 0.5;
  q.grace_s = 0;
  const auto r = exec(q);
  ASSERT_TRUE(r) << r.error().what;
  EXPECT_EQ(r->status, ExecStatus::kTimedOut);
  EXPECT_EQ(say("echo alive"), "alive\n");
}

TEST_F(Container, NothingIsLeftAfterClose) {
  create(spec());
  const std::string id = box_->id();
  say("sleep 1000 & echo started");
  const std::string folder = folder_ + "/data/sb/" + id;
  ASSERT_TRUE(std::filesystem::exists(folder));
  const Status closed = box_->close();
  ASSERT_TRUE(closed) << closed.error().what;
  EXPECT_FALSE(std::filesystem::exists(folder));
  EXPECT_TRUE(substrate_->list()->empty());
  EXPECT_EQ(substrate_->adopt(id).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(box_->close()) << "a second close is fine";
}

TEST_F(Container, RefusesWhatItCannotDo) {
  CreatePhases phases;
  CreateSpec s = spec();
  s.image = "debian:12";
  EXPECT_EQ(substrate_->create("x" + unique(), s, phases).error().code, ErrorCode::kNotFound);
  s = spec();
  s.resources.gpus = 1;
  EXPECT_EQ(substrate_->create("x" + unique(), s, phases).error().code, ErrorCode::kUnsupported);
  s = spec();
  s.image += "/nowhere";
  EXPECT_EQ(substrate_->create("x" + unique(), s, phases).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(substrate_->list()->empty());
}

}  // namespace
}  // namespace hadal::sandbox
