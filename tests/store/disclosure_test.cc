// What the registry does not tell: everybody's grants, where a version came from, what a hidden model is
// called.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "store/audit_json.h"
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

// prod.s.m, whose files eve may read, and prod.s.hid, which she may not see.
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
    for (const AuditRecord& record : *records) text += AuditJson(record) + "\n";
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
  // One record of two people, of which eve is one.
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
  for (const Caller& caller : {world.ann, Someone("bob")}) {  // the owner, and who has MANAGE
    if (caller.principal == "bob") {
      world.Grant(world.catalog, "bob", {Privilege::kUseCatalog, Privilege::kUseSchema});
    }
    const std::string all = world.Activity(caller);
    EXPECT_TRUE(Says(all, "MANAGE") && Says(all, "bob")) << all;
  }
}

TEST(Disclosure, WhatIsLeftOutOfAnActivityTakesNoPlaceInIt) {
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
