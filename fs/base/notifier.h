// What the kernel must forget.
#pragma once

#include <string_view>

#include "fs/base/node_id.h"

namespace modelfs::fs {

// Thread-safe. Notifications are sent in the order they were queued. Queued before Start, they wait; after
// Stop they are dropped.
class Notifier {
 public:
  virtual ~Notifier() = default;
  // The name `parent`/`name` may mean something else now. The kernel keeps open files and mappings. The
  // entry is expired (FUSE_EXPIRE_ONLY) where the kernel knows how, so that it is looked up again: thrown
  // out, it would take the working directory from under a process that stands in it.
  //
  // It waits in the kernel for each request under way in `parent`, and holds up the notifications that are
  // queued behind it: only where nothing else will do (fs/README.md, "Locks").
  virtual void EntryChanged(NodeId parent, std::string_view name) = 0;
  // The attributes of `node` changed, or it is gone. Its pages stay (never for an inode with open handles).
  // Waits for nobody.
  virtual void AttrChanged(NodeId node) = 0;
  // Returns when all that was queued before has been sent. Never from a thread that answers requests.
  virtual void Flush() = 0;
};

}  // namespace modelfs::fs
