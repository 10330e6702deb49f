// The mount's tree is cut into zones by kind of node; each zone answers the requests for its nodes as
// plain functions from a request to a value or a refusal. Nothing here knows the kernel's protocol: the
// dispatcher (fs/kernel/dispatcher.h) unpacks requests, calls one zone, packs the answer, and remembers the
// refusal for `modelfs why`. So a zone is tested without a mount.
//
//   kObject, root            ObjectsZone    catalogs, schemas, models; <model>@<Alias> is looked up here
//   kVersions                VersionsZone   the listing of versions and drafts; drafts are made and committed
//   kAliases, kAliasLink,
//   kHeld                    AliasesZone    the symlinks
//   kTree, kAliasTree        TreesZone      what is in a READY version
//   kDraft                   DraftsZone     what is in a draft
//   kInfo, .modelfs          InfoZone       hidden, generated files
//
// Thread-safe. A call may wait for the local disk and the registry; it holds no lock meanwhile that
// another request needs. For bytes that are on another host it does not wait: it returns NotYet.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cas/base/digest.h"
#include "cas/base/pending.h"
#include "cas/base/result.h"
#include "cas/blob_store.h"
#include "fs/base/node_id.h"
#include "store/caller.h"
#include "store/types.h"

namespace modelfs::fs {

// The caller of a request, by the kernel's word.
struct Request {
  store::Caller caller;  // its stop, where something is changed: once it got a signal, or the mount ends
  gid_t gid = 0;
  pid_t pid = 0;
};

// A bare errno says little; the sentence says why and what to do instead. `errno_value` is positive.
struct Refusal {
  int errno_value = EIO;
  std::string message;
  // Not null: nothing is refused yet. The call changed nothing, and is to be made again once this has ended.
  Pending pending = nullptr;
};

template <typename T>
using Outcome = tl::expected<T, Refusal>;

inline tl::unexpected<Refusal> Refuse(int errno_value, std::string message) {
  return tl::unexpected<Refusal>(Refusal{errno_value, std::move(message)});
}
// For a call that would have to wait for another host.
tl::unexpected<Refusal> NotYet(Pending pending);
// By the error table (cas/base/error_table.h), for what a lower layer answered.
tl::unexpected<Refusal> Refuse(const Error& error);
// Likewise for a call about a nodeid's object. If it was deleted, the answer is ESTALE, on which the kernel
// looks up the path again.
tl::unexpected<Refusal> RefuseNode(const Error& error);

// A word for timeouts: 0 asks again each time, kForever never (the kernel is told of changes instead).
inline constexpr double kForever = 1e9;
// Names that others may change: told of changes by events (fs/watcher.h), so this only bounds what a lost
// event could cost.
inline constexpr double kNamesTtlS = 600;

struct Entry {
  NodeId node = 0;        // 0, from Lookup only: there is no such name, which may be kept for entry_ttl_s
  struct stat attr = {};  // st_ino is set by the dispatcher, from the node
  double attr_ttl_s = 0;
  double entry_ttl_s = 0;
};

struct Attr {
  struct stat attr = {};
  double ttl_s = 0;
};

// A node's directory and its name there.
struct Place {
  NodeId parent = 0;
  std::string name;
};

// The changes that SETATTR asks for; absent fields stay.
struct AttrChange {
  std::optional<mode_t> mode;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<uint64_t> size_bytes;
  std::optional<timespec> atime;  // tv_nsec may be UTIME_NOW
  std::optional<timespec> mtime;
};

// An open file. Lives until RELEASE. Thread-safe.
class FileHandle {
 public:
  virtual ~FileHandle() = default;
  virtual Outcome<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out);
  // Answers how many were written, fewer where there was room for no more.
  virtual Outcome<size_t> Write(uint64_t offset_bytes, std::span<const std::byte> bytes);
  virtual Outcome<void> Sync();
  virtual Outcome<void> Allocate(int mode, uint64_t offset_bytes, uint64_t length_bytes);
  // SEEK_DATA and SEEK_HOLE of lseek(2).
  virtual Outcome<uint64_t> Seek(uint64_t offset_bytes, int whence);
  // The blob behind it, where the bytes are one's: lets a copy share it.
  virtual std::optional<Digest> Blob() const { return std::nullopt; }
  // The READY version it is a file of.
  virtual std::optional<store::VersionId> Version() const { return std::nullopt; }
  // The file that the bytes of a READY file are in: the kernel must not mix two of them
  // (fs/kernel/open_modes.h).
  virtual std::optional<cas::FileId> File() const { return std::nullopt; }
  // A descriptor the kernel may read by itself (passthrough). Owned by the handle.
  virtual std::optional<int> NativeFd() const { return std::nullopt; }
  // copy_file_range(2) from another handle of this mount into this one. EXDEV makes the kernel copy
  // through read and write instead.
  virtual Outcome<size_t> CopyFrom(const FileHandle& from, uint64_t from_offset_bytes, uint64_t offset_bytes,
                                   uint64_t length_bytes);
};

