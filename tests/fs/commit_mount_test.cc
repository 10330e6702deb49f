// Commits that take long, are cancelled, or come after a full disk; by system calls on a mount.
#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cas/base/check.h"
#include "cas/base/fd.h"
#include "fs/zones/zones.h"
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

// Makes a draft of a small file and one that would take too long to hash. Returns the reason if the file
// system of HOME has no such files.
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

  void Signal(int signal) const {
    CHECK(process_ > 0);  // -1 would be all processes of the machine
    ::kill(process_, signal);
  }
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
    // Sets the length by path: no handle is closed then, so nothing is hashed before the next commit.
    ASSERT_EQ(Errno(::truncate((draft + "/huge").c_str(), kHugeBytes - 1)), 0) << mounted.Errors();
  }
  ASSERT_EQ(WriteFile(draft + "/small", "BYTES"), 0);
  ASSERT_EQ(Errno(::truncate((draft + "/huge").c_str(), 0)), 0);
  ASSERT_EQ(Errno(::rename(draft.c_str(), (versions + "1").c_str())), 0) << mounted.Errors();
  EXPECT_EQ(ReadFile(versions + "1/small"), "BYTES");
}

TEST(CommitMount, TheEndOfTheMountCancelsACommit) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string versions = mounted.MakeModel(kModel) + "/versions/";
  if (const std::string why = MakeHugeDraft(versions + "draft"); !why.empty()) GTEST_SKIP() << why;
  // The file is hashed in the background: the end does not wait for that, and the draft is there again at
  // once.
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

// However many commits hash, quick requests are not delayed, and a commit that waits for its turn can be
// cancelled.
TEST(CommitMount, HashingCommitsDelayNoOtherRequest) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string other = mounted.MakeModel("prod/ml/other");
  for (const char* text : {"one", "two"}) mounted.MakeVersion(other, {{"file", text}});
  ASSERT_EQ(Errno(::mkdir((other + "/versions/draft").c_str(), 0755)), 0);
  ASSERT_EQ(WriteFile(other + "/versions/draft/a", "bytes"), 0);
  struct Commit {
    Fd small;
    std::unique_ptr<Renaming> renaming;
    bool sealed() const { return ::futimens(small.get(), nullptr) != 0 && errno == EBUSY; }
  };
  std::vector<Commit> commits(kCommitsAtOnce + 1);
  for (size_t i = 0; i < commits.size(); ++i) {
    const std::string versions = mounted.MakeModel(fmt::format("prod/ml/big{}", i)) + "/versions/";
    if (const std::string why = MakeHugeDraft(versions + "draft"); !why.empty()) GTEST_SKIP() << why;
    commits[i].small = Fd(::open((versions + "draft/small").c_str(), O_RDONLY | O_CLOEXEC));
    commits[i].renaming = std::make_unique<Renaming>(versions + "draft", versions + "next");
  }
  const auto sealed = [&] {
    return std::count_if(commits.begin(), commits.end(), [](const Commit& each) { return each.sealed(); });
  };
  ASSERT_TRUE(Eventually([&] { return sealed() == static_cast<ptrdiff_t>(kCommitsAtOnce); }));

  for (const char* number : {"1", "2"}) {
    ASSERT_EQ(Shell(fmt::format("ln -sfn ../versions/{} {}/aliases/Champion", number, other)).output, "");
    EXPECT_EQ(ReadLinkOf(other + "/aliases/Champion"), fmt::format("../versions/{}", number));
  }
  const std::string draft = other + "/versions/draft";
  EXPECT_EQ(Errno(::rename((draft + "/a").c_str(), (draft + "/b").c_str())), 0);
  EXPECT_EQ(Errno(::rename(draft.c_str(), (other + "/versions/renamed").c_str())), 0);
  EXPECT_EQ(Errno(::rename((other + "/versions/renamed").c_str(), (other + "/aliases/renamed").c_str())),
            EPERM);
  EXPECT_EQ(Errno(::rename((other + "/versions/renamed").c_str(), (other + "/versions/9").c_str())), ERANGE);
  EXPECT_EQ(sealed(), static_cast<ptrdiff_t>(kCommitsAtOnce)) << "they are at it all the while";

  const auto waiting =
      std::find_if(commits.begin(), commits.end(), [](const Commit& each) { return !each.sealed(); });
  ASSERT_NE(waiting, commits.end());
  waiting->renaming->Signal(SIGUSR1);
  ASSERT_TRUE(waiting->renaming->Ends());
  EXPECT_EQ(WEXITSTATUS(waiting->renaming->status()), EINTR);
  EXPECT_NE(mounted.Errors().find("given up while it waited for others"), std::string::npos);
  for (Commit& each : commits) {
    if (&each == &*waiting) continue;
    each.renaming->Signal(SIGKILL);
    EXPECT_TRUE(each.renaming->Ends());
  }
}

