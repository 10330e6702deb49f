#include "fs/kernel/executor.h"

#include <utility>

namespace modelfs::fs {

bool Executor::Run(std::function<void()> work) {
  MutexLock lock(mu_);
  if (finishing_ || queue_.size() >= max_queued_) return false;
  queue_.push_back(std::move(work));
  if (idle_ < queue_.size() && threads_.size() < max_threads_) {
    std::thread thread = TryStartThread([this] { Work(); });
    if (thread.joinable()) {
      threads_.push_back(std::move(thread));
    } else if (threads_.empty()) {
      queue_.pop_back();
      return false;
    }
  }
  changed_.NotifyOne();
  return true;
}

void Executor::Finish() {
  std::vector<std::thread> threads;
  {
    MutexLock lock(mu_);
    finishing_ = true;
    threads.swap(threads_);
    changed_.NotifyAll();
  }
  for (std::thread& thread : threads) thread.join();
}

void Executor::Work() {
  while (true) {
    std::function<void()> work;
    {
      MutexLock lock(mu_);
      ++idle_;
      while (queue_.empty() && !finishing_) changed_.Wait(mu_);
      --idle_;
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    work();
  }
}

}  // namespace modelfs::fs
