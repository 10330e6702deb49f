// Serves the nodes of a committed draft: they show the version that it became. So a process with its working
// directory in the draft goes on reading, though the name leads elsewhere now and the draft's own files are
// gone.
//
// The draft's directories keep nodeids of a draft, because the kernel moves a directory that it meets under a
// second name. The nodeid is DraftNodeId(draft, kCommittedNodes + node of the tree), or the number that the
// directory had while it was a draft's. On a shared mount the directories stay their creator's alone, because
// the kernel has no ACL of a draft's node. Files are the version's. These nodes are known for as long as the
// table remembers the commit, not after a restart. Thread-safe.
#pragma once

#include <optional>
#include <string_view>

#include "fs/base/zone.h"
#include "fs/drafts/draft_table.h"

namespace modelfs::fs {

// A draft has fewer nodes than this, and a tree (kTreeMaxNodes) too.
inline constexpr cas::DraftNode kCommittedNodes = cas::DraftNode{1} << 31U;

class CommittedDrafts {
 public:
  // `trees` serves the versions.
  CommittedDrafts(const Context& context, DraftTable& drafts, Zone& trees)
      : context_(context), drafts_(drafts), trees_(trees) {}

  // The directory of the version that a draft's node shows; nothing if the draft was not committed or the
  // node was not a directory. The kernel then looks the name up again.
  std::optional<NodeId> Shown(NodeId node);

  // The calls of a zone, for a node that Shown knows.
  Outcome<Entry> Lookup(const Request& request, NodeId parent, std::string_view name);
  Outcome<Attr> GetAttr(const Request& request, NodeId node);
  Outcome<NodeId> ParentOf(NodeId directory);
  Outcome<OpenedDirectory> OpenDirectory(const Request& request, NodeId node);

 private:
  // Turns an entry of the version into one of the former draft.
  Entry OwnEntry(uint32_t draft, Entry entry);
  void SetOwner(uint32_t draft, struct stat& attr);

  const Context& context_;
  DraftTable& drafts_;
  Zone& trees_;
};

}  // namespace modelfs::fs
