// The registry: catalogs, schemas, models and their versions, aliases, tags, descriptions, owners,
// events and audit. What both front ends and the command line speak to.
//
// Objects have ids that never change and are never reused, and names that can; calls take ids, so that
// a rename between two calls changes nothing about what is acted on. Every change is one transaction:
// authorisation, change, audit record and event, all or none, durable when the call returns.
//
// Thread-safe. Calls may wait for the disk; no caller holds a lock across one. Messages name the object.
// Errors that any call may answer, besides its own:
//   kNotFound            no such object (also: no such parent, version, alias, tag)
//   kPermissionDenied    the caller may not; the message says what would allow it
//   kInvalidArgument     a name, key or value breaks a rule of store/names.h
//   kNoSpace             the disk is full; nothing was changed
//   kDataLoss            a record failed its checksum
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/digest.h"
#include "cas/base/result.h"
#include "cas/blob_store.h"
#include "store/caller.h"
#include "store/names.h"
#include "store/operation.h"
#include "store/principal.h"
#include "store/privilege.h"

namespace modelfs::store {

// Limits (docs/semantics.md): each is refused with kResourceExhausted and named in the message.
inline constexpr size_t kMaxAliasesPerModel = 10;
inline constexpr size_t kMaxTagsPerObject = 50;
inline constexpr size_t kMaxTagValueCharacters = 1000;
inline constexpr size_t kMaxDescriptionCharacters = 65536;

using ObjectId = uint64_t;  // 1.. ; counts every catalog, schema and model ever made in this registry
inline constexpr ObjectId kMetastoreId = 0;
using VersionId = uint64_t;  // 1.. ; counts every version ever made in this registry

struct AliasInfo {
  std::string name;
  VersionNumber version = 0;
  VersionId version_id = 0;
  uint8_t slot = 0;  // 0..9, unique among the model's aliases for as long as the alias exists
  int64_t updated_at_ms = 0;
};

// A catalog, schema or model (or the metastore itself).
struct ObjectInfo {
  ObjectId id = 0;
  ObjectKind kind = ObjectKind::kMetastore;
  ObjectId parent = 0;
  std::string name;    // the leaf
  FullName full_name;  // no parts for the metastore
  std::string owner;   // the principal's name; empty where it was deleted
  PrincipalId owner_id = kNobodyId;
  // The caller may know that it exists, its owner, description and tags, and no more: `aliases`,
  // `next_version` and `latest_ready` are left empty.
  bool browse_only = false;
  std::string comment;  // the description; filled by Get and Lookup, not by List
  int64_t created_at_ms = 0;
  std::string created_by;
  int64_t updated_at_ms = 0;
  std::string updated_by;
  // Models only; filled by Get, Lookup and List.
  std::vector<AliasInfo> aliases;  // sorted by name
  VersionNumber next_version = 1;  // the number that the next version will get
  VersionNumber latest_ready = 0;  // the newest READY version, 0 for none
};

enum class VersionStatus : uint8_t { kPending = 1, kReady = 2, kFailed = 3 };
std::string_view StatusName(VersionStatus status);  // "PENDING_REGISTRATION", "READY", "FAILED_REGISTRATION"

enum class Signature : uint8_t { kNone = 0, kPresent = 1 };  // kNone: no MLmodel in the version

struct VersionInfo {
  VersionId id = 0;
  ObjectId model = 0;
  FullName model_name;
  VersionNumber number = 0;
  VersionStatus status = VersionStatus::kPending;
  std::string status_message;
  Digest tree;               // READY only
  uint64_t total_bytes = 0;  // READY only
  uint64_t file_count = 0;   // READY only
  // READY only: when it became that, which its directories show; of a version that an older program made,
  // when it was begun.
  int64_t committed_at_ms = 0;
  // READY only: the blob of its files' mtimes (cas/tree_times.h); nothing: all show the commit's time.
  std::optional<Digest> times;
  Signature signature = Signature::kNone;
  std::string source;          // where it came from: a path, URI, or "models:/c.s.m/3"
  bool source_masked = false;  // it is a version of a model that the caller may not see; `source` is empty
  std::string run_id;
  std::string comment;  // filled by GetVersion, not by ListVersions
  std::vector<std::string> aliases;
  int64_t created_at_ms = 0;
  std::string created_by;
  int64_t updated_at_ms = 0;
  std::string updated_by;
};

// What a copy of a whole model has done.
struct ModelCopy {
  ObjectInfo model;   // the destination
  bool made = false;  // it is the copy's own: it has the source's numbers, aliases, tags and description
  struct Version {
    VersionNumber source = 0;
    VersionNumber copy = 0;
  };
  std::vector<Version> versions;  // that this call has copied, by number
};

// What tags and descriptions hang on: an object, or one version of a model.
struct Target {
  ObjectId object = 0;
  std::optional<VersionNumber> version;
};

struct PageRequest {
  size_t limit = 1000;
  std::string token = {};  // empty: from the start; else what the page before answered
};

template <typename T>
struct Page {
  std::vector<T> items;
  std::string next_token;  // empty: this was the last page
};

// A version's content, stored under a lease: the tree, and the blob of the mtimes that its files had
// (cas/tree_times.h). A tree alone: nobody knows them, and the files show the time of the commit.
struct StoredTree {
  StoredTree(const Digest& tree_digest, std::optional<Digest> times_digest = std::nullopt)
      : tree(tree_digest), times(std::move(times_digest)) {}
  Digest tree;
  std::optional<Digest> times;
};

// Given with a version, tags and comment are part of making it: CREATE MODEL VERSION is enough for them.
struct NewVersion {
  std::string source;
  std::string run_id;
  std::string comment;
  std::map<std::string, std::string> tags;
};

// Something changed; in the order of commits. `revision` is the engine's own commit revision.
enum class EventKind : uint8_t {
  kCreated = 1,
  kUpdated,
  kRenamed,
  kDeleted,  // objects
  kVersionCreated,
  kVersionReady,
  kVersionFailed,
  kVersionUpdated,
  kVersionDeleted,
  kAliasSet,
  kAliasDeleted,
  kTagsChanged,
  kOther,
  kAccessChanged,      // grants on the object, or its owner: concerns everything below it too
  kPrincipalsChanged,  // who is in which group, or who there is: concerns everything
  kSettingsChanged,    // a container's settings
};
struct Event {
  uint64_t revision = 0;
  int64_t time_ms = 0;
  EventKind kind = EventKind::kOther;
  ObjectKind object_kind = ObjectKind::kMetastore;
  ObjectId object = 0;  // a model for version and alias events
  ObjectId parent = 0;  // the object's container
  std::string name;     // the object's leaf name; after the change for kRenamed
  // kRenamed: the leaf name before. kPrincipalsChanged: that of a principal which was deleted, if one was.
  std::string old_name;
  std::optional<VersionNumber> version;
  VersionId version_id = 0;
  std::vector<std::string> aliases;  // the aliases that were set, moved or removed
};

// --- governance: docs/governance.md ---

// What one principal was granted on one object.
struct GrantInfo {
  PrincipalId principal_id = kNobodyId;
  std::string principal;  // empty where it was deleted: its grants can only be revoked, by id
  PrincipalKind kind = PrincipalKind::kUser;
  PrivilegeSet privileges;                        // as granted: ALL PRIVILEGES stands for itself
  ObjectKind from_kind = ObjectKind::kMetastore;  // where it was granted: the object, or what holds it
  FullName from;
};

// GRANT and REVOKE of one principal in one call.
struct GrantChange {
  std::string principal = {};
  PrincipalId principal_id = kNobodyId;  // instead of the name: for one that was deleted
  PrivilegeSet add = {};
  PrivilegeSet remove = {};
};

// What a front end that enforces access by other means (POSIX ACLs) must let through: an outer bound on one
// object by principal. A user's is exact, and so is everyone's. A group's members may have the gates above
// the object from elsewhere: if by their names, they have entries; else by `account users` or by other groups
// of the host, and with the gates that all of these open a group's rights are told.
struct ObjectRights {
  bool see = false;              // know that it is there: name, owner, description, tags
  bool get = false;              // all its metadata: versions, aliases
  bool read_files = false;       // the artifacts of its versions
  bool tag = false;              // change tags or the description
  bool change_versions = false;  // make or delete versions
  bool set_alias = false;

