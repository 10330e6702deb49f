// Which way the kernel reads each file that is open now. It allows one I/O mode and one backing id for a
// nodeid at a time and answers EIO to a mixture (Linux fs/fuse/iomode.c), so an OPEN joins the mode of the
// handles that live already, and backing ids are shared and closed with the last of them.
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
#include "fs/node_id.h"

namespace modelfs::fs {

// Thread-safe.
class OpenModes {
 public:
  struct Backing {
    std::function<Result<int32_t>()> open;  // asked at most once a call, without a lock held
    std::function<void(int32_t)> close;
  };

  // One more handle of `node`. Answers the backing id it is to be opened with, or nothing for cached.
  // `backing.open` is null where the handle cannot be native; where it fails, the answer is cached.
  // Every call is undone by one Closed.
  std::optional<int32_t> Opened(NodeId node, const Backing& backing);
  void Closed(NodeId node, const std::function<void(int32_t)>& close_backing);

  size_t native_handles() const;

 private:
  struct Mode {
    std::optional<int32_t> backing_id;
    size_t handles = 0;
  };

  mutable Mutex mu_;
  std::unordered_map<NodeId, Mode> modes_ GUARDED_BY(mu_);
  size_t native_handles_ GUARDED_BY(mu_) = 0;
};

}  // namespace modelfs::fs
