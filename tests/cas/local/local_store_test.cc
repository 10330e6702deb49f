#include "cas/local/local_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <thread>

#include "cas/base/thread.h"
#include "cas/chunk_list.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

constexpr Epoch kNow{.revision = 100};

std::unique_ptr<LocalStore> OpenStore(const std::string& root) {
  Result<std::unique_ptr<LocalStore>> store = LocalStore::Open(RealFiles(), {.root = root});
  EXPECT_TRUE(store.ok()) << store.error().message();
  return std::move(*store);
}

std::string Everything(LocalStore& store, const Digest& digest) {
  Result<std::string> bytes = store.ReadAll(digest, uint64_t{1} << 30U);
  return bytes.ok() ? *bytes : "error: " + bytes.error().message();
}

int64_t EpochOf(LocalStore& store, const Digest& digest) {
  return RealFiles().Stat(store.ObjectPath(digest)).value().mtime_s;
}

// Changes one bit of a stored blob, like a failing disk or a careless user.
void FlipBit(LocalStore& store, const Digest& digest, uint64_t offset_bytes) {
  const std::string path = store.ObjectPath(digest);
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  char byte = 0;
  ASSERT_EQ(::pread(fd.get(), &byte, 1, static_cast<off_t>(offset_bytes)), 1);
  byte = static_cast<char>(byte ^ 0x10);
  ASSERT_EQ(::pwrite(fd.get(), &byte, 1, static_cast<off_t>(offset_bytes)), 1);
}

size_t NamesIn(const std::string& directory) { return RealFiles().List(directory).value().size(); }

// Waits for the background check of a large blob.
class NativeBell {
 public:
  explicit NativeBell(LocalStore& store) {
    subscription_ = store.OnNative([this](const Digest& digest) {
      MutexLock lock(mu_);
      rung_.insert(digest);
      changed_.NotifyAll();
    });
  }
  bool Await(const Digest& digest) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    MutexLock lock(mu_);
    while (!rung_.contains(digest)) {
      if (!changed_.WaitUntil(mu_, until)) return false;
    }
    return true;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::unordered_set<Digest> rung_ GUARDED_BY(mu_);
  Subscription subscription_;  // ends before what it calls
};

TEST(LocalStore, APutBlobReadsBackAndIsNativeAtOnce) {
  const TempDirectory home;
  const auto store = OpenStore(home / "blobs");
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{100000}, size_t{kChunkBytes}, size_t{kChunkBytes + 1}}) {
    const std::string bytes = RandomBytes(size, size);
    const Digest digest = DigestOf(bytes);
    ASSERT_TRUE(store->Put(digest, bytes, kNow).ok());
    EXPECT_EQ(Everything(*store, digest), bytes);
    EXPECT_TRUE(store->IsNative(digest));
    EXPECT_EQ(store->LocalBytes(digest), size);
    const auto blob = store->Open(digest).value();
    ASSERT_TRUE(blob->NativeFd().has_value());
    std::byte beyond{};
    EXPECT_EQ(blob->Read(size, {&beyond, 1}, Deadline::Never()).value(), 0U);
    EXPECT_EQ(RealFiles().Stat(store->ObjectPath(digest)).value().mode & 07777U, 0444U);
    EXPECT_EQ(EpochOf(*store, digest), 100);
  }
  EXPECT_EQ(NamesIn(home / "blobs/staging"), 0U);
}

TEST(LocalStore, RefusesBytesThatHaveAnotherDigest) {
  const TempDirectory home;
  const auto store = OpenStore(home / "blobs");
  const Status put = store->Put(DigestOf("a"), "b", kNow);
  ASSERT_FALSE(put.ok());
  EXPECT_EQ(put.error().code(), Code::kInvalidArgument);
  const auto open = store->Open(DigestOf("a"));
  ASSERT_FALSE(open.ok());
  EXPECT_EQ(open.error().code(), Code::kNotFound);
  EXPECT_EQ(store->LocalBytes(DigestOf("a")), 0U);
}

