// A loop over independent items by several threads. Internal to cas/.
#pragma once

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "cas/base/result.h"
#include "cas/base/thread.h"

namespace modelfs::cas {

// Calls `work(i)` for each i below `count`, from up to `threads` threads. After the first error no further
// call is started, and that error is returned. If the host has no more threads, fewer do the work.
template <typename Work>
Status ParallelFor(size_t count, size_t threads, const Work& work) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> stopped = false;
  Mutex mu;
  std::optional<Error> first_error;
  const auto run = [&] {
    while (!stopped.load()) {
      const size_t i = next.fetch_add(1);
      if (i >= count) return;
      if (Status status = work(i); !status.ok()) {
        stopped.store(true);
        MutexLock lock(mu);
        if (!first_error.has_value()) first_error = status.error();
      }
    }
  };
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < std::min(threads, count); ++i) {
    std::thread helper = TryStartThread(run);
    if (!helper.joinable()) break;
    helpers.push_back(std::move(helper));
  }
  run();
  for (std::thread& helper : helpers) helper.join();
  if (first_error.has_value()) return *first_error;
  return OkStatus();
}

}  // namespace modelfs::cas
