#include "store/records/records.h"

#include <fmt/core.h>

#include <algorithm>

#include "cas/base/checksum.h"
#include "cas/base/codec.h"

namespace modelfs::store {
namespace {

constexpr uint8_t kRecordVersion = 1;
// 1 had the owner's name instead of its id, 2 did not have the newest mtime of a model's files.
constexpr uint8_t kObjectRecordVersion = 3;
// 1 did not have the model that its source names, 2 not the mtimes of the version's files.
constexpr uint8_t kVersionRecordVersion = 3;
// 1 had no principals and grants, 2 no version records of version 2, 3 no object and version records of
// version 3, and counted no bytes in the audit head. The fields are the same.
constexpr uint8_t kSettingsVersion = 4;
constexpr uint8_t kAuditVersion = 2;      // 1 had no run_by, change, status and error
constexpr uint8_t kAuditHeadVersion = 3;  // 1 had no index, 2 counted no bytes
constexpr size_t kSealBytes = 8;

std::string Sealed(std::string body) {
  const uint64_t sum = Xxh3_64(body);
  body += Encoder().U64(sum).bytes();
  return body;
}

// The body behind its version byte, which is one of 1 to `newest`; opening a registry of a newer format
// refuses all of it.
Result<std::string_view> Unsealed(std::string_view bytes, std::string_view what,
                                  uint8_t newest = kRecordVersion) {
  if (bytes.size() <= kSealBytes)
    return Error(Code::kDataLoss, fmt::format("{}: the record is cut short", what));
  const std::string_view body = bytes.substr(0, bytes.size() - kSealBytes);
  if (Decoder(bytes.substr(body.size())).U64() != Xxh3_64(body)) {
    return Error(Code::kDataLoss, fmt::format("{}: the record does not match its checksum", what));
  }
  if (const auto version = static_cast<uint8_t>(body[0]); version == 0 || version > newest) {
    return Error(Code::kDataLoss, fmt::format("{}: record version {} is unknown", what, int{body[0]}));
  }
  return body.substr(1);
}

Encoder Begin(uint8_t version = kRecordVersion) {
  Encoder encoder;
  encoder.U8(version);
  return encoder;
}

void Put(Encoder& encoder, const Stamp& stamp) {
  encoder.U64(static_cast<uint64_t>(stamp.at_ms)).String(stamp.by);
}
Stamp GetStamp(Decoder& decoder) {
  Stamp stamp;
  stamp.at_ms = static_cast<int64_t>(decoder.U64());
  stamp.by = decoder.String();
  return stamp;
}
void Put(Encoder& encoder, const Sha256& hash) {
  encoder.Raw({reinterpret_cast<const char*>(hash.data()), hash.size()});
}
Sha256 GetHash(Decoder& decoder) {
  Sha256 hash{};
  const std::string_view raw = decoder.Raw(hash.size());
  std::copy(raw.begin(), raw.end(), reinterpret_cast<char*>(hash.data()));
  return hash;
}

Error Malformed(std::string_view what) {
  return Error(Code::kDataLoss, fmt::format("{}: a field of the record has an impossible value", what));
}

template <typename Enum>
bool InRange(Enum value, Enum last) {
  return static_cast<unsigned>(value) <= static_cast<unsigned>(last);
}

}  // namespace

std::string ObjectRecord::Encode() const {
  const bool named = owner == kNobodyId && !owner_name.empty();
  const uint8_t version = named ? 1 : newest_file_s ? kObjectRecordVersion : 2;
  Encoder encoder = Begin(version);
  encoder.Varint(id).U8(static_cast<uint8_t>(kind));
  if (named) {
    encoder.String(owner_name);
  } else {
    encoder.Varint(owner);
  }
  Put(encoder, created);
  Put(encoder, updated);
  encoder.U8(has_description ? 1 : 0).Varint(children);
  if (kind == ObjectKind::kModel) {
    encoder.Varint(next_version).Varint(latest_ready).Varint(aliases.size());
    for (const AliasInfo& alias : aliases) {
      encoder.String(alias.name).Varint(alias.version).Varint(alias.version_id).U8(alias.slot);
      encoder.U64(static_cast<uint64_t>(alias.updated_at_ms));
    }
    if (version >= 3) encoder.U64(static_cast<uint64_t>(*newest_file_s));
  }
  return Sealed(encoder.Take());
}

Result<ObjectRecord> ObjectRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what, kObjectRecordVersion));
  const auto version = static_cast<uint8_t>(bytes[0]);
  Decoder decoder(body);
  ObjectRecord record;
  record.id = decoder.Varint();
  record.kind = static_cast<ObjectKind>(decoder.U8());
  if (version == 1) {
    record.owner_name = decoder.String();
    if (record.owner_name.empty()) return Malformed(what);
  } else {
    record.owner = decoder.Varint();
  }
  record.created = GetStamp(decoder);
  record.updated = GetStamp(decoder);
  record.has_description = decoder.U8() != 0;
  record.children = decoder.Varint();
  if (!InRange(record.kind, ObjectKind::kModel)) return Malformed(what);
  if (version >= 3 && record.kind != ObjectKind::kModel) return Malformed(what);
  if (record.kind == ObjectKind::kModel) {
    record.next_version = decoder.Varint();
    record.latest_ready = decoder.Varint();
    const uint64_t count = decoder.Varint();
    if (count > kMaxAliasesPerModel) return Malformed(what);
    for (uint64_t i = 0; i < count; ++i) {
      AliasInfo& alias = record.aliases.emplace_back();
      alias.name = decoder.String();
      alias.version = decoder.Varint();
      alias.version_id = decoder.Varint();
      alias.slot = decoder.U8();
      alias.updated_at_ms = static_cast<int64_t>(decoder.U64());
    }
    if (version >= 3) record.newest_file_s = static_cast<int64_t>(decoder.U64());
  }
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
}

