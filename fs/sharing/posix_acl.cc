#include "fs/sharing/posix_acl.h"

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include <algorithm>
#include <map>

#include "cas/base/check.h"

namespace modelfs::fs {
namespace {

constexpr unsigned kRead = ACL_READ;
constexpr unsigned kWrite = ACL_WRITE;
constexpr unsigned kSearch = ACL_EXECUTE;
constexpr unsigned kAll = kRead | kWrite | kSearch;

void AppendLittleEndian(std::string& out, uint32_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) out.push_back(static_cast<char>((value >> (8U * i)) & 0xFFU));
}

void AppendEntry(std::string& out, unsigned tag, unsigned permissions, uint32_t id) {
  AppendLittleEndian(out, tag, 2);
  AppendLittleEndian(out, permissions, 2);
  AppendLittleEndian(out, id, 4);
}

std::vector<Acl::Named> ListOf(const std::map<uint32_t, unsigned>& permissions) {
  std::vector<Acl::Named> named;
  named.reserve(permissions.size());
  for (const auto& [id, bits] : permissions) named.push_back({id, bits});
  return named;
}

// `ids.called` returns the uids that the registry knows by one of `names`. A uid that it knows by another
// name keeps that name's rights.
void AddThoseWithLess(AccessClass part, const store::ObjectAccess& access, const IdLookup& ids,
                      unsigned other, const std::map<uint32_t, unsigned>& groups,
                      std::map<uint32_t, unsigned>& users) {
  const auto add = [&](const std::vector<std::string>& names, unsigned permissions) {
    for (const uid_t uid : ids.called(names)) {
      if (users.size() + groups.size() >= kMaxNamedEntries) return;
      users.emplace(uid, permissions);  // an earlier entry stays: it states rights that are held
    }
  };
  if (access.namesakes != nullptr) {
    if (other != 0 || !groups.empty()) add(access.namesakes->groups, 0);
    if (!groups.empty()) add(access.namesakes->service_principals, other);
  }
  for (const store::LesserRights& lesser : access.lesser) {
    const unsigned permissions = PermissionsFor(part, lesser.rights) | other;
    const unsigned of_groups = PermissionsFor(part, lesser.of_groups);
    if ((of_groups & ~permissions) != 0) add({lesser.principal.name}, permissions);
  }
}

}  // namespace

unsigned PermissionsFor(AccessClass part, const store::ObjectRights& rights) {
  const auto open_and_change = [](bool open, bool change) {
    if (change) return kAll;
    return open ? kRead | kSearch : 0U;
  };
  const unsigned tag = rights.tag ? kWrite : 0U;
  switch (part) {
    case AccessClass::kContainer:
      return open_and_change(false, rights.see) | tag;
    case AccessClass::kModel:
      return open_and_change(rights.see, false) | tag;
    case AccessClass::kVersions:
      // A user that may only tag passes here on the way to a version.
      return open_and_change(rights.get, rights.change_versions) | (rights.tag ? kSearch : 0U);
    case AccessClass::kAliases:
      return open_and_change(rights.get, rights.set_alias);
    case AccessClass::kInfo:
      return open_and_change(rights.see, false);
    case AccessClass::kInfoVersions:
      return open_and_change(rights.get, false);
    case AccessClass::kVersionRoot:
      return (rights.get || rights.read_files ? kRead : 0U) | (rights.read_files ? kSearch | kWrite : 0U) |
             tag;
    case AccessClass::kInVersion:
      return open_and_change(false, rights.read_files);
  }
  return 0;
}

unsigned MaskFor(AccessClass part) {
  switch (part) {
    case AccessClass::kInfo:
    case AccessClass::kInfoVersions:
      return kRead | kSearch;
    default:
      return kAll;
  }
}

Acl ProjectAcl(AccessClass part, const store::ObjectAccess& access, const IdLookup& ids) {
  Acl acl;
  acl.owner = kAll;
  acl.mask = MaskFor(part);
  acl.other = PermissionsFor(part, access.everyone);
  std::map<uint32_t, unsigned> users;
  std::map<uint32_t, unsigned> groups;
  unsigned all = acl.other;
  unsigned shared = 0;
  size_t named = 0;
  for (const store::PrincipalRights& entry : access.entries) {
    // The kernel looks no further once an entry names the user: the entry must include everyone's rights.
    const unsigned permissions = PermissionsFor(part, entry.rights | access.everyone);
    if (permissions == acl.other) continue;
    all |= permissions;
    // A shared name never makes a user an admin.
    if (!entry.admin && entry.principal.kind != store::PrincipalKind::kGroup &&
        ids.shared(entry.principal.name)) {
      shared |= permissions;
    }
    // Past the limit ids no longer matter, and looking up thousands takes time.
    if (++named > kMaxNamedEntries) continue;
    // A service principal runs processes under a uid, as a person does.
    if (entry.principal.kind != store::PrincipalKind::kGroup) {
      for (const uid_t uid : ids.uids(entry.principal.name)) users[uid] |= permissions;
    } else {
      for (const gid_t gid : ids.gids(entry.principal.name)) groups[gid] |= permissions;
    }
  }
  if (std::max(named, users.size() + groups.size()) > kMaxNamedEntries) {
    acl.other = all;
    users.clear();
    groups.clear();
  } else {
    AddThoseWithLess(part, access, ids, acl.other, groups, users);
    // Users of a shared name may be in any group. A listed uid has a line of its own in the map, and keeps
    // its entry.
    acl.other |= shared;
    for (auto& [gid, permissions] : groups) permissions |= shared;
  }
  acl.users = ListOf(users);
  acl.groups = ListOf(groups);
  acl.group = acl.other;
  // Rights beyond the mask would be in the ACL and not in force.
  CHECK((acl.other & ~acl.mask) == 0);
  return acl;
}

std::string EncodeAcl(const Acl& acl) {
  std::string out;
  out.reserve(4 + 8 * (acl.users.size() + acl.groups.size() + 4));
  AppendLittleEndian(out, POSIX_ACL_XATTR_VERSION, 4);
  // In the order that the kernel wants (posix_acl_valid): by tag, and named entries by id.
  AppendEntry(out, ACL_USER_OBJ, acl.owner, ACL_UNDEFINED_ID);
  for (const Acl::Named& user : acl.users) AppendEntry(out, ACL_USER, user.permissions, user.id);
  AppendEntry(out, ACL_GROUP_OBJ, acl.group, ACL_UNDEFINED_ID);
  for (const Acl::Named& group : acl.groups) AppendEntry(out, ACL_GROUP, group.permissions, group.id);
  AppendEntry(out, ACL_MASK, acl.mask, ACL_UNDEFINED_ID);
  AppendEntry(out, ACL_OTHER, acl.other, ACL_UNDEFINED_ID);
  return out;
}

}  // namespace modelfs::fs
