#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/xattr.h>

#include <array>

#include "fs/zones/zones.h"
#include "tests/fs/zone_world.h"

namespace modelfs::fs {
namespace {

const std::map<std::string, std::string> kFiles = {
    {"MLmodel.txt", "flavors"},
    {"data/model.bin", "weights"},
    {"data/sub/deep", "d"},
    {"run.sh", "#!/bin/sh"},
};

NodeId RootOf(const store::VersionInfo& version) { return TreeNode(version.id, 0, Flavour::kCached); }

Entry Find(Zone& zone, const Request& request, NodeId node, std::initializer_list<std::string_view> path) {
  Entry entry;
  entry.node = node;
  for (const std::string_view name : path) {
    const auto found = zone.Lookup(request, entry.node, name);
    EXPECT_TRUE(found) << name << ": " << MessageOf(found);
    if (!found) return {};
    entry = *found;
  }
  return entry;
}

TEST(TreesZone, WalksAndReadsAVersion) {
  ZoneWorld world;
  const auto version = world.Commit(world.Make("prod.ml.iris"), kFiles);
  const auto zone = MakeTreesZone(world.context);
  const NodeId root = RootOf(version);

  EXPECT_EQ(NamesIn(*zone, world.request, root), (std::vector<std::string>{"MLmodel.txt", "data", "run.sh"}));
  const Entry data = Find(*zone, world.request, root, {"data"});
  EXPECT_EQ(data.attr.st_mode, mode_t{S_IFDIR | 0755});
  EXPECT_EQ(data.attr.st_nlink, nlink_t{3});
  EXPECT_EQ(NamesIn(*zone, world.request, data.node), (std::vector<std::string>{"model.bin", "sub"}));
  EXPECT_EQ(*zone->ParentOf(data.node), root);
  EXPECT_EQ(*zone->ParentOf(root), VersionsNode(version.model));

  const Entry file = Find(*zone, world.request, root, {"data", "model.bin"});
  EXPECT_EQ(file.attr.st_mode, mode_t{S_IFREG | 0644});
  EXPECT_EQ(file.attr.st_size, 7);
  EXPECT_EQ(file.attr.st_mtim.tv_sec, version.created_at_ms / 1000);
  EXPECT_EQ(Find(*zone, world.request, root, {"run.sh"}).attr.st_mode, mode_t{S_IFREG | 0755});

  const auto opened = zone->Open(world.request, file.node, O_RDONLY);
  ASSERT_TRUE(opened) << MessageOf(opened);
  EXPECT_EQ(opened->page_cache, PageCache::kKeep);
  EXPECT_EQ(ReadAll(*opened->handle), "weights");
  EXPECT_EQ(opened->handle->Blob(), DigestOf(std::string_view("weights")));
  EXPECT_EQ(opened->handle->Seek(2, SEEK_DATA).value(), 2U);
  EXPECT_EQ(opened->handle->Seek(2, SEEK_HOLE).value(), 7U);
  EXPECT_EQ(ErrnoOf(opened->handle->Seek(7, SEEK_DATA)), ENXIO);
  EXPECT_TRUE(opened->handle->Sync()) << "fsync of durable bytes";
}

TEST(TreesZone, EverythingMayBeCachedForEver) {
  ZoneWorld world;
  const auto version = world.Commit(world.Make("prod.ml.iris"), kFiles);
  const auto zone = MakeTreesZone(world.context);
  for (const bool plus : {false, true}) {
    for (const DirectoryEntry& each : ListAll(*zone, world.request, RootOf(version), plus)) {
      ASSERT_EQ(each.entry.has_value(), plus);
      const auto found = zone->Lookup(world.request, RootOf(version), each.name);
      ASSERT_TRUE(found);
      EXPECT_EQ(found->node, each.node);
      EXPECT_EQ(found->attr_ttl_s, kForever);
      EXPECT_EQ(found->entry_ttl_s, kForever);
      if (!plus) continue;
      EXPECT_EQ(each.entry->node, found->node);
      EXPECT_EQ(each.entry->attr.st_size, found->attr.st_size);
      EXPECT_EQ(each.entry->attr.st_mode, found->attr.st_mode);
      EXPECT_EQ(each.entry->attr_ttl_s, kForever);
      EXPECT_EQ(each.entry->entry_ttl_s, kForever);
    }
  }
  EXPECT_TRUE(zone->OpenDirectory(world.request, RootOf(version))->kernel_may_keep);
  const auto absent = zone->Lookup(world.request, RootOf(version), "none");
  ASSERT_TRUE(absent);
  EXPECT_EQ(absent->node, NodeId{0}) << "the absence of a name, too";
  EXPECT_EQ(absent->entry_ttl_s, kForever);
}

TEST(TreesZone, TheAliasDirectoryHasDirectoriesOfItsOwnAndTheVersionsFiles) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto version = world.Commit(model, kFiles);
  ASSERT_TRUE(world.registry->SetAlias(world.caller, model, "Champion", 1).ok());
  const auto objects = MakeObjectsZone(world.context);
  const auto zone = MakeTreesZone(world.context);
  const NodeId schema = ObjectNode(world.Make("prod.ml"));
  const auto alias = objects->Lookup(world.request, schema, "iris@Champion");
  ASSERT_TRUE(alias);

