// Notifications to the kernel of entries and attributes that it must drop.
#pragma once

#include <string_view>

#include "fs/base/node_id.h"

namespace modelfs::fs {

// Thread-safe. Notifications are sent in the order they were queued. Those queued before Start wait; those
// queued after Stop are dropped.
class Notifier {
 public:
  virtual ~Notifier() = default;
  // The name `parent`/`name` may lead to another node now. The kernel keeps open files and mappings. If the
  // kernel supports it, the entry is expired (FUSE_EXPIRE_ONLY) and looked up again: invalidation would take
  // the working directory from under a process that stands in it.
  //
  // The notification waits in the kernel for each request under way in `parent`, and delays the notifications
  // queued behind it: use it only if nothing else helps (fs/README.md, "Locks").
  virtual void EntryChanged(NodeId parent, std::string_view name) = 0;
  // The attributes of `node` changed, or it is gone. Its pages stay (never for an inode with open handles).
  // Waits for no request.
  virtual void AttrChanged(NodeId node) = 0;
  // Returns when all earlier notifications have been sent. Never call it from a thread that answers requests.
  virtual void Flush() = 0;
};

}  // namespace modelfs::fs
