// A FUSE nodeid encodes what it names, so any process that serves this registry, now or after a restart,
// decodes it by the registry's own counters, without a table.
//
//   bits 63..60  kind
//   kFixed       the root (1, FUSE_ROOT_ID) and the hidden .modelfs directory and its files
//   kObject      object id: a catalog, schema or model directory
//   kVersions    model id: <model>/versions
//   kAliases     model id: <model>/aliases
//   kInfo        model id (28) | file (4) | version number (28): <model>/.info and the files in it
//   kTree        version id (32) | tree node (24) | flavour (4): a version's directories and files
//   kAliasTree   slot (4) | version id (32) | tree node (24): the directories of <model>@<Alias>; its files
//                are kTree nodes. A directory needs a nodeid of its own: the kernel moves a directory that it
//                meets under a second name.
//   kAliasLink   slot (4) | version id (32) | 0 (24): the symlink aliases/<Alias>; another target is
//                another nodeid, so the kernel may cache the link's target. Slot 15 is versions/latest.
//   kDraft       draft number (28) | draft node (32)
//   kHeld        serial number of a held name in aliases/
//
// The inode number that stat(2) shows is the nodeid with the flavour cleared: stable across mounts.
#pragma once

#include <cstdint>

#include "store/types.h"

namespace modelfs::fs {

using NodeId = uint64_t;

enum class NodeKind : uint8_t {
  kFixed = 0,
  kObject = 1,
  kVersions = 2,
  kAliases = 3,
  kInfo = 4,
  kTree = 5,
  kAliasTree = 6,
  kAliasLink = 7,
  kDraft = 8,
  kHeld = 9,
};

// How a file's bytes reach its readers. The kernel allows one way at a time for a nodeid. So a blob that
// becomes whole and verified is served under another nodeid, and handles on the old one go on unchanged.
enum class Flavour : uint8_t { kCached = 0, kNative = 1 };

inline constexpr NodeId kRootNode = 1;
inline constexpr NodeId kControlDirectory = 2;  // /.modelfs
inline constexpr NodeId kControlStatus = 3;
inline constexpr NodeId kControlMetrics = 4;
inline constexpr NodeId kControlErrors = 5;
inline constexpr uint8_t kLatestSlot = 15;

enum class InfoFile : uint8_t {
  kDirectory = 0,          // .info
  kModelJson = 1,          // .info/model.json
  kVersionsDirectory = 2,  // .info/versions
  kVersionJson = 3,        // .info/versions/<N>.json
  kLineageDirectory = 4,   // .info/lineage
  kLineageJson = 5,        // .info/lineage/<N>.json
  kActivity = 6,           // .info/activity.jsonl
};

// Composing a nodeid checks each field's width: an id that does not fit fails a CHECK, after 2^28 models or
// 2^32 versions.
NodeId ObjectNode(store::ObjectId id);
NodeId VersionsNode(store::ObjectId model);
NodeId AliasesNode(store::ObjectId model);
NodeId InfoNode(store::ObjectId model, InfoFile file, store::VersionNumber version = 0);
NodeId TreeNode(store::VersionId version, uint32_t node, Flavour flavour);
NodeId AliasTreeNode(uint8_t slot, store::VersionId version, uint32_t node);
NodeId AliasLinkNode(uint8_t slot, store::VersionId version);
NodeId DraftNodeId(uint32_t draft, uint32_t node);
NodeId HeldNode(uint64_t serial);

// A decoded nodeid; only the fields of its kind mean anything.
struct NodeParts {
  NodeKind kind = NodeKind::kFixed;
  store::ObjectId object = 0;  // kObject, kVersions, kAliases, kInfo
  InfoFile info = InfoFile::kDirectory;
  store::VersionNumber version_number = 0;  // kInfo
  store::VersionId version = 0;             // kTree, kAliasTree, kAliasLink
  uint32_t tree_node = 0;                   // kTree, kAliasTree
  Flavour flavour = Flavour::kCached;       // kTree
  uint8_t slot = 0;                         // kAliasTree, kAliasLink
  uint32_t draft = 0;                       // kDraft
  uint32_t draft_node = 0;                  // kDraft
  uint64_t serial = 0;                      // kHeld
};
NodeParts Parse(NodeId node);

// For st_ino.
uint64_t InodeNumber(NodeId node);

}  // namespace modelfs::fs
