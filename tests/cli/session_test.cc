// hadal session, as a user sees it. transcripts/session.txt holds commands ("$ ...") with what they print, both
// streams, and "[N]" where the exit status N is not 0. DATA stands for the data folder.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "cli/program.h"
#include "sessions/generate.h"
#include "sessions/session_identity.h"
#include "sessions/session_store.h"
#include "support/tiny_checkpoint.h"

namespace hadal {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class SessionCommand : public testing::Test {
 protected:
  SessionCommand() { std::filesystem::create_directories(folder_.file("sessions")); }

  Ran run(const std::string& command) const {
    return run_program("cd '" + folder_.path() +
                       "'; export XDG_DATA_HOME=/nonexistent; hadal() { if [ \"$1\" = session ]; "
                       "then \"$H\" \"$@\" --data '" +
                       folder_.path() + "'; else \"$H\" \"$@\"; fi; }; " + command);
  }

  void make_up() const {
    SessionHeader header;
    header.identity = {1, 2, SessionIdentity::kFast, ChatGeneration::kPreview};
    header.id = "made";
    header.model = "somebody's";
    auto log = SessionLog::create(folder_.file("sessions/made.log"), header);
    ASSERT_TRUE(log);
    const std::vector<TokenId> prompt = {TokenId{11}, TokenId{12}, TokenId{13}}, end = {TokenId{31}};
    ASSERT_TRUE(log->append(TokenOrigin::kPrompt, prompt));
    LoggedSampling sampling;
    sampling.options.temperature = 0.5;
    sampling.options.seed = 42;
    sampling.stream = 3;
    LoggedJob job;
    job.id = "job_1";
    job.prompt = 3;
    ASSERT_TRUE(log->begin_job(job, sampling));
    for (int id : {21, 22, 23}) {
      const Sampled token{TokenId{id}, -1, -1, 0};
      ASSERT_TRUE(log->append({&token, 1}));
    }
    ASSERT_TRUE(log->add_call("call_1", 3, 3));
    JobEnd ended;
    ended.id = "job_1";
    ASSERT_TRUE(log->end_job(ended));
    ASSERT_TRUE(log->append(TokenOrigin::kSpliced, end));
  }

  // A greedy answer of the embedded model, and a drawn one.
  void converse(const std::string& id) const {
    auto checkpoint = Checkpoint::open(HADAL_SOURCE_DIR "/nano/weights");
    EngineOptions options;
    options.model.threads = 1;
    auto engine = Engine::open(*checkpoint, options);
    ASSERT_TRUE(engine);
    SessionStoreOptions settings;
    settings.identity = *session_identity(*engine, Numerics{});
    settings.model = "nano";
    auto store = SessionStore::open(folder_.path(), settings);
    auto log = (*store)->create(id);
    auto timeline = engine->new_timeline();
    for (double temperature : {0.0, 1.5}) {
      const auto prompt = engine->tokenizer->encode("<｜User｜>Repeat: zebra 512<｜Assistant｜></think>");
      ASSERT_TRUE(log->append(TokenOrigin::kPrompt, prompt));
      GenerateOptions generating;
      generating.sampling = engine->default_sampling();
      generating.sampling.temperature = temperature;
      generating.sampling.seed = 7;
      generating.max_tokens = 20;
      ASSERT_TRUE(log->set_sampling({generating.sampling, 0}));
      GenerateHooks hooks;
      hooks.on_token = [&](const Sampled& token) { return log->append({&token, 1}).has_value(); };
      ASSERT_TRUE(generate(**timeline, prompt, generating, hooks));
    }
    (*store)->update(*log);
  }

