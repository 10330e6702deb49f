#include "fs/zones/attrs.h"

#include <cerrno>

#include "cas/base/check.h"
#include "fs/sharing/posix_acl.h"

namespace modelfs::fs {
namespace {

constexpr uint64_t kStatBlockBytes = 512;  // the unit of st_blocks, stat(2)

timespec TimeOf(int64_t ms) { return {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1'000'000}; }

struct stat Make(const Context& context, mode_t mode, nlink_t links, uint64_t size_bytes, int64_t time_ms) {
  struct stat attr = {};
  attr.st_mode = mode;
  attr.st_nlink = links;
  attr.st_uid = context.shared ? kNoHostOwner : context.uid;
  attr.st_gid = context.gid;
  attr.st_size = static_cast<off_t>(size_bytes);
  attr.st_blocks = static_cast<blkcnt_t>((size_bytes + kStatBlockBytes - 1) / kStatBlockBytes);
  attr.st_blksize = kBlockBytes;
  attr.st_mtim = attr.st_ctim = attr.st_atim = TimeOf(time_ms);
  return attr;
}

// The attributes of a directory that belongs to an object: the kernel enforces the object's grants on it.
struct stat Guard(const Context& context, struct stat attr, AccessClass part, std::string_view owner) {
  if (!context.shared) return attr;
  attr.st_mode = S_IFDIR | ModeFor(part);
  attr.st_uid = OwnerUid(context, owner);
  return attr;
}

}  // namespace

uid_t OwnerUid(const Context& context, std::string_view owner) {
  if (!context.shared) return context.uid;
  const std::vector<uid_t> uids = owner.empty() ? std::vector<uid_t>() : context.identities->UidsOf(owner);
  return uids.empty() ? kNoHostOwner : uids.front();
}

struct stat DirectoryStat(const Context& context, int64_t mtime_ms, nlink_t links) {
  return Make(context, S_IFDIR | 0755U, links, 0, mtime_ms);
}

struct stat FileStat(const Context& context, uint64_t size_bytes, bool executable, int64_t mtime_ms) {
  return Make(context, S_IFREG | (executable ? 0755U : 0644U), 1, size_bytes, mtime_ms);
}

struct stat SymlinkStat(const Context& context, uint64_t target_bytes, int64_t mtime_ms) {
  return Make(context, S_IFLNK | 0777U, 1, target_bytes, mtime_ms);
}

struct stat ObjectStat(const Context& context, const store::ObjectInfo& object) {
  // A model holds exactly versions/ and aliases/.
  const nlink_t links = object.kind == store::ObjectKind::kModel ? 4 : kLinksNotCounted;
  struct stat attr = DirectoryStat(context, object.updated_at_ms, links);
  switch (object.kind) {
    case store::ObjectKind::kMetastore:
      if (context.shared) {
        attr.st_mode = S_IFDIR | kRootMode;
        attr.st_uid = OwnerUid(context, object.owner);
        attr.st_gid = kRootGroup;
      }
      return attr;
    case store::ObjectKind::kModel:
      return Guard(context, attr, AccessClass::kModel, object.owner);
    default:
      return Guard(context, attr, AccessClass::kContainer, object.owner);
  }
}

struct stat ModelPartStat(const Context& context, const store::ObjectInfo& model) {
  return Guard(context, DirectoryStat(context, model.updated_at_ms), AccessClass::kVersions, model.owner);
}

struct stat InfoDirectoryStat(const Context& context, const store::ObjectInfo& model) {
  return Guard(context, DirectoryStat(context, model.updated_at_ms), AccessClass::kInfo, model.owner);
}

struct stat VersionRootStat(const Context& context, const store::VersionInfo& version) {
  // The owner belongs to the model and may change. It does not show here, so these attributes never change;
  // the ACL names the owner.
  return Guard(context, DirectoryStat(context, version.committed_at_ms), AccessClass::kVersionRoot, "");
}

struct stat AliasRootStat(const Context& context, const store::VersionInfo& version,
                          const store::AliasInfo& alias) {
  struct stat attr = VersionRootStat(context, version);
  if (alias.updated_at_ms < version.committed_at_ms) return attr;
  // The move was at some moment of this millisecond, and a file may be from an earlier one.
  constexpr int64_t kLastNsOfMs = 999'999;
  attr.st_mtim = TimeOf(alias.updated_at_ms);
  attr.st_mtim.tv_nsec += kLastNsOfMs;
  attr.st_ctim = attr.st_mtim;
  return attr;
}

struct stat TreeStat(const Context& context, const CachedVersion& version, uint32_t node) {
  const store::VersionInfo& info = version.info;
  if (node == 0) return VersionRootStat(context, info);
  const cas::TreeIndex::Node* found = version.tree->Get(node);
  CHECK(found != nullptr);
  if (found->file == nullptr) {
    return Guard(context, DirectoryStat(context, info.committed_at_ms, 2 + nlink_t{found->subdirectories}),
                 AccessClass::kInVersion, "");
  }
  struct stat attr =
      FileStat(context, found->file->blob.size_bytes, found->file->executable, info.committed_at_ms);
  if (version.times) {
    const cas::FileTime& time = version.times->times()[found->file_number];
    attr.st_mtim = attr.st_atim = {.tv_sec = time.s, .tv_nsec = time.ns};
  }
  return attr;
}

Outcome<void> CheckOwnerAndMode(const AttrChange& change, const struct stat& now) {
  if (change.uid.has_value() && *change.uid != now.st_uid) {
    return Refuse(EPERM, "a model has one owner: setfattr -n user.modelfs.owner -v PRINCIPAL MODEL");
  }
  if (change.mode.has_value() && ((*change.mode ^ now.st_mode) & ACCESSPERMS) != 0) {
    return Refuse(EPERM, "access is a matter of the registry's grants: mode bits cannot be changed");
  }
  return {};
}

Entry VersionEntry(const Context& context, const store::VersionInfo& version) {
  Entry entry;
  entry.node = TreeNode(version.id, 0, Flavour::kCached);
  entry.attr = VersionRootStat(context, version);
  entry.attr_ttl_s = kForever;
  // A deletion notifies the kernel of the inode (fs/watcher.h). That does not reach a lookup under way at the
  // same moment, so the name is cached for a while only.
  entry.entry_ttl_s = kNamesTtlS;
  return entry;
}

}  // namespace modelfs::fs