  const Entry data = Find(*zone, world.request, alias->node, {"data"});
  EXPECT_EQ(Parse(data.node).kind, NodeKind::kAliasTree);
  EXPECT_NE(data.node, Find(*zone, world.request, RootOf(version), {"data"}).node);
  EXPECT_EQ(*zone->ParentOf(data.node), alias->node);
  EXPECT_EQ(*zone->ParentOf(alias->node), schema);
  EXPECT_EQ(Find(*zone, world.request, data.node, {"model.bin"}).node,
            Find(*zone, world.request, RootOf(version), {"data", "model.bin"}).node)
      << "one file, one page cache";
  EXPECT_EQ(NamesIn(*zone, world.request, alias->node), NamesIn(*zone, world.request, RootOf(version)));
}

TEST(TreesZone, AVersionDeletedMeanwhileIsReadToTheEndAndNotOpenedAgain) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto version = world.Commit(model, kFiles);
  const auto zone = MakeTreesZone(world.context);
  const Entry file = Find(*zone, world.request, RootOf(version), {"data", "model.bin"});
  const NodeId unopened = Find(*zone, world.request, RootOf(version), {"run.sh"}).node;
  auto opened = zone->Open(world.request, file.node, O_RDONLY);
  auto again = zone->Open(world.request, file.node, O_RDONLY);
  ASSERT_TRUE(opened && again);
  ASSERT_TRUE(world.registry->DeleteVersion(world.caller, model, 1).ok());
  world.trees->Drop(version.id);  // as the watcher does

  EXPECT_EQ(ReadAll(*opened->handle), "weights");
  EXPECT_EQ(ErrnoOf(zone->Open(world.request, file.node, O_RDONLY)), ESTALE);
  EXPECT_EQ(ErrnoOf(zone->Lookup(world.request, RootOf(version), "data")), ESTALE);
  EXPECT_EQ(ErrnoOf(zone->OpenDirectory(world.request, RootOf(version))), ESTALE);

  // fstat(2) asks by the nodeid: it succeeds until the last handle is closed.
  again->handle.reset();
  const auto attr = zone->GetAttr(world.request, file.node);
  ASSERT_TRUE(attr) << MessageOf(attr);
  EXPECT_EQ(attr->attr.st_size, file.attr.st_size);
  EXPECT_EQ(attr->attr.st_mode, file.attr.st_mode);
  EXPECT_EQ(attr->attr.st_mtim.tv_sec, file.attr.st_mtim.tv_sec);
  EXPECT_EQ(attr->attr.st_nlink, nlink_t{0});
  EXPECT_EQ(ErrnoOf(zone->GetAttr(world.request, unopened)), ESTALE);
  EXPECT_EQ(ErrnoOf(zone->GetAttr(world.request, RootOf(version))), ESTALE) << "so that walks end here";
  opened->handle.reset();
  EXPECT_EQ(ErrnoOf(zone->GetAttr(world.request, file.node)), ESTALE);
}

