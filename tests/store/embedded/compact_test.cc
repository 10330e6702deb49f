// Copies of data.mdb: one for a backup, while it is in use, and one that replaces it, while it is not.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "store/kv/lmdb_kv.h"
#include "tests/store/expect.h"
#include "tests/store/kv/must.h"
#include "tests/store/kv/scratch_dir.h"
#include "tests/store/kv/worker.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::OpenLmdbAt;
using testing::Outcome;
using testing::ScratchDir;
using testing::Worker;

LmdbOptions At(const std::string& directory) {
  LmdbOptions options;
  options.directory = directory;
  return options;
}

// Everything that an engine returns, as text.
std::string Everything(Kv& kv) {
  std::string all;
  const std::vector<KvEntry> entries = Must(Must(kv.Read())->Range("", "", SIZE_MAX));
  for (const KvEntry& entry : entries)
    all += fmt::format("{}@{}={}\n", entry.key, entry.revision, entry.value);
  const std::vector<LogEntry> log = Must(kv.ReadLog(0, SIZE_MAX));
  for (const LogEntry& entry : log) all += fmt::format("{}:{}\n", entry.revision, entry.payload);
  return all;
}

// 2,000 values; nine of ten are deleted again.
std::string FillAndThin(const std::string& directory) {
  const auto kv = OpenLmdbAt(directory);
  std::vector<std::string> deleted;
  for (int i = 0; i < 2000; i += 100) {
    KvTransaction transaction;
    for (int k = i; k < i + 100; ++k) {
      const std::string key = fmt::format("key{:04}", k);
      transaction.Put(key, std::string(1000, static_cast<char>('a' + k % 26)));
      if (k % 10 != 0) deleted.push_back(key);
    }
    transaction.log_entry = std::to_string(i);
    Must(kv->Commit(transaction));
  }
  EXPECT_OK(kv->DeleteKeys(deleted));
  return Everything(*kv);
}

uint64_t SizeOf(const std::string& directory) { return std::filesystem::file_size(directory + "/data.mdb"); }

