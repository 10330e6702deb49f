#include "store/records/change.h"

#include <fmt/core.h>

#include "cas/base/shell_word.h"
#include "cas/base/text.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

Error NoLonger(ObjectId id) {
  return Error(Code::kNotFound, fmt::format("object {} does not exist (any more)", id));
}

}  // namespace

Result<StoredObject> View::Object(ObjectId id) {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> where_entry, Get(keys::Where(id)));
  if (!where_entry) return NoLonger(id);
  ASSIGN_OR_RETURN(WhereRecord where, WhereRecord::Decode(where_entry->value, fmt::format("object {}", id)));
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, Get(keys::Object(where.parent, where.name)));
  if (!entry) return Error(Code::kDataLoss, fmt::format("object {}: its record is missing", id));
  StoredObject object;
  ASSIGN_OR_RETURN(object.record, ObjectRecord::Decode(entry->value, fmt::format("object {}", id)));
  object.parent = where.parent;
  object.name = std::move(where.name);
  return object;
}

Result<StoredObject> View::Child(ObjectId parent, std::string_view name) {
  std::optional<KvEntry> entry;
  // A name that breaks the rules has no entry. The empty one would be the metastore itself.
  if (!name.empty() && name.size() <= kNameMaxBytes) {
    ASSIGN_OR_RETURN(entry, Get(keys::Object(parent, name)));
  }
  if (!entry) return Error(Code::kNotFound, fmt::format("{}: no such name", Printable(name)));
  StoredObject object;
  ASSIGN_OR_RETURN(object.record, ObjectRecord::Decode(entry->value, name));
  object.parent = parent;
  object.name = name;
  return object;
}

Result<std::optional<StoredObject>> View::Find(const FullName& name) {
  std::optional<StoredObject> at;
  for (const std::string& part : name.parts) {
    Result<StoredObject> child = Child(at ? at->record.id : kMetastoreId, part);
    if (!child.ok() && child.error().code() == Code::kNotFound) return std::optional<StoredObject>();
    if (!child.ok()) return child.error();
    at = *std::move(child);
  }
  return at;
}

Result<StoredObject> View::Model(ObjectId id) {
  ASSIGN_OR_RETURN(StoredObject object, Object(id));
  if (object.record.kind != ObjectKind::kModel) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} is a {}, not a model", object.name, KindName(object.record.kind)));
  }
  return object;
}

Result<VersionRecord> View::Version(const StoredObject& model, VersionNumber number) {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, Get(keys::Version(model.record.id, number)));
  if (!entry) {
    ASSIGN_OR_RETURN(const FullName name, NameOf(model));
    return Error(Code::kNotFound,
                 fmt::format("{} version {}: no such version; to list the versions that exist: {}",
                             name.ToString(), number, ShellCommand({"modelfs", "ls"}, {name.ToString()})));
  }
  return VersionRecord::Decode(entry->value, fmt::format("{} version {}", model.name, number));
}

Result<std::optional<NumberedVersion>> View::ReadyBelow(const StoredObject& model, VersionNumber below) {
  const std::string begin = keys::Version(model.record.id, 0);
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<KvEntry> entry,
                     snapshot_->Last(begin, keys::Version(model.record.id, below)));
    if (!entry) return std::optional<NumberedVersion>();
    NumberedVersion found;
    found.number = below = keys::SecondNumber(entry->key);
    ASSIGN_OR_RETURN(found.record,
                     VersionRecord::Decode(entry->value, fmt::format("{} version {}", model.name, below)));
    if (found.record.status == VersionStatus::kReady) return std::optional<NumberedVersion>(std::move(found));
  }
}