  test::TemporaryFolder folder_;
};

TEST_F(SessionCommand, Transcript) {
  make_up();
  std::ifstream file(HADAL_SOURCE_DIR "/tests/cli/transcripts/session.txt");
  std::string line, command, expected;
  const auto check = [&] {
    if (command.empty()) return;
    SCOPED_TRACE(command);
    const Ran ran = run("{ " + command + "; } 2>&1");
    std::string got = ran.out;
    for (std::size_t at; (at = got.find(folder_.path())) != std::string::npos;)
      got.replace(at, folder_.path().size(), "DATA");
    if (ran.status != 0) got += "[" + std::to_string(ran.status) + "]\n";
    EXPECT_EQ(got, expected);
  };
  while (std::getline(file, line)) {
    if (line.starts_with("#") && command.empty()) continue;
    if (line.starts_with("$ ")) {
      check();
      command = line.substr(2);
      expected.clear();
    } else {
      expected += line + "\n";
    }
  }
  check();
  EXPECT_FALSE(command.empty());
}

TEST_F(SessionCommand, ASessionOfTheEmbeddedModel) {
  converse("talk");
  const Ran list = run("hadal session list");
  EXPECT_EQ(list.status, 0) << list.err;
  EXPECT_THAT(list.out, StartsWith("ID    "));
  EXPECT_THAT(list.out, HasSubstr("\ntalk  "));
  const Ran show = run("hadal session show ta");
  EXPECT_EQ(show.status, 0) << show.err;
  EXPECT_THAT(show.out, HasSubstr("Repeat: zebra 512"));
  EXPECT_THAT(show.out, HasSubstr("; greedy]\n"));
  EXPECT_THAT(show.out, HasSubstr("; temperature 1.5, "));
  EXPECT_THAT(show.out, HasSubstr(", seed 7]\n"));
  const Ran verify = run("hadal session verify talk --threads 1");
  EXPECT_EQ(verify.status, 0) << verify.err;
  EXPECT_THAT(verify.out, HasSubstr("came out the same"));

  // To another data folder and back under another name.
  EXPECT_EQ(run("hadal session export talk file").status, 0);
  const Ran import = run("hadal session import file --as again");
  EXPECT_EQ(import.out, "again\n");
  EXPECT_EQ(import.err, "");
  EXPECT_EQ(run("hadal session verify again --json").status, 0);

  // A log that says something else.
  {
    auto log = SessionLog::open(folder_.file("sessions/again.log"));
    ASSERT_TRUE(log);
    const Sampled token{TokenId{5}, -1, -1, 0};
    ASSERT_TRUE(log->append({&token, 1}));
  }
  const Ran wrong = run("hadal session verify again --threads 1");
  EXPECT_EQ(wrong.status, 1);
  EXPECT_EQ(wrong.out, "");
  EXPECT_THAT(wrong.err, HasSubstr(" in the log, the model gives "));

  // While somebody appends, it can be looked at and not changed.
  auto log = SessionLog::open(folder_.file("sessions/talk.log"));
  EXPECT_EQ(run("hadal session show talk --json").status, 0);
  const Ran busy = run("hadal session rewind talk 1");
  EXPECT_EQ(busy.status, 1);
  EXPECT_THAT(busy.err, HasSubstr("another process is appending"));
}

TEST_F(SessionCommand, DamageIsNamed) {
  make_up();
  std::fstream f(folder_.file("sessions/made.log"), std::ios::in | std::ios::out | std::ios::binary);
  f.seekp(140);
  f.put('\x7f');
  f.close();
  const Ran show = run("hadal session show made --ids");
  EXPECT_EQ(show.status, 2);
  EXPECT_THAT(show.err, HasSubstr("is damaged at byte"));
  const Ran list = run("hadal session list");
  EXPECT_EQ(list.status, 0);
  EXPECT_THAT(list.out, HasSubstr("is damaged at byte"));
  EXPECT_EQ(run("hadal session export made file").status, 2);
  const Ran saved = run("hadal session export made file --intact");
  EXPECT_EQ(saved.status, 0) << saved.err;
  EXPECT_THAT(saved.out, HasSubstr(", 3 tokens"));
  EXPECT_THAT(saved.err, HasSubstr("are damaged and were left out"));
}

TEST_F(SessionCommand, TheDataFolderFollowsTheEnvironment) {
  make_up();
  const Ran xdg = run_program("mkdir -p '" + folder_.path() + "/x'; ln -s '" + folder_.path() + "' '" + folder_.path() +
                              "/x/hadal'; XDG_DATA_HOME='" + folder_.path() + "/x' $H session branches made");
  EXPECT_EQ(xdg.status, 0) << xdg.err;
  const Ran none = run_program("env -u XDG_DATA_HOME -u HOME $H session branches made");
  EXPECT_EQ(none.status, 2);
  EXPECT_THAT(none.err, HasSubstr("--data"));
}

}  // namespace
}  // namespace hadal
