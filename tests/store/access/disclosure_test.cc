// Facts that the registry does not disclose: other principals' grants, the source of a version, the name of a
// hidden model.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "store/access/operation_table.h"
#include "store/records/keys.h"
#include "store/records/records.h"
#include "store/registry_json.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::Box;
using testing::Outcome;

Caller Someone(const std::string& name) {
  Caller caller;
  caller.principal = name;
  caller.uid = 2000;
  caller.door = "test";
  return caller;
}

// Eve may read the files of prod.s.m, and may not see prod.s.hid.
struct World : Box {
  World() : Box(MakeMemoryKv()) {
    model = Make("prod.s.m");
    hidden = Make("prod.s.hid");
    schema = registry->Get(ann, model)->parent;
    catalog = registry->Get(ann, schema)->parent;
    EXPECT_OK(Commit(hidden));
    Grant(catalog, "eve", {Privilege::kUseCatalog, Privilege::kUseSchema});
    Grant(model, "eve", {Privilege::kExecute});
  }
  void Grant(ObjectId object, const std::string& principal, PrivilegeSet privileges) {
    EXPECT_OK(registry->ChangeGrants(ann, object, {{.principal = principal, .add = privileges}}));
  }
  std::string Activity(const Caller& caller, size_t limit = 100) {
    std::string text;
    const auto records = registry->Activity(caller, model, limit);
    EXPECT_OK(records);
    for (const AuditRecord& record : *records) text += JsonText(ActivityJson(record), -1) + "\n";
    return text;
  }

  ObjectId catalog = 0;
  ObjectId schema = 0;
  ObjectId model = 0;
  ObjectId hidden = 0;
};

bool Says(const std::string& text, std::string_view word) { return text.find(word) != std::string::npos; }

TEST(Disclosure, AModelsActivityShowsTheGrantsThatItsReaderMaySee) {
  World world;
  ASSERT_OK(world.registry->CreatePrincipal(world.ann, PrincipalKind::kGroup, "team"));
  ASSERT_OK(world.registry->AddMember(world.ann, "team", "eve"));
  world.Grant(world.model, "team", {Privilege::kApplyTag});
  // One record of two users, one of them eve.
  ASSERT_OK(world.registry->ChangeGrants(world.ann, world.model,
                                         {{.principal = "bob", .add = {Privilege::kManage}},
                                          {.principal = "eve", .remove = {Privilege::kExecute}},
                                          {.principal = "eve", .add = {Privilege::kExecute}}}));
  world.Grant(world.model, std::string(kAccountUsers), {Privilege::kCreateModelVersion});

  const std::string to_eve = world.Activity(Someone("eve"));
  EXPECT_FALSE(Says(to_eve, "bob")) << to_eve;
  EXPECT_FALSE(Says(to_eve, "MANAGE")) << to_eve;
  for (const std::string_view own :
       {"EXECUTE", "APPLY_TAG", "CREATE_MODEL_VERSION", "createRegisteredModel"}) {
    EXPECT_TRUE(Says(to_eve, own)) << own << " is missing in " << to_eve;
  }
  for (const Caller& caller : {world.ann, Someone("bob")}) {  // the owner, and a caller with MANAGE
    if (caller.principal == "bob") {
      world.Grant(world.catalog, "bob", {Privilege::kUseCatalog, Privilege::kUseSchema});
    }
    const std::string all = world.Activity(caller);
    EXPECT_TRUE(Says(all, "MANAGE") && Says(all, "bob")) << all;
  }
}

// The source of prod.s.m/1 as a caller sees it, by each call that returns it.
std::string SourceOf(World& world, const Caller& caller, VersionNumber number = 1) {
  const auto version = world.registry->GetVersion(caller, world.model, number);
  EXPECT_OK(version);
  const auto listed = world.registry->ListVersions(caller, world.model, {});
  EXPECT_EQ(listed->items.at(number - 1).source, version->source);
  EXPECT_EQ(listed->items.at(number - 1).source_masked, version->source_masked);
  EXPECT_TRUE(version->source.empty() || !version->source_masked);
  return version->source_masked ? "masked" : version->source;
}

