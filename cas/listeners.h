// Listeners of a store: functions that are called with a blob's digest.
#pragma once

#include <functional>
#include <memory>

#include "cas/base/digest.h"

namespace modelfs::cas {

// A listener's place: it is called until this is destroyed. Its end waits for a call under way, so it does
// not come within one.
using Subscription = std::shared_ptr<void>;

// Thread-safe. A Subscription may outlive it.
class Listeners {
 public:
  Listeners();
  [[nodiscard]] Subscription Add(std::function<void(const Digest&)> listener);
  // Calls all of them, in this thread and without a lock.
  void Call(const Digest& digest);

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace modelfs::cas
