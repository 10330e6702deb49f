// A few threads for requests that may take seconds (a rename that commits a version), so that the threads
// that talk to the kernel stay free for everything else.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "cas/base/thread.h"

namespace modelfs::fs {

// Thread-safe.
class Executor {
 public:
  Executor(size_t threads, size_t max_queued) : max_threads_(threads), max_queued_(max_queued) {}
  ~Executor() { Finish(); }

  // Returns false if `max_queued` wait already, if the host has no thread for it, or after Finish. Threads
  // start with the first work.
  bool Run(std::function<void()> work);
  // Returns when all accepted work is done and the threads have ended.
  void Finish();

 private:
  void Work();

  const size_t max_threads_;
  const size_t max_queued_;
  Mutex mu_;
  CondVar changed_;
  std::deque<std::function<void()>> queue_ GUARDED_BY(mu_);
  std::vector<std::thread> threads_ GUARDED_BY(mu_);
  size_t idle_ GUARDED_BY(mu_) = 0;
  bool finishing_ GUARDED_BY(mu_) = false;
};

}  // namespace modelfs::fs