TEST(LocalStore, PuttingAgainRaisesTheEpochAndNeverLowersIt) {
  const TempDirectory home;
  const auto store = OpenStore(home / "blobs");
  const Digest digest = DigestOf("hello");
  ASSERT_TRUE(store->Put(digest, "hello", {.revision = 7}).ok());
  ASSERT_TRUE(store->Put(digest, "hello", {.revision = 9}).ok());
  EXPECT_EQ(EpochOf(*store, digest), 9);
  ASSERT_TRUE(store->Put(digest, "hello", {.revision = 8}).ok());
  EXPECT_EQ(EpochOf(*store, digest), 9);
  ASSERT_TRUE(store->Keep(digest, {.revision = 12}).ok());
  EXPECT_EQ(EpochOf(*store, digest), 12);
  EXPECT_TRUE(store->IsNative(digest)) << "our own change of the mtime does not make the blob unverified";
  const Status gone = store->Keep(DigestOf("never seen"), kNow);
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(gone.error().code(), Code::kNotFound);
}

TEST(LocalStore, ANewProcessVerifiesSmallBlobsAtOpen) {
  const TempDirectory home;
  for (const size_t size : {size_t{1000}, size_t{kChunkBytes + 5}}) {
    const std::string bytes = RandomBytes(size, 1);
    const Digest digest = DigestOf(bytes);
    ASSERT_TRUE(OpenStore(home / "blobs")->Put(digest, bytes, kNow).ok());
    const auto store = OpenStore(home / "blobs");
    EXPECT_FALSE(store->IsNative(digest));
    EXPECT_TRUE(store->Open(digest).value()->NativeFd().has_value());
    EXPECT_TRUE(store->IsNative(digest));
  }
}

TEST(LocalStore, ANewProcessVerifiesLargeBlobsInTheBackgroundAndNotifies) {
  const TempDirectory home;
  const std::string bytes = RandomBytes(kVerifyAtOpenBytes + 12345, 2);
  const Digest digest = DigestOf(bytes);
  ASSERT_TRUE(OpenStore(home / "blobs")->Put(digest, bytes, kNow).ok());
  const auto store = OpenStore(home / "blobs");
  NativeBell bell(*store);
  const auto blob = store->Open(digest).value();
  EXPECT_EQ(Everything(*store, digest), bytes);
  ASSERT_TRUE(bell.Await(digest));
  EXPECT_TRUE(blob->NativeFd().has_value());
  EXPECT_TRUE(store->IsNative(digest));
}

TEST(LocalStore, ALargeBlobWithoutSumsIsVerifiedAsAWholeAndGetsNewSums) {
  const TempDirectory home;
  const std::string bytes = RandomBytes(kVerifyAtOpenBytes + 1, 3);
  const Digest digest = DigestOf(bytes);
  ASSERT_TRUE(OpenStore(home / "blobs")->Put(digest, bytes, kNow).ok());
  const std::string hex = digest.Hex();
  const std::string sums = home / ("blobs/sums/" + hex.substr(0, 2) + "/" + hex.substr(2));
  const std::string before = ReadFile(sums);
  for (const bool garbled : {false, true}) {
    std::filesystem::remove(sums);
    if (garbled) WriteFile(sums, before.substr(0, before.size() - 1));
    const auto store = OpenStore(home / "blobs");
    EXPECT_EQ(Everything(*store, digest), bytes);
    EXPECT_EQ(Hex(ReadFile(sums)), Hex(before));
  }
}

TEST(LocalStore, SeveralListenUntilTheirSubscriptionEnds) {
  const TempDirectory home;
  const std::string first = RandomBytes(kVerifyAtOpenBytes + 1, 5);
  const std::string second = RandomBytes(kVerifyAtOpenBytes + 2, 6);
  const std::vector<Digest> digests = {DigestOf(first), DigestOf("absent"), DigestOf(second)};
  ASSERT_TRUE(OpenStore(home / "blobs")->Put(digests[0], first, kNow).ok());
  ASSERT_TRUE(OpenStore(home / "blobs")->Put(digests[2], second, kNow).ok());
  const auto store = OpenStore(home / "blobs");
  NativeBell stays(*store);
  {
    NativeBell goes(*store);
    ASSERT_TRUE(store->Open(digests[0]).ok());
    EXPECT_TRUE(goes.Await(digests[0]));
    EXPECT_TRUE(stays.Await(digests[0]));
  }
  EXPECT_EQ(store->AreNative(digests), (std::vector<bool>{true, false, false}));
  EXPECT_EQ(store->LocalBytesOf(digests), (std::vector<uint64_t>{first.size(), 0, second.size()}));
  ASSERT_TRUE(store->Open(digests[2]).ok());
  EXPECT_TRUE(stays.Await(digests[2])) << "and nothing is called that is gone";
}

