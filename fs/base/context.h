// The parts that every zone of one mount works on. Made once, before the first request; all parts are
// thread-safe and outlive the zones.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "cas/blob_store.h"
#include "cas/drafts/draft_store.h"
#include "store/governance.h"
#include "store/identity/host_identities.h"
#include "store/journal.h"
#include "store/registry.h"

namespace spdlog {
class logger;
}

namespace modelfs::fs {

class Decisions;    // fs/sharing/decisions.h: what the registry decided about callers
class AclTable;     // fs/sharing/acl_table.h: the ACLs that the kernel was given
class RecentReads;  // fs/zones/recent_reads.h: what programs read a moment ago
class DraftTable;   // fs/drafts/draft_table.h: the drafts of this mount
class HeldNames;    // fs/zones/held_names.h: names in aliases/ that are not aliases
class Notifier;     // fs/base/notifier.h: notifies the kernel of changes
class TreeCache;    // fs/base/tree_cache.h: decoded trees by digest, and versions by id
class Refusals;     // fs/base/refusals.h: the refusals that `modelfs why` shows
class Statistics;   // fs/base/statistics.h: the numbers in /.modelfs/status and metrics
struct Request;     // fs/base/zone.h

struct Context {
  store::Registry* registry = nullptr;
  store::Governance* governance = nullptr;
  store::Journal* journal = nullptr;
  cas::BlobStore* blobs = nullptr;
  cas::DraftStore* drafts = nullptr;
  store::HostIdentities* identities = nullptr;
  Notifier* notifier = nullptr;
  TreeCache* trees = nullptr;
  HeldNames* held_names = nullptr;
  AclTable* acls = nullptr;                // null on a private mount
  DraftTable* draft_table = nullptr;       // may be null in tests
  RecentReads* recent_reads = nullptr;     // may be null in tests
  Decisions* decisions = nullptr;          // likewise: each question then goes to the registry
  Refusals* refusals = nullptr;            // may be null in tests
  const Statistics* statistics = nullptr;  // may be null in tests
  std::shared_ptr<spdlog::logger> log;
  std::string home;         // what mountinfo shows as the device: the registry's home
  std::string mount_point;  // canonical; also the identity of the mount that a draft belongs to
  store::Caller daemon;     // the caller of the daemon's own calls: Caller::upkeep
  bool shared = false;      // with other users (allow_other): grants are projected as ACLs
  uid_t uid = 0;            // the mount's user, the owner of all files on a private mount
  gid_t gid = 0;
  bool native = false;  // passthrough works on this mount
  // READY files up to this size are served from memory and the kernel's page cache, and never passed through.
  uint64_t small_file_bytes = 0;
  int64_t draft_lifetime_s = 0;
  std::function<void()> on_deleted;  // bytes may be free now; quick, from any thread; may be null
};

}  // namespace modelfs::fs
