// What the nodes of a draft show once it was committed: the version that it became. So a process that stands
// in it goes on reading, though the name leads elsewhere now, and the draft's own files are gone.
//
// The draft's directories keep nodeids of a draft, since the kernel moves a directory that it meets under a
// second name; they are DraftNodeId(draft, kCommittedNodes + node of the tree), or the number that the
// directory had as long as it was a draft's. On a shared mount they stay their creator's alone, since the
// kernel has no ACL of a draft's node. Files are the version's. Known for as long as the table remembers the
// commit, not after a restart. Thread-safe.
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
  // `trees` answers for the versions.
  CommittedDrafts(const Context& context, DraftTable& drafts, Zone& trees)
      : context_(context), drafts_(drafts), trees_(trees) {}

  // The directory of the version that a draft's node shows; nothing where the draft was not committed, or
  // where the node was no directory: the kernel then looks for the name again.
  std::optional<NodeId> Shown(NodeId node);

  // The calls of a zone, for a node that Shown knows.
  Outcome<Entry> Lookup(const Request& request, NodeId parent, std::string_view name);
  Outcome<Attr> GetAttr(const Request& request, NodeId node);
  Outcome<NodeId> ParentOf(NodeId directory);
  Outcome<OpenedDirectory> OpenDirectory(const Request& request, NodeId node);

 private:
  // An entry of the version, as one of the draft that it was.
  Entry OwnEntry(uint32_t draft, Entry entry);
  void SetOwner(uint32_t draft, struct stat& attr);

  const Context& context_;
  DraftTable& drafts_;
  Zone& trees_;
};

}  // namespace modelfs::fs
