// Commits that take long, are given up, or come after a disk that was full; by system calls on a mount.
#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cas/base/fd.h"
#include "tests/fs/mounted.h"

namespace modelfs::fs {
namespace {

constexpr std::string_view kModel = "prod/ml/iris";
// Hashing that many takes the better part of an hour.
constexpr off_t kHugeBytes = off_t{1} << 40U;

using Names = std::vector<std::string>;

bool Eventually(const std::function<bool()>& condition) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// A draft of a small file and one that nobody waits for. Why not, where the file system of HOME has no such
// files.
std::string MakeHugeDraft(const std::string& draft) {
  if (const int error = Errno(::mkdir(draft.c_str(), 0755)); error != 0)
    return fmt::format("mkdir: {}", error);
  if (const int error = WriteFile(draft + "/small", "bytes"); error != 0)
    return fmt::format("small: {}", error);
  const Fd huge(::open((draft + "/huge").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (!huge.valid() || ::ftruncate(huge.get(), kHugeBytes) != 0) return fmt::format("huge: {}", errno);
  return "";
}

// A process in rename(2), which exits with its errno. SIGUSR1 only interrupts it.
class Renaming {
 public:
  Renaming(const std::string& from, const std::string& to) : process_(::fork()) {
    if (process_ != 0) return;
    struct sigaction action = {};
    action.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &action, nullptr);
    ::_exit(Errno(::rename(from.c_str(), to.c_str())));
  }
  ~Renaming() {
    if (process_ > 0) Signal(SIGKILL);
  }
  Renaming(const Renaming&) = delete;
  Renaming& operator=(const Renaming&) = delete;

  void Signal(int signal) const { ::kill(process_, signal); }
  bool Ends() {
    const bool ended = Eventually([&] { return ::waitpid(process_, &status_, WNOHANG) == process_; });
    if (ended) process_ = -1;
    return ended;
  }
  int status() const { return status_; }

 private:
  pid_t process_;
  int status_ = 0;
};

// While a draft is being committed, every change of it is EBUSY. By a descriptor: its path is locked
// meanwhile.
bool WaitUntilCommitting(const Fd& file) {
  return Eventually([&] { return ::futimens(file.get(), nullptr) != 0 && errno == EBUSY; });
}

TEST(CommitMount, ACommitThatIsHashingEndsByASignal) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string versions = mounted.MakeModel(kModel) + "/versions/";
  const std::string draft = versions + "draft";
  if (const std::string why = MakeHugeDraft(draft); !why.empty()) GTEST_SKIP() << why;
  const Fd small(::open((draft + "/small").c_str(), O_RDONLY | O_CLOEXEC));

  // First it waits for the hashing that began when the file was closed, then for its own.
  for (const int signal : {SIGUSR1, SIGKILL}) {
    SCOPED_TRACE(signal);
    Renaming renaming(draft, versions + "next");
    ASSERT_TRUE(WaitUntilCommitting(small));
    renaming.Signal(signal);
    ASSERT_TRUE(renaming.Ends());
    if (signal == SIGKILL) {
      EXPECT_TRUE(WIFSIGNALED(renaming.status())) << renaming.status();
    } else {
      EXPECT_EQ(WEXITSTATUS(renaming.status()), EINTR);
    }
    EXPECT_EQ(ListOf(versions), (Names{"draft"}));
    EXPECT_NE(mounted.Errors().find("the commit of draft draft was given up"), std::string::npos)
        << mounted.Errors();
    // The length by path: no handle is closed then, so nothing is hashed before the next commit.
    ASSERT_EQ(Errno(::truncate((draft + "/huge").c_str(), kHugeBytes - 1)), 0) << mounted.Errors();
  }
  ASSERT_EQ(WriteFile(draft + "/small", "BYTES"), 0);
  ASSERT_EQ(Errno(::truncate((draft + "/huge").c_str(), 0)), 0);
  ASSERT_EQ(Errno(::rename(draft.c_str(), (versions + "1").c_str())), 0) << mounted.Errors();
  EXPECT_EQ(ReadFile(versions + "1/small"), "BYTES");
}

TEST(CommitMount, AnEndOfTheMountGivesACommitUp) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string versions = mounted.MakeModel(kModel) + "/versions/";
  if (const std::string why = MakeHugeDraft(versions + "draft"); !why.empty()) GTEST_SKIP() << why;
  // Hashed in the background: the end does not wait for that, and the draft is there at once again.
  EXPECT_EQ(mounted.Stop(), 0);
  mounted.Start();
  ASSERT_EQ(ListOf(versions), (Names{"draft"}));

  Fd small(::open((versions + "draft/small").c_str(), O_RDONLY | O_CLOEXEC));
  Renaming renaming(versions + "draft", versions + "next");
  ASSERT_TRUE(WaitUntilCommitting(small));
  EXPECT_EQ(mounted.Stop(), 0);
  ASSERT_TRUE(renaming.Ends());
  EXPECT_EQ(WEXITSTATUS(renaming.status()), EINTR);
  small.Reset();
  mounted.Start();
  EXPECT_EQ(ListOf(versions), (Names{"draft"}));
}

}  // namespace
}  // namespace modelfs::fs