TEST(Disclosure, AHiddenParentStaysHiddenWhenRenamedOrDeleted) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  const Caller eve = Someone("eve");
  ASSERT_OK(registry.CopyVersion(world.ann, world.hidden, 1, world.model));
  ASSERT_OK(registry.SetOwner(world.ann, world.model, "bob"));
  world.Grant(world.catalog, "bob", {Privilege::kUseCatalog, Privilege::kUseSchema});
  EXPECT_EQ(SourceOf(world, eve), "masked");

  ASSERT_OK(registry.Rename(world.ann, world.hidden, "hid2"));
  EXPECT_EQ(SourceOf(world, eve), "masked");
  EXPECT_FALSE(Says(world.Activity(eve), "hid")) << world.Activity(eve);
  EXPECT_EQ(SourceOf(world, world.ann), "models:/prod.s.hid2/1") << "it is the same model under another name";
  // Another model of the old name is not the parent.
  const ObjectId other = world.Make("prod.s.hid");
  world.Grant(other, "eve", {Privilege::kExecute});
  EXPECT_EQ(SourceOf(world, eve), "masked");
  ASSERT_OK(registry.Delete(world.ann, other, Registry::DeleteMode::kIfEmpty));

  ASSERT_OK(registry.Delete(world.ann, world.hidden, Registry::DeleteMode::kWithVersions));
  EXPECT_EQ(SourceOf(world, eve), "masked");
  EXPECT_EQ(SourceOf(world, Someone("bob")), "masked") << "the owner could not see it either";
  EXPECT_FALSE(Says(world.Activity(eve), "hid")) << world.Activity(eve);
  EXPECT_EQ(SourceOf(world, world.ann), "models:/prod.s.hid/1");
  EXPECT_TRUE(Says(world.Activity(world.ann), "models:/prod.s.hid/1"));
}

TEST(Disclosure, TheCreatorOfACopyStillSeesItsDeletedParent) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  world.Grant(world.hidden, "eve", {Privilege::kExecute});
  world.Grant(world.model, "eve", {Privilege::kCreateModelVersion});
  ASSERT_OK(registry.CopyVersion(Someone("eve"), world.hidden, 1, world.model));
  ASSERT_OK(registry.Delete(world.ann, world.hidden, Registry::DeleteMode::kWithVersions));
  EXPECT_EQ(SourceOf(world, Someone("eve")), "models:/prod.s.hid/1");
  ASSERT_OK(registry.DeletePrincipal(world.ann, "eve"));
  world.clock.Advance(1);
  ASSERT_OK(registry.CreatePrincipal(world.ann, PrincipalKind::kUser, "eve"));
  world.Grant(world.catalog, "eve", {Privilege::kUseCatalog, Privilege::kUseSchema, Privilege::kExecute});
  EXPECT_EQ(SourceOf(world, Someone("eve")), "masked") << "another user of that name";
}

// A user that has rights by a group only has no record until a grant names it.
TEST(Disclosure, AVersionsCreatorKeepsItAfterGettingARecordButNotAfterDeletion) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  const Caller bob = Someone("bob");
  world.Grant(
      world.catalog, std::string(kAccountUsers),
      {Privilege::kUseCatalog, Privilege::kUseSchema, Privilege::kExecute, Privilege::kCreateModelVersion});
  ASSERT_OK(registry.CopyVersion(bob, world.hidden, 1, world.model));
  std::vector<VersionNumber> pending;
  for (int i = 0; i < 2; ++i) pending.push_back(registry.BeginVersion(bob, world.model, {})->number);
  ASSERT_OK(registry.Delete(world.ann, world.hidden, Registry::DeleteMode::kWithVersions));
  EXPECT_EQ(SourceOf(world, bob), "models:/prod.s.hid/1");
  world.clock.Advance(1);
  world.Grant(world.model, "bob", {Privilege::kApplyTag});
  EXPECT_EQ(SourceOf(world, bob), "models:/prod.s.hid/1");
  EXPECT_EQ(SourceOf(world, Someone("eve")), "masked");
  EXPECT_EQ(Outcome(registry.FailVersion(bob, world.model, pending[0], "x")), "ok");

  ASSERT_OK(registry.DeletePrincipal(world.ann, "bob"));
  EXPECT_EQ(SourceOf(world, bob), "masked");
  world.clock.Advance(1);
  world.Grant(world.model, "bob", {Privilege::kApplyTag});
  EXPECT_EQ(SourceOf(world, bob), "masked") << "another user of that name";
  EXPECT_EQ(Outcome(registry.FailVersion(bob, world.model, pending[1], "x")), "permission denied");
}

