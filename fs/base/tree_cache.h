// READY versions and their decoded trees, kept in memory: what a warm path walk needs without asking the
// registry or the disk. A version never changes, so an entry is only ever dropped: for room, or because
// the version was deleted.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "cas/base/result.h"
#include "cas/blob_store.h"
#include "cas/tree.h"
#include "cas/tree_times.h"
#include "store/registry.h"

namespace modelfs::fs {

struct CachedVersion {
  store::VersionInfo info;  // as it was when it was read: aliases and comment may be older
  std::shared_ptr<const cas::TreeIndex> tree;
  std::optional<cas::TreeTimes> times;  // of its files; nothing: all show the commit's time
  // By tree node: its blob was seen whole and verified, so a listing need not ask for each again. Where that
  // has ceased to be true, OPEN finds out and the file is read the slower way.
  mutable std::vector<std::atomic<bool>> seen_native;
};

// Thread-safe; concurrent misses on one version share one load, which waits for the local disk alone.
class TreeCache {
 public:
  // Room for about `max_nodes` tree nodes (some 150 bytes each).
  TreeCache(store::Registry& registry, cas::BlobStore& blobs, store::Caller daemon, size_t max_nodes);
  ~TreeCache();

  using Value = std::shared_ptr<const CachedVersion>;

  // kNotFound for a version that was deleted; kFailedPrecondition for one that is not READY;
  // kDeadlineExceeded where its list of files is on another host, which `pending` then waits for.
  Result<Value> Find(store::VersionId version, Pending& pending);
  // Likewise, but waits for that itself. For threads that answer no requests.
  Result<Value> Get(store::VersionId version);
  void Drop(store::VersionId version);
  void DropModel(store::ObjectId model);  // all its versions
  void DropAll();
  // How many versions are cached.
  size_t size() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace modelfs::fs
