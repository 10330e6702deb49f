// Reads the audit log, verifies that it is unchanged, and records events that are not changes.
#include <fmt/core.h>

#include <algorithm>

#include "cas/base/error_table.h"
#include "store/actions.h"
#include "store/audit/index.h"
#include "store/audit/reader.h"
#include "store/audit/walk.h"
#include "store/embedded/embedded_registry_impl.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

constexpr size_t kStep = 1000;
// Limits of a record's texts that come from outside: enough for every name and message of the registry.
constexpr size_t kMostTextBytes = 4096;
constexpr size_t kMostParams = 32;
// Size of records in one commit: leaves room for the other writes of the commit.
constexpr size_t kMostBatchBytes = kKvMaxCommitBytes / 2;
constexpr std::string_view kNoun = "{}";  // in Asked::action
constexpr size_t kHeadOperations = 2;     // the chain's head is expected and written

// Sets the record's object name, if the object (still) exists, and returns the object's kind.
ObjectKind NameRecord(View& view, AuditRecord& record) {
  const Result<StoredObject> stored = view.Object(record.object);
  if (!stored.ok()) return ObjectKind::kMetastore;
  if (const Result<FullName> name = view.NameOf(*stored); name.ok() && !name->parts.empty()) {
    record.full_name = name->ToString();
    record.params["full_name_arg"] = record.full_name;
  }
  return stored->record.kind;
}

// Each record's line must match the record: people read the line, the chain proves the record.
Status WalkFile(const AuditFiles& files, const AuditFile& file, AuditWalk& walk) {
  uint64_t sequence = file.first;
  const auto take = [&](std::string_view line) -> Result<bool> {
    const Result<std::string> encoding = EncodingInLine(line);
    if (!encoding.ok()) return BrokenAudit(sequence, "is no longer a record");
    ASSIGN_OR_RETURN(const AuditRecord record, walk.Take(sequence, *encoding));
    if (AuditLine(record) != line) return BrokenAudit(sequence, "reads otherwise than it was recorded");
    ++sequence;
    return true;
  };
  RETURN_IF_ERROR(files.ReadLines(file, take));
  return sequence == file.last + 1 ? OkStatus() : Status(BrokenAudit(sequence, "is missing"));
}

Status WalkRegistry(View& view, const AuditExtent& extent, AuditWalk& walk) {
  const std::string end = keys::AfterPrefix(keys::Audit(0).substr(0, 1));
  std::string begin = keys::Audit(extent.start.sequence);
  AuditIndexProof index(view, extent);
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, view.snapshot().Range(begin, end, kStep));
    for (const KvEntry& entry : entries) {
      ASSIGN_OR_RETURN(const AuditRecord record, walk.Take(keys::FirstNumber(entry.key), entry.value));
      RETURN_IF_ERROR(index.Check(record));
    }
    more = entries.size() == kStep;
    if (more) begin = keys::After(entries.back().key);
  }
  return OkStatus();
}

}  // namespace

Result<std::vector<AuditRecord>> EmbeddedRegistryImpl::Audit(const Caller& caller, const AuditQuery& query) {
  return Inspect(caller, Operation::kReadAudit, kMetastoreId,
                 [&](View& view) { return AuditReader(view, audit_files_, query).Read(); });
}

Result<std::vector<AuditRecord>> EmbeddedRegistryImpl::Activity(const Caller& caller, ObjectId object,
                                                                size_t limit) {
  AuditQuery query;
  query.order = AuditQuery::Order::kNewestFirst;
  query.limit = limit;
  return Inspect(caller, Operation::kGet, object, [&](View& view) -> Result<std::vector<AuditRecord>> {
    ASSIGN_OR_RETURN(const bool all_grants, authorizer_.May(view, caller, Operation::kShowGrants, object));
    ASSIGN_OR_RETURN(const std::shared_ptr<const Identity> self, authorizer_.IdentityOf(view, caller));
    const auto show = [&](AuditRecord& record) -> Result<bool> {
      // The hashes cover the masked fields and would prove a guess of them. The next record repeats this
      // one's hash.
      record.hash = record.previous_hash = Sha256{};
      if (record.action == kGrantAction && !all_grants) return KeepOwnChanges(*self, record);
      RETURN_IF_ERROR(MaskSource(view, caller, record));
      return true;
    };
    ASSIGN_OR_RETURN(std::vector<AuditRecord> records,
                     AuditReader(view, audit_files_, query).ReadChangesOf(object, show));
    std::reverse(records.begin(), records.end());
    return records;
  });
}

