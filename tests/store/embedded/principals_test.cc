// Deleted principals leave the groups that they were in, and lose their own members. The reads of the engine
// by calls about principals.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "store/records/keys.h"
#include "store/records/records.h"
#include "tests/store/counting.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::Box;
using testing::Outcome;

size_t Memberships(Box& box) {
  size_t count = 0;
  const std::unique_ptr<Snapshot> snapshot = box.kv->Read().value();
  for (const std::string& prefix : {keys::Member(0, 0).substr(0, 1), keys::MemberOf(0, 0).substr(0, 1)}) {
    count += snapshot->Range(prefix, keys::AfterPrefix(prefix), 100'000)->size();
  }
  return count;
}

std::vector<std::string> GroupNames(Box& box, const std::string& member) {
  std::vector<std::string> names;
  const std::vector<PrincipalInfo> groups = box.registry->GroupsOf(box.ann, member).value();
  for (const PrincipalInfo& group : groups) names.push_back(group.name);
  return names;
}

// `count` groups with the ids from `first` on that eve was in, as an older program left them: it deleted the
// groups, but no membership.
void LeaveDeletedGroups(Box& box, PrincipalId first, size_t count) {
  const PrincipalId eve = box.registry->FindPrincipal(box.ann, "eve")->id;
  for (PrincipalId group = first; group < first + count; ++group) {
    PrincipalRecord record;
    record.info.kind = PrincipalKind::kGroup;
    record.info.name = fmt::format("old{}", group);
    record.info.deleted = true;
    KvTransaction transaction;
    transaction.Put(keys::Principal(group), record.Encode());
    transaction.Put(keys::Member(group, eve), EncodeText(""));
    transaction.Put(keys::MemberOf(eve, group), EncodeText(""));
    ASSERT_OK(box.kv->Commit(transaction));
  }
}

TEST(Principals, DeletingOneEndsItsMembershipsInBothDirections) {
  Box box(MakeMemoryKv());
  EmbeddedRegistry& registry = *box.registry;
  for (const char* group : {"outer", "team", "other"}) {
    ASSERT_OK(registry.CreatePrincipal(box.ann, PrincipalKind::kGroup, group));
  }
  ASSERT_OK(registry.AddMember(box.ann, "outer", "team"));
  ASSERT_OK(registry.AddMember(box.ann, "other", "eve"));
  constexpr size_t kMembers = 150;  // more than one commit removes
  for (size_t i = 0; i < kMembers; ++i) {
    const std::string name = fmt::format("user{}", i);
    ASSERT_OK(registry.CreatePrincipal(box.ann, PrincipalKind::kUser, name));
    ASSERT_OK(registry.AddMember(box.ann, "team", name));
  }
  ASSERT_EQ(Memberships(box), 2 * (kMembers + 2));
  ASSERT_OK(registry.DeletePrincipal(box.ann, "user0"));
  EXPECT_EQ(Memberships(box), 2 * (kMembers + 1));
  ASSERT_OK(registry.DeletePrincipal(box.ann, "team"));
  EXPECT_EQ(Memberships(box), 2U) << "eve is still in the other one";
  EXPECT_EQ(registry.CheckRecords(box.ann)->problems, std::vector<std::string>());
}

TEST(Principals, DeletedGroupsHaveNoEffect) {
  Box box(MakeMemoryKv());
  EmbeddedRegistry& registry = *box.registry;
  ASSERT_OK(registry.CreatePrincipal(box.ann, PrincipalKind::kUser, "eve"));
  LeaveDeletedGroups(box, 1000, kMaxMemberships + 10);
  // A group that is found after all of those.
  PrincipalCountersRecord counters;
  counters.next = 10'000;
  KvTransaction transaction;
  transaction.Put(keys::PrincipalCounters(), counters.Encode());
  ASSERT_OK(box.kv->Commit(transaction));
  ASSERT_OK(registry.CreatePrincipal(box.ann, PrincipalKind::kGroup, "fresh"));
  EXPECT_EQ(Outcome(registry.AddMember(box.ann, "fresh", "eve")), "ok");
  EXPECT_EQ(GroupNames(box, "eve"), (std::vector<std::string>{std::string(kAccountUsers), "fresh"}));
  ASSERT_OK(registry.ChangeGrants(box.ann, kMetastoreId,
                                  {{.principal = "fresh", .add = {Privilege::kCreateCatalog}}}));
  Caller eve = box.ann;
  eve.principal = "eve";
  EXPECT_OK(registry.CheckAccess(eve, Operation::kCreateCatalog, kMetastoreId));
  EXPECT_EQ(registry.CheckRecords(box.ann)->problems, std::vector<std::string>());

  ASSERT_OK(registry.MarkForSweep(box.ann));
  EXPECT_EQ(Memberships(box), 2U) << "a sweep removes the rest";
  EXPECT_OK(registry.CheckAccess(eve, Operation::kCreateCatalog, kMetastoreId));
}

// An engine that counts the reads of each call: a round trip each, if the engine were on another host.
class EngineReads : public ::testing::Test {
 protected:
  EngineReads() {
    EXPECT_OK(InitializeRegistry(*memory_, around_.clock, ann(), {}));
    registry_ = EmbeddedRegistry::Open(kv_, around_.blobs, around_.clock, &around_.directory).value();
    governance_ = std::make_unique<CountingGovernance>(*registry_, counting_);
  }

  const Caller& ann() const { return around_.ann; }
  template <typename Call>
  uint64_t Of(const Call& call) {
    counting_.Take();
    EXPECT_OK(call(*governance_));
    return counting_.Take().reads;
  }

  testing::Surroundings around_;
  std::unique_ptr<Kv> memory_ = MakeMemoryKv();
  Counting counting_;
  CountingKv kv_{*memory_, counting_};
  std::unique_ptr<EmbeddedRegistry> registry_;
  std::unique_ptr<CountingGovernance> governance_;
};

TEST_F(EngineReads, DoNotGrowWithTheNumberOfPrincipals) {
  const auto add_members = [&](int from, int to) {
    for (int i = from; i < to; ++i) {
      const std::string name = fmt::format("user{}", i);
      ASSERT_OK(registry_->CreatePrincipal(ann(), PrincipalKind::kUser, name));
      ASSERT_OK(registry_->AddMember(ann(), "team", name));
      ASSERT_OK(registry_->ChangeGrants(ann(), kMetastoreId,
                                        {{.principal = name, .add = {Privilege::kCreateCatalog}}}));
    }
  };
  const auto listings = [&] {
    return std::vector<uint64_t>{
        Of([&](Governance& governance) { return governance.ListPrincipals(ann(), {}); }),
        Of([&](Governance& governance) { return governance.Members(ann(), "team"); }),
        Of([&](Governance& governance) { return governance.Grants(ann(), kMetastoreId, ""); })};
  };
  ASSERT_OK(registry_->CreatePrincipal(ann(), PrincipalKind::kGroup, "team"));
  add_members(0, 3);
  const std::vector<uint64_t> of_few = listings();
  add_members(3, 40);
  EXPECT_EQ(listings(), of_few);
}

// Two reads more for each container of a model: its place and its record. The grants of all are one read.
TEST_F(EngineReads, OfADecisionAreOneForTheGrantsOfAllContainers) {
  const ObjectId model = around_.MakeIn(*registry_, "c.s.m");
  const ObjectId schema = registry_->Get(ann(), model)->parent;
  const ObjectId catalog = registry_->Get(ann(), schema)->parent;
  const auto reads = [&](ObjectId object) {
    // A change of grants: no cached decision is valid after it.
    EXPECT_OK(registry_->ChangeGrants(ann(), object, {{.principal = "eve", .add = {Privilege::kManage}}}));
    return Of([&](Governance& governance) { return governance.CheckAccess(ann(), Operation::kSee, object); });
  };
  const uint64_t of_catalog = reads(catalog);
  EXPECT_EQ(reads(schema), of_catalog + 2);
  EXPECT_EQ(reads(model), of_catalog + 4);
}

}  // namespace
}  // namespace modelfs::store
