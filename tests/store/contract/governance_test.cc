// The contract of Governance: principals, grants, settings of containers, and decisions about access.
#include "store/governance.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/store/access/world.h"
#include "tests/store/contract/implementation.h"

namespace modelfs::store {
namespace {

using Box = testing::ContractBox;
using World = testing::AccessWorld<Box>;
using testing::Outcome;
using testing::Someone;

class GovernanceContract : public testing::OverEachImplementation {};

std::vector<std::string> NamesOf(const Result<std::vector<PrincipalInfo>>& principals) {
  std::vector<std::string> names;
  EXPECT_OK(principals);
  for (const PrincipalInfo& each : *principals) names.push_back(each.name);
  return names;
}

TEST_P(GovernanceContract, PrincipalsAreFoundByNameInAnyCaseAndListedInPages) {
  Box box(GetParam());
  std::vector<std::string> want{std::string(kAccountUsers), "ann"};
  for (const char* user : {"Dan", "cyd", "zoe", "bert"}) {
    ASSERT_OK(box.governance->CreatePrincipal(box.ann, PrincipalKind::kUser, user));
  }
  ASSERT_OK(box.governance->CreatePrincipal(box.ann, PrincipalKind::kGroup, "team"));
  ASSERT_OK(box.governance->CreatePrincipal(box.ann, PrincipalKind::kServicePrincipal, "etl"));
  ASSERT_OK(box.governance->DeletePrincipal(box.ann, "zoe"));
  want.insert(want.end(), {"bert", "cyd", "Dan", "etl", "team"});
  EXPECT_EQ(box.governance->FindPrincipal(box.ann, "DAN")->name, "Dan");
  EXPECT_EQ(box.governance->FindPrincipal(box.ann, "etl")->kind, PrincipalKind::kServicePrincipal);
  EXPECT_EQ(Outcome(box.governance->FindPrincipal(box.ann, "zoe")), "not found");
  EXPECT_EQ(Outcome(box.governance->CreatePrincipal(box.ann, PrincipalKind::kGroup, "dan")),
            "already exists");

  std::vector<std::string> listed;
  PageRequest page{.limit = 3};
  do {
    const auto answer = box.governance->ListPrincipals(box.ann, page).value();
    EXPECT_LE(answer.items.size(), 3U);
    for (const PrincipalInfo& each : answer.items) listed.push_back(each.name);
    page.token = answer.next_token;
  } while (!page.token.empty());
  EXPECT_EQ(listed, want);
}

TEST_P(GovernanceContract, MembersAndGroupsAreListedWithoutDeletedPrincipals) {
  Box box(GetParam());
  for (const char* group : {"outer", "team", "gone"}) {
    ASSERT_OK(box.governance->CreatePrincipal(box.ann, PrincipalKind::kGroup, group));
  }
  ASSERT_OK(box.governance->AddMember(box.ann, "outer", "team"));
  for (const char* user : {"eve", "bob", "ann"}) {
    ASSERT_OK(box.governance->AddMember(box.ann, "team", user));
  }
  ASSERT_OK(box.governance->AddMember(box.ann, "gone", "bob"));
  EXPECT_EQ(NamesOf(box.governance->Members(box.ann, "team")),
            (std::vector<std::string>{"ann", "eve", "bob"}))
      << "by id";
  EXPECT_EQ(NamesOf(box.governance->GroupsOf(box.ann, "bob")),
            (std::vector<std::string>{std::string(kAccountUsers), "gone", "outer", "team"}));
  ASSERT_OK(box.governance->DeletePrincipal(box.ann, "gone"));
  ASSERT_OK(box.governance->DeletePrincipal(box.ann, "eve"));
  EXPECT_EQ(NamesOf(box.governance->Members(box.ann, "team")), (std::vector<std::string>{"ann", "bob"}));
  EXPECT_EQ(NamesOf(box.governance->GroupsOf(box.ann, "bob")),
            (std::vector<std::string>{std::string(kAccountUsers), "outer", "team"}));
}

TEST_P(GovernanceContract, ARefusalNamesTheMissingPrivilegesAndNothingElse) {
  World world(GetParam());
  const Caller eve = Someone("eve");
  const auto said = [&] {
    return world.governance->CheckAccess(eve, Operation::kReadFiles, world.model).error().message();
  };
  EXPECT_NE(said().find("lacks USE CATALOG on catalog prod"), std::string::npos) << said();
  EXPECT_NE(said().find(", USE SCHEMA on schema prod.ml and EXECUTE"), std::string::npos)
      << "all at once: " << said();
  EXPECT_NE(said().find("GRANT USE SCHEMA ON SCHEMA prod.ml TO `eve`; GRANT EXECUTE ON MODEL"),
            std::string::npos)
      << said();
  EXPECT_NE(said().find("GRANT USE CATALOG ON CATALOG prod TO `eve`"), std::string::npos) << said();
  EXPECT_NE(said().find("the owner of catalog prod or a metastore admin (ann)"), std::string::npos)
      << "the catalog's owner is hidden from her, the metastore's from no one: " << said();
  ASSERT_OK(world.Grant(world.catalog, "eve", {Privilege::kUseCatalog}));
  EXPECT_NE(said().find("lacks USE SCHEMA on schema prod.ml"), std::string::npos) << said();
  ASSERT_OK(world.Grant(world.schema, "eve", {Privilege::kUseSchema}));
  EXPECT_NE(said().find("lacks EXECUTE"), std::string::npos) << said();
  ASSERT_OK(world.Grant(world.model, "eve", {Privilege::kExecute}));
  EXPECT_EQ(world.Check(eve, Operation::kReadFiles, world.model), "ok");

  // A right of the owner alone is not suggested as a grant. A privilege that the owner needs on the schema is
  // not suggested on the model.
  const auto of_renaming = [&] {
    return world.governance->CheckAccess(eve, Operation::kRename, world.model).error().message();
  };
  EXPECT_NE(of_renaming().find("that is for its owner"), std::string::npos) << of_renaming();
  ASSERT_OK(world.registry->SetOwner(world.ann, world.model, "eve"));
  EXPECT_NE(of_renaming().find("GRANT CREATE MODEL ON SCHEMA prod.ml TO `eve`"), std::string::npos)
      << of_renaming();
}

TEST_P(GovernanceContract, AdminsAndContainerOwnersReadMetadataButNoFilesWithoutAGrant) {
  World world(GetParam());
  ASSERT_OK(world.registry->SetOwner(world.ann, world.model, "bob"));
  ASSERT_OK(world.Grant(world.catalog, "bob", {Privilege::kUseCatalog}));
  ASSERT_OK(world.Grant(world.schema, "bob", {Privilege::kUseSchema}));
  EXPECT_EQ(Outcome(world.registry->GetVersion(world.ann, world.model, 1)), "ok");
  EXPECT_EQ(world.Check(world.ann, Operation::kReadFiles, world.model), "permission denied");
  ASSERT_OK(world.Grant(world.model, "ann", {Privilege::kExecute}));
  EXPECT_EQ(world.Check(world.ann, Operation::kReadFiles, world.model), "ok");
  const auto trail =
      world.journal->Audit(world.ann, {.action = "updatePermissions", .full_name = "prod.ml.iris"}).value();
  EXPECT_NE(trail.back().params.at("changes").find("\"EXECUTE\""), std::string::npos);
}

TEST_P(GovernanceContract, LeavingAGroupEndsTheRightsThroughIt) {
  World world(GetParam());
  const Caller bob = Someone("bob");
  ASSERT_OK(world.governance->CreatePrincipal(world.ann, PrincipalKind::kGroup, "team"));
  ASSERT_OK(world.governance->AddMember(world.ann, "team", "bob"));
  ASSERT_OK(world.Grant(world.catalog, "team", {Privilege::kUseCatalog, Privilege::kUseSchema}));
  ASSERT_OK(world.registry->SetOwner(world.ann, world.model, "team"));
  EXPECT_EQ(world.Check(bob, Operation::kReadFiles, world.model), "ok");
  EXPECT_EQ(Outcome(world.registry->SetAlias(bob, world.model, "a", 1)), "ok");
  ASSERT_OK(world.governance->RemoveMember(world.ann, "team", "bob"));
  EXPECT_EQ(world.Check(bob, Operation::kReadFiles, world.model), "permission denied");
  EXPECT_EQ(Outcome(world.registry->SetAlias(bob, world.model, "b", 1)), "permission denied");
  EXPECT_EQ(Outcome(world.registry->Lookup(bob, FullName{{"prod"}})), "not found");
}

TEST_P(GovernanceContract, ANameThatManyUidsShareIsNeverAnAdmin) {
  World world(GetParam());
  ASSERT_OK(world.governance->CreatePrincipal(world.ann, PrincipalKind::kGroup, "admins"));
  ASSERT_OK(world.governance->AddMember(world.ann, "admins", "ann"));
  for (const char* user : {"bob", "dan"}) {
    ASSERT_OK(world.governance->CreatePrincipal(world.ann, PrincipalKind::kUser, user));
  }
  ASSERT_OK(world.governance->AddMember(world.ann, "admins", "dan"));
  ASSERT_OK(world.registry->SetOwner(world.ann, kMetastoreId, "admins"));
  ASSERT_OK(world.Grant(world.catalog, "bob", {Privilege::kUseCatalog, Privilege::kUseSchema}));
  ASSERT_OK(world.Grant(world.model, "bob", {Privilege::kExecute}));
  for (const char* admin : {"ann", "dan"}) {
    Caller caller = Someone(admin);
    EXPECT_EQ(world.Check(caller, Operation::kGet, world.model), "ok");
    caller.shared_name = true;
    caller.uid = 100'003;
    EXPECT_EQ(world.Check(caller, Operation::kGet, world.model), "permission denied");
    EXPECT_EQ(world.Check(caller, Operation::kCreateCatalog, kMetastoreId), "permission denied");
    EXPECT_TRUE(world.registry->List(caller, kMetastoreId, {})->items.empty());
    for (const char* name : {"prod", "none"}) {
      const auto found = world.registry->Lookup(caller, FullName{{name}});
      EXPECT_EQ(Outcome(found), "permission denied");
      EXPECT_NE(found.error().message().find("an admin's uid needs a line of its own"), std::string::npos)
          << found.error().message();
    }
  }
  // A grant holds for every caller of that name.
  Caller bob = Someone("bob");
  bob.shared_name = true;
  EXPECT_EQ(world.Check(bob, Operation::kReadFiles, world.model), "ok");
  ASSERT_OK(world.governance->AddMember(world.ann, "admins", "bob"));
  EXPECT_EQ(world.Check(bob, Operation::kReadFiles, world.model), "permission denied") << "an admin by now";
  EXPECT_EQ(world.Check(Someone("bob"), Operation::kReadFiles, world.model), "ok");
}

TEST_P(GovernanceContract, AReusedNameInheritsNothing) {
  World world(GetParam());
  const Caller bob = Someone("bob");
  ASSERT_OK(world.Grant(world.catalog, "bob", {Privilege::kAllPrivileges}));
  ASSERT_OK(world.registry->SetOwner(world.ann, world.model, "bob"));
  EXPECT_EQ(world.Check(bob, Operation::kReadFiles, world.model), "ok");
  ASSERT_OK(world.governance->DeletePrincipal(world.ann, "BOB"));
  EXPECT_EQ(world.Check(bob, Operation::kReadFiles, world.model), "permission denied");
  EXPECT_EQ(world.registry->Get(world.ann, world.model)->owner, "");
  ASSERT_OK(world.governance->CreatePrincipal(world.ann, PrincipalKind::kUser, "bob"));
  EXPECT_EQ(world.Check(bob, Operation::kReadFiles, world.model), "permission denied");
  EXPECT_EQ(world.Check(bob, Operation::kSee, world.catalog), "permission denied");
  const auto grants = world.governance->Grants(world.ann, world.catalog, "").value();
  ASSERT_EQ(grants.size(), 1U);
  EXPECT_EQ(grants[0].principal, "");
  ASSERT_OK(world.governance->ChangeGrants(
      world.ann, world.catalog,
      {{.principal_id = grants[0].principal_id, .remove = {Privilege::kAllPrivileges}}}));
  EXPECT_TRUE(world.governance->Grants(world.ann, world.catalog, "").value().empty());
}

TEST_P(GovernanceContract, AUserWithAGroupsNameIsNotTheGroup) {
  World world(GetParam());
  const Caller eve = Someone("eve");
  ASSERT_OK(world.governance->CreatePrincipal(world.ann, PrincipalKind::kGroup, "Eve"));
  ASSERT_OK(world.governance->AddMember(world.ann, "Eve", "bob"));
  ASSERT_OK(world.Grant(
      world.catalog, "Eve",
      {Privilege::kUseCatalog, Privilege::kUseSchema, Privilege::kExecute, Privilege::kCreateSchema}));
  ASSERT_OK(world.registry->SetOwner(world.ann, world.model, "Eve"));
  EXPECT_EQ(world.Check(Someone("bob"), Operation::kReadFiles, world.model), "ok");
  for (const Operation operation :
       {Operation::kSee, Operation::kGet, Operation::kReadFiles, Operation::kSetAlias, Operation::kGrant}) {
    const Status said = world.governance->CheckAccess(eve, operation, world.model);
    ASSERT_EQ(Outcome(said), "permission denied");
    EXPECT_NE(said.error().message().find("name of a group"), std::string::npos) << said.error().message();
  }
  EXPECT_EQ(Outcome(world.registry->Create(eve, world.catalog, "mine", "")), "permission denied");
  EXPECT_TRUE(world.registry->List(eve, kMetastoreId, {})->items.empty());
}

TEST_P(GovernanceContract, AGroupOfTheRegistryIsNotTheHostsGroupOfThatName) {
  World world(GetParam());
  ASSERT_OK(world.governance->CreatePrincipal(world.ann, PrincipalKind::kGroup, "host-group"));
  ASSERT_OK(world.Grant(world.catalog, "host-group", {Privilege::kUseCatalog}));
  EXPECT_EQ(world.Check(Someone("cyd", {"host-group"}), Operation::kSee, world.catalog), "permission denied");
  EXPECT_EQ(Outcome(world.governance->AddMember(world.ann, "host-group", "cyd")), "ok");
  EXPECT_EQ(world.Check(Someone("cyd", {"host-group"}), Operation::kSee, world.catalog), "ok");
}

TEST_P(GovernanceContract, GroupsNestAtMostTenDeepAndNeverInThemselves) {
  World world(GetParam());
  for (int i = 0; i <= 10; ++i) {
    ASSERT_OK(world.governance->CreatePrincipal(world.ann, PrincipalKind::kGroup, fmt::format("g{}", i)));
  }
  EXPECT_EQ(Outcome(world.governance->AddMember(world.ann, "g0", "g0")), "failed precondition");
  for (int i = 0; i < 9; ++i) {
    ASSERT_OK(world.governance->AddMember(world.ann, fmt::format("g{}", i), fmt::format("g{}", i + 1)));
  }
  EXPECT_EQ(Outcome(world.governance->AddMember(world.ann, "g9", "g10")), "limit reached");
  EXPECT_EQ(Outcome(world.governance->AddMember(world.ann, "g9", "g0")), "failed precondition");
  ASSERT_OK(world.governance->AddMember(world.ann, "g9", "bob"));
  ASSERT_OK(world.Grant(world.catalog, "g0", {Privilege::kUseCatalog}));
  EXPECT_EQ(world.Check(Someone("bob"), Operation::kSee, world.catalog), "ok");
  EXPECT_EQ(Outcome(world.governance->AddMember(Someone("bob"), "g0", "eve")), "permission denied");
}

TEST_P(GovernanceContract, ADeletedGroupDoesNotConnectTwoGroups) {
  Box box(GetParam());
  for (const char* group : {"a", "between", "b"}) {
    ASSERT_OK(box.governance->CreatePrincipal(box.ann, PrincipalKind::kGroup, group));
  }
  ASSERT_OK(box.governance->AddMember(box.ann, "a", "between"));
  ASSERT_OK(box.governance->AddMember(box.ann, "between", "b"));
  EXPECT_EQ(Outcome(box.governance->AddMember(box.ann, "b", "a")), "failed precondition");
  ASSERT_OK(box.governance->DeletePrincipal(box.ann, "between"));
  EXPECT_EQ(Outcome(box.governance->AddMember(box.ann, "b", "a")), "ok");
}

// Even if a user of the host has the same name and comes with its groups.
TEST_P(GovernanceContract, AServicePrincipalIsInNoGroupOfTheHost) {
  Box box(GetParam());
  box.directory.groups = {"staff"};
  box.directory.users["bot"] = {"staff"};
  Caller bot = box.ann;
  bot.principal = "bot";
  bot.groups = {"staff"};
  ASSERT_OK(box.governance->ChangeGrants(box.ann, kMetastoreId,
                                         {{.principal = "staff", .add = {Privilege::kCreateCatalog}}}));
  EXPECT_OK(box.governance->CheckAccess(bot, Operation::kCreateCatalog, kMetastoreId));
  ASSERT_OK(box.governance->CreatePrincipal(box.ann, PrincipalKind::kServicePrincipal, "bot"));
  EXPECT_EQ(Outcome(box.governance->CheckAccess(bot, Operation::kCreateCatalog, kMetastoreId)),
            "permission denied");
  EXPECT_EQ(NamesOf(box.governance->GroupsOf(box.ann, "bot")),
            std::vector<std::string>{std::string(kAccountUsers)});
}

// Ann owns the registry's files, so without her rights no one could give any back.
TEST_P(GovernanceContract, TheOwnerOfTheFilesStaysAnAdmin) {
  World world(GetParam());
  Registry& registry = *world.registry;
  const Caller bob = Someone("bob");
  const auto refused = [&](const Status& said) {
    EXPECT_EQ(Outcome(said), "failed precondition");
    EXPECT_NE(said.error().message().find("ADD USER `ann`"), std::string::npos) << said.error().message();
    EXPECT_EQ(world.Check(world.ann, Operation::kManagePrincipals, kMetastoreId), "ok");
  };
  const auto hand_over = [&](const std::string& to) -> Status {
    RETURN_IF_ERROR(registry.SetOwner(world.ann, kMetastoreId, to));
    return OkStatus();
  };
  for (const char* group : {"admins", "inner", "innermost"}) {
    ASSERT_OK(world.governance->CreatePrincipal(world.ann, PrincipalKind::kGroup, group));
  }
  refused(hand_over("admins"));  // no members
  ASSERT_OK(world.governance->AddMember(world.ann, "admins", "inner"));
  ASSERT_OK(world.governance->AddMember(world.ann, "inner", "innermost"));
  refused(hand_over("admins"));  // but empty groups
  ASSERT_OK(world.governance->AddMember(world.ann, "admins", "bob"));
  refused(hand_over("admins"));  // a member, but one that cannot run commands here
  refused(hand_over("bob"));
  refused(hand_over("host-group"));
  ASSERT_OK(world.governance->AddMember(world.ann, "innermost", "ann"));
  ASSERT_OK(hand_over("admins"));
  EXPECT_EQ(world.Check(bob, Operation::kManagePrincipals, kMetastoreId), "ok");

  // No step of the path to her rights can be removed, either.
  refused(world.governance->RemoveMember(bob, "innermost", "ann"));
  refused(world.governance->RemoveMember(bob, "inner", "innermost"));
  refused(world.governance->RemoveMember(bob, "admins", "inner"));
  refused(world.governance->DeletePrincipal(bob, "innermost"));
  refused(world.governance->DeletePrincipal(bob, "inner"));
  refused(world.governance->DeletePrincipal(bob, "ann"));
  EXPECT_EQ(Outcome(world.governance->DeletePrincipal(bob, "admins")), "failed precondition");
  // With a second path, the first may go.
  ASSERT_OK(world.governance->AddMember(bob, "admins", "ann"));
  ASSERT_OK(world.governance->RemoveMember(bob, "admins", "inner"));
  refused(world.governance->RemoveMember(bob, "admins", "ann"));
  ASSERT_OK(world.governance->RemoveMember(world.ann, "admins", "bob"));
  EXPECT_EQ(world.Check(bob, Operation::kManagePrincipals, kMetastoreId), "permission denied");
}

TEST_P(GovernanceContract, GrantsAreBoundedAndCheckedByKind) {
  World world(GetParam());
  EXPECT_EQ(Outcome(world.Grant(world.model, "bob", {Privilege::kUseCatalog})), "invalid argument");
  EXPECT_EQ(Outcome(world.Grant(world.schema, "bob", {Privilege::kBrowse})), "invalid argument");
  EXPECT_EQ(Outcome(world.Grant(kMetastoreId, "bob", {Privilege::kExecute})), "invalid argument");
  EXPECT_EQ(Outcome(world.Grant(world.model, "no-such", {Privilege::kExecute})), "not found");
  EXPECT_EQ(Outcome(world.governance->ChangeGrants(
                world.ann, world.model,
                {{.principal = "bob", .add = {Privilege::kExecute}, .remove = {Privilege::kExecute}}})),
            "invalid argument");
  // Revoking ALL PRIVILEGES revokes the rest, but not MANAGE.
  ASSERT_OK(world.Grant(world.model, "bob", {Privilege::kExecute, Privilege::kApplyTag, Privilege::kManage}));
  ASSERT_OK(world.Revoke(world.model, "bob", {Privilege::kAllPrivileges}));
  EXPECT_EQ(world.governance->Grants(world.ann, world.model, "bob")->front().privileges,
            PrivilegeSet{Privilege::kManage});
  std::vector<GrantChange> many;
  for (int i = 0; i < 40; ++i) {
    many.clear();
    for (int j = 0; j < 25; ++j) {
      const std::string name = fmt::format("u{}-{}", i, j);
      world.directory.users[name] = {};
      many.push_back({.principal = name, .add = {Privilege::kExecute}});
    }
    if (i < 39) {
      ASSERT_OK(world.governance->ChangeGrants(world.ann, world.model, many));
    }
  }
  EXPECT_EQ(Outcome(world.governance->ChangeGrants(world.ann, world.model, many)), "limit reached")
      << "1001 with bob's";
  many.pop_back();
  EXPECT_EQ(Outcome(world.governance->ChangeGrants(world.ann, world.model, many)), "ok");
}

TEST_P(GovernanceContract, OnlyItsGroupMovesAProtectedAlias) {
  World world(GetParam());
  Registry& registry = *world.registry;
  ASSERT_OK(world.governance->CreatePrincipal(world.ann, PrincipalKind::kGroup, "approvers"));
  ASSERT_OK(registry.SetAlias(world.ann, world.model, "Champion", 1));
  ASSERT_OK(world.governance->SetSettings(world.ann, world.schema, {},
                                          {.protected_aliases = {{"Champion", "approvers"}}}));
  ASSERT_OK(world.Commit(world.model));
  EXPECT_EQ(Outcome(registry.SetAlias(world.ann, world.model, "Champion", 2)), "permission denied");
  EXPECT_EQ(Outcome(registry.DeleteAlias(world.ann, world.model, "Champion")), "permission denied");
  EXPECT_EQ(Outcome(registry.RenameAlias(world.ann, world.model, "Champion", "x")), "permission denied");
  ASSERT_OK(registry.SetAlias(world.ann, world.model, "Challenger", 2));
  EXPECT_EQ(Outcome(registry.RenameAlias(world.ann, world.model, "Challenger", "Champion")),
            "permission denied");
  EXPECT_EQ(Outcome(registry.SwapAliases(world.ann, world.model, "Champion", "Challenger")),
            "permission denied");
  EXPECT_EQ(Outcome(registry.DeleteVersion(world.ann, world.model, 1)), "failed precondition");
  EXPECT_EQ(Outcome(registry.Delete(world.ann, world.model, Registry::DeleteMode::kWithVersions)),
            "failed precondition");
  // After a rename the name with the alias could mean another model's version.
  const auto renamed = registry.Rename(world.ann, world.model, "old");
  ASSERT_EQ(Outcome(renamed), "permission denied");
  EXPECT_NE(renamed.error().message().find("prod.ml.iris cannot be renamed while it has a protected alias"),
            std::string::npos)
      << renamed.error().message();
  EXPECT_NE(renamed.error().message().find("only approvers may"), std::string::npos)
      << renamed.error().message();
  EXPECT_EQ(Outcome(registry.Lookup(world.ann, FullName{{"prod", "ml", "iris"}})), "ok");
  // Membership in the group gives no right of its own, either.
  ASSERT_OK(world.governance->AddMember(world.ann, "approvers", "bob"));
  EXPECT_EQ(Outcome(registry.Rename(Someone("bob"), world.model, "old")), "permission denied");
  EXPECT_EQ(Outcome(registry.SetAlias(Someone("bob"), world.model, "Champion", 2)), "permission denied");
  ASSERT_OK(world.governance->AddMember(world.ann, "approvers", "ann"));
  EXPECT_EQ(Outcome(registry.SetAlias(world.ann, world.model, "Champion", 2)), "ok");
  EXPECT_EQ(Outcome(registry.Rename(world.ann, world.model, "old")), "ok");
}

TEST_P(GovernanceContract, SettingsOfContainersBindTheirModels) {
  World world(GetParam());
  Registry& registry = *world.registry;
  ASSERT_OK(world.governance->SetSettings(world.ann, world.catalog, {},
                                          {.signature_required = true, .max_models = 2, .max_versions = 3}));
  EXPECT_EQ(Outcome(world.Commit(world.model)), "failed precondition") << "no MLmodel in it";
  ASSERT_OK(world.governance->SetSettings(world.ann, world.catalog,
                                          {.signature_required = true, .max_models = 2, .max_versions = 3},
                                          {.signature_required = false, .max_models = 2, .max_versions = 3}));
  EXPECT_EQ(Outcome(world.Commit(world.model)), "ok");
  EXPECT_EQ(Outcome(world.Commit(world.model)), "ok");
  EXPECT_EQ(Outcome(world.Commit(world.model)), "limit reached");
  ASSERT_OK(registry.Create(world.ann, world.schema, "second", ""));
  EXPECT_EQ(Outcome(registry.Create(world.ann, world.schema, "third", "")), "limit reached");
  EXPECT_EQ(Outcome(world.governance->SetSettings(world.ann, world.model, {}, {.max_models = 1})),
            "invalid argument");
  EXPECT_EQ(world.governance->GetSettings(world.ann, world.catalog)->max_versions,
            std::optional<uint64_t>(3));
  EXPECT_EQ(Outcome(world.governance->SetSettings(world.ann, world.catalog, {}, {.max_models = 5})),
            "aborted")
      << "a caller that read other settings changes none of these";
}

// A principal that may make a schema sets its rules; the catalog's rules still apply.
TEST_P(GovernanceContract, TheStricterRuleOfCatalogAndSchemaHolds) {
  World world(GetParam());
  Registry& registry = *world.registry;
  const Caller bob = Someone("bob");
  ASSERT_OK(world.governance->SetSettings(world.ann, world.catalog, {},
                                          {.signature_required = true,
                                           .protected_aliases = {{"Champion", "eve"}},
                                           .max_models = 1,
                                           .max_versions = 5}));
  ASSERT_OK(world.Grant(world.catalog, "bob", {Privilege::kAllPrivileges}));
  const ObjectId mine = registry.Create(bob, world.catalog, "mine", "").value().id;
  const ContainerSettings lax{.signature_required = false,
                              .protected_aliases = {{"Champion", "bob"}},
                              .max_models = 9,
                              .max_versions = 0};
  ASSERT_OK(world.governance->SetSettings(bob, mine, {}, lax));
  const ObjectId model = registry.Create(bob, mine, "m", "").value().id;
  EXPECT_EQ(Outcome(registry.Create(bob, mine, "n", "")), "limit reached") << "one a schema, by the catalog";
  EXPECT_EQ(Outcome(registry.BeginVersion(bob, model, {})), "limit reached") << "none, by the schema";
  ContainerSettings some = lax;
  some.max_versions = 9;
  ASSERT_OK(world.governance->SetSettings(bob, mine, lax, some));
  ASSERT_OK(registry.SetOwner(world.ann, model, "ann"));
  EXPECT_EQ(Outcome(world.Commit(model)), "failed precondition") << "unsigned";
  EXPECT_EQ(Outcome(registry.CopyVersion(world.ann, world.model, 1, model)), "failed precondition");

  const auto effective = world.governance->GetEffectiveSettings(bob, mine).value();
  ASSERT_EQ(effective.size(), 2U);
  EXPECT_EQ(effective[0].from.ToString(), "prod");
  EXPECT_EQ(effective[0].settings, (ContainerSettings{.signature_required = true,
                                                      .protected_aliases = {{"Champion", "eve"}},
                                                      .max_models = 1,
                                                      .max_versions = 5}));
  EXPECT_EQ(effective[1].from.ToString(), "prod.mine");
  EXPECT_EQ(effective[1].settings, (ContainerSettings{.protected_aliases = {{"Champion", "bob"}}}));

  // The registry's own rule is the first of all.
  Box strict(GetParam(), RegistrySettings::SignaturePolicy::kRequired);
  const ObjectId unsigned_model = strict.Make("c.s.m");
  const ObjectId schema = strict.registry->Get(strict.ann, unsigned_model)->parent;
  ASSERT_OK(strict.governance->SetSettings(strict.ann, schema, {}, {.signature_required = false}));
  EXPECT_EQ(Outcome(strict.Commit(unsigned_model)), "failed precondition");
  const auto from_registry = strict.governance->GetEffectiveSettings(strict.ann, schema).value();
  ASSERT_EQ(from_registry.size(), 1U);
  EXPECT_EQ(from_registry[0].from_kind, ObjectKind::kMetastore);
  EXPECT_EQ(from_registry[0].settings, ContainerSettings{.signature_required = true});
}

TEST_P(GovernanceContract, GrantsAreShownToGrantorsAndEachPrincipalSeesItsOwn) {
  World world(GetParam());
  ASSERT_OK(world.Grant(world.catalog, "bob", {Privilege::kUseCatalog}));
  ASSERT_OK(world.Grant(world.catalog, "eve", {Privilege::kUseCatalog}));
  ASSERT_OK(world.Grant(world.model, std::string(kAccountUsers), {Privilege::kExecute}));
  EXPECT_EQ(world.governance->Grants(world.ann, world.catalog, "")->size(), 2U);
  const auto own = world.governance->Grants(Someone("bob"), world.catalog, "").value();
  ASSERT_EQ(own.size(), 1U);
  EXPECT_EQ(own[0].principal, "bob");
  EXPECT_EQ(Outcome(world.governance->Grants(Someone("bob"), world.catalog, "eve")), "permission denied");
  const auto effective = world.governance->EffectiveGrants(Someone("bob"), world.model, "bob").value();
  ASSERT_EQ(effective.size(), 2U);  // its own on the catalog, and everyone's on the model
  EXPECT_EQ(effective[0].principal, kAccountUsers);
  EXPECT_EQ(effective[1].from_kind, ObjectKind::kCatalog);
}

TEST_P(GovernanceContract, TheRightsForFrontEndsCoverEveryDecision) {
  World world(GetParam());
  Caller daemon = Someone("ann");
  daemon = world.implementation->ForUpkeep(daemon);
  ASSERT_OK(world.governance->CreatePrincipal(world.ann, PrincipalKind::kGroup, "team"));
  ASSERT_OK(world.governance->AddMember(world.ann, "team", "bob"));
  ASSERT_OK(world.governance->AddMember(world.ann, "team", "host-group"));
  ASSERT_OK(world.Grant(world.schema, "team", {Privilege::kExecute}));
  ASSERT_OK(world.Grant(world.model, "eve", {Privilege::kApplyTag}));
  ASSERT_OK(world.Grant(world.model, "ann", {Privilege::kExecute}));
  const auto without_gates = world.governance->AccessOf(daemon, world.model).value();
  ASSERT_EQ(without_gates.entries.size(), 1U) << "only the owner comes through the gates";
  EXPECT_EQ(without_gates.entries.front().principal.name, "ann");
  for (const char* user : {"bob", "eve", "host-group"}) {
    ASSERT_OK(world.Grant(world.catalog, user, {Privilege::kUseCatalog, Privilege::kUseSchema}));
  }
  const auto access = world.governance->AccessOf(daemon, world.model).value();
  EXPECT_EQ(access.owner.name, "ann");
  EXPECT_FALSE(access.everyone.see);
  std::map<std::string, ObjectRights> by_name;
  for (const PrincipalRights& each : access.entries) by_name[each.principal.name] = each.rights;
  EXPECT_EQ(by_name.count("team"), 0U) << "expanded to its members";
  EXPECT_TRUE(by_name["bob"].read_files);
  EXPECT_TRUE(by_name["host-group"].read_files);
  EXPECT_FALSE(by_name["bob"].tag);
  EXPECT_TRUE(by_name["eve"].tag);
  EXPECT_TRUE(by_name["eve"].see);
  EXPECT_FALSE(by_name["eve"].read_files);
  EXPECT_EQ(Outcome(world.governance->AccessOf(world.ann, world.model)), "permission denied");
}

// BROWSE opens the directories on the way to a caller without a gate.
TEST_P(GovernanceContract, RightsBehindClosedGatesAreNotListedForGroupsOrEveryone) {
  World world(GetParam());
  world.directory.groups = {"host-group", "gatekeepers"};
  world.directory.users["bob"] = {"host-group"};
  Caller daemon = Someone("ann");
  daemon = world.implementation->ForUpkeep(daemon);
  const auto told = [&](const std::string& name) -> std::optional<ObjectRights> {
    const ObjectAccess access = world.governance->AccessOf(daemon, world.model).value();
    for (const PrincipalRights& entry : access.entries) {
      if (entry.principal.name == name) return entry.rights;
    }
    return std::nullopt;
  };
  const auto lesser = [&] { return world.governance->AccessOf(daemon, world.model)->lesser; };
  const auto everyone = [&] { return world.governance->AccessOf(daemon, world.model)->everyone; };
  constexpr ObjectRights kSees{.see = true};
  constexpr ObjectRights kLoads{.see = true, .get = true, .read_files = true};

  ASSERT_OK(world.Grant(world.model, std::string(kAccountUsers), {Privilege::kExecute}));
  EXPECT_EQ(everyone(), ObjectRights());
  ASSERT_OK(world.Grant(world.catalog, std::string(kAccountUsers), {Privilege::kBrowse}));
  EXPECT_EQ(everyone(), kSees);
  // A group that has the gates can use everyone's rights, and no other can.
  ASSERT_OK(world.Grant(world.catalog, "gatekeepers", {Privilege::kUseCatalog, Privilege::kUseSchema}));
  EXPECT_EQ(everyone(), kSees);
  EXPECT_EQ(told("gatekeepers"), kLoads);
  ASSERT_OK(world.Revoke(world.model, std::string(kAccountUsers), {Privilege::kExecute}));
  ASSERT_OK(world.Revoke(world.catalog, "gatekeepers", {Privilege::kUseCatalog}));

  // A group's rights are listed if a group of the host, or everyone, opens the gates: a user may be in both.
  ASSERT_OK(world.Grant(world.model, "host-group", {Privilege::kExecute}));
  EXPECT_EQ(told("host-group"), std::nullopt) << "one gate is closed to all";
  ASSERT_OK(world.Grant(world.catalog, "eve", {Privilege::kUseCatalog, Privilege::kUseSchema}));
  EXPECT_EQ(told("host-group"), std::nullopt) << "users that have the gates are listed by name";
  ASSERT_OK(world.Grant(world.catalog, "gatekeepers", {Privilege::kUseCatalog}));
  EXPECT_EQ(told("host-group"), kLoads);
  EXPECT_EQ(told("gatekeepers"), std::nullopt);
  EXPECT_TRUE(lesser().empty());

  // If a user is named on the way, the registry knows that the gates are closed to it.
  ASSERT_OK(world.Grant(world.catalog, "bob", {Privilege::kBrowse}));
  ASSERT_EQ(lesser().size(), 1U);
  EXPECT_EQ(lesser()[0].principal.name, "bob");
  EXPECT_EQ(lesser()[0].rights, kSees);
  EXPECT_EQ(lesser()[0].of_groups, kLoads);
  world.directory.users["bob"] = {"host-group", "gatekeepers"};
  EXPECT_TRUE(lesser().empty());
  EXPECT_EQ(told("bob"), kLoads);
}

// The host would let these users through by its groups, or as everyone; here they have less.
TEST_P(GovernanceContract, FrontEndsGetTheNamesThatHaveLessThanTheirHostGroups) {
  World world(GetParam());
  Caller daemon = Someone("ann");
  daemon = world.implementation->ForUpkeep(daemon);
  const auto namesakes = [&] { return world.governance->AccessOf(daemon, world.model)->namesakes; };
  ASSERT_NE(namesakes(), nullptr);
  EXPECT_TRUE(namesakes()->service_principals.empty());
  const std::vector<std::string> everybody{std::string(kAccountUsers)};
  EXPECT_EQ(namesakes()->groups, everybody);

  ASSERT_OK(world.governance->CreatePrincipal(world.ann, PrincipalKind::kServicePrincipal, "etl"));
  ASSERT_OK(world.governance->CreatePrincipal(world.ann, PrincipalKind::kGroup, "team"));
  ASSERT_OK(world.Grant(world.model, "host-group", {Privilege::kExecute}));
  ASSERT_OK(world.Grant(world.model, "bob", {Privilege::kExecute}));
  const auto known = namesakes();
  EXPECT_EQ(known->service_principals, std::vector<std::string>{"etl"});
  EXPECT_EQ(known->groups, (std::vector<std::string>{std::string(kAccountUsers), "team", "host-group"}));
  ASSERT_OK(world.Revoke(world.model, "bob", {Privilege::kExecute}));

  ASSERT_OK(world.governance->DeletePrincipal(world.ann, "etl"));
  ASSERT_OK(world.governance->DeletePrincipal(world.ann, "team"));
  EXPECT_TRUE(namesakes()->service_principals.empty());
  EXPECT_EQ(namesakes()->groups, (std::vector<std::string>{std::string(kAccountUsers), "host-group"}));
}

INSTANTIATE_OVER_IMPLEMENTATIONS(GovernanceContract);

}  // namespace
}  // namespace modelfs::store
