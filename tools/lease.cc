#include "tools/lease.h"

#include <chrono>
#include <utility>

namespace modelfs::tools {
namespace {

// Often enough that two renewals may fail before the lease ends.
constexpr std::chrono::milliseconds kRenewEvery{store::kLeaseLifetimeMs / 3 - 60'000};

}  // namespace

Result<std::unique_ptr<HeldLease>> HeldLease::Acquire(store::Leases& leases, const store::Caller& caller,
                                                      std::string_view purpose) {
  ASSIGN_OR_RETURN(store::Lease lease, leases.AcquireLease(caller, purpose));
  return std::unique_ptr<HeldLease>(new HeldLease(leases, caller, std::move(lease)));
}

HeldLease::HeldLease(store::Leases& leases, store::Caller caller, store::Lease lease)
    : leases_(leases),
      caller_(std::move(caller)),
      lease_(std::move(lease)),
      renewer_([this](const std::stop_token& stop) {
        std::unique_lock<std::mutex> lock(mu_);
        while (!wake_.wait_for(lock, stop, kRenewEvery, [] { return false; }) && !stop.stop_requested()) {
          leases_.RenewLease(caller_, lease_).IgnoreError("the commit is refused where the lease has ended");
        }
      }) {}

HeldLease::~HeldLease() {
  renewer_.request_stop();
  renewer_.join();
  leases_.ReleaseLease(caller_, lease_).IgnoreError("it ends by itself");
}

}  // namespace modelfs::tools
