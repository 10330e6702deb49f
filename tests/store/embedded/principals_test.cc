// Deleted principals leave the groups that they were in, and lose their own members.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "store/records/keys.h"
#include "store/records/records.h"
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

}  // namespace
}  // namespace modelfs::store
