// One short lease (store/leases.h) that operations share while they bring blobs into a version. A lease costs
// a durable commit, so a `cp -r` of ten thousand files must not take ten thousand. A live lease holds every
// sweep back, so none is kept for long either. It is taken when the first operation needs one, and replaced
// by a younger one after share_for. It is given back when its last user is done and it was either replaced or
// unused for idle_for.
//
// Thread-safe. Has a thread of its own, which sleeps while no lease is held.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cas/base/result.h"
#include "cas/base/thread.h"
#include "store/leases.h"

namespace modelfs::store {

class LeasePool;

// Keeps a lease alive while bytes are written under it. Do not keep it beyond one operation.
class HeldLease {
 public:
  HeldLease(HeldLease&&) = default;
  HeldLease& operator=(HeldLease&&) = delete;
  ~HeldLease();

  const Lease& lease() const;
  // The registry reported that this lease has ended: no other operation gets it.
  void Ended();

 private:
  friend class LeasePool;
  struct Shared;
  HeldLease(LeasePool& pool, std::shared_ptr<Shared> shared) : pool_(&pool), shared_(std::move(shared)) {}

  LeasePool* pool_;
  std::shared_ptr<Shared> shared_;  // null once moved from
};

class LeasePool {
 public:
  struct Times {
    std::chrono::milliseconds share_for{10'000};  // new users do not get an older one
    std::chrono::milliseconds idle_for{2'000};    // unused for this long: given back
    // While an operation uses it: well within the lifetime that the registry gives a lease.
    std::chrono::milliseconds renew_after{kLeaseLifetimeMs / 4};
  };

  // `leases` outlives the pool, and `purpose` says in the registry what its leases are for.
  LeasePool(Leases& leases, Caller caller, std::string purpose)
      : LeasePool(leases, std::move(caller), std::move(purpose), Times{}) {}
  LeasePool(Leases& leases, Caller caller, std::string purpose, Times times);
  // Gives everything back. No HeldLease may be left.
  ~LeasePool();

  // Waits for a commit if there is no young lease. Errors as Leases::AcquireLease.
  Result<HeldLease> Get() EXCLUDES(mu_);

 private:
  using Shared = HeldLease::Shared;
  friend class HeldLease;

  void Done(Shared& shared) EXCLUDES(mu_);
  void Ended(const Shared& shared) EXCLUDES(mu_);
  void Run(const std::stop_token& stop) EXCLUDES(mu_);

  Leases& leases_;
  const Caller caller_;
  const std::string purpose_;
  const Times times_;

  Mutex mu_;
  CondVar changed_;
  bool acquiring_ GUARDED_BY(mu_) = false;
  std::shared_ptr<Shared> current_ GUARDED_BY(mu_);            // may be null; also in `live_`
  std::vector<std::shared_ptr<Shared>> live_ GUARDED_BY(mu_);  // not given back yet
  std::jthread thread_;                                        // last: it uses the others
};

}  // namespace modelfs::store