std::string PrincipalRecord::Encode() const {
  Encoder encoder = Begin();
  encoder.U8(static_cast<uint8_t>(info.kind)).U8(static_cast<uint8_t>(info.source)).U8(info.deleted ? 1 : 0);
  encoder.String(info.name);
  Put(encoder, Stamp{info.created_at_ms, info.created_by});
  return Sealed(encoder.Take());
}

Result<PrincipalRecord> PrincipalRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  PrincipalRecord record;
  record.info.kind = static_cast<PrincipalKind>(decoder.U8());
  record.info.source = static_cast<PrincipalSource>(decoder.U8());
  record.info.deleted = decoder.U8() != 0;
  record.info.name = decoder.String();
  const Stamp created = GetStamp(decoder);
  record.info.created_at_ms = created.at_ms;
  record.info.created_by = created.by;
  if (record.info.kind < PrincipalKind::kUser || !InRange(record.info.kind, PrincipalKind::kGroup) ||
      record.info.source < PrincipalSource::kRegistry ||
      !InRange(record.info.source, PrincipalSource::kHost)) {
    return Malformed(what);
  }
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
}

std::vector<GrantsRecord::Grant>::iterator GrantsRecord::Find(PrincipalId principal) {
  const auto at = std::lower_bound(grants.begin(), grants.end(), principal,
                                   [](const Grant& grant, PrincipalId id) { return grant.principal < id; });
  return at != grants.end() && at->principal == principal ? at : grants.end();
}

PrivilegeSet GrantsRecord::Of(PrincipalId principal) const {
  const auto at = const_cast<GrantsRecord*>(this)->Find(principal);
  return at == grants.end() ? PrivilegeSet() : at->privileges;
}

void GrantsRecord::Set(PrincipalId principal, PrivilegeSet privileges) {
  const auto at = std::lower_bound(grants.begin(), grants.end(), principal,
                                   [](const Grant& grant, PrincipalId id) { return grant.principal < id; });
  const bool present = at != grants.end() && at->principal == principal;
  if (privileges.empty()) {
    if (present) grants.erase(at);
  } else if (present) {
    at->privileges = privileges;
  } else {
    grants.insert(at, {principal, privileges});
  }
}

