#include "fs/base/node_id.h"

#include "cas/base/check.h"

namespace modelfs::fs {
namespace {

constexpr unsigned kKindShift = 60;
constexpr unsigned kVersionBits = 32;
constexpr unsigned kTreeNodeBits = 24;
constexpr unsigned kFlavourBits = 4;
constexpr unsigned kSlotShift = kVersionBits + kTreeNodeBits;
constexpr unsigned kInfoModelBits = 28;
constexpr unsigned kInfoNumberBits = 28;
constexpr unsigned kInfoFileShift = kInfoNumberBits;
constexpr unsigned kInfoModelShift = kInfoNumberBits + 4;
constexpr unsigned kDraftNodeBits = 32;
constexpr unsigned kDraftBits = 28;

constexpr uint64_t Mask(unsigned bits) { return (uint64_t{1} << bits) - 1; }

uint64_t Fit(uint64_t value, unsigned bits) {
  CHECK(value <= Mask(bits));
  return value;
}

NodeId Compose(NodeKind kind, uint64_t rest) {
  return (static_cast<uint64_t>(kind) << kKindShift) | Fit(rest, kKindShift);
}

uint64_t VersionAndNode(store::VersionId version, uint32_t node) {
  return (Fit(version, kVersionBits) << kTreeNodeBits) | Fit(node, kTreeNodeBits);
}

}  // namespace

NodeId ObjectNode(store::ObjectId id) {
  return id == store::kMetastoreId ? kRootNode : Compose(NodeKind::kObject, Fit(id, kInfoModelBits));
}
NodeId VersionsNode(store::ObjectId model) { return Compose(NodeKind::kVersions, model); }
NodeId AliasesNode(store::ObjectId model) { return Compose(NodeKind::kAliases, model); }
NodeId InfoNode(store::ObjectId model, InfoFile file, store::VersionNumber version) {
  return Compose(NodeKind::kInfo, (Fit(model, kInfoModelBits) << kInfoModelShift) |
                                      (static_cast<uint64_t>(file) << kInfoFileShift) |
                                      Fit(version, kInfoNumberBits));
}
NodeId TreeNode(store::VersionId version, uint32_t node, Flavour flavour) {
  return Compose(NodeKind::kTree,
                 (VersionAndNode(version, node) << kFlavourBits) | static_cast<uint64_t>(flavour));
}
NodeId AliasTreeNode(uint8_t slot, store::VersionId version, uint32_t node) {
  return Compose(NodeKind::kAliasTree, (Fit(slot, 4) << kSlotShift) | VersionAndNode(version, node));
}
NodeId AliasLinkNode(uint8_t slot, store::VersionId version) {
  return Compose(NodeKind::kAliasLink, (Fit(slot, 4) << kSlotShift) | VersionAndNode(version, 0));
}
NodeId DraftNodeId(uint32_t draft, uint32_t node) {
  return Compose(NodeKind::kDraft, (Fit(draft, kDraftBits) << kDraftNodeBits) | node);
}
NodeId HeldNode(uint64_t serial) { return Compose(NodeKind::kHeld, serial); }

NodeParts Parse(NodeId node) {
  NodeParts parts;
  const uint64_t rest = node & Mask(kKindShift);
  parts.kind = static_cast<NodeKind>(node >> kKindShift);
  switch (parts.kind) {
    case NodeKind::kFixed:
      break;
    case NodeKind::kObject:
    case NodeKind::kVersions:
    case NodeKind::kAliases:
      parts.object = rest;
      break;
    case NodeKind::kInfo:
      parts.object = rest >> kInfoModelShift;
      parts.info = static_cast<InfoFile>((rest >> kInfoFileShift) & Mask(4));
      parts.version_number = rest & Mask(kInfoNumberBits);
      break;
    case NodeKind::kTree:
      parts.flavour = static_cast<Flavour>(rest & Mask(kFlavourBits));
      parts.tree_node = static_cast<uint32_t>((rest >> kFlavourBits) & Mask(kTreeNodeBits));
      parts.version = rest >> (kFlavourBits + kTreeNodeBits);
      break;
    case NodeKind::kAliasTree:
    case NodeKind::kAliasLink:
      parts.slot = static_cast<uint8_t>(rest >> kSlotShift);
      parts.version = (rest >> kTreeNodeBits) & Mask(kVersionBits);
      parts.tree_node = static_cast<uint32_t>(rest & Mask(kTreeNodeBits));
      break;
    case NodeKind::kDraft:
      parts.draft = static_cast<uint32_t>(rest >> kDraftNodeBits);
      parts.draft_node = static_cast<uint32_t>(rest & Mask(kDraftNodeBits));
      break;
    case NodeKind::kHeld:
      parts.serial = rest;
      break;
  }
  return parts;
}

uint64_t InodeNumber(NodeId node) {
  const bool has_flavour = static_cast<NodeKind>(node >> kKindShift) == NodeKind::kTree;
  return has_flavour ? node & ~Mask(kFlavourBits) : node;
}

}  // namespace modelfs::fs
