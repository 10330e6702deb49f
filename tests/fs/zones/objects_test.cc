#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/xattr.h>

#include <algorithm>

#include "fs/zones/info.h"
#include "fs/zones/zones.h"
#include "tests/fs/zone_world.h"

namespace modelfs::fs {
namespace {

using ::testing::Test;

NodeId Resolve(Zone& zone, const Request& request, std::initializer_list<std::string_view> path) {
  NodeId node = kRootNode;
  for (const std::string_view name : path) {
    const auto entry = zone.Lookup(request, node, name);
    EXPECT_TRUE(entry) << name << ": " << MessageOf(entry);
    if (!entry) return 0;
    node = entry->node;
  }
  return node;
}

TEST(ObjectsZone, DirectoriesAreCatalogsSchemasAndModels) {
  ZoneWorld world;
  const auto zone = MakeObjectsZone(world.context);
  NodeId node = kRootNode;
  for (const std::string_view name : {"prod", "ml_team", "iris_model"}) {
    const auto made = zone->MakeDirectory(world.request, node, name, 0755);
    ASSERT_TRUE(made) << MessageOf(made);
    EXPECT_TRUE(S_ISDIR(made->attr.st_mode));
    const auto found = zone->Lookup(world.request, node, name);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->node, made->node);
    const auto parent = zone->ParentOf(made->node);
    ASSERT_TRUE(parent);
    EXPECT_EQ(*parent, node);
    node = made->node;
  }
  const auto model = world.registry->Lookup(world.caller, *store::FullName::Parse("prod.ml_team.iris_model"));
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(node, ObjectNode(model->id));
  EXPECT_EQ(NamesIn(*zone, world.request, node), (std::vector<std::string>{"aliases", "versions"}));
  EXPECT_EQ(Resolve(*zone, world.request, {"prod", "ml_team", "iris_model", "versions"}),
            VersionsNode(model->id));
  EXPECT_EQ(Resolve(*zone, world.request, {"prod", "ml_team", "iris_model", "aliases"}),
            AliasesNode(model->id));
}

TEST(ObjectsZone, DirectoriesShowTheMountsUserAndTheLastChange) {
  ZoneWorld world;
  world.context.uid = 4321;
  world.context.gid = 1234;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto zone = MakeObjectsZone(world.context);
  const auto info = world.registry->Get(world.caller, model);
  ASSERT_TRUE(info.ok());
  const auto attr = zone->GetAttr(world.request, ObjectNode(model));
  ASSERT_TRUE(attr);
  EXPECT_EQ(attr->attr.st_mode, mode_t{S_IFDIR | 0755});
  EXPECT_EQ(attr->attr.st_uid, uid_t{4321});
  EXPECT_EQ(attr->attr.st_gid, gid_t{1234});
  EXPECT_EQ(attr->attr.st_mtim.tv_sec, info->updated_at_ms / 1000);
  EXPECT_EQ(attr->attr.st_nlink, nlink_t{4});
  EXPECT_EQ(zone->GetAttr(world.request, kRootNode)->ttl_s, 1) << "the kernel is never notified of it";
}

TEST(ObjectsZone, HiddenNamesAreFoundAndNotListed) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto zone = MakeObjectsZone(world.context);
  EXPECT_EQ(NamesIn(*zone, world.request, kRootNode), std::vector<std::string>{"prod"});
  EXPECT_EQ(Resolve(*zone, world.request, {".modelfs"}), kControlDirectory);
  EXPECT_EQ(Resolve(*zone, world.request, {"prod", "ml", "iris", ".info"}),
            InfoNode(model, InfoFile::kDirectory));
}

TEST(ObjectsZone, TheFixedNamesOfAModelAreOrdinaryNamesElsewhere) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("versions.aliases.versions");
  const auto zone = MakeObjectsZone(world.context);
  EXPECT_EQ(Resolve(*zone, world.request, {"versions", "aliases", "versions"}), ObjectNode(model));
  EXPECT_EQ(Resolve(*zone, world.request, {"versions", "aliases", "versions", "versions"}),
            VersionsNode(model));
}