TEST(Disclosure, ATypedSourceIsTheModelThatItNamedThenOrAText) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  const Caller eve = Someone("eve");
  const std::vector<std::string> typed = {"models:/prod.s.hid/7", "models:/prod.s.hid@Champion",
                                          "models:/prod.s.never/1", "models:/elsewhere.s.m/1", "/data/hid"};
  for (const std::string& source : typed) {
    NewVersion fields;
    fields.source = source;
    ASSERT_OK(world.Commit(world.model, source, {}, fields));
  }
  const auto seen = [&](const Caller& caller) {
    std::vector<std::string> sources;
    for (VersionNumber number = 1; number <= typed.size(); ++number) {
      sources.push_back(SourceOf(world, caller, number));
    }
    return sources;
  };
  const std::vector<std::string> texts(typed.begin() + 2, typed.end());
  std::vector<std::string> to_eve = {"masked", "masked"};
  to_eve.insert(to_eve.end(), texts.begin(), texts.end());
  std::vector<std::string> to_ann = {"models:/prod.s.hid2/7", "models:/prod.s.hid2@Champion"};
  to_ann.insert(to_ann.end(), texts.begin(), texts.end());
  EXPECT_EQ(seen(world.ann), typed);
  EXPECT_EQ(seen(eve), to_eve);
  ASSERT_OK(registry.Rename(world.ann, world.hidden, "hid2"));
  EXPECT_EQ(seen(world.ann), to_ann);
  EXPECT_EQ(seen(eve), to_eve);
}

// Else a source would show which names are hidden and which are free.
TEST(Disclosure, ASourceThatIsHiddenFromItsWriterIsAText) {
  World world;
  const Caller eve = Someone("eve");
  world.Grant(world.model, "eve", {Privilege::kCreateModelVersion});
  world.Grant(world.model, "bob", {Privilege::kExecute});
  world.Grant(world.catalog, "bob", {Privilege::kUseCatalog, Privilege::kUseSchema});
  const std::vector<std::string> typed = {"models:/prod.s.hid/7", "models:/prod.s.never/7"};
  for (const std::string& source : typed) {
    NewVersion fields;
    fields.source = source;
    ASSERT_OK(world.registry->BeginVersion(eve, world.model, fields));
  }
  for (const Caller& caller : {eve, Someone("bob"), world.ann}) {
    EXPECT_EQ(SourceOf(world, caller, 1), typed[0]) << caller.principal;
    EXPECT_EQ(SourceOf(world, caller, 2), typed[1]) << caller.principal;
  }
  ASSERT_OK(world.registry->Rename(world.ann, world.hidden, "hid2"));
  EXPECT_EQ(SourceOf(world, eve, 1), typed[0]);
}

// As earlier programs left them: the version's record has only the name of its parent.
TEST(Disclosure, AnOldVersionsParentIsMaskedOnceItsNameLeadsNowhere) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  const Caller eve = Someone("eve");
  world.Grant(world.hidden, "eve", {Privilege::kExecute});
  ASSERT_OK(registry.CopyVersion(world.ann, world.hidden, 1, world.model));
  const std::string key = keys::Version(world.model, 1);
  {
    VersionRecord old =
        VersionRecord::Decode(world.kv->Read().value()->Get(key).value()->value, "version").value();
    old.source_model.reset();
    KvTransaction transaction;
    transaction.Put(key, old.Encode());
    ASSERT_OK(world.kv->Commit(transaction));
  }
  EXPECT_EQ(SourceOf(world, eve), "models:/prod.s.hid/1");
  ASSERT_OK(registry.Rename(world.ann, world.hidden, "hid2"));
  EXPECT_EQ(SourceOf(world, eve), "masked");
  EXPECT_EQ(SourceOf(world, world.ann), "models:/prod.s.hid/1");
}

