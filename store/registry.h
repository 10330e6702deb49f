// The registry: catalogs, schemas, models and their versions, aliases, tags, descriptions, owners, search.
// Front ends and the command line speak to it, and to its neighbours: Governance (store/governance.h),
// Journal (store/journal.h), Leases (store/leases.h). One class may implement all four.
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

  // --- search ---
  // Models that match `filter` (docs/semantics.md, "search"): name, catalog, schema, owner, alias, tags.x
  // compared by = != LIKE ILIKE, joined by AND, OR, parentheses. Empty: all. Ordered by full name.
  virtual Result<Page<ObjectInfo>> SearchModels(const Caller& caller, std::string_view filter,
                                                const PageRequest& page) = 0;
};

}  // namespace modelfs::store
