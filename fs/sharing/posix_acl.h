// The registry's grants as POSIX ACLs, for a mount that several users share. The kernel enforces them by
// itself, so a cached path walk costs no request and is right for every user. They are the outer bound:
// opens, listings and changes come to the daemon, which asks the registry (fs/sharing/permit.h).
//
// Directories carry an ACL. Files inside a version have none: their directories guard their names, and OPEN
// guards their bytes. A directory's mode, owner and group do not depend on grants, only on its owner, so the
// kernel's copy of them stays true when a grant changes:
//
//   owner   the host's user that owns the object, with rwx. If a group owns it, or a user that this host does
//           not know: uid 0, the one user that the kernel lets through everywhere anyway. (With 65534, the
//           owner's bits would let the user nobody through, or their absence would shut it out.)
//   group   the mount's; it has everyone's rights
//   mode    its group bits are the ACL's mask: the kernel asks for an ACL only if they are not all zero
//
// The root directory is the exception: the kernel never caches its ACL, so it has none. Everyone may walk
// through it (names do not depend on the caller), and everyone's mkdir reaches the daemon.
//
// Pure functions.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "store/governance.h"

namespace modelfs::fs {

// The kinds of directory that belong to objects: each shows other rights on its object.
enum class AccessClass : uint8_t {
  kContainer,     // a catalog or schema
  kModel,         // a model
  kVersions,      // <model>/versions
  kAliases,       // <model>/aliases
  kInfo,          // <model>/.info and the directories in it, except:
  kInfoVersions,  // <model>/.info/versions
  kVersionRoot,   // versions/<N>, <model>@<Alias>
  kInVersion,     // a directory in a version
};

// rwx, as in a mode's lowest three bits. `w` lets a user set tags, or make and remove names. In a container,
// every user with entry has `w`: the user may own something in it and delete that, without the right to
// create. The daemon explains each refusal, where the kernel would only return EACCES. For the same reason
// every reader of a version has `w` in it, although nothing in it can be changed. `w` alone lets a user set
// tags without looking inside.
unsigned PermissionsFor(AccessClass part, const store::ObjectRights& rights);

// An ACL of more than 507 named entries does not fit the kernel's buffer: it returns E2BIG to every user but
// root.
inline constexpr size_t kMaxNamedEntries = 500;

struct Acl {
  struct Named {
    uint32_t id = 0;
    unsigned permissions = 0;
    friend bool operator==(const Named&, const Named&) = default;
  };
  unsigned owner = 0;
  std::vector<Named> users;  // by id
  unsigned group = 0;
  std::vector<Named> groups;  // by id
  unsigned mask = 0;
  unsigned other = 0;
  friend bool operator==(const Acl&, const Acl&) = default;
};

// Maps a principal's name to ids of this host (store/identity/host_identities.h).
struct IdLookup {
  std::function<std::vector<uid_t>(std::string_view user)> uids;
  std::function<std::vector<gid_t>(std::string_view group)> gids;
  // Whether a range of uids gives many users this name: no ACL can list them.
  std::function<bool(std::string_view user)> shared = [](std::string_view) { return false; };
  // The uids of processes that the registry knows by one of these names.
  std::function<std::vector<uid_t>(const std::vector<std::string>& names)> called;
};

// A user gets an entry of its own if the kernel, going by groups or `other`, would give it more than it holds
// (store::Namesakes, ObjectAccess::lesser). These entries come last: first users that hold nothing, then
// service principals, then the users in `lesser`. Users beyond kMaxNamedEntries have their groups' access.
//
// If many users share a name, its rights are given to everybody and to each group, because no entry can list
// these users. An admin's name does not count as shared.
//
// Past kMaxNamedEntries principals the ACL has no entries, and everybody has the union of all rights: then
// the daemon alone decides, when something is opened, listed or changed.
Acl ProjectAcl(AccessClass part, const store::ObjectAccess& access, const IdLookup& ids);

// The value of system.posix_acl_access (linux/posix_acl_xattr.h, version 2).
std::string EncodeAcl(const Acl& acl);

// The mask of every ACL of this kind of directory, and with it the group bits of its mode.
unsigned MaskFor(AccessClass part);
inline mode_t ModeFor(AccessClass part) { return 0700U | (MaskFor(part) << 3U); }

inline constexpr uid_t kNoHostOwner = 0;
// The root directory's mode and group. A member of the group would be shut out, so the group has no members.
inline constexpr mode_t kRootMode = 0707;
inline constexpr gid_t kRootGroup = 0xFFFFFFFE;

}  // namespace modelfs::fs
