// The class behind EmbeddedRegistry::Open, in one file a subject: objects.cc, tags.cc, versions.cc,
// model_copy.cc, aliases.cc, principals.cc, grants.cc, search.cc, audit.cc, audit_rotate.cc, leases.cc,
// sweep.cc, check.cc. For those files only.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cas/base/slots.h"
#include "cas/tree.h"
#include "store/access/authorizer.h"
#include "store/audit/files.h"
#include "store/audit/reader.h"
#include "store/audit/spool.h"
#include "store/embedded/embedded_registry.h"
#include "store/embedded/event_pump.h"
#include "store/embedded/version_times.h"
#include "store/records/change.h"

namespace modelfs::store {

// Events kept for watchers that were away. A mount that slept through more reads everything afresh.
inline constexpr Revision kEventsKept = 100'000;

class EmbeddedRegistryImpl final : public EmbeddedRegistry {
 public:
  EmbeddedRegistryImpl(Kv& kv, cas::BlobStore& blobs, const Clock& clock, RegistrySettings settings,
                       PrincipalDirectory* directory, EmbeddedRegistryOptions options)
      : kv_(kv),
        blobs_(blobs),
        clock_(clock),
        authorizer_(std::move(settings), directory),
        audit_files_(*options.files, std::move(options.audit_directory)),
        spool_([this](std::span<const AuditRecord> records) { return CommitAudits(records); }, clock,
               SpoolOptions(std::move(options.log))) {}

  Status Authenticate(const Caller& caller) override;
  Result<RegistrySettings> Settings(const Caller& caller) override;

  Result<ObjectInfo> Lookup(const Caller& caller, const FullName& name) override;
  Result<ObjectInfo> LookupChild(const Caller& caller, ObjectId parent, std::string_view leaf) override;
  Result<ObjectInfo> Get(const Caller& caller, ObjectId id) override;
  Result<Description> Describe(const Caller& caller, const Subject& subject) override;
  Result<Page<ObjectInfo>> List(const Caller& caller, ObjectId parent, const PageRequest& page) override;
  Result<ObjectInfo> Create(const Caller& caller, ObjectId parent, std::string_view leaf,
                            std::string_view comment) override;
  Status Delete(const Caller& caller, ObjectId id, DeleteMode mode) override;
  Result<ObjectInfo> Rename(const Caller& caller, ObjectId model, std::string_view new_leaf) override;
  Result<ObjectInfo> SetOwner(const Caller& caller, ObjectId id, std::string_view principal) override;

  Status SetDescription(const Caller& caller, const Target& target, std::string_view text) override;
  Status SetTag(const Caller& caller, const Target& target, std::string_view key, std::string_view value,
                TagMode mode) override;
  Status DeleteTag(const Caller& caller, const Target& target, std::string_view key) override;
  Result<std::map<std::string, std::string>> Tags(const Caller& caller, const Target& target) override;

  Result<VersionInfo> CommitVersion(const Caller& caller, ObjectId model, const StoredTree& content,
                                    const Lease& lease, const NewVersion& fields,
                                    std::optional<VersionNumber> expected) override;
  Status CheckNewVersion(const Caller& caller, ObjectId object, const NewVersion& fields,
                         std::optional<VersionNumber> expected) override;
  Result<VersionInfo> BeginVersion(const Caller& caller, ObjectId model, const NewVersion& fields) override;
  Result<VersionInfo> FinalizeVersion(const Caller& caller, ObjectId model, VersionNumber number,
                                      const StoredTree& content, const Lease& lease) override;
  Status FailVersion(const Caller& caller, ObjectId model, VersionNumber number,
                     std::string_view reason) override;
  Result<VersionInfo> GetVersion(const Caller& caller, ObjectId model, VersionNumber number) override;
  Result<VersionInfo> Lineage(const Caller& caller, ObjectId model, VersionNumber number) override;
  Result<VersionInfo> GetVersionById(const Caller& caller, VersionId id) override;
  Result<VersionInfo> OpenVersion(const Caller& caller, VersionId id,
                                  const std::map<std::string, std::string>& params) override;
  Result<VersionInfo> ResolveAlias(const Caller& caller, ObjectId model, std::string_view alias) override;
  Result<Page<VersionInfo>> ListVersions(const Caller& caller, ObjectId model,
                                         const PageRequest& page) override;
  Status DeleteVersion(const Caller& caller, ObjectId model, VersionNumber number) override;
  Result<VersionInfo> CopyVersion(const Caller& caller, ObjectId source, VersionNumber number,
                                  ObjectId destination) override;
  Result<ModelCopy> CopyModel(const Caller& caller, ObjectId source, ObjectId schema,
                              std::string_view leaf) override;
  Status CheckModelCopy(const Caller& caller, ObjectId source, ObjectId object) override;

