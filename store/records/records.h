// The registry's records as bytes: first a version byte, last an XXH3-64 of all before it. Decode returns
// only what it has checked; else kDataLoss names the record. Format: docs/formats.md, "registry records".
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/result.h"
#include "store/audit_settings.h"
#include "store/governance.h"
#include "store/journal.h"
#include "store/types.h"

namespace modelfs::store {

// The principal that made or last changed something, and the time.
struct Stamp {
  int64_t at_ms = 0;
  std::string by;
};

// A catalog, schema, model or the metastore. Its name is in its key.
struct ObjectRecord {
  ObjectId id = 0;
  ObjectKind kind = ObjectKind::kMetastore;
  PrincipalId owner = kNobodyId;
  // A record of format 1 has the owner's name only. View turns the name into an id when it is read. A name
  // that has no id is written back as it was.
  std::string owner_name;
  Stamp created;
  Stamp updated;
  bool has_description = false;
  // How many objects or versions it contains. Adding or removing one writes this record too, so that deleting
  // an empty container and filling it cannot both succeed.
  uint64_t children = 0;
  // Models only.
  VersionNumber next_version = 1;
  VersionNumber latest_ready = 0;
  std::vector<AliasInfo> aliases;  // sorted by name
  // No file of a READY version shows a greater second as its mtime. A record before format 3 does not have
  // it, and is written back without it if it is still unknown.
  std::optional<int64_t> newest_file_s;

  std::string Encode() const;
  static Result<ObjectRecord> Decode(std::string_view bytes, std::string_view what);
};

struct PrincipalRecord {
  PrincipalInfo info;  // without the id, which is in the key
  std::string Encode() const;
  static Result<PrincipalRecord> Decode(std::string_view bytes, std::string_view what);
};

// The grants on one object.
struct GrantsRecord {
  struct Grant {
    PrincipalId principal = kNobodyId;
    PrivilegeSet privileges;
  };
  std::vector<Grant> grants;  // sorted by principal, none empty

  // The end if the principal has none.
  std::vector<Grant>::iterator Find(PrincipalId principal);
  PrivilegeSet Of(PrincipalId principal) const;
  void Set(PrincipalId principal, PrivilegeSet privileges);

  std::string Encode() const;
  static Result<GrantsRecord> Decode(std::string_view bytes, std::string_view what);
};

struct PrincipalCountersRecord {
  PrincipalId next = kAccountUsersId + 1;
  uint64_t users = 0;   // users and service principals that are not deleted
  uint64_t groups = 0;  // groups that are not deleted, `account users` not counted

  std::string Encode() const;
  static Result<PrincipalCountersRecord> Decode(std::string_view bytes, std::string_view what);
};

struct ContainerSettingsRecord {
  std::optional<bool> signature_required;
  std::map<std::string, PrincipalId> protected_aliases;
  std::optional<uint64_t> max_models;
  std::optional<uint64_t> max_versions;

  bool empty() const {
    return !signature_required && protected_aliases.empty() && !max_models && !max_versions;
  }
  std::string Encode() const;
  static Result<ContainerSettingsRecord> Decode(std::string_view bytes, std::string_view what);
};

struct WhereRecord {
  ObjectId parent = 0;
  std::string name;

  std::string Encode() const;
  static Result<WhereRecord> Decode(std::string_view bytes, std::string_view what);
};

// The facts that a READY version has beside its tree.
struct VersionCommit {
  int64_t at_ms = 0;            // when it became READY
  std::optional<Digest> times;  // the blob of its files' mtimes; nullopt: all show the commit's time
  int64_t newest_s = 0;         // the greatest second among them
};

struct VersionRecord {
  VersionId id = 0;
  VersionStatus status = VersionStatus::kPending;
  std::string status_message;
  Digest tree;  // this and the next three: READY only
  uint64_t total_bytes = 0;
  uint64_t file_count = 0;
  Signature signature = Signature::kNone;
  std::string source;
  // The model that `source` named when it was written; 0 if it named no model of this registry. A parent
  // stays one whatever its name becomes. A record of format 1 does not have it, and is written back as it
  // was.
  std::optional<ObjectId> source_model;
  std::string run_id;
  bool has_description = false;
  Stamp created;
  Stamp updated;
  // READY only. A record before format 3 has none: everything in the version shows the time of its creation.
  std::optional<VersionCommit> commit;

