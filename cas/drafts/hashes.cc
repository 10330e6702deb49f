#include "cas/drafts/hashes.h"

#include <algorithm>
#include <utility>

namespace modelfs::cas {

DraftHashes::~DraftHashes() {
  Stop();
  std::thread thread;
  {
    MutexLock lock(mu_);
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

void DraftHashes::Closed(DraftNode file) {
  MutexLock lock(mu_);
  if (stop_) return;
  if (known_.contains(file) || std::find(queue_.begin(), queue_.end(), file) != queue_.end()) return;
  queue_.push_back(file);
  StartThread();
}

void DraftHashes::StartThread() {
  if (running_ || queue_.empty()) return;
  if (thread_.joinable()) thread_.join();  // it does not need the lock any more
  running_ = true;
  thread_ = TryStartThread([this] { Run(); });
  if (thread_.joinable()) return;
  running_ = false;
  queue_.clear();
}

void DraftHashes::Drop(DraftNode file) {
  known_.erase(file);
  if (under_way_ == file) under_way_stop_.request_stop();
}

void DraftHashes::Changed(DraftNode file) {
  MutexLock lock(mu_);
  Drop(file);
}

void DraftHashes::Removed(DraftNode file) {
  MutexLock lock(mu_);
  Drop(file);
  std::erase(queue_, file);
}

void DraftHashes::Stop() {
  MutexLock lock(mu_);
  stop_ = true;
  under_way_stop_.request_stop();
}

std::unordered_map<DraftNode, HashedFile> DraftHashes::Settle(const std::stop_token& stop) {
  // Constructed before the lock is taken and destroyed after its release, because the callback takes the lock
  // itself, on this thread or another.
  const std::stop_callback wake(stop, [this] {
    MutexLock lock(mu_);
    idle_.NotifyAll();
  });
  MutexLock lock(mu_);
  std::deque<DraftNode> waiting;
  waiting.swap(queue_);
  while (under_way_.has_value() && !stop.stop_requested()) idle_.Wait(mu_);
  if (stop.stop_requested()) {
    queue_.insert(queue_.begin(), waiting.begin(), waiting.end());
    StartThread();
  }
  return known_;
}

void DraftHashes::Run() {
  while (true) {
    DraftNode file = 0;
    std::stop_token stop;
    {
      MutexLock lock(mu_);
      if (queue_.empty() || stop_) {
        running_ = false;
        return;
      }
      file = queue_.front();
      queue_.pop_front();
      under_way_ = file;
      under_way_stop_ = std::stop_source();
      stop = under_way_stop_.get_token();
    }
    std::optional<HashedFile> hashed = hash_(file, stop);
    MutexLock lock(mu_);
    if (hashed.has_value() && !stop.stop_requested()) known_.insert_or_assign(file, *std::move(hashed));
    under_way_.reset();
    idle_.NotifyAll();
  }
}

}  // namespace modelfs::cas
