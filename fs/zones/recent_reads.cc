#include "fs/zones/recent_reads.h"

#include <algorithm>
#include <utility>

namespace modelfs::fs {

bool RecentReads::Matches(const Kept& kept, const Request& request, const store::Target& target) const {
  return kept.thread == request.pid && kept.target.object == target.object &&
         kept.target.version == target.version && kept.principal == request.caller.principal &&
         kept.groups == request.caller.groups && IsFresh(kept.since_boot_ms);
}

RecentReads::Ptr RecentReads::Find(const Request& request, const store::Target& target) const {
  const MutexLock lock(mu_);
  for (const Kept& kept : kept_) {
    if (Matches(kept, request, target)) return kept.description;
  }
  return nullptr;
}

uint64_t RecentReads::Generation() const {
  const MutexLock lock(mu_);
  return generation_;
}

void RecentReads::Keep(uint64_t generation, const Request& request, const store::Target& target,
                       Ptr description) {
  const MutexLock lock(mu_);
  if (generation != generation_) return;
  if (kept_.size() == kMost) kept_.pop_front();
  kept_.push_back({request.pid, request.caller.principal, request.caller.groups, target, clock_.SinceBootMs(),
                   std::move(description)});
}

std::optional<struct stat> RecentReads::FindAttr(NodeId node) const {
  const MutexLock lock(mu_);
  for (const KeptAttr& kept : attrs_) {
    if (kept.node == node && IsFresh(kept.since_boot_ms)) return kept.attr;
  }
  return std::nullopt;
}

void RecentReads::KeepAttr(uint64_t generation, NodeId node, const struct stat& attr) {
  const MutexLock lock(mu_);
  if (generation != generation_) return;
  if (attrs_.size() == kMost) attrs_.pop_front();
  attrs_.push_back({node, clock_.SinceBootMs(), attr});
}

void RecentReads::Clear() {
  const MutexLock lock(mu_);
  ++generation_;
  attrs_.clear();
  kept_.clear();
}

}  // namespace modelfs::fs
