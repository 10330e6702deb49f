// Governance: principals, grants, settings of containers, and decisions about access (docs/governance.md).
//
// Thread-safe. Calls may wait for the disk. Errors that any call may return, besides its own: as Registry
// (store/registry.h).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/result.h"
#include "store/caller.h"
#include "store/names.h"
#include "store/operation.h"
#include "store/principal.h"
#include "store/privilege.h"
#include "store/types.h"

namespace modelfs::store {

// The privileges that one principal was granted on one object.
struct GrantInfo {
  PrincipalId principal_id = kNobodyId;
  std::string principal;  // empty if it was deleted: its grants can only be revoked, by id
  PrincipalKind kind = PrincipalKind::kUser;
  PrivilegeSet privileges;                        // as granted: ALL PRIVILEGES stands for itself
  ObjectKind from_kind = ObjectKind::kMetastore;  // of the object of the grant: this one, or a container
  FullName from;
};

// GRANT and REVOKE of one principal in one call.
struct GrantChange {
  std::string principal = {};
  PrincipalId principal_id = kNobodyId;  // instead of the name: for a deleted principal
  PrivilegeSet add = {};
  PrivilegeSet remove = {};
};

// An outer bound of the rights on one object, by principal, for a front end that enforces access by other
// means (POSIX ACLs). The rights of a user, and of everyone, are exact. A group's rights assume that its
// members hold USE CATALOG and USE SCHEMA through any of their other groups. Members that do not are listed
// in `lesser`.
struct ObjectRights {
  bool see = false;              // know that it exists: name, owner, description, tags
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
  bool admin = false;  // of the metastore; a caller with a shared name is not (Caller::shared_name)
};
// A user with fewer rights than the groups of the host that it is in.
struct LesserRights {
  PrincipalInfo principal;
  ObjectRights rights;
  ObjectRights of_groups;
};
// Names of service principals and groups that a user of the host may have, too. Such a user has fewer rights
// than the host's groups, or even `account users`, would give it. If the host of a front end decides by
// groups, the front end must name such users one by one.
struct Namesakes {
  std::vector<std::string>
      service_principals;           // in no group of the host: the rights of everyone, and their entry
  std::vector<std::string> groups;  // a user with the name of a group holds nothing at all
};
struct ObjectAccess {
  PrincipalInfo owner;    // id 0 if it was deleted
  ObjectRights everyone;  // `account users`
  // Users and the host's groups, by kind and name; registry groups are expanded to their members. The rights
  // of a user include those of its groups. Principals with no right beyond `everyone`'s are left out.
  std::vector<PrincipalRights> entries;
  // Users that lack USE CATALOG or USE SCHEMA above the object, while the rights of their groups assume both;
  // by name. If the host decides by groups, a front end must name them, also those with nothing beyond
  // `everyone`.
  std::vector<LesserRights> lesser;
  // All of the registry, whatever they hold here. AccessOf sets it.
  std::shared_ptr<const Namesakes> namesakes;
};

// Settings of a catalog or schema. Of these, the settings above, and the registry's, the strictest holds: a
// signature is required if any of them requires it, the lowest limit counts, and a caller that moves a
// protected alias must be a member of every principal that guards it.
struct ContainerSettings {
  std::optional<bool> signature_required = {};
  // alias -> the principal (best a group); only its members may set, move or delete the alias
  std::map<std::string, std::string> protected_aliases = {};
  std::optional<uint64_t> max_models = {};    // of a schema; set on a catalog: of each schema in it
  std::optional<uint64_t> max_versions = {};  // a model's versions

  friend bool operator==(const ContainerSettings&, const ContainerSettings&) = default;
};

// The settings of one container that are in effect.
struct EffectiveSettings {
  ContainerSettings settings;
  ObjectKind from_kind = ObjectKind::kMetastore;
  FullName from;
};

class Governance {
 public:
  virtual ~Governance() = default;

  // --- principals ---
  // Metastore admins only. kAlreadyExists, kResourceExhausted.
  virtual Result<PrincipalInfo> CreatePrincipal(const Caller& caller, PrincipalKind kind,
                                                std::string_view name) = 0;
  // Its grants and objects go to nobody else: a principal made later under the same name has neither.
  // kFailedPrecondition for the owner of the metastore, for `account users`, and for a principal through
  // which the owner of the registry's files is an admin (Registry::SetOwner).
  virtual Status DeletePrincipal(const Caller& caller, std::string_view name) = 0;
  virtual Result<PrincipalInfo> FindPrincipal(const Caller& caller, std::string_view name) = 0;
  // By folded name, ascending. Deleted ones are not listed.
  virtual Result<Page<PrincipalInfo>> ListPrincipals(const Caller& caller, const PageRequest& page) = 0;
  // Metastore admins only. Adding a present member is OK.
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
  // kInvalidArgument. Revoking ALL PRIVILEGES strips every separate privilege but MANAGE. Revoking a
  // privilege that was not granted is OK.
  //   kInvalidArgument    a privilege that cannot be granted on this kind of object
  //   kNotFound           no such principal; the message says how to make one
  //   kResourceExhausted  more than 4,000 grants on a container, 1,000 on a model
  virtual Status ChangeGrants(const Caller& caller, ObjectId object,
                              const std::vector<GrantChange>& changes) = 0;
  // Direct grants by principal name; only those of `principal` if it is not empty. A caller that may not see
  // all sees its own and its groups'.
  virtual Result<std::vector<GrantInfo>> Grants(const Caller& caller, ObjectId object,
                                                std::string_view principal) = 0;
  // Includes grants on the containers: one entry for each object with a grant.
  virtual Result<std::vector<GrantInfo>> EffectiveGrants(const Caller& caller, ObjectId object,
                                                         std::string_view principal) = 0;
  // OK if the caller may do it; kPermissionDenied names the missing privilege. A question only: nothing is
  // recorded.
  virtual Status CheckAccess(const Caller& caller, Operation operation, ObjectId object) = 0;
  // For front ends; the caller does the registry's own work (Caller::upkeep), else kPermissionDenied.
  virtual Result<ObjectAccess> AccessOf(const Caller& caller, ObjectId object) = 0;

  // --- settings of containers ---
  virtual Result<ContainerSettings> GetSettings(const Caller& caller, ObjectId container) = 0;
  // The settings in effect there, by container, from the outermost on; a container without any is left out.
  virtual Result<std::vector<EffectiveSettings>> GetEffectiveSettings(const Caller& caller,
                                                                      ObjectId container) = 0;
  // Replaces `expected`, which GetSettings returned, by `settings`. Equal settings change nothing.
  //   kAborted    others changed them meanwhile: read them again
  //   kNotFound   a protected alias's principal
  virtual Status SetSettings(const Caller& caller, ObjectId container, const ContainerSettings& expected,
                             const ContainerSettings& settings) = 0;
};

}  // namespace modelfs::store