// Without checksums by chunk a reader waits for the whole to be verified: Fetch does that without a thread.
TEST(LocalStore, FetchEndsWhenAReadWaitsNoLonger) {
  for (const bool damaged : {false, true}) {
    SCOPED_TRACE(damaged);
    const TempDirectory home;
    const std::string bytes = RandomBytes(kVerifyAtOpenBytes + 1, 3);
    const Digest digest = DigestOf(bytes);
    ASSERT_TRUE(OpenStore(home / "blobs")->Put(digest, bytes, kNow).ok());
    const std::string hex = digest.Hex();
    std::filesystem::remove(home / ("blobs/sums/" + hex.substr(0, 2) + "/" + hex.substr(2)));
    const auto store = OpenStore(home / "blobs");
    if (damaged) FlipBit(*store, digest, bytes.size() - 1);
    const std::shared_ptr<OpenBlob> blob = store->Open(digest).value();
    std::string first(10, '\0');
    const auto read = [&] {
      return blob->Read(0, std::as_writable_bytes(std::span(first)), Deadline::Now());
    };
    if (const auto early = read(); !early.ok() && !damaged) {
      EXPECT_EQ(early.error().code(), Code::kDeadlineExceeded) << "it waits for nothing";
    }
    EXPECT_TRUE(Await(FetchOf(blob, 0, first.size()), Deadline::Never()).ok());
    const auto late = read();
    if (damaged) {
      ASSERT_FALSE(late.ok());
      EXPECT_EQ(late.error().code(), Code::kDataLoss);
    } else {
      ASSERT_TRUE(late.ok());
      EXPECT_EQ(first, bytes.substr(0, first.size()));
    }
    EXPECT_TRUE(Await(FetchOf(blob, 0, first.size()), Deadline::Never()).ok()) << "at once, afterwards";
  }
}

TEST(LocalStore, ADamagedBlobIsNeverRead) {
  struct Row {
    const char* name;
    size_t size_bytes;
    uint64_t flipped_at;
  };
  const Row rows[] = {{"one chunk", 5000, 4999},
                      {"some chunks", kChunkBytes + 100, kChunkBytes + 3},
                      {"verified in the background", kVerifyAtOpenBytes + 100, kVerifyAtOpenBytes + 99}};
  for (const Row& row : rows) {
    for (const bool same_process : {false, true}) {
      SCOPED_TRACE(testing::Message() << row.name << (same_process ? ", same process" : ", new process"));
      const TempDirectory home;
      const std::string bytes = RandomBytes(row.size_bytes, 4);
      const Digest digest = DigestOf(bytes);
      auto store = OpenStore(home / "blobs");
      ASSERT_TRUE(store->Put(digest, bytes, kNow).ok());
      FlipBit(*store, digest, row.flipped_at);
      if (!same_process) store = OpenStore(home / "blobs");

      const Result<std::string> read = store->ReadAll(digest, row.size_bytes);
      ASSERT_FALSE(read.ok());
      EXPECT_EQ(read.error().code(), Code::kDataLoss);
      EXPECT_NE(read.error().message().find(digest.Hex()), std::string::npos);
      EXPECT_TRUE(std::filesystem::exists(home / ("blobs/quarantine/" + digest.Hex())));
      const auto again = store->Open(digest);
      ASSERT_FALSE(again.ok());
      EXPECT_EQ(again.error().code(), Code::kDataLoss)
          << "not \"not found\": its readers must learn of the damage";

      ASSERT_TRUE(store->Put(digest, bytes, kNow).ok()) << "a good copy replaces it";
      EXPECT_EQ(Everything(*store, digest), bytes);
    }
  }
}

