// Writers of several processes: a dead or stopped one costs the others a bounded time, and its commit is
// visible to all or to none.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <random>
#include <stop_token>
#include <thread>

#include "store/kv/lmdb_kv.h"
#include "store/kv/lock_file.h"
#include "tests/store/expect.h"
#include "tests/store/kv/scratch_dir.h"
#include "tests/store/kv/worker.h"

namespace modelfs::store {
namespace {

using std::chrono::milliseconds;
using testing::Outcome;
using testing::ScratchDir;
using testing::Worker;

std::string ValueOf(Kv& kv, const std::string& key) {
  const auto snapshot = kv.Read().value();
  const auto entry = snapshot->Get(key).value();
  return entry ? entry->value : "";
}

KvTransaction Putting(const std::string& key, const std::string& value) {
  KvTransaction transaction;
  transaction.Put(key, value);
  return transaction;
}

std::unique_ptr<Kv> OpenWithPatience(const std::string& home, milliseconds lock_wait) {
  LmdbOptions options;
  options.directory = home;
  options.mode = LmdbOptions::Mode::kCreate;
  options.lock_wait = lock_wait;
  return OpenLmdbKv(options).value();
}

class CutOff : public ::testing::Test {
 protected:
  void CutOffPut(const std::string& key, const std::string& value) {
    Worker worker({"put-cut", home(), key, value});
    worker.AllLines();
    const int status = worker.Wait();
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  }
  std::string home() const { return dir_.path() + "/kv"; }

 private:
  const ScratchDir dir_;
};

TEST_F(CutOff, ACommitIsSeenByAnOpenEngineBeforeTheNextCommit) {
  const auto kv = OpenWithPatience(home(), kLockWait);
  ASSERT_OK(kv->Commit(Putting("a", "1")));
  EXPECT_EQ(ValueOf(*kv, "a"), "1");
  CutOffPut("a", "2");
  EXPECT_EQ(ValueOf(*kv, "a"), "2");
  ASSERT_OK(kv->Commit(Putting("b", "1")));
  EXPECT_EQ(ValueOf(*kv, "a"), "2");
}

TEST_F(CutOff, ACommitIsSeenByTheNextOpenerWhileOthersHaveItOpen) {
  const auto kv = OpenWithPatience(home(), kLockWait);
  ASSERT_OK(kv->Commit(Putting("a", "1")));
  CutOffPut("a", "2");
  Worker reader({"get", home(), "a"});
  EXPECT_EQ(reader.AllLines(), std::vector<std::string>{"2"});
}

TEST_F(CutOff, AWatcherIsWokenByTheDeath) {
  LmdbOptions options;
  options.directory = home();
  options.mode = LmdbOptions::Mode::kCreate;
  options.poll_every = std::chrono::hours(1);  // only inotify wakes it
  const auto kv = OpenLmdbKv(options).value();
  const Revision before = kv->Commit(Putting("a", "1")).value();
  std::stop_source never;
  auto woken = std::async(std::launch::async, [&] {
    kv->WaitForCommit(before, Deadline::After(std::chrono::minutes(2)), never.get_token());
    return kv->ReadLog(before, 10)->size();
  });
  Worker worker({"put-stop", home(), "a", "2"});
  ASSERT_TRUE(worker.WaitUntilStopped());
  EXPECT_EQ(ValueOf(*kv, "a"), "1") << "its writer lives, and the commit is not acknowledged";
  worker.Kill();
  EXPECT_EQ(woken.get(), 1U);
  EXPECT_EQ(ValueOf(*kv, "a"), "2");
}

class Stopped : public ::testing::Test {
 protected:
  std::string home() const { return dir_.path() + "/kv"; }

