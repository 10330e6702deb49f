#include "fs/zones/recent_reads.h"

#include <utility>

namespace modelfs::fs {

std::optional<uint64_t> RecentReads::Revision() const {
  const Result<uint64_t> revision = journal_.CurrentRevision(daemon_);
  return revision.ok() ? std::optional(*revision) : std::nullopt;
}

bool RecentReads::Matches(const Kept& kept, const Request& request, const store::Target& target) const {
  const store::Caller& caller = request.caller;
  return kept.thread == request.pid && kept.target.object == target.object &&
         kept.target.version == target.version && kept.uid == caller.uid &&
         kept.shared_name == caller.shared_name && kept.principal == caller.principal &&
         kept.groups == caller.groups && IsFresh(kept.since_boot_ms);
}

RecentReads::Ptr RecentReads::Find(uint64_t revision, const Request& request,
                                   const store::Target& target) const {
  const MutexLock lock(mu_);
  for (const Kept& kept : kept_) {
    if (kept.revision == revision && Matches(kept, request, target)) return kept.description;
  }
  return nullptr;
}

void RecentReads::Keep(uint64_t revision, const Request& request, const store::Target& target,
                       Ptr description) {
  // The kernel has no number for a thread of another pid namespace: all of them look like one.
  if (request.pid == 0) return;
  const store::Caller& caller = request.caller;
  const MutexLock lock(mu_);
  if (kept_.size() == kMost) kept_.pop_front();
  kept_.push_back({revision, request.pid, caller.uid, caller.shared_name, caller.principal, caller.groups,
                   target, clock_.SinceBootMs(), std::move(description)});
}

std::optional<struct stat> RecentReads::FindAttr(uint64_t revision, NodeId node) const {
  const MutexLock lock(mu_);
  for (const KeptAttr& kept : attrs_) {
    if (kept.revision == revision && kept.node == node && IsFresh(kept.since_boot_ms)) return kept.attr;
  }
  return std::nullopt;
}

void RecentReads::KeepAttr(uint64_t revision, NodeId node, const struct stat& attr) {
  const MutexLock lock(mu_);
  if (attrs_.size() == kMost) attrs_.pop_front();
  attrs_.push_back({revision, node, clock_.SinceBootMs(), attr});
}

void RecentReads::Clear() {
  const MutexLock lock(mu_);
  attrs_.clear();
  kept_.clear();
}

}  // namespace modelfs::fs
