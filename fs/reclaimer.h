// Gives back the space of what was deleted, soon but not for each deletion anew: a sweep walks every tree.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

#include "cas/base/thread.h"

namespace modelfs::fs {

// Thread-safe. Has a thread of its own, which sleeps while nothing is deleted.
class Reclaimer {
 public:
  // `reclaim` runs `pause` after the first deletion that it has not seen, so a `rm -r` of many things is
  // swept once or twice.
  Reclaimer(std::function<void()> reclaim, std::chrono::milliseconds pause);
  ~Reclaimer();  // after a sweep under way

  void SomethingWasDeleted();

 private:
  void Run();

  const std::function<void()> reclaim_;
  const std::chrono::milliseconds pause_;
  Mutex mu_;
  CondVar changed_;
  bool deleted_ GUARDED_BY(mu_) = false;
  bool stopped_ GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace modelfs::fs