Result<uint64_t> EmbeddedRegistryImpl::VerifyAudit(const Caller& caller) {
  return Inspect(caller, Operation::kReadAudit, kMetastoreId, [&](View& view) -> Result<uint64_t> {
    ASSIGN_OR_RETURN(const AuditExtent extent, ReadAuditExtent(view.snapshot()));
    RETURN_IF_ERROR(CheckOtherAuditFiles());
    AuditWalk walk;
    ASSIGN_OR_RETURN(const std::vector<AuditFile> files, audit_files_.Holding(1, extent.start.sequence - 1));
    for (const AuditFile& file : files) {
      RETURN_IF_ERROR(WalkFile(audit_files_, file, walk));
    }
    if (walk.hash() != extent.start.hash) return BrokenAudit(walk.sequence(), "was edited");
    RETURN_IF_ERROR(WalkRegistry(view, extent, walk));
    if (walk.sequence() != extent.head.sequence) return BrokenAudit(walk.sequence() + 1, "is missing");
    if (walk.hash() != extent.head.hash) return BrokenAudit(walk.sequence(), "was edited");
    return walk.sequence();
  });
}

Result<std::vector<AuditFile>> EmbeddedRegistryImpl::CheckOtherAuditFiles() {
  RETURN_IF_ERROR(audit_files_.CheckNames());
  ASSIGN_OR_RETURN(const std::vector<AuditFile> files, audit_files_.From(1));
  std::vector<AuditFile> left;
  // Read after the list of files: a file that a rotation has finished meanwhile is part of the log by now.
  ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
  ASSIGN_OR_RETURN(const AuditExtent extent, ReadAuditExtent(*snapshot));
  // Finds two files with the same record.
  RETURN_IF_ERROR(audit_files_.Holding(1, extent.start.sequence - 1));
  for (const AuditFile& file : files) {
    if (file.last < extent.start.sequence) continue;
    const Error foreign(Code::kDataLoss,
                        fmt::format("{} does not belong to the audit log: the log's files end with record "
                                    "{}; another program put it there: move it away",
                                    file.path, extent.start.sequence - 1));
    if (file.first != extent.start.sequence || file.last > extent.head.sequence) return foreign;
    ASSIGN_OR_RETURN(const bool same, HoldsTheSame(*snapshot, file));
    if (!same) return foreign;
    left.push_back(file);
  }
  return left;
}

Result<bool> EmbeddedRegistryImpl::HoldsTheSame(Snapshot& snapshot, const AuditFile& file) {
  uint64_t sequence = file.first;
  const Status read = audit_files_.ReadLines(file, [&](std::string_view line) -> Result<bool> {
    ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, snapshot.Get(keys::Audit(sequence)));
    if (!entry) return false;
    ASSIGN_OR_RETURN(const AuditRecord record,
                     DecodeAudit(entry->value, fmt::format("audit record {}", sequence)));
    if (AuditLine(record) != line) return false;
    ++sequence;
    return true;
  });
  // A concurrent rotation removes the files that an earlier one left.
  if (!read.ok() && read.error().code() == Code::kNotFound) return true;
  RETURN_IF_ERROR(read);
  return sequence == file.last + 1;
}

Result<uint64_t> EmbeddedRegistryImpl::WaitForAudit(uint64_t after_sequence, const Deadline& deadline,
                                                    const std::stop_token& stop) {
  while (true) {
    Revision revision = 0;
    {
      ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
      ASSIGN_OR_RETURN(const AuditExtent extent, ReadAuditExtent(*snapshot));
      const uint64_t last = extent.head.sequence;
      if (last > after_sequence || stop.stop_requested() || deadline.Passed()) return last;
      revision = snapshot->revision();
    }
    kv_.WaitForCommit(revision, deadline, stop);
  }
}

void EmbeddedRegistryImpl::RecordAudit(const Caller& caller, Operation operation, ObjectId object,
                                       const Status& decision, std::map<std::string, std::string> params) {
  Record(caller, {operation, object, std::move(params)}, decision);
}

ObjectKind EmbeddedRegistryImpl::NameAsAsked(View& view, const std::string& full_name, AuditRecord& record) {
  record.full_name = full_name.substr(0, kMostTextBytes);
  record.params["full_name_arg"] = record.full_name;
  ObjectKind kind = ObjectKind::kMetastore;
  const Result<FullName> name = FullName::Parse(full_name);
  if (!name.ok()) return kind;
  for (const std::string& part : name->parts) {
    const Result<StoredObject> child = view.Child(record.object, part);
    if (!child.ok()) break;
    record.object = child->record.id;
    kind = child->record.kind;
  }
  return kind;
}