  Result<MovedAlias> SetAlias(const Caller& caller, ObjectId model, std::string_view alias,
                              VersionNumber version, AliasMode mode) override;
  Status DeleteAlias(const Caller& caller, ObjectId model, std::string_view alias) override;
  Status RenameAlias(const Caller& caller, ObjectId model, std::string_view from, std::string_view to,
                     AliasMode mode) override;
  Status SwapAliases(const Caller& caller, ObjectId model, std::string_view a, std::string_view b) override;

  Result<PrincipalInfo> CreatePrincipal(const Caller& caller, PrincipalKind kind,
                                        std::string_view name) override;
  Status DeletePrincipal(const Caller& caller, std::string_view name) override;
  Result<PrincipalInfo> FindPrincipal(const Caller& caller, std::string_view name) override;
  Result<Page<PrincipalInfo>> ListPrincipals(const Caller& caller, const PageRequest& page) override;
  Status AddMember(const Caller& caller, std::string_view group, std::string_view member) override;
  Status RemoveMember(const Caller& caller, std::string_view group, std::string_view member) override;
  Result<std::vector<PrincipalInfo>> Members(const Caller& caller, std::string_view group) override;
  Result<std::vector<PrincipalInfo>> GroupsOf(const Caller& caller, std::string_view principal) override;

  Status ChangeGrants(const Caller& caller, ObjectId object,
                      const std::vector<GrantChange>& changes) override;
  Result<std::vector<GrantInfo>> Grants(const Caller& caller, ObjectId object,
                                        std::string_view principal) override;
  Result<std::vector<GrantInfo>> EffectiveGrants(const Caller& caller, ObjectId object,
                                                 std::string_view principal) override;
  Status CheckAccess(const Caller& caller, Operation operation, ObjectId object) override;
  Result<ObjectAccess> AccessOf(const Caller& caller, ObjectId object) override;
  Result<ContainerSettings> GetSettings(const Caller& caller, ObjectId container) override;
  Result<std::vector<EffectiveSettings>> GetEffectiveSettings(const Caller& caller,
                                                              ObjectId container) override;
  Status SetSettings(const Caller& caller, ObjectId container, const ContainerSettings& expected,
                     const ContainerSettings& settings) override;

  Result<Page<ObjectInfo>> SearchModels(const Caller& caller, std::string_view filter,
                                        const PageRequest& page) override;

