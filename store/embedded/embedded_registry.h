// The registry over a KV engine of this host. Domain rules live here and below, once.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>

#include "cas/base/clock.h"
#include "cas/base/fd.h"
#include "cas/blob_store.h"
#include "cas/files.h"
#include "store/audit_settings.h"
#include "store/governance.h"
#include "store/journal.h"
#include "store/kv/kv.h"
#include "store/leases.h"
#include "store/registry.h"

namespace spdlog {
class logger;
}

namespace modelfs::store {

// Writes the first record of an empty registry. kAlreadyExists if it has one.
Result<RegistrySettings> InitializeRegistry(Kv& kv, const Clock& clock, const Caller& owner,
                                            RegistrySettings::SignaturePolicy signature);

// The result of CheckRecords.
struct RegistryCheck {
  uint64_t records = 0;               // looked at
  std::vector<std::string> problems;  // a sentence each, at most about a thousand; empty: all is well
  // Of those, about the audit log or its files: the other records can be believed.
  size_t audit_problems = 0;
};

// Which records of the audit log are moved to files: the oldest ones that pass both.
struct RotateOptions {
  std::optional<int64_t> before_ms = {};  // recorded before this time
  uint64_t keep = 0;                      // all but so many
};
struct AuditRotation {
  uint64_t records = 0;
  uint64_t files = 0;
};

struct EmbeddedRegistryOptions {
  std::string audit_directory;            // absolute, for what RotateAudit moves; empty: nothing can be moved
  cas::Files* files = &cas::RealFiles();  // must outlive the registry
  std::shared_ptr<spdlog::logger> log;    // may be null
};

class EmbeddedRegistry : public Registry, public Governance, public Journal, public Leases {
 public:
  // All must outlive it. `directory` knows the host's users and groups; null: the host knows nobody.
  // A registry of format 1 (without principals) is brought to the present format: its owner becomes the
  // metastore's admin. kFailedPrecondition if `kv` holds no registry or one of a newer format.
  static Result<std::unique_ptr<EmbeddedRegistry>> Open(Kv& kv, cas::BlobStore& blobs, const Clock& clock,
                                                        PrincipalDirectory* directory = nullptr,
                                                        EmbeddedRegistryOptions options = {});

  // The caller, doing the registry's own work. Having this registry means that the engine is this process's.
  Caller ForUpkeep(Caller caller) const {
    caller.upkeep = Upkeep();
    return caller;
  }

  // Lets a mount of this process speak for its owner, or for all users of this host, and records that. The
  // mount is a principal of its own: records of its requests name it as their door.
  virtual Result<Speaker> AdmitMount(const Caller& owner, std::string_view mount_point,
                                     Speaker::For speaks_for) = 0;

  // Moves old audit records out of the registry, to files of one a line. The chain goes on through them;
  // reading and verifying the log read them, too.
  //   kDataLoss  the chain is broken; what comes before stays as it is
  //   kAborted   another process does it at the moment
  virtual Result<AuditRotation> RotateAudit(const Caller& caller, const RotateOptions& options) = 0;

  // As RotateAudit if the settings ask for it and no other process is at it; else does nothing, cheaply.
  // Moves one file at a time: call again if it moved one. kDue is for a process that lives long. kOverdue is
  // for a command: only if no process has done it for long, and little at a time.
  enum class Tending : uint8_t { kDue, kOverdue };
  virtual Result<AuditRotation> TendAudit(const Caller& caller, Tending when) = 0;

  // No record moves to files while the returned lock lives, so copies of both that are made meanwhile fit
  // together. Waits for a rotation in progress. For callers that may sweep.
  //   kFailedPrecondition   there is no place for audit files
  virtual Result<Fd> HoldAuditFiles(const Caller& caller) = 0;

  // For callers that may read the audit log; a metastore admin sets them. A process that records opens heeds
  // new ones within a second.
  virtual Result<AuditSettings> GetAuditSettings(const Caller& caller) = 0;
  virtual Status SetAuditSettings(const Caller& caller, const AuditSettings& settings) = 0;

  // Makes the caller the metastore's owner and, from now on, the keeper of its files: the way out if the
  // owner of the files is not an admin. The program has made sure that the caller owns the files, and so
  // could write them anyway. Returns the metastore's owner before, "" if that was deleted.
  //   kPermissionDenied  a caller without a name, or with a group's
  virtual Result<std::string> TakeOver(const Caller& keeper) = 0;

  // Returns when all records of RecordAudit, and every refusal so far, are in the log.
  virtual Status FlushAudit() = 0;

  // Ends expired leases, ages PENDING versions to FAILED, finishes deletions that were interrupted,
  // then reads the mark from one snapshot.
  virtual Result<Mark> MarkForSweep(const Caller& caller) = 0;

  // Which versions need a blob, as "c.s.m/3" (for fsck). `digests` holds damaged blobs.
  virtual Result<std::vector<std::string>> VersionsThatNeed(const Caller& caller,
                                                            const std::unordered_set<Digest>& digests) = 0;

  // Reads everything that the registry keeps: whether every record is whole, names and ids lead to each
  // other, counts are right, the audit chain and the engine's own pages are whole (where not, the rest is not
  // looked at). Not whether trees and their files are stored.
  virtual Result<RegistryCheck> CheckRecords(const Caller& caller) = 0;

 protected:
  static Speaker MakeSpeaker(std::string name, Speaker::For speaks_for, uid_t owner) {
    return {std::move(name), speaks_for, owner};
  }
};

}  // namespace modelfs::store
