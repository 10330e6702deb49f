// Follows the changes that this or any other process makes to the registry, and notifies the kernel and the
// tree cache of entries that they must drop:
//
//   a new name                     nothing: the kernel never caches that a name is absent
//   drafts, aliases, latest        nothing: the kernel asks for these names each time
//   an object or version is gone   the attributes of its directory. The next walk through it fetches them
//                                  again, gets ESTALE, and then asks for the names, too
//   an object is renamed           its old name
//
// So a name is notified only if nothing else helps: the notification waits for requests in its directory
// (fs/README.md, "Locks"), and one in versions/ would wait for a whole commit.
//
// The kernel caches names of objects for kNamesTtlS at most. With the watcher, only a lost event can make a
// name stale for that long.
#pragma once

#include <cstdint>
#include <memory>

#include "cas/base/result.h"
#include "fs/base/context.h"
#include "store/journal.h"

namespace modelfs::fs {

class Watcher {
 public:
  // Follows from the registry's current revision on: start it before the kernel gets any name. `context` must
  // outlive it.
  static Result<std::unique_ptr<Watcher>> Start(Context& context);
  ~Watcher();  // stops, at once

  // The last revision that the watcher has handed to the notifier. For tests and for `status`.
  uint64_t revision() const;

 private:
  class Impl;
  explicit Watcher(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace modelfs::fs
