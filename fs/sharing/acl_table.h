// Remembers the nodes that the kernel has ACLs of, or attributes that show an owner, so that the kernel can
// be notified when access changes or uids change hands. Also caches the rights on the objects that were read
// lately.
//
// Why the kernel keeps nothing older than the last change: a node is remembered before its ACL is read from
// the registry. If the read misses a change, the kernel is notified of that node afterwards. If a
// notification overtakes the reply with an ACL, the kernel does not cache that ACL (Linux fs/posix_acl.c,
// __get_acl: the sentinel). When the table is full, the oldest node is forgotten, here and in the kernel.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/thread.h"
#include "fs/base/context.h"
#include "fs/base/node_id.h"
#include "fs/base/zone.h"
#include "fs/sharing/posix_acl.h"
#include "store/governance.h"
#include "store/identity/host_identities.h"

namespace modelfs::fs {

class AclTable {
 public:
  static constexpr size_t kMaxNodes = 100'000;  // of each kind; some 100 bytes each
  static constexpr size_t kMaxCached = 256;     // objects; one with 4,000 grants is half a megabyte

  // The context's registry, identities, trees, notifier and daemon must be set.
  AclTable(Context& context, const Clock& clock, size_t max_nodes = kMaxNodes);

  // The value of system.posix_acl_access, or nothing if the node has no ACL. The kernel caches it.
  Outcome<std::optional<std::string>> AclOf(NodeId node) EXCLUDES(mu_);

  // The kernel was given attributes of these nodes. It caches them for long, and treats the uid that they
  // show as the owner. When uids come to mean other users, it is notified of each node that shows an owner.
  // Call this before comparing epoch().
  void GaveAttrs(std::span<const NodeId> nodes) EXCLUDES(mu_);

  // The object's grants or its owner changed, which concerns the objects in it, too.
  void Changed(store::ObjectId object) EXCLUDES(mu_);
  // Group memberships changed.
  void AllChanged() EXCLUDES(mu_);
  // The mapping of ids to principals, or the set of principals, changed, and with it the owners that
  // attributes show.
  void IdsChanged() EXCLUDES(mu_);

  // Rises with each change. Attributes that were read before it rose may show a former owner.
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  size_t nodes() const EXCLUDES(mu_);

 private:
  struct Path {
    store::ObjectId object = 0;
    store::ObjectId schema = 0;   // 0: none
    store::ObjectId catalog = 0;  // 0: none
    bool Has(store::ObjectId id) const { return object == id || schema == id || catalog == id; }
  };
  struct Cached {
    Path path;
    int64_t read_at_ms = 0;
    uint64_t revision = 0;  // the registry's, before the read
    std::shared_ptr<const store::ObjectAccess> access;
  };

  // Nodes with a value each; when there are too many, the oldest is dropped.
  template <typename Value>
  struct Given {
    // Returns the node that was dropped: the kernel must forget it, too.
    std::optional<NodeId> Add(NodeId node, const Value& value, size_t most);
    std::unordered_map<NodeId, Value> nodes;
    std::deque<NodeId> oldest_first;  // of nodes, each once
  };
  struct ShowsOwner {};

  std::string Encoded(AccessClass part, const store::ObjectAccess& access) const;
  Result<Path> PathOf(store::ObjectId object);
  // Raises the epoch and drops the cached rights of the objects for which `concerns` returns true. Returns
  // the nodes of theirs that the kernel has ACLs of: the caller must notify it.
  template <typename Concerns>
  std::vector<NodeId> Forget(Concerns concerns) EXCLUDES(mu_);

  Context& context_;
  const Clock& clock_;
  const size_t max_nodes_;
  std::atomic<uint64_t> epoch_{1};

  mutable Mutex mu_;
  Given<Path> given_ GUARDED_BY(mu_);        // ACLs
  Given<ShowsOwner> attrs_ GUARDED_BY(mu_);  // separate: a listing adds thousands
  std::unordered_map<store::ObjectId, Cached> cached_ GUARDED_BY(mu_);
};

}  // namespace modelfs::fs