TEST(Compaction, KeepsContentOwnerAndModeInFewerBytes) {
  const ScratchDir dir;
  const std::string home = dir.path() + "/kv";
  const std::string before = FillAndThin(home);
  const uint64_t size = SizeOf(home);
  ASSERT_EQ(::chmod((home + "/data.mdb").c_str(), 0640), 0);
  const bool root = ::geteuid() == 0;
  if (root) {
    ASSERT_EQ(::chown((home + "/data.mdb").c_str(), 60001, 60002), 0);
  }
  const Compaction tried = Must(CompactLmdb(At(home), Compact::kTry));
  EXPECT_EQ(tried.bytes_before, size);
  EXPECT_EQ(SizeOf(home), size);
  const Compaction done = Must(CompactLmdb(At(home), Compact::kDo));
  EXPECT_EQ(done.bytes_before, size);
  EXPECT_EQ(done.bytes_after, SizeOf(home));
  EXPECT_LE(done.bytes_after, tried.bytes_after);
  EXPECT_LT(SizeOf(home), size / 4);
  struct stat info {};
  ASSERT_EQ(::stat((home + "/data.mdb").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0640U);
  if (root) {
    EXPECT_EQ(info.st_uid, 60001U);
    EXPECT_EQ(info.st_gid, 60002U);
  }
  EXPECT_FALSE(std::filesystem::exists(home + "/compact.mdb"));
  {
    const auto kv = OpenLmdbAt(home);
    EXPECT_EQ(Everything(*kv), before);
    EXPECT_OK(kv->maintenance()->CheckPages());
    KvTransaction more;
    more.Put("after", "x");
    EXPECT_OK(kv->Commit(more));
  }
  // A second time nothing is gained, and nothing is lost.
  EXPECT_OK(CompactLmdb(At(home), Compact::kDo));
  EXPECT_EQ(Must(OpenLmdbAt(home)->Read().value()->Get("after"))->value, "x");
}

TEST(Compaction, IsRefusedWhileAProcessHasItOpenAndNamesTheProcess) {
  const ScratchDir dir;
  const std::string home = dir.path() + "/kv";
  FillAndThin(home);
  const uint64_t size = SizeOf(home);
  {
    const auto kv = OpenLmdbAt(home);
    EXPECT_EQ(Outcome(CompactLmdb(At(home), Compact::kDo)), "failed precondition");
    EXPECT_OK(kv->Read());
  }
  Worker other({"hold", home});
  EXPECT_EQ(other.Line(), "open");
  const auto refused = CompactLmdb(At(home), Compact::kDo);
  EXPECT_EQ(Outcome(refused), "failed precondition");
  EXPECT_NE(refused.error().message().find(fmt::format("(pid {})", other.pid())), std::string::npos)
      << refused.error().message();
  EXPECT_EQ(Outcome(CompactLmdb(At(home), Compact::kTry)), "failed precondition");
  EXPECT_EQ(SizeOf(home), size);
  other.Kill();
  other.Wait();
  // The process that held it is gone.
  EXPECT_OK(CompactLmdb(At(home), Compact::kDo));
  EXPECT_LT(SizeOf(home), size);
}

TEST(Compaction, RefusesAMissingOrDamagedFile) {
  const ScratchDir dir;
  EXPECT_EQ(Outcome(CompactLmdb(At(dir.path() + "/none"), Compact::kDo)), "not found");
  const std::string home = dir.path() + "/kv";
  FillAndThin(home);
  std::filesystem::resize_file(home + "/data.mdb", SizeOf(home) / 2);
  EXPECT_EQ(Outcome(CompactLmdb(At(home), Compact::kDo)), "data loss");
  EXPECT_FALSE(std::filesystem::exists(home + "/compact.mdb"));
}

TEST(Crash, AKilledCompactionLeavesTheOldFileOrTheNewOne) {
  struct Row {
    const char* point;
    bool smaller;
  };
  for (const Row& row : {Row{"kv.compact.written", false}, Row{"kv.compact.renamed", true}}) {
    SCOPED_TRACE(row.point);
    const ScratchDir dir;
    const std::string home = dir.path() + "/kv";
    const std::string before = FillAndThin(home);
    const uint64_t size = SizeOf(home);
    {
      Worker worker({"compact", home}, row.point);
      EXPECT_TRUE(worker.AllLines().empty());
      EXPECT_TRUE(WIFSIGNALED(worker.Wait()));
    }
    EXPECT_EQ(SizeOf(home) < size, row.smaller);
    EXPECT_EQ(Everything(*OpenLmdbAt(home)), before);
    EXPECT_OK(CompactLmdb(At(home), Compact::kDo));
    EXPECT_LT(SizeOf(home), size);
    EXPECT_FALSE(std::filesystem::exists(home + "/compact.mdb"));
    EXPECT_EQ(Everything(*OpenLmdbAt(home)), before);
  }
}

// A registry is copied while others write to it: the copy is the state after one commit, its last.
TEST(LmdbCopy, IsConsistentDespiteConcurrentCommits) {
  const ScratchDir dir;
  const std::string home = dir.path() + "/kv";
  const auto kv = OpenLmdbAt(home);
  constexpr int kKeys = 200;
  const auto write_all = [&](int value) {
    for (int from = 0; from < kKeys; from += 100) {
      KvTransaction transaction;
      for (int i = from; i < from + 100; ++i)
        transaction.Put(fmt::format("key{:03}", i), fmt::format("{}-{}", value, std::string(500, 'v')));
      Must(kv->Commit(transaction));
    }
  };
  write_all(0);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int value = 1; !stop; ++value) write_all(value);
  });
  for (int round = 0; round < 20; ++round) {
    const std::string copied = fmt::format("{}/copy{}", dir.path(), round);
    std::filesystem::create_directory(copied);
    ASSERT_OK(CopyLmdb(At(home), copied + "/data.mdb"));
    const auto copy = OpenLmdbAt(copied);
    const auto snapshot = Must(copy->Read());
    const auto entries = Must(snapshot->Range("", "", SIZE_MAX));
    ASSERT_EQ(entries.size(), static_cast<size_t>(kKeys));
    // The two halves are separate commits: the second may be one behind, and each half is of one commit.
    EXPECT_EQ(entries[0].revision, entries[99].revision);
    EXPECT_EQ(entries[100].revision, entries[199].revision);
    EXPECT_EQ(snapshot->revision(), std::max(entries[0].revision, entries[100].revision));
  }
  stop = true;
  writer.join();
  EXPECT_EQ(Outcome(CopyLmdb(At(home), dir.path() + "/copy0/data.mdb")), "already exists");
}

}  // namespace
}  // namespace modelfs::store
