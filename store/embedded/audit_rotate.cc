// Moves old records of the audit log to files. The order keeps the chain whole wherever a rotation stops: the
// file becomes durable; one commit sets the start of the log in the registry behind the file; then the moved
// records are deleted here. The next rotation removes the leftovers of a killed one.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "cas/base/fail_point.h"
#include "cas/base/fd.h"
#include "store/actions.h"
#include "store/audit/reader.h"
#include "store/audit/walk.h"
#include "store/embedded/embedded_registry_impl.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

constexpr uint64_t kMostInFile = 100'000;  // records, of some hundred bytes each
constexpr size_t kStep = 1000;
constexpr size_t kDeletionsInCommit = 4096;  // some 10 ms, which is how long other writers wait
// Takes some milliseconds: as long as a snapshot is held, freed pages are not reused.
constexpr size_t kLooksInSnapshot = 4096;
// The most that a command moves in passing when the log is overdue.
constexpr uint64_t kMostOnTheWay = 20'000;
// The smallest size of a record: one that was never counted counts as this many bytes.
constexpr uint64_t kSmallestRecordBytes = 128;
constexpr uint64_t kOverdueFactor = 2;
constexpr std::chrono::milliseconds kLockPoll{20};

Error NoPlace() {
  return {Code::kFailedPrecondition, "this registry was opened without a place for audit files"};
}

// Held during a rotation, on this host; the kernel releases it with the process.
Result<Fd> LockRotation(const AuditFiles& files) {
  const std::string path = files.directory() + ".lock";
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return ErrnoError(errno, fmt::format("open {}", path));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) return ErrnoError(errno, fmt::format("flock {}", path));
  return Error(
      Code::kAborted,
      "another process moves records of the audit log or makes a backup; wait until it has finished");
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
  // In the order of the chain: a record that is too young keeps all later ones, too.
  for (uint64_t at = extent.start.sequence; at <= last; at += kStep) {
    ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                     snapshot->Range(keys::Audit(at), keys::After(keys::Audit(last)), kStep));
    for (const KvEntry& entry : entries) {
      if (PeekAuditTime(entry.value) >= *options.before_ms) return keys::FirstNumber(entry.key) - 1;
    }
  }
  return last;
}

Result<EmbeddedRegistryImpl::MovedAudit> EmbeddedRegistryImpl::WriteAuditFile(const AuditExtent& extent,
                                                                              const AuditStartRecord& start,
                                                                              uint64_t last) {
  AuditFiles::Writer writer(audit_files_, start.sequence);
  AuditWalk walk(start);  // records that fail the check stay in the registry
  MovedAudit moved;
  while (walk.sequence() < last) {
    const uint64_t next = walk.sequence() + 1;
    ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
    ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                     snapshot->Range(keys::Audit(next), keys::After(keys::Audit(last)), kStep));
    if (entries.empty()) return BrokenAudit(next, "is missing");
    for (const KvEntry& entry : entries) {
      ASSIGN_OR_RETURN(const AuditRecord record, walk.Take(keys::FirstNumber(entry.key), entry.value));
      RETURN_IF_ERROR(writer.Append(record));
      if (record.sequence >= extent.head.counted_from) moved.counted_bytes += entry.value.size();
    }
  }
  RETURN_IF_ERROR(writer.Finish(last));
  moved.behind.sequence = last + 1;
  moved.behind.hash = walk.hash();
  return moved;
}

Status EmbeddedRegistryImpl::DeleteRotated(uint64_t start) {
  const auto delete_all = [&](const std::vector<std::string>& found) -> Status {
    if (found.empty()) return OkStatus();
    RETURN_IF_ERROR(kv_.DeleteKeys(found));
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
  // The index is in the order of objects: each one's old entries, then on to the next object. A look reads
  // The index is ordered by object: read one object's old entries, then those of the next object. A look
  // reads little if it finds an entry to keep, and reads more each time while all its entries are old.
  const std::string end = keys::AfterPrefix(keys::AuditIndex(0, 0).substr(0, 1));
  std::string at = keys::AuditIndex(0, 0);
  for (bool more = true; more;) {
    found.clear();
    {
      ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
      size_t wanted = 1;
      for (size_t looks = 0; more && looks < kLooksInSnapshot && found.size() < kDeletionsInCommit; ++looks) {
        ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                         snapshot->Range(at, end, std::min(wanted, kDeletionsInCommit - found.size())));
        more = !entries.empty();
        wanted *= 2;
        for (const KvEntry& entry : entries) {
          const bool is_old = keys::SecondNumber(entry.key) < start;
          if (is_old) found.push_back(entry.key);
          at = is_old ? keys::After(entry.key)
                      : keys::After(keys::AuditIndex(keys::FirstNumber(entry.key), UINT64_MAX));
          if (is_old) continue;
          wanted = 1;
          break;
        }
      }
    }
    RETURN_IF_ERROR(delete_all(found));
  }
  return OkStatus();
}

