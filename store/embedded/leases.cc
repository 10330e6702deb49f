// Leases: the writers of blobs at the moment, so that a sweep leaves these blobs alone.
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "cas/base/fail_point.h"
#include "store/embedded/embedded_registry_impl.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

constexpr size_t kMostLeases = 100'000;

std::string ReadSmallFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The kernel's name for this boot, proc(5); empty where it has none.
std::string BootId() {
  std::string id = ReadSmallFile("/proc/sys/kernel/random/boot_id");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

// A process id means a process only within its namespace, pid_namespaces(7). 0: unknown.
uint64_t PidNamespace() {
  struct stat info {};
  return ::stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

// Field 22 of /proc/<pid>/stat, proc(5): with it a process id that is used again is told apart.
// 0: no such process.
uint64_t ProcessStart(uint64_t pid) {
  const std::string stat = ReadSmallFile(fmt::format("/proc/{}/stat", pid));
  const size_t name_end = stat.rfind(')');  // the name itself may hold spaces and brackets
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(stat.substr(name_end + 1));
  constexpr int kFieldsBetween = 19;  // fields 3 to 21
  std::string skipped;
  for (int i = 0; i < kFieldsBetween; ++i) fields >> skipped;
  uint64_t start = 0;
  fields >> start;
  return start;
}

// A lease without a process is of a remote holder.
bool IsRemote(const LeaseRecord& lease) { return lease.pid == 0; }

// The end of a lease that is renewed now.
int64_t EndOf(const LeaseRecord& lease, int64_t now_ms) {
  const int64_t end_ms = now_ms + kLeaseLifetimeMs;
  return IsRemote(lease) ? std::min(end_ms, lease.acquired_at_ms + kRemoteLeaseMostMs) : end_ms;
}

// True only where it is certain: same boot of the same host, same namespace, and the process is gone.
bool HolderIsDead(const LeaseRecord& lease) {
  const std::string boot = BootId();
  if (boot.empty() || lease.boot_id.empty() || IsRemote(lease)) return false;
  if (lease.boot_id != boot || lease.pid_namespace != PidNamespace() || lease.pid_namespace == 0)
    return false;
  return ProcessStart(lease.pid) != lease.process_start;
}

Error Ended(const Lease& lease) {
  return Error(
      Code::kAborted,
      fmt::format("lease {} has ended, and what was stored under it may be gone; store it again", lease.id));
}

// A transaction that touches leases alone: no audit record and no event, since nothing that people can
// see has changed.
Status CommitOnce(Kv& kv, Change& change, std::unique_ptr<Snapshot> snapshot) {
  ASSIGN_OR_RETURN(const KvTransaction transaction, change.Finish());
  snapshot.reset();
  const Result<Revision> committed = kv.Commit(transaction);
  return committed.ok() ? OkStatus() : Status(committed.error());
}

}  // namespace

Status EmbeddedRegistryImpl::ExpectLease(Change& change, const Lease& lease) {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, change.Get(keys::Lease(lease.id)));
  // The lease's record is written once, so its revision is the epoch that its blobs were marked with.
  if (!entry || entry->revision != lease.epoch.revision) return Ended(lease);
  return OkStatus();
}

Result<Lease> EmbeddedRegistryImpl::AcquireLease(const Caller& caller, std::string_view purpose,
                                                 LeaseHolder holder) {
  RETURN_IF_ERROR(Demand(caller, {Operation::kUse}));
  LeaseRecord record;
  record.purpose = purpose.substr(0, 1024);
  record.principal = caller.principal;
  record.acquired_at_ms = clock_.NowMs();
  if (holder == LeaseHolder::kThisProcess) {
    record.boot_id = BootId();
    record.pid_namespace = PidNamespace();
    record.pid = static_cast<uint64_t>(::getpid());
    record.process_start = ProcessStart(record.pid);
  }
  Lease lease;
  lease.id = RandomHex128();
  KvTransaction transaction;
  transaction.Put(keys::Lease(lease.id), record.Encode());
  transaction.Put(keys::LeaseUntil(lease.id),
                  EncodeNumber(static_cast<uint64_t>(EndOf(record, clock_.NowMs()))));
  transaction.patience = PatienceOf(caller);
  // The epoch is this very commit: a mark of an earlier snapshot has an earlier horizon, and one of a later
  // snapshot sees the lease.
  ASSIGN_OR_RETURN(lease.epoch.revision, kv_.Commit(transaction));
  FAIL_POINT("lease.acquired");
  return lease;
}