  Result<EventPage> Events(const Caller& caller, uint64_t after_revision, size_t limit) override;
  Result<uint64_t> CurrentRevision(const Caller& caller) override;
  Result<std::unique_ptr<Subscription>> Watch(const Caller& caller, uint64_t after_revision,
                                              std::function<void()> on_event) override;
  void WaitForChange(const Caller& caller, uint64_t after_revision, const Deadline& deadline,
                     const std::stop_token& stop) override;
  Result<std::vector<AuditRecord>> Audit(const Caller& caller, const AuditQuery& query) override;
  Result<std::vector<AuditRecord>> Activity(const Caller& caller, ObjectId object, size_t limit) override;
  void RecordAudit(const Caller& caller, Operation operation, ObjectId object, const Status& decision,
                   std::map<std::string, std::string> params) override;
  Result<uint64_t> WaitForAudit(uint64_t after_sequence, const Deadline& deadline,
                                const std::stop_token& stop) override;
  Result<uint64_t> VerifyAudit(const Caller& caller) override;
  Result<Speaker> AdmitMount(const Caller& owner, std::string_view mount_point,
                             Speaker::For speaks_for) override;
  Result<AuditRotation> RotateAudit(const Caller& caller, const RotateOptions& options) override;
  Result<AuditRotation> TendAudit(const Caller& caller, Tending when) override;
  Result<Fd> HoldAuditFiles(const Caller& caller) override;
  Result<AuditSettings> GetAuditSettings(const Caller& caller) override;
  Status SetAuditSettings(const Caller& caller, const AuditSettings& settings) override;
  Status FlushAudit() override;
  Result<std::string> TakeOver(const Caller& keeper) override;

  Result<Lease> AcquireLease(const Caller& caller, std::string_view purpose, LeaseHolder holder) override;
  Status RenewLease(const Caller& caller, const Lease& lease) override;
  Status ReleaseLease(const Caller& caller, const Lease& lease) override;

  Result<Mark> MarkForSweep(const Caller& caller) override;
  Result<std::vector<std::string>> VersionsThatNeed(const Caller& caller,
                                                    const std::unordered_set<Digest>& digests) override;
  Result<RegistryCheck> CheckRecords(const Caller& caller) override;

 private:
  // The content of a version, as far as it is known without the registry.
  struct CheckedTree {
    uint64_t total_bytes = 0;
    uint64_t file_count = 0;
    Signature signature = Signature::kNone;
    TimesPlan times;
  };

  // The times of a copied version on the way into its record. A lease is a commit of its own, and few copies
  // need one: they have the source's blobs, which stay while the source does.
  struct CopiedTimes {
    VersionId source = 0;  // the version that `plan` is about
    std::optional<TimesPlan> plan;
    std::optional<Lease> lease;
    bool needs_lease = false;  // DecideCopy returned kAborted: it would have to store other times
  };

  // The request of a call. The audit record of a refusal is made of it, as the record of a success would be.
  struct Asked {
    Operation operation = Operation::kUse;
    ObjectId object = kMetastoreId;
    Change::Params params = {};  // beside the object's name; `body` may add more
    std::string action = {};     // if it is not the operation's (audit/actions.h); {}: the object's noun
    std::string full_name = {};  // if the request has a name, or makes it: `object` is not known then
  };

  // Runs `body(change)` on a fresh snapshot, commits the change, and returns the result of `body`. Starts
  // again if another commit came in between. An error of `body` ends it, and nothing is changed then.
  template <typename Body>
  auto Mutate(const Caller& caller, const Asked& asked, Body body) -> decltype(body(std::declval<Change&>()));
  // The same without the record of a refusal, which may have to wait for the turn and for snapshots to end.
  // Sets `refused` if the authorizer refused something else than the request itself.
  template <typename Body>
  auto TryMutate(const Caller& caller, Operation operation, ObjectId object, Body body, Refused& refused)
      -> decltype(body(std::declval<Change&>()));
  // As Mutate, for `body(change, times)` which copies a version (AddCopy).
  template <typename Body>
  auto MutateCopy(const Caller& caller, const Asked& asked, ObjectId source, VersionNumber number,
                  ObjectId destination, Body body)
      -> decltype(body(std::declval<Change&>(), std::declval<CopiedTimes&>()));
  // kPermissionDenied if the caller comes on a word that the registry has not admitted.
  static Status CheckCredential(const Caller& caller);
  // The engine's patience, or the caller's if that ends earlier.
  Patience PatienceOf(const Caller& caller) const;
  // The loop's end: kAborted if another attempt may be made, after a pause.
  // kBusy, kCancelled.
  Result<Slots::Slot> TakeTurn(const Patience& patience);
  Status CommitAttempt(const KvTransaction& transaction, int attempt);