std::string GrantsRecord::Encode() const {
  Encoder encoder = Begin();
  encoder.Varint(grants.size());
  for (const Grant& grant : grants) encoder.U64(grant.principal).U32(grant.privileges.bits());
  return Sealed(encoder.Take());
}

Result<GrantsRecord> GrantsRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  GrantsRecord record;
  const uint64_t count = decoder.Varint();
  PrincipalId last = kNobodyId;
  for (uint64_t i = 0; i < count && decoder.ok(); ++i) {
    Grant& grant = record.grants.emplace_back();
    grant.principal = decoder.U64();
    grant.privileges = PrivilegeSet::FromBits(decoder.U32());
    if (grant.principal <= last || grant.privileges.empty()) return Malformed(what);
    last = grant.principal;
  }
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
}

std::string PrincipalCountersRecord::Encode() const {
  return Sealed(Begin().Varint(next).Varint(users).Varint(groups).Take());
}

Result<PrincipalCountersRecord> PrincipalCountersRecord::Decode(std::string_view bytes,
                                                                std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  PrincipalCountersRecord record;
  record.next = decoder.Varint();
  record.users = decoder.Varint();
  record.groups = decoder.Varint();
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
}

std::string ContainerSettingsRecord::Encode() const {
  // 0: not set here; 1: no; 2: yes. Limits are stored one higher, 0 for none.
  Encoder encoder = Begin();
  encoder.U8(signature_required ? (*signature_required ? 2 : 1) : 0);
  encoder.Varint(max_models ? *max_models + 1 : 0).Varint(max_versions ? *max_versions + 1 : 0);
  encoder.Varint(protected_aliases.size());
  for (const auto& [alias, principal] : protected_aliases) encoder.String(alias).Varint(principal);
  return Sealed(encoder.Take());
}

Result<ContainerSettingsRecord> ContainerSettingsRecord::Decode(std::string_view bytes,
                                                                std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  ContainerSettingsRecord record;
  if (const uint8_t required = decoder.U8(); required != 0) record.signature_required = required == 2;
  if (const uint64_t limit = decoder.Varint(); limit != 0) record.max_models = limit - 1;
  if (const uint64_t limit = decoder.Varint(); limit != 0) record.max_versions = limit - 1;
  const uint64_t count = decoder.Varint();
  for (uint64_t i = 0; i < count && decoder.ok(); ++i) {
    std::string alias(decoder.String());
    record.protected_aliases[std::move(alias)] = decoder.Varint();
  }
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
}

std::string WhereRecord::Encode() const { return Sealed(Begin().Varint(parent).String(name).Take()); }

Result<WhereRecord> WhereRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  WhereRecord record;
  record.parent = decoder.Varint();
  record.name = decoder.String();
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
}

std::string VersionRecord::Encode() const {
  const uint8_t version = commit ? kVersionRecordVersion : source_model ? 2 : 1;
  Encoder encoder = Begin(version);
  encoder.Varint(id).U8(static_cast<uint8_t>(status)).String(status_message);
  if (status == VersionStatus::kReady) {
    encoder.DigestValue(tree).Varint(total_bytes).Varint(file_count).U8(static_cast<uint8_t>(signature));
  }
  encoder.String(source);
  if (version == 2) encoder.Varint(*source_model);
  if (version >= 3) encoder.Varint(source_model ? *source_model + 1 : 0);
  encoder.String(run_id).U8(has_description ? 1 : 0);
  Put(encoder, created);
  Put(encoder, updated);
  if (commit) {
    encoder.U64(static_cast<uint64_t>(commit->at_ms)).U8(commit->times ? 1 : 0);
    if (commit->times) encoder.DigestValue(*commit->times);
    encoder.U64(static_cast<uint64_t>(commit->newest_s));
  }
  return Sealed(encoder.Take());
}