TEST(LocalStore, AnIrregularFileIsDamageAndIsNotWaitedFor) {
  struct Row {
    const char* name;
    std::function<void(const std::string&)> make;
  };
  const Row rows[] = {
      {"FIFO", [](const std::string& path) { ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0); }},
      {"directory", [](const std::string& path) { std::filesystem::create_directories(path + "/full"); }},
      {"symlink", [](const std::string& path) { std::filesystem::create_symlink("/etc/hostname", path); }}};
  for (const std::string& bytes : {std::string("bytes"), std::string()}) {
    const TempDirectory home;
    const auto store = OpenStore(home / "blobs");
    const Digest digest = DigestOf(bytes);
    ASSERT_TRUE(store->Put(digest, bytes, kNow).ok());
    // Each type meets the earlier ones in quarantine, under the same name. Open, fsck and Put each meet every
    // type.
    for (size_t first_met_by = 0; first_met_by < 3; ++first_met_by) {
      for (const Row& row : rows) {
        SCOPED_TRACE(testing::Message() << row.name << ", " << bytes.size() << " bytes, " << first_met_by);
        std::filesystem::remove(store->ObjectPath(digest));
        row.make(store->ObjectPath(digest));
        switch (first_met_by) {
          case 0:
            EXPECT_EQ(store->Open(digest).error().code(), Code::kDataLoss);
            break;
          case 1:
            EXPECT_EQ(store->Sweep({digest}, kNow, false).value().blobs_removed, 0U);
            EXPECT_EQ(store->Fsck(true, nullptr).value().damaged.size(), 1U);
            break;
          default:
            break;  // the Put below meets it
        }
        ASSERT_TRUE(store->Put(digest, bytes, kNow).ok()) << "a good copy replaces it";
        EXPECT_EQ(Everything(*store, digest), bytes);
      }
    }
  }
}

TEST(LocalStore, StoringTheTrueBytesAgainRepairsUnnoticedDamage) {
  for (const size_t size_bytes : {size_t{5000}, size_t{kChunkBytes + 100}}) {
    const TempDirectory home;
    const std::string bytes = RandomBytes(size_bytes, 6);
    const Digest digest = DigestOf(bytes);
    WriteFile(home / "source", bytes);
    const auto store_again = [&](LocalStore& store, int way) -> Status {
      if (way == 0) return store.Put(digest, bytes, kNow);
      if (way == 1)
        return store.ImportAll(Source(home.path()), {"source"}, kNow, nullptr).map([](const auto&) {});
      return store.PublishAll({{.source_path = home / "source"}}, kNow, nullptr).map([](const auto&) {});
    };
    for (int way = 0; way < 3; ++way) {
      SCOPED_TRACE(testing::Message() << size_bytes << " bytes, way " << way);
      auto store = OpenStore(home / "blobs");
      ASSERT_TRUE(store->Put(digest, bytes, kNow).ok());
      FlipBit(*store, digest, 3);
      store = OpenStore(home / "blobs");
      ASSERT_TRUE(store_again(*store, way).ok());
      EXPECT_EQ(Everything(*store, digest), bytes);
    }
  }
}

TEST(LocalStore, ReadingATruncatedBlobReturnsDataLoss) {
  const TempDirectory home;
  const std::string bytes = RandomBytes(5000, 5);
  const Digest digest = DigestOf(bytes);
  const auto store = OpenStore(home / "blobs");
  ASSERT_TRUE(store->Put(digest, bytes, kNow).ok());
  const auto blob = store->Open(digest).value();
  ASSERT_EQ(::chmod(store->ObjectPath(digest).c_str(), 0600), 0);
  std::filesystem::resize_file(store->ObjectPath(digest), 100);
  std::string out(5000, '\0');
  const Result<size_t> read = blob->Read(0, std::as_writable_bytes(std::span(out)), Deadline::Never());
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code(), Code::kDataLoss);
}

