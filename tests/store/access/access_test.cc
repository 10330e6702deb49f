// Decisions about callers: the operation matrix, generated from the table in store/access/operation_table.h
// and asked of a real registry in every way a right can be held; then the rules that no table holds.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "store/access/operation_table.h"
#include "store/registry_json.h"
#include "tests/cas/test_support.h"
#include "tests/store/access/world.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::Box;
using testing::Outcome;
using testing::Someone;

struct World : testing::AccessWorld<Box> {
  World() : AccessWorld(MakeMemoryKv()) {}
};

// --- the matrix ---

enum class Through { kSelf, kRegistryGroup, kNestedGroup, kHostGroup, kEverybody };
enum class Gates { kBoth, kCatalogOnly, kSchemaOnly, kNone };

struct Situation {
  std::string name;
  Through through = Through::kSelf;
  Gates gates = Gates::kBoth;
  std::optional<std::pair<Privilege, ObjectKind>> granted;  // and on what
  std::optional<ObjectKind> owns;
};

// The principal that holds the right, so that the caller has it through that principal.
std::string HolderOf(World& world, Through through) {
  switch (through) {
    case Through::kSelf:
      return "bob";
    case Through::kRegistryGroup:
    case Through::kNestedGroup:
      EXPECT_OK(world.registry->CreatePrincipal(world.ann, PrincipalKind::kGroup, "outer"));
      if (through == Through::kRegistryGroup) {
        EXPECT_OK(world.registry->AddMember(world.ann, "outer", "bob"));
      } else {
        EXPECT_OK(world.registry->CreatePrincipal(world.ann, PrincipalKind::kGroup, "inner"));
        EXPECT_OK(world.registry->AddMember(world.ann, "outer", "inner"));
        EXPECT_OK(world.registry->AddMember(world.ann, "inner", "bob"));
      }
      return "outer";
    case Through::kHostGroup:
      return "host-group";
    case Through::kEverybody:
      return std::string(kAccountUsers);
  }
  return "";
}

// The owner of the registry's files stays an admin, so the metastore's owner is a group that contains both.
Status HandOver(World& world, Through through, std::string holder) {
  if (through == Through::kHostGroup) {
    world.directory.users["ann"] = {holder};
  } else {
    if (through == Through::kSelf) {
      RETURN_IF_ERROR(world.registry->CreatePrincipal(world.ann, PrincipalKind::kGroup, "admins"));
      RETURN_IF_ERROR(world.registry->AddMember(world.ann, "admins", holder));
      holder = "admins";
    }
    RETURN_IF_ERROR(world.registry->AddMember(world.ann, holder, "ann"));
  }
  RETURN_IF_ERROR(world.registry->SetOwner(world.ann, kMetastoreId, holder));
  return OkStatus();
}

// The answer that the reference gives, from the situation alone.
bool Expected(const OperationRow& row, const Situation& at) {
  const auto owns = [&](ObjectKind kind) { return at.owns == kind; };
  const bool admin = owns(ObjectKind::kMetastore);
  PrivilegeSet effective;
  bool create_model_on_schema = owns(ObjectKind::kSchema);
  bool browse = false;
  if (at.granted) {
    const auto [privilege, on] = *at.granted;
    const bool flows = on == row.on || (on != ObjectKind::kMetastore && on < row.on);
    if (flows) {
      effective.Add(privilege);
      if (privilege == Privilege::kAllPrivileges) effective = effective | ImpliedByAll(on);
    }
    if (on != ObjectKind::kModel && on != ObjectKind::kMetastore &&
        (privilege == Privilege::kCreateModel || privilege == Privilege::kAllPrivileges)) {
      create_model_on_schema = true;
    }
    browse = on == ObjectKind::kCatalog &&
             (privilege == Privilege::kBrowse || privilege == Privilege::kAllPrivileges);
  }
  // Gates that the grant itself opens beside those of the situation: USE CATALOG and USE SCHEMA.
  const auto gives = [&](Privilege gate, ObjectKind lowest) {
    if (!at.granted || at.granted->second == ObjectKind::kMetastore || at.granted->second > lowest)
      return false;
    return at.granted->first == gate || at.granted->first == Privilege::kAllPrivileges;
  };
  const bool catalog_gate = at.gates == Gates::kBoth || at.gates == Gates::kCatalogOnly ||
                            owns(ObjectKind::kCatalog) || gives(Privilege::kUseCatalog, ObjectKind::kCatalog);
  const bool schema_gate = at.gates == Gates::kBoth || at.gates == Gates::kSchemaOnly ||
                           owns(ObjectKind::kCatalog) || owns(ObjectKind::kSchema) ||
                           gives(Privilege::kUseSchema, ObjectKind::kSchema);
  // USE CATALOG and USE SCHEMA that open the gates are privileges as well.
  if (row.on == ObjectKind::kCatalog && (at.gates == Gates::kBoth || at.gates == Gates::kCatalogOnly)) {
    effective.Add(Privilege::kUseCatalog);
  }
  if (row.on == ObjectKind::kSchema && (at.gates == Gates::kBoth || at.gates == Gates::kSchemaOnly)) {
    effective.Add(Privilege::kUseSchema);
  }
  bool reach = true;
  if (row.on == ObjectKind::kSchema) reach = catalog_gate;
  if (row.on == ObjectKind::kModel) reach = catalog_gate && schema_gate;
  const bool inside = row.on == ObjectKind::kCatalog ? catalog_gate : catalog_gate && schema_gate;
  const bool container_owner = (row.on == ObjectKind::kSchema && owns(ObjectKind::kCatalog)) ||
                               (row.on == ObjectKind::kModel &&
                                (owns(ObjectKind::kCatalog) || (owns(ObjectKind::kSchema) && catalog_gate)));

  if (row.Is(kAdmin) && admin) return true;
  if (row.Is(kContainerOwner) && container_owner) return true;
  if (row.Is(kBrowse) && browse) return true;
  if (row.reach == Reach::kNeeded && !reach && !admin) return false;
  if (row.reach == Reach::kNeededByAdmin && !reach) return false;
  if (row.Is(kOwner) && owns(row.on)) return row.operation != Operation::kRename || create_model_on_schema;
  if ((effective & row.any_of).empty()) return false;
  if (row.operation == Operation::kCreateSchema || row.operation == Operation::kCreateModel) {
    return inside || admin;
  }
  return true;
}

