// So many things at a time and no more: a caller that wants to begin one waits for its turn, as long as it
// likes.
#pragma once

#include <cstddef>
#include <optional>
#include <stop_token>
#include <utility>

#include "cas/base/clock.h"
#include "cas/base/thread.h"

namespace modelfs {

// Thread-safe. Outlives every Slot of it.
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

  // Waits for one; nothing once `stop` is requested or `deadline` has passed.
  std::optional<Slot> Take(const std::stop_token& stop, const Deadline& deadline = Deadline::Never()) {
    // Made before the lock is taken and gone after it: it takes the lock itself, here or on another thread.
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