// --- a full disk ---

constexpr uint64_t kSmallDiskBytes = uint64_t{24} << 20U;
constexpr size_t kFileBytes = size_t{4} << 20U;

// Leaves `free_bytes` of HOME's file system until it is destroyed.
class Filler {
 public:
  Filler(const Mounted& mounted, uint64_t free_bytes) : path_(mounted.home() + "/filler") {
    const Fd file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    const std::string page(4096, 'f');
    off_t size_bytes = 0;
    while (::write(file.get(), page.data(), page.size()) == static_cast<ssize_t>(page.size())) {
      size_bytes += static_cast<off_t>(page.size());
    }
    EXPECT_EQ(::ftruncate(file.get(), size_bytes - static_cast<off_t>(free_bytes)), 0);
  }
  ~Filler() { ::unlink(path_.c_str()); }
  Filler(const Filler&) = delete;
  Filler& operator=(const Filler&) = delete;

 private:
  const std::string path_;
};

// Stores into all of a file through a shared mapping, while the disk is full. No call fails.
void StoreOnAFullDisk(const Mounted& mounted, const std::string& path, char byte) {
  const Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(file.valid());
  void* const mapping = ::mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapping, MAP_FAILED);
  const Filler filler(mounted, 0);
  std::memset(mapping, byte, kFileBytes);
  ::munmap(mapping, kFileBytes);
}

class LostBytes : public testing::TestWithParam<const char*> {};

TEST_P(LostBytes, AreNeverCommitted) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted({.home_bytes = kSmallDiskBytes});
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  const std::string versions = model + "/versions/";
  const std::string old_bytes(kFileBytes, 'o');
  const std::string new_bytes(kFileBytes, 'N');
  mounted.MakeVersion(model, {{"w", old_bytes}});
  const std::string file = versions + "draft/w";
  const bool shares_a_blob = GetParam() == std::string_view("SharingABlob");
  if (shares_a_blob) {
    ASSERT_EQ(Shell(fmt::format("cp -r {0}1 {0}draft", versions)).output, "");
  } else {
    ASSERT_EQ(Errno(::mkdir((versions + "draft").c_str(), 0755)), 0);
    const Fd fresh(::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    ASSERT_EQ(::ftruncate(fresh.get(), kFileBytes), 0);
  }
  StoreOnAFullDisk(mounted, file, 'N');

  const auto commit = [&] { return Errno(::rename((versions + "draft").c_str(), (versions + "2").c_str())); };
  EXPECT_EQ(commit(), EIO);
  EXPECT_NE(mounted.Errors().find("w: bytes that a program wrote to this file through a mapping are lost"),
            std::string::npos)
      << mounted.Errors();
  // The pages that the kernel still has are right, and may be copied; the others are lost.
  const ShellResult copied = Shell(fmt::format("cp -r {0}draft {0}copy && cat {0}copy/w", versions));
  EXPECT_TRUE(copied.status != 0 || copied.output == new_bytes);
  // The loss stays however the file changes, as long as some of it is left; and after a restart.
  ASSERT_EQ(Errno(::chmod(file.c_str(), 0755)), 0);
  EXPECT_EQ(commit(), EIO);
  EXPECT_EQ(mounted.Stop(), 0);
  mounted.Start();
  EXPECT_EQ(commit(), EIO);
  EXPECT_EQ(ReadFile(file), fmt::format("<errno {}>", EIO));
  ASSERT_EQ(Errno(::truncate(file.c_str(), kFileBytes - 1)), 0);
  EXPECT_EQ(commit(), EIO);
  {
    const Fd first(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::write(first.get(), "N", 1), 1);
  }
  EXPECT_EQ(mounted.Stop(), 0);
  mounted.Start();
  EXPECT_EQ(commit(), EIO);
  EXPECT_EQ(ListOf(versions).front(), "1");
  EXPECT_FALSE(Exists(versions + "2"));

  ASSERT_EQ(WriteFile(file, new_bytes), 0);
  EXPECT_EQ(commit(), 0) << mounted.Errors();
  EXPECT_TRUE(ReadFile(versions + "2/w") == new_bytes);
}