TEST(ObjectsZone, AnAliasIsADirectoryThatFollowsItAtOnce) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto first = world.Commit(model, {{"a", "one"}});
  const auto second = world.Commit(model, {{"a", "two"}});
  const auto zone = MakeObjectsZone(world.context);
  const NodeId schema = Resolve(*zone, world.request, {"prod", "ml"});

  ASSERT_TRUE(world.registry->SetAlias(world.caller, model, "Champion", 1).ok());
  const auto before = zone->Lookup(world.request, schema, "iris@Champion");
  ASSERT_TRUE(before) << MessageOf(before);
  EXPECT_EQ(Parse(before->node).kind, NodeKind::kAliasTree);
  EXPECT_EQ(Parse(before->node).version, first.id);
  EXPECT_EQ(before->entry_ttl_s, 0) << "an alias is looked up each time";

  ASSERT_TRUE(world.registry->SetAlias(world.caller, model, "Champion", 2).ok());
  const auto after = zone->Lookup(world.request, schema, "iris@Champion");
  ASSERT_TRUE(after);
  EXPECT_EQ(Parse(after->node).version, second.id);

  EXPECT_EQ(ErrnoOf(zone->Lookup(world.request, schema, "iris@champion")), ENOENT)
      << "aliases keep their case";
  EXPECT_EQ(ErrnoOf(zone->Lookup(world.request, schema, "other@Champion")), ENOENT);
  EXPECT_EQ(NamesIn(*zone, world.request, schema), std::vector<std::string>{"iris"}) << "it is not listed";
}

TEST(ObjectsZone, ListsManyChildrenInOrderAndWithTheirAttributes) {
  ZoneWorld world;
  const store::ObjectId schema = world.Make("prod.ml");
  std::vector<std::string> want;
  for (int i = 0; i < 2345; ++i) {  // more than two pages
    want.push_back(fmt::format("m{:05}", i));
    ASSERT_TRUE(world.registry->Create(world.caller, schema, want.back(), "").ok());
  }
  const auto zone = MakeObjectsZone(world.context);
  const auto entries = ListAll(*zone, world.request, ObjectNode(schema), true);
  ASSERT_EQ(entries.size(), want.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    ASSERT_EQ(entries[i].name, want[i]);
    ASSERT_TRUE(entries[i].entry);
  }
  const auto alone = zone->Lookup(world.request, ObjectNode(schema), want[1234]);
  ASSERT_TRUE(alone);
  EXPECT_EQ(entries[1234].entry->node, alone->node);
  EXPECT_EQ(entries[1234].entry->attr.st_mode, alone->attr.st_mode);
  EXPECT_EQ(entries[1234].entry->attr.st_nlink, alone->attr.st_nlink);
  EXPECT_EQ(entries[1234].entry->attr.st_mtim.tv_sec, alone->attr.st_mtim.tv_sec);
}

TEST(ObjectsZone, AnOpenListingKeepsItsOffsets) {
  ZoneWorld world;
  const store::ObjectId schema = world.Make("prod.ml");
  for (const char* name : {"b", "c", "d"}) {
    ASSERT_TRUE(world.registry->Create(world.caller, schema, name, "").ok());
  }
  const auto zone = MakeObjectsZone(world.context);
  const auto opened = zone->OpenDirectory(world.request, ObjectNode(schema));
  ASSERT_TRUE(opened);
  EXPECT_FALSE(opened->kernel_may_keep) << "listings differ between users";
  ASSERT_TRUE(world.registry->Create(world.caller, schema, "a", "").ok());
  for (const char* name : {"b", "c", "d"}) {
    const auto entry = opened->handle->At(static_cast<uint64_t>(name[0] - 'b'), false);
    ASSERT_TRUE(entry && *entry);
    EXPECT_EQ((*entry)->name, name);
  }
}

TEST(ObjectsZone, RmdirRemovesOnlyEmptyDirectories) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  world.Commit(model, {{"a", "x"}});
  const auto zone = MakeObjectsZone(world.context);
  const NodeId catalog = Resolve(*zone, world.request, {"prod"});
  const NodeId schema = Resolve(*zone, world.request, {"prod", "ml"});
  EXPECT_EQ(ErrnoOf(zone->RemoveDirectory(world.request, kRootNode, "prod")), ENOTEMPTY);
  EXPECT_EQ(ErrnoOf(zone->RemoveDirectory(world.request, catalog, "ml")), ENOTEMPTY);
  EXPECT_EQ(ErrnoOf(zone->RemoveDirectory(world.request, schema, "iris")), ENOTEMPTY);
  ASSERT_TRUE(world.registry->DeleteVersion(world.caller, model, 1).ok());
  EXPECT_EQ(ErrnoOf(zone->RemoveDirectory(world.request, schema, "iris")), 0);
  EXPECT_EQ(ErrnoOf(zone->RemoveDirectory(world.request, catalog, "ml")), 0);
  EXPECT_EQ(ErrnoOf(zone->RemoveDirectory(world.request, kRootNode, "prod")), 0);
  EXPECT_EQ(ErrnoOf(zone->Lookup(world.request, kRootNode, "prod")), ENOENT);
  EXPECT_EQ(ErrnoOf(zone->GetAttr(world.request, catalog)), ESTALE)
      << "so that the kernel walks the path again";
}