Result<AuditRotation> EmbeddedRegistryImpl::MoveAudit(const Caller& caller, const AuditExtent& extent,
                                                      uint64_t last) {
  ASSIGN_OR_RETURN(const std::vector<AuditFile> left, CheckOtherAuditFiles());
  RETURN_IF_ERROR(audit_files_.Prepare(left));
  AuditRotation rotation;
  AuditStartRecord start = extent.start;
  while (start.sequence <= last) {
    const uint64_t last_in_file = std::min(last, start.sequence + kMostInFile - 1);
    ASSIGN_OR_RETURN(const MovedAudit moved, WriteAuditFile(extent, start, last_in_file));
    FAIL_POINT("audit.rotate.written");
    RETURN_IF_ERROR(Mutate(caller, {Operation::kReclaim}, [&](Change& change) -> Status {
      ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, change.Get(keys::AuditHead()));
      if (!entry) return Error(Code::kDataLoss, "the audit log's head is missing");
      ASSIGN_OR_RETURN(AuditHeadRecord head, AuditHeadRecord::Decode(entry->value, "audit head"));
      head.kept_bytes -= std::min(head.kept_bytes, moved.counted_bytes);
      change.Put(keys::AuditHead(), head.Encode());
      change.Put(keys::AuditStart(), moved.behind.Encode());
      change.Audit("rotateAuditLog", FullName(), kMetastoreId,
                   {{"first_sequence", std::to_string(start.sequence)},
                    {"last_sequence", std::to_string(last_in_file)}});
      return OkStatus();
    }));
    FAIL_POINT("audit.rotate.moved");
    rotation.records += moved.behind.sequence - start.sequence;
    ++rotation.files;
    start = moved.behind;
    // At once, so that concurrent writers find free pages.
    RETURN_IF_ERROR(DeleteRotated(start.sequence));
  }
  return rotation;
}

Result<AuditRotation> EmbeddedRegistryImpl::RotateAudit(const Caller& caller, const RotateOptions& options) {
  RETURN_IF_ERROR(Demand(caller, {Operation::kReclaim}));
  if (!audit_files_.has_directory()) return NoPlace();
  ASSIGN_OR_RETURN(const Fd lock, LockRotation(audit_files_));
  ASSIGN_OR_RETURN(const AuditExtent extent, ReadExtent());
  // Delete the records that a killed rotation left.
  RETURN_IF_ERROR(DeleteRotated(extent.start.sequence));
  ASSIGN_OR_RETURN(const uint64_t last, LastToRotate(extent, options));
  return MoveAudit(caller, extent, last);
}

Result<std::optional<RotateOptions>> EmbeddedRegistryImpl::DueRotation(Tending when) {
  const uint64_t factor = when == Tending::kOverdue ? kOverdueFactor : 1;
  ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
  ASSIGN_OR_RETURN(const AuditExtent extent, ReadAuditExtent(*snapshot));
  ASSIGN_OR_RETURN(const AuditSettings settings, ReadAuditSettings(*snapshot));
  const uint64_t records = extent.head.sequence + 1 - extent.start.sequence;
  const uint64_t uncounted =
      std::min(records, extent.head.counted_from - std::min(extent.head.counted_from, extent.start.sequence));
  const uint64_t bytes = extent.head.kept_bytes + uncounted * kSmallestRecordBytes;
  if (bytes > settings.most_bytes * factor) {
    RotateOptions options;
    options.keep = static_cast<uint64_t>(static_cast<double>(settings.most_bytes) / 2 /
                                         static_cast<double>(bytes) * static_cast<double>(records));
    return std::optional(options);
  }
  ASSIGN_OR_RETURN(const std::optional<KvEntry> oldest, snapshot->Get(keys::Audit(extent.start.sequence)));
  const int64_t now_ms = clock_.NowMs();
  const int64_t longest_ms = settings.longest_ms * static_cast<int64_t>(factor);
  if (!oldest || now_ms - PeekAuditTime(oldest->value) <= longest_ms) return std::optional<RotateOptions>();
  RotateOptions options;
  options.before_ms = now_ms - settings.longest_ms / 2;
  return std::optional(options);
}

