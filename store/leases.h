// Leases: each protects blobs on their way into a version, until its end, from a sweep.
//
// Thread-safe. Calls may wait for the disk. Errors that any call may return, besides its own: as Registry
// (store/registry.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/digest.h"
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

// A remote holder renews for this long at most, so that a host that was forgotten does not hold sweeps back.
inline constexpr int64_t kRemoteLeaseMostMs = int64_t{24} * 60 * 60 * 1000;

// The end of a lease beside its time. kThisProcess: a sweep ends it once this process is gone. kRemote: the
// holder is on another host, so it lives by renewal alone, whatever becomes of the process that took it.
enum class LeaseHolder : uint8_t { kThisProcess, kRemote };

// A sweep may rely on this: a blob with an epoch before `horizon` is unreferenced, and stays so, if it is not
// in `live_trees`, listed by one of them, in `live_times`, or in a draft.
struct Mark {
  cas::Epoch horizon;
  std::vector<Digest> live_trees;
  std::vector<Digest> live_times;  // the blobs of files' mtimes
};

class Leases {
 public:
  virtual ~Leases() = default;

  // A writer takes a lease before the first blob of a version is written, and releases it after the commit or
  // on giving up. A lease that is not renewed ends after kLeaseLifetimeMs.
  virtual Result<Lease> AcquireLease(const Caller& caller, std::string_view purpose,
                                     LeaseHolder holder = LeaseHolder::kThisProcess) = 0;
  // kAborted if it has ended; kPermissionDenied if another principal holds it.
  virtual Status RenewLease(const Caller& caller, const Lease& lease) = 0;
  // OK if it has ended; kPermissionDenied as RenewLease.
  virtual Status ReleaseLease(const Caller& caller, const Lease& lease) = 0;
};

}  // namespace modelfs::store