// Before the watcher has seen the event, as in another mount of the same registry.
TEST(TreesZone, AVersionDeletedAndSweptIsGoneAndNotDamaged) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto version = world.Commit(model, kFiles);
  const auto never_read = world.Commit(model, {{"other", "files"}});
  const auto zone = MakeTreesZone(world.context);
  const Entry file = Find(*zone, world.request, RootOf(version), {"data", "model.bin"});
  const auto other = world.OtherProcess();
  ASSERT_TRUE(other->DeleteVersion(world.caller, model, 1).ok());
  EXPECT_EQ(ErrnoOf(zone->GetXattr(world.request, RootOf(version), "user.modelfs.status")), ESTALE);
  EXPECT_EQ(ErrnoOf(zone->ListXattr(world.request, RootOf(version))), ESTALE);
  EXPECT_EQ(ErrnoOf(zone->SetXattr(world.request, RootOf(version), "user.tag.x", "v", 0)), ESTALE);
  ASSERT_TRUE(world.blobs->Sweep({}, {.revision = UINT64_MAX}, false).ok());

  const auto opened = zone->Open(world.request, file.node, O_RDONLY);
  EXPECT_EQ(ErrnoOf(opened), ESTALE) << MessageOf(opened);
  EXPECT_EQ(MessageOf(opened), "prod.ml.iris/1: data/model.bin: the version was deleted");
  EXPECT_EQ(ErrnoOf(zone->Lookup(world.request, RootOf(version), "data")), ESTALE) << "and is not kept";

  // A version with a record and without its list of files is damaged, until it is deleted, too.
  EXPECT_EQ(ErrnoOf(zone->Lookup(world.request, RootOf(never_read), "other")), EIO);
  ASSERT_TRUE(other->DeleteVersion(world.caller, model, 2).ok());
  EXPECT_EQ(ErrnoOf(zone->Lookup(world.request, RootOf(never_read), "other")), ESTALE);
}

TEST(TreesZone, AFlippedBitIsAnErrorAndNeverAWrongByte) {
  ZoneWorld world;
  const auto version = world.Commit(world.Make("prod.ml.iris"), kFiles);
  world.FlipBit(DigestOf(std::string_view("weights")));
  // As after a restart: earlier verification is not trusted now.
  auto reopened = cas::LocalStore::Open(
      cas::RealFiles(), {.root = world.directory + "/blobs", .hash_threads = 0, .log = nullptr});
  ASSERT_TRUE(reopened.ok());
  world.context.blobs = reopened->get();
  {
    const auto zone = MakeTreesZone(world.context);
    const Entry file = Find(*zone, world.request, RootOf(version), {"data", "model.bin"});
    const auto opened = zone->Open(world.request, file.node, O_RDONLY);
    std::string message = MessageOf(opened);
    int got = ErrnoOf(opened);
    if (opened) {
      std::array<std::byte, 16> buffer;
      const auto read = opened->handle->Read(0, buffer);
      got = ErrnoOf(read);
      message = MessageOf(read);
    }
    EXPECT_EQ(got, EIO);
    EXPECT_NE(message.find("prod.ml.iris/1: data/model.bin"), std::string::npos) << message;
    EXPECT_NE(message.find(DigestOf(std::string_view("weights")).Hex().substr(0, 8)), std::string::npos)
        << message;
  }
  world.context.blobs = world.blobs.get();
}

// --- one nodeid, one way of reading ----------------------------------------------------------------

TEST(TreesZone, AFileThatBecomesNativeGetsANewNodeAndItsNamesAreLookedUpAgain) {
  ZoneWorld world;
  UnverifiedStore store(*world.blobs);
  world.context.blobs = &store;
  world.context.native = true;
  const auto version = world.Commit(world.Make("prod.ml.iris"), kFiles);
  {
    const auto zone = MakeTreesZone(world.context);
    const NodeId root = RootOf(version);
    const NodeId data = Find(*zone, world.request, root, {"data"}).node;
    const NodeId alias_data = AliasTreeNode(3, version.id, Parse(data).tree_node);
    const Entry before = Find(*zone, world.request, data, {"model.bin"});
    EXPECT_EQ(Parse(before.node).flavour, Flavour::kCached);
    EXPECT_EQ(Find(*zone, world.request, alias_data, {"model.bin"}).node, before.node);

    store.Verified(DigestOf(std::string_view("weights")));
    EXPECT_TRUE(world.notifier.WasTold(RecordingNotifier::Entry(data, "model.bin")));
    EXPECT_TRUE(world.notifier.WasTold(RecordingNotifier::Entry(alias_data, "model.bin")));
    EXPECT_EQ(world.notifier.told().size(), 2U) << "and no other name";
    const Entry after = Find(*zone, world.request, data, {"model.bin"});
    EXPECT_EQ(Parse(after.node).flavour, Flavour::kNative);
    EXPECT_EQ(InodeNumber(after.node), InodeNumber(before.node));

    store.Verified(DigestOf(std::string_view("weights")));
    EXPECT_EQ(world.notifier.told().size(), 2U) << "once is enough";
  }
  world.context.blobs = world.blobs.get();
}

