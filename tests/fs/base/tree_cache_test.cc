#include "fs/base/tree_cache.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "cas/base/thread.h"
#include "tests/fs/stalling_store.h"
#include "tests/fs/zone_world.h"

namespace modelfs::fs {
namespace {

std::map<std::string, std::string> Files(int count) {
  std::map<std::string, std::string> files;
  for (int i = 0; i < count; ++i) files.emplace(fmt::format("f{:03}", i), "x");
  return files;
}

TEST(TreeCache, ManyMissesAreOneLoad) {
  ZoneWorld world;
  const auto version = world.Commit(world.Make("prod.ml.iris"), Files(3));
  UnverifiedStore store(*world.blobs);
  constexpr int kReaders = 8;
  std::atomic<int> loads = 0;
  std::atomic<int> asking = 0;
  // The load is held up until every reader is on its way to it.
  store.BeforeOpen([&](const Digest&) {
    ++loads;
    while (asking < kReaders) std::this_thread::yield();
  });
  TreeCache cache(*world.registry, store, world.caller, 1000);
  std::vector<std::shared_ptr<const CachedVersion>> got(kReaders);
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) {
    readers.emplace_back([&, i] {
      ++asking;
      const auto loaded = cache.Get(version.id);
      if (loaded.ok()) got[static_cast<size_t>(i)] = *loaded;
    });
  }
  for (std::thread& each : readers) each.join();
  EXPECT_EQ(loads, 1);
  for (const auto& each : got) EXPECT_EQ(each, got[0]);
  ASSERT_NE(got[0], nullptr);
  EXPECT_EQ(got[0]->tree->tree().file_count(), 3U);
  EXPECT_EQ(got[0]->info.number, 1U);
}

TEST(TreeCache, KeepsTheRecentlyUsedWithinItsRoom) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  std::vector<store::VersionInfo> versions;
  for (int i = 0; i < 4; ++i) versions.push_back(world.Commit(model, Files(10)));
  TreeCache cache(*world.registry, *world.blobs, world.caller, 2 * 11 + 5);
  for (const auto& version : versions) ASSERT_TRUE(cache.Get(version.id).ok());
  EXPECT_EQ(cache.size(), 2U);

  const auto first = cache.Get(versions[2].id);
  ASSERT_TRUE(cache.Get(versions[0].id).ok());  // pushes out versions[3]
  EXPECT_EQ(*cache.Get(versions[2].id), *first) << "used more recently, so it stayed";
  EXPECT_EQ(cache.size(), 2U);
}

TEST(TreeCache, KeepsATreeThatIsLargerThanItsRoom) {
  ZoneWorld world;
  const auto version = world.Commit(world.Make("prod.ml.iris"), Files(10));
  TreeCache cache(*world.registry, *world.blobs, world.caller, 3);
  const auto first = cache.Get(version.id);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(*cache.Get(version.id), *first);
}

TEST(TreeCache, ADroppedVersionIsLoadedAgain) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto version = world.Commit(model, Files(2));
  TreeCache cache(*world.registry, *world.blobs, world.caller, 100);
  ASSERT_TRUE(cache.Get(version.id).ok());
  ASSERT_TRUE(world.registry->DeleteVersion(world.caller, model, 1).ok());
  EXPECT_TRUE(cache.Get(version.id).ok()) << "until Drop is called";
  cache.Drop(version.id);
  const auto gone = cache.Get(version.id);
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(gone.error().code(), Code::kNotFound);
  EXPECT_EQ(cache.size(), 0U);
}

TEST(TreeCache, AVersionDroppedWhileItLoadsIsNotKept) {
  ZoneWorld world;
  const auto version = world.Commit(world.Make("prod.ml.iris"), Files(2));
  UnverifiedStore store(*world.blobs);
  TreeCache cache(*world.registry, store, world.caller, 100);
  store.BeforeOpen([&](const Digest&) { cache.Drop(version.id); });
  EXPECT_TRUE(cache.Get(version.id).ok());
  EXPECT_EQ(cache.size(), 0U);
}

TEST(TreeCache, AListOnAnotherHostIsWaitedForOutsideTheCache) {
  ZoneWorld world;
  const auto version = world.Commit(world.Make("prod.ml.iris"), Files(2));
  modelfs::testing::StallingStore store(*world.blobs);
  store.Stall(version.tree);
  TreeCache cache(*world.registry, store, world.caller, 100);
  Pending pending;
  const auto early = cache.Find(version.id, pending);
  ASSERT_FALSE(early.ok());
  EXPECT_EQ(early.error().code(), Code::kDeadlineExceeded);
  ASSERT_NE(pending, nullptr);

  std::atomic<bool> got = false;
  std::thread patient([&] { got = cache.Get(version.id).ok(); });
  Status ended = Error(Code::kInternal, "it has not ended");
  pending(std::stop_token(), [&](const Status& status) { ended = status; });
  while (store.waiting() < 2) std::this_thread::yield();
  EXPECT_FALSE(ended.ok());
  store.Release();
  patient.join();
  EXPECT_TRUE(ended.ok());
  EXPECT_TRUE(got);
  Pending none;
  EXPECT_TRUE(cache.Find(version.id, none).ok());
  EXPECT_EQ(none, nullptr);
}

TEST(TreeCache, OnlyReadyVersionsHaveATree) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto pending = world.registry->BeginVersion(world.caller, model, {});
  ASSERT_TRUE(pending.ok());
  const auto got = world.trees->Get(pending->id);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code(), Code::kFailedPrecondition);
}

}  // namespace
}  // namespace modelfs::fs