  template <typename Body>
  auto Inspect(const Caller& caller, const Asked& asked, Body body) -> decltype(body(std::declval<View&>()));
  template <typename Body>
  auto Inspect(const Caller& caller, Operation operation, ObjectId object, Body body)
      -> decltype(body(std::declval<View&>())) {
    return Inspect(caller, Asked{operation, object}, std::move(body));
  }
  template <typename Body>
  auto TryInspect(const Caller& caller, Operation operation, ObjectId object, Body body, Refused& refused)
      -> decltype(body(std::declval<View&>()));

  // As CheckAccess, for a caller that is about to do it: a refusal is recorded.
  Status Demand(const Caller& caller, const Asked& asked) {
    return Inspect(caller, asked, [](View&) { return OkStatus(); });
  }

  // events.cc
  // Clears in an event what the caller may not know; false if that is all of it.
  Result<bool> Disclose(View& view, const Caller& caller, Event& event) const;
  // kSeen: its name, owner, description and tags; kAll: also its versions and aliases.
  enum class Visible : uint8_t { kHidden, kSeen, kAll };
  Result<Visible> VisibleTo(View& view, const Caller& caller, ObjectId object, ObjectId parent) const;

  // audit.cc
  // Records it where it is a refusal: for want of a right, or, of a change, by a rule.
  enum class Call { kQuestion, kChange };
  void NoteFailure(Call call, const Caller& caller, const Asked& asked, const Refused& refused,
                   const Error& told);
  void Record(const Caller& caller, const Asked& asked, const Status& decision,
              AuditSpool::Repeats repeats = AuditSpool::Repeats::kCounted);
  // Sets the record's object to the one of that name, or to the innermost there is on the way to it.
  static ObjectKind NameAsAsked(View& view, const std::string& full_name, AuditRecord& record);
  // Checks the files that hold nothing of the log's moved part. Answers those that a killed rotation left,
  // which hold what the registry holds too.
  //   kDataLoss   another one is there
  Result<std::vector<AuditFile>> CheckOtherAuditFiles();
  Result<bool> HoldsTheSame(Snapshot& snapshot, const AuditFile& file);
  // Whether opens are counted or recorded each, by the settings of at most a second ago.
  AuditSpool::Repeats RepeatsOfOpens();
  Result<size_t> CommitAudits(std::span<const AuditRecord> records);
  static AuditSpool::Options SpoolOptions(std::shared_ptr<spdlog::logger> log) {
    AuditSpool::Options options;
    options.log = std::move(log);
    return options;
  }

  // audit_rotate.cc
  Result<AuditExtent> ReadExtent();
  static Result<AuditSettings> ReadAuditSettings(Snapshot& snapshot);
  // The records that the settings ask to be moved now; nothing if there are none.
  Result<std::optional<RotateOptions>> DueRotation(Tending when);
  Result<uint64_t> LastToRotate(const AuditExtent& extent, const RotateOptions& options);
  // With the lock of the rotation held.
  Result<AuditRotation> MoveAudit(const Caller& caller, const AuditExtent& extent, uint64_t last);
  // The records from `start` to `last` go to a file.
  struct MovedAudit {
    AuditStartRecord behind;     // the log continues there
    uint64_t counted_bytes = 0;  // of AuditHeadRecord::kept_bytes
  };
  Result<MovedAudit> WriteAuditFile(const AuditExtent& extent, const AuditStartRecord& start, uint64_t last);
  // Deletes from the registry the records that are in files.
  Status DeleteRotated(uint64_t start);

  // principals.cc
  Result<bool> IsAdmin(View& view, const Caller& caller);
  // Whether the keeper of the registry's files is a metastore admin, as the view sees it.
  Result<bool> IsKeeperAdmin(View& view, const RegistrySettings& settings);
  // kFailedPrecondition if the keeper is not an admin after the change: nobody could give the rights back
  // then.
  Status CheckKeeperIsAdmin(Change& change);
  // The same only if this change would end it. A change of the host's groups is no reason to refuse the
  // rights of others.
  Status CheckKeeperStaysAdmin(Change& change);
  // Removes the memberships that a deleted principal left, in steps; safe to run twice at once.
  Status RemoveMemberships(PrincipalId deleted);
  Status RemoveMembershipsOfDeleted();

