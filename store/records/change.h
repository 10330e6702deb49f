// Reads the registry's records, and collects one change to them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cas/base/result.h"
#include "store/kv/kv.h"
#include "store/records/keys.h"
#include "store/records/records.h"

namespace modelfs::store {

// An object and where it is stored.
struct StoredObject {
  ObjectId parent = 0;
  std::string name;
  ObjectRecord record;
};

// An operation that was refused to a caller: for the audit log.
struct Refused {
  Operation operation = Operation::kUse;
  ObjectId object = kMetastoreId;
  std::optional<Error> hidden = {};  // the refusal, if the caller gets kNotFound instead
};

struct NumberedVersion {
  VersionNumber number = 0;
  VersionRecord record;
};

// Records as of one snapshot. One thread at a time.
class View {
 public:
  explicit View(Snapshot& snapshot) : snapshot_(&snapshot) {}
  virtual ~View() = default;
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  Snapshot& snapshot() { return *snapshot_; }
  virtual Result<std::optional<KvEntry>> Get(const std::string& key) { return snapshot_->Get(key); }
  // As Get, for a record that a change does not rely on by itself.
  virtual Result<std::optional<KvEntry>> Peek(const std::string& key) { return snapshot_->Get(key); }
  // As Get and as Peek, for several keys in one read.
  virtual Result<std::vector<std::optional<KvEntry>>> GetMany(const std::vector<std::string>& keys) {
    return snapshot_->GetMany(keys);
  }
  virtual Result<std::vector<std::optional<KvEntry>>> PeekMany(const std::vector<std::string>& keys) {
    return snapshot_->GetMany(keys);
  }

  // kNotFound: no such object any more.
  Result<StoredObject> Object(ObjectId id);
  // kNotFound names the child.
  Result<StoredObject> Child(ObjectId parent, std::string_view name);
  // By its full name, whether or not any caller may see it; nullopt if no object has the name.
  Result<std::optional<StoredObject>> Find(const FullName& name);
  // kNotFound, or kInvalidArgument if the object is not a model.
  Result<StoredObject> Model(ObjectId id);
  Result<VersionRecord> Version(const StoredObject& model, VersionNumber number);
  // The newest READY version with a smaller number. A change relies on it by the model's record: every change
  // that makes a version READY or deletes one writes that record.
  Result<std::optional<NumberedVersion>> ReadyBelow(const StoredObject& model, VersionNumber below);
  // A change never relies on it: the names of containers do not change.
  Result<FullName> NameOf(const StoredObject& object);
  // The objects under which the index lists an audit record: its own, and those that contain it. A change
  // never relies on it.
  Result<std::vector<ObjectId>> IndexedUnder(const AuditRecord& record);
  Result<std::string> Description(ObjectId object, VersionNumber version);
  Result<std::map<std::string, std::string>> Tags(ObjectId object, VersionNumber version);

  // The access epoch covers principals, and owners that are known by name only. Every decision about a caller
  // reads the epoch, so a change does not rely on each of their records.
  // kNotFound: no principal ever had this id.
  Result<PrincipalInfo> Principal(PrincipalId id);
  // In the order of the ids, in one read.
  Result<std::vector<PrincipalInfo>> Principals(const std::vector<PrincipalId>& ids);
  // By name in any case; nullopt if no principal has the name, or it was deleted.
  Result<std::optional<PrincipalInfo>> FindPrincipal(std::string_view name);
  // The groups that directly contain a principal, and the direct members of a group. Both include deleted
  // principals, as long as their memberships are not removed.
  Result<std::vector<PrincipalId>> GroupsAround(PrincipalId member);
  Result<std::vector<PrincipalId>> MembersIn(PrincipalId group);
  // "" if the principal was deleted or never existed. A change never relies on it.
  Result<std::string> NameOfPrincipal(PrincipalId id);
  // The owner, also of a record that knows only a name; kNobodyId if no principal has that name any more.
  Result<PrincipalId> OwnerOf(const ObjectRecord& record);
  Result<GrantsRecord> Grants(ObjectId object);
  // In the order of the objects, in one read.
  Result<std::vector<GrantsRecord>> GrantsOf(const std::vector<ObjectId>& objects);
  // The settings of this container itself, without those of its containers.
  Result<ContainerSettingsRecord> SettingsOf(ObjectId container);

