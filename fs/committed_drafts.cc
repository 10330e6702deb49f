#include "fs/committed_drafts.h"

#include <memory>
#include <utility>

namespace modelfs::fs {
namespace {

// The draft's root may have its name again, as another draft: what it shows is asked for again soon.
constexpr double kTtlS = 1;

NodeId Own(uint32_t draft, uint32_t tree_node) {
  return DraftNodeId(draft, tree_node == 0 ? cas::kDraftRoot : kCommittedNodes + tree_node);
}

// An entry of the version, as one of the draft that it was.
Entry OwnEntry(uint32_t draft, Entry entry) {
  if (S_ISDIR(entry.attr.st_mode)) entry.node = Own(draft, Parse(entry.node).tree_node);
  entry.attr_ttl_s = entry.entry_ttl_s = kTtlS;
  return entry;
}

class OwnDirectory : public DirectoryHandle {
 public:
  OwnDirectory(uint32_t draft, std::shared_ptr<DirectoryHandle> shown)
      : draft_(draft), shown_(std::move(shown)) {}

  Outcome<std::optional<DirectoryEntry>> At(uint64_t index, bool plus) override {
    Outcome<std::optional<DirectoryEntry>> entry = shown_->At(index, plus);
    if (!entry.has_value() || !entry->has_value()) return entry;
    DirectoryEntry& found = **entry;
    if (found.type == S_IFDIR) found.node = Own(draft_, Parse(found.node).tree_node);
    if (found.entry.has_value()) found.entry = OwnEntry(draft_, *found.entry);
    return entry;
  }

 private:
  const uint32_t draft_;
  const std::shared_ptr<DirectoryHandle> shown_;
};

}  // namespace

std::optional<NodeId> CommittedDrafts::Shown(NodeId node) {
  const NodeParts at = Parse(node);
  const std::optional<DraftTable::Commit> commit = drafts_.CommittedAs(at.draft);
  if (!commit.has_value()) return std::nullopt;
  uint32_t tree_node = 0;
  if (at.draft_node >= kCommittedNodes) {
    tree_node = at.draft_node - kCommittedNodes;
  } else if (at.draft_node != cas::kDraftRoot) {
    if (commit->directories == nullptr) return std::nullopt;
    const auto found = commit->directories->find(at.draft_node);
    if (found == commit->directories->end()) return std::nullopt;
    tree_node = found->second;
  }
  return TreeNode(commit->id, tree_node, Flavour::kCached);
}

Outcome<Entry> CommittedDrafts::Lookup(const Request& request, NodeId parent, std::string_view name) {
  Outcome<Entry> entry = trees_.Lookup(request, *Shown(parent), name);
  if (!entry.has_value() || entry->node == 0) return entry;
  return OwnEntry(Parse(parent).draft, *entry);
}

Outcome<Attr> CommittedDrafts::GetAttr(const Request& request, NodeId node) {
  Outcome<Attr> attr = trees_.GetAttr(request, *Shown(node));
  if (attr.has_value()) attr->ttl_s = kTtlS;
  return attr;
}

Outcome<NodeId> CommittedDrafts::ParentOf(NodeId directory) {
  const NodeId shown = *Shown(directory);
  Outcome<NodeId> parent = trees_.ParentOf(shown);
  if (!parent.has_value() || Parse(shown).tree_node == 0) return parent;
  return Own(Parse(directory).draft, Parse(*parent).tree_node);
}

Outcome<OpenedDirectory> CommittedDrafts::OpenDirectory(const Request& request, NodeId node) {
  Outcome<OpenedDirectory> opened = trees_.OpenDirectory(request, *Shown(node));
  if (!opened.has_value()) return opened;
  return OpenedDirectory{std::make_shared<OwnDirectory>(Parse(node).draft, std::move(opened->handle)), false};
}

}  // namespace modelfs::fs
