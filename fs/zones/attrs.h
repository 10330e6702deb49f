// Makes the attributes that stat(2) shows, in one place, so that a name looks the same by lookup, by
// READDIRPLUS or by its nodeid.
//
// On a private mount everything belongs to the mount's user; on a shared one, to the owner that
// fs/sharing/posix_acl.h defines. Catalogs, schemas, `versions` and a version's root do not count their
// children and show one link, as other file systems do in that case. The other directories show two, and one
// for each subdirectory. The dispatcher sets st_ino.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string_view>

#include "fs/base/context.h"
#include "fs/base/tree_cache.h"
#include "fs/base/zone.h"
#include "store/types.h"

namespace modelfs::fs {

// st_blksize of everything: the page size, since the kernel derives block arithmetic from it.
inline constexpr blksize_t kBlockBytes = 4096;
inline constexpr nlink_t kLinksNotCounted = 1;

// The mount's own directory, 0755.
struct stat DirectoryStat(const Context& context, int64_t mtime_ms, nlink_t links = kLinksNotCounted);
// A regular file, 0644 or 0755: the owner's `w` lets the daemon refuse writers with a sentence, which mode
// bits could not.
struct stat FileStat(const Context& context, uint64_t size_bytes, bool executable, int64_t mtime_ms);
// A symbolic link, 0777.
struct stat SymlinkStat(const Context& context, uint64_t target_bytes, int64_t mtime_ms);

// The uid that an owner of this name shows as.
uid_t OwnerUid(const Context& context, std::string_view owner);

// A catalog, schema, model or the root.
struct stat ObjectStat(const Context& context, const store::ObjectInfo& object);
// <model>/versions and <model>/aliases.
struct stat ModelPartStat(const Context& context, const store::ObjectInfo& model);
// <model>/.info and the directories in it.
struct stat InfoDirectoryStat(const Context& context, const store::ObjectInfo& model);
// The root directory of a READY version: its times are the commit's. Needs no tree.
struct stat VersionRootStat(const Context& context, const store::VersionInfo& version);
// The same directory as <model>@<Alias>. Its times are never before the alias's last move, so a program that
// looks for newer times sees each move, also one to an older version.
struct stat AliasRootStat(const Context& context, const store::VersionInfo& version,
                          const store::AliasInfo& alias);
// Any directory or file below it (and the root, for node 0). A file shows its own mtime.
struct stat TreeStat(const Context& context, const CachedVersion& version, uint32_t node);

// Refuses changes to names that the registry makes: they have no other owner, and their mode stays.
Outcome<void> CheckOwnerAndMode(const AttrChange& change, const struct stat& now);

// The entry that LOOKUP of versions/<N> returns for a READY version.
Entry VersionEntry(const Context& context, const store::VersionInfo& version);

}  // namespace modelfs::fs