std::vector<Situation> Situations() {
  std::vector<Situation> all;
  constexpr ObjectKind kKinds[] = {ObjectKind::kMetastore, ObjectKind::kCatalog, ObjectKind::kSchema,
                                   ObjectKind::kModel};
  constexpr std::pair<Through, const char*> kThrough[] = {{Through::kSelf, "self"},
                                                          {Through::kRegistryGroup, "group"},
                                                          {Through::kNestedGroup, "nested group"},
                                                          {Through::kHostGroup, "host's group"},
                                                          {Through::kEverybody, "account users"}};
  constexpr std::pair<Gates, const char*> kGates[] = {{Gates::kBoth, "both gates"},
                                                      {Gates::kCatalogOnly, "USE CATALOG only"},
                                                      {Gates::kSchemaOnly, "USE SCHEMA only"},
                                                      {Gates::kNone, "no gate"}};
  for (const auto& [through, through_name] : kThrough) {
    for (const auto& [gates, gates_name] : kGates) {
      all.push_back({fmt::format("nothing, {}, {}", through_name, gates_name), through, gates, {}, {}});
      for (const ObjectKind kind : kKinds) {
        if (through != Through::kEverybody) {
          all.push_back({fmt::format("owns the {} as {}, {}", KindName(kind), through_name, gates_name),
                         through,
                         gates,
                         {},
                         kind});
        }
        for (const Privilege privilege : Grantable(kind).ToList()) {
          all.push_back({fmt::format("{} on the {} as {}, {}", PrivilegeName(privilege), KindName(kind),
                                     through_name, gates_name),
                         through,
                         gates,
                         std::pair(privilege, kind),
                         {}});
        }
      }
    }
  }
  return all;
}

TEST(AccessMatrix, EveryRowHoldsInEverySituation) {
  size_t rows = 0;
  for (const Situation& at : Situations()) {
    SCOPED_TRACE(at.name);
    World world;
    const std::string holder = HolderOf(world, at.through);
    const Caller caller = at.through == Through::kHostGroup ? Someone("cyd", {"host-group"}) : Someone("bob");
    if (at.gates == Gates::kBoth || at.gates == Gates::kCatalogOnly) {
      ASSERT_OK(world.Grant(world.catalog, holder, {Privilege::kUseCatalog}));
    }
    if (at.gates == Gates::kBoth || at.gates == Gates::kSchemaOnly) {
      ASSERT_OK(world.Grant(world.schema, holder, {Privilege::kUseSchema}));
    }
    if (at.granted) {
      ASSERT_OK(world.Grant(world.On(at.granted->second), holder, {at.granted->first}));
    }
    if (at.owns == ObjectKind::kMetastore) {
      ASSERT_OK(HandOver(world, at.through, holder));
    } else if (at.owns) {
      ASSERT_OK(world.registry->SetOwner(world.ann, world.On(*at.owns), holder));
    }
    for (const OperationRow& row : kOperationRows) {
      const std::string want = Expected(row, at) ? "ok" : "permission denied";
      EXPECT_EQ(world.Check(caller, row.operation, world.On(row.on)), want)
          << row.verb << " the " << KindName(row.on);
      ++rows;
    }
    // A caller that holds none of it gains nothing.
    if (at.through != Through::kEverybody) {
      EXPECT_EQ(world.Check(Someone("eve"), Operation::kSee, world.catalog), "permission denied");
    }
    EXPECT_EQ(world.Check(Someone("uid:1234"), Operation::kSee, world.catalog), "permission denied");
  }
  EXPECT_GT(rows, 5000U);
  RecordProperty("rows", static_cast<int>(rows));
}

