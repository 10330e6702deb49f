// Follows what anybody changes in the registry, in this process or another, and tells the kernel and the
// tree cache what they must forget. A version's own name is told before any alias that was moved to it.
//
// The kernel keeps names for kNamesTtlS at most; the watcher makes that the bound for a lost event only.
#pragma once

#include <cstdint>
#include <memory>

#include "cas/base/result.h"
#include "fs/context.h"
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