  // grants.cc
  Result<std::vector<GrantInfo>> GrantsAt(View& view, const Caller& caller, ObjectId object,
                                          std::string_view principal, bool inherited);
  // Keeps in a record of granted privileges the part about the caller and its groups; false if there is none.
  static bool KeepOwnChanges(const Identity& self, AuditRecord& record);
  static Result<ContainerSettings> SettingsAt(View& view, ObjectId container);
  // The settings that a model's containers impose on it.
  struct Rules {
    struct Limit {
      uint64_t most = 0;
      ObjectId by = kMetastoreId;
    };
    std::optional<ObjectId> signature_required_by;  // the container; kMetastoreId: the registry
    std::optional<Limit> max_models;
    std::optional<Limit> max_versions;
    std::map<std::string, std::vector<PrincipalId>> protected_aliases;  // by folded name
  };
  // Of the containers together, from the outermost on.
  Result<Rules> RulesIn(View& view, const std::vector<ObjectId>& containers);
  Result<Rules> RulesFor(View& view, const StoredObject& model);
  // kResourceExhausted if a schema holds as many models, or a model as many versions, as its limit allows.
  Status CheckRoomIn(View& view, const StoredObject& holder);
  // kPermissionDenied if one of the aliases is protected and the caller may not move it.
  Status CheckProtected(View& view, const Caller& caller, const StoredObject& model,
                        const std::vector<std::string_view>& aliases);
  Status CheckProtected(View& view, const Caller& caller, const Rules& rules,
                        const std::vector<std::string_view>& aliases);

  // objects.cc
  enum class Detail { kThin, kFull };  // kThin: ObjectInfo::browse_only
  // Puts a new object, with its place, name and kind, into its container, as the caller's own, with an event.
  // The caller has checked that the name is free.
  Status AddObject(Change& change, StoredObject& container, StoredObject& object, std::string_view comment);
  static Result<ObjectInfo> InfoOf(View& view, const StoredObject& object, FullName name, Detail detail);
  // As far as the caller may know it; kPermissionDenied where that is nothing. Of an object that the caller
  // named, or was checked for seeing.
  Result<ObjectInfo> FullInfoOf(View& view, const Caller& caller, const StoredObject& object);
  // The bodies of Get, Lookup and LookupChild, and what the audit log says of a refused Describe.
  Result<ObjectInfo> FindById(View& view, const Caller& caller, ObjectId id);
  Result<ObjectInfo> FindByName(View& view, const Caller& caller, const FullName& name);
  Result<ObjectInfo> FindChild(View& view, const Caller& caller, ObjectId parent, std::string_view leaf);
  static Asked AskedOf(const Subject& subject);
  // How much of a child the caller may see; nothing: not that it is there.
  Result<std::optional<Detail>> DetailOf(View& view, const Caller& caller, const Visibility& visible,
                                         ObjectId child);
  // Those of the objects that are in `parent`, by name.
  static Result<std::vector<StoredObject>> ChildrenOf(View& view, ObjectId parent,
                                                      const std::unordered_set<ObjectId>& ids);

  // search.cc
  // Calls `visit(child, detail)` for the children of `parent` that the caller may see, by name from `from`
  // on, until it returns false. Returns whether it reached the end.
  template <typename Visit>
  Result<bool> EachVisibleChild(View& view, const Caller& caller, ObjectId parent, std::string_view from,
                                Visit visit);

