// The smaller parts of the command: progress line, log, mount options, mount records, running in the
// background.
#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <spdlog/logger.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cas/base/fd.h"
#include "tools/detach.h"
#include "tools/mount_options.h"
#include "tools/mounts.h"
#include "tools/print/log.h"
#include "tools/print/progress.h"

namespace modelfs::tools {
namespace {

class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string path = (std::filesystem::temp_directory_path() / "modelfs_tools_XXXXXX").string();
    path_ = ::mkdtemp(path.data());
  }
  ~ScratchDirectory() { std::filesystem::remove_all(path_); }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string Slurp(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Progress, ALineShowsTheAmountTheRateAndTheTimeLeft) {
  using std::chrono::milliseconds;
  EXPECT_EQ(ProgressLine("register", uint64_t{1} << 30U, uint64_t{4} << 30U, milliseconds(2000)),
            "register: 1.0 GiB of 4.0 GiB, 25 %, 512.0 MiB/s, 6 s left");
  EXPECT_EQ(ProgressLine("x", 0, 1000, milliseconds(1500)), "x: 0 bytes of 1000 bytes, 0 %, 0 bytes/s");
  EXPECT_EQ(ProgressLine("fsck", 3 << 20U, 0, milliseconds(1000)), "fsck: 3.0 MiB, 3.0 MiB/s");
  // A file that grows while it is read never shows more than the total.
  EXPECT_EQ(ProgressLine("x", 2000, 1000, milliseconds(1000)),
            "x: 2.0 KiB of 1000 bytes, 100 %, 2.0 KiB/s, 0 s left");
  EXPECT_EQ(HumanBytes(1), "1 byte");
  EXPECT_EQ(HumanBytes(1536), "1.5 KiB");
}

TEST(Log, JsonLinesAreValidForAnyMessage) {
  const ScratchDirectory scratch;
  LogOptions options;
  options.file = scratch / "log";
  options.json = true;
  options.level = "info";
  const auto log = MakeLogger(options);
  ASSERT_TRUE(log.ok());
  (*log)->info("path=\"a\\b\"\nnext \xFF \033");
  (*log)->debug("not shown");
  (*log)->flush();
  const std::string text = Slurp(options.file);
  const nlohmann::json line = nlohmann::json::parse(text, nullptr, false);
  ASSERT_TRUE(line.is_object()) << text;
  EXPECT_EQ(line["level"], "info");
  EXPECT_EQ(line["message"], "path=\"a\\b\"\nnext \xEF\xBF\xBD \033");
  EXPECT_EQ(std::filesystem::status(options.file).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST(Log, TheLevelChangesAtRunTimeAndStaysWithinItsLimits) {
  LogOptions options;
  options.level = "warn";
  const auto log = MakeLogger(options);
  ASSERT_TRUE(log.ok());
  StepLogLevel(**log, LogStep::kMore);
  EXPECT_EQ((*log)->level(), spdlog::level::info);
  for (int i = 0; i < 9; ++i) StepLogLevel(**log, LogStep::kMore);
  EXPECT_EQ((*log)->level(), spdlog::level::trace);
  for (int i = 0; i < 9; ++i) StepLogLevel(**log, LogStep::kLess);
  EXPECT_EQ((*log)->level(), spdlog::level::err);

  options.level = "loud";
  EXPECT_EQ(MakeLogger(options).error().code(), Code::kInvalidArgument);
}

TEST(MountOptions, AreAppliedAndThoseForMountAreIgnored) {
  fs::MountOptions options;
  HomeOptions home;
  home.identity_map = "/etc/before";
  ASSERT_TRUE(ApplyMountOptions(
                  {"ro,allow_other", "nopassthrough,nodev,_netdev,x-systemd.automount,nofail,,defaults"},
                  options, home)
                  .ok());
  EXPECT_EQ(home.identity_map, "/etc/before");
  EXPECT_EQ(home.lock_wait_s, 10U);
  ASSERT_TRUE(
      ApplyMountOptions({"identity_map=/etc/modelfs users.map,nofail,lock_wait=0"}, options, home).ok());
  EXPECT_EQ(home.lock_wait_s, 0U);
  EXPECT_EQ(home.identity_map, "/etc/modelfs users.map");
  EXPECT_TRUE(options.allow_other);
  EXPECT_TRUE(options.read_only);
  EXPECT_FALSE(options.passthrough);
  EXPECT_EQ(options.scrub_period_ms, 7 * 24 * 60 * 60 * 1000);
  ASSERT_TRUE(ApplyMountOptions({"scrub_days=0.5"}, options, home).ok());
  EXPECT_EQ(options.scrub_period_ms, 12 * 60 * 60 * 1000);
  ASSERT_TRUE(ApplyMountOptions({"scrub_days=0"}, options, home).ok());
  EXPECT_EQ(options.scrub_period_ms, 0);
  for (const std::string word : {"turbo", "identity_map=", "identity_map", "scrub_days=", "scrub_days=-1",
                                 "scrub_days=nan", "scrub_days=7d", "scrub_days=1e9", "scrub_days=1e-99",
                                 "lock_wait=", "lock_wait=3601", "lock_wait=1s", "lock_wait=-1"}) {
    const Status refused = ApplyMountOptions({"rw," + word}, options, home);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
    EXPECT_NE(refused.error().message().find(word.substr(0, word.find('='))), std::string::npos);
  }
}

TEST(MountOptions, TheLaterOfTwoOverridesAndAnImpossibleOneIsRefused) {
  struct Row {
    const char* words;
    bool read_only, no_exec, synchronous, no_atime;
  };
  HomeOptions home;
  for (const Row& row :
       {Row{"noexec", false, true, false, false}, Row{"noexec,exec", false, false, false, false},
        Row{"user", false, true, false, false}, Row{"users,exec", false, false, false, false},
        Row{"owner,group", false, false, false, false}, Row{"ro,rw", false, false, false, false},
        Row{"rw,ro", true, false, false, false}, Row{"sync", false, false, true, false},
        Row{"sync,async", false, false, false, false}, Row{"noatime", false, false, false, true},
        Row{"noatime,relatime", false, false, false, false}}) {
    SCOPED_TRACE(row.words);
    fs::MountOptions options;
    ASSERT_TRUE(ApplyMountOptions({row.words}, options, home).ok());
    EXPECT_EQ(options.read_only, row.read_only);
    EXPECT_EQ(options.no_exec, row.no_exec);
    EXPECT_EQ(options.synchronous, row.synchronous);
    EXPECT_EQ(options.no_atime, row.no_atime);
  }
  for (const char* word : {"suid", "dev"}) {
    fs::MountOptions options;
    const Status refused = ApplyMountOptions({word}, options, home);
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().message().find(fmt::format("is no{}; leave it out", word)), std::string::npos);
  }
}

TEST(MountRecords, OfLiveMountsAreListedAndOfDeadOnesRemoved) {
  const ScratchDirectory home;
  {
    const auto mine = MountRegistration::Write(home.path(), "/models", 42);
    ASSERT_TRUE(mine.ok()) << mine.error().message();
    std::ofstream(home / "mounts/999999.json") << R"({"mount_point":"/dead","pid":999999,"since_ms":1})";
    const auto mounts = MountsOf(home.path());
    ASSERT_EQ(mounts.size(), 1U);
    EXPECT_EQ(mounts.front().mount_point, "/models");
    EXPECT_EQ(mounts.front().pid, ::getpid());
    EXPECT_EQ(mounts.front().since_ms, 42);
    EXPECT_FALSE(std::filesystem::exists(home / "mounts/999999.json"));
  }
  EXPECT_TRUE(MountsOf(home.path()).empty());
  EXPECT_TRUE(MountsOf(home / "nothing").empty());
}

TEST(Detach, TheForegroundReturnsTheResultOfTheBackground) {
  const ScratchDirectory scratch;
  const Status worked = RunDetached([](Waiter& waiter) {
    waiter.Ready();
    return OkStatus();
  });
  EXPECT_TRUE(worked.ok());

  const Status failed =
      RunDetached([](Waiter&) -> Status { return Error(Code::kAlreadyExists, "something is there"); });
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code(), Code::kAlreadyExists);
  EXPECT_EQ(failed.error().message(), "something is there");

  const Status killed = RunDetached([](Waiter&) -> Status {
    ::kill(::getpid(), SIGKILL);
    return OkStatus();
  });
  ASSERT_FALSE(killed.ok());
  EXPECT_NE(killed.error().message().find("signal 9"), std::string::npos) << killed.error().message();
}

}  // namespace
}  // namespace modelfs::tools