// The table speaks of checks; these are the calls themselves.
TEST(Access, EachCallNeedsItsOwnRight) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  const Caller bob = Someone("bob");
  ASSERT_OK(world.Grant(world.catalog, "bob", {Privilege::kUseCatalog}));
  ASSERT_OK(world.Grant(world.schema, "bob", {Privilege::kUseSchema}));
  const ObjectId model = world.model;
  const Target target{model, std::nullopt};
  const Target version{model, 1};
  struct Row {
    const char* name;
    std::optional<Privilege> privilege;  // the privilege that allows it; nullopt: ownership alone
    std::function<std::string(const Caller&)> call;
  };
  const Row rows[] = {
      {"get version", Privilege::kExecute,
       [&](const Caller& c) { return Outcome(registry.GetVersion(c, model, 1)); }},
      {"list versions", Privilege::kExecute,
       [&](const Caller& c) { return Outcome(registry.ListVersions(c, model, {})); }},
      {"set tag", Privilege::kApplyTag,
       [&](const Caller& c) { return Outcome(registry.SetTag(c, target, "k", "v")); }},
      {"set version tag", Privilege::kApplyTag,
       [&](const Caller& c) { return Outcome(registry.SetTag(c, version, "k", "v")); }},
      {"delete tag", Privilege::kApplyTag,
       [&](const Caller& c) { return Outcome(registry.DeleteTag(c, target, "k")); }},
      {"describe", Privilege::kManage,
       [&](const Caller& c) { return Outcome(registry.SetDescription(c, target, "x")); }},
      {"describe version", Privilege::kManage,
       [&](const Caller& c) { return Outcome(registry.SetDescription(c, version, "x")); }},
      {"begin version", Privilege::kCreateModelVersion,
       [&](const Caller& c) { return Outcome(registry.BeginVersion(c, model, {})); }},
      {"fail version", Privilege::kCreateModelVersion,
       [&](const Caller& c) { return Outcome(registry.FailVersion(c, model, 2, "x")); }},
      {"set alias", Privilege::kManage,
       [&](const Caller& c) { return Outcome(registry.SetAlias(c, model, "a", 1)); }},
      {"swap aliases", Privilege::kManage,
       [&](const Caller& c) { return Outcome(registry.SwapAliases(c, model, "a", "a")); }},
      {"rename alias", Privilege::kManage,
       [&](const Caller& c) { return Outcome(registry.RenameAlias(c, model, "a", "b")); }},
      {"delete alias", Privilege::kManage,
       [&](const Caller& c) { return Outcome(registry.DeleteAlias(c, model, "b")); }},
      {"grant", Privilege::kManage,
       [&](const Caller& c) {
         return Outcome(
             registry.ChangeGrants(c, model, {{.principal = "eve", .add = {Privilege::kExecute}}}));
       }},
      {"rename", std::nullopt, [&](const Caller& c) { return Outcome(registry.Rename(c, model, "iris")); }},
      {"delete version", Privilege::kManage,
       [&](const Caller& c) { return Outcome(registry.DeleteVersion(c, model, 2)); }},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(row.call(bob), "permission denied");
    if (!row.privilege) continue;
    ASSERT_OK(world.Grant(model, "bob", {*row.privilege}));
    EXPECT_EQ(row.call(bob), "ok");
    ASSERT_OK(world.Revoke(model, "bob", {*row.privilege}));
  }
}

TEST(Access, ALookUpNamesEveryMissingPrivilegeAndItsGrantors) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  const Caller eve = Someone("eve");
  const FullName model = registry.Get(world.ann, world.model)->full_name;
  const auto said = [&](const std::string& leaf) {
    std::string text = registry.Lookup(eve, FullName{{"prod", "ml", leaf}}).error().message();
    for (size_t at = 0; (at = text.find(leaf, at)) != std::string::npos;) text.replace(at, leaf.size(), "#");
    return text;
  };
  const auto has = [](const std::string& text, std::string_view words) {
    return text.find(words) != std::string::npos;
  };
  const std::string hidden = said(model.leaf());
  EXPECT_EQ(hidden, said("not_there"));
  EXPECT_TRUE(has(hidden,
                  "it lacks USE CATALOG on catalog prod, USE SCHEMA on schema prod.ml and EXECUTE or another "
                  "privilege on model prod.ml.#"))
      << hidden;
  EXPECT_TRUE(has(hidden, "the owner of catalog prod or a metastore admin (")) << hidden;
  EXPECT_TRUE(
      has(hidden,
          "can give them: GRANT USE CATALOG ON CATALOG prod TO `eve`; GRANT USE SCHEMA ON SCHEMA prod.ml "
          "TO `eve`; GRANT EXECUTE ON MODEL prod.ml.# TO `eve`"))
      << hidden;
  // A privilege that she has is not listed as missing, wherever it was granted.
  ASSERT_OK(world.Grant(world.catalog, "eve", {Privilege::kUseSchema}));
  EXPECT_TRUE(has(said(model.leaf()), "it lacks USE CATALOG on catalog prod and EXECUTE or"))
      << said(model.leaf());
  ASSERT_OK(world.Grant(world.catalog, "eve", {Privilege::kUseCatalog}));
  EXPECT_TRUE(has(said(model.leaf()),
                  "it lacks EXECUTE or another privilege on model prod.ml.#, and does not own it; the "
                  "owner of model prod.ml.# or a metastore admin ("))
      << said(model.leaf());
  // The owner of an object that she may see is named.
  ASSERT_OK(world.Grant(world.model, "eve", {Privilege::kExecute}));
  const std::string alias = registry.SetAlias(eve, world.model, "a", 1).error().message();
  EXPECT_TRUE(has(
      alias, "the owner of model " + model.ToString() + " (" + registry.Get(eve, world.model)->owner + ")"))
      << alias;
}

// reference §14, 2
// With the names of existing and of missing objects replaced by one word.
std::string Renamed(std::string text) {
  for (const std::string_view name : {"iris", "none", "prod", "ml"}) {
    for (size_t at = 0; (at = text.find(name, at)) != std::string::npos; at += 2) {
      if (name == "none" && text.compare(at, 8, "none tha") == 0) continue;
      text.replace(at, name.size(), "it");
    }
  }
  return text;
}