TEST(TreesZone, AFileThatBecameNativeByBeingOpenedIsLookedUpAgain) {
  ZoneWorld world;
  UnverifiedStore store(*world.blobs);
  world.context.blobs = &store;
  world.context.native = true;
  const auto version = world.Commit(world.Make("prod.ml.iris"), kFiles);
  {
    const auto zone = MakeTreesZone(world.context);
    const Entry before = Find(*zone, world.request, RootOf(version), {"run.sh"});
    store.VerifiedSilently();
    ASSERT_TRUE(zone->Open(world.request, before.node, O_RDONLY));
    EXPECT_TRUE(world.notifier.WasTold(RecordingNotifier::Entry(RootOf(version), "run.sh")));
  }
  world.context.blobs = world.blobs.get();
}

TEST(TreesZone, AForgottenNameIsNotInvalidated) {
  ZoneWorld world;
  UnverifiedStore store(*world.blobs);
  world.context.blobs = &store;
  world.context.native = true;
  const auto version = world.Commit(world.Make("prod.ml.iris"), kFiles);
  {
    const auto zone = MakeTreesZone(world.context);
    zone->Forget(Find(*zone, world.request, RootOf(version), {"run.sh"}).node);
    store.Verified(DigestOf(std::string_view("#!/bin/sh")));
    EXPECT_TRUE(world.notifier.told().empty());
  }
  world.context.blobs = world.blobs.get();
}

TEST(TreesZone, WithoutPassthroughAllFilesAreCached) {
  ZoneWorld world;
  const auto version = world.Commit(world.Make("prod.ml.iris"), kFiles);
  const auto zone = MakeTreesZone(world.context);
  const Entry file = Find(*zone, world.request, RootOf(version), {"run.sh"});
  EXPECT_EQ(Parse(file.node).flavour, Flavour::kCached);
}

// --- extended attributes -----------------------------------------------------------------------------

TEST(TreesZone, FactsTagsAndDescriptionOfAVersionAreOnItsRoot) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  store::NewVersion fields;
  fields.source = "models:/staging.ml.iris/7";
  fields.run_id = "r1";
  const auto version = world.Commit(model, kFiles, fields);
  const auto zone = MakeTreesZone(world.context);
  const Request& request = world.request;
  for (const NodeId root : {RootOf(version), AliasTreeNode(2, version.id, 0)}) {
    const std::map<std::string, std::string> want = {
        {"user.modelfs.name", "prod.ml.iris"},
        {"user.modelfs.version", "1"},
        {"user.modelfs.status", "READY"},
        {"user.modelfs.sha256", version.tree.Hex()},
        {"user.modelfs.size", "24"},
        {"user.modelfs.cached", "24/24"},
        {"user.modelfs.source", "models:/staging.ml.iris/7"},
        {"user.modelfs.run_id", "r1"},
        {"user.modelfs.signature", "none"},
    };
    for (const auto& each : want) {
      const auto value = zone->GetXattr(request, root, each.first);
      ASSERT_TRUE(value) << each.first << ": " << MessageOf(value);
      EXPECT_EQ(*value, each.second) << each.first;
    }
    const auto names = zone->ListXattr(request, root);
    ASSERT_TRUE(names);
    EXPECT_EQ(names->size(), want.size());

    EXPECT_EQ(ErrnoOf(zone->SetXattr(request, root, "user.tag.stage", "prod", 0)), 0);
    EXPECT_EQ(zone->GetXattr(request, root, "user.tag.stage").value(), "prod");
    EXPECT_EQ(ErrnoOf(zone->SetXattr(request, root, "user.description", "First.", 0)), 0);
    EXPECT_EQ(zone->GetXattr(request, root, "user.description").value(), "First.");
    EXPECT_EQ(ErrnoOf(zone->RemoveXattr(request, root, "user.tag.stage")), 0);
    EXPECT_EQ(ErrnoOf(zone->RemoveXattr(request, root, "user.description")), 0);
    EXPECT_EQ(ErrnoOf(zone->SetXattr(request, root, "user.modelfs.status", "x", 0)), EPERM);
    EXPECT_EQ(ErrnoOf(zone->SetXattr(request, root, "user.modelfs.owner", "ann", 0)), EPERM);
    EXPECT_EQ(ErrnoOf(zone->SetXattr(request, root, "user.tag.a.b", "x", 0)), EINVAL);
  }
}

