#include "cas/draft_hashes.h"

#include <algorithm>
#include <utility>

namespace modelfs::cas {

DraftHashes::~DraftHashes() {
  std::thread thread;
  {
    MutexLock lock(mu_);
    stop_ = true;
    wake_.NotifyAll();
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

void DraftHashes::Closed(DraftNode file) {
  MutexLock lock(mu_);
  if (known_.contains(file) || std::find(queue_.begin(), queue_.end(), file) != queue_.end()) return;
  queue_.push_back(file);
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  wake_.NotifyAll();
}

void DraftHashes::Changed(DraftNode file) {
  MutexLock lock(mu_);
  known_.erase(file);
  if (under_way_ == file) changed_meanwhile_ = true;
}

std::unordered_map<DraftNode, HashedFile> DraftHashes::Settle() {
  MutexLock lock(mu_);
  queue_.clear();
  while (under_way_.has_value()) idle_.Wait(mu_);
  return known_;
}

void DraftHashes::Run() {
  while (true) {
    DraftNode file = 0;
    {
      MutexLock lock(mu_);
      while (queue_.empty() && !stop_) wake_.Wait(mu_);
      if (stop_) return;
      file = queue_.front();
      queue_.pop_front();
      under_way_ = file;
      changed_meanwhile_ = false;
    }
    std::optional<HashedFile> hashed = hash_(file);
    MutexLock lock(mu_);
    if (hashed.has_value() && !changed_meanwhile_) known_.insert_or_assign(file, *std::move(hashed));
    under_way_.reset();
    idle_.NotifyAll();
  }
}

}  // namespace modelfs::cas
