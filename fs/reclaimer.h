// Frees the space of deleted files soon, but not once for each deletion: a sweep walks every tree.
#pragma once

#include <chrono>
#include <functional>
#include <stop_token>
#include <thread>

#include "cas/base/thread.h"

namespace modelfs::fs {

// Thread-safe. Has a thread of its own, which sleeps while nothing is deleted.
class Reclaimer {
 public:
  using Reclaim = std::function<void(const std::stop_token& stop)>;
  // `reclaim` runs `pause` after the first deletion that it has not seen, so one or two sweeps follow a `rm
  // -r` of many files.
  Reclaimer(Reclaim reclaim, std::chrono::milliseconds pause);
  ~Reclaimer();  // stops a sweep under way, and waits for that

  void SomethingWasDeleted();

 private:
  void Run();

  const Reclaim reclaim_;
  const std::chrono::milliseconds pause_;
  Mutex mu_;
  CondVar changed_;
  bool deleted_ GUARDED_BY(mu_) = false;
  bool stopped_ GUARDED_BY(mu_) = false;
  std::stop_source stop_;
  std::thread thread_;  // last: it uses the others
};

}  // namespace modelfs::fs
