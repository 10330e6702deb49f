// A file system that fails on demand and remembers the state that would survive a power cut.
//
// It works on a real directory, so that blobs can be opened, linked and read as usual. It also records the
// bytes that fsync(2) has synced, and the names that an fsync(2) of their directory has synced. PowerCut
// changes the directory to a state that a disk could hold then.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/thread.h"
#include "cas/files.h"

namespace modelfs::cas {

enum class UnsyncedNames {
  kLost,  // each directory is as it was when it was last synced
  kKept,  // renames and unlinks reached the disk without an fsync
};

// Thread-safe, but for FailCall, BeforeCall and PowerCut.
class FakeFiles : public Files {
 public:
  // `root` must exist; its present contents count as synced. Also uses a folder "<root>.pins".
  explicit FakeFiles(std::string root);

  // Makes the n-th call from now on fail with kNoSpace and without effect, counting from 1. 0 means none.
  void FailCall(int n);
  bool fault_fired() const { return fault_fired_; }

  // `hook` is called before each call, on the calling thread, to act like other processes meanwhile. May be
  // null.
  void BeforeCall(std::function<void(std::string_view call, const std::string& path)> hook);

  // Bytes that were not synced are torn: only half of them survive.
  void PowerCut(UnsyncedNames names);

  Result<std::unique_ptr<WritableFile>> Create(const std::string& path, uint32_t mode) override;
  Result<std::unique_ptr<EditableFile>> CreateEditable(const std::string& path, uint32_t mode) override;
  Result<std::unique_ptr<EditableFile>> OpenEditable(const std::string& path) override;
  Result<std::string> ReadAll(const std::string& path, uint64_t limit_bytes) override;
  Result<Fd> OpenRead(const std::string& path) override;
  Result<Fd> OpenLock(const std::string& path) override;
  Result<FileInfo> Stat(const std::string& path) override;
  Status SyncFile(const std::string& path) override;
  Status SyncFileSystem(const std::string& path) override;
  Status SyncDirectory(const std::string& path) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status RenameNew(const std::string& from, const std::string& to) override;
  Status Exchange(const std::string& a, const std::string& b) override;
  Status Link(const std::string& from, const std::string& to) override;
  Status Symlink(const std::string& target, const std::string& path) override;
  Result<std::string> ReadLink(const std::string& path) override;
  Status Unlink(const std::string& path) override;
  Status MakeDirectory(const std::string& path) override;
  Status RemoveDirectory(const std::string& path) override;
  Status RemoveTree(const std::string& path) override;
  Status MakeDirectories(const std::string& path) override;
  Status SetMode(const std::string& path, uint32_t mode) override;
  Status SetTimes(const std::string& path, const NewTimes& times) override;
  Result<std::vector<std::string>> List(const std::string& path) override;
  Result<size_t> ReadAt(int fd, const std::string& path, uint64_t offset_bytes,
                        std::span<std::byte> out) override;
  Status EnableVerity(const std::string& path) override;
  bool HasVerity(const std::string& path) override;

  // Whether the file system has fs-verity; at first it does not. A read of a file with fs-verity fails, as
  // the kernel's does, if the bytes have changed since fs-verity was enabled.
  enum class Verity { kNone, kSupported, kOpenForWriting };
  void SetVerity(Verity verity) { verity_ = verity; }
  // Makes reads of this file fail, as on a broken disk; an empty `path` ends that.
  void BreakReadsOf(std::string path) { unreadable_ = std::move(path); }

 private:
  friend class FakeWritableFile;
  friend class FakeEditableFile;
  struct Name {
    uint64_t inode = 0;
    bool directory = false;
    std::optional<std::string> target = std::nullopt;  // of a symlink
    timespec mtime = {};                               // of a symlink
  };
  using Names = std::map<std::string, Name>;  // by path

  Status Call(const char* call, const std::string& path);
  // Gives a file a second name, so that no other file gets its inode number even after an unlink.
  void Pin(const std::string& path);
  void MarkSynced(const std::string& path);
  void PinAllBelow(const std::string& path);
  static Names NamesBelow(const std::string& directory, bool recursive);

  const std::string root_;
  const std::string pins_;
  std::function<void(std::string_view call, const std::string& path)> before_call_;
  mutable Mutex mu_;
  int calls_left_ GUARDED_BY(mu_) = 0;
  bool fault_fired_ = false;
  Names synced_names_ GUARDED_BY(mu_);
  std::map<uint64_t, std::string> synced_bytes_ GUARDED_BY(mu_);
  Verity verity_ = Verity::kNone;
  std::string unreadable_;
  std::map<uint64_t, std::string> verity_bytes_ GUARDED_BY(mu_);  // by inode
};

}  // namespace modelfs::cas
