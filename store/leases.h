// Leases: each protects blobs on their way into a version, until its end, from a sweep.
//
// Thread-safe. Calls may wait for the disk. Errors that any call may return, besides its own: as Registry
// (store/registry.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cas/base/result.h"
#include "cas/blob_store.h"
#include "store/caller.h"

namespace modelfs::store {

// Protects blobs on their way into a version. See docs/formats.md, "reclaim".
struct Lease {
  std::string id;
  cas::Epoch epoch;
};

inline constexpr int64_t kLeaseLifetimeMs = int64_t{60} * 60 * 1000;

class Leases {
 public:
  virtual ~Leases() = default;

  // A writer takes a lease before the first blob of a version is written, and releases it after the commit or
  // on giving up. A lease that is not renewed ends after kLeaseLifetimeMs.
  virtual Result<Lease> AcquireLease(const Caller& caller, std::string_view purpose) = 0;
  virtual Status RenewLease(const Lease& lease) = 0;  // kAborted if it has ended
  virtual Status ReleaseLease(const Lease& lease) = 0;
};

}  // namespace modelfs::store