  // versions.cc
  static Result<VersionInfo> InfoOf(View& view, const StoredObject& model, VersionNumber number,
                                    const VersionRecord& record);
  // InfoOf, as the caller may know it.
  Result<VersionInfo> InfoFor(View& view, const Caller& caller, const StoredObject& model,
                              VersionNumber number, const VersionRecord& record);
  // With the description; the caller was checked.
  Result<VersionInfo> FullVersion(View& view, const Caller& caller, ObjectId model, VersionNumber number);
  // A hidden object is kNotFound, in the same words as an absent one; the view keeps the refusal for the
  // audit log (View::NoteHidden).
  Result<ObjectInfo> LookupIn(View& view, const Caller& caller, const FullName& name);
  // One step of it: the child of `container` with the last part of `name`. kPermissionDenied if the caller
  // may not enter the container, whatever it holds.
  Result<StoredObject> VisibleChild(View& view, const Caller& caller, const StoredObject& container,
                                    const FullName& name);
  Result<CheckedTree> CheckTree(const StoredTree& content);
  // For a call in progress: a refusal is recorded.
  Result<CheckedTree> CheckTree(const Caller& caller, const Asked& asked, const StoredTree& content);
  // Gives `record` the model's next number, or the one that was kept for it (a number below the next that no
  // version had), and the fields that a new version has.
  Result<VersionNumber> AddVersion(Change& change, StoredObject& model, VersionRecord& record,
                                   const NewVersion& fields,
                                   std::optional<VersionNumber> kept = std::nullopt);
  // The one place that copies a version's record, in a MutateCopy. Checks the right to read the source, that
  // it is READY, and what the destination's containers ask for; the right to add to the destination is the
  // caller's to check.
  Result<VersionInfo> AddCopy(Change& change, const StoredObject& source, VersionNumber number,
                              StoredObject& destination, std::optional<VersionNumber> kept,
                              CopiedTimes& times);
  // The signature in the tree's MLmodel; kFailedPrecondition if it is not valid.
  Result<Signature> CheckSignature(const cas::Tree& tree);
  // kFailedPrecondition if the model's containers ask for a signature and it has none.
  Status CheckSignaturePolicy(View& view, const StoredObject& model, Signature signature);
  static Status CheckSignaturePolicy(const Rules& rules, Signature signature);
  // Row 11 of the matrix: the caller that began it, or the model's owner.
  Status CheckFinalizer(View& view, const Caller& caller, const StoredObject& model,
                        const VersionRecord& version);
  // As FailVersion, for a caller that may `operation` on `object`.
  Status FailPending(const Caller& caller, Operation operation, ObjectId object, ObjectId model,
                     VersionNumber number, std::string_view reason);
  // Gives `record` the tree and, having decided on them, the files' times.
  Status MakeReady(Change& change, StoredObject& model, VersionRecord& record, const Digest& tree,
                   CheckedTree& checked, const Lease& lease);

  // version_commit.cc
  // Reads the model's other versions for DecideCommit, before the transaction that others wait for. Nothing
  // is read of a model that does not exist.
  Status PrepareTimes(ObjectId model, TimesPlan& plan);
  // The times of a version that becomes READY now, and what the model's record says of them. Other times than
  // those that are stored are stored in `epoch`; without one, kAborted.
  Result<VersionCommit> DecideCommit(Change& change, StoredObject& model, TimesPlan& plan,
                                     std::optional<cas::Epoch> epoch);
  // As PrepareTimes, for a copy. Refusals are left to the transaction.
  Status PrepareCopy(const Caller& caller, ObjectId source, VersionNumber number, ObjectId destination,
                     CopiedTimes& times);
  Result<VersionCommit> DecideCopy(Change& change, const VersionRecord& source, StoredObject& destination,
                                   CopiedTimes& times);
  Result<TimesPlan> TimesOfCopy(const VersionRecord& source);

