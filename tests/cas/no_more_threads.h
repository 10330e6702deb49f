// For its lifetime, the host has no thread left.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <future>
#include <thread>
#include <vector>

#include "cas/base/check.h"
#include "cas/base/thread.h"

namespace modelfs {

// Limits the address space: a thread's stack no longer fits (pthread_create(3), EAGAIN), but small
// allocations do. First uses up the stacks that the C library has kept of earlier threads. Does not work
// under a sanitizer, which needs more address space.
class NoMoreThreads {
 public:
  NoMoreThreads() {
    CHECK(::getrlimit(RLIMIT_AS, &before_) == 0);
    uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit limit = before_;
    limit.rlim_cur = pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) + kRoomBytes;
    CHECK(::setrlimit(RLIMIT_AS, &limit) == 0);
    const std::shared_future<void> end(end_.get_future());
    while (true) {
      std::thread thread = TryStartThread([end] { end.wait(); });
      if (!thread.joinable()) return;
      threads_.push_back(std::move(thread));
    }
  }
  ~NoMoreThreads() {
    ::setrlimit(RLIMIT_AS, &before_);
    end_.set_value();
    for (std::thread& thread : threads_) thread.join();
  }
  NoMoreThreads(const NoMoreThreads&) = delete;
  NoMoreThreads& operator=(const NoMoreThreads&) = delete;

 private:
  static constexpr uint64_t kRoomBytes = uint64_t{6} << 20U;  // less than a stack, ulimit -s

  rlimit before_{};
  std::promise<void> end_;
  std::vector<std::thread> threads_;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SKIP_UNDER_SANITIZERS() GTEST_SKIP() << "the address space cannot be limited under a sanitizer"
#else
#define SKIP_UNDER_SANITIZERS() static_cast<void>(0)
#endif

}  // namespace modelfs
