#include "fs/reclaimer.h"

#include <utility>

#include "fs/base/thread_signals.h"

namespace modelfs::fs {

Reclaimer::Reclaimer(Reclaim reclaim, std::chrono::milliseconds pause)
    : reclaim_(std::move(reclaim)), pause_(pause), thread_([this] { Run(); }) {}

Reclaimer::~Reclaimer() {
  {
    MutexLock lock(mu_);
    stopped_ = true;
    stop_.request_stop();
    changed_.NotifyAll();
  }
  thread_.join();
}

void Reclaimer::SomethingWasDeleted() {
  MutexLock lock(mu_);
  deleted_ = true;
  changed_.NotifyAll();
}

void Reclaimer::Run() {
  LeaveSignalsToOthers();
  while (true) {
    {
      MutexLock lock(mu_);
      while (!deleted_ && !stopped_) changed_.Wait(mu_);
      const auto at = std::chrono::steady_clock::now() + pause_;
      while (!stopped_ && changed_.WaitUntil(mu_, at)) {
      }
      if (stopped_) return;
      deleted_ = false;
    }
    reclaim_(stop_.get_token());
  }
}

}  // namespace modelfs::fs