enum class PageCache { kKeep, kDrop, kDirect };  // FOPEN_KEEP_CACHE, nothing, FOPEN_DIRECT_IO

struct OpenedFile {
  std::shared_ptr<FileHandle> handle;
  PageCache page_cache = PageCache::kDrop;
};

struct CreatedFile {
  Entry entry;
  OpenedFile file;
};

// One name of a listing. `entry` lets READDIRPLUS answer the lookup with it; without it only the name,
// inode number and type are given.
struct DirectoryEntry {
  std::string name;
  NodeId node = 0;
  mode_t type = 0;  // S_IFDIR, S_IFREG, S_IFLNK
  std::optional<Entry> entry;
};

// An open directory: a listing frozen when it was opened, in pages. Used by one request at a time.
class DirectoryHandle {
 public:
  virtual ~DirectoryHandle() = default;
  // The entry at `index` (0, 1, 2, …; "." and ".." are the dispatcher's), or nothing at the end. With
  // `plus` the entry is filled where that costs little.
  virtual Outcome<std::optional<DirectoryEntry>> At(uint64_t index, bool plus) = 0;
};

struct OpenedDirectory {
  std::shared_ptr<DirectoryHandle> handle;
  bool kernel_may_keep = false;  // FOPEN_CACHE_DIR: only where the listing is the same for everyone, for ever
};

// A listing that is there already.
std::shared_ptr<DirectoryHandle> MakeDirectoryHandle(std::vector<DirectoryEntry> entries);

// Every call not overridden refuses: EROFS in TreesZone and InfoZone, EPERM elsewhere, with a sentence.
class Zone {
 public:
  virtual ~Zone() = default;

  // Never depends on the caller (the kernel shares what it learns between users).
  virtual Outcome<Entry> Lookup(const Request& request, NodeId parent, std::string_view name) = 0;
  virtual Outcome<Attr> GetAttr(const Request& request, NodeId node) = 0;
  virtual Outcome<NodeId> ParentOf(NodeId directory) = 0;  // for ".."
  // Where the node is, for messages. ENOENT where no name leads to it, or where only its last LOOKUP knows.
  virtual Outcome<Place> PlaceOf(NodeId node);

  virtual Outcome<Attr> SetAttr(const Request& request, NodeId node, const AttrChange& change);
  virtual Outcome<std::string> ReadLink(const Request& request, NodeId node);
  virtual Outcome<Entry> MakeDirectory(const Request& request, NodeId parent, std::string_view name,
                                       mode_t mode);
  virtual Outcome<CreatedFile> Create(const Request& request, NodeId parent, std::string_view name,
                                      mode_t mode, int flags);
  virtual Outcome<Entry> MakeSymlink(const Request& request, NodeId parent, std::string_view name,
                                     std::string_view target);
  // Asked of the zone of `parent`; `node` may be of another.
  virtual Outcome<Entry> MakeHardLink(const Request& request, NodeId node, NodeId parent,
                                      std::string_view name);
  // A device, FIFO or socket: of `mode` its kind alone.
  virtual Outcome<Entry> MakeSpecial(const Request& request, NodeId parent, std::string_view name,
                                     mode_t mode);
  virtual Outcome<void> Unlink(const Request& request, NodeId parent, std::string_view name);
  virtual Outcome<void> RemoveDirectory(const Request& request, NodeId parent, std::string_view name);
  // Asked of the zone of `parent`. `flags` as renameat2(2). Never answers EINVAL, ENOSYS, ESTALE or EEXIST,
  // which make `mv` print nonsense or ask twice; EXDEV, by which it falls back to copying, between drafts
  // only.
  virtual Outcome<void> Rename(const Request& request, NodeId parent, std::string_view name,
                               NodeId new_parent, std::string_view new_name, unsigned flags);
  // `flags` as open(2), without O_CREAT and O_EXCL.
  virtual Outcome<OpenedFile> Open(const Request& request, NodeId node, int flags);
  virtual Outcome<OpenedDirectory> OpenDirectory(const Request& request, NodeId node) = 0;

  // ENODATA where there is none. Names include "user.".
  virtual Outcome<std::string> GetXattr(const Request& request, NodeId node, std::string_view name);
  virtual Outcome<std::vector<std::string>> ListXattr(const Request& request, NodeId node);
  virtual Outcome<void> SetXattr(const Request& request, NodeId node, std::string_view name,
                                 std::string_view value, int flags);
  virtual Outcome<void> RemoveXattr(const Request& request, NodeId node, std::string_view name);

  // Bytes that the kernel wrote back from its page cache could not be stored. They are of a mapping, so the
  // writer may get no error.
  virtual void LostBytes(NodeId node);

  // The kernel's lookup count of `node` fell to zero.
  virtual void Forget(NodeId node);

 protected:
  // The errno and reason for what this zone does not do.
  virtual Refusal Unsupported(std::string_view operation) const;
};

}  // namespace modelfs::fs