Result<FullName> View::NameOf(const StoredObject& object) {
  FullName name;
  if (object.record.kind == ObjectKind::kMetastore) return name;
  name.parts.push_back(object.name);
  for (ObjectId parent = object.parent; parent != kMetastoreId;) {
    ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, snapshot_->Get(keys::Where(parent)));
    if (!entry) return NoLonger(parent);
    ASSIGN_OR_RETURN(WhereRecord where, WhereRecord::Decode(entry->value, fmt::format("object {}", parent)));
    name.parts.insert(name.parts.begin(), std::move(where.name));
    parent = where.parent;
  }
  return name;
}

Result<std::string> View::Description(ObjectId object, VersionNumber version) {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, Get(keys::Description(object, version)));
  if (!entry) return std::string();
  return DecodeText(entry->value, fmt::format("description of object {}", object));
}

Result<std::map<std::string, std::string>> View::Tags(ObjectId object, VersionNumber version) {
  const std::string prefix = keys::Tag(object, version, "");
  ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                   snapshot_->Range(prefix, keys::AfterPrefix(prefix), kMaxTagsPerObject + 1));
  std::map<std::string, std::string> tags;
  for (const KvEntry& entry : entries) {
    const std::string key(keys::NameOf(entry.key, 2));
    ASSIGN_OR_RETURN(tags[key], DecodeText(entry.value, fmt::format("tag {} of object {}", key, object)));
  }
  return tags;
}

Result<PrincipalInfo> View::Principal(PrincipalId id) {
  ASSIGN_OR_RETURN(const std::vector<PrincipalInfo> infos, Principals({id}));
  return infos.front();
}

Result<std::vector<PrincipalInfo>> View::Principals(const std::vector<PrincipalId>& ids) {
  std::vector<std::string> wanted;
  for (const PrincipalId id : ids) wanted.push_back(keys::Principal(id));
  ASSIGN_OR_RETURN(const std::vector<std::optional<KvEntry>> entries, PeekMany(wanted));
  std::vector<PrincipalInfo> infos;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string what = fmt::format("principal {}", ids[i]);
    if (!entries[i]) return Error(Code::kNotFound, fmt::format("{} does not exist", what));
    ASSIGN_OR_RETURN(PrincipalRecord record, PrincipalRecord::Decode(entries[i]->value, what));
    record.info.id = ids[i];
    infos.push_back(std::move(record.info));
  }
  return infos;
}

Result<std::optional<PrincipalInfo>> View::FindPrincipal(std::string_view name) {
  const std::string folded = FoldCase(name);
  if (folded.empty() || folded.size() > kNameMaxBytes) return std::optional<PrincipalInfo>();
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, Peek(keys::PrincipalName(folded)));
  if (!entry) return std::optional<PrincipalInfo>();
  ASSIGN_OR_RETURN(const PrincipalId id, DecodeNumber(entry->value, "principal's name"));
  ASSIGN_OR_RETURN(PrincipalInfo info, Principal(id));
  return std::optional<PrincipalInfo>(std::move(info));
}

Result<std::vector<PrincipalId>> View::GroupsAround(PrincipalId member) {
  return SecondNumbers(keys::MemberOf(member, 0), keys::MemberOf(member + 1, 0));
}

Result<std::vector<PrincipalId>> View::MembersIn(PrincipalId group) {
  return SecondNumbers(keys::Member(group, 0), keys::Member(group + 1, 0));
}

Result<std::vector<PrincipalId>> View::SecondNumbers(std::string begin, const std::string& end) {
  constexpr size_t kStep = 1000;
  std::vector<PrincipalId> numbers;
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, snapshot_->Range(begin, end, kStep));
    std::vector<std::string> found;
    for (const KvEntry& entry : entries) found.push_back(entry.key);
    ASSIGN_OR_RETURN(const std::vector<std::optional<KvEntry>> present, PeekMany(found));
    for (const std::optional<KvEntry>& entry : present) {
      if (entry) numbers.push_back(keys::SecondNumber(entry->key));  // else this change has removed it
    }
    more = entries.size() == kStep;
    if (more) begin = keys::After(entries.back().key);
  }
  return numbers;
}

