// The registry: catalogs, schemas, models and their versions, aliases, tags, descriptions, owners, search.
// Front ends and the command line speak to it, and to its neighbours: Governance (store/governance.h),
// Journal (store/journal.h), Leases (store/leases.h). One class may implement all four.
//
// Objects have ids that never change and are never reused, and names that can; calls take ids, so that
// a rename between two calls changes nothing about what is acted on. Every change is one transaction:
// authorisation, change, audit record and event, all or none, durable when the call returns.
//
// Thread-safe. Calls may wait for the disk; no caller holds a lock across one. Messages name the object.
// Errors that any call may return, besides its own:
//   kNotFound            no such object (also: no such parent, version, alias, tag)
//   kPermissionDenied    the caller may not; the message says what would allow it
//   kInvalidArgument     a name, key or value breaks a rule of store/names.h
//   kNoSpace             the disk is full; nothing was changed
//   kDataLoss            a record failed its checksum
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "cas/base/result.h"
#include "store/caller.h"
#include "store/leases.h"
#include "store/names.h"
#include "store/types.h"

namespace modelfs::store {

class Registry {
 public:
  virtual ~Registry() = default;

  // OK if the caller may use this registry at all.
  virtual Status Authenticate(const Caller& caller) = 0;
  virtual Result<RegistrySettings> Settings(const Caller& caller) = 0;

  // --- objects ---
  // By name, a hidden object is kNotFound, in the same words as an absent one (reference §15); the audit log
  // has the refusal. kPermissionDenied is only for a container that the caller may see but not enter,
  // whatever the container holds.
  virtual Result<ObjectInfo> Lookup(const Caller& caller, const FullName& name) = 0;
  virtual Result<ObjectInfo> LookupChild(const Caller& caller, ObjectId parent, std::string_view leaf) = 0;
  virtual Result<ObjectInfo> Get(const Caller& caller, ObjectId id) = 0;
  // The object with its description and tags, as far as the caller may know it; with `subject.version` also
  // that version, and the version's tags instead. Everything is of one moment. Refusals as of Lookup,
  // LookupChild or Get, of GetVersion, and of the operation `subject.to_do`.
  virtual Result<Description> Describe(const Caller& caller, const Subject& subject) = 0;
  // Children by name, ascending bytewise.
  virtual Result<Page<ObjectInfo>> List(const Caller& caller, ObjectId parent, const PageRequest& page) = 0;
  // kAlreadyExists, also without the right to create if the caller may see the object of that name. The
  // parent's kind decides the child's. The caller becomes the owner.
  virtual Result<ObjectInfo> Create(const Caller& caller, ObjectId parent, std::string_view leaf,
                                    std::string_view comment) = 0;
  enum class DeleteMode {
    kIfEmpty,       // kFailedPrecondition if it holds schemas, models or versions
    kWithVersions,  // a model and all its versions, at once; a container must still be empty
  };
  virtual Status Delete(const Caller& caller, ObjectId id, DeleteMode mode) = 0;
  // Renames a model within its schema. kAlreadyExists, kInvalidArgument; kPermissionDenied also if it has a
  // protected alias that the caller may not move.
  virtual Result<ObjectInfo> Rename(const Caller& caller, ObjectId model, std::string_view new_leaf) = 0;
  // Of the metastore: kFailedPrecondition if the owner of the registry's files (RegistrySettings::owner)
  // would cease to be an admin; the calls that change groups refuse that, too. Setting the present owner
  // changes nothing.
  virtual Result<ObjectInfo> SetOwner(const Caller& caller, ObjectId id, std::string_view principal) = 0;

  // --- descriptions and tags ---
  // Setting the present value, or "" without a description, is OK and changes nothing: no event, no audit
  // record. Deleting an absent tag is kNotFound.
  virtual Status SetDescription(const Caller& caller, const Target& target, std::string_view text) = 0;
  enum class TagMode { kSet, kCreateOnly, kReplaceOnly };  // setxattr(2): XATTR_CREATE, XATTR_REPLACE
  virtual Status SetTag(const Caller& caller, const Target& target, std::string_view key,
                        std::string_view value, TagMode mode = TagMode::kSet) = 0;
  virtual Status DeleteTag(const Caller& caller, const Target& target, std::string_view key) = 0;
  virtual Result<std::map<std::string, std::string>> Tags(const Caller& caller, const Target& target) = 0;

