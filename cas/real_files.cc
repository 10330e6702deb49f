#include <dirent.h>
#include <fcntl.h>
#include <linux/fsverity.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <system_error>

#include "cas/base/chandle.h"
#include "cas/files.h"

namespace modelfs::cas {
namespace {

using Directory = CHandle<DIR, closedir>;

// Write-back starts each time this much has been appended. It is small enough to keep the disk busy from the
// beginning, and large enough to be written in one request.
constexpr uint64_t kWritebackBytes = uint64_t{8} << 20U;

constexpr mode_t kPermissions = 07777;
constexpr mode_t kOwnersDirectory = 0700;

Error Failed(const char* call, const std::string& path) {
  return ErrnoError(errno, std::string(call) + " " + path);
}

Status SyncPath(const std::string& path, int flags) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | flags));
  if (!fd.valid()) return Failed("open", path);
  if (::fsync(fd.get()) != 0) return Failed("fsync", path);
  return OkStatus();
}

class RealWritableFile : public WritableFile {
 public:
  RealWritableFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Status Append(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t count = ::write(fd_.get(), bytes.data(), bytes.size());
      if (count < 0) {
        if (errno == EINTR) continue;
        return Failed("write", path_);
      }
      bytes = bytes.subspan(static_cast<size_t>(count));
      size_bytes_ += static_cast<uint64_t>(count);
    }
    if (size_bytes_ - writeback_from_ >= kWritebackBytes) {
      // Only a hint: Sync reports errors.
      (void)::sync_file_range(fd_.get(), static_cast<off64_t>(writeback_from_),
                              static_cast<off64_t>(size_bytes_ - writeback_from_), SYNC_FILE_RANGE_WRITE);
      writeback_from_ = size_bytes_;
    }
    return OkStatus();
  }

  Status Sync() override {
    if (::fsync(fd_.get()) != 0) return Failed("fsync", path_);
    return OkStatus();
  }

 private:
  const Fd fd_;
  const std::string path_;
  uint64_t size_bytes_ = 0;
  uint64_t writeback_from_ = 0;
};

// The error of a call that makes a file longer.
Error LengthError(int errno_value, std::string_view call) {
  if (errno_value != EFBIG) return ErrnoError(errno_value, call);
  return {Code::kTooLarge, std::string(call) +
                               ": a file of that size is more than the file system of the registry can hold; "
                               "split it"};
}

class RealEditableFile : public EditableFile {
 public:
  explicit RealEditableFile(Fd fd) : fd_(std::move(fd)) {}

  int fd() const override { return fd_.get(); }

  Result<size_t> WriteAt(uint64_t offset_bytes, std::span<const std::byte> bytes) override {
    while (true) {
      const ssize_t count = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
      if (count >= 0) return static_cast<size_t>(count);
      if (errno != EINTR) return LengthError(errno, "write to the draft");
    }
  }

  Result<uint64_t> CopyAt(uint64_t offset_bytes, int from_fd, uint64_t from_offset_bytes,
                          uint64_t length_bytes) override {
    auto from = static_cast<off64_t>(from_offset_bytes);
    auto to = static_cast<off64_t>(offset_bytes);
    while (true) {
      const ssize_t count = ::copy_file_range(from_fd, &from, fd_.get(), &to, length_bytes, 0);
      if (count >= 0) return static_cast<uint64_t>(count);
      if (errno == EINTR) continue;
      if (errno == ENOSPC || errno == EDQUOT) return ErrnoError(errno, "write to the draft");
      return uint64_t{
          0};  // not supported here: the caller then copies by itself, and that copy reports errors
    }
  }

  Status Truncate(uint64_t size_bytes) override {
    if (::ftruncate(fd_.get(), static_cast<off_t>(size_bytes)) != 0) return LengthError(errno, "truncate");
    return OkStatus();
  }

  Status Allocate(uint64_t offset_bytes, uint64_t length_bytes) override {
    if (::fallocate(fd_.get(), 0, static_cast<off_t>(offset_bytes), static_cast<off_t>(length_bytes)) == 0) {
      return OkStatus();
    }
    if (errno == EOPNOTSUPP)
      return Error(Code::kUnimplemented, "allocate: the file system does not support it");
    return LengthError(errno, "allocate");
  }

  Status SetMode(uint32_t mode) override {
    if (::fchmod(fd_.get(), mode) != 0) return ErrnoError(errno, "fchmod");
    return OkStatus();
  }

  Status Sync() override {
    if (::fsync(fd_.get()) != 0) return ErrnoError(errno, "fsync");
    return OkStatus();
  }

  void StartWriteback() override { (void)::sync_file_range(fd_.get(), 0, 0, SYNC_FILE_RANGE_WRITE); }

 private:
  const Fd fd_;
};

