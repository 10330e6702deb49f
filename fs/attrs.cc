#include "fs/attrs.h"

#include <cerrno>

#include "cas/base/check.h"

namespace modelfs::fs {
namespace {

constexpr uint64_t kStatBlockBytes = 512;  // the unit of st_blocks, stat(2)

struct stat Make(const Context& context, mode_t mode, nlink_t links, uint64_t size_bytes, int64_t mtime_ms) {
  struct stat attr = {};
  attr.st_mode = mode;
  attr.st_nlink = links;
  attr.st_uid = context.uid;
  attr.st_gid = context.gid;
  attr.st_size = static_cast<off_t>(size_bytes);
  attr.st_blocks = static_cast<blkcnt_t>((size_bytes + kStatBlockBytes - 1) / kStatBlockBytes);
  attr.st_blksize = kBlockBytes;
  attr.st_mtim.tv_sec = mtime_ms / 1000;
  attr.st_mtim.tv_nsec = (mtime_ms % 1000) * 1'000'000;
  attr.st_ctim = attr.st_mtim;
  attr.st_atim = attr.st_mtim;
  return attr;
}

}  // namespace

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
  return DirectoryStat(context, object.updated_at_ms, links);
}

struct stat ModelPartStat(const Context& context, const store::ObjectInfo& model) {
  return DirectoryStat(context, model.updated_at_ms);
}

struct stat VersionRootStat(const Context& context, const store::VersionInfo& version) {
  return DirectoryStat(context, version.created_at_ms);
}

struct stat TreeStat(const Context& context, const store::VersionInfo& version, const cas::TreeIndex& tree,
                     uint32_t node) {
  if (node == 0) return VersionRootStat(context, version);
  const cas::TreeIndex::Node* found = tree.Get(node);
  CHECK(found != nullptr);
  if (found->file == nullptr) {
    return DirectoryStat(context, version.created_at_ms, 2 + nlink_t{found->subdirectories});
  }
  return FileStat(context, found->file->blob.size_bytes, found->file->executable, version.created_at_ms);
}

Outcome<void> CheckOwnerAndMode(const Context& context, const AttrChange& change, mode_t mode) {
  if (change.uid.has_value() && *change.uid != context.uid) {
    return Refuse(EPERM, "a model has one owner: setfattr -n user.modelfs.owner -v PRINCIPAL MODEL");
  }
  if (change.mode.has_value() && ((*change.mode ^ mode) & ACCESSPERMS) != 0) {
    return Refuse(EPERM, "the registry decides who may do what: mode bits cannot be changed");
  }
  return {};
}

Entry VersionEntry(const Context& context, const store::VersionInfo& version) {
  Entry entry;
  entry.node = TreeNode(version.id, 0, Flavour::kCached);
  entry.attr = VersionRootStat(context, version);
  entry.attr_ttl_s = kForever;
  // Whoever deletes it tells the kernel of the inode (fs/watcher.h), which cannot reach a lookup that is
  // under way just then: its name is kept for a while only.
  entry.entry_ttl_s = kNamesTtlS;
  return entry;
}

}  // namespace modelfs::fs
