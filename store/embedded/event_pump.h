// Notifies the subscribers of a registry of new events, all from one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <stop_token>
#include <thread>

#include "cas/base/result.h"
#include "cas/base/thread.h"
#include "store/journal.h"
#include "store/kv/kv.h"

namespace modelfs::store {

// Thread-safe. The thread starts with the first subscription, and ends with the pump. Subscriptions end
// before the pump.
class EventPump {
 public:
  explicit EventPump(Kv& kv) : kv_(kv) {}
  ~EventPump();
  EventPump(const EventPump&) = delete;
  EventPump& operator=(const EventPump&) = delete;

  // As Journal::Watch.
  Result<std::unique_ptr<Subscription>> Watch(Revision after, std::function<void()> on_event);

 private:
  struct Subscriber {
    Revision after = 0;  // the newest event that it was notified of
    std::function<void()> on_event;
    bool busy = false;  // its callback runs
  };
  using Subscribers = std::list<Subscriber>;
  class Handle;

  void Run(const std::stop_token& stop);
  // Finds the newest event, and the commit after which to wait. False if the engine cannot be read.
  bool ReadTail();
  void Pause(const std::stop_token& stop);
  void Notify();
  void Remove(Subscribers::iterator subscriber);

  Kv& kv_;
  Mutex mu_;
  CondVar idle_;
  Subscribers subscribers_ GUARDED_BY(mu_);
  std::stop_source wait_ GUARDED_BY(mu_);  // stopped when a subscriber comes, so that it is looked at
  Revision newest_ GUARDED_BY(mu_) = 0;
  Revision read_ = 0;       // of the thread alone: the log is read up to here
  Revision committed_ = 0;  // likewise: no event lies between `newest_` and this commit
  std::stop_source end_;
  std::thread thread_ GUARDED_BY(mu_);
};

}  // namespace modelfs::store
