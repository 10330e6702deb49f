#include "fs/kernel/kernel_notifier.h"

#include <utility>

#include "fs/base/thread_signals.h"
#include "fs/kernel/fuse_channel.h"

namespace modelfs::fs {

void KernelNotifier::Start(FuseChannel& channel) {
  thread_ = std::thread([this, &channel] {
    LeaveSignalsToOthers();
    Send(channel);
  });
}

void KernelNotifier::Stop() {
  {
    MutexLock lock(mu_);
    stopped_ = true;
    queue_.clear();
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void KernelNotifier::EntryChanged(NodeId parent, std::string_view name) {
  Queue(Item{.node = parent, .name = std::string(name)});
}

void KernelNotifier::AttrChanged(NodeId node) { Queue(Item{.node = node, .name = {}}); }

void KernelNotifier::Queue(Item item) {
  MutexLock lock(mu_);
  if (stopped_) return;
  item.serial = ++queued_;
  queue_.push_back(std::move(item));
  changed_.NotifyAll();
}

void KernelNotifier::Flush() {
  MutexLock lock(mu_);
  const uint64_t until = queued_;
  const auto outstanding = [&]() REQUIRES(mu_) {
    return (sending_ != 0 && sending_ <= until) || (!queue_.empty() && queue_.front().serial <= until);
  };
  while (!stopped_ && outstanding()) changed_.Wait(mu_);
}

void KernelNotifier::Send(FuseChannel& channel) {
  while (true) {
    Item item;
    {
      MutexLock lock(mu_);
      while (queue_.empty() && !stopped_) changed_.Wait(mu_);
      if (stopped_) return;
      item = std::move(queue_.front());
      queue_.pop_front();
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
