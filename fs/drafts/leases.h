// One short lease (store/leases.h) that a mount's operations share while they bring blobs into a version. A
// lease costs a durable commit, so a `cp -r` of ten thousand files must not take ten thousand. A live lease
// holds every sweep back, so none is kept for long either. It is taken when the first operation needs one,
// and replaced by a younger one after share_for. It is given back when its last user is done and it was
// either replaced or unused for idle_for.
//
// Thread-safe. Has a thread of its own, which sleeps while no lease is held.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

#include "cas/base/result.h"
#include "cas/base/thread.h"
#include "store/leases.h"

namespace modelfs::fs {

class Leases {
 public:
  struct Times {
    std::chrono::milliseconds share_for{10'000};  // new users do not get an older one
    std::chrono::milliseconds idle_for{2'000};    // unused for this long: given back
    // While an operation uses it: well within the lifetime that the registry gives a lease.
    std::chrono::milliseconds renew_after{store::kLeaseLifetimeMs / 4};
  };

  Leases(store::Leases& leases, store::Caller daemon) : Leases(leases, std::move(daemon), Times{}) {}
  Leases(store::Leases& leases, store::Caller daemon, Times times);
  // Gives everything back. No Use may be left.
  ~Leases();

 private:
  struct Shared;

 public:
  // Keeps the lease alive. Do not keep it beyond one operation.
  class Use {
   public:
    Use(Leases& leases, std::shared_ptr<Shared> shared) : leases_(&leases), shared_(std::move(shared)) {}
    Use(Use&&) = default;
    Use& operator=(Use&&) = delete;
    ~Use() {
      if (shared_ != nullptr) leases_->Done(*shared_);
    }
    const store::Lease& lease() const;
    // The registry reported that this lease has ended: no other operation gets it.
    void Ended();

   private:
    Leases* leases_;
    std::shared_ptr<Shared> shared_;
  };

  // Waits for a commit if there is no young lease. Errors as store::Leases::AcquireLease.
  Result<Use> Get() EXCLUDES(mu_);

 private:
  using Time = std::chrono::milliseconds;  // since the machine started, time asleep included
  struct Shared {
    store::Lease lease;
    Time taken{0};
    Time renewed{0};
    Time last_used{0};
    size_t users = 0;
  };

  void Done(Shared& shared) EXCLUDES(mu_);
  void Ended(const Shared& shared) EXCLUDES(mu_);
  void Run(const std::stop_token& stop) EXCLUDES(mu_);

  store::Leases& leases_;
  const store::Caller daemon_;
  const Times times_;

  Mutex mu_;
  CondVar changed_;
  bool acquiring_ GUARDED_BY(mu_) = false;
  std::shared_ptr<Shared> current_ GUARDED_BY(mu_);            // may be null; also in `live_`
  std::vector<std::shared_ptr<Shared>> live_ GUARDED_BY(mu_);  // not given back yet
  std::jthread thread_;                                        // last: it uses the others
};

}  // namespace modelfs::fs