TEST(LocalStore, AnOpenBlobStaysReadableAfterASweepAndWithoutTheStore) {
  const TempDirectory home;
  auto store = OpenStore(home / "blobs");
  const std::string bytes = RandomBytes(kVerifyAtOpenBytes + 1, 6);
  const Digest digest = DigestOf(bytes);
  ASSERT_TRUE(store->Put(digest, bytes, kNow).ok());
  store = OpenStore(home / "blobs");
  const auto blob = store->Open(digest).value();
  EXPECT_EQ(store->Sweep({}, {.revision = 101}, false).value().blobs_removed, 2U) << "blob and chunk list";
  store.reset();
  std::string out(bytes.size(), '\0');
  EXPECT_EQ(blob->Read(0, std::as_writable_bytes(std::span(out)), Deadline::Never()).value(), bytes.size());
  EXPECT_EQ(out, bytes);
}

TEST(LocalStore, ImportsManyFilesInOrderAndStoresEqualOnesOnce) {
  const TempDirectory home;
  const auto store = OpenStore(home / "blobs");
  std::vector<std::string> paths;
  std::vector<std::string> contents;
  for (size_t i = 0; i < 100; ++i) {
    contents.push_back(RandomBytes(i == 50 ? (3 * kChunkBytes) + 17 : 10 * i, i % 10));
    paths.push_back("f" + std::to_string(i));
    WriteFile(home / paths.back(), contents.back());
  }
  std::atomic<uint64_t> reported = 0;
  const auto stored = store->ImportAll(Source(home.path()), paths, kNow, [&](uint64_t done) {
    uint64_t seen = reported.load();
    while (seen < done && !reported.compare_exchange_weak(seen, done)) {
    }
  });
  ASSERT_TRUE(stored.ok()) << stored.error().message();
  uint64_t total = 0;
  for (size_t i = 0; i < paths.size(); ++i) {
    total += contents[i].size();
    EXPECT_EQ((*stored)[i].blob, DigestOf(contents[i]));
    EXPECT_EQ(Everything(*store, (*stored)[i].blob), contents[i]);
    EXPECT_EQ(EpochOf(*store, (*stored)[i].blob), 100);
    EXPECT_EQ((*stored)[i].chunk_list.has_value(), contents[i].size() > kChunkBytes);
  }
  EXPECT_EQ(reported.load(), total);
  const ChunkList list = ChunkList::Decode(Everything(*store, *(*stored)[50].chunk_list)).value();
  EXPECT_EQ(list.blob_bytes, contents[50].size());
  const std::string_view last = std::string_view(contents[50]).substr(3 * kChunkBytes);
  EXPECT_TRUE(list.Matches((*stored)[50].blob.sha256, 3, std::as_bytes(std::span(last))));
  EXPECT_EQ(NamesIn(home / "blobs/staging"), 0U);
  EXPECT_TRUE(store->Fsck(false, nullptr).value().damaged.empty());
}

TEST(LocalStore, ImportRefusesIrregularFiles) {
  const TempDirectory home;
  const auto store = OpenStore(home / "blobs");
  WriteFile(home / "good", "good");
  ASSERT_EQ(::mkfifo((home / "fifo").c_str(), 0600), 0);
  ASSERT_EQ(::symlink("good", (home / "link").c_str()), 0);
  for (const char* name : {"fifo", "link", "missing", "."}) {
    EXPECT_FALSE(store->ImportAll(Source(home.path()), {"good", name}, kNow, nullptr).ok()) << name;
  }
  EXPECT_EQ(NamesIn(home / "blobs/staging"), 0U);
}