Result<std::string> View::NameOfPrincipal(PrincipalId id) {
  if (id == kNobodyId) return std::string();
  if (const auto known = principal_names_.find(id); known != principal_names_.end()) return known->second;
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, Peek(keys::Principal(id)));
  std::string name;
  if (entry) {
    ASSIGN_OR_RETURN(const PrincipalRecord record, PrincipalRecord::Decode(entry->value, "principal"));
    if (!record.info.deleted) name = record.info.name;
  }
  return principal_names_.emplace(id, std::move(name)).first->second;
}

Result<PrincipalId> View::OwnerOf(const ObjectRecord& record) {
  if (record.owner != kNobodyId || record.owner_name.empty()) return record.owner;
  const std::string folded = FoldCase(record.owner_name);
  if (folded.size() > kNameMaxBytes) return kNobodyId;
  ASSIGN_OR_RETURN(const std::optional<KvEntry> burned, Peek(keys::Burned(folded)));
  if (burned) return kNobodyId;
  ASSIGN_OR_RETURN(const std::optional<PrincipalInfo> owner, FindPrincipal(record.owner_name));
  return owner ? owner->id : kNobodyId;
}

Result<GrantsRecord> View::Grants(ObjectId object) {
  ASSIGN_OR_RETURN(const std::vector<GrantsRecord> grants, GrantsOf({object}));
  return grants.front();
}

Result<std::vector<GrantsRecord>> View::GrantsOf(const std::vector<ObjectId>& objects) {
  std::vector<std::string> wanted;
  for (const ObjectId object : objects) wanted.push_back(keys::Grants(object));
  ASSIGN_OR_RETURN(const std::vector<std::optional<KvEntry>> entries, GetMany(wanted));
  std::vector<GrantsRecord> grants(objects.size());
  for (size_t i = 0; i < objects.size(); ++i) {
    if (!entries[i]) continue;
    ASSIGN_OR_RETURN(grants[i],
                     GrantsRecord::Decode(entries[i]->value, fmt::format("grants on object {}", objects[i])));
  }
  return grants;
}

Result<ContainerSettingsRecord> View::SettingsOf(ObjectId container) {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, Get(keys::ContainerSettings(container)));
  if (!entry) return ContainerSettingsRecord();
  return ContainerSettingsRecord::Decode(entry->value, fmt::format("settings of object {}", container));
}

Result<PrincipalInfo> Change::AddPrincipal(PrincipalKind kind, PrincipalSource source,
                                           std::string_view name) {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, Get(keys::PrincipalCounters()));
  if (!entry) return Error(Code::kDataLoss, "the registry's counter of principals is missing");
  ASSIGN_OR_RETURN(PrincipalCountersRecord counters,
                   PrincipalCountersRecord::Decode(entry->value, "counter of principals"));
  const bool group = kind == PrincipalKind::kGroup;
  uint64_t& count = group ? counters.groups : counters.users;
  if (count >= (group ? kMaxGroups : kMaxUsers)) {
    return Error(
        Code::kResourceExhausted,
        fmt::format("the registry has {} {} already, the most there can be; delete those that are not needed",
                    count, group ? "groups" : "users and service principals"));
  }
  ++count;
  PrincipalRecord record;
  record.info.id = counters.next++;
  record.info.kind = kind;
  record.info.source = source;
  record.info.name = name;
  record.info.created_at_ms = now_ms_;
  record.info.created_by = caller_->principal;
  Put(keys::PrincipalCounters(), counters.Encode());
  Put(keys::Principal(record.info.id), record.Encode());
  Put(keys::PrincipalName(FoldCase(name)), EncodeNumber(record.info.id));
  AccessChanges();
  return record.info;
}

Result<std::optional<KvEntry>> Change::Get(const std::string& key) {
  ASSIGN_OR_RETURN(std::optional<KvEntry> entry, snapshot().Get(key));
  expected_[key] = entry ? entry->revision : 0;
  return OrWritten(key, std::move(entry));
}

