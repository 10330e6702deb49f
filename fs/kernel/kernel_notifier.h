// Notifies the kernel of entries and attributes that it must drop, from a thread of its own. A notification
// waits for locks that a request in flight may hold, so a thread that answers requests must never send one
// (libfuse fuse_lowlevel.h, fuse_lowlevel_notify_inval_entry).
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <thread>

#include "cas/base/thread.h"
#include "fs/base/node_id.h"
#include "fs/base/notifier.h"

namespace modelfs::fs {

class FuseChannel;

// Sends from one thread of its own. Registry commits feed the queue, and each costs its author an fsync:
// that, and not a number here, bounds it.
class KernelNotifier : public Notifier {
 public:
  ~KernelNotifier() override { Stop(); }

  void Start(FuseChannel& channel);
  // Drops queued notifications; returns when the thread has ended.
  void Stop();

  void EntryChanged(NodeId parent, std::string_view name) override;
  void AttrChanged(NodeId node) override;
  void Flush() override;

 private:
  struct Item {
    NodeId node = 0;
    std::string name;  // empty: the node's attributes
    uint64_t serial = 0;
  };
  void Queue(Item item);
  void Send(FuseChannel& channel);

  Mutex mu_;
  CondVar changed_;
  std::deque<Item> queue_ GUARDED_BY(mu_);  // by serial
  uint64_t queued_ GUARDED_BY(mu_) = 0;     // the last serial
  uint64_t sending_ GUARDED_BY(mu_) = 0;    // the serial of the one under way; 0: none
  bool stopped_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace modelfs::fs
