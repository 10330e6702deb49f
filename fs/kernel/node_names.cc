#include "fs/kernel/node_names.h"

#include <string>

namespace modelfs::fs {

void NodeNames::Remember(NodeId node, NodeId parent, std::string_view name) {
  MutexLock lock(mu_);
  if (const auto found = places_.find(node); found != places_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    recent_.front().second = Place{parent, std::string(name)};
    return;
  }
  if (recent_.size() >= max_nodes_) {
    places_.erase(recent_.back().first);
    recent_.pop_back();
  }
  recent_.emplace_front(node, Place{parent, std::string(name)});
  places_.emplace(node, recent_.begin());
}

void NodeNames::Forget(NodeId node) {
  MutexLock lock(mu_);
  const auto found = places_.find(node);
  if (found == places_.end()) return;
  recent_.erase(found->second);
  places_.erase(found);
}

std::optional<Place> NodeNames::Find(NodeId node) {
  MutexLock lock(mu_);
  const auto found = places_.find(node);
  if (found == places_.end()) return std::nullopt;
  recent_.splice(recent_.begin(), recent_, found->second);
  return found->second->second;
}

}  // namespace modelfs::fs
