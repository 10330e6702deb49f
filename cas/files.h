// The file system as the store uses it: a seam, so that tests can make any call fail and simulate power cuts.
// RealFiles is the implementation in production; FakeFiles (tests/cas/fake_files.h) remembers which files and
// names were synced.
//
// The store's calls on names and its writes go through this seam, and so do the reads that verify a blob. A
// reader with the descriptor of a finished blob, or of a draft's file, reads it directly.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/result.h"

namespace modelfs::cas {

struct FileInfo {
  uint64_t size_bytes = 0;
  uint64_t inode = 0;
  uint64_t device = 0;
  uint64_t links = 0;
  int64_t mtime_s = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_s = 0;
  int64_t ctime_ns = 0;
  int64_t atime_s = 0;
  uint64_t blocks_512 = 0;  // the space that it occupies on the disk
  uint32_t mode = 0;
};
FileInfo InfoFrom(const struct stat& info);

// The names in an open directory, unsorted, without "." and "..". `path` is for messages.
Result<std::vector<std::string>> ListDirectory(Fd directory, const std::string& path);

// A file being written. Not thread-safe.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  // May start to write back the appended bytes, so that a Sync has little left to do.
  virtual Status Append(std::span<const std::byte> bytes) = 0;
  // fsync(2): bytes and size survive a power cut.
  virtual Status Sync() = 0;
};

// A file that can be written at any offset: a draft's. Thread-safe. Messages name the call, not the file.
class EditableFile {
 public:
  virtual ~EditableFile() = default;
  // For pread(2) and fstat(2), as long as this lives.
  virtual int fd() const = 0;
  // pwrite(2): writes as many of `bytes` as there is room for, and fails only if there is room for none of
  // them. kTooLarge if the file system has no files of that size.
  virtual Result<size_t> WriteAt(uint64_t offset_bytes, std::span<const std::byte> bytes) = 0;
  // copy_file_range(2): returns how many bytes were copied, or 0 if the file system cannot copy them.
  virtual Result<uint64_t> CopyAt(uint64_t offset_bytes, int from_fd, uint64_t from_offset_bytes,
                                  uint64_t length_bytes) = 0;
  virtual Status Truncate(uint64_t size_bytes) = 0;                           // ftruncate(2)
  virtual Status Allocate(uint64_t offset_bytes, uint64_t length_bytes) = 0;  // fallocate(2) mode 0
  virtual Status SetMode(uint32_t mode) = 0;                                  // fchmod(2)
  virtual Status Sync() = 0;                                                  // fsync(2)
  // A hint: bytes that were written so far may go to the disk now, so that a Sync has little left to do.
  virtual void StartWriteback() = 0;
};

// The times that SetTimes sets; absent ones stay. tv_nsec may be UTIME_NOW.
struct NewTimes {
  std::optional<timespec> atime = std::nullopt;
  std::optional<timespec> mtime = std::nullopt;
};

// Thread-safe. Paths are absolute. Errors are those of ErrnoError, with call and path in the message.
class Files {
 public:
  virtual ~Files() = default;

  // A new file with exactly these permission bits, despite the umask; kAlreadyExists if the name is taken.
  virtual Result<std::unique_ptr<WritableFile>> Create(const std::string& path, uint32_t mode) = 0;
  // The same, but writable at any offset.
  virtual Result<std::unique_ptr<EditableFile>> CreateEditable(const std::string& path, uint32_t mode) = 0;
  // An existing file, for reading and writing; an error for a symlink.
  virtual Result<std::unique_ptr<EditableFile>> OpenEditable(const std::string& path) = 0;
  virtual Result<std::string> ReadAll(const std::string& path, uint64_t limit_bytes) = 0;
  // Opens a file of any type; does not wait for the other end of a FIFO. An error for a symlink.
  virtual Result<Fd> OpenRead(const std::string& path) = 0;
  // A file for flock(2), created with mode 0600 if it does not exist. An error for a symlink.
  virtual Result<Fd> OpenLock(const std::string& path) = 0;
  virtual Result<FileInfo> Stat(const std::string& path) = 0;  // does not follow symlinks
  // fsync(2) of an existing file that another object wrote.
  virtual Status SyncFile(const std::string& path) = 0;
  // syncfs(2): every file of the file system that `path` is on. For many files at once.
  virtual Status SyncFileSystem(const std::string& path) = 0;
  virtual Status SyncDirectory(const std::string& path) = 0;
  virtual Status Rename(const std::string& from, const std::string& to) = 0;
  // renameat2(2) with RENAME_NOREPLACE; kAlreadyExists if the name is taken.
  virtual Status RenameNew(const std::string& from, const std::string& to) = 0;
  // renameat2(2) with RENAME_EXCHANGE.
  virtual Status Exchange(const std::string& a, const std::string& b) = 0;
  // link(2), of a symlink itself; kAlreadyExists if the name is taken.
  virtual Status Link(const std::string& from, const std::string& to) = 0;
  // symlink(2); kAlreadyExists if the name is taken. `target` is stored as it is: it need not be a path at
  // all.
  virtual Status Symlink(const std::string& target, const std::string& path) = 0;
  // readlink(2). Also kNotFound if `path` is not a symlink.
  virtual Result<std::string> ReadLink(const std::string& path) = 0;
  virtual Status Unlink(const std::string& path) = 0;
  // mkdir(2), mode 0700; kAlreadyExists if the name is taken.
  virtual Status MakeDirectory(const std::string& path) = 0;
  virtual Status RemoveDirectory(const std::string& path) = 0;  // rmdir(2)
  // Removes a file of any type, a directory with all that is in it. OK if it does not exist. Others may
  // remove the same at the same time.
  virtual Status RemoveTree(const std::string& path) = 0;
  // Creates missing parents, too. OK if the directory exists already.
  virtual Status MakeDirectories(const std::string& path) = 0;
  virtual Status SetMode(const std::string& path, uint32_t mode) = 0;
  // utimensat(2), of a symlink itself.
  virtual Status SetTimes(const std::string& path, const NewTimes& times) = 0;
  Status SetMtime(const std::string& path, int64_t mtime_s) {
    return SetTimes(path, {.mtime = timespec{.tv_sec = mtime_s, .tv_nsec = 0}});
  }
  // Names in a directory, unsorted, without "." and "..".
  virtual Result<std::vector<std::string>> List(const std::string& path) = 0;

  // One pread(2): reads up to all of `out`; 0 at the end of the file.
  virtual Result<size_t> ReadAt(int fd, const std::string& path, uint64_t offset_bytes,
                                std::span<std::byte> out) = 0;
  // Enables fs-verity for a file (FS_IOC_ENABLE_VERITY). From then on the file cannot be written to. The
  // kernel compares each page that it reads with the original bytes, and returns EIO if they differ. Names,
  // times and mode can still change. Reads the whole file. OK if the file has fs-verity already.
  //   kUnimplemented   the file system, or this kernel, does not support fs-verity
  //   kAborted         the file is open for writing
  virtual Status EnableVerity(const std::string& path) = 0;
  virtual bool HasVerity(const std::string& path) = 0;
};

// The operating system's files. Lives for the whole process.
Files& RealFiles();

}  // namespace modelfs::cas