  ObjectRights operator|(const ObjectRights& other) const;
  friend bool operator==(const ObjectRights&, const ObjectRights&) = default;
};
struct PrincipalRights {
  PrincipalInfo principal;
  ObjectRights rights;
  bool admin = false;  // of the metastore; whoever shares the name by a range of uids is not (Caller)
};
// Of a user, beside the rights: what the host's groups that it is in would let through, which is more.
struct LesserRights {
  PrincipalInfo principal;
  ObjectRights rights;
  ObjectRights of_groups;
};
// Names that a user of the host may have, too, and by which it has less than the host's groups, or even
// `account users`, would give it. A front end whose host decides by groups must name such users one by one.
struct Namesakes {
  std::vector<std::string> service_principals;  // in no group of the host: what everyone may, and their entry
  std::vector<std::string> groups;              // a user who is called as a group holds nothing at all
};
struct ObjectAccess {
  PrincipalInfo owner;    // id 0 where it was deleted
  ObjectRights everyone;  // `account users`
  // Users and the host's groups, by kind and name; registry groups are expanded to their members. A user's
  // rights hold those of its groups. Those with no right beyond `everyone`'s are left out.
  std::vector<PrincipalRights> entries;
  // Users on the way to whom the gates are closed that their groups' rights are told with; by name. A front
  // end whose host decides by groups must name them, also those who have nothing beyond `everyone`.
  std::vector<LesserRights> lesser;
  // All that there are, whatever they hold here. AccessOf sets it.
  std::shared_ptr<const Namesakes> namesakes;
};

// Settings of a catalog or schema. Together with those above, and the registry's, the strictest of each
// holds: a signature is required if anyone requires it, the lowest limit counts, and whoever moves an alias
// has to be of all that guard it.
struct ContainerSettings {
  std::optional<bool> signature_required = {};
  // alias -> the principal (best a group) whose members alone may set, move or delete it
  std::map<std::string, std::string> protected_aliases = {};
  std::optional<uint64_t> max_models = {};    // a schema's models; of a catalog: of each schema in it
  std::optional<uint64_t> max_versions = {};  // a model's versions

