// The engine on a full disk, and on one that turned read-only: on each file system that a home may be on.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "store/kv/lmdb_kv.h"
#include "store/kv/map_fault.h"
#include "tests/store/expect.h"
#include "tests/store/kv/loop_disk.h"
#include "tests/store/kv/scratch_dir.h"
#include "tests/store/kv/worker.h"

namespace modelfs::store {
namespace {

using testing::LoopDisk;
using testing::Outcome;
using testing::ScratchDir;
using testing::Worker;

std::unique_ptr<Kv> Create(const std::string& directory) {
  LmdbOptions options;
  options.directory = directory;
  options.mode = LmdbOptions::Mode::kCreate;
  auto kv = OpenLmdbKv(options);
  EXPECT_OK(kv);
  return kv.ok() ? *std::move(kv) : nullptr;
}

std::string KeyOf(int i) { return fmt::format("key{:06}", i); }

// Returns how many values it wrote until the disk was full.
int PutUntilFull(Kv& kv) {
  for (int i = 0;; ++i) {
    KvTransaction transaction;
    transaction.Put(KeyOf(i), std::string(16'000, 'v'));
    const auto committed = kv.Commit(transaction);
    if (committed.ok()) continue;
    EXPECT_EQ(Outcome(committed), "no space") << committed.error().message();
    return i;
  }
}

class FullDisk : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "mounting a disk needs root";
    disk_ = std::make_unique<LoopDisk>(dir_.path() + "/disk", GetParam());
    ASSERT_EQ(disk_->failure(), "");
  }
  const LoopDisk& disk() const { return *disk_; }
  std::string home() const { return disk_->path() + "/kv"; }

 private:
  const ScratchDir dir_;
  std::unique_ptr<LoopDisk> disk_;
};

TEST_P(FullDisk, ReadsAndDeletesStillWork) {
  auto kv = Create(home());
  ASSERT_NE(kv, nullptr);
  KvTransaction first;
  first.Put("a", "1");
  ASSERT_OK(kv->Commit(first));
  disk().Fill();
  const int keys = PutUntilFull(*kv);
  ASSERT_GT(keys, 20);
  disk().Fill();
  // More readers than the first page of LMDB's table holds, here and in a process that starts now.
  std::vector<std::unique_ptr<Snapshot>> readers;
  for (int i = 0; i < 200; ++i) {
    auto reader = kv->Read();
    ASSERT_OK(reader);
    EXPECT_OK((*reader)->Get("a"));
    readers.push_back(*std::move(reader));
  }
  Worker others({"read-many", home(), "200"});
  EXPECT_EQ(others.AllLines(), std::vector<std::string>{"read"});
  EXPECT_EQ(others.Wait(), 0);
  readers.clear();
  // A new opener does not know yet how much is reserved.
  kv.reset();
  kv = OpenLmdbKv({.directory = home()}).value();
  // One by one, and each leaves a record, as deleting a version does.
  for (int i = 0; i < keys; ++i) {
    KvTransaction remove;
    remove.Delete(KeyOf(i));
    if (i % 10 == 0) remove.log_entry = "deleted";
    remove.reserve = Reserve::kPart;
    const auto removed = kv->Commit(remove);
    ASSERT_TRUE(removed.ok()) << i << " of " << keys << ": " << removed.error().message();
  }
  EXPECT_TRUE((*kv->Read())->Range("key", "kez", 10)->empty());
  EXPECT_OK(kv->maintenance()->CheckPages());
}

// As an earlier build left it: LMDB's lock file full of holes, and no file that is written in place.
TEST_P(FullDisk, AHomeOfAnEarlierBuildIsReadOrReportsTheMissingSpace) {
  {
    const auto kv = Create(home());
    ASSERT_NE(kv, nullptr);
    KvTransaction first;
    first.Put("a", "1");
    ASSERT_OK(kv->Commit(first));
  }
  const std::string locks = home() + "/lock.mdb";
  const auto bytes = std::filesystem::file_size(locks);
  std::filesystem::remove(locks);
  std::ofstream(locks).close();
  std::filesystem::resize_file(locks, bytes);
  disk().Fill();
  Worker refused({"read-many", home(), "200"});
  EXPECT_TRUE(refused.AllLines().empty());
  const int status = refused.Wait();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << "a message, and no signal: " << status;
  for (const auto& entry : std::filesystem::directory_iterator(disk().path())) {
    if (entry.is_regular_file()) std::filesystem::remove(entry);
  }
  Worker reads({"read-many", home(), "200"});
  EXPECT_EQ(reads.AllLines(), std::vector<std::string>{"read"});
  EXPECT_EQ(reads.Wait(), 0);
}

INSTANTIATE_TEST_SUITE_P(Disks, FullDisk, ::testing::Values("tmpfs", "ext4", "xfs", "btrfs"),
                         [](const auto& each) { return each.param; });

TEST(ReadOnlyDisk, IsReportedAsSuch) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting a disk needs root";
  const ScratchDir dir;
  const LoopDisk disk(dir.path() + "/disk", "ext4");
  ASSERT_EQ(disk.failure(), "");
  const auto kv = Create(disk.path() + "/kv");
  ASSERT_NE(kv, nullptr);
  KvTransaction transaction;
  transaction.Put("a", "1");
  ASSERT_OK(kv->Commit(transaction));
  // As ext4 does by itself at an error.
  ASSERT_EQ(::mount(nullptr, disk.path().c_str(), nullptr, MS_REMOUNT, "abort"), 0) << std::strerror(errno);
  const auto refused = kv->Commit(transaction);
  EXPECT_EQ(Outcome(refused), "read-only file system") << refused.error().message();
  // Committed data can still be read, by new readers too.
  std::vector<std::unique_ptr<Snapshot>> readers;
  for (int i = 0; i < 100; ++i) {
    readers.push_back(kv->Read().value());
    EXPECT_EQ(readers.back()->Get("a").value()->value, "1");
  }
}

// The file of the fault decides the message.
TEST(MapFaultDeathTest, OfTheLockFileSaysThatNoBackupIsNeeded) {
  const ScratchDir dir;
  const std::string log = dir.path() + "/log";
  std::ofstream(log) << "before\n";
  const auto read_without_a_lock_file = [&] {
    for (const int fault : {SIGBUS, SIGSEGV}) std::signal(fault, SIG_DFL);
    ExplainMapFaults(log, {"it is damaged\n", "it cannot be written\n"});
    const auto kv = Create(dir.path() + "/kv");
    std::filesystem::resize_file(dir.path() + "/kv/lock.mdb", 0);
    static_cast<void>(kv->Read());
  };
  EXPECT_EXIT(read_without_a_lock_file(), ::testing::KilledBySignal(SIGBUS),
              "registry/lock.mdb cannot be written: make room on that disk");
  std::ifstream lines(log);
  const std::string text((std::istreambuf_iterator<char>(lines)), std::istreambuf_iterator<char>());
  EXPECT_EQ(text, "before\nit cannot be written\n");
}

}  // namespace
}  // namespace modelfs::store