TEST(LocalStore, PublishesFilesThatAnInterruptedPublishHasLinked) {
  const TempDirectory home;
  const auto store = OpenStore(home / "blobs");
  const std::string bytes = RandomBytes(100'000, 7);
  std::vector<PublishItem> items;
  for (int i = 0; i < 8; ++i) {
    items.push_back({.source_path = home / std::to_string(i)});
    WriteFile(items.back().source_path, bytes);
  }
  // One of the files becomes the blob. The first one that is hashed raises its epoch while the others are
  // read.
  for (uint64_t revision = 1; revision <= 200; ++revision) {
    const auto stored = store->PublishAll(items, {.revision = revision}, nullptr);
    ASSERT_TRUE(stored.ok()) << stored.error().message();
  }
}

TEST(LocalStore, PublishesFilesWithoutCopyingThem) {
  const TempDirectory home;
  const auto store = OpenStore(home / "blobs");
  std::vector<PublishItem> items;
  std::vector<std::string> contents;
  for (size_t i = 0; i < 40; ++i) {
    contents.push_back(RandomBytes(i == 7 ? kChunkBytes + 1 : i, i));
    items.push_back({.source_path = home / std::to_string(i), .known = std::nullopt});
    WriteFile(items.back().source_path, contents.back());
    if (i % 2 == 0) items.back().known = store->HashFile(items.back().source_path).value();
  }
  ASSERT_EQ(::chmod(items[3].source_path.c_str(), 0700), 0);
  const auto stored = store->PublishAll(items, kNow, nullptr);
  ASSERT_TRUE(stored.ok()) << stored.error().message();
  for (size_t i = 0; i < items.size(); ++i) {
    const Digest& digest = (*stored)[i].blob;
    EXPECT_EQ(digest, DigestOf(contents[i]));
    const FileInfo source = RealFiles().Stat(items[i].source_path).value();
    EXPECT_EQ(source.inode, RealFiles().Stat(store->ObjectPath(digest)).value().inode);
    EXPECT_EQ(source.mode & 07777U, i == 3 ? 0544U : 0444U);
    EXPECT_TRUE(store->IsNative(digest));
    ASSERT_TRUE(store->UnlinkOtherName(items[i].source_path, digest).ok());
    EXPECT_TRUE(store->IsNative(digest)) << "our own unlink does not make the blob unverified";
  }
  EXPECT_TRUE(store->Fsck(false, nullptr).value().damaged.empty());
}

TEST(LocalStore, ReuseOfAFileIncludesItsChunkList) {
  const TempDirectory home;
  const auto store = OpenStore(home / "blobs");
  const std::string bytes = RandomBytes(kChunkBytes + 1, 8);
  const Digest digest = DigestOf(bytes);
  ASSERT_TRUE(store->Put(digest, bytes, kNow).ok());
  const StoredFile first = store->ReuseFile(digest, {.revision = 200}).value();
  ASSERT_TRUE(first.chunk_list.has_value());
  EXPECT_EQ(EpochOf(*store, digest), 200);
  EXPECT_EQ(EpochOf(*store, *first.chunk_list), 200);
  EXPECT_EQ(store->Sweep({digest}, {.revision = 300}, false).value().blobs_removed, 1U);
  EXPECT_EQ(store->ReuseFile(digest, {.revision = 400}).value().chunk_list, first.chunk_list);
  EXPECT_EQ(EpochOf(*store, *first.chunk_list), 400);
}

TEST(LocalStore, SweepRemovesOnlyDeadAndOldBlobs) {
  const TempDirectory home;
  const auto store = OpenStore(home / "blobs");
  ASSERT_TRUE(store->Put(DigestOf("live"), "live", {.revision = 1}).ok());
  ASSERT_TRUE(store->Put(DigestOf("dead"), "dead", {.revision = 1}).ok());
  ASSERT_TRUE(store->Put(DigestOf("young"), "young", {.revision = 10}).ok());
  WriteFile(home / "blobs/staging/9.x.0", "left by a crash");
  WriteFile(home / "blobs/staging/10.x.0", "still being written");
  const auto dry = store->Sweep({DigestOf("live")}, {.revision = 10}, true).value();
  EXPECT_EQ(dry.blobs_removed, 1U);
  EXPECT_EQ(dry.bytes_removed, 4U);
  EXPECT_EQ(Everything(*store, DigestOf("dead")), "dead");
  const auto swept = store->Sweep({DigestOf("live")}, {.revision = 10}, false).value();
  EXPECT_EQ(swept.blobs_removed, 1U);
  EXPECT_EQ(swept.blobs_kept, 2U);
  EXPECT_EQ(swept.blobs_held_back, 1U) << "because of its epoch";
  EXPECT_EQ(swept.bytes_held_back, 5U);
  EXPECT_EQ(store->Open(DigestOf("dead")).error().code(), Code::kNotFound);
  EXPECT_EQ(Everything(*store, DigestOf("live")), "live");
  EXPECT_EQ(Everything(*store, DigestOf("young")), "young");
  EXPECT_EQ(RealFiles().List(home / "blobs/staging").value(), std::vector<std::string>{"10.x.0"});
}

TEST(LocalStore, FsckFindsEveryKindOfDamage) {
  const TempDirectory home;
  const auto store = OpenStore(home / "blobs");
  const std::string large = RandomBytes(kChunkBytes + 1, 9);
  ASSERT_TRUE(store->Put(DigestOf("flipped"), "flipped", kNow).ok());
  ASSERT_TRUE(store->Put(DigestOf("short"), "short", kNow).ok());
  ASSERT_TRUE(store->Put(DigestOf("fine"), "fine", kNow).ok());
  ASSERT_TRUE(store->Put(DigestOf(large), large, kNow).ok());
  FlipBit(*store, DigestOf("flipped"), 2);
  ASSERT_EQ(::truncate(store->ObjectPath(DigestOf("short")).c_str(), 3), 0);
  const std::string hex = DigestOf(large).Hex();
  std::filesystem::remove(home / ("blobs/sums/" + hex.substr(0, 2) + "/" + hex.substr(2)));

  const FsckReport report = store->Fsck(false, nullptr).value();
  EXPECT_EQ(report.blobs_checked, 5U) << "including the chunk list";
  EXPECT_EQ(report.damaged.size(), 3U);
  EXPECT_EQ(NamesIn(home / "blobs/objects/" + hex.substr(0, 2)), 1U) << "a check alone changes nothing";

  EXPECT_EQ(store->Fsck(true, nullptr).value().damaged.size(), 3U);
  EXPECT_EQ(NamesIn(home / "blobs/quarantine"), 2U);
  EXPECT_TRUE(store->Fsck(true, nullptr).value().damaged.empty());
  EXPECT_EQ(Everything(*store, DigestOf(large)), large);
}

TEST(LocalStore, RefusesAStoreOfAnotherFormat) {
  const TempDirectory home;
  std::filesystem::create_directory(home / "blobs");
  WriteFile(home / "blobs/format", "modelfs objects 2\n");
  const auto store = LocalStore::Open(RealFiles(), {.root = home / "blobs"});
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code(), Code::kFailedPrecondition);
}