void EmbeddedRegistryImpl::Record(const Caller& caller, const Asked& asked, const Status& decision,
                                  AuditSpool::Repeats repeats) {
  AuditRecord record;
  record.time_ms = clock_.NowMs();
  record.principal = caller.principal;
  record.run_by = caller.run_by;
  record.proof = caller.proof;
  record.door = caller.door;
  record.request_id = caller.request_id;
  record.object = asked.object;
  record.change = false;
  for (const auto& [key, value] : asked.params) {
    if (record.params.size() >= kMostParams) break;
    record.params.emplace(key.substr(0, kMostTextBytes), value.substr(0, kMostTextBytes));
  }
  const bool is_open = decision.ok() && asked.operation == Operation::kReadFiles;
  if (is_open) {
    record.action = kOpenAction;  // it gets its name when it is written: an open must not wait for that
  } else {
    ObjectKind kind = ObjectKind::kMetastore;
    if (const Result<std::unique_ptr<Snapshot>> snapshot = kv_.Read(); snapshot.ok()) {
      View view(**snapshot);
      kind = asked.full_name.empty() ? NameRecord(view, record) : NameAsAsked(view, asked.full_name, record);
    }
    record.action = asked.action.empty() ? ActionOf(asked.operation, kind) : asked.action;
    if (const size_t noun = record.action.find(kNoun); noun != std::string::npos) {
      record.action.replace(noun, kNoun.size(), ActionNoun(kind));
    }
  }
  if (!decision.ok()) {
    record.status = static_cast<uint16_t>(RowOf(decision.error().code()).http_status);
    record.error = decision.error().message().substr(0, kMostTextBytes);
  }
  spool_.Add(std::move(record), is_open ? RepeatsOfOpens() : repeats);
}

AuditSpool::Repeats EmbeddedRegistryImpl::RepeatsOfOpens() {
  constexpr int64_t kFreshMs = 1000;
  const int64_t now_ms = clock_.SinceBootMs();
  const auto repeats = [](AuditSettings::Opens opens) {
    return opens == AuditSettings::Opens::kEach ? AuditSpool::Repeats::kEach : AuditSpool::Repeats::kCounted;
  };
  {
    const MutexLock lock(opens_mu_);
    if (opens_read_ms_ && now_ms - *opens_read_ms_ < kFreshMs) return repeats(opens_);
    opens_read_ms_ = now_ms;  // others use the settings that were read before, meanwhile
  }
  const Result<std::unique_ptr<Snapshot>> snapshot = kv_.Read();
  const Result<AuditSettings> settings =
      snapshot.ok() ? ReadAuditSettings(**snapshot) : Result<AuditSettings>(snapshot.error());
  const MutexLock lock(opens_mu_);
  if (settings.ok()) opens_ = settings->opens;
  return repeats(opens_);
}

Status EmbeddedRegistryImpl::FlushAudit() { return spool_.Flush(); }

void EmbeddedRegistryImpl::NoteFailure(Call call, const Caller& caller, const Asked& asked,
                                       const Refused& refused, const Error& told) {
  const Error& error = refused.hidden ? *refused.hidden : told;
  const bool by_rule = call == Call::kChange && (error.code() == Code::kFailedPrecondition ||
                                                 error.code() == Code::kResourceExhausted);
  if (error.code() != Code::kPermissionDenied && !by_rule) return;
  Asked recorded = asked;
  if (call == Call::kQuestion && caller.intent) {
    recorded.action = caller.intent->action;
    recorded.params = caller.intent->params;
    if (!caller.intent->full_name.empty()) recorded.full_name = caller.intent->full_name;
  } else if (!asked.full_name.empty()) {
    // By that name, whichever step of the look-up was refused.
  } else if (refused.operation != asked.operation || refused.object != asked.object) {
    recorded.operation = refused.operation;
    recorded.object = refused.object;
    recorded.action = {};
  }
  if (!recorded.full_name.empty()) recorded.object = kMetastoreId;  // the look-up of the name starts here
  Record(caller, recorded, error);
}

Result<size_t> EmbeddedRegistryImpl::CommitAudits(std::span<const AuditRecord> records) {
  const Caller nobody;  // each record has its own principal
  const Patience patience = kv_.NewPatience({});
  ASSIGN_OR_RETURN(const Slots::Slot turn, TakeTurn(patience));
  for (int attempt = 0;; ++attempt) {
    ASSIGN_OR_RETURN(std::unique_ptr<Snapshot> snapshot, kv_.Read());
    Change change(*snapshot, clock_.NowMs(), nobody);
    size_t taken = 0;
    size_t operations = kHeadOperations;
    size_t bytes = 0;
    View view(*snapshot);  // the commit does not rely on the names
    for (AuditRecord record : records) {
      if (record.full_name.empty()) NameRecord(view, record);
      ASSIGN_OR_RETURN(const std::vector<ObjectId> objects, view.IndexedUnder(record));
      operations += 1 + objects.size();
      bytes += EncodeAudit(record).size();
      if (taken > 0 && (operations > kKvMaxOperations || bytes > kMostBatchBytes)) break;
      change.Audit(std::move(record));
      ++taken;
    }
    ASSIGN_OR_RETURN(KvTransaction transaction, change.Finish());
    transaction.patience = patience;
    snapshot.reset();  // never held across a commit
    const Status committed = CommitAttempt(transaction, attempt);
    if (committed.ok()) return taken;
    if (committed.error().code() != Code::kAborted) return committed.error();
  }
}

}  // namespace modelfs::store