// reference §15: hidden and absent objects look alike to a caller that may not see them.
TEST(Access, HiddenAndAbsentObjectsGetTheSameAnswer) {
  const struct {
    const char* name;
    PrivilegeSet on_catalog, on_schema;
    Code code;
    std::vector<std::pair<const char*, const char*>> pairs;  // one that exists, one that does not
  } situations[] = {
      {"nothing",
       {},
       {},
       Code::kNotFound,
       {{"prod", "none"}, {"prod.ml", "none.ml"}, {"prod.ml.iris", "none.ml.iris"}}},
      {"a right on the catalog without its gate",
       {Privilege::kCreateSchema},
       {},
       Code::kNotFound,
       {{"prod", "none"}, {"prod.ml.iris", "none.ml.iris"}}},
      {"a visible catalog with a closed gate",
       {Privilege::kManage},
       {},
       Code::kPermissionDenied,
       {{"prod.ml", "prod.none"}, {"prod.ml.iris", "prod.none.iris"}, {"prod.ml.iris", "prod.ml.none"}}},
      {"the gate of the catalog",
       {Privilege::kUseCatalog},
       {},
       Code::kNotFound,
       {{"prod.ml", "prod.none"}, {"prod.ml.iris", "prod.none.iris"}}},
      {"a right on the schema without its gate",
       {Privilege::kUseCatalog},
       {Privilege::kCreateModel},
       Code::kNotFound,
       {{"prod.ml", "prod.none"}, {"prod.ml.iris", "prod.none.iris"}}},
      {"both gates",
       {Privilege::kUseCatalog},
       {Privilege::kUseSchema},
       Code::kNotFound,
       {{"prod.ml.iris", "prod.ml.none"}}},
  };
  for (const auto& situation : situations) {
    SCOPED_TRACE(situation.name);
    World world;
    const Caller eve = Someone("eve");
    if (!situation.on_catalog.empty()) EXPECT_OK(world.Grant(world.catalog, "eve", situation.on_catalog));
    if (!situation.on_schema.empty()) EXPECT_OK(world.Grant(world.schema, "eve", situation.on_schema));
    for (const auto& [there, not_there] : situation.pairs) {
      const auto hidden = world.registry->Lookup(eve, FullName::Parse(there).value());
      const auto absent = world.registry->Lookup(eve, FullName::Parse(not_there).value());
      ASSERT_FALSE(hidden.ok());
      ASSERT_FALSE(absent.ok());
      EXPECT_EQ(hidden.error().code(), situation.code);
      EXPECT_EQ(absent.error().code(), situation.code);
      EXPECT_EQ(Renamed(hidden.error().message()), Renamed(absent.error().message()));
    }
    const auto child = world.registry->LookupChild(eve, world.schema, "iris");
    const auto none = world.registry->LookupChild(eve, world.schema, "none");
    EXPECT_EQ(child.error().code(), none.error().code());
    EXPECT_EQ(Renamed(child.error().message()), Renamed(none.error().message()));
  }
}

// Only a caller that could make or take a name learns that a hidden object has it.
TEST(Access, AHiddenNameIsRefusedLikeAFreeOne) {
  const auto outcome = [](World& world, std::string_view leaf) {
    const auto made = world.registry->Create(Someone("eve"), world.schema, leaf, "");
    return std::pair(Outcome(made), made.ok() ? "" : Renamed(made.error().message()));
  };
  World world;
  ASSERT_OK(world.Grant(world.catalog, "eve", {Privilege::kUseCatalog, Privilege::kUseSchema}));
  EXPECT_EQ(outcome(world, "iris"), outcome(world, "none"));
  EXPECT_EQ(outcome(world, "iris").first, "permission denied");
  const Result<ContainerSettings> before = world.registry->GetSettings(world.ann, world.schema);
  ContainerSettings full;
  full.max_models = 1;
  ASSERT_OK(world.registry->SetSettings(world.ann, world.schema, *before, full));
  ASSERT_OK(world.Grant(world.schema, "eve", {Privilege::kCreateModel}));
  EXPECT_EQ(outcome(world, "iris"), outcome(world, "none"));
  EXPECT_EQ(outcome(world, "iris").first, "limit reached");
  ASSERT_OK(world.registry->SetSettings(world.ann, world.schema, full, *before));
  EXPECT_EQ(outcome(world, "iris").first, "already exists");
  EXPECT_EQ(outcome(world, "iris").second, "it.it.it: the name is taken by a model that eve may not see");
  EXPECT_EQ(outcome(world, "none").first, "ok");
  ASSERT_OK(world.Grant(world.catalog, "eve", {Privilege::kBrowse}));
  ASSERT_OK(world.Revoke(world.schema, "eve", {Privilege::kCreateModel}));
  EXPECT_EQ(outcome(world, "iris").first, "already exists") << "it is visible, and clients make first";
}

TEST(Access, ListingsShowVisibleObjectsAndSkipTheRest) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  const Caller bob = Someone("bob");
  for (int i = 0; i < 300; ++i) {
    const ObjectId made = registry.Create(world.ann, world.schema, fmt::format("m{:03}", i), "")->id;
    if (i % 60 == 7) {
      ASSERT_OK(world.Grant(made, "bob", {Privilege::kExecute}));
    }
  }
  EXPECT_EQ(Outcome(registry.List(bob, world.schema, {})), "permission denied");
  EXPECT_TRUE(registry.List(bob, kMetastoreId, {})->items.empty());
  EXPECT_TRUE(registry.SearchModels(bob, "", {})->items.empty());
  ASSERT_OK(world.Grant(world.catalog, "bob", {Privilege::kUseCatalog}));
  EXPECT_EQ(registry.List(bob, kMetastoreId, {})->items.size(), 1U);
  EXPECT_TRUE(registry.List(bob, world.catalog, {})->items.empty());
  ASSERT_OK(world.Grant(world.schema, "bob", {Privilege::kUseSchema}));
  std::vector<std::string> names;
  PageRequest page{.limit = 2};
  do {
    const auto answer = registry.List(bob, world.schema, page).value();
    EXPECT_LE(answer.items.size(), 2U);
    for (const ObjectInfo& each : answer.items) names.push_back(each.name);
    page.token = answer.next_token;
  } while (!page.token.empty());
  EXPECT_EQ(names, (std::vector<std::string>{"m007", "m067", "m127", "m187", "m247"}));
  EXPECT_EQ(registry.SearchModels(bob, "name LIKE 'm%'", {})->items.size(), 5U);

  // BROWSE shows that all of them exist, and their metadata only of those five.
  ASSERT_OK(world.Grant(world.catalog, "bob", {Privilege::kBrowse}));
  const auto all = registry.List(bob, world.schema, {}).value();
  EXPECT_EQ(all.items.size(), 301U);
  EXPECT_EQ(std::count_if(all.items.begin(), all.items.end(),
                          [](const ObjectInfo& each) { return !each.browse_only; }),
            5);
  EXPECT_EQ(Outcome(registry.GetVersion(bob, world.model, 1)), "permission denied");
  EXPECT_TRUE(registry.Get(bob, world.model)->browse_only);
}

