// The registry's grants as POSIX ACLs, for a mount that several users share: what the kernel lets through by
// itself, so that a cached path walk costs no question and is right for every user. It is the outer bound;
// what is opened, listed or changed comes to the daemon, which asks the registry (fs/sharing/permit.h).
//
// Directories carry an ACL; files inside a version have none, since their directories guard their names and
// OPEN their bytes. Mode, owner and group of a directory do not depend on grants, only on its owner, so what
// the kernel keeps of them stays true when a grant changes:
//
//   owner   the host's user whom the object belongs to, with rwx. Where a group owns it, or a user whom this
//           host does not know: uid 0, the one user whom the kernel lets through everywhere anyway. (Were it
//           65534, the user nobody would be let through by the owner's bits, or shut out by their absence.)
//   group   the mount's; it may what everyone may
//   mode    its group bits are the ACL's mask: the kernel asks for an ACL only where they are not all zero
//
// The root directory is the exception: the kernel never keeps its ACL, so it has none. Everyone may walk
// through it (names do not depend on who asks), and everyone's mkdir reaches the daemon.
//
// Pure functions.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "store/registry.h"

namespace modelfs::fs {

// A directory's part in an object: each shows other rights of the object's.
enum class AccessClass : uint8_t {
  kContainer,     // a catalog or schema
  kModel,         // a model
  kVersions,      // <model>/versions
  kAliases,       // <model>/aliases
  kInfo,          // <model>/.info and what is in it, but for:
  kInfoVersions,  // <model>/.info/versions
  kVersionRoot,   // versions/<N>, <model>@<Alias>
  kInVersion,     // a directory in a version
};

// rwx, as in a mode's lowest three bits. `w` lets tags be set, or names be made and removed. In a container
// that is everyone who may enter it: something in it may be one's own, and deleted, whatever one may create
// there; and who may not is told why by the daemon, where the kernel would only say EACCES. So is everyone
// who may read a version, in which nothing can be changed. `w` alone lets tags be set by who may not look
// inside.
unsigned PermissionsFor(AccessClass part, const store::ObjectRights& rights);

// Longer ACLs than 507 named entries do not fit the kernel's buffer: it answers E2BIG to everyone but root.
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

// Which ids of this host are meant by a principal's name (store/identity/host_identities.h).
struct IdLookup {
  std::function<std::vector<uid_t>(std::string_view user)> uids;
  std::function<std::vector<gid_t>(std::string_view group)> gids;
  // Whether many users have the name, by a range of uids: no ACL can list them.
  std::function<bool(std::string_view user)> shared = [](std::string_view) { return false; };
  // The users whom the registry takes to have one of these names.
  std::function<std::vector<uid_t>(const std::vector<std::string>& names)> called;
};

// Users who have less than the kernel would give them by the groups that they are in, or as anybody, are
// named with what they have (store::Namesakes, ObjectAccess::lesser). They come last, who hold nothing before
// service principals, and these before who is `lesser`: those for whom there is no room among
// kMaxNamedEntries are let through as the groups that they are in are.
//
// What a name holds that many users share is let through for everybody and each group: no entry can say it.
// But an admin's name is not shared.
//
// Past kMaxNamedEntries principals there are no entries, and everybody is let through as far as the one who
// may most: then the daemon alone decides, when something is opened, listed or changed.
Acl ProjectAcl(AccessClass part, const store::ObjectAccess& access, const IdLookup& ids);

// The value of system.posix_acl_access (linux/posix_acl_xattr.h, version 2).
std::string EncodeAcl(const Acl& acl);

// The mask of every ACL of this kind of directory, and with it the group bits of its mode.
unsigned MaskFor(AccessClass part);
inline mode_t ModeFor(AccessClass part) { return 0700U | (MaskFor(part) << 3U); }

inline constexpr uid_t kNoHostOwner = 0;
// The root directory's mode and group. A member of the group would be shut out, so it is one that nobody is
// in.
inline constexpr mode_t kRootMode = 0707;
inline constexpr gid_t kRootGroup = 0xFFFFFFFE;

}  // namespace modelfs::fs
