#include "store/records.h"

#include <fmt/core.h>

#include <algorithm>

#include "cas/base/checksum.h"
#include "cas/base/codec.h"

namespace modelfs::store {
namespace {

constexpr uint8_t kRecordVersion = 1;
constexpr uint8_t kSettingsVersion = 1;
constexpr size_t kSealBytes = 8;

std::string Sealed(std::string body) {
  const uint64_t sum = Xxh3_64(body);
  body += Encoder().U64(sum).bytes();
  return body;
}

// The body behind its version byte. Every record of this program has version 1; a registry of a newer
// format is refused as a whole when it is opened.
Result<std::string_view> Unsealed(std::string_view bytes, std::string_view what) {
  if (bytes.size() <= kSealBytes)
    return Error(Code::kDataLoss, fmt::format("{}: the record is cut short", what));
  const std::string_view body = bytes.substr(0, bytes.size() - kSealBytes);
  if (Decoder(bytes.substr(body.size())).U64() != Xxh3_64(body)) {
    return Error(Code::kDataLoss, fmt::format("{}: the record does not match its checksum", what));
  }
  if (static_cast<uint8_t>(body[0]) != kRecordVersion) {
    return Error(Code::kDataLoss, fmt::format("{}: record version {} is not known", what, int{body[0]}));
  }
  return body.substr(1);
}

Encoder Begin() {
  Encoder encoder;
  encoder.U8(kRecordVersion);
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
  Encoder encoder = Begin();
  encoder.Varint(id).U8(static_cast<uint8_t>(kind)).String(owner);
  Put(encoder, created);
  Put(encoder, updated);
  encoder.U8(has_description ? 1 : 0).Varint(children);
  if (kind == ObjectKind::kModel) {
    encoder.Varint(next_version).Varint(latest_ready).Varint(aliases.size());
    for (const AliasInfo& alias : aliases) {
      encoder.String(alias.name).Varint(alias.version).Varint(alias.version_id).U8(alias.slot);
      encoder.U64(static_cast<uint64_t>(alias.updated_at_ms));
    }
  }
  return Sealed(encoder.Take());
}

Result<ObjectRecord> ObjectRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  ObjectRecord record;
  record.id = decoder.Varint();
  record.kind = static_cast<ObjectKind>(decoder.U8());
  record.owner = decoder.String();
  record.created = GetStamp(decoder);
  record.updated = GetStamp(decoder);
  record.has_description = decoder.U8() != 0;
  record.children = decoder.Varint();
  if (!InRange(record.kind, ObjectKind::kModel)) return Malformed(what);
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
  Encoder encoder = Begin();
  encoder.Varint(id).U8(static_cast<uint8_t>(status)).String(status_message);
  if (status == VersionStatus::kReady) {
    encoder.DigestValue(tree).Varint(total_bytes).Varint(file_count).U8(static_cast<uint8_t>(signature));
  }
  encoder.String(source).String(run_id).U8(has_description ? 1 : 0);
  Put(encoder, created);
  Put(encoder, updated);
  return Sealed(encoder.Take());
}

Result<VersionRecord> VersionRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
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
  record.run_id = decoder.String();
  record.has_description = decoder.U8() != 0;
  record.created = GetStamp(decoder);
  record.updated = GetStamp(decoder);
  if (record.status < VersionStatus::kPending || !InRange(record.status, VersionStatus::kFailed) ||
      !InRange(record.signature, Signature::kPresent)) {
    return Malformed(what);
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
  Encoder encoder = Begin();
  encoder.U64(sequence);
  Put(encoder, hash);
  return Sealed(encoder.Take());
}

Result<AuditHeadRecord> AuditHeadRecord::Decode(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  AuditHeadRecord record;
  record.sequence = decoder.U64();
  record.hash = GetHash(decoder);
  RETURN_IF_ERROR(decoder.Finish(what));
  return record;
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
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, kWhat));
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

std::string AuditBody(const AuditRecord& record) {
  Encoder encoder = Begin();
  encoder.U64(record.sequence).U64(static_cast<uint64_t>(record.time_ms)).String(record.principal);
  encoder.U8(static_cast<uint8_t>(record.proof)).String(record.door).String(record.request_id);
  encoder.String(record.action).String(record.full_name).Varint(record.object).Varint(record.params.size());
  for (const auto& [key, value] : record.params) encoder.String(key).String(value);
  Put(encoder, record.previous_hash);
  return encoder.Take();
}

}  // namespace

std::string EncodeAudit(const AuditRecord& record) { return Sealed(AuditBody(record)); }

Sha256 AuditHash(const AuditRecord& record) { return DigestOf(std::string_view(AuditBody(record))).sha256; }

Result<AuditRecord> DecodeAudit(std::string_view bytes, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string_view body, Unsealed(bytes, what));
  Decoder decoder(body);
  AuditRecord record;
  record.sequence = decoder.U64();
  record.time_ms = static_cast<int64_t>(decoder.U64());
  record.principal = decoder.String();
  record.proof = static_cast<Proof>(decoder.U8());
  record.door = decoder.String();
  record.request_id = decoder.String();
  record.action = decoder.String();
  record.full_name = decoder.String();
  record.object = decoder.Varint();
  const uint64_t params = decoder.Varint();
  for (uint64_t i = 0; i < params && decoder.ok(); ++i) {
    std::string key(decoder.String());
    record.params[std::move(key)] = decoder.String();
  }
  record.previous_hash = GetHash(decoder);
  if (!InRange(record.proof, Proof::kToken)) return Malformed(what);
  RETURN_IF_ERROR(decoder.Finish(what));
  record.hash = DigestOf(bytes.substr(0, bytes.size() - kSealBytes)).sha256;
  return record;
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
  // A kind that a newer program wrote is something that happened all the same.
  if (!InRange(event.kind, EventKind::kOther)) event.kind = EventKind::kOther;
  if (!InRange(event.object_kind, ObjectKind::kModel)) return Malformed(what);
  RETURN_IF_ERROR(decoder.Finish(what));
  return event;
}

}  // namespace modelfs::store
