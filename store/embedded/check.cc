// Checks whether the registry's records are whole and agree with each other.
#include <fmt/core.h>

#include <algorithm>

#include "cas/base/text.h"
#include "store/embedded/embedded_registry_impl.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

constexpr size_t kStep = 1000;
// A registry with so many problems needs a backup, not a longer list.
constexpr size_t kMostProblems = 1000;

// Each check of a record looks only at that record and at the records that must refer back to it. A record
// that cannot be read is reported when the walk comes to it; elsewhere it counts as present, so that one
// fault gives one line. Errors are the engine's: they end the walk.
class Checker {
 public:
  Checker(View& view, RegistryCheck& report) : view_(view), report_(report) {}

  Status Walk() {
    ASSIGN_OR_RETURN(const auto counters, Read<CountersRecord>(keys::Counters(), "counters"));
    if (counters) counters_ = *counters;
    for (const auto& [key, what] : {std::pair{keys::Settings(), "settings"},
                                    {keys::Counters(), "counters"},
                                    {keys::AuditHead(), "audit head"},
                                    {keys::PrincipalCounters(), "counter of principals"},
                                    {keys::AccessEpoch(), "access epoch"},
                                    {keys::Object(kMetastoreId, ""), "metastore"}}) {
      ASSIGN_OR_RETURN(const bool present, Has(key));
      if (!present) Problem("the registry's {} is missing", what);
    }
    std::string begin;
    for (bool more = true; more && report_.problems.size() < kMostProblems;) {
      ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, view_.snapshot().Range(begin, "", kStep));
      for (const KvEntry& entry : entries) RETURN_IF_ERROR(Check(entry));
      report_.records += entries.size();
      more = entries.size() == kStep;
      if (more) begin = keys::After(entries.back().key);
    }
    return OkStatus();
  }

 private:
  template <typename... Arguments>
  void Problem(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    if (report_.problems.size() < kMostProblems)
      report_.problems.push_back(fmt::format(format, std::forward<Arguments>(arguments)...));
  }
  // Reports a record that cannot be decoded.
  template <typename T>
  std::optional<T> Decoded(Result<T> result) {
    if (result.ok()) return *std::move(result);
    Problem("{}", result.error().message());
    return std::nullopt;
  }

  Result<bool> Has(const std::string& key) {
    ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, view_.Get(key));
    return entry.has_value();
  }
  // Another record than the one that the walk is at; nullopt if it is missing or cannot be read.
  template <typename Record>
  Result<std::optional<Record>> Read(const std::string& key, std::string_view what) {
    ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, view_.Get(key));
    if (!entry) return std::optional<Record>();
    Result<Record> record = Record::Decode(entry->value, what);
    return record.ok() ? std::optional<Record>(*std::move(record)) : std::nullopt;
  }

  Status Check(const KvEntry& entry) {
    const std::string_view key = entry.key;
    const auto is = [&](const std::string& example) { return key[0] == example[0]; };
    // Whether the key has so many numbers after its letter.
    const auto has_numbers = [&](size_t count) { return key.size() >= 1 + count * sizeof(uint64_t); };
    if (is(keys::Object(0, "")) && has_numbers(1)) return CheckObject(entry);
    if (is(keys::Where(0)) && has_numbers(1)) return CheckWhere(entry);
    if (is(keys::Version(0, 0)) && has_numbers(2)) return CheckVersion(entry);
    if (is(keys::VersionWhere(0)) && has_numbers(1)) return CheckVersionWhere(entry);
    if (is(keys::Pending(0, 0)) && has_numbers(2)) return CheckPending(entry);
    if (is(keys::Description(0, 0)) && has_numbers(2)) return CheckText(entry, "description");
    if (is(keys::Tag(0, 0, "")) && has_numbers(2)) return CheckText(entry, "tag");
    if (is(keys::AuditIndex(0, 0)) && has_numbers(2)) return CheckAuditIndex(entry);
    if (is(keys::Lease(""))) return CheckLease(entry);
    if (is(keys::Principal(0)) && has_numbers(1)) return CheckPrincipal(entry);
    if (is(keys::PrincipalName(""))) return CheckPrincipalName(entry);
    if (is(keys::Member(0, 0)) && has_numbers(2)) return CheckMembership(entry);
    if (is(keys::MemberOf(0, 0)) && has_numbers(2)) return CheckMembership(entry);
    if (is(keys::Grants(0)) && has_numbers(1)) return CheckGrants(entry);
    if (is(keys::LeaseUntil(""))) return CheckLeaseUntil(entry);
    if (is(keys::CopyUnderWay(0))) {
      Decoded(ModelCopyRecord::Decode(entry.value, fmt::format("copy {}", keys::FirstNumber(key))));
      return OkStatus();
    }
    if (key == keys::Settings()) {
      Decoded(DecodeSettings(entry.value));
    } else if (key == keys::Counters()) {
      Decoded(CountersRecord::Decode(entry.value, "counters"));
    } else if (key == keys::AuditHead()) {
      Decoded(AuditHeadRecord::Decode(entry.value, "audit head"));
    } else if (!is(keys::Audit(0))) {  // those form a chain, which VerifyAudit checks
      // Notes ('x') and every other kind: sealed like all records.
      Decoded(DecodeText(entry.value, fmt::format("record {}", Printable(key))));
    }
    return OkStatus();
  }

  Status CheckObject(const KvEntry& entry) {
    StoredObject object;
    object.parent = keys::FirstNumber(entry.key);
    object.name = keys::NameOf(entry.key, 1);
    const std::string what = fmt::format("\"{}\" in object {}", Printable(object.name), object.parent);
    std::optional<ObjectRecord> record = Decoded(ObjectRecord::Decode(entry.value, what));
    if (!record) return OkStatus();
    object.record = *std::move(record);
    const ObjectRecord& own = object.record;
    ASSIGN_OR_RETURN(const auto where, Read<WhereRecord>(keys::Where(own.id), what));
    ASSIGN_OR_RETURN(const bool is_placed, Has(keys::Where(own.id)));
    if (!is_placed || (where && (where->parent != object.parent || where->name != object.name)))
      Problem("{}: its id {} does not lead back to it", what, own.id);
    if (own.kind == ObjectKind::kMetastore) {
      if (own.id != kMetastoreId) Problem("{}: it is a second metastore", what);
    } else {
      if (own.id >= counters_.next_object) Problem("{}: its id {} was never given", what, own.id);
      RETURN_IF_ERROR(CheckContainer(object, what));
      if (own.owner != kNobodyId) RETURN_IF_ERROR(CheckHolding(own.owner, object.parent, own.id, what));
    }
    ASSIGN_OR_RETURN(const bool described, Has(keys::Description(own.id, 0)));
    if (described != own.has_description)
      Problem("{}: its description is missing, or it has one that it does not record", what);
    return own.kind == ObjectKind::kModel ? CheckModel(object, what) : CheckChildren(object, what);
  }

  Status CheckPrincipal(const KvEntry& entry) {
    const PrincipalId id = keys::FirstNumber(entry.key);
    const std::string what = fmt::format("principal {}", id);
    const std::optional<PrincipalRecord> record = Decoded(PrincipalRecord::Decode(entry.value, what));
    if (!record || record->info.deleted) return OkStatus();
    ASSIGN_OR_RETURN(const bool named, Has(keys::PrincipalName(FoldCase(record->info.name))));
    if (!named) Problem("{}: its name does not lead to it", what);
    return OkStatus();
  }

  Status CheckPrincipalName(const KvEntry& entry) {
    const std::string what = fmt::format("the principal named {}", Printable(keys::NameOf(entry.key, 0)));
    const std::optional<uint64_t> id = Decoded(DecodeNumber(entry.value, what));
    if (!id) return OkStatus();
    ASSIGN_OR_RETURN(const bool present, Has(keys::Principal(*id)));
    if (!present) Problem("{}: its record is missing", what);
    return OkStatus();
  }

  // Each membership has two keys, one for each direction.
  Status CheckMembership(const KvEntry& entry) {
    const uint64_t first = keys::FirstNumber(entry.key);
    const uint64_t second = keys::SecondNumber(entry.key);
    const bool by_group = entry.key[0] == keys::Member(0, 0)[0];
    const std::string what = fmt::format("membership of principals {} and {}", first, second);
    Decoded(DecodeText(entry.value, what));
    ASSIGN_OR_RETURN(const bool both,
                     Has(by_group ? keys::MemberOf(second, first) : keys::Member(second, first)));
    if (!both) Problem("{}: it is recorded in one direction only", what);
    return OkStatus();
  }

  Status CheckHolding(PrincipalId principal, ObjectId container, ObjectId object, const std::string& what) {
    ASSIGN_OR_RETURN(const bool listed, Has(keys::Holding(principal, container, object)));
    if (!listed) Problem("{}: a listing for principal {} would not show it", what, principal);
    return OkStatus();
  }

  Status CheckGrants(const KvEntry& entry) {
    const ObjectId id = keys::FirstNumber(entry.key);
    const std::string what = fmt::format("grants on object {}", id);
    const std::optional<GrantsRecord> record = Decoded(GrantsRecord::Decode(entry.value, what));
    ASSIGN_OR_RETURN(const auto where, Read<WhereRecord>(keys::Where(id), what));
    if (!record || !where) return OkStatus();
    for (const GrantsRecord::Grant& grant : record->grants) {
      ASSIGN_OR_RETURN(const bool present, Has(keys::Principal(grant.principal)));
      if (!present) Problem("{}: principal {} is missing", what, grant.principal);
      RETURN_IF_ERROR(CheckHolding(grant.principal, where->parent, id, what));
    }
    return OkStatus();
  }

  Status CheckContainer(const StoredObject& object, const std::string& what) {
    const Result<StoredObject> container = view_.Object(object.parent);
    if (container.ok()) {
      if (static_cast<int>(container->record.kind) + 1 != static_cast<int>(object.record.kind))
        Problem("{}: a {} is not in a {}", what, KindName(object.record.kind),
                KindName(container->record.kind));
    } else if (container.error().code() == Code::kNotFound) {
      Problem("{}: its container is missing", what);
    }
    return OkStatus();
  }

  Status CheckChildren(const StoredObject& object, const std::string& what) {
    const std::string all = keys::Object(object.record.id, "");
    std::string begin = keys::FirstChild(object.record.id);
    uint64_t children = 0;
    for (bool more = true; more;) {
      ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                       view_.snapshot().Range(begin, keys::AfterPrefix(all), kStep));
      children += entries.size();
      more = entries.size() == kStep;
      if (more) begin = keys::After(entries.back().key);
    }
    if (children != object.record.children)
      Problem("{}: it counts {} children, and {} exist", what, object.record.children, children);
    return OkStatus();
  }

  Status CheckModel(const StoredObject& model, const std::string& what) {
    const ObjectRecord& own = model.record;
    std::string begin = keys::Version(own.id, 0);
    const std::string end = keys::AfterPrefix(keys::Where(own.id).replace(0, 1, begin.substr(0, 1)));
    uint64_t versions = 0;
    VersionNumber newest = 0;
    VersionNumber latest_ready = 0;
    bool all_known = true;
    int64_t newest_file_s = INT64_MIN;
    for (bool more = true; more;) {
      ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, view_.snapshot().Range(begin, end, kStep));
      for (const KvEntry& entry : entries) {
        ++versions;
        newest = keys::SecondNumber(entry.key);
        const Result<VersionRecord> version = VersionRecord::Decode(entry.value, what);
        all_known = all_known && version.ok();
        if (!version.ok() || version->status != VersionStatus::kReady) continue;
        latest_ready = newest;
        newest_file_s = std::max(newest_file_s, NewestSecond(*version));
      }
      more = entries.size() == kStep;
      if (more) begin = keys::After(entries.back().key);
    }
    if (versions != own.children)
      Problem("{}: it counts {} versions, and {} exist", what, own.children, versions);
    if (newest >= own.next_version) Problem("{}: its version {} was never given", what, newest);
    if (all_known && latest_ready != own.latest_ready)
      Problem("{}: version {} is not its newest READY one", what, own.latest_ready);
    if (own.newest_file_s && *own.newest_file_s < newest_file_s)
      Problem("{}: its record of the newest file time is too old", what);
    for (const AliasInfo& alias : own.aliases) {
      const std::string name = fmt::format("{}: alias {}", what, Printable(alias.name));
      ASSIGN_OR_RETURN(const auto version, Read<VersionRecord>(keys::Version(own.id, alias.version), name));
      ASSIGN_OR_RETURN(const bool there, Has(keys::Version(own.id, alias.version)));
      if (!there ||
          (version && (version->id != alias.version_id || version->status != VersionStatus::kReady)))
        Problem("{} points to version {}, which is missing, not READY or another one", name, alias.version);
    }
    return OkStatus();
  }

  Status CheckWhere(const KvEntry& entry) {
    const ObjectId id = keys::FirstNumber(entry.key);
    const std::string what = fmt::format("object {}", id);
    const std::optional<WhereRecord> where = Decoded(WhereRecord::Decode(entry.value, what));
    if (!where) return OkStatus();
    const std::string key = keys::Object(where->parent, where->name);
    ASSIGN_OR_RETURN(const bool there, Has(key));
    ASSIGN_OR_RETURN(const auto record, Read<ObjectRecord>(key, what));
    if (!there || (record && record->id != id))
      Problem("{}: its place, \"{}\" in object {}, is empty or has another object", what,
              Printable(where->name), where->parent);
    return OkStatus();
  }

  // Whether the model exists, or was deleted and its leftovers still have to be removed.
  Result<bool> ModelOrItsRest(ObjectId model) {
    ASSIGN_OR_RETURN(const bool there, Has(keys::Where(model)));
    if (there) return true;
    return Has(keys::Unfinished(model));
  }

  Status CheckVersion(const KvEntry& entry) {
    const ObjectId model = keys::FirstNumber(entry.key);
    const VersionNumber number = keys::SecondNumber(entry.key);
    const std::string what = fmt::format("version {} of object {}", number, model);
    const std::optional<VersionRecord> record = Decoded(VersionRecord::Decode(entry.value, what));
    if (!record) return OkStatus();
    ASSIGN_OR_RETURN(const bool owned, ModelOrItsRest(model));
    if (!owned) Problem("{}: its model is missing", what);
    if (record->id >= counters_.next_version) Problem("{}: its id {} was never given", what, record->id);
    ASSIGN_OR_RETURN(const bool led_to, Has(keys::VersionWhere(record->id)));
    ASSIGN_OR_RETURN(const auto where, Read<VersionWhereRecord>(keys::VersionWhere(record->id), what));
    if (!led_to || (where && (where->model != model || where->number != number)))
      Problem("{}: its id {} does not lead back to it", what, record->id);
    // The leftovers of a deleted model are removed one kind after the other.
    ASSIGN_OR_RETURN(const bool alive, Has(keys::Where(model)));
    if (!alive) return OkStatus();
    ASSIGN_OR_RETURN(const bool pending, Has(keys::Pending(model, number)));
    if (pending != (record->status == VersionStatus::kPending))
      Problem("{}: the list of PENDING versions does not agree that it is {}", what,
              StatusName(record->status));
    ASSIGN_OR_RETURN(const bool described, Has(keys::Description(model, number)));
    if (described != record->has_description)
      Problem("{}: its description is missing, or it has one that it does not record", what);
    return OkStatus();
  }

  Status CheckVersionWhere(const KvEntry& entry) {
    const VersionId id = keys::FirstNumber(entry.key);
    const std::string what = fmt::format("version id {}", id);
    const std::optional<VersionWhereRecord> where = Decoded(VersionWhereRecord::Decode(entry.value, what));
    if (!where) return OkStatus();
    // A damaged version of a deleted model leaves its id's entry behind, which nothing follows (sweep.cc).
    ASSIGN_OR_RETURN(const bool alive, Has(keys::Where(where->model)));
    if (!alive) return OkStatus();
    const std::string key = keys::Version(where->model, where->number);
    ASSIGN_OR_RETURN(const bool there, Has(key));
    ASSIGN_OR_RETURN(const auto record, Read<VersionRecord>(key, what));
    if (!there || (record && record->id != id))
      Problem("{}: its place, version {} of object {}, is empty or has another version", what, where->number,
              where->model);
    return OkStatus();
  }

  Status CheckPending(const KvEntry& entry) {
    const ObjectId model = keys::FirstNumber(entry.key);
    const VersionNumber number = keys::SecondNumber(entry.key);
    const std::string what =
        fmt::format("version {} of object {} in the list of PENDING ones", number, model);
    Decoded(DecodeText(entry.value, what));
    ASSIGN_OR_RETURN(const bool there, Has(keys::Version(model, number)));
    ASSIGN_OR_RETURN(const bool alive, Has(keys::Where(model)));
    ASSIGN_OR_RETURN(const bool owned, ModelOrItsRest(model));
    if (!owned || (alive && !there)) Problem("{}: the version does not exist", what);
    return OkStatus();
  }

  // A description or a tag's value.
  Status CheckText(const KvEntry& entry, std::string_view kind) {
    const ObjectId object = keys::FirstNumber(entry.key);
    const VersionNumber number = keys::SecondNumber(entry.key);
    std::string what = fmt::format("{} {} of object {}", kind, Printable(keys::NameOf(entry.key, 2)), object);
    if (number != 0) what += fmt::format(" version {}", number);
    Decoded(DecodeText(entry.value, what));
    ASSIGN_OR_RETURN(const bool alive, Has(keys::Where(object)));
    ASSIGN_OR_RETURN(const bool owned, ModelOrItsRest(object));
    ASSIGN_OR_RETURN(const bool there, Has(keys::Version(object, number)));
    if (!owned || (alive && number != 0 && !there)) Problem("{}: the object or version does not exist", what);
    return OkStatus();
  }

  // VerifyAudit checks that every record is listed.
  Status CheckAuditIndex(const KvEntry& entry) {
    const uint64_t sequence = keys::SecondNumber(entry.key);
    Decoded(DecodeText(entry.value, fmt::format("audit record {} in the index", sequence)));
    ASSIGN_OR_RETURN(const auto start, Read<AuditStartRecord>(keys::AuditStart(), "audit start"));
    if (start && sequence < start->sequence) return OkStatus();  // moved to a file, and not removed yet
    ASSIGN_OR_RETURN(const bool there, Has(keys::Audit(sequence)));
    if (!there) Problem("audit record {} is in the index, but does not exist", sequence);
    return OkStatus();
  }

  Status CheckLease(const KvEntry& entry) {
    const std::string id(keys::NameOf(entry.key, 0));
    const std::string what = fmt::format("lease {}", Printable(id));
    Decoded(LeaseRecord::Decode(entry.value, what));
    ASSIGN_OR_RETURN(const bool ends, Has(keys::LeaseUntil(id)));
    if (!ends) Problem("{}: its end is missing", what);
    return OkStatus();
  }

  Status CheckLeaseUntil(const KvEntry& entry) {
    const std::string id(keys::NameOf(entry.key, 0));
    const std::string what = fmt::format("end of lease {}", Printable(id));
    Decoded(DecodeNumber(entry.value, what));
    ASSIGN_OR_RETURN(const bool there, Has(keys::Lease(id)));
    if (!there) Problem("{}: the lease does not exist", what);
    return OkStatus();
  }

  View& view_;
  RegistryCheck& report_;
  // If they cannot be read, which is reported, no id counts as too large.
  CountersRecord counters_{~ObjectId{0}, ~VersionId{0}};
};

}  // namespace

