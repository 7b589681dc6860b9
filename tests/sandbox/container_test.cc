#include "sandbox/container/container.h"

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
}

TEST_F(Container, SaysWhatCouldNotBeStarted) {
  create(spec());
  ExecRequest q;
  q.argv = {"no-such-program"};
  const auto r = exec(q);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->status, ExecStatus::kNotStarted);
  EXPECT_EQ(r->reason, "cannot run 'no-such-program': No such file or directory");
}

}  // namespace
}  // namespace hadal::sandbox
