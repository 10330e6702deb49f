#include "fs/watcher.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>

#include "tests/fs/zone_world.h"

namespace modelfs::fs {
namespace {

std::string Entry(NodeId parent, std::string_view name) { return RecordingNotifier::Entry(parent, name); }
std::string Attr(NodeId node) { return RecordingNotifier::Attr(node); }

// A registry that another process changes, and a watcher of this one.
class Watched {
 public:
  enum class Users { kOne, kAllOfTheHost };

  explicit Watched(Users users = Users::kOne) : other(world.OtherProcess()) {
    model = world.Make("prod.ml.iris");
    schema = world.Make("prod.ml");
    if (users == Users::kAllOfTheHost) world.Share();
    auto started = Watcher::Start(world.context);
    EXPECT_TRUE(started.ok());
    watcher = *std::move(started);
  }

  // Returns when the watcher has handled everything committed so far.
  void Settle() {
    const auto now = world.registry->CurrentRevision(world.caller);
    ASSERT_TRUE(now.ok());
    const Deadline deadline = Deadline::After(std::chrono::seconds(30));
    while (watcher->revision() < *now && !deadline.Passed()) {
      // A commit without an event moves the revision and not the watcher: its queue is empty then.
      const auto rest = world.registry->Events(world.context.daemon, watcher->revision(), 1);
      ASSERT_TRUE(rest.ok());
      if (rest->events.empty()) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  ZoneWorld world;
  std::unique_ptr<store::EmbeddedRegistry> other;
  store::ObjectId model = 0;
  store::ObjectId schema = 0;
  std::unique_ptr<Watcher> watcher;
};

TEST(Watcher, IgnoresEventsBeforeItsStart) {
  Watched watched;
  watched.Settle();
  EXPECT_TRUE(watched.world.notifier.told().empty());
}

// The notification of a name waits in the kernel for the requests in its directory, so none is sent in vain.
TEST(Watcher, OnlyTheOldNameOfAnObjectRenamedByOthersIsInvalidated) {
  Watched watched;
  ZoneWorld& world = watched.world;
  const auto made = watched.other->Create(world.caller, watched.schema, "rose", "");
  ASSERT_TRUE(made.ok());
  watched.Settle();
  EXPECT_TRUE(world.notifier.told().empty()) << "no kernel cached its absence";
  ASSERT_TRUE(watched.other->Rename(world.caller, watched.model, "lily").ok());
  watched.Settle();
  EXPECT_EQ(world.notifier.told(), (std::vector<std::string>{Entry(ObjectNode(watched.schema), "iris"),
                                                             Attr(ObjectNode(watched.model))}));
  ASSERT_TRUE(watched.other->Delete(world.caller, made->id, store::Registry::DeleteMode::kIfEmpty).ok());
  watched.Settle();
  EXPECT_EQ(world.notifier.told().size(), 3U);
  EXPECT_EQ(world.notifier.told().back(), Attr(ObjectNode(made->id)));
}

TEST(Watcher, CommitsAndAliasesOfOthersInvalidateNoName) {
  Watched watched;
  ZoneWorld& world = watched.world;
  world.Commit(watched.model, {{"a", "x"}});
  ASSERT_TRUE(watched.other->SetAlias(world.caller, watched.model, "Old", 1).ok());
  ASSERT_TRUE(watched.other->RenameAlias(world.caller, watched.model, "Old", "New").ok());
  ASSERT_TRUE(watched.other->DeleteAlias(world.caller, watched.model, "New").ok());
  watched.Settle();
  const std::set<std::string> told = [&] {
    const auto all = world.notifier.told();
    return std::set<std::string>(all.begin(), all.end());
  }();
  EXPECT_EQ(told, (std::set<std::string>{Attr(ObjectNode(watched.model)), Attr(VersionsNode(watched.model)),
                                         Attr(AliasesNode(watched.model))}));
}

TEST(Watcher, AVersionDeletedByOthersIsDroppedAndItsDirectoryInvalidated) {
  Watched watched;
  ZoneWorld& world = watched.world;
  const auto version = world.Commit(watched.model, {{"a", "x"}});
  watched.Settle();
  ASSERT_TRUE(world.trees->Get(version.id).ok());
  const size_t before = world.notifier.told().size();
  ASSERT_TRUE(watched.other->DeleteVersion(world.caller, watched.model, 1).ok());
  watched.Settle();
  EXPECT_EQ(world.trees->size(), 0U);
  EXPECT_FALSE(world.trees->Get(version.id).ok());
  const auto told = world.notifier.told();
  const auto since = told.begin() + static_cast<ptrdiff_t>(before);
  EXPECT_NE(std::find(since, told.end(), Attr(TreeNode(version.id, 0, Flavour::kCached))), told.end());
}

TEST(Watcher, AModelDeletedWithItsVersionsIsForgotten) {
  Watched watched;
  ZoneWorld& world = watched.world;
  const auto version = world.Commit(watched.model, {{"a", "x"}});
  ASSERT_TRUE(world.trees->Get(version.id).ok());
  ASSERT_TRUE(world.held_names->Hold(watched.model, ".x", {}, HeldNames::IfTaken::kRefuse));
  ASSERT_TRUE(
      watched.other->Delete(world.caller, watched.model, store::Registry::DeleteMode::kWithVersions).ok());
  watched.Settle();
  EXPECT_TRUE(world.notifier.WasTold(Attr(ObjectNode(watched.model))));
  EXPECT_FALSE(world.trees->Get(version.id).ok());
  EXPECT_FALSE(world.held_names->Find(watched.model, ".x"));
}

TEST(Watcher, ALogTrimmedPastItsPlaceInvalidatesEveryName) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  world.Commit(model, {{"a", "x"}});

  // Started under a registry with a log that is cut off before the watcher reads it.
  const auto revision = world.registry->CurrentRevision(world.caller);
  ASSERT_TRUE(revision.ok());
  auto started = Watcher::Start(world.context);
  ASSERT_TRUE(started.ok());
  // Trimming races the watcher, so commits and trims go on until it has met the gap.
  const Deadline deadline = Deadline::After(std::chrono::seconds(30));
  const std::string want = Entry(VersionsNode(model), "1");
  for (int i = 0; !world.notifier.WasTold(want) && !deadline.Passed(); ++i) {
    ASSERT_TRUE(world.registry->SetTag(world.caller, {model, {}}, "k", std::to_string(i)).ok());
    ASSERT_TRUE(world.kv->TrimLog(*world.registry->CurrentRevision(world.caller)).ok());
  }
  EXPECT_TRUE(world.notifier.WasTold(want));
  EXPECT_TRUE(world.notifier.WasTold(Entry(kRootNode, "prod")));
  EXPECT_TRUE(world.notifier.WasTold(Entry(ObjectNode(world.Make("prod.ml")), "iris")));
}

TEST(Watcher, StopsAtOnce) {
  for (int i = 0; i < 50; ++i) {
    Watched watched;
    watched.watcher.reset();  // would take a second each, if it waited for its wait to end
  }
}

TEST(Watcher, AGrantInvalidatesTheAclsThatItChanges) {
  Watched watched(Watched::Users::kAllOfTheHost);
  ZoneWorld& world = watched.world;
  const store::ObjectId elsewhere = world.Make("dev");
  watched.Settle();
  const NodeId below = VersionsNode(watched.model);
  const NodeId apart = ObjectNode(elsewhere);
  ASSERT_TRUE(world.acls->AclOf(below));
  ASSERT_TRUE(world.acls->AclOf(apart));
  watched.Settle();
  store::GrantChange change;
  change.principal = "ann";
  change.add = {store::Privilege::kUseSchema};
  ASSERT_TRUE(watched.other->ChangeGrants(world.caller, watched.schema, {change}).ok());
  watched.Settle();
  EXPECT_TRUE(world.notifier.WasTold(RecordingNotifier::Attr(below)));
  EXPECT_FALSE(world.notifier.WasTold(RecordingNotifier::Attr(apart)));
  ASSERT_TRUE(watched.other->CreatePrincipal(world.caller, store::PrincipalKind::kGroup, "ml-admins").ok());
  ASSERT_TRUE(watched.other->AddMember(world.caller, "ml-admins", "ann").ok());
  watched.Settle();
  EXPECT_TRUE(world.notifier.WasTold(RecordingNotifier::Attr(apart)))
      << "a group's members concern everything";
}

TEST(Watcher, ADeletedPrincipalInvalidatesTheObjectsItOwned) {
  Watched watched(Watched::Users::kAllOfTheHost);
  ZoneWorld& world = watched.world;
  ASSERT_TRUE(watched.other->CreatePrincipal(world.caller, store::PrincipalKind::kUser, "ann").ok());
  ASSERT_TRUE(watched.other->SetOwner(world.caller, watched.model, "ann").ok());
  const NodeId apart = ObjectNode(world.Make("dev"));
  watched.Settle();
  world.acls->GaveAttrs(std::vector<NodeId>{apart});
  ASSERT_TRUE(watched.other->CreatePrincipal(world.caller, store::PrincipalKind::kGroup, "ml-admins").ok());
  ASSERT_TRUE(watched.other->AddMember(world.caller, "ml-admins", "ann").ok());
  watched.Settle();
  EXPECT_FALSE(world.notifier.WasTold(RecordingNotifier::Attr(apart))) << "that changes no owner's uid";
  ASSERT_TRUE(watched.other->DeletePrincipal(world.caller, "ann").ok());
  watched.Settle();
  EXPECT_TRUE(world.notifier.WasTold(RecordingNotifier::Attr(apart)));
}

TEST(Watcher, ANewOwnerInvalidatesEveryDirectoryThatShowsIt) {
  Watched watched;
  ZoneWorld& world = watched.world;
  ASSERT_TRUE(watched.other->SetOwner(world.caller, watched.model, "ann").ok());
  watched.Settle();
  for (const NodeId node :
       {ObjectNode(watched.model), VersionsNode(watched.model), AliasesNode(watched.model)}) {
    EXPECT_TRUE(world.notifier.WasTold(RecordingNotifier::Attr(node)));
  }
}

}  // namespace
}  // namespace modelfs::fs