  // The last refusal on this view, if it is not of the operation that the caller asked for.
  const std::optional<Refused>& refused() const { return refused_; }
  void NoteRefused(const Refused& refused) { refused_ = refused; }
  // The object of the last refusal is hidden from the caller, which gets kNotFound instead of `refusal`.
  void NoteHidden(const Error& refusal) {
    if (refused_) refused_->hidden = refusal;
  }

 private:
  Result<std::vector<PrincipalId>> SecondNumbers(std::string begin, const std::string& end);

  Snapshot* snapshot_;
  std::map<PrincipalId, std::string> principal_names_;
  std::optional<Refused> refused_;
};

// One mutation under way. Every Get is also an expectation: the commit fails if anything that the change
// relied on was changed meanwhile. Get returns this change's own writes. At most one event.
class Change : public View {
 public:
  Change(Snapshot& snapshot, int64_t now_ms, const Caller& caller)
      : View(snapshot), now_ms_(now_ms), caller_(&caller) {}

  Result<std::optional<KvEntry>> Get(const std::string& key) override;
  Result<std::optional<KvEntry>> Peek(const std::string& key) override;
  Result<std::vector<std::optional<KvEntry>>> GetMany(const std::vector<std::string>& keys) override;
  Result<std::vector<std::optional<KvEntry>>> PeekMany(const std::vector<std::string>& keys) override;
  void Put(const std::string& key, std::string value) { writes_[key] = std::move(value); }
  void Delete(const std::string& key) { writes_[key] = std::nullopt; }

  void PutObject(const StoredObject& object);
  // As PutObject, and records the caller and the time of the change.
  void TouchObject(StoredObject& object);
  void PutVersion(const StoredObject& model, VersionNumber number, const VersionRecord& record);

  Result<ObjectId> NextObjectId();
  Result<VersionId> NextVersionId();

  // Makes a principal's record. The caller has checked the name and that it is free.
  Result<PrincipalInfo> AddPrincipal(PrincipalKind kind, PrincipalSource source, std::string_view name);
  // This change voids all cached decisions about access.
  void AccessChanges() { Put(keys::AccessEpoch(), EncodeText("")); }

  using Params = std::map<std::string, std::string>;
  void Audit(std::string_view action, const FullName& name, ObjectId object, Params params);
  // A record of something other than this change; only its place in the chain is set here.
  void Audit(AuditRecord record) { audits_.push_back(std::move(record)); }
  void Tell(EventKind kind, const StoredObject& object);
  Event& event() { return *event_; }  // after Tell
  // The event says that principals, or their memberships, have changed.
  void TellPrincipals() {
    event_.emplace();
    event_->time_ms = now_ms_;
    event_->kind = EventKind::kPrincipalsChanged;
  }
  // kPart: for a change that frees more space than its record takes, or takes a right away. kAll: for a
  // change that only a metastore admin can make. So no other caller can use up the space that taking rights
  // away needs.
  void SetReserve(Reserve reserve) { reserve_ = reserve; }
  // Drops all writes, records and the event.
  void Clear() {
    writes_.clear();
    audits_.clear();
    event_.reset();
  }

  int64_t now_ms() const { return now_ms_; }
  const Caller& caller() const { return *caller_; }
  Stamp stamp() const { return {now_ms_, caller_->principal}; }

  // False if nothing was put, deleted or audited.
  bool HasWork() const { return !writes_.empty() || !audits_.empty(); }
  // The transaction, with the audit records chained on.
  Result<KvTransaction> Finish();

 private:
  // Gives the audit records their places in the chain. Writes them, their index entries and the chain's head.
  Status ChainAudits();

  int64_t now_ms_;
  const Caller* caller_;
  // The value that this change has put for a key, instead of the one that was read.
  std::optional<KvEntry> OrWritten(const std::string& key, std::optional<KvEntry> read) const;

  std::map<std::string, Revision> expected_;
  std::map<std::string, std::optional<std::string>> writes_;
  std::vector<AuditRecord> audits_;
  std::optional<Event> event_;
  Reserve reserve_ = Reserve::kNone;
};

}  // namespace modelfs::store
