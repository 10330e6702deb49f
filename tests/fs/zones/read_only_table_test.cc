// Every way to change a READY version: each returns EROFS and names a remedy.

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "fs/zones/zones.h"
#include "tests/fs/zone_world.h"

namespace modelfs::fs {
namespace {

struct Row {
  std::string what;
  std::function<Refusal()> act;
};

template <typename T>
Refusal RefusalOf(const Outcome<T>& outcome) {
  return outcome ? Refusal{0, "it was done"} : outcome.error();
}

std::vector<std::pair<std::string, AttrChange>> Changes() {
  const timespec now{0, UTIME_NOW};
  std::vector<std::pair<std::string, AttrChange>> changes;
  changes.emplace_back("chmod", Changing(&AttrChange::mode, 0600));
  changes.emplace_back("chmod to what it is", Changing(&AttrChange::mode, 0755));
  changes.emplace_back("chown", Changing(&AttrChange::uid, 12345));
  changes.emplace_back("chown to oneself", Changing(&AttrChange::uid, ::getuid()));
  changes.emplace_back("chgrp", Changing(&AttrChange::gid, 12345));
  changes.emplace_back("truncate", Changing(&AttrChange::size_bytes, 0));
  changes.emplace_back("extend", Changing(&AttrChange::size_bytes, 1U << 20U));
  changes.emplace_back("touch -a", Changing(&AttrChange::atime, now));
  changes.emplace_back("touch -m", Changing(&AttrChange::mtime, timespec{1, 0}));
  return changes;
}

void AddDirectoryRows(std::vector<Row>& rows, Zone& zone, const Request& request, const std::string& where,
                      NodeId directory, NodeId elsewhere, bool is_root) {
  const auto add = [&](std::string what, std::function<Refusal()> act) {
    rows.push_back({fmt::format("{} in {}", what, where), std::move(act)});
  };
  add("mkdir", [&zone, &request, directory] {
    return RefusalOf(zone.MakeDirectory(request, directory, "new", 0755));
  });
  add("mkdir of what is there", [&zone, &request, directory] {
    return RefusalOf(zone.MakeDirectory(request, directory, "file", 0755));
  });
  add("creat", [&zone, &request, directory] {
    return RefusalOf(zone.Create(request, directory, "new", 0644, O_WRONLY));
  });
  add("O_TMPFILE's stand-in", [&zone, &request, directory] {
    return RefusalOf(zone.Create(request, directory, "new", 0644, O_RDWR | O_EXCL));
  });
  add("symlink", [&zone, &request, directory] {
    return RefusalOf(zone.MakeSymlink(request, directory, "2", "../versions/2"));
  });
  add("unlink", [&zone, &request, directory] { return RefusalOf(zone.Unlink(request, directory, "file")); });
  add("unlink of nothing",
      [&zone, &request, directory] { return RefusalOf(zone.Unlink(request, directory, "none")); });
  add("rmdir",
      [&zone, &request, directory] { return RefusalOf(zone.RemoveDirectory(request, directory, "sub")); });
  for (const unsigned flags : {0U, unsigned{RENAME_NOREPLACE}, unsigned{RENAME_EXCHANGE}}) {
    add(fmt::format("rename, flags {},", flags), [&zone, &request, directory, flags] {
      return RefusalOf(zone.Rename(request, directory, "file", directory, "other", flags));
    });
  }
  add("rename out of it", [&zone, &request, directory, elsewhere] {
    return RefusalOf(zone.Rename(request, directory, "file", elsewhere, "file", 0));
  });
  for (const auto& change : Changes()) {
    add(change.first, [&zone, &request, directory, attr = change.second] {
      return RefusalOf(zone.SetAttr(request, directory, attr));
    });
  }
  for (const char* name : {"user.foo", "security.capability", "trusted.overlay.opaque"}) {
    add(fmt::format("setxattr {}", name), [&zone, &request, directory, name] {
      return RefusalOf(zone.SetXattr(request, directory, name, "v", 0));
    });
    add(fmt::format("removexattr {}", name),
        [&zone, &request, directory, name] { return RefusalOf(zone.RemoveXattr(request, directory, name)); });
  }
  if (is_root) return;  // a version's tags and description are on its root
  for (const char* name : {"user.tag.x", "user.description", "user.modelfs.owner"}) {
    add(fmt::format("setxattr {}", name), [&zone, &request, directory, name] {
      return RefusalOf(zone.SetXattr(request, directory, name, "v", 0));
    });
  }
}

void AddFileRows(std::vector<Row>& rows, Zone& zone, const Request& request, const std::string& where,
                 NodeId file) {
  const auto add = [&](std::string what, std::function<Refusal()> act) {
    rows.push_back({fmt::format("{} of {}", what, where), std::move(act)});
  };
  const std::vector<std::pair<std::string, int>> opens = {
      {"O_WRONLY", O_WRONLY},
      {"O_RDWR", O_RDWR},
      {"O_RDONLY|O_TRUNC", O_TRUNC},
      {"O_WRONLY|O_APPEND", O_WRONLY | O_APPEND},
      {"O_RDWR|O_TRUNC", O_RDWR | O_TRUNC},
      {"O_WRONLY|O_DIRECT", O_WRONLY | O_DIRECT},
  };
  for (const auto& open : opens) {
    add("open " + open.first,
        [&zone, &request, file, flags = open.second] { return RefusalOf(zone.Open(request, file, flags)); });
  }
  for (const auto& change : Changes()) {
    add(change.first, [&zone, &request, file, attr = change.second] {
      return RefusalOf(zone.SetAttr(request, file, attr));
    });
  }
  for (const char* name : {"user.foo", "user.tag.x", "user.description", "user.modelfs.sha256"}) {
    add(fmt::format("setxattr {}", name),
        [&zone, &request, file, name] { return RefusalOf(zone.SetXattr(request, file, name, "v", 0)); });
    add(fmt::format("removexattr {}", name),
        [&zone, &request, file, name] { return RefusalOf(zone.RemoveXattr(request, file, name)); });
  }
}

TEST(ReadOnlyTable, EveryChangeToAReadyVersionIsRefusedWithARemedy) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const std::map<std::string, std::string> files = {
      {"file", "a"}, {"other", "b"}, {"sub/file", "c"}, {"sub/other", "d"}, {"sub/sub/x", "e"}};
  const auto version = world.Commit(model, files);
  const auto zone = MakeTreesZone(world.context);
  const auto found = zone->Lookup(world.request, TreeNode(version.id, 0, Flavour::kCached), "sub");
  ASSERT_TRUE(found);
  const uint32_t sub = Parse(found->node).tree_node;
  const auto found_file = zone->Lookup(world.request, found->node, "file");
  ASSERT_TRUE(found_file);
  const uint32_t file = Parse(found_file->node).tree_node;
  const NodeId elsewhere = VersionsNode(model);

