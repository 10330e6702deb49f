#include "cas/local/upkeep.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <thread>

#include "cas/chunk_list.h"
#include "cas/local/import_directory.h"
#include "cas/local/local_store.h"
#include "cas/local/sums.h"
#include "tests/cas/fake_files.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

constexpr Epoch kNow{.revision = 100};
constexpr Epoch kLater{.revision = 1000};

// One directory in the view of two processes: a test watches the calls of `store`, but not those of `other`.
struct TwoStores {
  TwoStores() {
    std::filesystem::create_directory(home / "blobs");
    files = std::make_unique<FakeFiles>(home / "blobs");
    store = LocalStore::Open(*files, {.root = home / "blobs"}).value();
    other = LocalStore::Open(RealFiles(), {.root = home / "blobs"}).value();
  }

  // Calls `act` before the first such call of `store` on a path with `part` in it.
  void Before(std::string_view call, std::string_view part, std::function<void()> act) {
    files->BeforeCall([this, call = std::string(call), part = std::string(part), act = std::move(act)](
                          std::string_view made, const std::string& path) {
      if (made == call && path.find(part) != std::string::npos && !acted.exchange(true)) act();
    });
  }

  std::string SumsPath(const Digest& digest) const {
    const std::string hex = digest.Hex();
    return home / ("blobs/sums/" + hex.substr(0, 2) + "/" + hex.substr(2));
  }
  size_t SumsFiles() const {
    size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(home / "blobs/sums")) {
      count += entry.is_regular_file() ? 1 : 0;
    }
    return count;
  }

  const TempDirectory home;
  std::atomic<bool> acted = false;
  std::unique_ptr<FakeFiles> files;
  std::unique_ptr<LocalStore> store;
  std::unique_ptr<LocalStore> other;
};

