#include "fs/node_names.h"

namespace modelfs::fs {

void NodeNames::Remember(NodeId node, NodeId parent, std::string_view name) {
  MutexLock lock(mu_);
  if (const auto found = places_.find(node); found != places_.end()) {
    if (found->second.parent == parent && found->second.name == name) return;
    found->second = Place{parent, std::string(name)};
    return;
  }
  // Any victim will do: a wrong choice costs a message the front of its path.
  if (places_.size() >= max_nodes_) places_.erase(places_.begin());
  places_.emplace(node, Place{parent, std::string(name)});
}

void NodeNames::Renamed(NodeId parent, std::string_view name, NodeId new_parent, std::string_view new_name) {
  MutexLock lock(mu_);
  for (auto& [node, place] : places_) {
    if (place.parent == parent && place.name == name) place = Place{new_parent, std::string(new_name)};
  }
}

std::string NodeNames::PathOf(NodeId node, std::string_view name) const {
  // Longer than any path the kernel passes (PATH_MAX is 4096), and an end to a cycle of old places.
  constexpr int kMaxDepth = 2048;
  std::string path = name.empty() ? "" : "/" + std::string(name);
  MutexLock lock(mu_);
  for (int depth = 0; node != kRootNode; ++depth) {
    const auto found = places_.find(node);
    if (found == places_.end() || depth == kMaxDepth) return "..." + path;
    path.insert(0, "/" + found->second.name);
    node = found->second.parent;
  }
  return path.empty() ? "/" : path;
}

}  // namespace modelfs::fs
