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

class Governance {
 public:
  virtual ~Governance() = default;

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
};

}  // namespace modelfs::store