TEST(ObjectsZone, AModelIsRenamedWithinItsSchemaAndKeepsItsNode) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto zone = MakeObjectsZone(world.context);
  const NodeId schema = Resolve(*zone, world.request, {"prod", "ml"});
  const auto renamed = zone->Rename(world.request, schema, "iris", schema, "rose", 0);
  ASSERT_TRUE(renamed) << MessageOf(renamed);
  EXPECT_EQ(Resolve(*zone, world.request, {"prod", "ml", "rose"}), ObjectNode(model));
  EXPECT_EQ(ErrnoOf(zone->Lookup(world.request, schema, "iris")), ENOENT);
}

// Each refusal has its errno and names a remedy.
TEST(ObjectsZone, RefusalsNameARemedy) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  world.Make("prod.ml.rose");
  world.Make("prod.other.x");
  world.Commit(model, {{"a", "x"}});
  ASSERT_TRUE(world.registry->SetAlias(world.caller, model, "Champion", 1).ok());
  const auto zone = MakeObjectsZone(world.context);
  const Request& request = world.request;
  const NodeId catalog = Resolve(*zone, request, {"prod"});
  const NodeId schema = Resolve(*zone, request, {"prod", "ml"});
  const NodeId other = Resolve(*zone, request, {"prod", "other"});
  const NodeId node = ObjectNode(model);

  struct Row {
    std::string what;
    int got;
    std::string message;
    int want;
    std::string says;
  };
  std::vector<Row> rows;
  const auto add = [&rows](std::string what, const auto& outcome, int want, std::string says) {
    rows.push_back({std::move(what), ErrnoOf(outcome), MessageOf(outcome), want, std::move(says)});
  };
  add("mkdir in a model", zone->MakeDirectory(request, node, "x", 0755), EPERM, "versions/draft");
  add("mkdir of what is there", zone->MakeDirectory(request, schema, "iris", 0755), EEXIST, "iris");
  add("mkdir in upper case", zone->MakeDirectory(request, schema, "Iris", 0755), EINVAL, "lower case");
  add("mkdir of .modelfs", zone->MakeDirectory(request, kRootNode, ".modelfs", 0755), EEXIST, ".modelfs");
  add("mkdir of an alias", zone->MakeDirectory(request, schema, "iris@New", 0755), EINVAL, "@");
  add("a file in a schema", zone->Create(request, schema, "f", 0644, O_WRONLY), EPERM, "mkdir");
  add("a file in a model", zone->Create(request, node, "f", 0644, O_WRONLY), EPERM, "versions/draft");
  add("a symlink in a model", zone->MakeSymlink(request, node, "Champion", "versions/1"), EPERM, "ln -sfn");
  add("rmdir of an alias", zone->RemoveDirectory(request, schema, "iris@Champion"), EPERM,
      "rm iris/aliases/Champion");
  add("rmdir of versions", zone->RemoveDirectory(request, node, "versions"), EPERM, "part of the model");
  add("rmdir of .modelfs", zone->RemoveDirectory(request, kRootNode, ".modelfs"), EPERM, "cannot be removed");
  add("rmdir of nothing", zone->RemoveDirectory(request, schema, "none"), ENOENT, "none");
  add("rename of a catalog", zone->Rename(request, kRootNode, "prod", kRootNode, "p2", 0), EPERM,
      "only models");
  add("rename of a schema", zone->Rename(request, catalog, "ml", catalog, "ml2", 0), EPERM, "only models");
  add("rename of versions", zone->Rename(request, node, "versions", node, "v", 0), EPERM, "fixed");
  add("rename of an alias", zone->Rename(request, schema, "iris@Champion", schema, "x", 0), EPERM, "mv -T");
  add("rename across schemas", zone->Rename(request, schema, "iris", other, "iris", 0), EPERM,
      "cp -r iris/versions/N CATALOG");
  add("rename onto a model", zone->Rename(request, schema, "iris", schema, "rose", 0), EPERM, "rose");
  add("rename to upper case", zone->Rename(request, schema, "iris", schema, "Iris", 0), EPERM, "lower case");
  add("rename to an alias", zone->Rename(request, schema, "iris", schema, "a@b", 0), EPERM, "@");
  add("exchange", zone->Rename(request, schema, "iris", schema, "rose", RENAME_EXCHANGE), EPERM, "exchanged");
  add("rename of nothing", zone->Rename(request, schema, "none", schema, "x", 0), ENOENT, "none");
  add("chmod", zone->SetAttr(request, node, Changing(&AttrChange::mode, 0700)), EPERM, "grants");
  add("chown", zone->SetAttr(request, node, Changing(&AttrChange::uid, world.context.uid + 1)), EPERM,
      "user.modelfs.owner");
  for (const Row& row : rows) {
    EXPECT_EQ(row.got, row.want) << row.what << ": " << row.message;
    EXPECT_NE(row.message.find(row.says), std::string::npos) << row.what << ": " << row.message;
  }
  EXPECT_EQ(ErrnoOf(zone->SetAttr(request, node, Changing(&AttrChange::mode, 0755))), 0)
      << "a change to the same value is allowed: mkdir -m, install -d";
  EXPECT_EQ(ErrnoOf(zone->SetAttr(request, node, Changing(&AttrChange::mtime, timespec{1, 0}))), 0)
      << "tar -x";
  EXPECT_NE(zone->GetAttr(request, node)->attr.st_mtim.tv_sec, 1);
}

