#include "store/embedded/event_pump.h"

#include <chrono>
#include <utility>
#include <vector>

#include "cas/base/clock.h"

namespace modelfs::store {
namespace {

constexpr size_t kLogStep = 1000;
constexpr std::chrono::milliseconds kErrorPause{1000};  // while the log cannot be read

}  // namespace

class EventPump::Handle : public Subscription {
 public:
  Handle(EventPump& pump, Subscribers::iterator subscriber) : pump_(pump), subscriber_(subscriber) {}
  ~Handle() override { pump_.Remove(subscriber_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

 private:
  EventPump& pump_;
  const Subscribers::iterator subscriber_;
};

EventPump::~EventPump() {
  std::thread thread;
  std::stop_source woken;
  end_.request_stop();
  {
    const MutexLock lock(mu_);
    woken = wait_;
    thread = std::move(thread_);
    idle_.NotifyAll();
  }
  woken.request_stop();
  if (thread.joinable()) thread.join();
}

Result<std::unique_ptr<Subscription>> EventPump::Watch(Revision after, std::function<void()> on_event) {
  std::stop_source woken;
  Subscribers::iterator added;
  {
    const MutexLock lock(mu_);
    if (!thread_.joinable()) {
      read_ = newest_ = after;
      thread_ = TryStartThread([this, stop = end_.get_token()] { Run(stop); });
      if (!thread_.joinable()) return Error(Code::kResourceExhausted, "the host starts no more threads");
    }
    added = subscribers_.insert(subscribers_.end(), {after, std::move(on_event), false});
    woken = std::exchange(wait_, std::stop_source());
  }
  woken.request_stop();  // without the lock: the engine takes its own in a callback
  return std::unique_ptr<Subscription>(std::make_unique<Handle>(*this, added));
}

void EventPump::Remove(Subscribers::iterator subscriber) {
  const MutexLock lock(mu_);
  while (subscriber->busy) idle_.Wait(mu_);
  subscribers_.erase(subscriber);
}

void EventPump::Run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::stop_token wait;
    {
      const MutexLock lock(mu_);
      wait = wait_.get_token();
    }
    if (!ReadTail()) {
      Pause(stop);
      continue;
    }
    Notify();
    kv_.WaitForCommit(committed_, Deadline::Never(), wait);
  }
}

void EventPump::Pause(const std::stop_token& stop) {
  const Deadline end = Deadline::After(kErrorPause);
  const MutexLock lock(mu_);
  while (!stop.stop_requested() && idle_.WaitUntil(mu_, end.at())) {
  }
}

bool EventPump::ReadTail() {
  // In this order: an event between the two reads is then seen by the second or ends the wait.
  Result<std::unique_ptr<Snapshot>> now = kv_.Read();
  if (!now.ok()) return false;
  const Revision committed = (*now)->revision();
  now->reset();  // a thread that holds a snapshot starts no other read
  for (bool more = true; more;) {
    const Result<std::vector<LogEntry>> entries = kv_.ReadLog(read_, kLogStep);
    if (!entries.ok() && entries.error().code() == Code::kOutOfRange) {
      read_ = committed;  // the next Events of a subscriber says that the log was trimmed
      const MutexLock lock(mu_);
      newest_ = committed;
      break;
    }
    if (!entries.ok()) return false;
    more = entries->size() == kLogStep;
    if (entries->empty()) break;
    read_ = entries->back().revision;
    const MutexLock lock(mu_);
    newest_ = read_;
  }
  committed_ = committed;
  return true;
}

void EventPump::Notify() {
  mu_.Lock();
  for (auto each = subscribers_.begin(); each != subscribers_.end(); ++each) {
    if (each->after >= newest_) continue;
    each->after = newest_;
    each->busy = true;
    mu_.Unlock();
    each->on_event();
    mu_.Lock();
    each->busy = false;
    idle_.NotifyAll();
  }
  mu_.Unlock();
}

}  // namespace modelfs::store