  friend bool operator==(const ContainerSettings&, const ContainerSettings&) = default;
};

// What of the settings of one place is in effect.
struct EffectiveSettings {
  ContainerSettings settings;
  ObjectKind from_kind = ObjectKind::kMetastore;
  FullName from;
};

// One line of the audit log. The chain: `hash` = SHA-256 over the record's encoding, which holds
// `previous_hash`. Format and field names: docs/formats.md.
struct AuditRecord {
  uint8_t format = 2;     // of its encoding, which the hash is over; 1 has no run_by, status and error
  uint64_t sequence = 0;  // 1, 2, 3, … without gaps
  int64_t time_ms = 0;
  std::string principal;
  std::string run_by;  // who really acted, where it was in another's name (`--as`); else empty
  Proof proof = Proof::kProcess;
  std::string door;
  std::string request_id;
  std::string action;     // "setRegisteredModelAlias", names as Unity Catalog's
  std::string full_name;  // "prod.ml.iris"
  ObjectId object = 0;
  std::map<std::string, std::string> params;
  bool change = true;     // made in the transaction of a change; else what was only asked for, or refused
  uint16_t status = 200;  // as an HTTP status: 200 done, 403 refused
  std::string error;      // the refusal's sentence
  Sha256 previous_hash{};
  Sha256 hash{};
};

// Which records of the audit log are wanted: those that pass everything that is set.
struct AuditQuery {
  uint64_t after_sequence = 0;            // a greater sequence
  uint64_t before_sequence = UINT64_MAX;  // a smaller one
  std::optional<int64_t> since_ms = {};   // at this time or later
  std::optional<int64_t> until_ms = {};   // before this time
  std::string principal = {};             // who acted, or in whose name; in any case
  std::string action = {};
  // An object and what is in it, under the names that they have or had; also one that is gone.
  std::string full_name = {};
  enum class Outcome : uint8_t { kAny, kRefused };
  Outcome outcome = Outcome::kAny;
  enum class Order : uint8_t { kOldestFirst, kNewestFirst };
  Order order = Order::kOldestFirst;
  size_t limit = 1000;
};

// The bytes of a version were opened for reading; Unity Catalog's word for handing them out.
inline constexpr std::string_view kOpenAction = "generateTemporaryModelVersionCredential";

// Protects blobs on their way into a version. See docs/formats.md, "reclaim".
struct Lease {
  std::string id;
  cas::Epoch epoch;
};

struct RegistrySettings {
  enum class SignaturePolicy : uint8_t {
    kIfMlmodel = 0,  // a version with an MLmodel must have inputs and outputs in its signature
    kRequired = 1,   // and every version must have an MLmodel
  };
  SignaturePolicy signature = SignaturePolicy::kIfMlmodel;
  std::string owner;  // principal that ran init, or took over: whose the registry's files are
  uid_t owner_uid = 0;
  std::string id;  // 32 hex digits, random: the metastore's identity
  int64_t created_at_ms = 0;
};

class Registry {
 public:
  virtual ~Registry() = default;

