// A mount beside other processes that write to its registry, and stop or die inside their commits.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cas/base/check.h"
#include "tests/fs/mounted.h"
#include "tests/store/kv/worker.h"

namespace modelfs::fs {
namespace {

using testing::Worker;

constexpr std::chrono::seconds kGenerous{60};

// A process that runs `work` and exits with its errno; -1 while it runs.
class Child {
 public:
  template <typename Work>
  explicit Child(Work work) : pid_(::fork()) {
    CHECK(pid_ >= 0);  // -1 would be all processes of the machine
    if (pid_ == 0) ::_exit(work());
  }
  ~Child() { ::kill(pid_, SIGKILL); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  void Signal(int signal) const { ::kill(pid_, signal); }
  // The wait(2) status; nothing if it goes on for a very generous time.
  std::optional<int> End() const {
    const auto until = std::chrono::steady_clock::now() + kGenerous;
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > until) return std::nullopt;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return status;
  }
  // Whether it sleeps in a request to the mount.
  bool Waits() const {
    const std::string stack = ReadFile("/proc/" + std::to_string(pid_) + "/wchan");
    return stack.find("fuse") != std::string::npos || stack.find("request_wait") != std::string::npos;
  }

 private:
  pid_t pid_;
};

TEST(Writers, AStoppedWriterMakesChangesFailInTimeAndReadersNever) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted({.lock_wait_ms = 200});
  mounted.Start();
  const std::string model = mounted.MakeModel("prod/ml/iris");
  mounted.MakeVersion(model, {{"weights.bin", "one"}});
  Worker writer({"put-stop", mounted.home() + "/kv", "zz", "1"});
  ASSERT_TRUE(writer.WaitUntilStopped());
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Errno(::mkdir(mounted.path("prod/ml/new").c_str(), 0755)), EBUSY);
    EXPECT_EQ(Errno(::setxattr(model.c_str(), "user.description", "x", 1, 0)), EBUSY);
    EXPECT_EQ(Errno(::symlink("../versions/1", (model + "/aliases/A").c_str())), EBUSY);
    EXPECT_EQ(Errno(::rmdir((model + "/versions/1").c_str())), EBUSY);
  }
  EXPECT_EQ(ListOf(model + "/versions"), std::vector<std::string>{"1"});
  EXPECT_EQ(ReadFile(model + "/versions/1/weights.bin"), "one");
  const std::string errors = mounted.Errors();
  EXPECT_NE(errors.find("process " + std::to_string(writer.pid()) + " ("), std::string::npos) << errors;
  writer.Continue();
  writer.AllLines();
  EXPECT_EQ(Errno(::mkdir(mounted.path("prod/ml/new").c_str(), 0755)), 0);
}

TEST(Writers, AWaiterForAStoppedWriterCanBeKilledAndInterrupted) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted({.lock_wait_ms = 3'600'000});
  mounted.Start();
  const std::string model = mounted.MakeModel("prod/ml/iris");
  mounted.MakeVersion(model, {{"weights.bin", "one"}});
  Worker writer({"put-stop", mounted.home() + "/kv", "zz", "1"});
  ASSERT_TRUE(writer.WaitUntilStopped());
  const Child made([&] { return Errno(::mkdir(mounted.path("prod/ml/new").c_str(), 0755)); });
  const Child set([&] { return Errno(::setxattr(model.c_str(), "user.description", "x", 1, 0)); });
  const Child removed([&] {
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &action, nullptr);  // without SA_RESTART
    return Errno(::rmdir((model + "/versions/1").c_str()));
  });
  for (const Child* child : {&made, &set, &removed}) {
    const auto until = std::chrono::steady_clock::now() + kGenerous;
    while (!child->Waits() && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  }
  made.Signal(SIGKILL);
  set.Signal(SIGTERM);
  removed.Signal(SIGUSR1);
  EXPECT_TRUE(made.End().has_value());
  EXPECT_TRUE(set.End().has_value());
  const std::optional<int> interrupted = removed.End();
  ASSERT_TRUE(interrupted.has_value());
  EXPECT_TRUE(WIFEXITED(*interrupted) && WEXITSTATUS(*interrupted) == EINTR) << *interrupted;
}

// The killed process had written its commit: every mount has it at once, without help.
TEST(Writers, ACommitThatWasCutOffIsVisibleOnOtherMountsAtOnce) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel("prod/ml/iris");
  mounted.MakeVersion(model, {{"weights.bin", "one"}});
  mounted.MakeVersion(model, {{"weights.bin", "two"}});
  const std::string alias = model + "/aliases/Champion";
  ASSERT_EQ(Errno(::symlink("../versions/1", alias.c_str())), 0);
  ASSERT_EQ(ReadLinkOf(alias), "../versions/1");
  const std::string other = mounted.StartAnother();
  const std::string others = other + "/prod/ml/iris/aliases/";
  ASSERT_EQ(Errno(::symlink("../versions/2", (others + "my.link").c_str())), 0);  // held: no commit
  mounted.CutOffAnother();
  EXPECT_NE(Errno(::rename((others + "my.link").c_str(), (others + "Champion").c_str())), 0);
  // As after any change of another process, the kernel shows its cached target until the watcher has notified
  // it.
  while (ReadLinkOf(alias) != "../versions/2") std::this_thread::yield();
  ASSERT_EQ(Errno(::mkdir(mounted.path("prod/ml/new").c_str(), 0755)), 0);
  EXPECT_EQ(ReadLinkOf(alias), "../versions/2");
}

// Whichever of its commits dies half-way, the draft or the version made of it exists afterwards.
TEST(Writers, ADraftWhoseCommitWasCutOffIsADraftOrAVersion) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel("prod/ml/iris");
  std::vector<std::string> before;
  for (int commit = 1; commit <= 3; ++commit) {
    SCOPED_TRACE(commit);
    const std::string versions = mounted.StartAnother() + "/prod/ml/iris/versions/";
    const std::string draft = "draft" + std::to_string(commit);
    ASSERT_EQ(Errno(::mkdir((versions + draft).c_str(), 0755)), 0);
    ASSERT_EQ(WriteFile(versions + draft + "/weights.bin", draft), 0);
    mounted.CutOffAnother(commit);
    ::rename((versions + draft).c_str(), (versions + "next").c_str());
    // The rename may take fewer commits, and none on a busy machine (EBUSY, until the kernel releases the
    // file).
    for (int more = 0; more < commit; ++more) {
      if (::mkdir((versions + "../../another" + draft + std::to_string(more)).c_str(), 0755) != 0) break;
    }
    ASSERT_TRUE(mounted.WaitUntilAnotherIsKilled());
    mounted.StartAnother();
    std::vector<std::string> after = ListOf(versions);
    ASSERT_EQ(after.size(), before.size() + 1) << "the draft, or the version";
    EXPECT_EQ(ListOf(versions), after);
    ASSERT_EQ(Errno(::mkdir(mounted.path("prod/ml/new" + draft).c_str(), 0755)), 0);
    EXPECT_EQ(ListOf(versions), after) << "a later commit by another process changes nothing of it";
    before = after;
    mounted.CutOffAnother();
    ::mkdir((versions + "../../last" + draft).c_str(), 0755);
    ASSERT_TRUE(mounted.WaitUntilAnotherIsKilled());
  }
}

}  // namespace
}  // namespace modelfs::fs
