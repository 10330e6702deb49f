// A file system that fails on demand and remembers what would survive a power cut.
//
// It works on a real directory, so that blobs can be opened, linked and read as always; beside it, it
// keeps which bytes were synced by fsync(2) and which names by fsync(2) of their directory. PowerCut
// makes the directory what a disk could hold then.
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
  kLost,  // each directory is as it was when it was synced last
  kKept,  // renames and unlinks reached the disk though nobody asked for it
};

// Thread-safe, but for FailCall, BeforeCall and PowerCut.
class FakeFiles : public Files {
 public:
  // `root` must exist; what is in it now counts as synced. A folder "<root>.pins" is used as well.
  explicit FakeFiles(std::string root);

  // Fails the n-th call from now on, counting from 1, with kNoSpace and without effect. 0: none.
  void FailCall(int n);
  bool fault_fired() const { return fault_fired_; }

  // Called before each call, by the thread that makes it: what others do meanwhile. Null: nothing.
  void BeforeCall(std::function<void(std::string_view call, const std::string& path)> hook);

  // Bytes that were not synced are torn: only half of them are there.
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

  // Whether the file system has fs-verity; at first it has none. Reads of a file that has it and whose bytes
  // changed since then fail as the kernel fails them.
  enum class Verity { kNone, kSupported, kOpenForWriting };
  void SetVerity(Verity verity) { verity_ = verity; }
  // As a disk that cannot read this file any more, where `path` is not empty.
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
  // Gives a file a second name, so that its inode stays its own even when it is unlinked.
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