  // Whether the caller may use this registry at all.
  virtual Status Authenticate(const Caller& caller) = 0;
  virtual Result<RegistrySettings> Settings(const Caller& caller) = 0;

  // --- objects ---
  // By name, what is hidden from the caller is kNotFound, in the same words as what is absent (reference
  // §15); the audit log has the refusal. kPermissionDenied only of a container that the caller may see and
  // whose gate is closed, whatever it holds.
  virtual Result<ObjectInfo> Lookup(const Caller& caller, const FullName& name) = 0;
  virtual Result<ObjectInfo> LookupChild(const Caller& caller, ObjectId parent, std::string_view leaf) = 0;
  virtual Result<ObjectInfo> Get(const Caller& caller, ObjectId id) = 0;
  // Children by name, ascending bytewise.
  virtual Result<Page<ObjectInfo>> List(const Caller& caller, ObjectId parent, const PageRequest& page) = 0;
  // kAlreadyExists, also without the right to create where the caller may see what has the name. The child's
  // kind follows from the parent's. The caller becomes the owner.
  virtual Result<ObjectInfo> Create(const Caller& caller, ObjectId parent, std::string_view leaf,
                                    std::string_view comment) = 0;
  enum class DeleteMode {
    kIfEmpty,       // kFailedPrecondition where it holds schemas, models or versions
    kWithVersions,  // a model and all its versions, at once; a container must still be empty
  };
  virtual Status Delete(const Caller& caller, ObjectId id, DeleteMode mode) = 0;
  // A model, within its schema. kAlreadyExists, kInvalidArgument; kPermissionDenied also where it has a
  // protected alias that the caller may not move.
  virtual Result<ObjectInfo> Rename(const Caller& caller, ObjectId model, std::string_view new_leaf) = 0;
  // Of the metastore: kFailedPrecondition where whoever keeps the registry's files (RegistrySettings::owner)
  // would be no admin any more; so do the calls that change who is in which group. As it is already: no
  // change.
  virtual Result<ObjectInfo> SetOwner(const Caller& caller, ObjectId id, std::string_view principal) = 0;

  // --- descriptions and tags ---
  // Setting what is set already, or "" where there is no description, is OK and no change: no event, no audit
  // record. Deleting a tag that is not there: kNotFound.
  virtual Status SetDescription(const Caller& caller, const Target& target, std::string_view text) = 0;
  enum class TagMode { kSet, kCreateOnly, kReplaceOnly };  // setxattr(2): XATTR_CREATE, XATTR_REPLACE
  virtual Status SetTag(const Caller& caller, const Target& target, std::string_view key,
                        std::string_view value, TagMode mode = TagMode::kSet) = 0;
  virtual Status DeleteTag(const Caller& caller, const Target& target, std::string_view key) = 0;
  virtual Result<std::map<std::string, std::string>> Tags(const Caller& caller, const Target& target) = 0;