TEST(TreesZone, AFileShowsItsDigestSizeAndLocalBytes) {
  ZoneWorld world;
  const auto version = world.Commit(world.Make("prod.ml.iris"), kFiles);
  const auto zone = MakeTreesZone(world.context);
  const NodeId file = Find(*zone, world.request, RootOf(version), {"data", "model.bin"}).node;
  EXPECT_EQ(zone->GetXattr(world.request, file, "user.modelfs.sha256").value(),
            DigestOf(std::string_view("weights")).Hex());
  EXPECT_EQ(zone->GetXattr(world.request, file, "user.modelfs.size").value(), "7");
  EXPECT_EQ(zone->GetXattr(world.request, file, "user.modelfs.cached").value(), "7/7");
  EXPECT_EQ(ErrnoOf(zone->GetXattr(world.request, file, "user.tag.stage")), ENODATA);
  EXPECT_EQ(ErrnoOf(zone->GetXattr(world.request, file, "system.posix_acl_access")), ENODATA);
  EXPECT_EQ(zone->ListXattr(world.request, file)->size(), 3U);
  const NodeId directory = Find(*zone, world.request, RootOf(version), {"data"}).node;
  EXPECT_TRUE(zone->ListXattr(world.request, directory)->empty());
}

TEST(TreesZone, OpensForPermittedReadersAndAuditsEachDecisionOnce) {
  ZoneWorld world;
  const auto version = world.Commit(world.Make("prod.ml.iris"), kFiles);
  const auto zone = MakeTreesZone(world.context);
  uint64_t seen = 0;
  const auto decisions = [&] {
    EXPECT_TRUE(world.registry->FlushAudit().ok());
    std::vector<std::string> list;
    store::AuditQuery query;
    query.after_sequence = seen;
    query.action = store::kOpenAction;
    const auto records = world.registry->Audit(world.caller, query).value();
    for (const store::AuditRecord& record : records) {
      EXPECT_EQ(record.object, version.model);
      EXPECT_EQ(record.full_name, "prod.ml.iris");
      EXPECT_FALSE(record.change);
      std::string line = fmt::format("{} {}", record.principal, record.status);
      for (const char* param : {"version_arg", "file", "directory", "count"}) {
        if (record.params.count(param) > 0) line += " " + record.params.at(param);
      }
      list.push_back(line);
      seen = record.sequence;
    }
    return list;
  };
  const Entry file = Find(*zone, world.request, RootOf(version), {"data", "model.bin"});
  const Request eve = world.RequestOf(60003, 60003);
  const auto refused = zone->Open(eve, file.node, O_RDONLY);
  EXPECT_EQ(ErrnoOf(refused), EACCES);
  EXPECT_NE(MessageOf(refused).find("USE"), std::string::npos) << MessageOf(refused);
  EXPECT_EQ(ErrnoOf(zone->OpenDirectory(eve, RootOf(version))), EACCES);
  const Entry folder = Find(*zone, world.request, RootOf(version), {"data"});
  EXPECT_EQ(ErrnoOf(zone->OpenDirectory(eve, folder.node)), EACCES);
  EXPECT_EQ(decisions(),
            (std::vector<std::string>{"eve 403 1 data/model.bin", "eve 403 1", "eve 403 1 data"}));

  for (const char* container : {"prod", "prod.ml"}) {
    world.Grant(world.Make(container), "eve",
                {std::string_view(container) == "prod" ? store::Privilege::kUseCatalog
                                                       : store::Privilege::kUseSchema});
  }
  world.Grant(version.model, "eve", {store::Privilege::kExecute});
  const auto opened = zone->Open(eve, file.node, O_RDONLY);
  ASSERT_TRUE(opened) << MessageOf(opened);
  EXPECT_EQ(ReadAll(*opened->handle), "weights");
  EXPECT_EQ(decisions(), std::vector<std::string>{"eve 200 1 data/model.bin"});
  // An open file is read to the end; a new open is decided anew.
  world.Revoke(version.model, "eve", {store::Privilege::kExecute});
  EXPECT_EQ(ReadAll(*opened->handle), "weights");
  EXPECT_EQ(ErrnoOf(zone->Open(eve, file.node, O_RDONLY)), EACCES);
  EXPECT_EQ(ErrnoOf(zone->GetXattr(eve, file.node, "user.modelfs.sha256")), EACCES);
  EXPECT_EQ(ErrnoOf(zone->ListXattr(eve, file.node)), EACCES);
  EXPECT_TRUE(zone->Lookup(eve, RootOf(version), "MLmodel.txt")) << "a name does not depend on the caller";
}

}  // namespace
}  // namespace modelfs::fs
