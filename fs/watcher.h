// Follows what anybody changes in the registry, in this process or another, and tells the kernel and the
// tree cache what they must forget:
//
//   a new name                     nothing: that a name is not there, the kernel never keeps
//   drafts, aliases, latest        nothing: it asks for these names each time
//   an object or version is gone   the attributes of its directory. They are fetched again by the next walk
//                                  through it, which is answered ESTALE and then asks for the names, too
//   an object is renamed           its old name
//
// So a name is told only where nothing else helps: telling it waits for requests in its directory
// (fs/README.md, "Locks"), and one in versions/ would wait for a whole commit.
//
// The kernel keeps names of objects for kNamesTtlS at most; the watcher makes that the bound for a lost event
// only.
#pragma once

#include <cstdint>
#include <memory>

#include "cas/base/result.h"
#include "fs/base/context.h"
#include "store/registry.h"

namespace modelfs::fs {

class Watcher {
 public:
  // Follows from the registry's current revision on: start it before the kernel is told any name.
  // `context` must outlive it.
  static Result<std::unique_ptr<Watcher>> Start(Context& context);
  ~Watcher();  // stops, at once

  // The last revision whose events have been handed to the notifier. For tests and for `status`.
  uint64_t revision() const;

 private:
  class Impl;
  explicit Watcher(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace modelfs::fs