TEST(ObjectsZone, TagsAndDescriptionAreExtendedAttributes) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto zone = MakeObjectsZone(world.context);
  const Request& request = world.request;
  const NodeId node = ObjectNode(model);

  ASSERT_TRUE(zone->SetXattr(request, node, "user.tag.task", "classification", 0));
  ASSERT_TRUE(zone->SetXattr(request, node, "user.description", "Flowers.", 0));
  EXPECT_EQ(zone->GetXattr(request, node, "user.tag.task").value(), "classification");
  EXPECT_EQ(zone->GetXattr(request, node, "user.description").value(), "Flowers.");
  EXPECT_EQ(zone->GetXattr(request, node, "user.modelfs.name").value(), "prod.ml.iris");
  EXPECT_EQ(zone->GetXattr(request, node, "user.modelfs.owner").value(), world.caller.principal);
  EXPECT_EQ(zone->ListXattr(request, node).value(),
            (std::vector<std::string>{"user.description", "user.modelfs.name", "user.modelfs.owner",
                                      "user.tag.task"}));
  EXPECT_EQ(world.registry->Tags(world.caller, {model, {}})->at("task"), "classification");

  EXPECT_EQ(ErrnoOf(zone->SetXattr(request, node, "user.tag.task", "x", XATTR_CREATE)), EEXIST);
  EXPECT_EQ(ErrnoOf(zone->SetXattr(request, node, "user.tag.none", "x", XATTR_REPLACE)), ENODATA);
  EXPECT_EQ(ErrnoOf(zone->SetXattr(request, node, "user.tag.task", "y", XATTR_REPLACE)), 0);
  EXPECT_EQ(ErrnoOf(zone->SetXattr(request, node, "user.description", "x", XATTR_CREATE)), EEXIST);
  EXPECT_EQ(ErrnoOf(zone->RemoveXattr(request, node, "user.tag.task")), 0);
  EXPECT_EQ(ErrnoOf(zone->RemoveXattr(request, node, "user.tag.task")), ENODATA);
  EXPECT_EQ(ErrnoOf(zone->RemoveXattr(request, node, "user.description")), 0);
  EXPECT_EQ(ErrnoOf(zone->RemoveXattr(request, node, "user.description")), ENODATA);
  EXPECT_EQ(ErrnoOf(zone->SetXattr(request, node, "user.description", "x", XATTR_REPLACE)), ENODATA);
}