Result<VersionRecord> VersionRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what, kVersionRecordVersion));
  const auto version = static_cast<uint8_t>(bytes[0]);
  Decoder decoder(body);
  VersionRecord record;
  record.id = decoder.Varint();
  record.status = static_cast<VersionStatus>(decoder.U8());
  record.status_message = decoder.String();
  if (record.status == VersionStatus::kReady) {
    record.tree = decoder.DigestValue();
    record.total_bytes = decoder.Varint();
    record.file_count = decoder.Varint();
    record.signature = static_cast<Signature>(decoder.U8());
  }
  record.source = decoder.String();
  if (version == 2) record.source_model = decoder.Varint();
  if (version >= 3) {
    if (const uint64_t model = decoder.Varint(); model > 0) record.source_model = model - 1;
  }
  record.run_id = decoder.String();
  record.has_description = decoder.U8() != 0;
  record.created = GetStamp(decoder);
  record.updated = GetStamp(decoder);
  if (version >= 3) {
    VersionCommit& commit = record.commit.emplace();
    commit.at_ms = static_cast<int64_t>(decoder.U64());
    if (decoder.U8() != 0) commit.times = decoder.DigestValue();
    commit.newest_s = static_cast<int64_t>(decoder.U64());
  }
  if (record.status < VersionStatus::kPending || !InRange(record.status, VersionStatus::kFailed) ||
      !InRange(record.signature, Signature::kPresent) ||
      record.commit.has_value() > (record.status == VersionStatus::kReady)) {
    return Malformed(what);
  }
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
}

std::string ModelCopyRecord::Encode() const {
  Encoder encoder = Begin();
  encoder.Varint(source).Varint(end).Varint(done).Varint(aliases.size());
  for (const auto& [alias, version] : aliases) encoder.String(alias).Varint(version);
  return Sealed(encoder.Take());
}

Result<ModelCopyRecord> ModelCopyRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  ModelCopyRecord record;
  record.source = decoder.Varint();
  record.end = decoder.Varint();
  record.done = decoder.Varint();
  const uint64_t count = decoder.Varint();
  if (count > kMaxAliasesPerModel) return Malformed(what);
  for (uint64_t i = 0; i < count && decoder.ok(); ++i) {
    std::string alias(decoder.String());
    record.aliases[std::move(alias)] = decoder.Varint();
  }
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
}

std::string VersionWhereRecord::Encode() const { return Sealed(Begin().Varint(model).Varint(number).Take()); }

Result<VersionWhereRecord> VersionWhereRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  VersionWhereRecord record;
  record.model = decoder.Varint();
  record.number = decoder.Varint();
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
}

std::string CountersRecord::Encode() const {
  return Sealed(Begin().Varint(next_object).Varint(next_version).Take());
}

Result<CountersRecord> CountersRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  CountersRecord record;
  record.next_object = decoder.Varint();
  record.next_version = decoder.Varint();
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
}

std::string AuditHeadRecord::Encode() const {
  Encoder encoder = Begin(kAuditHeadVersion);
  encoder.U64(sequence);
  Put(encoder, hash);
  encoder.U64(indexed_from);
  encoder.U64(counted_from);
  encoder.U64(kept_bytes);
  return Sealed(encoder.Take());
}

Result<AuditHeadRecord> AuditHeadRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what, kAuditHeadVersion));
  Decoder decoder(body);
  AuditHeadRecord record;
  record.sequence = decoder.U64();
  record.hash = GetHash(decoder);
  const auto version = static_cast<uint8_t>(bytes[0]);
  record.indexed_from = version == 1 ? record.sequence + 1 : decoder.U64();
  record.counted_from = version <= 2 ? record.sequence + 1 : decoder.U64();
  if (version > 2) record.kept_bytes = decoder.U64();
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
}

std::string AuditStartRecord::Encode() const {
  Encoder encoder = Begin();
  encoder.U64(sequence);
  Put(encoder, hash);
  return Sealed(encoder.Take());
}

Result<AuditStartRecord> AuditStartRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  AuditStartRecord record;
  record.sequence = decoder.U64();
  record.hash = GetHash(decoder);
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
}