  // --- versions ---
  // Makes a READY version of a stored tree, in one transaction. Its files keep their times as far as
  // store/embedded/version_times.h allows; otherwise other times are stored under the lease.
  //   kOutOfRange           `expected` is not the next number
  //   kFailedPrecondition   the signature is missing (the message names MLmodel and what to add), the
  //                         tree is empty, the tree or the times are not stored
  //   kAborted              the lease ended meanwhile; put the blobs again under a new one
  virtual Result<VersionInfo> CommitVersion(const Caller& caller, ObjectId model, const StoredTree& content,
                                            const Lease& lease, const NewVersion& fields,
                                            std::optional<VersionNumber> expected) = 0;
  // Refuses, before a tree is stored, what CommitVersion would refuse for any tree: the right, the fields,
  // the number, the limits. `object` is the model, or, if the model does not exist yet, the innermost
  // existing container of it. Promises nothing: CommitVersion checks again.
  //   kOutOfRange           `expected` is not the next number
  //   kResourceExhausted    too many tags; a limit of versions or, of a schema, of models is reached
  virtual Status CheckNewVersion(const Caller& caller, ObjectId object, const NewVersion& fields,
                                 std::optional<VersionNumber> expected) = 0;
  // The two-step way, for uploads: PENDING takes the number now; it ages to FAILED when not finalized
  // within kPendingLifetimeMs.
  virtual Result<VersionInfo> BeginVersion(const Caller& caller, ObjectId model,
                                           const NewVersion& fields) = 0;
  // kFailedPrecondition if it is not PENDING, or as CommitVersion (the version is FAILED then).
  // Finalizing a READY version with the same tree is OK.
  virtual Result<VersionInfo> FinalizeVersion(const Caller& caller, ObjectId model, VersionNumber number,
                                              const StoredTree& content, const Lease& lease) = 0;
  virtual Status FailVersion(const Caller& caller, ObjectId model, VersionNumber number,
                             std::string_view reason) = 0;
  virtual Result<VersionInfo> GetVersion(const Caller& caller, ObjectId model, VersionNumber number) = 0;
  // The origin of a version, for callers that may see its model (reference §2.4, 24): as GetVersion, but only
  // the number, the model's name, source, run_id, creator and time.
  virtual Result<VersionInfo> Lineage(const Caller& caller, ObjectId model, VersionNumber number) = 0;
  virtual Result<VersionInfo> GetVersionById(const Caller& caller, VersionId id) = 0;
  // The version, for a caller that may read its files (kReadFiles), with the digests of its tree and times,
  // and without its description. `params` says more in the audit record of a refusal, as
  // Journal::RecordAudit's.
  virtual Result<VersionInfo> OpenVersion(const Caller& caller, VersionId id,
                                          const std::map<std::string, std::string>& params) = 0;
  virtual Result<VersionInfo> ResolveAlias(const Caller& caller, ObjectId model, std::string_view alias) = 0;
  // By number, ascending. All states.
  virtual Result<Page<VersionInfo>> ListVersions(const Caller& caller, ObjectId model,
                                                 const PageRequest& page) = 0;
  // Deletes its aliases and tags, too. Its number is never used again.
  virtual Status DeleteVersion(const Caller& caller, ObjectId model, VersionNumber number) = 0;
  // A READY version becomes the destination's next: one record, no byte is copied. Carries the files' times
  // (subject to store/embedded/version_times.h), description, tags and run id; `source` becomes
  // "models:/<source>/<n>"; no aliases.
  virtual Result<VersionInfo> CopyVersion(const Caller& caller, ObjectId source, VersionNumber number,
                                          ObjectId destination) = 0;
  // Copies a model to the name `leaf` in `schema`, one commit a version; READY versions only, each as
  // CopyVersion does. If the name is free, the copy gets the source's description and tags, its versions keep
  // their numbers (gaps stay gaps), and the last commit sets the aliases as they were at the start. If a
  // model has the name, versions are added under its next numbers, except those that it has a copy of
  // already; nothing else of it changes. Everything is checked before the first commit. The same call
  // continues a copy that was cut off.
  //   kInvalidArgument      source and destination are one model
  //   kFailedPrecondition   a version has no signature, and the destination's containers require it
  //   kResourceExhausted    the versions, or the model, exceed a limit that is set there
  //   kPermissionDenied     also if an alias is protected there, and the caller may not set it
  virtual Result<ModelCopy> CopyModel(const Caller& caller, ObjectId source, ObjectId schema,
                                      std::string_view leaf) = 0;
  // Refuses what CopyModel would refuse, for callers that make the schema first. `object` is the destination,
  // or, if that does not exist yet, its innermost existing container.
  virtual Status CheckModelCopy(const Caller& caller, ObjectId source, ObjectId object) = 0;

  // --- aliases ---
  enum class AliasMode { kSet, kCreateOnly };
  // Sets or moves an alias, and returns it as it is now. kResourceExhausted for the 11th, kFailedPrecondition
  // for a version that is not READY, kAlreadyExists for kCreateOnly and for a name that differs only in case
  // from another alias of the model.
  virtual Result<MovedAlias> SetAlias(const Caller& caller, ObjectId model, std::string_view alias,
                                      VersionNumber version, AliasMode mode = AliasMode::kSet) = 0;
  virtual Status DeleteAlias(const Caller& caller, ObjectId model, std::string_view alias) = 0;
  // Afterwards `to` points to the version of `from`, and `from` is gone, in one commit. The alias keeps its
  // slot, as a renamed file keeps its inode; an alias that had the name `to` before is gone with its slot.
  // kCreateOnly: kAlreadyExists.
  virtual Status RenameAlias(const Caller& caller, ObjectId model, std::string_view from, std::string_view to,
                             AliasMode mode = AliasMode::kSet) = 0;
  // The two names change places; the alias of each version keeps its slot.
  virtual Status SwapAliases(const Caller& caller, ObjectId model, std::string_view a,
                             std::string_view b) = 0;

  // --- search ---
  // Models that match `filter` (docs/semantics.md, "search"): name, catalog, schema, owner, alias, tags.x
  // compared by = != LIKE ILIKE, joined by AND, OR, parentheses. Empty: all. Ordered by full name.
  virtual Result<Page<ObjectInfo>> SearchModels(const Caller& caller, std::string_view filter,
                                                const PageRequest& page) = 0;
};

}  // namespace modelfs::store