  // model_copy.cc
  struct CopyPlan {
    std::optional<StoredObject> destination;  // if it exists
    bool whole = false;                       // with numbers, aliases, tags and description
    std::vector<VersionNumber> versions;      // of the source, that are still to be copied
  };
  // The steps of a copy, all of them checked. `object` as CheckModelCopy's.
  Result<CopyPlan> PlanCopy(View& view, const Caller& caller, ObjectId source, ObjectId object);
  Result<CopyPlan> CheckedPlan(const Caller& caller, ObjectId source, ObjectId object,
                               std::optional<std::string_view> leaf);
  // Makes the destination. kAlreadyExists if another caller did meanwhile.
  Result<ObjectId> BeginCopy(const Caller& caller, ObjectId source, ObjectId schema, std::string_view leaf);
  // Nothing if it was copied, or deleted from the source, meanwhile.
  Result<std::optional<VersionNumber>> CopyStep(const Caller& caller, ObjectId source, VersionNumber number,
                                                ObjectId destination, bool whole);
  Status FinishCopy(const Caller& caller, ObjectId destination);

  // aliases.cc
  // Sets or moves an alias: all of SetAlias but the right to do it, and the event.
  Result<MovedAlias> PointAlias(Change& change, StoredObject& model, std::string_view alias,
                                VersionNumber version, AliasMode mode);

  // lineage.cc
  // The recorded origin of a version, with its recorder and time.
  struct Source {
    std::string text;
    std::optional<ObjectId> model;  // as VersionRecord::source_model
    Stamp recorded;
  };
  // The model that a source names at this moment, 0 for none that its writer may see.
  Result<ObjectId> SourceModel(Snapshot& snapshot, const Caller& caller, std::string_view source);
  // The source as the caller may know it; nothing: it is masked.
  Result<std::optional<std::string>> SourceFor(View& view, const Caller& caller, const Source& source);
  Result<bool> MayKnowLostParent(View& view, const Caller& caller, const Stamp& recorded);
  // Whether it was this caller, and not an earlier principal of the same name.
  static Result<bool> IsBy(View& view, const Stamp& stamp, const Caller& caller);
  static void AuditCreation(Change& change, const FullName& name, ObjectId model, VersionNumber number,
                            const VersionRecord& record, const NewVersion& fields);
  // Of a model that is made as a copy.
  static void AuditModelCopy(Change& change, const StoredObject& copy, const FullName& name,
                             const StoredObject& source, const FullName& source_name,
                             std::string_view comment, const std::map<std::string, std::string>& tags);
  // Clears in a record of a version's creation what the caller may not know of its source.
  Status MaskSource(View& view, const Caller& caller, AuditRecord& record);

  // leases.cc
  static Status ExpectLease(Change& change, const Lease& lease);
  // The record of a lease that the caller holds. kAborted if it has ended, kPermissionDenied if another
  // principal holds it.
  Result<LeaseRecord> HeldBy(const Caller& caller, const Lease& lease);
  Status EndDeadLeases();

  // sweep.cc
  // Removes what a deleted model's versions left, in steps; safe to run twice at once.
  Status FinishDeletion(ObjectId model);
  Status FinishDeletions();
  Status AgePendingVersions(const Caller& caller);

  // check.cc
  Status CheckEvents(const Caller& upkeep);