std::string AuditSettings::Encode() const {
  Encoder encoder = Begin();
  encoder.U8(static_cast<uint8_t>(opens)).U64(most_bytes).U64(static_cast<uint64_t>(longest_ms));
  return Sealed(encoder.Take());
}

Result<AuditSettings> AuditSettings::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  AuditSettings settings;
  settings.opens = static_cast<Opens>(decoder.U8());
  settings.most_bytes = decoder.U64();
  settings.longest_ms = static_cast<int64_t>(decoder.U64());
  if (!InRange(settings.opens, Opens::kEach)) return Malformed(what);
  RETURN_IF_ERROR(decoder.Finish(what));
  return settings;
}

std::string LeaseRecord::Encode() const {
  Encoder encoder = Begin();
  encoder.String(purpose).String(principal).U64(static_cast<uint64_t>(acquired_at_ms));
  encoder.String(boot_id).Varint(pid_namespace).Varint(pid).Varint(process_start);
  return Sealed(encoder.Take());
}

Result<LeaseRecord> LeaseRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  LeaseRecord record;
  record.purpose = decoder.String();
  record.principal = decoder.String();
  record.acquired_at_ms = static_cast<int64_t>(decoder.U64());
  record.boot_id = decoder.String();
  record.pid_namespace = decoder.Varint();
  record.pid = decoder.Varint();
  record.process_start = decoder.Varint();
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
}

std::string EncodeSettings(const RegistrySettings& settings) {
  Encoder encoder;
  encoder.U8(kSettingsVersion).U8(static_cast<uint8_t>(settings.signature)).String(settings.owner);
  encoder.U32(settings.owner_uid).String(settings.id).U64(static_cast<uint64_t>(settings.created_at_ms));
  return Sealed(encoder.Take());
}

Result<RegistrySettings> DecodeSettings(std::string_view bytes) {
  constexpr std::string_view kWhat = "registry settings";
  if (!bytes.empty() && static_cast<uint8_t>(bytes[0]) > kSettingsVersion) {
    return Error(Code::kFailedPrecondition,
                 fmt::format("the registry has format {}, this program knows {}; use a newer modelfs",
                             int{static_cast<uint8_t>(bytes[0])}, int{kSettingsVersion}));
  }
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, kWhat, kSettingsVersion));
  Decoder decoder(body);
  RegistrySettings settings;
  settings.signature = static_cast<RegistrySettings::SignaturePolicy>(decoder.U8());
  settings.owner = decoder.String();
  settings.owner_uid = decoder.U32();
  settings.id = decoder.String();
  settings.created_at_ms = static_cast<int64_t>(decoder.U64());
  if (!InRange(settings.signature, RegistrySettings::SignaturePolicy::kRequired)) return Malformed(kWhat);
  RETURN_IF_ERROR(decoder.Finish(kWhat));
  return settings;
}

bool IsOlderFormat(std::string_view settings) {
  return !settings.empty() && static_cast<uint8_t>(settings[0]) < kSettingsVersion;
}

std::string EncodeText(std::string_view text) { return Sealed(Begin().Raw(text).Take()); }

Result<std::string> DecodeText(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  return std::string(body);
}

std::string EncodeNumber(uint64_t number) { return Sealed(Begin().U64(number).Take()); }

Result<uint64_t> DecodeNumber(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  const uint64_t number = decoder.U64();
  RETURN_IF_ERROR(decoder.Finish(what));
  return number;
}

namespace {

constexpr uint16_t kMostStatus = 599;

std::string AuditBody(const AuditRecord& record) {
  Encoder encoder = Begin(record.format);
  encoder.U64(record.sequence).U64(static_cast<uint64_t>(record.time_ms)).String(record.principal);
  if (record.format > 1) encoder.String(record.run_by);
  encoder.U8(static_cast<uint8_t>(record.proof)).String(record.door).String(record.request_id);
  encoder.String(record.action).String(record.full_name).Varint(record.object).Varint(record.params.size());
  for (const auto& [key, value] : record.params) encoder.String(key).String(value);
  if (record.format > 1) encoder.U8(record.change ? 1 : 0).Varint(record.status).String(record.error);
  Put(encoder, record.previous_hash);
  return encoder.Take();
}

}  // namespace

