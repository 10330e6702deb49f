// format1.mdb is a registry as the last program without principals left it: `init` by root, the catalogs prod
// and staging, prod.ml_team.iris_model with a version, a tag and the alias Champion, and a copy of that
// version in a model that was renamed to staging.ml_team.moved.
#include <gtest/gtest.h>

#include <filesystem>

#include "cas/base/checksum.h"
#include "cas/base/codec.h"
#include "store/records/keys.h"
#include "tests/store/kv/scratch_dir.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::Outcome;

Caller Root() {
  Caller caller;
  caller.principal = "root";
  caller.door = "test";
  return caller;
}

struct Upgraded {
  Upgraded() {
    std::filesystem::copy_file(FORMAT1_MDB, directory.path() + "/data.mdb");
    std::filesystem::permissions(directory.path() + "/data.mdb", std::filesystem::perms::owner_all);
    kv = testing::OpenLmdbAt(directory.path());
    Open();
  }
  void Open() {
    auto opened = EmbeddedRegistry::Open(*kv, blobs, clock, &host);
    EXPECT_OK(opened);
    registry = *std::move(opened);
  }

  testing::ScratchDir directory;
  testing::FakeClock clock;
  testing::FakeBlobStore blobs;
  testing::FakeDirectory host;
  std::unique_ptr<Kv> kv;
  std::unique_ptr<EmbeddedRegistry> registry;
};

TEST(Upgrade, TheOwnerBecomesTheAdminAndNothingIsLost) {
  Upgraded up;
  const Caller root = Root();
  EXPECT_EQ(up.registry->Get(root, kMetastoreId)->owner, "root");
  EXPECT_OK(up.registry->CheckAccess(root, Operation::kManagePrincipals, kMetastoreId));
  const ObjectInfo iris = up.registry->Lookup(root, FullName{{"prod", "ml_team", "iris_model"}}).value();
  EXPECT_EQ(iris.owner, "root");
  EXPECT_EQ(iris.aliases.size(), 1U);
  EXPECT_EQ(up.registry->Tags(root, {iris.id, std::nullopt})->at("owner_team"), "blue");
  EXPECT_EQ(up.registry->ResolveAlias(root, iris.id, "Champion")->number, 1U);
  EXPECT_EQ(up.registry->GetVersion(root, iris.id, 1)->comment, "the first");
  EXPECT_OK(up.registry->CheckAccess(root, Operation::kReadFiles, iris.id));
  EXPECT_OK(up.registry->Lookup(root, FullName{{"staging", "ml_team", "moved"}}));
  EXPECT_OK(up.registry->VerifyAudit(root));
  const auto trail = up.registry->Audit(root, {}).value();
  EXPECT_EQ(trail.front().action, "createMetastore");
  EXPECT_EQ(trail.back().action, "upgradeMetastore");
  // All other users are strangers, and changed objects are written in the new format.
  Caller eve = Root();
  eve.principal = "eve";
  EXPECT_EQ(Outcome(up.registry->Get(eve, iris.id)), "permission denied");
  ASSERT_OK(up.registry->SetTag(root, {iris.id, std::nullopt}, "task", "x"));
  ASSERT_OK(
      up.registry->ChangeGrants(root, iris.parent, {{.principal = "eve", .add = {Privilege::kUseSchema}}}));
  EXPECT_EQ(up.registry->Get(root, iris.id)->owner, "root");
}

TEST(Upgrade, HappensOnce) {
  Upgraded up;
  const size_t records = up.registry->Audit(Root(), {})->size();
  up.Open();
  EXPECT_EQ(up.registry->Audit(Root(), {})->size(), records);
}

// Format 2 had no version records of version 2, and otherwise exactly these bytes.
TEST(Upgrade, OpeningARegistryOfFormatTwoUpgradesIt) {
  testing::Box box(MakeMemoryKv());
  const auto settings = [&] { return box.kv->Read().value()->Get(keys::Settings()).value()->value; };
  const std::string newest = settings();
  testing::MakeFormatTwo(*box.kv);
  ASSERT_NE(settings(), newest);
  box.Open();
  EXPECT_EQ(settings(), newest);
  const auto trail = box.registry->Audit(box.ann, {}).value();
  EXPECT_EQ(trail.back().action, "upgradeMetastore");
  EXPECT_EQ(box.registry->Get(box.ann, kMetastoreId)->owner, "ann");
  box.Open();
  EXPECT_EQ(box.registry->Audit(box.ann, {})->size(), trail.size());
}

// The old records name their owner. After the owner is deleted they have none, even if the name is made
// again.
TEST(Upgrade, AnOwnerKnownByNameOnlyIsNotALaterUserOfThatName) {
  Upgraded up;
  const Caller root = Root();
  Caller ann = root;
  ann.principal = "ann";
  ASSERT_OK(up.registry->TakeOver(ann));
  ASSERT_OK(up.registry->DeletePrincipal(ann, "root"));
  ASSERT_OK(up.registry->CreatePrincipal(ann, PrincipalKind::kUser, "root"));
  EXPECT_EQ(Outcome(up.registry->Lookup(root, FullName{{"prod"}})), "not found");
  EXPECT_EQ(up.registry->Lookup(ann, FullName{{"prod"}})->owner, "");
}

}  // namespace
}  // namespace modelfs::store
