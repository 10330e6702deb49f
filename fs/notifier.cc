#include "fs/notifier.h"

#include <algorithm>
#include <utility>

#include "cas/base/check.h"
#include "fs/fuse_channel.h"
#include "fs/thread_signals.h"

namespace modelfs::fs {

void ThreadNotifier::Start(FuseChannel& channel) {
  thread_ = std::thread([this, &channel] {
    LeaveSignalsToOthers();
    Send(channel);
  });
}

void ThreadNotifier::Stop() {
  {
    MutexLock lock(mu_);
    stopped_ = true;
    queue_.clear();
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void ThreadNotifier::EntryChanged(NodeId parent, std::string_view name) {
  Queue(Item{.node = parent, .name = std::string(name)});
}

void ThreadNotifier::AttrChanged(NodeId node) { Queue(Item{.node = node, .name = {}}); }

void ThreadNotifier::Queue(Item item) {
  MutexLock lock(mu_);
  if (stopped_) return;
  item.serial = ++queued_;
  queue_.push_back(std::move(item));
  changed_.NotifyAll();
}

void ThreadNotifier::Flush() {
  MutexLock lock(mu_);
  const uint64_t until = queued_;
  const auto outstanding = [&]() REQUIRES(mu_) {
    return (sending_ != 0 && sending_ <= until) || (!queue_.empty() && queue_.front().serial <= until);
  };
  while (!stopped_ && outstanding()) changed_.Wait(mu_);
}

void ThreadNotifier::Enter(NodeId directory) {
  MutexLock lock(mu_);
  ++busy_[directory];
}

void ThreadNotifier::Leave(NodeId directory) {
  MutexLock lock(mu_);
  const auto found = busy_.find(directory);
  CHECK(found != busy_.end());
  if (--found->second > 0) return;
  busy_.erase(found);
  changed_.NotifyAll();
}

std::deque<ThreadNotifier::Item>::iterator ThreadNotifier::Next() {
  return std::find_if(queue_.begin(), queue_.end(), [this](const Item& item) REQUIRES(mu_) {
    return item.name.empty() || !busy_.contains(item.node);
  });
}

void ThreadNotifier::Send(FuseChannel& channel) {
  while (true) {
    Item item;
    {
      MutexLock lock(mu_);
      auto next = Next();
      while (next == queue_.end() && !stopped_) {
        changed_.Wait(mu_);
        next = Next();
      }
      if (stopped_) return;
      item = std::move(*next);
      queue_.erase(next);
      sending_ = item.serial;
    }
    if (item.name.empty()) {
      channel.InvalidateAttr(item.node);
    } else {
      channel.InvalidateEntry(item.node, item.name);
    }
    MutexLock lock(mu_);
    sending_ = 0;
    if (stopped_) return;
    changed_.NotifyAll();
  }
}

}  // namespace modelfs::fs
