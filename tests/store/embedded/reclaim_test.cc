// Leases, marks, and deletions that were interrupted.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "store/records/keys.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::Box;
using testing::Outcome;

size_t KeysOfTable(Kv& kv, char table) {
  const auto snapshot = kv.Read().value();
  return snapshot->Range(std::string(1, table), std::string(1, static_cast<char>(table + 1)), 100'000)
      ->size();
}

// Writers and sweeps at once: every committed version keeps its tree.
TEST(Lease, NoCommittedVersionEverLosesItsTreeToASweep) {
  Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  std::atomic<bool> done{false};
  std::thread sweeper([&] {
    while (!done) {
      const auto mark = box.registry->MarkForSweep(box.ann);
      EXPECT_OK(mark);
      box.blobs.Sweep(*mark);
    }
  });
  std::vector<std::thread> writers;
  for (int t = 0; t < 3; ++t) {
    writers.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        const auto made = box.Commit(model, std::to_string(t) + " " + std::to_string(i % 4));
        EXPECT_OK(made);
        if (i % 3 == 0) {
          EXPECT_OK(box.registry->DeleteVersion(box.ann, model, made->number));
        } else if (i % 5 == 1) {
          EXPECT_OK(box.registry->CopyVersion(box.ann, model, made->number, model));
        }
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  done = true;
  sweeper.join();
  const auto versions = box.registry->ListVersions(box.ann, model, {}).value();
  EXPECT_GT(versions.items.size(), 100U);
  for (const VersionInfo& version : versions.items) {
    EXPECT_TRUE(box.blobs.Has(version.tree)) << version.number;
  }
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
}

TEST(Mark, HoldsTheTreesOfReadyVersionsOnly) {
  Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  const ObjectId other = box.Make("c.s.n");
  const Digest kept = box.Commit(model, "kept")->tree;
  const Digest gone = box.Commit(model, "gone")->tree;
  const Digest with_model = box.Commit(other, "with its model")->tree;
  ASSERT_OK(box.registry->BeginVersion(box.ann, model, {}));
  ASSERT_OK(box.Commit(model, "kept"));  // the same tree twice
  ASSERT_OK(box.registry->DeleteVersion(box.ann, model, 2));
  ASSERT_OK(box.registry->Delete(box.ann, other, Registry::DeleteMode::kWithVersions));
  const auto mark = box.registry->MarkForSweep(box.ann).value();
  EXPECT_EQ(mark.live_trees, std::vector<Digest>{kept});
  box.blobs.Sweep(mark);
  EXPECT_TRUE(box.blobs.Has(kept));
  EXPECT_FALSE(box.blobs.Has(gone));
  EXPECT_FALSE(box.blobs.Has(with_model));
}

TEST(Mark, IsRefusedIfAModelIsLostButItsVersionsAreNot) {
  Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.Commit(model));
  KvTransaction damage;
  damage.Delete(keys::Where(model));
  ASSERT_OK(box.kv->Commit(damage));
  EXPECT_EQ(testing::Outcome(box.registry->MarkForSweep(box.ann)), "data loss");
}

TEST(Deletion, OfAModelWithManyVersionsIsAtomicAndLeavesNothing) {
  Box box(MakeMemoryKv());
  const ObjectId neighbour = box.Make("c.s.a");
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.Commit(neighbour));
  NewVersion fields;
  fields.comment = "words";
  fields.tags = {{"a", "1"}, {"b", "2"}};
  for (int i = 0; i < 150; ++i) ASSERT_OK(box.Commit(model, "w", {}, fields));
  ASSERT_OK(box.registry->BeginVersion(box.ann, model, {}));
  const uint64_t before = box.registry->CurrentRevision(box.ann).value();
  ASSERT_OK(box.registry->Delete(box.ann, model, Registry::DeleteMode::kWithVersions));
  EXPECT_EQ(box.registry->Events(box.ann, before, 100)->events.size(), 1U);
  EXPECT_EQ(KeysOfTable(*box.kv, 'v'), 1U);
  EXPECT_EQ(KeysOfTable(*box.kv, 'w'), 1U);
  for (const char table : {'t', 'd', 'p', 'x'}) EXPECT_EQ(KeysOfTable(*box.kv, table), 0U) << table;
}

TEST(Deletion, IsInvisibleWhenInterruptedAndFinishedByTheNextMark) {
  Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  std::vector<Digest> trees;
  for (int i = 0; i < 3; ++i) trees.push_back(box.Commit(model, std::to_string(i))->tree);
  const VersionId version = box.registry->GetVersion(box.ann, model, 2)->id;
  // The state after the first commit of a deletion.
  KvTransaction transaction;
  const auto info = box.registry->Get(box.ann, model).value();
  transaction.Delete(keys::Object(info.parent, "m"));
  transaction.Delete(keys::Where(model));
  transaction.Put(keys::Unfinished(model), (*box.kv->Read())->Get(keys::Where(info.parent)).value()->value);
  ASSERT_OK(box.kv->Commit(transaction));
  EXPECT_EQ(Outcome(box.registry->GetVersion(box.ann, model, 2)), "not found");
  EXPECT_EQ(Outcome(box.registry->GetVersionById(box.ann, version)), "not found");
  EXPECT_TRUE(box.registry->VersionsThatNeed(box.ann, {trees[0]})->empty());
  EXPECT_TRUE(box.registry->MarkForSweep(box.ann)->live_trees.empty());
  for (const char table : {'v', 'w', 'x'}) EXPECT_EQ(KeysOfTable(*box.kv, table), 0U) << table;
}

TEST(Fsck, NamesTheVersionsThatNeedADamagedBlob) {
  Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  const Digest shared = DigestOf("shared");
  const Lease lease = box.registry->AcquireLease(box.ann, "test").value();
  for (const char* own : {"one", "two"}) {
    const Digest tree = box.blobs.PutTree({{"shared", "shared"}, {"own", own}});
    ASSERT_OK(box.registry->CommitVersion(box.ann, model, tree, lease, {}, {}));
  }
  ASSERT_OK(box.Commit(model, "other"));
  EXPECT_EQ(box.registry->VersionsThatNeed(box.ann, {shared}).value(),
            (std::vector<std::string>{"c.s.m/1", "c.s.m/2"}));
  EXPECT_EQ(box.registry->VersionsThatNeed(box.ann, {DigestOf("two")}).value(),
            std::vector<std::string>{"c.s.m/2"});
  const Digest tree = box.registry->GetVersion(box.ann, model, 3)->tree;
  EXPECT_EQ(box.registry->VersionsThatNeed(box.ann, {tree}).value(), std::vector<std::string>{"c.s.m/3"});
  EXPECT_TRUE(box.registry->VersionsThatNeed(box.ann, {DigestOf("no one's")})->empty());
}

}  // namespace
}  // namespace modelfs::store
