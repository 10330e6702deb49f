// Which ACLs the kernel was given, and which attributes that show an owner, so that it can be told to forget
// them when access changes, or who has which uid; and who may what on the objects that were asked for lately.
//
// Why nothing older than the last change stays in the kernel: a node is remembered before the registry is
// read for its ACL, so a change that the reading missed is told for that node afterwards; and an ACL that the
// kernel is told to forget while its answer is on the way is not kept (Linux fs/posix_acl.c, __get_acl: the
// sentinel). A node for which there is no more room makes room by the oldest being forgotten, here and in the
// kernel.
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
#include "store/identity/host_identities.h"
#include "store/registry.h"

namespace modelfs::fs {

class AclTable {
 public:
  static constexpr size_t kMaxNodes = 100'000;  // of each kind; some 100 bytes each
  static constexpr size_t kMaxCached = 256;     // objects; one with 4,000 grants is half a megabyte

  // The context's registry, identities, trees, notifier and daemon must be set.
  AclTable(Context& context, const Clock& clock, size_t max_nodes = kMaxNodes);

  // The value of system.posix_acl_access; nothing where the node has none. The kernel keeps the answer.
  Outcome<std::optional<std::string>> AclOf(NodeId node) EXCLUDES(mu_);

  // The kernel was given attributes of these nodes. It keeps them for long, and lets in by them whom it takes
  // for the owner: where uids come to mean others, it is told of each that shows one. To be called before
  // epoch() is compared.
  void GaveAttrs(std::span<const NodeId> nodes) EXCLUDES(mu_);

  // Grants on the object or its owner changed, which concerns what is in it, too.
  void Changed(store::ObjectId object) EXCLUDES(mu_);
  // Who is in which group changed.
  void AllChanged() EXCLUDES(mu_);
  // Who has which id, or who is a principal, changed, and with that whom the attributes show as the owner.
  void IdsChanged() EXCLUDES(mu_);

  // Rises with each change. Attributes that were read before it rose may show an owner of before.
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
    uint64_t revision = 0;  // the registry's, when it was begun to read
    std::shared_ptr<const store::ObjectAccess> access;
  };

  // Nodes, and what is known of each; where there are too many, the oldest makes room.
  template <typename Value>
  struct Given {
    // Which node had to make room, and is to be forgotten by the kernel.
    std::optional<NodeId> Add(NodeId node, const Value& value, size_t most);
    std::unordered_map<NodeId, Value> nodes;
    std::deque<NodeId> oldest_first;  // of nodes, each once
  };
  struct ShowsOwner {};

  std::string Encoded(AccessClass part, const store::ObjectAccess& access) const;
  Result<Path> PathOf(store::ObjectId object);
  // Drops what is kept of the objects for which `concerns` says yes. The kernel is still to be told of the
  // nodes that it was given of them.
  template <typename Concerns>
  std::vector<NodeId> Forget(Concerns concerns) EXCLUDES(mu_);

  Context& context_;
  const Clock& clock_;
  const size_t max_nodes_;
  std::atomic<uint64_t> epoch_{1};

  mutable Mutex mu_;
  Given<Path> given_ GUARDED_BY(mu_);        // ACLs
  Given<ShowsOwner> attrs_ GUARDED_BY(mu_);  // apart, as a listing adds them by the thousand
  std::unordered_map<store::ObjectId, Cached> cached_ GUARDED_BY(mu_);
};

}  // namespace modelfs::fs
