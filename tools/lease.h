// Keeps a lease of the registry alive for as long as bytes are being written under it.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string_view>
#include <thread>

#include "cas/base/result.h"
#include "store/leases.h"

namespace modelfs::tools {

// Renews from a thread of its own, releases when it goes.
class HeldLease {
 public:
  // `leases` outlives it.
  static Result<std::unique_ptr<HeldLease>> Acquire(store::Leases& leases, const store::Caller& caller,
                                                    std::string_view purpose);
  ~HeldLease();
  HeldLease(const HeldLease&) = delete;
  HeldLease& operator=(const HeldLease&) = delete;

  const store::Lease& lease() const { return lease_; }

 private:
  HeldLease(store::Leases& leases, store::Caller caller, store::Lease lease);

  store::Leases& leases_;
  const store::Caller caller_;
  const store::Lease lease_;
  std::mutex mu_;
  std::condition_variable_any wake_;
  std::jthread renewer_;  // last: it uses all of the above
};

}  // namespace modelfs::tools
