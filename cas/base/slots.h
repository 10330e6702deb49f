// Limits how many operations run at a time. A caller that wants to begin one waits for its turn, as long as
// it likes.
#pragma once

#include <cstddef>
#include <optional>
#include <stop_token>
#include <utility>

#include "cas/base/clock.h"
#include "cas/base/thread.h"

namespace modelfs {

// Thread-safe. Must outlive its Slots.
class Slots {
 public:
  class Slot {
   public:
    ~Slot() {
      if (slots_ != nullptr) slots_->GiveBack();
    }
    Slot(Slot&& other) noexcept : slots_(std::exchange(other.slots_, nullptr)) {}
    Slot& operator=(Slot&&) = delete;

   private:
    friend class Slots;
    explicit Slot(Slots& slots) : slots_(&slots) {}
    Slots* slots_;
  };

  explicit Slots(size_t count) : free_(count) {}

  // Waits for a slot. Returns nothing once `stop` is requested or `deadline` has passed.
  std::optional<Slot> Take(const std::stop_token& stop, const Deadline& deadline = Deadline::Never()) {
    // Constructed before the lock is taken and destroyed after its release, because the callback takes the
    // lock itself, on this thread or another.
    const std::stop_callback wake(stop, [this] {
      MutexLock lock(mu_);
      changed_.NotifyAll();
    });
    MutexLock lock(mu_);
    while (free_ == 0 && !stop.stop_requested()) {
      if (!changed_.WaitUntil(mu_, deadline.at()) && free_ == 0) return std::nullopt;
    }
    if (stop.stop_requested()) return std::nullopt;
    --free_;
    return Slot(*this);
  }

 private:
  void GiveBack() {
    MutexLock lock(mu_);
    ++free_;
    changed_.NotifyAll();
  }

  Mutex mu_;
  CondVar changed_;
  size_t free_ GUARDED_BY(mu_);
};

}  // namespace modelfs