std::string EncodeAudit(const AuditRecord& record) { return Sealed(AuditBody(record)); }

Sha256 AuditHash(const AuditRecord& record) { return DigestOf(std::string_view(AuditBody(record))).sha256; }

Result<AuditRecord> DecodeAudit(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what, kAuditVersion));
  Decoder decoder(body);
  AuditRecord record;
  record.format = static_cast<uint8_t>(bytes[0]);
  record.sequence = decoder.U64();
  record.time_ms = static_cast<int64_t>(decoder.U64());
  record.principal = decoder.String();
  if (record.format > 1) record.run_by = decoder.String();
  record.proof = static_cast<Proof>(decoder.U8());
  record.door = decoder.String();
  record.request_id = decoder.String();
  record.action = decoder.String();
  record.full_name = decoder.String();
  record.object = decoder.Varint();
  const uint64_t params = decoder.Varint();
  for (uint64_t i = 0; i < params && decoder.ok(); ++i) {
    std::string key(decoder.String());
    // In order and once each, so that a record has one encoding: the bytes that are read are those that were
    // hashed.
    if (!record.params.empty() && key <= record.params.rbegin()->first) return Malformed(what);
    record.params[std::move(key)] = decoder.String();
  }
  if (record.format > 1) {
    const uint8_t change = decoder.U8();
    const uint64_t status = decoder.Varint();
    if (change > 1 || status > kMostStatus) return Malformed(what);
    record.change = change != 0;
    record.status = static_cast<uint16_t>(status);
    record.error = decoder.String();
  }
  record.previous_hash = GetHash(decoder);
  if (!InRange(record.proof, Proof::kToken)) return Malformed(what);
  RETURN_IF_ERROR(decoder.Finish(what));
  record.hash = DigestOf(bytes.substr(0, bytes.size() - kSealBytes)).sha256;
  return record;
}

int64_t PeekAuditTime(std::string_view bytes) {
  constexpr size_t kTimeOffset = 1 + 8;  // behind the version byte and the sequence, in every format
  return bytes.size() < kTimeOffset ? 0 : static_cast<int64_t>(Decoder(bytes.substr(kTimeOffset)).U64());
}

std::string EncodeEvent(const Event& event) {
  Encoder encoder = Begin();
  encoder.U64(static_cast<uint64_t>(event.time_ms)).U8(static_cast<uint8_t>(event.kind));
  encoder.U8(static_cast<uint8_t>(event.object_kind)).Varint(event.object).Varint(event.parent);
  encoder.String(event.name)
      .String(event.old_name)
      .Varint(event.version.value_or(0))
      .Varint(event.version_id);
  encoder.Varint(event.aliases.size());
  for (const std::string& alias : event.aliases) encoder.String(alias);
  return Sealed(encoder.Take());
}

Result<Event> DecodeEvent(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  Event event;
  event.time_ms = static_cast<int64_t>(decoder.U64());
  event.kind = static_cast<EventKind>(decoder.U8());
  event.object_kind = static_cast<ObjectKind>(decoder.U8());
  event.object = decoder.Varint();
  event.parent = decoder.Varint();
  event.name = decoder.String();
  event.old_name = decoder.String();
  if (const uint64_t number = decoder.Varint(); number != 0) event.version = number;
  event.version_id = decoder.Varint();
  const uint64_t aliases = decoder.Varint();
  for (uint64_t i = 0; i < aliases && decoder.ok(); ++i) event.aliases.emplace_back(decoder.String());
  // An event of a kind that only a newer program knows still counts as a change.
  if (!InRange(event.kind, EventKind::kSettingsChanged)) event.kind = EventKind::kOther;
  if (!InRange(event.object_kind, ObjectKind::kModel)) return Malformed(what);
  RETURN_IF_ERROR(decoder.Finish(what));
  return event;
}

}  // namespace modelfs::store