  std::vector<Row> rows;
  const Request& request = world.request;
  AddDirectoryRows(rows, *zone, request, "versions/1", TreeNode(version.id, 0, Flavour::kCached), elsewhere,
                   true);
  AddDirectoryRows(rows, *zone, request, "iris@Champion", AliasTreeNode(0, version.id, 0), elsewhere, true);
  AddDirectoryRows(rows, *zone, request, "versions/1/sub", TreeNode(version.id, sub, Flavour::kCached),
                   elsewhere, false);
  AddDirectoryRows(rows, *zone, request, "iris@Champion/sub", AliasTreeNode(0, version.id, sub), elsewhere,
                   false);
  AddFileRows(rows, *zone, request, "sub/file", TreeNode(version.id, file, Flavour::kCached));
  AddFileRows(rows, *zone, request, "sub/file, native,", TreeNode(version.id, file, Flavour::kNative));

  EXPECT_GE(rows.size(), 60U);
  for (const Row& row : rows) {
    const Refusal refusal = row.act();
    EXPECT_EQ(refusal.errno_value, EROFS) << row.what << ": " << refusal.message;
    EXPECT_NE(refusal.message.find("prod.ml.iris/1"), std::string::npos)
        << row.what << ": " << refusal.message;
    EXPECT_NE(refusal.message.find("cp -r versions/1 versions/draft"), std::string::npos)
        << row.what << ": " << refusal.message;
    const bool is_symlink = row.what.starts_with("symlink");
    EXPECT_EQ(refusal.message.find("ln -sfn") != std::string::npos, is_symlink) << row.what;
  }
  // None of them changed anything.
  EXPECT_EQ(world.registry->GetVersion(world.caller, model, 1)->tree, version.tree);
}

}  // namespace
}  // namespace modelfs::fs
