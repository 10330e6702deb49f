// The place at which the kernel last met a node, for nodes that do not know their place or find it only
// slowly (fs/base/zone.h, Zone::PlaceOf). These are files of drafts, and held names. Places are hints for
// messages, and bounded: the least recently used is dropped.
#pragma once

#include <cstddef>
#include <list>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "cas/base/thread.h"
#include "fs/base/node_id.h"
#include "fs/base/zone.h"

namespace modelfs::fs {

// Thread-safe.
class NodeNames {
 public:
  explicit NodeNames(size_t max_nodes) : max_nodes_(max_nodes) {}

  void Remember(NodeId node, NodeId parent, std::string_view name);
  void Forget(NodeId node);
  // The node may have another name by now.
  std::optional<Place> Find(NodeId node);

 private:
  using Recent = std::list<std::pair<NodeId, Place>>;  // most recently used first

  const size_t max_nodes_;
  Mutex mu_;
  Recent recent_ GUARDED_BY(mu_);
  std::unordered_map<NodeId, Recent::iterator> places_ GUARDED_BY(mu_);
};

}  // namespace modelfs::fs