TEST(Access, OnlyAnAdminGivesAModelToOthersThanItselfAndItsGroups) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  const Caller bob = Someone("bob");
  ASSERT_OK(
      world.Grant(world.catalog, "bob", {Privilege::kUseCatalog, Privilege::kUseSchema, Privilege::kManage}));
  ASSERT_OK(registry.CreatePrincipal(world.ann, PrincipalKind::kGroup, "team"));
  EXPECT_EQ(Outcome(registry.SetOwner(bob, world.model, "eve")), "permission denied");
  EXPECT_EQ(Outcome(registry.SetOwner(bob, world.model, "team")), "permission denied");
  ASSERT_OK(registry.AddMember(world.ann, "team", "bob"));
  EXPECT_EQ(Outcome(registry.SetOwner(bob, world.model, "team")), "ok");
  EXPECT_EQ(Outcome(registry.SetOwner(world.ann, world.model, "eve")), "ok");
  EXPECT_EQ(Outcome(registry.SetOwner(world.ann, world.model, "nobody-knows")), "not found");
  EXPECT_EQ(Outcome(registry.SetOwner(world.ann, world.model, "uid:12")), "invalid argument");
  EXPECT_EQ(Outcome(registry.SetOwner(bob, kMetastoreId, "bob")), "permission denied");
}

TEST(Access, TakingOverTheFilesMakesTheCallerTheirKeeper) {
  World world;
  world.directory.users["ann"] = {"host-group"};
  ASSERT_OK(world.registry->SetOwner(world.ann, kMetastoreId, "host-group"));
  world.directory.users["ann"] = {};  // the registry cannot refuse a change of the host
  EXPECT_EQ(world.Check(world.ann, Operation::kManagePrincipals, kMetastoreId), "permission denied");
  // Other members of the group continue meanwhile, with every change that does not concern her.
  world.directory.users["bob"] = {"host-group"};
  Caller admin = Someone("bob");
  admin.groups = {"host-group"};
  ASSERT_OK(world.registry->CreatePrincipal(admin, PrincipalKind::kGroup, "team"));
  ASSERT_OK(world.registry->AddMember(admin, "team", "eve"));
  EXPECT_OK(world.registry->RemoveMember(admin, "team", "eve"));
  EXPECT_OK(world.registry->DeletePrincipal(admin, "eve"));
  EXPECT_OK(world.registry->DeletePrincipal(admin, "team"));
  EXPECT_EQ(Outcome(world.registry->SetOwner(admin, kMetastoreId, "bob")), "failed precondition");
  EXPECT_EQ(world.registry->TakeOver(world.ann).value(), "host-group");
  EXPECT_EQ(world.Check(world.ann, Operation::kManagePrincipals, kMetastoreId), "ok");

  const Caller bob = Someone("bob");  // the files were given to him
  EXPECT_EQ(Outcome(world.registry->TakeOver(Someone("uid:77"))), "permission denied");
  EXPECT_EQ(world.registry->TakeOver(bob).value(), "ann");
  EXPECT_EQ(world.Check(world.ann, Operation::kManagePrincipals, kMetastoreId), "permission denied");
  EXPECT_EQ(Outcome(world.registry->SetOwner(bob, kMetastoreId, "ann")), "failed precondition");
  world.Open();
  EXPECT_EQ(world.registry->Settings(bob)->owner, "bob");
  EXPECT_EQ(Outcome(world.registry->SetOwner(bob, kMetastoreId, "ann")), "failed precondition");
  const auto trail = world.registry->Audit(bob, {.action = "takeOverMetastore"}).value();
  ASSERT_EQ(trail.size(), 2U);
  EXPECT_EQ(trail[1].principal, "bob");
  EXPECT_EQ(trail[1].params,
            (std::map<std::string, std::string>{{"owner", "bob"}, {"previous_owner", "ann"}}));
}

TEST(Access, OnlyItsCreatorOrTheModelsOwnerFinishesAVersion) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  for (const char* user : {"bob", "eve"}) {
    ASSERT_OK(world.Grant(world.catalog, user,
                          {Privilege::kUseCatalog, Privilege::kUseSchema, Privilege::kCreateModelVersion}));
  }
  const VersionNumber number = registry.BeginVersion(Someone("bob"), world.model, {})->number;
  EXPECT_EQ(Outcome(registry.FailVersion(Someone("eve"), world.model, number, "x")), "permission denied");
  EXPECT_EQ(Outcome(registry.FailVersion(Someone("bob"), world.model, number, "x")), "ok");
}

