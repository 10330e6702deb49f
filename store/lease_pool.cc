#include "store/lease_pool.h"

#include <utility>

#include "cas/base/clock.h"

namespace modelfs::store {
namespace {

using Time = std::chrono::milliseconds;  // since the machine started, time asleep included

// Counts time asleep, too: by steady_clock, which stands still meanwhile, a lease would look younger than it
// is.
Time Now() { return Time(SystemClock().SinceBootMs()); }

}  // namespace

struct HeldLease::Shared {
  Lease lease;
  Time taken{0};
  Time renewed{0};
  Time last_used{0};
  size_t users = 0;
};

LeasePool::LeasePool(Leases& leases, Caller caller, std::string purpose, Times times)
    : leases_(leases), caller_(std::move(caller)), purpose_(std::move(purpose)), times_(times) {
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

LeasePool::~LeasePool() {
  thread_.request_stop();
  {
    const MutexLock lock(mu_);
    changed_.NotifyAll();
  }
  thread_.join();
  const MutexLock lock(mu_);
  for (const auto& shared : live_) {
    leases_.ReleaseLease(caller_, shared->lease).IgnoreError("it ends by itself");
  }
}

HeldLease::~HeldLease() {
  if (shared_ != nullptr) pool_->Done(*shared_);
}
const Lease& HeldLease::lease() const { return shared_->lease; }
void HeldLease::Ended() { pool_->Ended(*shared_); }

Result<HeldLease> LeasePool::Get() {
  {
    const MutexLock lock(mu_);
    while (true) {
      if (current_ != nullptr && Now() - current_->taken < times_.share_for) {
        ++current_->users;
        return HeldLease(*this, current_);
      }
      if (!acquiring_) break;
      changed_.Wait(mu_);
    }
    acquiring_ = true;
  }
  const Time before = Now();
  Result<Lease> lease = leases_.AcquireLease(caller_, purpose_);
  const MutexLock lock(mu_);
  acquiring_ = false;
  changed_.NotifyAll();
  if (!lease.ok()) return std::move(lease).error();
  auto shared = std::make_shared<Shared>();
  shared->lease = *std::move(lease);
  shared->taken = shared->renewed = shared->last_used = before;
  shared->users = 1;
  live_.push_back(shared);
  current_ = shared;
  return HeldLease(*this, std::move(shared));
}

void LeasePool::Done(Shared& shared) {
  const MutexLock lock(mu_);
  --shared.users;
  shared.last_used = Now();
  changed_.NotifyAll();
}

void LeasePool::Ended(const Shared& shared) {
  const MutexLock lock(mu_);
  if (current_.get() == &shared) current_ = nullptr;
}

void LeasePool::Run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::vector<std::shared_ptr<Shared>> give_back;
    std::vector<std::shared_ptr<Shared>> renew;
    {
      const MutexLock lock(mu_);
      const Time now = Now();
      if (current_ != nullptr && now - current_->taken >= times_.share_for) current_ = nullptr;
      for (auto it = live_.begin(); it != live_.end();) {
        Shared& shared = **it;
        const bool wanted = *it == current_ && now - shared.last_used < times_.idle_for;
        if (shared.users == 0 && !wanted) {
          if (*it == current_) current_ = nullptr;
          give_back.push_back(std::move(*it));
          it = live_.erase(it);
          continue;
        }
        if (shared.users > 0 && now - shared.renewed >= times_.renew_after) {
          shared.renewed = now;
          renew.push_back(*it);
        }
        ++it;
      }
      if (give_back.empty() && renew.empty() && !stop.stop_requested()) {
        if (live_.empty()) {
          changed_.Wait(mu_);
        } else {
          changed_.WaitUntil(mu_, std::chrono::steady_clock::now() + times_.idle_for);
        }
        continue;
      }
    }
    for (const auto& shared : give_back) {
      leases_.ReleaseLease(caller_, shared->lease).IgnoreError("it ends by itself");
    }
    for (const auto& shared : renew) {
      if (!leases_.RenewLease(caller_, shared->lease).ok()) Ended(*shared);
    }
  }
}

}  // namespace modelfs::store
