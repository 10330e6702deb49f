// Where the kernel met each node last, so that a refusal can name a path. For messages only: bounded, and
// a path through names that changed or were evicted since may be old or begin with "...".
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>

#include "cas/base/thread.h"
#include "fs/node_id.h"

namespace modelfs::fs {

// Thread-safe.
class NodeNames {
 public:
  explicit NodeNames(size_t max_nodes) : max_nodes_(max_nodes) {}

  void Remember(NodeId node, NodeId parent, std::string_view name);
  void Renamed(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name);

  // Below the mount point, starting with '/'. `name`, where not empty, is a name in directory `node`.
  std::string PathOf(NodeId node, std::string_view name = {}) const;

 private:
  struct Place {
    NodeId parent = 0;
    std::string name;
  };

  const size_t max_nodes_;
  mutable Mutex mu_;
  std::unordered_map<NodeId, Place> places_ GUARDED_BY(mu_);
};

}  // namespace modelfs::fs