Result<AuditRotation> EmbeddedRegistryImpl::TendAudit(const Caller& caller, Tending when) {
  RETURN_IF_ERROR(Demand(caller, {Operation::kReclaim}));
  if (!audit_files_.has_directory()) return AuditRotation();
  ASSIGN_OR_RETURN(std::optional<RotateOptions> due, DueRotation(when));
  if (!due) return AuditRotation();
  Result<Fd> lock = LockRotation(audit_files_);
  if (!lock.ok() && lock.error().code() == Code::kAborted) return AuditRotation();
  if (!lock.ok()) return std::move(lock).error();
  // Check again: another process may have rotated meanwhile.
  ASSIGN_OR_RETURN(due, DueRotation(when));
  if (!due) return AuditRotation();
  ASSIGN_OR_RETURN(const AuditExtent extent, ReadExtent());
  RETURN_IF_ERROR(DeleteRotated(extent.start.sequence));
  ASSIGN_OR_RETURN(uint64_t last, LastToRotate(extent, *due));
  last = std::min(last, extent.start.sequence + (when == Tending::kDue ? kMostInFile : kMostOnTheWay) - 1);
  return MoveAudit(caller, extent, last);
}

Result<Fd> EmbeddedRegistryImpl::HoldAuditFiles(const Caller& caller) {
  RETURN_IF_ERROR(Demand(caller, {Operation::kReclaim}));
  if (!audit_files_.has_directory()) return NoPlace();
  Result<Fd> lock = LockRotation(audit_files_);
  while (!lock.ok() && lock.error().code() == Code::kAborted) {
    std::this_thread::sleep_for(kLockPoll);
    lock = LockRotation(audit_files_);
  }
  if (!lock.ok()) return lock;
  // Makes the directory for the program that copies it, and removes a file that a killed rotation left: a
  // later file would hold the same records, and the backup would have both.
  ASSIGN_OR_RETURN(const std::vector<AuditFile> left, CheckOtherAuditFiles());
  RETURN_IF_ERROR(audit_files_.Prepare(left));
  return lock;
}

Result<AuditSettings> EmbeddedRegistryImpl::ReadAuditSettings(Snapshot& snapshot) {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, snapshot.Get(keys::AuditSettings()));
  if (!entry) return AuditSettings();
  return AuditSettings::Decode(entry->value, "audit settings");
}

Result<AuditSettings> EmbeddedRegistryImpl::GetAuditSettings(const Caller& caller) {
  return Inspect(caller, Operation::kReadAudit, kMetastoreId,
                 [&](View& view) { return ReadAuditSettings(view.snapshot()); });
}

Status EmbeddedRegistryImpl::SetAuditSettings(const Caller& caller, const AuditSettings& settings) {
  RETURN_IF_ERROR(CheckAuditSettings(settings));
  const Asked asked{Operation::kConfigure,
                    kMetastoreId,
                    {{"audit_opens", settings.opens == AuditSettings::Opens::kEach ? "each" : "counted"},
                     {"audit_rotate_bytes", std::to_string(settings.most_bytes)},
                     {"audit_rotate_age_ms", std::to_string(settings.longest_ms)}}};
  return Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, change.Get(keys::AuditSettings()));
    AuditSettings present;
    if (entry) {
      ASSIGN_OR_RETURN(present, AuditSettings::Decode(entry->value, "audit settings"));
    }
    if (present == settings) return OkStatus();
    change.Put(keys::AuditSettings(), settings.Encode());
    change.Audit(ActionOf(asked.operation, ObjectKind::kMetastore), FullName(), kMetastoreId, asked.params);
    return OkStatus();
  });
}

Status CheckAuditSettings(const AuditSettings& settings) {
  constexpr uint64_t kLeastBytes = uint64_t{64} << 10U;
  constexpr int64_t kLeastMs = int64_t{60} * 1000;
  if (settings.most_bytes < kLeastBytes) {
    return Error(Code::kInvalidArgument,
                 "the size from which the audit log is moved to files must be at least 64 KiB");
  }
  if (settings.longest_ms < kLeastMs) {
    return Error(Code::kInvalidArgument,
                 "records of the audit log must stay in the registry for at least a minute");
  }
  return OkStatus();
}

}  // namespace modelfs::store
