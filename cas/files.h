// The file system as the store sees it: a seam so that tests can fail any call and cut the power.
// RealFiles is the one that ships; FakeFiles (tests/cas/fake_files.h) remembers what was synced.
//
// Only what changes names or bytes goes through here. Reading a finished, immutable blob uses its
// descriptor directly.
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
  uint64_t blocks_512 = 0;  // what it takes on the disk
  uint32_t mode = 0;
};
FileInfo InfoFrom(const struct stat& info);

// The names in an open directory, unsorted, without "." and "..". `path` is for messages.
Result<std::vector<std::string>> ListDirectory(Fd directory, const std::string& path);

// A file being written. Not thread-safe.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  // May start writing back what was appended, so that a Sync finds little left to do.
  virtual Status Append(std::span<const std::byte> bytes) = 0;
  // fsync(2): bytes and size survive a power cut.
  virtual Status Sync() = 0;
};

// A file that is written to anywhere in it: a draft's. Thread-safe. Messages name the call, not the file.
class EditableFile {
 public:
  virtual ~EditableFile() = default;
  // For pread(2) and fstat(2), as long as this lives.
  virtual int fd() const = 0;
  // pwrite(2): as many of `bytes` as there is room for, an error only where that is none of them. kTooLarge
  // where the file system has no files of that size.
  virtual Result<size_t> WriteAt(uint64_t offset_bytes, std::span<const std::byte> bytes) = 0;
  // copy_file_range(2): answers how many bytes were copied, 0 where the file system cannot.
  virtual Result<uint64_t> CopyAt(uint64_t offset_bytes, int from_fd, uint64_t from_offset_bytes,
                                  uint64_t length_bytes) = 0;
  virtual Status Truncate(uint64_t size_bytes) = 0;                           // ftruncate(2)
  virtual Status Allocate(uint64_t offset_bytes, uint64_t length_bytes) = 0;  // fallocate(2) mode 0
  virtual Status SetMode(uint32_t mode) = 0;                                  // fchmod(2)
  virtual Status Sync() = 0;                                                  // fsync(2)
  // A hint: what was written so far may go to the disk now, so that a Sync finds little left to do.
  virtual void StartWriteback() = 0;
};

// What SetTimes sets; absent ones stay. tv_nsec may be UTIME_NOW.
struct NewTimes {
  std::optional<timespec> atime = std::nullopt;
  std::optional<timespec> mtime = std::nullopt;
};

// Thread-safe. Paths are absolute. Errors as ErrnoError gives them, with call and path in the message.
class Files {
 public:
  virtual ~Files() = default;

  // A new file with these permission bits, whatever the umask; kAlreadyExists where the name is taken.
  virtual Result<std::unique_ptr<WritableFile>> Create(const std::string& path, uint32_t mode) = 0;
  // The same, to be written to anywhere.
  virtual Result<std::unique_ptr<EditableFile>> CreateEditable(const std::string& path, uint32_t mode) = 0;
  // An existing file, for reading and writing; an error for a symlink.
  virtual Result<std::unique_ptr<EditableFile>> OpenEditable(const std::string& path) = 0;
  virtual Result<std::string> ReadAll(const std::string& path, uint64_t limit_bytes) = 0;
  // Whatever it is, without waiting for anybody's end of a FIFO; an error for a symlink.
  virtual Result<Fd> OpenRead(const std::string& path) = 0;
  // A file to flock(2), which is made where it is not there: mode 0600. An error for a symlink.
  virtual Result<Fd> OpenLock(const std::string& path) = 0;
  virtual Result<FileInfo> Stat(const std::string& path) = 0;  // does not follow symlinks
  // fsync(2) of an existing file that somebody else wrote.
  virtual Status SyncFile(const std::string& path) = 0;
  // syncfs(2): every file of the file system that `path` is on. For many files at once.
  virtual Status SyncFileSystem(const std::string& path) = 0;
  virtual Status SyncDirectory(const std::string& path) = 0;
  virtual Status Rename(const std::string& from, const std::string& to) = 0;
  // renameat2(2) with RENAME_NOREPLACE; kAlreadyExists where the name is taken.
  virtual Status RenameNew(const std::string& from, const std::string& to) = 0;
  // renameat2(2) with RENAME_EXCHANGE.
  virtual Status Exchange(const std::string& a, const std::string& b) = 0;
  // link(2), of a symlink itself; kAlreadyExists where the name is taken.
  virtual Status Link(const std::string& from, const std::string& to) = 0;
  // symlink(2); kAlreadyExists where the name is taken. Not through `target`: it need not be a path at all.
  virtual Status Symlink(const std::string& target, const std::string& path) = 0;
  // readlink(2). kNotFound also where it is no symlink.
  virtual Result<std::string> ReadLink(const std::string& path) = 0;
  virtual Status Unlink(const std::string& path) = 0;
  // mkdir(2), mode 0700; kAlreadyExists where the name is taken.
  virtual Status MakeDirectory(const std::string& path) = 0;
  virtual Status RemoveDirectory(const std::string& path) = 0;  // rmdir(2)
  // Whatever it is, with all that is in it; OK where it is not there. Others may remove the same at the same
  // time.
  virtual Status RemoveTree(const std::string& path) = 0;
  // With parents. OK where it is there already.
  virtual Status MakeDirectories(const std::string& path) = 0;
  virtual Status SetMode(const std::string& path, uint32_t mode) = 0;
  // utimensat(2), of a symlink itself.
  virtual Status SetTimes(const std::string& path, const NewTimes& times) = 0;
  Status SetMtime(const std::string& path, int64_t mtime_s) {
    return SetTimes(path, {.mtime = timespec{.tv_sec = mtime_s, .tv_nsec = 0}});
  }
  // Names in a directory, unsorted, without "." and "..".
  virtual Result<std::vector<std::string>> List(const std::string& path) = 0;

  // pread(2), once: as many bytes as there are, up to all of `out`; 0 at the end of the file.
  virtual Result<size_t> ReadAt(int fd, const std::string& path, uint64_t offset_bytes,
                                std::span<std::byte> out) = 0;
  // Gives a file fs-verity (FS_IOC_ENABLE_VERITY): from then on nobody can write to it, and the kernel
  // compares each page that it reads with what the file was, and answers EIO where they differ. Names,
  // times and mode can still change. Reads the whole file. OK where it has it already.
  //   kUnimplemented   the file system, or this kernel, has no fs-verity
  //   kAborted         it is open for writing
  virtual Status EnableVerity(const std::string& path) = 0;
  virtual bool HasVerity(const std::string& path) = 0;
};

// The operating system's. Lives for the whole process.
Files& RealFiles();

}  // namespace modelfs::cas
