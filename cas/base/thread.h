// Mutex, lock and condition variable that Clang's thread-safety analysis understands
// (https://clang.llvm.org/docs/ThreadSafetyAnalysis.html). With other compilers the attributes vanish.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#if defined(__clang__)
#define MODELFS_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define MODELFS_THREAD_ATTRIBUTE(x)
#endif

#define CAPABILITY(x) MODELFS_THREAD_ATTRIBUTE(capability(x))
#define SCOPED_CAPABILITY MODELFS_THREAD_ATTRIBUTE(scoped_lockable)
#define GUARDED_BY(x) MODELFS_THREAD_ATTRIBUTE(guarded_by(x))
#define PT_GUARDED_BY(x) MODELFS_THREAD_ATTRIBUTE(pt_guarded_by(x))
#define REQUIRES(...) MODELFS_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) MODELFS_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) MODELFS_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define RELEASE(...) MODELFS_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS MODELFS_THREAD_ATTRIBUTE(no_thread_safety_analysis)

namespace modelfs {

// Starts a thread that does `work`. The thread is not joinable if the host has no thread left
// (pthread_create(3), EAGAIN): for callers that can do without it.
template <typename Work>
std::thread TryStartThread(Work work) {
  try {
    return std::thread(std::move(work));
  } catch (const std::system_error&) {
    return {};
  }
}

class CAPABILITY("mutex") Mutex {
 public:
  void Lock() ACQUIRE() { mu_.lock(); }
  void Unlock() RELEASE() { mu_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mu_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mu) ACQUIRE(mu) : mu_(mu) { mu_.Lock(); }
  ~MutexLock() RELEASE() { mu_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mu_;
};

// Wait in a loop around the condition, with the mutex held: while (!ready_) cv_.Wait(mu_);
class CondVar {
 public:
  void Wait(Mutex& mu) REQUIRES(mu) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // Returns false if `deadline` passed.
  bool WaitUntil(Mutex& mu, std::chrono::steady_clock::time_point deadline)
      REQUIRES(mu) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    const bool in_time = cv_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }
  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace modelfs
