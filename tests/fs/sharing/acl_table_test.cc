#include "fs/sharing/acl_table.h"

#include <gtest/gtest.h>

#include <functional>

#include "fs/zones/zones.h"
#include "tests/fs/zone_world.h"

namespace modelfs::fs {
namespace {

using store::Privilege;

constexpr uid_t kAnn = 60001;
constexpr gid_t kDataScience = 60100;

class FixedClock : public Clock {
 public:
  int64_t NowMs() const override { return now_ms; }
  int64_t SinceBootMs() const override { return NowMs(); }
  int64_t now_ms = 1000;
};

// The entries of an encoded ACL by tag and id, as "u60001:5".
std::vector<std::string> NamedIn(const std::string& acl) {
  std::vector<std::string> named;
  for (size_t at = 4; at + 8 <= acl.size(); at += 8) {
    const auto byte = [&](size_t i) {
      return static_cast<uint32_t>(static_cast<unsigned char>(acl[at + i]));
    };
    const uint32_t tag = byte(0);
    if (tag != 2 && tag != 8) continue;
    const uint32_t id = byte(4) | byte(5) << 8U | byte(6) << 16U | byte(7) << 24U;
    named.push_back((tag == 2 ? "u" : "g") + std::to_string(id) + ":" + std::to_string(byte(2)));
  }
  return named;
}

std::vector<std::string> NamedOn(AclTable& table, NodeId node) {
  const auto acl = table.AclOf(node);
  EXPECT_TRUE(acl) << MessageOf(acl);
  if (!acl || !*acl) return {"none"};
  return NamedIn(**acl);
}

using Named = std::vector<std::string>;

struct Model {
  explicit Model(ZoneWorld& world)
      : catalog(world.Make("prod")), schema(world.Make("prod.ml")), model(world.Make("prod.ml.iris")) {
    version = world.Commit(model, {{"model.bin", "m"}, {"data/weights.bin", "w"}});
  }
  store::ObjectId catalog = 0;
  store::ObjectId schema = 0;
  store::ObjectId model = 0;
  store::VersionInfo version;
};

TEST(AclTable, EveryDirectoryShowsTheGrantsOfItsObject) {
  ZoneWorld world;
  const Model at(world);
  world.Share();
  world.Grant(at.catalog, "data-science", {Privilege::kUseCatalog});
  world.Grant(at.schema, "data-science", {Privilege::kUseSchema, Privilege::kExecute});
  world.Grant(at.catalog, "ann",
              {Privilege::kUseCatalog, Privilege::kUseSchema});  // a user's rights are exact
  world.Grant(at.model, "ann", {Privilege::kApplyTag});
  AclTable& table = *world.acls;
  const std::string ann = "u" + std::to_string(kAnn);
  const std::string group = "g" + std::to_string(kDataScience);
  const std::string keeper = "u" + std::to_string(::getuid()) + ":7";
  const auto with = [&](Named named) {
    named.insert(named.begin(), keeper);  // uid 0 sorts before all others, whatever user runs the tests
    return named;
  };
  EXPECT_EQ(NamedOn(table, ObjectNode(at.catalog)), with({ann + ":7", group + ":7"}));
  EXPECT_EQ(NamedOn(table, ObjectNode(at.schema)), with({ann + ":7", group + ":7"}));
  EXPECT_EQ(NamedOn(table, ObjectNode(at.model)), with({ann + ":7", group + ":5"}));
  EXPECT_EQ(NamedOn(table, VersionsNode(at.model)), with({ann + ":1", group + ":5"}));
  EXPECT_EQ(NamedOn(table, AliasesNode(at.model)), with({group + ":5"}));
  EXPECT_EQ(NamedOn(table, TreeNode(at.version.id, 0, Flavour::kCached)), with({ann + ":2", group + ":7"}));
  EXPECT_EQ(NamedOn(table, AliasTreeNode(3, at.version.id, 0)), with({ann + ":2", group + ":7"}));
  const uint32_t data = *world.trees->Get(at.version.id).value()->tree->Child(0, "data");
  const uint32_t file = *world.trees->Get(at.version.id).value()->tree->Child(0, "model.bin");
  EXPECT_EQ(NamedOn(table, TreeNode(at.version.id, data, Flavour::kCached)).back(), group + ":7");
  EXPECT_EQ(NamedOn(table, InfoNode(at.model, InfoFile::kDirectory)).back(), group + ":5");

  for (const NodeId none :
       {kRootNode, kControlDirectory, kControlStatus, TreeNode(at.version.id, file, Flavour::kCached),
        TreeNode(at.version.id, file, Flavour::kNative), AliasLinkNode(0, at.version.id), DraftNodeId(1, 1),
        InfoNode(at.model, InfoFile::kModelJson)}) {
    EXPECT_EQ(NamedOn(table, none), Named{"none"}) << std::hex << none;
  }
}

TEST(AclTable, AChangeInvalidatesTheObjectAndAllBelow) {
  ZoneWorld world;
  const Model at(world);
  const store::ObjectId other_model = world.Make("prod.ml.other");
  const store::ObjectId other_catalog = world.Make("dev");
  world.Share();
  AclTable& table = *world.acls;
  const NodeId kNodes[] = {ObjectNode(at.catalog),  ObjectNode(at.schema),
                           ObjectNode(at.model),    VersionsNode(at.model),
                           AliasesNode(at.model),   TreeNode(at.version.id, 0, Flavour::kCached),
                           ObjectNode(other_model), ObjectNode(other_catalog)};
  for (const NodeId node : kNodes) ASSERT_TRUE(table.AclOf(node));
  const auto told_by = [&](const std::function<void()>& change) {
    const size_t before = world.notifier.told().size();
    change();
    std::vector<std::string> told = world.notifier.told();
    told.erase(told.begin(), told.begin() + static_cast<ptrdiff_t>(before));
    std::string bits;
    for (const NodeId node : kNodes) {
      bits += std::count(told.begin(), told.end(), RecordingNotifier::Attr(node)) > 0 ? '1' : '0';
    }
    return bits;
  };
  EXPECT_EQ(told_by([&] { table.Changed(at.model); }), "00111100");
  EXPECT_EQ(told_by([&] { table.Changed(at.schema); }), "01111110");
  EXPECT_EQ(told_by([&] { table.Changed(at.catalog); }), "11111110");
  EXPECT_EQ(told_by([&] { table.Changed(other_catalog); }), "00000001");
  EXPECT_EQ(told_by([&] { table.AllChanged(); }), "11111111");
}

TEST(AclTable, AnObjectIsInvalidatedBeforeItsContents) {
  ZoneWorld world;
  const Model at(world);
  world.Share();
  AclTable& table = *world.acls;
  // More than a few nodes, with the objects' own neither first nor last: the order of notifications is not
  // the order of requests.
  std::vector<NodeId> nodes;
  for (int alias = 0; alias < 10; ++alias) nodes.push_back(AliasTreeNode(alias, at.version.id, 0));
  for (const store::ObjectId object : {at.catalog, at.schema, at.model}) nodes.push_back(ObjectNode(object));
  for (int i = 0; i < 20; ++i) nodes.push_back(ObjectNode(world.Make("prod.ml.other" + std::to_string(i))));
  for (const NodeId node : nodes) ASSERT_TRUE(table.AclOf(node));
  for (const store::ObjectId object : {at.model, at.schema, at.catalog}) {
    const size_t before = world.notifier.told().size();
    table.Changed(object);
    ASSERT_GT(world.notifier.told().size(), before);
    EXPECT_EQ(world.notifier.told()[before], RecordingNotifier::Attr(ObjectNode(object)));
  }
}

TEST(AclTable, AReadAfterAChangeShowsTheChange) {
  ZoneWorld world;
  const Model at(world);
  world.Share();
  world.Grant(at.catalog, "ann", {Privilege::kUseCatalog, Privilege::kUseSchema});
  FixedClock clock;
  AclTable table(world.context, clock);
  const std::string ann = "u" + std::to_string(kAnn) + ":5";
  const auto has_ann = [&] {
    const Named named = NamedOn(table, VersionsNode(at.model));
    return std::count(named.begin(), named.end(), ann) > 0;
  };
  EXPECT_FALSE(has_ann());
  world.Grant(at.model, "ann", {Privilege::kExecute});
  EXPECT_TRUE(has_ann()) << "whether or not the event has arrived";
  world.Revoke(at.model, "ann", {Privilege::kExecute});
  EXPECT_FALSE(has_ann());
  const uint64_t epoch = table.epoch();
  table.Changed(at.model);
  EXPECT_GT(table.epoch(), epoch);
}

TEST(AclTable, AFullTableForgetsTheOldestNode) {
  ZoneWorld world;
  const Model at(world);
  world.Share();
  FixedClock clock;
  AclTable table(world.context, clock, 2);
  ASSERT_TRUE(table.AclOf(ObjectNode(at.catalog)));
  ASSERT_TRUE(table.AclOf(ObjectNode(at.schema)));
  ASSERT_TRUE(table.AclOf(ObjectNode(at.catalog)));
  EXPECT_TRUE(world.notifier.told().empty());
  ASSERT_TRUE(table.AclOf(ObjectNode(at.model)));
  EXPECT_EQ(table.nodes(), 2U);
  EXPECT_EQ(world.notifier.told(), std::vector<std::string>{RecordingNotifier::Attr(ObjectNode(at.catalog))});
}

TEST(AclTable, ADeletedNodeHasNoAcl) {
  ZoneWorld world;
  const Model at(world);
  world.Share();
  ASSERT_TRUE(
      world.registry->Delete(world.caller, at.model, store::Registry::DeleteMode::kWithVersions).ok());
  world.trees->DropAll();
  EXPECT_EQ(ErrnoOf(world.acls->AclOf(ObjectNode(at.model))), ESTALE);
  EXPECT_EQ(ErrnoOf(world.acls->AclOf(VersionsNode(at.model))), ESTALE);
  EXPECT_EQ(ErrnoOf(world.acls->AclOf(TreeNode(at.version.id, 0, Flavour::kCached))), ESTALE);
}

// The kernel lets in the uid that it takes for the owner, by attributes that came without any ACL.
TEST(AclTable, AChangeOfIdsInvalidatesEachNodeThatShowsAnOwner) {
  ZoneWorld world;
  const Model at(world);
  world.Share();
  const std::vector<NodeId> given{ObjectNode(at.model), VersionsNode(at.model), AliasesNode(at.model),
                                  TreeNode(at.version.id, 0, Flavour::kCached), DraftNodeId(1, 1)};
  world.acls->GaveAttrs(given);
  world.acls->AllChanged();
  EXPECT_TRUE(world.notifier.told().empty()) << "group memberships do not affect attributes";
  const uint64_t before = world.acls->epoch();
  world.acls->IdsChanged();
  EXPECT_GT(world.acls->epoch(), before);
  for (size_t i = 0; i < given.size(); ++i) {
    EXPECT_EQ(world.notifier.WasTold(RecordingNotifier::Attr(given[i])), i < 3) << i;
  }
  // A node that a full table drops is notified at once, so that the kernel asks again.
  AclTable small(world.context, SystemClock(), 2);
  const NodeId first = ObjectNode(901);
  const NodeId second = ObjectNode(902);
  const NodeId third = ObjectNode(903);
  small.GaveAttrs(std::vector<NodeId>{first, second, first, second});
  EXPECT_FALSE(world.notifier.WasTold(RecordingNotifier::Attr(first)));
  small.GaveAttrs(std::vector<NodeId>{third});
  EXPECT_TRUE(world.notifier.WasTold(RecordingNotifier::Attr(first)));
  EXPECT_FALSE(world.notifier.WasTold(RecordingNotifier::Attr(second)));
}

TEST(AclTable, StatDependsOnTheOwnerAndOnNoGrant) {
  ZoneWorld world;
  const Model at(world);
  const auto zone = MakeObjectsZone(world.context);
  const auto trees = MakeTreesZone(world.context);
  world.Share();
  const auto stat_of = [&](Zone& of, NodeId node) { return of.GetAttr(world.request, node).value().attr; };
  EXPECT_EQ(stat_of(*zone, kRootNode).st_mode & ALLPERMS, kRootMode);
  EXPECT_EQ(stat_of(*zone, kRootNode).st_gid, kRootGroup);
  EXPECT_EQ(stat_of(*zone, ObjectNode(at.model)).st_mode & ALLPERMS, 0770U);
  EXPECT_EQ(stat_of(*zone, ObjectNode(at.model)).st_uid, ::getuid());
  ASSERT_TRUE(world.registry->SetOwner(world.caller, at.model, "ann").ok());
  EXPECT_EQ(stat_of(*zone, ObjectNode(at.model)).st_uid, kAnn);
  ASSERT_TRUE(world.registry->SetOwner(world.caller, at.model, "data-science").ok());
  EXPECT_EQ(stat_of(*zone, ObjectNode(at.model)).st_uid, kNoHostOwner);
  EXPECT_EQ(stat_of(*trees, TreeNode(at.version.id, 0, Flavour::kCached)).st_uid, kNoHostOwner);
  EXPECT_EQ(stat_of(*trees, TreeNode(at.version.id, 0, Flavour::kCached)).st_mode & ALLPERMS, 0770U);
  const auto tree = world.trees->Get(at.version.id).value()->tree;
  const NodeId data = TreeNode(at.version.id, *tree->Child(0, "data"), Flavour::kCached);
  const NodeId file = TreeNode(at.version.id, *tree->Child(0, "model.bin"), Flavour::kCached);
  EXPECT_EQ(stat_of(*trees, data).st_mode & ALLPERMS, 0770U);
  EXPECT_EQ(stat_of(*trees, file).st_mode & ALLPERMS, 0644U);
  for (const DirectoryEntry& entry : ListAll(*zone, world.request, ObjectNode(at.schema), true)) {
    EXPECT_EQ(entry.entry->attr.st_mode & ALLPERMS, 0770U);
    EXPECT_EQ(entry.entry->attr.st_uid, kNoHostOwner);
  }
}

}  // namespace
}  // namespace modelfs::fs