TEST(LocalStore, ReportsAFormatOfNoVersionAsDamaged) {
  for (const std::string& damaged : {std::string("modelfs objects 1"), std::string("modelfs objects \n"),
                                     std::string("modelfs objects 1a\n"), std::string("modelfs obkects 1\n"),
                                     std::string(18, '\0'), std::string(300, '1')}) {
    SCOPED_TRACE(damaged);
    const TempDirectory home;
    std::filesystem::create_directory(home / "blobs");
    WriteFile(home / "blobs/format", damaged);
    const auto store = LocalStore::Open(RealFiles(), {.root = home / "blobs"});
    ASSERT_FALSE(store.ok());
    EXPECT_EQ(store.error().code(), Code::kDataLoss);
    EXPECT_NE(store.error().message().find("is damaged; restore it"), std::string::npos);
  }
}

TEST(LocalStore, ManyThreadsMayPutAndOpenTheSameBlobs) {
  const TempDirectory home;
  const auto store = OpenStore(home / "blobs");
  std::vector<std::thread> threads;
  std::atomic<int> failures = 0;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (uint64_t i = 0; i < 30; ++i) {
        const std::string bytes = RandomBytes(1000 + i, i);
        const Digest digest = DigestOf(bytes);
        if (!store->Put(digest, bytes, {.revision = i}).ok()) ++failures;
        if (Everything(*store, digest) != bytes) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures.load(), 0);
  EXPECT_EQ(NamesIn(home / "blobs/staging"), 0U);
}

}  // namespace
}  // namespace modelfs::cas