class OperatingSystemFiles : public Files {
 public:
  Result<std::unique_ptr<WritableFile>> Create(const std::string& path, uint32_t mode) override {
    ASSIGN_OR_RETURN(Fd fd, CreateFile(path, mode, O_WRONLY));
    return std::make_unique<RealWritableFile>(std::move(fd), path);
  }

  Result<std::unique_ptr<EditableFile>> CreateEditable(const std::string& path, uint32_t mode) override {
    ASSIGN_OR_RETURN(Fd fd, CreateFile(path, mode, O_RDWR));
    return std::make_unique<RealEditableFile>(std::move(fd));
  }

  Result<std::unique_ptr<EditableFile>> OpenEditable(const std::string& path) override {
    Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid()) return Failed("open", path);
    return std::make_unique<RealEditableFile>(std::move(fd));
  }

  Result<std::string> ReadAll(const std::string& path, uint64_t limit_bytes) override {
    ASSIGN_OR_RETURN(const Fd fd, OpenRead(path));
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return Failed("fstat", path);
    std::string bytes;
    const auto too_large = [&] {
      return Error(Code::kInvalidArgument,
                   path + ": is larger than the " + std::to_string(limit_bytes) + " bytes expected");
    };
    if (static_cast<uint64_t>(info.st_size) > limit_bytes) return too_large();
    // One byte more than its size: only a read of 0 bytes shows the end.
    bytes.resize(static_cast<size_t>(info.st_size) + 1);
    size_t filled = 0;
    while (true) {
      const ssize_t count = ::read(fd.get(), bytes.data() + filled, bytes.size() - filled);
      if (count < 0) {
        if (errno == EINTR) continue;
        return Failed("read", path);
      }
      if (count == 0) break;
      filled += static_cast<size_t>(count);
      if (filled > limit_bytes) return too_large();
      if (filled == bytes.size()) bytes.resize(2 * bytes.size());
    }
    bytes.resize(filled);
    return bytes;
  }

  Result<Fd> OpenRead(const std::string& path) override {
    // O_NONBLOCK: the caller checks the type of the file, and an open must not wait for the other end of a
    // FIFO.
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
    if (!fd.valid()) return Failed("open", path);
    return fd;
  }

  Result<Fd> OpenLock(const std::string& path) override {
    constexpr mode_t kOwners = 0600;
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kOwners));
    if (!fd.valid()) return Failed("open", path);
    return fd;
  }

  Result<FileInfo> Stat(const std::string& path) override {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return Failed("stat", path);
    return InfoFrom(info);
  }

  Status SyncFile(const std::string& path) override { return SyncPath(path, 0); }

  Status SyncFileSystem(const std::string& path) override {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return Failed("open", path);
    if (::syncfs(fd.get()) != 0) return Failed("syncfs", path);
    return OkStatus();
  }

  Status SyncDirectory(const std::string& path) override { return SyncPath(path, O_DIRECTORY); }

  Status Rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return Failed("rename", from + " to " + to);
    return OkStatus();
  }

  Status RenameNew(const std::string& from, const std::string& to) override {
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return OkStatus();
    if (errno != EINVAL) return Failed("rename", from + " to " + to);
    // The file system does not support the flag (renameat2(2), EINVAL): do the same in two steps.
    RETURN_IF_ERROR(Link(from, to));
    return Unlink(from);
  }

  Status Exchange(const std::string& a, const std::string& b) override {
    if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0) return OkStatus();
    return Failed("rename", a + " and " + b);
  }

  Status Link(const std::string& from, const std::string& to) override {
    if (::link(from.c_str(), to.c_str()) != 0) return Failed("link", from + " to " + to);
    return OkStatus();
  }

  Status Unlink(const std::string& path) override {
    if (::unlink(path.c_str()) != 0) return Failed("unlink", path);
    return OkStatus();
  }

  Status Symlink(const std::string& target, const std::string& path) override {
    if (::symlink(target.c_str(), path.c_str()) != 0) return Failed("symlink", path);
    return OkStatus();
  }

  Result<std::string> ReadLink(const std::string& path) override {
    std::array<char, PATH_MAX> target{};
    const ssize_t count = ::readlink(path.c_str(), target.data(), target.size());
    if (count >= 0) return std::string(target.data(), static_cast<size_t>(count));
    // EINVAL: it exists, but is not a symlink (readlink(2)).
    if (errno == EINVAL) return Error(Code::kNotFound, path + ": is not a symlink");
    return Failed("readlink", path);
  }

  Status MakeDirectory(const std::string& path) override {
    if (::mkdir(path.c_str(), kOwnersDirectory) != 0) return Failed("mkdir", path);
    return OkStatus();
  }

  Status RemoveDirectory(const std::string& path) override {
    if (::rmdir(path.c_str()) != 0) return Failed("rmdir", path);
    return OkStatus();
  }

  Status RemoveTree(const std::string& path) override {
    std::error_code error;
    do {
      std::filesystem::remove_all(path, error);
    } while (error == std::errc::no_such_file_or_directory);  // others removed it first
    if (error) return ErrnoError(error.value(), "remove " + path);
    return OkStatus();
  }

  Status MakeDirectories(const std::string& path) override {
    if (::mkdir(path.c_str(), kOwnersDirectory) == 0) return OkStatus();
    if (errno == ENOENT && path.find_last_of('/') != 0) {
      RETURN_IF_ERROR(MakeDirectories(path.substr(0, path.find_last_of('/'))));
      if (::mkdir(path.c_str(), kOwnersDirectory) == 0) return OkStatus();
    }
    if (errno != EEXIST) return Failed("mkdir", path);
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return Failed("stat", path);
    if (!S_ISDIR(info.st_mode)) {
      errno = ENOTDIR;
      return Failed("mkdir", path);
    }
    return OkStatus();
  }

  Status SetMode(const std::string& path, uint32_t mode) override {
    if (::chmod(path.c_str(), mode) != 0) return Failed("chmod", path);
    return OkStatus();
  }

  Status SetTimes(const std::string& path, const NewTimes& times) override {
    constexpr timespec kStays = {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
    const timespec both[2] = {times.atime.value_or(kStays), times.mtime.value_or(kStays)};
    if (::utimensat(AT_FDCWD, path.c_str(), both, AT_SYMLINK_NOFOLLOW) != 0) return Failed("utimensat", path);
    return OkStatus();
  }

  Result<std::vector<std::string>> List(const std::string& path) override {
    Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory.valid()) return Failed("open", path);
    return ListDirectory(std::move(directory), path);
  }

  Result<size_t> ReadAt(int fd, const std::string& path, uint64_t offset_bytes,
                        std::span<std::byte> out) override {
    while (true) {
      const ssize_t count = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset_bytes));
      if (count >= 0) return static_cast<size_t>(count);
      if (errno != EINTR) return Failed("read", path);
    }
  }

  Status EnableVerity(const std::string& path) override {
    ASSIGN_OR_RETURN(const Fd fd, OpenRead(path));
    fsverity_enable_arg verity{};
    verity.version = 1;
    verity.hash_algorithm = FS_VERITY_HASH_ALG_SHA256;
    constexpr uint32_t kBlockBytes = 4096;  // every kernel with fs-verity supports this size
    verity.block_size = kBlockBytes;
    if (::ioctl(fd.get(), FS_IOC_ENABLE_VERITY, &verity) == 0 || errno == EEXIST) return OkStatus();
    const Error failed = Failed("enable fs-verity for", path);
    switch (errno) {
      case ENOTTY:
      case EOPNOTSUPP:
        return Error(Code::kUnimplemented, failed.message());
      case ETXTBSY:
        return Error(Code::kAborted, failed.message());
      default:
        return failed;
    }
  }

  bool HasVerity(const std::string& path) override {
    struct statx info {};
    return ::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_MODE, &info) == 0 &&
           (info.stx_attributes & STATX_ATTR_VERITY) != 0;
  }

 private:
  static Result<Fd> CreateFile(const std::string& path, uint32_t mode, int access) {
    Fd fd(::open(path.c_str(), access | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!fd.valid()) return Failed("create", path);
    // The umask may have cleared some bits. A stat is cheaper than a chmod, which is a transaction of the
    // file system.
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return Failed("fstat", path);
    if ((info.st_mode & kPermissions) != mode && ::fchmod(fd.get(), mode) != 0) return Failed("fchmod", path);
    return fd;
  }
};

}  // namespace

FileInfo InfoFrom(const struct stat& info) {
  return {.size_bytes = static_cast<uint64_t>(info.st_size),
          .inode = info.st_ino,
          .device = info.st_dev,
          .links = info.st_nlink,
          .mtime_s = info.st_mtim.tv_sec,
          .mtime_ns = info.st_mtim.tv_nsec,
          .ctime_s = info.st_ctim.tv_sec,
          .ctime_ns = info.st_ctim.tv_nsec,
          .atime_s = info.st_atim.tv_sec,
          .blocks_512 = static_cast<uint64_t>(info.st_blocks),
          .mode = info.st_mode};
}

Result<std::vector<std::string>> ListDirectory(Fd directory, const std::string& path) {
  const Directory stream(::fdopendir(directory.get()));
  if (stream == nullptr) return Failed("opendir", path);
  (void)directory.Release();  // the stream owns it now
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  if (errno != 0) return Failed("readdir", path);
  return names;
}

Files& RealFiles() {
  static OperatingSystemFiles files;
  return files;
}

}  // namespace modelfs::cas