// Reference §6, and the tags that MLflow's client sends in the call that makes a version. The log names the
// principal that gave them.
TEST(Access, TagsOfANewVersionNeedNoRightOfTheirOwnButLaterOnesDo) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  const Caller bob = Someone("bob");
  ASSERT_OK(world.Grant(world.catalog, "bob",
                        {Privilege::kUseCatalog, Privilege::kUseSchema, Privilege::kCreateModelVersion}));
  NewVersion fields;
  fields.comment = "evil";
  fields.tags = {{"approved", "yes"}, {"why", std::string(1000, 'x')}};
  const VersionNumber number = registry.BeginVersion(bob, world.model, fields)->number;
  const Target target{world.model, number};
  EXPECT_EQ(*registry.Tags(world.ann, target), fields.tags);
  EXPECT_EQ(Outcome(registry.SetTag(bob, target, "approved", "no")), "permission denied");
  EXPECT_EQ(Outcome(registry.DeleteTag(bob, target, "approved")), "permission denied");
  EXPECT_EQ(Outcome(registry.SetDescription(bob, target, "better")), "permission denied");

  const auto trail = registry.Audit(world.ann, {.principal = "bob", .action = "createModelVersion"}).value();
  ASSERT_EQ(trail.size(), 1U);
  EXPECT_EQ(trail[0].params.at("tags"), R"({"approved":"yes","why":")" + std::string(255, 'x') + R"(…"})");
  EXPECT_EQ(trail[0].params.at("comment_bytes"), "4");
}

TEST(Access, CopyingNeedsRightsOnSourceAndDestination) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  const Caller bob = Someone("bob");
  const ObjectId other = world.Make("prod.ml.other");
  ASSERT_OK(world.Grant(world.catalog, "bob", {Privilege::kUseCatalog, Privilege::kUseSchema}));
  ASSERT_OK(world.Grant(other, "bob", {Privilege::kCreateModelVersion}));
  EXPECT_EQ(Outcome(registry.CopyVersion(bob, world.model, 1, other)), "permission denied");
  ASSERT_OK(world.Grant(world.model, "bob", {Privilege::kExecute}));
  EXPECT_EQ(Outcome(registry.CopyVersion(bob, world.model, 1, other)), "ok");
  ASSERT_OK(world.Revoke(other, "bob", {Privilege::kCreateModelVersion}));
  EXPECT_EQ(Outcome(registry.CopyVersion(bob, world.model, 1, other)), "permission denied");
}

// Every right is checked before the first commit: a refused copy has made nothing.
TEST(Access, CopyingAModelNeedsTheRightOfEachStep) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  const Caller bob = Someone("bob");
  const ObjectId schema = registry.Create(world.ann, world.catalog, "other", "").value().id;
  const auto copied = [&] { return Outcome(registry.CopyModel(bob, world.model, schema, "m")); };
  const auto is_there = [&] { return registry.LookupChild(world.ann, schema, "m").ok(); };
  ASSERT_OK(registry.SetAlias(world.ann, world.model, "Champion", 1));
  ASSERT_OK(world.Grant(world.catalog, "bob", {Privilege::kUseCatalog, Privilege::kUseSchema}));
  ASSERT_OK(world.Grant(schema, "bob", {Privilege::kCreateModel}));
  EXPECT_EQ(copied(), "permission denied") << "the source's bytes";
  ASSERT_OK(world.Grant(world.model, "bob", {Privilege::kExecute}));
  ASSERT_OK(world.Revoke(schema, "bob", {Privilege::kCreateModel}));
  EXPECT_EQ(copied(), "permission denied") << "a model there";
  ASSERT_OK(world.Grant(schema, "bob", {Privilege::kCreateModel}));

  const ContainerSettings guarded{.protected_aliases = {{"Champion", "eve"}}};
  ASSERT_OK(registry.SetSettings(world.ann, schema, {}, guarded));
  EXPECT_EQ(copied(), "permission denied") << "an alias that bob may not set";
  const ContainerSettings strict{.signature_required = true};
  ASSERT_OK(registry.SetSettings(world.ann, schema, guarded, strict));
  EXPECT_EQ(copied(), "failed precondition") << "unsigned";
  ASSERT_OK(world.Commit(world.model));
  const ContainerSettings narrow{.max_versions = 1};
  ASSERT_OK(registry.SetSettings(world.ann, schema, strict, narrow));
  EXPECT_EQ(copied(), "limit reached") << "two versions";
  const ContainerSettings full{.max_models = 0};
  ASSERT_OK(registry.SetSettings(world.ann, schema, narrow, full));
  EXPECT_EQ(copied(), "limit reached") << "no models";
  EXPECT_FALSE(is_there());
  EXPECT_EQ(Outcome(registry.CheckModelCopy(bob, world.model, schema)), "limit reached");
  EXPECT_EQ(Outcome(registry.CheckModelCopy(bob, world.model, store::kMetastoreId)), "permission denied");
  ASSERT_OK(registry.SetSettings(world.ann, schema, full, {}));

  EXPECT_EQ(copied(), "ok");
  const ObjectId copy = registry.LookupChild(world.ann, schema, "m")->id;
  EXPECT_EQ(registry.Get(bob, copy)->owner, "bob");
  EXPECT_EQ(registry.ResolveAlias(bob, copy, "Champion")->number, 1U);
  // Into another owner's model: the right to make versions, and no other.
  const ObjectId theirs = world.Make("prod.other.theirs");
  const auto added = [&] { return Outcome(registry.CopyModel(bob, world.model, schema, "theirs")); };
  EXPECT_EQ(added(), "permission denied");
  ASSERT_OK(world.Grant(theirs, "bob", {Privilege::kCreateModelVersion}));
  EXPECT_EQ(added(), "ok");
  // The copy's parent is masked for callers that may not see it, in its own record too.
  const auto trail = registry.Activity(world.ann, copy, 100).value();
  EXPECT_EQ(trail.front().params.at("source"), "models:/prod.ml.iris");
}

