// Moving old records of the audit log to files. In this order, so that the chain is whole wherever it ends:
// the file is durable; one commit says that the log in the registry begins behind it; then what it holds is
// deleted here. What a rotation that was killed left is removed by the next.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>

#include "cas/base/fail_point.h"
#include "cas/base/fd.h"
#include "store/audit_reader.h"
#include "store/audit_walk.h"
#include "store/embedded_registry_impl.h"
#include "store/keys.h"

namespace modelfs::store {
namespace {

constexpr uint64_t kMostInFile = 100'000;  // records, of some hundred bytes each
constexpr size_t kStep = 1000;
constexpr size_t kDeletionsInCommit = 120;

// Held by whoever rotates, on this host; released by the kernel with the process.
Result<Fd> LockRotation(const AuditFiles& files) {
  const std::string path = files.directory() + ".lock";
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return ErrnoError(errno, fmt::format("open {}", path));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) return ErrnoError(errno, fmt::format("flock {}", path));
  return Error(Code::kAborted, "another process is moving the audit log at the moment; wait until it has");
}

}  // namespace

Result<AuditExtent> EmbeddedRegistryImpl::ReadExtent() {
  ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
  return ReadAuditExtent(*snapshot);
}

Result<uint64_t> EmbeddedRegistryImpl::LastToRotate(const AuditExtent& extent, const RotateOptions& options) {
  uint64_t last = extent.head.sequence - std::min(extent.head.sequence, options.keep);
  if (!options.before_ms) return last;
  ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
  // In the order of the chain: one that is too young keeps those behind it, too.
  for (uint64_t at = extent.start.sequence; at <= last; at += kStep) {
    ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                     snapshot->Range(keys::Audit(at), keys::After(keys::Audit(last)), kStep));
    for (const KvEntry& entry : entries) {
      if (PeekAuditTime(entry.value) >= *options.before_ms) return keys::FirstNumber(entry.key) - 1;
    }
  }
  return last;
}

Result<AuditStartRecord> EmbeddedRegistryImpl::WriteAuditFile(const AuditStartRecord& start, uint64_t last) {
  AuditFiles::Writer writer(audit_files_, start.sequence);
  AuditWalk walk(start);  // what is not whole stays where it is
  while (walk.sequence() < last) {
    const uint64_t next = walk.sequence() + 1;
    ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
    ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                     snapshot->Range(keys::Audit(next), keys::After(keys::Audit(last)), kStep));
    if (entries.empty()) return BrokenAudit(next, "is missing");
    for (const KvEntry& entry : entries) {
      ASSIGN_OR_RETURN(const AuditRecord record, walk.Take(keys::FirstNumber(entry.key), entry.value));
      RETURN_IF_ERROR(writer.Append(record));
    }
  }
  RETURN_IF_ERROR(writer.Finish(last));
  AuditStartRecord behind;
  behind.sequence = last + 1;
  behind.hash = walk.hash();
  return behind;
}

Status EmbeddedRegistryImpl::DeleteRotated(uint64_t start) {
  const auto delete_all = [&](const std::vector<std::string>& found) -> Status {
    if (found.empty()) return OkStatus();
    KvTransaction transaction;
    for (const std::string& key : found) transaction.Delete(key);
    RETURN_IF_ERROR(kv_.Commit(transaction));
    FAIL_POINT("audit.rotate.step");
    return OkStatus();
  };
  std::vector<std::string> found;
  do {
    found.clear();
    {
      ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
      ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                       snapshot->Range(keys::Audit(0), keys::Audit(start), kDeletionsInCommit));
      for (const KvEntry& entry : entries) found.push_back(entry.key);
    }
    RETURN_IF_ERROR(delete_all(found));
  } while (found.size() == kDeletionsInCommit);
  // The index is in the order of objects: each one's old entries, then on to the next object.
  const std::string end = keys::AfterPrefix(keys::AuditIndex(0, 0).substr(0, 1));
  std::string at = keys::AuditIndex(0, 0);
  for (bool more = true; more;) {
    found.clear();
    {
      ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
      while (more && found.size() < kDeletionsInCommit) {
        ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                         snapshot->Range(at, end, kDeletionsInCommit - found.size()));
        more = !entries.empty();
        for (const KvEntry& entry : entries) {
          const bool is_old = keys::SecondNumber(entry.key) < start;
          if (is_old) found.push_back(entry.key);
          at = is_old ? keys::After(entry.key)
                      : keys::After(keys::AuditIndex(keys::FirstNumber(entry.key), UINT64_MAX));
          if (!is_old) break;
        }
      }
    }
    RETURN_IF_ERROR(delete_all(found));
  }
  return OkStatus();
}

Result<AuditRotation> EmbeddedRegistryImpl::RotateAudit(const Caller& caller, const RotateOptions& options) {
  RETURN_IF_ERROR(Demand(caller, {Operation::kReclaim}));
  if (!audit_files_.has_directory()) {
    return Error(Code::kFailedPrecondition, "this registry was opened without a place for audit files");
  }
  ASSIGN_OR_RETURN(const Fd lock, LockRotation(audit_files_));
  ASSIGN_OR_RETURN(const AuditExtent extent, ReadExtent());
  RETURN_IF_ERROR(audit_files_.RemoveFrom(extent.start.sequence));
  ASSIGN_OR_RETURN(const uint64_t last, LastToRotate(extent, options));
  AuditRotation rotation;
  AuditStartRecord start = extent.start;
  while (start.sequence <= last) {
    const uint64_t last_in_file = std::min(last, start.sequence + kMostInFile - 1);
    ASSIGN_OR_RETURN(const AuditStartRecord behind, WriteAuditFile(start, last_in_file));
    FAIL_POINT("audit.rotate.written");
    RETURN_IF_ERROR(Mutate(caller, {Operation::kReclaim}, [&](Change& change) -> Status {
      change.Put(keys::AuditStart(), behind.Encode());
      change.Audit("rotateAuditLog", FullName(), kMetastoreId,
                   {{"first_sequence", std::to_string(start.sequence)},
                    {"last_sequence", std::to_string(last_in_file)}});
      return OkStatus();
    }));
    FAIL_POINT("audit.rotate.moved");
    rotation.records += behind.sequence - start.sequence;
    ++rotation.files;
    start = behind;
  }
  RETURN_IF_ERROR(DeleteRotated(start.sequence));
  return rotation;
}

}  // namespace modelfs::store
