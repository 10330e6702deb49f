// Tells the kernel what it must forget, from a thread of its own: a notification waits for locks that a
// request in flight may hold, so it is never sent from a thread that answers requests
// (libfuse fuse_lowlevel.h, fuse_lowlevel_notify_inval_entry).
#pragma once

#include <string>
#include <string_view>

#include "fs/node_id.h"

namespace modelfs::fs {

// Thread-safe. Notifications are sent in the order they were queued. Queued before Start, they wait;
// after Stop they are dropped.
class Notifier {
 public:
  virtual ~Notifier() = default;
  // The name `parent`/`name` may mean something else now. The kernel keeps open files and mappings. The
  // entry is expired (FUSE_EXPIRE_ONLY) where the kernel knows how, so that it is looked up again: thrown
  // out, it would take the working directory from under a process that stands in it.
  virtual void EntryChanged(NodeId parent, std::string_view name) = 0;
  // The attributes of `node` changed. Its pages stay (never for an inode with open handles).
  virtual void AttrChanged(NodeId node) = 0;
  // Returns when all that was queued before has been sent.
  virtual void Flush() = 0;
};

}  // namespace modelfs::fs