TEST(Access, AnInvisibleParentIsMasked) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  const Caller eve = Someone("eve");
  const ObjectId copy = world.Make("prod.open.copy");
  ASSERT_OK(registry.CopyVersion(world.ann, world.model, 1, copy));
  const ObjectId open_schema = registry.Get(world.ann, copy)->parent;
  ASSERT_OK(world.Grant(world.catalog, "eve", {Privilege::kUseCatalog}));
  ASSERT_OK(world.Grant(open_schema, "eve", {Privilege::kUseSchema, Privilege::kExecute}));
  const auto sources = [&](const Caller& caller) {
    std::vector<std::string> seen;
    for (const VersionInfo& info : {*registry.GetVersion(caller, copy, 1), *registry.Lineage(caller, copy, 1),
                                    registry.ListVersions(caller, copy, {})->items.front()}) {
      seen.push_back(info.source_masked ? "masked" + info.source : info.source);
    }
    return seen;
  };
  const auto activity = [&](const Caller& caller) {
    std::string seen;
    const std::vector<AuditRecord> records = registry.Activity(caller, copy, 100).value();
    for (const AuditRecord& record : records) seen += JsonText(ActivityJson(record), -1);
    return seen;
  };
  EXPECT_NE(activity(world.ann).find("prod.ml.iris"), std::string::npos);
  EXPECT_EQ(activity(eve).find("iris"), std::string::npos) << activity(eve);
  EXPECT_EQ(sources(world.ann), std::vector<std::string>(3, "models:/prod.ml.iris/1"));
  EXPECT_EQ(sources(eve), std::vector<std::string>(3, "masked"));
  ASSERT_OK(world.Grant(world.schema, "eve", {Privilege::kUseSchema}));
  ASSERT_OK(world.Grant(world.model, "eve", {Privilege::kApplyTag}));
  EXPECT_EQ(sources(eve), sources(world.ann))
      << "a caller that may see the source may see it as the parent of its copies";

  // Lineage is for callers that may know of the model, and shows no more than that.
  const Caller bob = Someone("bob");
  EXPECT_EQ(Outcome(registry.Lineage(bob, copy, 1)), Outcome(registry.Get(bob, copy)));
  ASSERT_OK(world.Grant(world.catalog, "bob", {Privilege::kBrowse}));
  EXPECT_EQ(Outcome(registry.GetVersion(bob, copy, 1)), "permission denied");
  const Result<VersionInfo> browsed = registry.Lineage(bob, copy, 1);
  ASSERT_OK(browsed);
  EXPECT_EQ(browsed->source, "models:/prod.ml.iris/1");
  EXPECT_EQ(browsed->total_bytes, 0U);
  EXPECT_TRUE(browsed->aliases.empty());
}

ObjectRights RightsByChecks(World& world, const Caller& caller, ObjectKind kind) {
  const auto may = [&](Operation operation) {
    return RowOf(operation, kind) != nullptr && world.Check(caller, operation, world.On(kind)) == "ok";
  };
  return {.see = may(Operation::kSee),
          .get = may(Operation::kGet),
          .read_files = may(Operation::kReadFiles),
          .tag = may(Operation::kTag) || may(Operation::kDescribe) || may(Operation::kSetOwner),
          .change_versions = may(Operation::kCreateVersion) || may(Operation::kDeleteVersion),
          .set_alias = may(Operation::kSetAlias)};
}

// The rights that a host derives from it: a user has those of its own entry, else those of its groups, else
// everyone's.
ObjectRights RightsByTheHost(const ObjectAccess& access, const Caller& caller) {
  ObjectRights by_groups = access.everyone;
  for (const PrincipalRights& entry : access.entries) {
    if (entry.principal.kind != PrincipalKind::kGroup) {
      if (entry.principal.name == caller.principal) return entry.rights | access.everyone;
    } else if (std::count(caller.groups.begin(), caller.groups.end(), entry.principal.name) != 0) {
      by_groups = by_groups | entry.rights;
    }
  }
  for (const LesserRights& entry : access.lesser) {
    if (entry.principal.name == caller.principal) return entry.rights | access.everyone;
  }
  return by_groups;
}