TEST(ObjectsZone, WrongAttributesAreRefusedByKind) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto zone = MakeObjectsZone(world.context);
  const Request& request = world.request;
  const NodeId node = ObjectNode(model);
  struct Row {
    std::string name;
    std::string value;
    int want;
  };
  const std::vector<Row> rows = {
      {"user.tag.a.b", "x", EINVAL},
      {"user.tag.", "x", EINVAL},
      {"user.tag.a=b", "x", EINVAL},
      {"user.modelfs.name", "x", EPERM},
      {"user.modelfs.sha256", "x", EPERM},
      {"user.comment", "x", EPERM},
      {"system.posix_acl_access", "x", EPERM},
      {"security.capability", "x", ENOTSUP},
      {"trusted.x", "x", ENOTSUP},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(ErrnoOf(zone->SetXattr(request, node, row.name, row.value, 0)), row.want) << row.name;
    EXPECT_EQ(ErrnoOf(zone->GetXattr(request, node, "user.nothing")), ENODATA);
  }
  for (size_t i = 0; i < store::kMaxTagsPerObject; ++i) {
    ASSERT_EQ(ErrnoOf(zone->SetXattr(request, node, fmt::format("user.tag.k{}", i), "v", 0)), 0);
  }
  EXPECT_EQ(ErrnoOf(zone->SetXattr(request, node, "user.tag.one_more", "v", 0)), EDQUOT);
}

TEST(ObjectsZone, TheOwnerIsTransferredByItsAttribute) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto zone = MakeObjectsZone(world.context);
  ASSERT_EQ(ErrnoOf(zone->SetXattr(world.request, ObjectNode(model), "user.modelfs.owner", "ann", 0)), 0);
  EXPECT_EQ(world.registry->Get(world.caller, model)->owner, "ann");
}

// The mount has no rules of its own about names: LOOKUP and mkdir apply those of store/names.h.
TEST(ObjectsZone, HostileNamesGetTheRegistrysVerdict) {
  ZoneWorld world;
  const store::ObjectId schema = world.Make("prod.ml");
  const auto zone = MakeObjectsZone(world.context);
  const NodeId node = ObjectNode(schema);
  const std::vector<std::string> names = {
      "",
      ".",
      "..",
      "a/b",
      std::string("a\0b", 3),
      std::string(255, 'a'),
      std::string(256, 'a'),
      "\xff\xfe",
      "caf\xc3\xa9",   // NFC
      "cafe\xcc\x81",  // its NFD twin
      "abc\xe2\x80\xae"
      "def",  // right-to-left override
      "a\xe2\x80\x8b"
      "b",  // zero-width space
      "Upper",
      "\xc3\x89t\xc3\xa9",  // É
      "line\n",
      "tab\t",
      "\x7f",
      "sp ace",
      "dot.ted",
      "at@sign",
      "plain-name_1",
      "\xe6\xa8\xa1\xe5\x9e\x8b",  // 模型
  };
  for (const std::string& name : names) {
    const Status verdict = store::CheckObjectName(name);
    const auto made = zone->MakeDirectory(world.request, node, name, 0755);
    EXPECT_EQ(ErrnoOf(made), verdict.ok() ? 0 : EINVAL) << name << ": " << MessageOf(made);
    const auto found = zone->Lookup(world.request, node, name);
    EXPECT_EQ(ErrnoOf(found), verdict.ok() ? 0 : ENOENT) << name;
    EXPECT_EQ(MessageOf(made).empty(), verdict.ok()) << name;
  }
}