  // --- versions ---
  // Makes a READY version of a stored tree, in one transaction. Its files keep their times as far as
  // store/embedded/version_times.h lets them; where it does not, other times are stored under the lease.
  //   kOutOfRange           `expected` is not the next number
  //   kFailedPrecondition   the signature is missing (the message names MLmodel and what to add), the
  //                         tree is empty, the tree or the times are not stored
  //   kAborted              the lease ended meanwhile; put the blobs again under a new one
  virtual Result<VersionInfo> CommitVersion(const Caller& caller, ObjectId model, const StoredTree& content,
                                            const Lease& lease, const NewVersion& fields,
                                            std::optional<VersionNumber> expected) = 0;
  // What CommitVersion would refuse whatever the tree is, for whoever is about to store one: the right, the
  // fields, the number, what was set as a limit. `object` is the model, or, of a model that is not there yet,
  // the innermost that is there of what will hold it. Promises nothing: CommitVersion looks again.
  //   kOutOfRange           `expected` is not the next number
  //   kResourceExhausted    too many tags; a limit of versions or, of a schema, of models is reached
  virtual Status CheckNewVersion(const Caller& caller, ObjectId object, const NewVersion& fields,
                                 std::optional<VersionNumber> expected) = 0;
  // The two-step way, for uploads: PENDING takes the number now; it ages to FAILED when not finalized
  // within kPendingLifetimeMs.
  virtual Result<VersionInfo> BeginVersion(const Caller& caller, ObjectId model,
                                           const NewVersion& fields) = 0;
  // kFailedPrecondition where it is not PENDING, or as CommitVersion (the version is FAILED then).
  // Finalizing a READY version with the same tree is OK.
  virtual Result<VersionInfo> FinalizeVersion(const Caller& caller, ObjectId model, VersionNumber number,
                                              const StoredTree& content, const Lease& lease) = 0;
  virtual Status FailVersion(const Caller& caller, ObjectId model, VersionNumber number,
                             std::string_view reason) = 0;
  virtual Result<VersionInfo> GetVersion(const Caller& caller, ObjectId model, VersionNumber number) = 0;
  // Where a version came from, for whoever may see its model (reference §2.4, 24): as GetVersion, but only
  // the number, the model's name, source, run_id, and who made it when.
  virtual Result<VersionInfo> Lineage(const Caller& caller, ObjectId model, VersionNumber number) = 0;
  virtual Result<VersionInfo> GetVersionById(const Caller& caller, VersionId id) = 0;
  virtual Result<VersionInfo> ResolveAlias(const Caller& caller, ObjectId model, std::string_view alias) = 0;
  // By number, ascending. All states.
  virtual Result<Page<VersionInfo>> ListVersions(const Caller& caller, ObjectId model,
                                                 const PageRequest& page) = 0;
  // With its aliases and tags. Its number is never given again.
  virtual Status DeleteVersion(const Caller& caller, ObjectId model, VersionNumber number) = 0;
  // A READY version becomes the destination's next: one record, no byte is copied. Carries the files' times
  // (but store/embedded/version_times.h's rule), description, tags and run id; `source` becomes
  // "models:/<source>/<n>"; no aliases.
  virtual Result<VersionInfo> CopyVersion(const Caller& caller, ObjectId source, VersionNumber number,
                                          ObjectId destination) = 0;
  // Copies a model to the name `leaf` in `schema`, one commit a version; READY versions only, each as
  // CopyVersion does. Where nothing has that name, the copy is made with the source's description and tags,
  // its versions keep their numbers (those that the source has given to others are not given again), and
  // the last commit sets the aliases as they were at the start. Where a model has it, versions are added
  // under its next numbers, without those of which it has a copy already; nothing else of it changes.
  // Everything is checked before the first commit. A copy that was cut off is continued by the same call.
  //   kInvalidArgument      source and destination are one model
  //   kFailedPrecondition   a version has no signature, and the destination's containers require it
  //   kResourceExhausted    the versions, or the model, are more than was set as a limit there
  //   kPermissionDenied     also where an alias is protected there, and the caller may not set it
  virtual Result<ModelCopy> CopyModel(const Caller& caller, ObjectId source, ObjectId schema,
                                      std::string_view leaf) = 0;
  // What CopyModel would refuse, for callers that make the schema first. `object` is the destination, or, of
  // one that is not there yet, the innermost that is there of what will hold it.
  virtual Status CheckModelCopy(const Caller& caller, ObjectId source, ObjectId object) = 0;