  std::string Encode() const;
  static Result<VersionRecord> Decode(std::string_view bytes, std::string_view what);
};

// The work that is left of a model copy. Written in the commit that makes the model, and with each version;
// deleted in the last commit.
struct ModelCopyRecord {
  ObjectId source = 0;
  VersionNumber end = 0;   // the source's next number when the copy began: later versions are not copied
  VersionNumber done = 0;  // all up to this one were copied, or were missing from the source
  std::map<std::string, VersionNumber> aliases;  // the source's when the copy began

  std::string Encode() const;
  static Result<ModelCopyRecord> Decode(std::string_view bytes, std::string_view what);
};

struct VersionWhereRecord {
  ObjectId model = 0;
  VersionNumber number = 0;

  std::string Encode() const;
  static Result<VersionWhereRecord> Decode(std::string_view bytes, std::string_view what);
};

struct CountersRecord {
  ObjectId next_object = 1;
  VersionId next_version = 1;

  std::string Encode() const;
  static Result<CountersRecord> Decode(std::string_view bytes, std::string_view what);
};

// The end of the audit chain. The next record continues it; a removed last record does not match it.
struct AuditHeadRecord {
  uint64_t sequence = 0;      // of the last record
  Sha256 hash{};              // of the last record
  uint64_t indexed_from = 1;  // records from this one on are in the index; older ones were written without it
  // The size in bytes of the records that the registry keeps, from this one on: older ones were never
  // counted.
  uint64_t counted_from = 1;
  uint64_t kept_bytes = 0;

  std::string Encode() const;
  static Result<AuditHeadRecord> Decode(std::string_view bytes, std::string_view what);
};

// The start of the part of the chain that is kept here; older records were moved to files
// (store/audit/files.h).
struct AuditStartRecord {
  uint64_t sequence = 1;  // of the first record that is kept here
  Sha256 hash{};          // of the record before it; zeros if there was none

  std::string Encode() const;
  static Result<AuditStartRecord> Decode(std::string_view bytes, std::string_view what);
};

struct LeaseRecord {
  std::string purpose;
  std::string principal;
  int64_t acquired_at_ms = 0;
  // The process that holds it, as far as this host can distinguish it from every other, also from later ones.
  std::string boot_id;
  uint64_t pid_namespace = 0;
  uint64_t pid = 0;
  uint64_t process_start = 0;  // clock ticks after boot: /proc/<pid>/stat, field 22

  std::string Encode() const;
  static Result<LeaseRecord> Decode(std::string_view bytes, std::string_view what);
};

std::string EncodeSettings(const RegistrySettings& settings);
// kFailedPrecondition for a format newer than this program.
Result<RegistrySettings> DecodeSettings(std::string_view bytes);
// Whether the settings' bytes are those of a registry that must still be brought to the present format.
bool IsOlderFormat(std::string_view settings);

// Descriptions, tag values and lease ends: one string or number, sealed like a record.
std::string EncodeText(std::string_view text);
Result<std::string> DecodeText(std::string_view bytes, std::string_view what);
std::string EncodeNumber(uint64_t number);
Result<uint64_t> DecodeNumber(std::string_view bytes, std::string_view what);

// The hash of an audit record is over its encoding without the seal; `hash` itself is not in it.
std::string EncodeAudit(const AuditRecord& record);
Sha256 AuditHash(const AuditRecord& record);
Result<AuditRecord> DecodeAudit(std::string_view bytes, std::string_view what);  // computes `hash`
// The time of an encoded record, unchecked: to pass over most of a long log without decoding it.
int64_t PeekAuditTime(std::string_view bytes);

// The log's payload; `revision` is the log's own.
std::string EncodeEvent(const Event& event);
Result<Event> DecodeEvent(std::string_view bytes, std::string_view what);

}  // namespace modelfs::store