// A nodeid outlives rights and names: a call on one without permission reveals nothing of its present name.
TEST(ObjectsZone, RefusalsDoNotRevealAHiddenModelsNewName) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.before");
  const store::VersionInfo version = world.Commit(model, {{"data/a", "x"}});
  ASSERT_TRUE(world.registry->Rename(world.caller, model, "merger").ok());
  const auto objects = MakeObjectsZone(world.context);
  const auto trees = MakeTreesZone(world.context);
  const auto info = MakeInfoZone(world.context);
  const NodeId node = ObjectNode(model);
  const NodeId root = TreeNode(version.id, 0, Flavour::kCached);
  const NodeId json = InfoNode(model, InfoFile::kVersionJson, 7);
  const NodeId data = trees->Lookup(world.request, root, "data")->node;
  const NodeId file = trees->Lookup(world.request, data, "a")->node;

  struct Row {
    std::string what;
    int got;
    std::string message;
    int want;
    bool names = true;  // the message names the model if the caller may see it
  };
  const auto refusals = [&](const Request& request) {
    std::vector<Row> rows;
    const auto add = [&rows](std::string what, const auto& outcome, int want, bool names = true) {
      rows.push_back({std::move(what), ErrnoOf(outcome), MessageOf(outcome), want, names});
    };
    add("mkdir", objects->MakeDirectory(request, node, "x", 0755), EPERM);
    add("creat", objects->Create(request, node, "x", 0644, O_WRONLY), EPERM);
    add("symlink", objects->MakeSymlink(request, node, "x", "y"), EPERM);
    add("rmdir", objects->RemoveDirectory(request, node, "versions"), EPERM);
    add("rename", objects->Rename(request, node, "versions", node, "x", 0), EPERM);
    add("exchange", objects->Rename(request, node, "versions", node, "aliases", RENAME_EXCHANGE), EPERM);
    add("chmod", objects->SetAttr(request, node, Changing(&AttrChange::mode, 0700)), EPERM);
    add("chown", objects->SetAttr(request, node, Changing(&AttrChange::uid, 1)), EPERM);
    add("setxattr", objects->SetXattr(request, node, "user.x", "y", 0), EPERM);
    add("setxattr of a fact", objects->SetXattr(request, node, "user.modelfs.name", "y", 0), EPERM);
    add("setxattr of an ACL", objects->SetXattr(request, node, "system.posix_acl_access", "y", 0), EPERM);
    add("setxattr of the owner", objects->SetXattr(request, node, "user.modelfs.owner", "y", XATTR_CREATE),
        EEXIST);
    add("removexattr", objects->RemoveXattr(request, node, "user.x"), EPERM);
    add("mkdir in a version", trees->MakeDirectory(request, root, "x", 0755), EROFS);
    add("creat in a version", trees->Create(request, data, "x", 0644, O_WRONLY), EROFS);
    add("symlink in a version", trees->MakeSymlink(request, root, "x", "y"), EROFS);
    add("unlink in a version", trees->Unlink(request, data, "a"), EROFS);
    add("rmdir in a version", trees->RemoveDirectory(request, root, "data"), EROFS);
    add("rename in a version", trees->Rename(request, root, "data", root, "x", 0), EROFS);
    add("chmod in a version", trees->SetAttr(request, file, Changing(&AttrChange::mode, 0700)), EROFS);
    add("open to write", trees->Open(request, file, O_RDWR), EROFS);
    add("setxattr in a version", trees->SetXattr(request, file, "user.tag.x", "y", 0), EROFS);
    add("setxattr of a version's fact", trees->SetXattr(request, root, "user.modelfs.name", "y", 0), EPERM);
    add("removexattr of it", trees->RemoveXattr(request, root, "user.modelfs.name"), EPERM);
    add("stat of a version's file that is gone", info->GetAttr(request, json), ENOENT, false);
    return rows;
  };
  const auto says = [](const Row& row, std::string_view what) {
    return row.message.find(what) != std::string::npos;
  };
  for (const Row& row : refusals(world.request)) {
    EXPECT_EQ(row.got, row.want) << row.what << ": " << row.message;
    EXPECT_EQ(says(row, "prod.ml.merger"), row.names) << row.what << ": " << row.message;
  }
  const Request eve = world.RequestOf(60003, 60003);
  for (const Row& row : refusals(eve)) {
    EXPECT_EQ(row.got, row.want) << row.what << ": " << row.message;
    EXPECT_FALSE(says(row, "merger") || says(row, "before")) << row.what << ": " << row.message;
    EXPECT_FALSE(says(row, "/1")) << row.what << ": " << row.message;
  }
  // A user that may tag a model sees it, and not its version numbers.
  world.Grant(world.Make("prod"), "bob", {store::Privilege::kUseCatalog});
  world.Grant(world.Make("prod.ml"), "bob", {store::Privilege::kUseSchema});
  world.Grant(model, "bob", {store::Privilege::kApplyTag});
  for (const Row& row : refusals(world.RequestOf(60002, 60002))) {
    EXPECT_EQ(says(row, "prod.ml.merger"), row.names) << row.what << ": " << row.message;
    EXPECT_FALSE(says(row, "/1")) << row.what << ": " << row.message;
  }
}

}  // namespace
}  // namespace modelfs::fs