Result<std::optional<KvEntry>> Change::Peek(const std::string& key) {
  ASSIGN_OR_RETURN(std::optional<KvEntry> entry, snapshot().Get(key));
  return OrWritten(key, std::move(entry));
}

Result<std::vector<std::optional<KvEntry>>> Change::GetMany(const std::vector<std::string>& keys) {
  ASSIGN_OR_RETURN(std::vector<std::optional<KvEntry>> entries, snapshot().GetMany(keys));
  for (size_t i = 0; i < keys.size(); ++i) {
    expected_[keys[i]] = entries[i] ? entries[i]->revision : 0;
    entries[i] = OrWritten(keys[i], std::move(entries[i]));
  }
  return entries;
}

Result<std::vector<std::optional<KvEntry>>> Change::PeekMany(const std::vector<std::string>& keys) {
  ASSIGN_OR_RETURN(std::vector<std::optional<KvEntry>> entries, snapshot().GetMany(keys));
  for (size_t i = 0; i < keys.size(); ++i) entries[i] = OrWritten(keys[i], std::move(entries[i]));
  return entries;
}

std::optional<KvEntry> Change::OrWritten(const std::string& key, std::optional<KvEntry> read) const {
  const auto written = writes_.find(key);
  if (written == writes_.end()) return read;
  if (!written->second) return std::nullopt;
  return KvEntry{key, *written->second, read ? read->revision : 0};
}

void Change::PutObject(const StoredObject& object) {
  Put(keys::Object(object.parent, object.name), object.record.Encode());
}

void Change::TouchObject(StoredObject& object) {
  object.record.updated = stamp();
  PutObject(object);
}

void Change::PutVersion(const StoredObject& model, VersionNumber number, const VersionRecord& record) {
  Put(keys::Version(model.record.id, number), record.Encode());
}

Result<ObjectId> Change::NextObjectId() {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, Get(keys::Counters()));
  if (!entry) return Error(Code::kDataLoss, "the registry's counters are missing");
  ASSIGN_OR_RETURN(CountersRecord counters, CountersRecord::Decode(entry->value, "counters"));
  const ObjectId id = counters.next_object++;
  Put(keys::Counters(), counters.Encode());
  return id;
}

Result<VersionId> Change::NextVersionId() {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, Get(keys::Counters()));
  if (!entry) return Error(Code::kDataLoss, "the registry's counters are missing");
  ASSIGN_OR_RETURN(CountersRecord counters, CountersRecord::Decode(entry->value, "counters"));
  const VersionId id = counters.next_version++;
  Put(keys::Counters(), counters.Encode());
  return id;
}

void Change::Audit(std::string_view action, const FullName& name, ObjectId object, Params params) {
  AuditRecord& record = audits_.emplace_back();
  record.time_ms = now_ms_;
  record.principal = caller_->principal;
  record.run_by = caller_->run_by;
  record.proof = caller_->proof;
  record.door = caller_->door;
  record.request_id = caller_->request_id;
  record.action = action;
  record.full_name = name.ToString();
  record.object = object;
  record.params = std::move(params);
}

void Change::Tell(EventKind kind, const StoredObject& object) {
  Event& event = event_.emplace();
  event.time_ms = now_ms_;
  event.kind = kind;
  event.object_kind = object.record.kind;
  event.object = object.record.id;
  event.parent = object.parent;
  event.name = object.name;
}

Result<KvTransaction> Change::Finish() {
  RETURN_IF_ERROR(ChainAudits());
  KvTransaction transaction;
  for (const auto& [key, revision] : expected_) transaction.expectations.push_back({key, revision});
  for (auto& [key, value] : writes_) transaction.writes.push_back({key, std::move(value)});
  if (event_) transaction.log_entry = EncodeEvent(*event_);
  transaction.reserve = reserve_;
  return transaction;
}

}  // namespace modelfs::store