// As programs until 2026-11 stored it: the list holds the SHA-256 of each chunk, and the sums name it.
Digest StoreWithListOfDigests(TwoStores& stores, const std::string& bytes, const std::string& listed) {
  const Digest blob = DigestOf(bytes);
  EXPECT_TRUE(stores.store->Put(blob, bytes, kNow).ok());
  ChunkList list{.kind = ChunkList::Kind::kDigests, .blob_bytes = bytes.size(), .chunks = {}};
  for (size_t at = 0; at < listed.size(); at += kChunkBytes) {
    list.chunks.push_back(DigestOf(std::string_view(listed).substr(at, kChunkBytes)).sha256);
  }
  const std::string encoded = list.Encode();
  EXPECT_TRUE(stores.store->Put(DigestOf(encoded), encoded, kNow).ok());
  std::ifstream file(stores.SumsPath(blob), std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  Sums sums = Sums::Decode(text.str()).value();
  sums.chunk_list = DigestOf(encoded);
  std::filesystem::remove(stores.SumsPath(blob));
  WriteFile(stores.SumsPath(blob), sums.Encode());
  return blob;
}

TEST(Upkeep, FsckKnowsTheListsOfEarlierPrograms) {
  TwoStores stores;
  const std::string bytes = RandomBytes(kChunkBytes + 5, 9);
  StoreWithListOfDigests(stores, bytes, bytes);
  EXPECT_TRUE(stores.store->Fsck(false, nullptr).value().damaged.empty());
}

// Equal content stays one tree, whichever way it comes into the store.
TEST(Upkeep, ABlobKeepsItsListWhenTheSameBytesAreStoredAnew) {
  TwoStores stores;
  const std::string bytes = RandomBytes(kChunkBytes + 5, 9);
  const Digest blob = StoreWithListOfDigests(stores, bytes, bytes);
  const Digest list = stores.store->ChunkListOf(blob).value();
  std::filesystem::create_directory(stores.home / "source");
  WriteFile(stores.home / "source/w", bytes);
  const ImportedTree imported =
      ImportDirectory(*stores.store, stores.home / "source", kLater, nullptr).value();
  EXPECT_EQ(imported.tree.Find("w")->chunk_list, list);
  const PublishItem item{.source_path = stores.home / "source/w", .known = std::nullopt};
  EXPECT_EQ(stores.store->PublishAll({item}, kLater, nullptr).value().front().chunk_list, list);
  EXPECT_TRUE(stores.store->Fsck(false, nullptr).value().damaged.empty());
}

TEST(Upkeep, FsckFindsAListOfOtherBytes) {
  TwoStores stores;
  const std::string bytes = RandomBytes(kChunkBytes + 5, 9);
  StoreWithListOfDigests(stores, bytes, RandomBytes(kChunkBytes + 5, 10));
  EXPECT_EQ(stores.store->Fsck(false, nullptr).value().damaged.size(), 1U);
}

TEST(Upkeep, ABlobSweptDuringAReadIsNotDamagedAndLeavesNoSums) {
  const std::string large = RandomBytes(kChunkBytes + 1, 1);
  const Digest digest = DigestOf(large);
  struct Reader {
    const char* name;
    std::function<void(LocalStore& store)> read;
  };
  const std::vector<Reader> readers = {
      {"fsck", [](LocalStore& store) { EXPECT_TRUE(store.Fsck(false, nullptr).value().damaged.empty()); }},
      {"fsck that repairs",
       [](LocalStore& store) { EXPECT_TRUE(store.Fsck(true, nullptr).value().damaged.empty()); }},
      {"open", [&](LocalStore& store) { EXPECT_EQ(store.ReadAll(digest, large.size()).value(), large); }},
      {"reuse",
       [&](LocalStore& store) { EXPECT_EQ(store.ReuseFile(digest, kNow).error().code(), Code::kNotFound); }},
  };
  for (const Reader& reader : readers) {
    SCOPED_TRACE(reader.name);
    TwoStores stores;
    ASSERT_TRUE(stores.other->Put(digest, large, kNow).ok());
    // By now the reader has the blob's file open, or has looked at it.
    stores.Before("read", "/sums/", [&] {
      EXPECT_EQ(stores.other->Sweep({}, kLater, false).value().blobs_removed, 2U) << "and its chunk list";
    });
    reader.read(*stores.store);
    EXPECT_EQ(stores.SumsFiles(), 0U);
  }
}

TEST(Upkeep, ARewrittenSumsFileHasItsBlobsEpoch) {
  TwoStores stores;
  const std::string large = RandomBytes(kChunkBytes + 1, 2);
  const Digest digest = DigestOf(large);
  ASSERT_TRUE(stores.store->Put(digest, large, kNow).ok());
  std::filesystem::remove(stores.SumsPath(digest));
  ASSERT_EQ(stores.store->Fsck(true, nullptr).value().damaged.size(), 1U);
  const FileInfo info = RealFiles().Stat(stores.SumsPath(digest)).value();
  EXPECT_EQ(info.mtime_s, static_cast<int64_t>(kNow.revision));
  EXPECT_EQ(info.mtime_ns, 0);
  EXPECT_TRUE(stores.store->Fsck(false, nullptr).value().damaged.empty());
}

TEST(Upkeep, ASweepRemovesSumsWithoutABlobUnlessTheBlobMayStillCome) {
  TwoStores stores;
  const Digest old = DigestOf("old");
  const Digest young = DigestOf("young");
  const Digest without_epoch = DigestOf("its mtime is a time of day");
  for (const Digest& digest : {old, young, without_epoch}) {
    const std::string path = stores.SumsPath(digest);
    std::filesystem::create_directories(path.substr(0, path.rfind('/')));
    WriteFile(path, "sums");
  }
  ASSERT_TRUE(RealFiles().SetMtime(stores.SumsPath(old), 99).ok());
  ASSERT_TRUE(RealFiles().SetMtime(stores.SumsPath(young), 100).ok());
  ASSERT_TRUE(stores.store->Sweep({}, kNow, false).ok());
  EXPECT_FALSE(std::filesystem::exists(stores.SumsPath(old)));
  EXPECT_TRUE(std::filesystem::exists(stores.SumsPath(young)));
  EXPECT_FALSE(std::filesystem::exists(stores.SumsPath(without_epoch)));
}

// A publish relies on the sums that a crash left and that it found. So no sweep may remove them before their
// blob has its name.
TEST(Upkeep, SumsThatAPublishFoundStayUntilTheirBlobExists) {
  TwoStores stores;
  const std::string large = RandomBytes(kChunkBytes + 1, 3);
  const Digest digest = DigestOf(large);
  ASSERT_TRUE(stores.other->Put(digest, large, {.revision = 1}).ok());
  std::filesystem::remove(stores.store->ObjectPath(digest));
  stores.Before("fsync", "/staging/", [&] { EXPECT_TRUE(stores.other->Sweep({}, kNow, false).ok()); });
  ASSERT_TRUE(stores.store->Put(digest, large, kNow).ok());
  EXPECT_EQ(stores.SumsFiles(), 1U);
  EXPECT_TRUE(stores.store->Fsck(false, nullptr).value().damaged.empty());
}

TEST(Upkeep, FsckDuringPublishesAndSweepsFindsNoDamage) {
  const TempDirectory home;
  const auto store = LocalStore::Open(RealFiles(), {.root = home / "blobs"}).value();
  const auto other = LocalStore::Open(RealFiles(), {.root = home / "blobs"}).value();
  const std::string large = RandomBytes(kChunkBytes + 1, 4);
  std::atomic<bool> over = false;
  std::thread churn([&] {
    for (uint64_t round = 1; round <= 50; ++round) {
      EXPECT_TRUE(other->Put(DigestOf(large), large, {.revision = round}).ok());
      EXPECT_TRUE(other->Sweep({}, {.revision = round + 1}, false).ok());
    }
    over = true;
  });
  while (!over) EXPECT_TRUE(store->Fsck(true, nullptr).value().damaged.empty());
  churn.join();
  size_t left = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(home / "blobs/sums")) {
    left += entry.is_regular_file() ? 1 : 0;
  }
  EXPECT_EQ(left, 0U);
}

}  // namespace
}  // namespace modelfs::cas