  // --- aliases ---
  enum class AliasMode { kSet, kCreateOnly };
  // kResourceExhausted for the 11th, kFailedPrecondition for a version that is not READY, kAlreadyExists
  // for kCreateOnly and for a name equal under case folding to another alias of the model.
  virtual Status SetAlias(const Caller& caller, ObjectId model, std::string_view alias, VersionNumber version,
                          AliasMode mode = AliasMode::kSet) = 0;
  virtual Status DeleteAlias(const Caller& caller, ObjectId model, std::string_view alias) = 0;
  // `to` points where `from` did, and `from` is gone, in one commit. The alias keeps its slot, as a file that
  // is renamed keeps its inode; one that `to` named before is gone with its own. kCreateOnly: kAlreadyExists.
  virtual Status RenameAlias(const Caller& caller, ObjectId model, std::string_view from, std::string_view to,
                             AliasMode mode = AliasMode::kSet) = 0;
  // The two names change places; each version's alias keeps its slot.
  virtual Status SwapAliases(const Caller& caller, ObjectId model, std::string_view a,
                             std::string_view b) = 0;

  // --- principals ---
  // Metastore admins only. kAlreadyExists, kResourceExhausted.
  virtual Result<PrincipalInfo> CreatePrincipal(const Caller& caller, PrincipalKind kind,
                                                std::string_view name) = 0;
  // What it was granted and owns goes to nobody else: a principal made later under the name has neither.
  // kFailedPrecondition for the owner of the metastore, for whom or what makes the keeper of the files its
  // admin (SetOwner), and for `account users`.
  virtual Status DeletePrincipal(const Caller& caller, std::string_view name) = 0;
  virtual Result<PrincipalInfo> FindPrincipal(const Caller& caller, std::string_view name) = 0;
  // By folded name, ascending. Deleted ones are not listed.
  virtual Result<Page<PrincipalInfo>> ListPrincipals(const Caller& caller, const PageRequest& page) = 0;
  // Metastore admins only. Adding a member is OK where it is one already.
  //   kFailedPrecondition  a host's group (its members are the host's affair), or it would contain itself
  //   kResourceExhausted   kMaxMemberships, kMaxGroupNesting
  virtual Status AddMember(const Caller& caller, std::string_view group, std::string_view member) = 0;
  virtual Status RemoveMember(const Caller& caller, std::string_view group, std::string_view member) = 0;
  // Direct members of a registry group, by id.
  virtual Result<std::vector<PrincipalInfo>> Members(const Caller& caller, std::string_view group) = 0;
  // The groups that a principal is in, nested ones and `account users` included, by name.
  virtual Result<std::vector<PrincipalInfo>> GroupsOf(const Caller& caller, std::string_view principal) = 0;

  // --- grants ---
  // All changes, of at most 32 principals, in one transaction; a privilege both added and removed is
  // kInvalidArgument. Revoking ALL PRIVILEGES strips every separate privilege but MANAGE. Revoking what was
  // not granted is OK.
  //   kInvalidArgument    a privilege that cannot be granted on this kind of object
  //   kNotFound           no such principal; says how one is made
  //   kResourceExhausted  more than 4,000 grants on a container, 1,000 on a model
  virtual Status ChangeGrants(const Caller& caller, ObjectId object,
                              const std::vector<GrantChange>& changes) = 0;
  // Direct grants by principal name; of one principal where `principal` is not empty. Who may not see all
  // sees its own and its groups'.
  virtual Result<std::vector<GrantInfo>> Grants(const Caller& caller, ObjectId object,
                                                std::string_view principal) = 0;
  // With what is inherited from the containers, one entry for each place where it was granted.
  virtual Result<std::vector<GrantInfo>> EffectiveGrants(const Caller& caller, ObjectId object,
                                                         std::string_view principal) = 0;
  // Whether the caller may do it; kPermissionDenied names the missing privilege. A question only: nothing is
  // recorded.
  virtual Status CheckAccess(const Caller& caller, Operation operation, ObjectId object) = 0;
  // For front ends; the caller is the front end itself (Caller::Role::kUpkeep), else kPermissionDenied.
  virtual Result<ObjectAccess> AccessOf(const Caller& caller, ObjectId object) = 0;