Result<LeaseRecord> EmbeddedRegistryImpl::HeldBy(const Caller& caller, const Lease& lease) {
  return Inspect(caller, Operation::kUse, kMetastoreId, [&](View& view) -> Result<LeaseRecord> {
    ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, view.Get(keys::Lease(lease.id)));
    if (!entry || entry->revision != lease.epoch.revision) return Ended(lease);
    ASSIGN_OR_RETURN(LeaseRecord record,
                     LeaseRecord::Decode(entry->value, fmt::format("lease {}", lease.id)));
    if (record.principal != caller.principal) {
      return Error(Code::kPermissionDenied, fmt::format("lease {} is another principal's", lease.id));
    }
    return record;
  });
}

Status EmbeddedRegistryImpl::RenewLease(const Caller& caller, const Lease& lease) {
  ASSIGN_OR_RETURN(const LeaseRecord record, HeldBy(caller, lease));
  const int64_t now_ms = clock_.NowMs();
  const int64_t until_ms = EndOf(record, now_ms);
  if (until_ms <= now_ms) return Ended(lease);
  KvTransaction transaction;
  transaction.expectations.push_back({keys::Lease(lease.id), lease.epoch.revision});
  transaction.Put(keys::LeaseUntil(lease.id), EncodeNumber(static_cast<uint64_t>(until_ms)));
  transaction.patience = PatienceOf(caller);
  const Result<Revision> committed = kv_.Commit(transaction);
  if (committed.ok()) return OkStatus();
  return committed.error().code() == Code::kAborted ? Ended(lease) : committed.error();
}

Status EmbeddedRegistryImpl::ReleaseLease(const Caller& caller, const Lease& lease) {
  const Result<LeaseRecord> record = HeldBy(caller, lease);
  // Ended already, or released before: it is not there, which is all that was asked for.
  if (!record.ok()) return record.error().code() == Code::kAborted ? OkStatus() : Status(record.error());
  KvTransaction transaction;
  transaction.expectations.push_back({keys::Lease(lease.id), lease.epoch.revision});
  transaction.Delete(keys::Lease(lease.id));
  transaction.Delete(keys::LeaseUntil(lease.id));
  transaction.patience = PatienceOf(caller);
  const Result<Revision> committed = kv_.Commit(transaction);
  if (committed.ok() || committed.error().code() == Code::kAborted) return OkStatus();
  return committed.error();
}

Status EmbeddedRegistryImpl::EndDeadLeases() {
  std::vector<KvEntry> leases;
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
    const std::string begin = keys::Lease("");
    ASSIGN_OR_RETURN(leases, snapshot->Range(begin, keys::AfterPrefix(begin), kMostLeases));
  }
  for (const KvEntry& entry : leases) {
    const std::string id(keys::NameOf(entry.key, 0));
    ASSIGN_OR_RETURN(std::unique_ptr<Snapshot> snapshot, kv_.Read());
    const Caller nobody;
    Change change(*snapshot, clock_.NowMs(), nobody);
    // Both are expected: a renewal or release in between wins.
    ASSIGN_OR_RETURN(const std::optional<KvEntry> lease, change.Get(keys::Lease(id)));
    ASSIGN_OR_RETURN(const std::optional<KvEntry> until, change.Get(keys::LeaseUntil(id)));
    if (!lease) continue;
    ASSIGN_OR_RETURN(const LeaseRecord record,
                     LeaseRecord::Decode(lease->value, fmt::format("lease {}", id)));
    uint64_t until_ms = 0;
    if (until) {
      ASSIGN_OR_RETURN(until_ms, DecodeNumber(until->value, fmt::format("lease {}", id)));
    }
    if (static_cast<int64_t>(until_ms) > change.now_ms() && !HolderIsDead(record)) continue;
    change.Delete(keys::Lease(id));
    change.Delete(keys::LeaseUntil(id));
    FAIL_POINT("lease.ending");
    const Status ended = CommitOnce(kv_, change, std::move(snapshot));
    if (!ended.ok() && ended.error().code() != Code::kAborted) return ended.error();
  }
  return OkStatus();
}

}  // namespace modelfs::store