// Grants and owners at random: a permitted user is never shut out, whatever its groups of the host. The users
// that the groups of the host would give too much are listed exactly.
TEST(Access, TheRightsForFrontEndsExcludeNoPermittedUser) {
  const std::vector<std::string> groups{"g1", "g2", "g3"};
  const std::vector<std::string> holders{"g1", "g2", "g3", "bob", "eve", "team", std::string(kAccountUsers)};
  constexpr ObjectKind kContainersAndModel[] = {ObjectKind::kCatalog, ObjectKind::kSchema,
                                                ObjectKind::kModel};
  std::mt19937 random(cas::TestSeed());
  const auto below = [&](size_t bound) {
    return std::uniform_int_distribution<size_t>(0, bound - 1)(random);
  };
  size_t more_than_they_have = 0;
  for (int round = 0; round < 150; ++round) {
    SCOPED_TRACE(::testing::Message() << "round " << round);
    World world;
    world.directory.groups = {"g1", "g2", "g3"};
    world.directory.users["bob"] = {"g1", "g2"};
    world.directory.users["cyd"] = {"g3"};
    ASSERT_OK(world.registry->CreatePrincipal(world.ann, PrincipalKind::kGroup, "team"));
    ASSERT_OK(world.registry->AddMember(world.ann, "team", "cyd"));
    ASSERT_OK(world.registry->AddMember(world.ann, "team", "g2"));
    std::vector<std::pair<ObjectKind, std::string>> named;
    for (size_t grants = 2 + below(7); grants > 0; --grants) {
      const ObjectKind on = kContainersAndModel[below(3)];
      const std::vector<Privilege> grantable = Grantable(on).ToList();
      named.emplace_back(on, holders[below(holders.size())]);
      ASSERT_OK(world.Grant(world.On(on), named.back().second, {grantable[below(grantable.size())]}));
    }
    if (below(2) == 0) {
      named.emplace_back(kContainersAndModel[below(3)], holders[below(6)]);
      ASSERT_OK(world.registry->SetOwner(world.ann, world.On(named.back().first), named.back().second));
    }
    if (below(4) == 0) {
      world.directory.users["ann"] = {"g3"};
      ASSERT_OK(world.registry->SetOwner(world.ann, kMetastoreId, "g3"));
    }
    Caller daemon = Someone("ann");
    daemon = world.registry->ForUpkeep(daemon);
    for (const ObjectKind kind : kContainersAndModel) {
      const ObjectAccess access = world.registry->AccessOf(daemon, world.On(kind)).value();
      const auto is_named = [&](const std::string& as) {
        return std::any_of(named.begin(), named.end(),
                           [&](const auto& each) { return each.first <= kind && each.second == as; });
      };
      const std::tuple<Caller, bool> users[] = {{Someone("bob", {"g1", "g2"}), is_named("bob")},
                                                {Someone("cyd", {"g3"}), is_named("team")},
                                                {Someone("eve"), true},
                                                {Someone("zoe"), true}};
      for (const auto& [user, exact] : users) {
        const ObjectRights may = RightsByChecks(world, user, kind);
        const ObjectRights host = RightsByTheHost(access, user);
        EXPECT_EQ(host | may, host) << user.principal << " is shut out of the " << KindName(kind);
        EXPECT_TRUE(host == may || !exact) << user.principal << " has more on the " << KindName(kind);
      }
      for (unsigned subset = 1; subset < 8; ++subset) {
        Caller member = Someone("fay");
        for (size_t i = 0; i < 3; ++i) {
          if ((subset >> i & 1U) != 0) member.groups.push_back(groups[i]);
        }
        const ObjectRights may = RightsByChecks(world, member, kind);
        const ObjectRights host = RightsByTheHost(access, member);
        EXPECT_EQ(host | may, host) << "a member of " << subset << " is shut out of the " << KindName(kind);
        EXPECT_TRUE(host == may || subset != 7) << "a member of all has more on the " << KindName(kind);
        if (!(host == may)) ++more_than_they_have;
      }
    }
  }
  RecordProperty("more_than_they_have", static_cast<int>(more_than_they_have));
}

TEST(Access, AGrantToAKnownPrincipalMakesNoNewListOfNamesakes) {
  World world;
  Caller daemon = world.registry->ForUpkeep(Someone("ann"));
  const auto namesakes = [&] { return world.registry->AccessOf(daemon, world.model)->namesakes; };
  ASSERT_OK(world.Grant(world.model, "bob", {Privilege::kExecute}));
  const auto known = namesakes();
  ASSERT_NE(known, nullptr);
  ASSERT_OK(world.Revoke(world.model, "bob", {Privilege::kExecute}));
  EXPECT_EQ(namesakes(), known);
}

// A revoked right is gone for every change that was not committed before. Two registries on one engine act
// like two processes: within one, changes wait for each other.
TEST(Access, RacingRevokesAndChangesNeverCommitWithoutTheRight) {
  World world;
  const auto other = EmbeddedRegistry::Open(*world.kv, world.blobs, world.clock, &world.directory).value();
  const Caller bob = Someone("bob");
  ASSERT_OK(world.Grant(world.catalog, "bob", {Privilege::kUseCatalog, Privilege::kUseSchema}));
  for (int round = 0; round < 200; ++round) {
    ASSERT_OK(world.Grant(world.model, "bob", {Privilege::kApplyTag}));
    std::atomic<bool> started = false;
    std::thread tagger([&] {
      for (int i = 0; i < 20; ++i) {
        other->SetTag(bob, {world.model, std::nullopt}, "k", fmt::format("{}-{}", round, i))
            .IgnoreError("refused from the revoke on");
        started = true;
      }
    });
    while (!started) std::this_thread::yield();
    EXPECT_OK(world.Revoke(world.model, "bob", {Privilege::kApplyTag}));
    tagger.join();
  }
  bool revoked = false;
  size_t tags = 0;
  const auto trail = world.registry->Audit(world.ann, {.limit = 1'000'000}).value();
  for (const AuditRecord& record : trail) {
    if (record.action == "updatePermissions") {
      revoked = record.params.at("changes").find("\"remove\":[\"APPLY_TAG\"]") != std::string::npos;
    }
    if (record.action != "setRegisteredModelTag" || !record.change) continue;  // the refused ones
    ++tags;
    EXPECT_FALSE(revoked) << record.sequence;
  }
  EXPECT_GT(tags, 200U);
}

}  // namespace
}  // namespace modelfs::store