  // --- settings of containers ---
  virtual Result<ContainerSettings> GetSettings(const Caller& caller, ObjectId container) = 0;
  // What holds in it, by where it is set, from the outermost on; places of which nothing holds are left out.
  virtual Result<std::vector<EffectiveSettings>> GetEffectiveSettings(const Caller& caller,
                                                                      ObjectId container) = 0;
  // Replaces `expected`, which is what GetSettings answered, by `settings`; by the same ones is no change.
  //   kAborted    they are something else by now: read them again
  //   kNotFound   a protected alias's principal
  virtual Status SetSettings(const Caller& caller, ObjectId container, const ContainerSettings& expected,
                             const ContainerSettings& settings) = 0;

  // --- search ---
  // Models that match `filter` (docs/semantics.md, "search"): name, catalog, schema, owner, alias, tags.x
  // compared by = != LIKE ILIKE, joined by AND, OR, parentheses. Empty: all. Ordered by full name.
  virtual Result<Page<ObjectInfo>> SearchModels(const Caller& caller, std::string_view filter,
                                                const PageRequest& page) = 0;

  // --- events and audit ---
  // Those after a revision, oldest first. kOutOfRange where some are no longer kept (the last 100,000
  // revisions' are): read the present state and go on from CurrentRevision.
  virtual Result<std::vector<Event>> Events(uint64_t after_revision, size_t limit) = 0;
  virtual Result<uint64_t> CurrentRevision() = 0;
  // Returns when Events(after_revision) has something to answer, by whichever process; at the deadline; or
  // when stopped. Commits without an event, such as those of leases, do not end it.
  virtual void WaitForChange(uint64_t after_revision, const Deadline& deadline,
                             const std::stop_token& stop) = 0;
  // Those that may read the audit log. kDataLoss names a record that cannot be read.
  virtual Result<std::vector<AuditRecord>> Audit(const Caller& caller, const AuditQuery& query) = 0;
  // What changed one object, oldest first; of many the newest `limit`, and none that a rotation moved to
  // files. A source that the caller may not see (VersionInfo::source_masked) is empty, and of grants who may
  // not see everybody's sees its own and its groups'. No record has its hashes (they are zero): by them a
  // guess of what is masked could be proved. For whoever may read the object's metadata.
  virtual Result<std::vector<AuditRecord>> Activity(const Caller& caller, ObjectId object, size_t limit) = 0;
  // Records what a front end itself decided about a caller, having asked CheckAccess: a file was opened, or
  // something refused. `params` says more about it; never contents, never tokens. Returns at once, or within
  // a fraction of a second where very many records are waiting to be written; then some are dropped, and
  // their number is recorded. Opens of one version by one caller within a minute are one record and a count,
  // unless the registry's settings ask for each. Refusals of this interface's other calls are recorded
  // without being told.
  virtual void RecordAudit(const Caller& caller, Operation operation, ObjectId object, const Status& decision,
                           std::map<std::string, std::string> params) = 0;
  // Returns when there is a record after this one, by whichever process; at the deadline; or when stopped.
  // Answers the last record's sequence.
  virtual Result<uint64_t> WaitForAudit(uint64_t after_sequence, const Deadline& deadline,
                                        const std::stop_token& stop) = 0;
  // Walks the whole chain, what was moved to files first, and answers how many records it has. kDataLoss
  // names the first record that was removed, edited or reordered.
  virtual Result<uint64_t> VerifyAudit(const Caller& caller) = 0;

  // --- blobs in flight ---
  // Taken before the first blob of a version is written, released after the commit or on giving up. A
  // lease that is not renewed ends after kLeaseLifetimeMs.
  virtual Result<Lease> AcquireLease(const Caller& caller, std::string_view purpose) = 0;
  virtual Status RenewLease(const Lease& lease) = 0;  // kAborted where it has ended
  virtual Status ReleaseLease(const Lease& lease) = 0;
};

inline constexpr int64_t kLeaseLifetimeMs = int64_t{60} * 60 * 1000;
inline constexpr int64_t kPendingLifetimeMs = int64_t{24} * 60 * 60 * 1000;

}  // namespace modelfs::store
