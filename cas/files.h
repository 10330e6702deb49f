// The file system as the store sees it: a seam so that tests can fail any call and cut the power.
// RealFiles is the one that ships; FakeFiles (tests/cas/fake_files.h) remembers what was synced.
//
// Only what changes names or bytes goes through here. Reading a finished, immutable blob uses its
// descriptor directly.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
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

// Thread-safe. Paths are absolute. Errors as ErrnoError gives them, with call and path in the message.
class Files {
 public:
  virtual ~Files() = default;

  // A new file with these permission bits, whatever the umask; kAlreadyExists where the name is taken.
  virtual Result<std::unique_ptr<WritableFile>> Create(const std::string& path, uint32_t mode) = 0;
  virtual Result<std::string> ReadAll(const std::string& path, uint64_t limit_bytes) = 0;
  // Whatever it is, without waiting for anybody's end of a FIFO; an error for a symlink.
  virtual Result<Fd> OpenRead(const std::string& path) = 0;
  virtual Result<FileInfo> Stat(const std::string& path) = 0;  // does not follow symlinks
  // fsync(2) of an existing file that somebody else wrote.
  virtual Status SyncFile(const std::string& path) = 0;
  // syncfs(2): every file of the file system that `path` is on. For many files at once.
  virtual Status SyncFileSystem(const std::string& path) = 0;
  virtual Status SyncDirectory(const std::string& path) = 0;
  virtual Status Rename(const std::string& from, const std::string& to) = 0;
  // renameat2(2) with RENAME_NOREPLACE; kAlreadyExists where the name is taken.
  virtual Status RenameNew(const std::string& from, const std::string& to) = 0;
  // link(2); kAlreadyExists where the name is taken.
  virtual Status Link(const std::string& from, const std::string& to) = 0;
  virtual Status Unlink(const std::string& path) = 0;
  // With parents. OK where it is there already.
  virtual Status MakeDirectories(const std::string& path) = 0;
  virtual Status SetMode(const std::string& path, uint32_t mode) = 0;
  // utimensat(2): sets mtime to `mtime_s` seconds after 1970.
  virtual Status SetMtime(const std::string& path, int64_t mtime_s) = 0;
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