 private:
  const ScratchDir dir_;
};

TEST_F(Stopped, AWaitForAWriterIsBoundedAndNamesTheWriter) {
  const auto kv = OpenWithPatience(home(), milliseconds(50));
  ASSERT_OK(kv->Commit(Putting("a", "1")));
  Worker worker({"put-stop", home(), "a", "2"});
  ASSERT_TRUE(worker.WaitUntilStopped());
  for (int i = 0; i < 2; ++i) {
    const auto refused = kv->Commit(Putting("b", "1"));
    ASSERT_EQ(Outcome(refused), "busy");
    const std::string& said = refused.error().message();
    EXPECT_NE(said.find(fmt::format("process {} (", worker.pid())), std::string::npos) << said;
    EXPECT_NE(said.find("put-stop"), std::string::npos) << said;
    EXPECT_NE(said.find(" since 2"), std::string::npos) << said;
    EXPECT_NE(said.find(fmt::format("kill -CONT {}", worker.pid())), std::string::npos) << said;
  }
  // Readers and openers do not wait for it.
  EXPECT_EQ(ValueOf(*kv, "a"), "1");
  worker.Continue();
  worker.AllLines();
  EXPECT_EQ(worker.Wait(), 0);
  ASSERT_OK(kv->Commit(Putting("b", "1")));
  EXPECT_EQ(ValueOf(*kv, "a"), "2");
}

// Its commit may be published a moment later, or only once it continues: commands that only read start
// meanwhile.
TEST_F(Stopped, AnOpenerWaitsForAWriterABriefTimeOnly) {
  ASSERT_OK(OpenWithPatience(home(), kLockWait)->Commit(Putting("a", "1")));
  Worker worker({"put-stop", home(), "a", "2"});
  ASSERT_TRUE(worker.WaitUntilStopped());
  auto opened = std::async(std::launch::async,
                           [&] { return ValueOf(*OpenWithPatience(home(), std::chrono::hours(1)), "a"); });
  const bool in_time = opened.wait_for(std::chrono::minutes(2)) == std::future_status::ready;
  EXPECT_TRUE(in_time) << "it waits as long as a change may wait";
  if (in_time) {
    EXPECT_EQ(opened.get(), "1") << "a commit that is not acknowledged is not visible yet";
  }
  worker.Continue();
  worker.AllLines();
  EXPECT_EQ(worker.Wait(), 0);
  EXPECT_EQ(ValueOf(*OpenWithPatience(home(), kLockWait), "a"), "2");
}

TEST_F(Stopped, AKilledWriterIsNotWaitedFor) {
  const auto kv = OpenWithPatience(home(), std::chrono::hours(1));
  Worker worker({"put-stop", home(), "a", "2"});
  ASSERT_TRUE(worker.WaitUntilStopped());
  auto commit = std::async(std::launch::async, [&] { return Outcome(kv->Commit(Putting("b", "1"))); });
  worker.Kill();
  EXPECT_EQ(commit.get(), "ok");
  EXPECT_EQ(ValueOf(*kv, "a"), "2");
}

TEST_F(Stopped, AWaitEndsWithItsCaller) {
  const auto kv = OpenWithPatience(home(), std::chrono::hours(1));
  Worker worker({"put-stop", home(), "a", "2"});
  ASSERT_TRUE(worker.WaitUntilStopped());
  // Two: one waits for the other process, the other for the first.
  std::stop_source gave_up;
  const auto wait = [&] {
    KvTransaction transaction = Putting("b", "1");
    transaction.patience.stop = gave_up.get_token();
    return Outcome(kv->Commit(transaction));
  };
  auto first = std::async(std::launch::async, wait);
  auto second = std::async(std::launch::async, wait);
  EXPECT_EQ(first.wait_for(milliseconds(50)), std::future_status::timeout);
  gave_up.request_stop();
  EXPECT_EQ(first.get(), "cancelled");
  EXPECT_EQ(second.get(), "cancelled");
}

// It is queued, and would keep all others from a lock that no process has.
TEST_F(Stopped, AProcessThatWaitsForItsTurnDelaysNoOther) {
  const auto kv = OpenWithPatience(home(), std::chrono::seconds(30));
  const auto locks = LockFile::Open(home() + "/writer.lock").value();
  Worker writer({"put-stop", home(), "a", "1"});
  ASSERT_TRUE(writer.WaitUntilStopped());
  Worker waiter({"put", home(), "b", "1"});
  while (locks->TryTake(LockFile::Lock::kNext)) std::this_thread::yield();
  ::kill(waiter.pid(), SIGSTOP);
  ASSERT_TRUE(waiter.WaitUntilStopped());
  writer.Continue();
  EXPECT_EQ(writer.Wait(), 0);
  EXPECT_EQ(Outcome(kv->Commit(Putting("c", "1"))), "ok");
  waiter.Continue();
  EXPECT_EQ(waiter.Wait(), 0);
  EXPECT_EQ(ValueOf(*kv, "b"), "1");
}

// The kernel passes changes in one directory on one by one: their waits must not add up.
TEST_F(Stopped, AStoppedWriterIsWaitedForInFullOnlyOnce) {
  OpenWithPatience(home(), milliseconds(1));
  const auto locks = LockFile::Open(home() + "/writer.lock").value();
  Worker first({"put-stop", home(), "a", "1"});
  ASSERT_TRUE(first.WaitUntilStopped());
  EXPECT_EQ(Outcome(locks->Take(LockFile::Lock::kWriter, Deadline::After(milliseconds(50)))), "busy");
  EXPECT_EQ(Outcome(locks->Take(LockFile::Lock::kWriter, Deadline::After(std::chrono::hours(1)))), "busy");
  first.Continue();
  EXPECT_EQ(first.Wait(), 0);
  // A new writer is waited for again.
  Worker second({"put-stop", home(), "a", "2"});
  ASSERT_TRUE(second.WaitUntilStopped());
  auto taken = std::async(std::launch::async, [&] {
    return Outcome(locks->Take(LockFile::Lock::kWriter, Deadline::After(std::chrono::hours(1))));
  });
  EXPECT_EQ(taken.wait_for(milliseconds(300)), std::future_status::timeout);
  second.Continue();
  EXPECT_EQ(second.Wait(), 0);
  EXPECT_EQ(taken.get(), "ok");
}

TEST_F(Stopped, AProcessThatOpensIsNamed) {
  OpenWithPatience(home(), milliseconds(1));
  Worker worker({"stop-opening", home()});
  ASSERT_TRUE(worker.WaitUntilStopped());
  const auto refused = OpenLmdbKv({.directory = home(), .lock_wait = milliseconds(50)});
  ASSERT_EQ(Outcome(refused), "busy");
  const std::string& said = refused.error().message();
  EXPECT_NE(said.find(fmt::format("being opened by process {} (", worker.pid())), std::string::npos) << said;
  EXPECT_NE(said.find(fmt::format("kill -CONT {}", worker.pid())), std::string::npos) << said;
}

// Another user could place a link there that leads anywhere.
TEST(LockFile, IsNotOpenedThroughALink) {
  const ScratchDir dir;
  const std::string home = dir.path() + "/kv";
  OpenWithPatience(home, milliseconds(1));
  std::filesystem::remove(home + "/writer.lock");
  std::filesystem::create_symlink(dir.path() + "/elsewhere", home + "/writer.lock");
  EXPECT_EQ(Outcome(OpenLmdbKv({.directory = home})), "failed precondition");
  EXPECT_FALSE(std::filesystem::exists(dir.path() + "/elsewhere"));
}

// With LMDB's own mutexes alone, about one round in a hundred leaves a process asleep for ever.
TEST(Storm, EightOfSixteenWritersFinishWhenTheOthersAreKilled) {
  const ScratchDir dir;
  const std::string home = dir.path() + "/kv";
  const auto kv = OpenWithPatience(home, std::chrono::seconds(10));
  std::mt19937_64 random(std::random_device{}());
  constexpr int kRounds = 40;
  constexpr int kWriters = 16;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::unique_ptr<Worker>> writers;
    for (int i = 0; i < kWriters; ++i) {
      writers.push_back(std::make_unique<Worker>(std::vector<std::string>{"storm", home, "50"}));
    }
    for (int i = 0; i < kWriters / 2; ++i) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 4000));
      writers[static_cast<size_t>(i)]->Kill();
    }
    for (int i = kWriters / 2; i < kWriters; ++i) {
      const Worker& writer = *writers[static_cast<size_t>(i)];
      auto ended = std::async(std::launch::async, [&] { return writers[static_cast<size_t>(i)]->Wait(); });
      if (ended.wait_for(std::chrono::seconds(60)) != std::future_status::ready) {
        ADD_FAILURE() << "process " << writer.pid() << " sleeps, in round " << round;
        for (const auto& each : writers) each->Kill();
        return;
      }
      ASSERT_EQ(ended.get(), 0) << "round " << round;
    }
    ASSERT_OK(kv->Commit(Putting("round", std::to_string(round))));
  }
}

}  // namespace
}  // namespace modelfs::store
