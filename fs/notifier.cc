#include "fs/notifier.h"

#include <csignal>
#include <utility>

#include "fs/fuse_channel.h"

namespace modelfs::fs {

void ThreadNotifier::Start(FuseChannel& channel) {
  thread_ = std::thread([this, &channel] {
    sigset_t all;  // signals are the business of whoever runs the daemon
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    Send(channel);
  });
}

void ThreadNotifier::Stop() {
  {
    MutexLock lock(mu_);
    stopped_ = true;
    queue_.clear();
    sent_ = queued_;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void ThreadNotifier::EntryChanged(NodeId parent, std::string_view name) {
  Queue(Item{parent, std::string(name)});
}

void ThreadNotifier::AttrChanged(NodeId node) { Queue(Item{node, {}}); }

void ThreadNotifier::Queue(Item item) {
  MutexLock lock(mu_);
  if (stopped_) return;
  queue_.push_back(std::move(item));
  ++queued_;
  changed_.NotifyAll();
}

void ThreadNotifier::Flush() {
  MutexLock lock(mu_);
  const uint64_t until = queued_;
  while (sent_ < until) changed_.Wait(mu_);
}

void ThreadNotifier::Send(FuseChannel& channel) {
  while (true) {
    Item item;
    {
      MutexLock lock(mu_);
      while (queue_.empty() && !stopped_) changed_.Wait(mu_);
      if (stopped_) return;
      item = std::move(queue_.front());
      queue_.pop_front();
    }
    if (item.name.empty()) {
      channel.InvalidateAttr(item.node);
    } else {
      channel.InvalidateEntry(item.node, item.name);
    }
    MutexLock lock(mu_);
    if (stopped_) return;
    ++sent_;
    changed_.NotifyAll();
  }
}

}  // namespace modelfs::fs
