// kill -9 at each named point, disk full, and several processes at once.

#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "cas/base/check.h"
#include "cas/drafts/draft_store.h"
#include "cas/tree_store.h"
#include "tests/cas/test_support.h"

extern char** environ;

namespace modelfs::cas {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// --- the child that is killed ---

const std::string& LargeBytes() {
  static const std::string bytes = RandomBytes(kChunkBytes + 99, 42);
  return bytes;
}

// Appends a line for each operation for which the store returned OK. The line reaches the file at once.
void Acknowledge(const std::string& home, const std::string& line) {
  std::ofstream(home + "/acknowledged", std::ios::app) << line << "\n";
}

void RunScript(const std::string& home) {
  const auto blobs = std::move(LocalStore::Open(RealFiles(), {.root = home + "/blobs"}).value());
  const auto drafts =
      std::move(DraftStore::Open(RealFiles(), {.root = home + "/drafts", .blobs = blobs.get()}).value());
  CHECK(blobs->Put(DigestOf("put"), "put", {.revision = 10}).ok());
  Acknowledge(home, "put");
  WriteFile(home + "/source", LargeBytes());
  CHECK(blobs->ImportAll(Source(home), {"source"}, {.revision = 10}, nullptr).ok());
  Acknowledge(home, "large");

  auto loaded = drafts->Load([](std::string_view) { return true; }).value().drafts;
  const auto draft = loaded.empty() ? drafts->Create("draft").value() : loaded.at(0);
  for (const char* name : {"a", "b"}) {
    const auto made = draft->MakeFile(kDraftRoot, name, name[0] == 'b');
    const auto file =
        draft->Open(draft->Lookup(kDraftRoot, name).value().node, Draft::Access::kWrite).value();
    CHECK(file->Write(0, Bytes(std::string("draft ") + name)).ok());
  }
  Acknowledge(home, "draft");
  CHECK(draft->Seal({.revision = 10}, nullptr, {}).ok());
  Acknowledge(home, "sealed");
  CHECK(drafts->Discard(draft).ok());
  Acknowledge(home, "discarded");

  CHECK(blobs->Put(DigestOf("dead"), "dead", {.revision = 1}).ok());
  CHECK(blobs->Sweep({}, {.revision = 5}, false).ok());
  Acknowledge(home, "end");
}

// Crash tests run this in a process of its own; it never runs by itself.
TEST(CrashChild, DISABLED_RunsTheScript) {
  const char* home = std::getenv("MODELFS_TEST_HOME");
  ASSERT_NE(home, nullptr);
  RunScript(home);
}

int RunChild(const std::string& home, const std::string& fail_point) {
  std::vector<std::string> variables = {"MODELFS_TEST_HOME=" + home, "MODELFS_FAIL_POINT=" + fail_point};
  for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
  std::vector<char*> env;
  for (std::string& variable : variables) env.push_back(variable.data());
  env.push_back(nullptr);
  std::string self = "/proc/self/exe";
  std::string filter = "--gtest_filter=CrashChild.DISABLED_RunsTheScript";
  std::string disabled = "--gtest_also_run_disabled_tests";
  std::string brief = "--gtest_brief=1";
  char* const argv[] = {self.data(), filter.data(), disabled.data(), brief.data(), nullptr};
  pid_t child = 0;
  CHECK(::posix_spawn(&child, self.c_str(), nullptr, nullptr, argv, env.data()) == 0);
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  return status;
}

void CheckInvariants(const std::string& home) {
  std::set<std::string> acknowledged;
  std::ifstream lines(home + "/acknowledged");
  for (std::string line; std::getline(lines, line);) acknowledged.insert(line);

  const auto blobs = std::move(LocalStore::Open(RealFiles(), {.root = home + "/blobs"}).value());
  const auto expect = [&](const std::string& bytes, bool promised) {
    const Result<std::string> got = blobs->ReadAll(DigestOf(bytes), bytes.size());
    if (got.ok()) {
      EXPECT_TRUE(*got == bytes);
    } else {
      EXPECT_EQ(got.error().code(), Code::kNotFound);
      EXPECT_FALSE(promised);
    }
  };
  expect("put", acknowledged.contains("put"));
  expect(LargeBytes(), acknowledged.contains("large"));
  expect("draft a", acknowledged.contains("sealed"));
  expect("draft b", acknowledged.contains("sealed"));
  expect("dead", false);
  EXPECT_TRUE(blobs->Fsck(false, nullptr).value().damaged.empty());

  // A draft is whole until it is discarded; then none is left that could be committed by mistake.
  const auto drafts =
      std::move(DraftStore::Open(RealFiles(), {.root = home + "/drafts", .blobs = blobs.get()}).value());
  const auto loaded = drafts->Load([](std::string_view) { return true; }).value().drafts;
  EXPECT_EQ(RealFiles().List(home + "/drafts").value().size(), loaded.size()) << "leftovers are removed";
  if (acknowledged.contains("draft") && !acknowledged.contains("sealed")) {
    EXPECT_EQ(loaded.size(), 1U);
  }
  if (acknowledged.contains("discarded")) {
    EXPECT_TRUE(loaded.empty());
  }
  if (!loaded.empty() && acknowledged.contains("draft")) {
    for (const char* name : {"a", "b"}) {
      const DraftNode node = loaded[0]->Lookup(kDraftRoot, name).value().node;
      EXPECT_EQ(loaded[0]->GetAttr(node).value().executable, name[0] == 'b');
      std::string bytes(7, '\0');
      const auto file = loaded[0]->Open(node, Draft::Access::kRead).value();
      EXPECT_EQ(file->Read(0, std::as_writable_bytes(std::span(bytes))).value(), 7U);
      EXPECT_EQ(bytes, std::string("draft ") + name);
      // If it is written to again, no byte reaches the blob that may have been published.
      EXPECT_TRUE(loaded[0]->Open(node, Draft::Access::kWrite).value()->Write(0, Bytes("DRAFT")).ok());
    }
    EXPECT_TRUE(blobs->Fsck(false, nullptr).value().damaged.empty());
    expect("draft a", acknowledged.contains("sealed"));
  }
  ASSERT_TRUE(blobs->Sweep({}, {.revision = 1000}, false).ok());
  EXPECT_TRUE(RealFiles().List(home + "/blobs/staging").value().empty()) << "leftovers are removed";
}

TEST(Crash, AKillAtAnyPointLeavesTheStoreWholeAndUsable) {
  for (const char* point : {"publish.staged", "publish.synced", "publish.sums", "publish.linked",
                            "publish.durable", "draft.locked", "seal.walked", "seal.published", "seal.stored",
                            "discard.renamed", "sweep.unlinked"}) {
    int kills = 0;
    for (int arrival = 1;; ++arrival) {
      SCOPED_TRACE(testing::Message() << point << ":" << arrival);
      const TempDirectory home;
      const int status = RunChild(home.path(), std::string(point) + ":" + std::to_string(arrival));
      const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
      ASSERT_TRUE(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) << "status " << status;
      CheckInvariants(home.path());
      fs::remove(home / "acknowledged");
      ASSERT_EQ(RunChild(home.path(), "none"), 0) << "the next process can continue";
      CheckInvariants(home.path());
      if (HasFailure()) return;
      if (!killed) break;
      ++kills;
    }
    EXPECT_GT(kills, 0) << point << " is never reached";
  }
}

// --- disk full ---

class SmallDisk {
 public:
  explicit SmallDisk(const char* size) {
    mounted_ =
        ::mount("tmpfs", directory_.path().c_str(), "tmpfs", 0, (std::string("size=") + size).c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(directory_.path().c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  const std::string& path() const { return directory_.path(); }

 private:
  TempDirectory directory_;
  bool mounted_ = false;
};

TEST(DiskFull, AFullDiskReturnsNoSpaceAndLeavesNothingPartial) {
  const SmallDisk disk("6m");
  if (!disk.mounted()) GTEST_SKIP() << "mounting a small tmpfs needs root";
  const auto blobs = std::move(LocalStore::Open(RealFiles(), {.root = disk.path() + "/blobs"}).value());
  const auto drafts = std::move(
      DraftStore::Open(RealFiles(), {.root = disk.path() + "/drafts", .blobs = blobs.get()}).value());
  std::vector<std::string> stored;
  Status status = OkStatus();
  for (uint64_t i = 0; status.ok() && i < 100; ++i) {
    const std::string bytes = RandomBytes(1000000, i);
    status = blobs->Put(DigestOf(bytes), bytes, {.revision = 1});
    if (status.ok()) stored.push_back(bytes);
  }
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code(), Code::kNoSpace) << status.error().message();
  EXPECT_GE(stored.size(), 4U);
  EXPECT_TRUE(RealFiles().List(disk.path() + "/blobs/staging").value().empty());

  const TempDirectory elsewhere;
  WriteFile(elsewhere / "large", RandomBytes(kChunkBytes * 2, 1000));
  const auto import = blobs->ImportAll(Source(elsewhere.path()), {"large"}, {.revision = 1}, nullptr);
  ASSERT_FALSE(import.ok());
  EXPECT_EQ(import.error().code(), Code::kNoSpace);
  EXPECT_TRUE(RealFiles().List(disk.path() + "/blobs/staging").value().empty());

  // A draft that shares a blob stays unchanged if the copy does not fit.
  const auto draft = drafts->Create("draft").value();
  const DraftNode node = draft->MakeFile(kDraftRoot, "f", false).value().node;
  ASSERT_TRUE(draft->CopyFromBlob(node, 0, DigestOf(stored[0]), 0, 1000000, {.revision = 1}).ok());
  {
    const auto writer = draft->Open(node, Draft::Access::kWrite).value();
    const Result<size_t> written = writer->Write(0, Bytes("x"));
    ASSERT_FALSE(written.ok());
    EXPECT_EQ(written.error().code(), Code::kNoSpace);
    std::string first(10, '\0');
    EXPECT_EQ(writer->Read(0, std::as_writable_bytes(std::span(first))).value(), 10U);
    EXPECT_EQ(first, stored[0].substr(0, 10));
  }
  // A write that fits only in part returns how many bytes were written.
  {
    const DraftNode part = draft->MakeFile(kDraftRoot, "part", false).value().node;
    const auto writer = draft->Open(part, Draft::Access::kWrite).value();
    const Result<size_t> count = writer->Write(0, Bytes(RandomBytes(uint64_t{64} << 20U, 9)));
    ASSERT_TRUE(count.ok()) << count.error().message();
    EXPECT_EQ(*count, draft->GetAttr(part).value().size_bytes);
    ASSERT_TRUE(draft->RemoveFile(kDraftRoot, "part").ok());
    draft->Forget(part);
  }
  for (const std::string& bytes : stored) {
    EXPECT_TRUE(blobs->ReadAll(DigestOf(bytes), bytes.size()).value() == bytes);
  }
  EXPECT_EQ(blobs->Sweep({DigestOf(stored[0])}, {.revision = 2}, false).value().blobs_removed,
            stored.size() - 1);
  EXPECT_TRUE(draft->Open(node, Draft::Access::kWrite).value()->Write(0, Bytes("x")).ok());
  EXPECT_TRUE(draft->Seal({.revision = 3}, nullptr, {}).ok());
}

// --- a sweep against writers in other processes ---

// Leases as the registry keeps them: an epoch is given, and a horizon is read, in one transaction.
struct Leases {
  static constexpr int kWriters = 3;
  pthread_mutex_t mu;
  uint64_t revision;
  uint64_t live[kWriters];  // 0: none
  uint64_t lost;            // blobs that disappeared while their lease lived
  bool stop;
};

uint64_t Acquire(Leases& leases, int writer) {
  pthread_mutex_lock(&leases.mu);
  const uint64_t epoch = leases.live[writer] = ++leases.revision;
  pthread_mutex_unlock(&leases.mu);
  return epoch;
}
void ReleaseLease(Leases& leases, int writer) {
  pthread_mutex_lock(&leases.mu);
  leases.live[writer] = 0;
  pthread_mutex_unlock(&leases.mu);
}

// One turn of a writer under one lease: gets blobs in every way; most of them are present or were just swept.
bool WriterTurn(LocalStore& store, const std::string& home, int writer, Epoch epoch,
                std::mt19937_64& random) {
  std::vector<std::string> mine;
  for (int i = 0; i < 4; ++i) {
    const uint64_t which = random() % 6;
    const std::string bytes = RandomBytes(which == 0 ? kChunkBytes + 1 : 500, which);
    const Digest digest = DigestOf(bytes);
    if (store.Keep(digest, epoch).ok()) {
      mine.push_back(bytes);
      continue;
    }
    const std::string name = "w" + std::to_string(writer);
    const std::string path = home + "/" + name;
    switch (random() % 3) {
      case 0:
        if (!store.Put(digest, bytes, epoch).ok()) return false;
        break;
      case 1:
        WriteFile(path, bytes);
        if (!store.ImportAll(Source(home), {name}, epoch, nullptr).ok()) return false;
        break;
      default:
        WriteFile(path, bytes);
        if (!store.PublishAll({{.source_path = path}}, epoch, nullptr).ok()) return false;
    }
    fs::remove(path);
    mine.push_back(bytes);
  }
  for (const std::string& bytes : mine) {
    const Result<std::string> got = store.ReadAll(DigestOf(bytes), bytes.size());
    if (!got.ok() || *got != bytes) return false;
  }
  return true;
}

TEST(SweepRace, NoSweepRemovesABlobUnderALiveLease) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the race is between processes, and ThreadSanitizer does not follow a fork";
#endif
  const TempDirectory home;
  const uint64_t seed = TestSeed();
  // Live blobs make the sweep look at other blobs between finding a dead one and removing it.
  std::unordered_set<Digest> live;
  {
    const auto store = std::move(LocalStore::Open(RealFiles(), {.root = home / "blobs"}).value());
    std::vector<std::string> paths;
    for (int i = 0; i < 500; ++i) {
      paths.push_back("live" + std::to_string(i));
      WriteFile(home / paths.back(), "live " + std::to_string(i));
    }
    const auto stored = store->ImportAll(Source(home.path()), paths, {.revision = 1}, nullptr).value();
    for (const StoredFile& file : stored) live.insert(file.blob);
  }
  auto* leases = static_cast<Leases*>(
      ::mmap(nullptr, sizeof(Leases), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(leases, MAP_FAILED);
  pthread_mutexattr_t shared;
  pthread_mutexattr_init(&shared);
  pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(&leases->mu, &shared);
  std::vector<pid_t> children;
  for (int writer = 0; writer < Leases::kWriters; ++writer) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto store =
          std::move(LocalStore::Open(RealFiles(), {.root = home / "blobs", .hash_threads = 1}).value());
      std::mt19937_64 random(seed + static_cast<uint64_t>(writer));
      int status = 0;
      for (int turn = 0; turn < 60; ++turn) {
        const Epoch epoch{.revision = Acquire(*leases, writer)};
        if (!WriterTurn(*store, home.path(), writer, epoch, random)) status = 1;
        ReleaseLease(*leases, writer);
      }
      ::_exit(status);
    }
    children.push_back(child);
  }
  const auto store = std::move(LocalStore::Open(RealFiles(), {.root = home / "blobs"}).value());
  uint64_t removed = 0;
  for (size_t alive = children.size(); alive > 0;) {
    pthread_mutex_lock(&leases->mu);
    uint64_t horizon = leases->revision + 1;
    for (const uint64_t epoch : leases->live) {
      if (epoch != 0) horizon = std::min(horizon, epoch);
    }
    pthread_mutex_unlock(&leases->mu);
    const auto swept = store->Sweep(live, {.revision = horizon}, false);
    ASSERT_TRUE(swept.ok()) << swept.error().message();
    removed += swept->blobs_removed;
    int status = 0;
    for (pid_t done = ::waitpid(-1, &status, WNOHANG); done > 0; done = ::waitpid(-1, &status, WNOHANG)) {
      EXPECT_EQ(status, 0) << "a writer lost a blob under its lease";
      --alive;
    }
  }
  EXPECT_GT(removed, 0U) << "the sweep had something to do";
  EXPECT_TRUE(store->Fsck(false, nullptr).value().damaged.empty());
  ::munmap(leases, sizeof(Leases));
}

}  // namespace
}  // namespace modelfs::cas