  Kv& kv_;
  cas::BlobStore& blobs_;
  const Clock& clock_;
  const Authorizer authorizer_;
  // One mutation of this process at a time: the engine would queue them anyway, and the audit chain's head
  // makes any two conflict. The one lock that is held across a commit (README, "Decisions").
  Slots turn_{1};
  EventPump event_pump_{kv_};
  AuditFiles audit_files_;
  Mutex opens_mu_;
  std::optional<int64_t> opens_read_ms_ GUARDED_BY(opens_mu_);  // since boot
  AuditSettings::Opens opens_ GUARDED_BY(opens_mu_) = AuditSettings::Opens::kCounted;
  AuditSpool spool_;  // last: it still commits while it goes
};

template <typename Body>
auto EmbeddedRegistryImpl::Mutate(const Caller& caller, const Asked& asked, Body body)
    -> decltype(body(std::declval<Change&>())) {
  Refused refused{asked.operation, asked.object, {}};
  auto answer = TryMutate(caller, asked.operation, asked.object, std::move(body), refused);
  if (!answer.ok()) NoteFailure(Call::kChange, caller, asked, refused, answer.error());
  return answer;
}

template <typename Body>
auto EmbeddedRegistryImpl::TryMutate(const Caller& caller, Operation operation, ObjectId object, Body body,
                                     Refused& refused) -> decltype(body(std::declval<Change&>())) {
  RETURN_IF_ERROR(CheckCredential(caller));
  const Patience patience = PatienceOf(caller);
  ASSIGN_OR_RETURN(const Slots::Slot turn, TakeTurn(patience));
  for (int attempt = 0;; ++attempt) {
    ASSIGN_OR_RETURN(std::unique_ptr<Snapshot> snapshot, kv_.Read());
    Change change(*snapshot, clock_.NowMs(), caller);
    RETURN_IF_ERROR(authorizer_.Check(change, caller, operation, object));
    auto answer = body(change);
    if (change.refused()) refused = *change.refused();
    if (!answer.ok() || !change.HasWork()) return answer;
    ASSIGN_OR_RETURN(KvTransaction transaction, change.Finish());
    transaction.patience = patience;
    snapshot.reset();  // never held across a commit
    const Status committed = CommitAttempt(transaction, attempt);
    if (committed.ok()) return answer;
    if (committed.error().code() != Code::kAborted) return committed.error();
  }
}

template <typename Body>
auto EmbeddedRegistryImpl::MutateCopy(const Caller& caller, const Asked& asked, ObjectId source,
                                      VersionNumber number, ObjectId destination, Body body)
    -> decltype(body(std::declval<Change&>(), std::declval<CopiedTimes&>())) {
  CopiedTimes times;
  RETURN_IF_ERROR(PrepareCopy(caller, source, number, destination, times));
  const auto copy = [&](Change& change) { return body(change, times); };
  Refused refused{asked.operation, asked.object};
  auto answer = TryMutate(caller, asked.operation, asked.object, copy, refused);
  if (!answer.ok() && times.needs_lease) {
    ASSIGN_OR_RETURN(times.lease, AcquireLease(caller, "copy a version", LeaseHolder::kThisProcess));
    answer = TryMutate(caller, asked.operation, asked.object, copy, refused);
    ReleaseLease(caller, *times.lease).IgnoreError("it ends by itself");
  }
  if (!answer.ok()) NoteFailure(Call::kChange, caller, asked, refused, answer.error());
  return answer;
}

template <typename Body>
auto EmbeddedRegistryImpl::Inspect(const Caller& caller, const Asked& asked, Body body)
    -> decltype(body(std::declval<View&>())) {
  Refused refused{asked.operation, asked.object, {}};
  auto answer = TryInspect(caller, asked.operation, asked.object, std::move(body), refused);
  if (!answer.ok()) NoteFailure(Call::kQuestion, caller, asked, refused, answer.error());
  return answer;
}

template <typename Body>
auto EmbeddedRegistryImpl::TryInspect(const Caller& caller, Operation operation, ObjectId object, Body body,
                                      Refused& refused) -> decltype(body(std::declval<View&>())) {
  RETURN_IF_ERROR(CheckCredential(caller));
  ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
  View view(*snapshot);
  RETURN_IF_ERROR(authorizer_.Check(view, caller, operation, object));
  auto answer = body(view);
  if (view.refused()) refused = *view.refused();
  return answer;
}

// The operation of making a child in an object of this kind.
Operation CreateOperation(ObjectKind holder);

// 32 hexadecimal digits from the kernel: ids that nobody can guess or meet twice.
std::string RandomHex128();

// Page tokens (store/embedded/page_token.cc): the end of the last page, and its query.
std::string EncodePageToken(std::string_view query, std::string_view position);
// kInvalidArgument for a token of another query, or none of ours.
Result<std::string> DecodePageToken(std::string_view query, std::string_view token);
// The page's limit, bounded; 0 asks for the default.
size_t PageLimit(const PageRequest& page);

}  // namespace modelfs::store