TEST_P(LostBytes, GoWithTheirFile) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted({.home_bytes = kSmallDiskBytes});
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  const std::string versions = model + "/versions/";
  mounted.MakeVersion(model, {{"w", std::string(kFileBytes, 'o')}});
  const bool shares_a_blob = GetParam() == std::string_view("SharingABlob");
  if (shares_a_blob) {
    ASSERT_EQ(Shell(fmt::format("cp -r {0}1 {0}draft", versions)).output, "");
  } else {
    ASSERT_EQ(Errno(::mkdir((versions + "draft").c_str(), 0755)), 0);
    ASSERT_EQ(WriteFile(versions + "draft/w", ""), 0);
    ASSERT_EQ(Errno(::truncate((versions + "draft/w").c_str(), kFileBytes)), 0);
  }
  StoreOnAFullDisk(mounted, versions + "draft/w", 'N');
  ASSERT_EQ(WriteFile(versions + "draft/new", "new"), 0);
  ASSERT_EQ(Errno(::rename((versions + "draft/new").c_str(), (versions + "draft/w").c_str())), 0);
  EXPECT_EQ(Errno(::rename((versions + "draft").c_str(), (versions + "2").c_str())), 0) << mounted.Errors();
  EXPECT_EQ(ReadFile(versions + "2/w"), "new");
}

INSTANTIATE_TEST_SUITE_P(OfAFile, LostBytes, testing::Values("SharingABlob", "OfItsOwn"),
                         [](const auto& param_info) { return std::string(param_info.param); });

TEST(CommitMount, AShortWriteReturnsTheBytesWritten) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted({.home_bytes = kSmallDiskBytes});
  mounted.Start();
  const std::string versions = mounted.MakeModel(kModel) + "/versions/";
  ASSERT_EQ(Errno(::mkdir((versions + "draft").c_str(), 0755)), 0);
  const std::string bytes(100'000, 'b');
  const Fd file(::open((versions + "draft/file").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ssize_t count = 0;
  {
    const Filler filler(mounted, 40'960);
    count = ::write(file.get(), bytes.data(), bytes.size());
    EXPECT_GT(count, 0);
    EXPECT_LT(count, static_cast<ssize_t>(bytes.size()));
    EXPECT_EQ(Errno(static_cast<int>(::write(file.get(), bytes.data(), bytes.size()))), ENOSPC);
  }
  struct stat attr = {};
  ASSERT_EQ(::fstat(file.get(), &attr), 0);
  EXPECT_EQ(attr.st_size, count);
  EXPECT_TRUE(ReadFile(versions + "draft/file") == bytes.substr(0, static_cast<size_t>(count)));
}

}  // namespace
}  // namespace modelfs::fs
