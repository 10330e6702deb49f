// Reading the registry's records, and gathering one change to them.
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

// What somebody may not do: for the audit log.
struct Refused {
  Operation operation = Operation::kUse;
  ObjectId object = kMetastoreId;
  std::optional<Error> hidden = {};  // the refusal, where the caller is told that there is no such object
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
  // As Get, of what a change does not rely on by itself.
  virtual Result<std::optional<KvEntry>> Peek(const std::string& key) { return snapshot_->Get(key); }

  // kNotFound: no such object any more.
  Result<StoredObject> Object(ObjectId id);
  // kNotFound names the child.
  Result<StoredObject> Child(ObjectId parent, std::string_view name);
  // By its full name, whether or not anybody may see it; nothing where there is none.
  Result<std::optional<StoredObject>> Find(const FullName& name);
  // kNotFound, or kInvalidArgument where the object is not a model.
  Result<StoredObject> Model(ObjectId id);
  Result<VersionRecord> Version(const StoredObject& model, VersionNumber number);
  // The newest READY version with a smaller number. A change relies on it by the model's record, which
  // everyone writes who makes a version READY or deletes one.
  Result<std::optional<NumberedVersion>> ReadyBelow(const StoredObject& model, VersionNumber below);
  // Never part of what a change relies on: the names of containers do not change.
  Result<FullName> NameOf(const StoredObject& object);
  // The objects under which the index lists an audit record: its own, and those that held it. Never part of
  // what a change relies on.
  Result<std::vector<ObjectId>> IndexedUnder(const AuditRecord& record);
  Result<std::string> Description(ObjectId object, VersionNumber version);
  Result<std::map<std::string, std::string>> Tags(ObjectId object, VersionNumber version);

  // Principals, and who owns what by its name, are covered by the access epoch, which every decision about a
  // caller reads: a change does not rely on each of their records.
  // kNotFound: there was never such a principal.
  Result<PrincipalInfo> Principal(PrincipalId id);
  // By name in any case; nothing where there is none, or it was deleted.
  Result<std::optional<PrincipalInfo>> FindPrincipal(std::string_view name);
  // Which groups it is directly in, and who is directly in a group; also those deleted, whose memberships are
  // still to be removed.
  Result<std::vector<PrincipalId>> GroupsAround(PrincipalId member);
  Result<std::vector<PrincipalId>> MembersIn(PrincipalId group);
  // "" where the principal was deleted or never was. Never part of what a change relies on.
  Result<std::string> NameOfPrincipal(PrincipalId id);
  // The owner, also of a record that knows only a name; kNobodyId where nobody is that any more.
  Result<PrincipalId> OwnerOf(const ObjectRecord& record);
  Result<GrantsRecord> Grants(ObjectId object);
  // What is set on this very container.
  Result<ContainerSettingsRecord> SettingsOf(ObjectId container);

  // What was refused last on this view, where that was not what was asked for first.
  const std::optional<Refused>& refused() const { return refused_; }
  void NoteRefused(const Refused& refused) { refused_ = refused; }
  // What was refused last is hidden from the caller, who gets kNotFound instead of `refusal`.
  void NoteHidden(const Error& refusal) {
    if (refused_) refused_->hidden = refusal;
  }

 private:
  Result<std::vector<PrincipalId>> SecondNumbers(std::string begin, const std::string& end);

  Snapshot* snapshot_;
  std::map<PrincipalId, std::string> principal_names_;
  std::optional<Refused> refused_;
};

// One mutation under way: every Get is also an expectation, so that the commit fails where anything that
// the change relied on has moved; it answers what the change itself has put. At most one event.
class Change : public View {
 public:
  Change(Snapshot& snapshot, int64_t now_ms, const Caller& caller)
      : View(snapshot), now_ms_(now_ms), caller_(&caller) {}

  Result<std::optional<KvEntry>> Get(const std::string& key) override;
  Result<std::optional<KvEntry>> Peek(const std::string& key) override;
  void Put(const std::string& key, std::string value) { writes_[key] = std::move(value); }
  void Delete(const std::string& key) { writes_[key] = std::nullopt; }

  void PutObject(const StoredObject& object);
  // As PutObject, and says who changed it.
  void TouchObject(StoredObject& object);
  void PutVersion(const StoredObject& model, VersionNumber number, const VersionRecord& record);

  Result<ObjectId> NextObjectId();
  Result<VersionId> NextVersionId();

  // Makes a principal's record. The caller has checked the name and that it is free.
  Result<PrincipalInfo> AddPrincipal(PrincipalKind kind, PrincipalSource source, std::string_view name);
  // Whatever was worked out about access is void after this change.
  void AccessChanges() { Put(keys::AccessEpoch(), EncodeText("")); }

  using Params = std::map<std::string, std::string>;
  void Audit(std::string_view action, const FullName& name, ObjectId object, Params params);
  // A record of something else than this change, but for its place in the chain.
  void Audit(AuditRecord record) { audits_.push_back(std::move(record)); }
  void Tell(EventKind kind, const StoredObject& object);
  Event& event() { return *event_; }  // after Tell
  // That it has changed who there is, or who is in which group.
  void TellPrincipals() {
    event_.emplace();
    event_->time_ms = now_ms_;
    event_->kind = EventKind::kPrincipalsChanged;
  }
  // kPart: what makes room that is worth more than the record that it leaves, or takes a right away. kAll:
  // what nobody but a metastore admin can do, so that nobody else can use up what taking rights away needs.
  void SetReserve(Reserve reserve) { reserve_ = reserve; }
  // Nothing is to be changed after all.
  void Clear() {
    writes_.clear();
    audits_.clear();
    event_.reset();
  }

  int64_t now_ms() const { return now_ms_; }
  const Caller& caller() const { return *caller_; }
  Stamp stamp() const { return {now_ms_, caller_->principal}; }

  // False where nothing was put, deleted or audited.
  bool HasWork() const { return !writes_.empty() || !audits_.empty(); }
  // With the audit records chained on.
  Result<KvTransaction> Finish();

 private:
  // Gives the audit records their places, and writes them, their index entries and the chain's head.
  Status ChainAudits();

  int64_t now_ms_;
  const Caller* caller_;
  // What this change has put for a key, in place of what was read.
  std::optional<KvEntry> OrWritten(const std::string& key, std::optional<KvEntry> read) const;

  std::map<std::string, Revision> expected_;
  std::map<std::string, std::optional<std::string>> writes_;
  std::vector<AuditRecord> audits_;
  std::optional<Event> event_;
  Reserve reserve_ = Reserve::kNone;
};

}  // namespace modelfs::store
