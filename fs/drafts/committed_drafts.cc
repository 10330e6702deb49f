#include "fs/drafts/committed_drafts.h"

#include <functional>
#include <memory>
#include <utility>

namespace modelfs::fs {
namespace {

// The draft's root may get its name again, as another draft: so the kernel soon asks for it again.
constexpr double kTtlS = 1;

NodeId Own(uint32_t draft, uint32_t tree_node) {
  return DraftNodeId(draft, tree_node == 0 ? cas::kDraftRoot : kCommittedNodes + tree_node);
}

class OwnDirectory : public DirectoryHandle {
 public:
  using ToOwn = std::function<Entry(Entry)>;
  OwnDirectory(uint32_t draft, std::shared_ptr<DirectoryHandle> shown, ToOwn to_own)
      : draft_(draft), shown_(std::move(shown)), to_own_(std::move(to_own)) {}

  Outcome<std::optional<DirectoryEntry>> At(uint64_t index, bool plus) override {
    Outcome<std::optional<DirectoryEntry>> entry = shown_->At(index, plus);
    if (!entry.has_value() || !entry->has_value()) return entry;
    DirectoryEntry& found = **entry;
    if (found.type == S_IFDIR) found.node = Own(draft_, Parse(found.node).tree_node);
    if (found.entry.has_value()) found.entry = to_own_(*found.entry);
    return entry;
  }

 private:
  const uint32_t draft_;
  const std::shared_ptr<DirectoryHandle> shown_;
  const ToOwn to_own_;
};

}  // namespace

Entry CommittedDrafts::OwnEntry(uint32_t draft, Entry entry) {
  if (S_ISDIR(entry.attr.st_mode)) {
    entry.node = Own(draft, Parse(entry.node).tree_node);
    SetOwner(draft, entry.attr);
  }
  entry.attr_ttl_s = entry.entry_ttl_s = kTtlS;
  return entry;
}

void CommittedDrafts::SetOwner(uint32_t draft, struct stat& attr) {
  constexpr mode_t kReadable = S_IFDIR | 0500;
  if (!context_.shared) return;
  const std::optional<DraftTable::Commit> commit = drafts_.CommittedAs(draft);
  if (!commit) return;
  attr.st_uid = commit->creator;
  attr.st_mode = kReadable;
}

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
  if (!attr.has_value()) return attr;
  attr->ttl_s = kTtlS;
  SetOwner(Parse(node).draft, attr->attr);
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
  const uint32_t draft = Parse(node).draft;
  auto own = std::make_shared<OwnDirectory>(draft, std::move(opened->handle), [this, draft](Entry entry) {
    return OwnEntry(draft, std::move(entry));
  });
  return OpenedDirectory{std::move(own), false};
}

}  // namespace modelfs::fs
