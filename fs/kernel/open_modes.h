// Which way the kernel reads each file that is open now. It allows one I/O mode and one backing id for a
// nodeid at a time and answers EIO to a mixture (Linux fs/fuse/iomode.c), so an OPEN joins the mode of the
// handles that live already, and backing ids are shared and closed with the last of them.
//
// All handles of a nodeid must read the same file, because the kernel caches pages per nodeid. A repaired
// blob is a different file: handles opened before the repair keep the old one, new opens fail until they are
// closed, and the next open drops the cached pages.
//
// Invariant: an entry exists exactly while a handle of its node lives; it has a backing id if and only if
// they are native.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>

#include "cas/base/result.h"
#include "cas/base/thread.h"
#include "cas/blob_store.h"
#include "fs/base/node_id.h"

namespace modelfs::fs {

// Thread-safe.
class OpenModes {
 public:
  struct Backing {
    std::function<Result<int32_t>()> open;  // asked at most once a call, without a lock held
    std::function<void(int32_t)> close;
  };

  struct Mode {
    std::optional<int32_t> backing_id;  // which the handle is to be opened with; nothing: cached
    bool keep_pages = true;             // what the kernel may have of the node is of this file
  };

  // One more handle of `node`; `file` holds its bytes, if a file does. `backing.open` is null if the handle
  // cannot be native; if it fails, the handle is cached. On OK it is undone by one Closed.
  //   kDataLoss   handles live that read another file
  Result<Mode> Opened(NodeId node, std::optional<cas::FileId> file, const Backing& backing);
  void Closed(NodeId node, const std::function<void(int32_t)>& close_backing);
  // The kernel let go of `node`, or of one of its lookups: the file that its pages are of is not known any
  // more.
  void Forgotten(NodeId node);

  size_t native_handles() const;

 private:
  struct Live {
    std::optional<int32_t> backing_id;
    std::optional<cas::FileId> file;
    size_t handles = 0;
  };

  // With the handles of `node` that live; nothing where none does.
  Result<std::optional<Mode>> Join(NodeId node, const std::optional<cas::FileId>& file) REQUIRES(mu_);

  mutable Mutex mu_;
  // The first handle of a node. If the kernel has pages of the node, they may be of an earlier file.
  Mode First(NodeId node, std::optional<int32_t> backing_id, const std::optional<cas::FileId>& file)
      REQUIRES(mu_);

  std::unordered_map<NodeId, Live> modes_ GUARDED_BY(mu_);
  // The file that a node's pages in the kernel are of, since its first open here; nothing: not known any
  // more.
  std::unordered_map<NodeId, std::optional<cas::FileId>> page_files_ GUARDED_BY(mu_);
  // There were too many nodes: nothing is known of one that is not in page_files_.
  bool lost_track_ GUARDED_BY(mu_) = false;
  size_t native_handles_ GUARDED_BY(mu_) = 0;
};

}  // namespace modelfs::fs