Result<RegistryCheck> EmbeddedRegistryImpl::CheckRecords(const Caller& caller) {
  RegistryCheck report;
  // Damage that the engine or a chain reports is a line like any other; all other errors end the check.
  const auto note = [&report](const Status& status) -> Status {
    if (status.ok() || status.error().code() != Code::kDataLoss) return status;
    report.problems.push_back(status.error().message());
    return OkStatus();
  };
  RETURN_IF_ERROR(Demand(caller, {Operation::kReclaim}));
  if (Maintenance* const engine = kv_.maintenance()) RETURN_IF_ERROR(note(engine->CheckPages()));
  if (!report.problems.empty()) return report;  // records in damaged pages are not worth reading
  RETURN_IF_ERROR(note(Inspect(caller, Operation::kReclaim, kMetastoreId,
                               [&](View& view) -> Status { return Checker(view, report).Walk(); })));
  const Result<uint64_t> audited = VerifyAudit(caller);
  if (!audited.ok()) {
    RETURN_IF_ERROR(note(audited.error()));
    report.audit_problems = 1;
  }
  RETURN_IF_ERROR(note(CheckEvents(ForUpkeep(caller))));
  return report;
}

Status EmbeddedRegistryImpl::CheckEvents(const Caller& upkeep) {
  ASSIGN_OR_RETURN(const uint64_t now, CurrentRevision(upkeep));
  uint64_t after = now > kEventsKept ? now - kEventsKept : 0;
  for (bool more = true; more;) {
    const Result<EventPage> page = Events(upkeep, after, kStep);
    if (!page.ok()) {
      // A sweep has trimmed them meanwhile.
      return page.error().code() == Code::kOutOfRange ? OkStatus() : Status(page.error());
    }
    more = page->events.size() == kStep;
    after = page->through;
  }
  return OkStatus();
}

}  // namespace modelfs::store