// A file that was kept open leads to a model by its id, whatever its present name.
TEST(Disclosure, ARefusalDoesNotRevealAHiddenModelsPresentName) {
  World world;
  EmbeddedRegistry& registry = *world.registry;
  const Caller eve = Someone("eve");
  ASSERT_OK(registry.Rename(world.ann, world.hidden, "merger_with_acme"));
  const auto said = [&](Operation operation) {
    const Status allowed = registry.CheckAccess(eve, operation, world.hidden);
    EXPECT_EQ(Outcome(allowed), "permission denied");
    return allowed.ok() ? std::string() : allowed.error().message();
  };
  const auto all = [&] {
    std::string text;
    for (const OperationRow& row : kOperationRows) {
      if (row.on == ObjectKind::kModel) text += said(row.operation) + "\n";
    }
    return text + registry.Get(eve, world.hidden).error().message();
  };
  EXPECT_FALSE(Says(all(), "merger")) << all();
  EXPECT_TRUE(Says(said(Operation::kReadFiles), "eve may not read the files of this model: it lacks EXECUTE"))
      << said(Operation::kReadFiles);
  // A look-up by the name gets the same answer as one of an absent name.
  const auto by_name = registry.Lookup(eve, FullName{{"prod", "s", "merger_with_acme"}});
  EXPECT_TRUE(by_name.error().message().starts_with(
      "prod.s.merger_with_acme: no such model, or none that eve may see; if it exists: "))
      << by_name.error().message();

  ASSERT_OK(registry.ChangeGrants(world.ann, world.catalog,
                                  {{.principal = "eve", .remove = {Privilege::kUseSchema}}}));
  EXPECT_FALSE(Says(all(), "merger")) << all();
  EXPECT_TRUE(Says(said(Operation::kReadFiles), "GRANT USE SCHEMA ON SCHEMA prod.s TO `eve`"))
      << said(Operation::kReadFiles);

  world.Grant(world.catalog, "eve", {Privilege::kBrowse});
  EXPECT_TRUE(Says(said(Operation::kReadFiles), "model prod.s.merger_with_acme")) << "she may see it now";
}

// A hash over masked fields would prove a guess of them, and the next record repeats it.
TEST(Disclosure, AnActivityHasNoHashThatProvesAGuess) {
  World world;
  ASSERT_OK(world.registry->CopyVersion(world.ann, world.hidden, 1, world.model));
  ASSERT_OK(world.registry->SetAlias(world.ann, world.model, "Champion", 1));
  const std::vector<AuditRecord> log = world.registry->Audit(world.ann, {}).value();
  for (const Caller& caller : {Someone("eve"), world.ann}) {
    const std::vector<AuditRecord> records = world.registry->Activity(caller, world.model, 100).value();
    EXPECT_FALSE(records.empty());
    for (const AuditRecord& record : records) {
      EXPECT_TRUE(record.hash == Sha256{} && record.previous_hash == Sha256{}) << record.action;
    }
    const std::string text = world.Activity(caller);
    for (const AuditRecord& record : log) {
      EXPECT_FALSE(Says(text, Digest{record.hash, 0}.Hex())) << record.action;
    }
    EXPECT_EQ(Says(text, "source_model_id"), caller.principal == "ann") << text;
  }
}

TEST(Disclosure, RecordsLeftOutOfAnActivityDoNotCount) {
  World world;
  for (int i = 0; i < 3; ++i) {
    world.Grant(world.model, "bob", {Privilege::kApplyTag});
    ASSERT_OK(world.registry->ChangeGrants(world.ann, world.model,
                                           {{.principal = "bob", .remove = {Privilege::kApplyTag}}}));
  }
  EXPECT_TRUE(Says(world.Activity(Someone("eve"), 2), "createRegisteredModel"));
}

}  // namespace
}  // namespace modelfs::store
