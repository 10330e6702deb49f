#include "store/kv/lmdb_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "cas/base/fd.h"

namespace modelfs::store {
namespace {

// LMDB 0.9's file format, as far as following its page numbers needs it (mdb.c: MDB_page, MDB_meta,
// MDB_node). Integers are in the machine's own byte order, so the file is not portable between machines.
constexpr size_t kPageHeaderBytes = 16;
constexpr uint32_t kMagic = 0xBEEFC0DE;
constexpr uint32_t kDataVersion = 1;
constexpr uint64_t kNoPage = ~uint64_t{0};
constexpr uint16_t kBranchPage = 0x01;
constexpr uint16_t kLeafPage = 0x02;
constexpr uint16_t kBigData = 0x01;
constexpr size_t kNodeHeaderBytes = 8;
constexpr uint32_t kSmallestPage = 512;
constexpr uint32_t kLargestPage = 65536;

struct MetaTree {
  uint32_t pad;  // of the first tree: the page size
  uint16_t flags;
  uint16_t depth;
  uint64_t branch_pages;
  uint64_t leaf_pages;
  uint64_t overflow_pages;
  uint64_t entries;
  uint64_t root;
};
struct Meta {
  uint32_t magic;
  uint32_t version;
  uint64_t address;
  uint64_t map_size;
  MetaTree free_list;
  MetaTree main;
  uint64_t last_page;
  uint64_t transaction;
};
static_assert(sizeof(Meta) == 136);

template <typename T>
T Load(const std::vector<char>& page, size_t at) {
  T value{};
  std::memcpy(&value, page.data() + at, sizeof(value));
  return value;
}

class DataFile {
 public:
  DataFile(int fd, uint64_t size_bytes) : fd_(fd), size_bytes_(size_bytes) {}

  // The newer of the two meta pages; nullopt if neither is LMDB's.
  std::optional<Meta> NewestMeta() {
    std::optional<Meta> newest = MetaAt(0);
    // The second meta page lies one page further. If the first is damaged, its page size is unknown, so all
    // sizes are tried.
    for (uint64_t page = kSmallestPage; page <= kLargestPage; page *= 2) {
      if (newest && newest->free_list.pad != page) continue;
      const std::optional<Meta> second = MetaAt(page);
      if (second && (!newest || second->transaction > newest->transaction)) newest = second;
      if (newest) break;
    }
    if (newest) page_bytes_ = newest->free_list.pad;
    return newest;
  }

  bool Holds(const Meta& meta) const { return (meta.last_page + 1) * page_bytes_ <= size_bytes_; }

  // The state that a transaction saw, as long as no more than one other has been committed after it.
  std::optional<Meta> MetaOf(uint64_t transaction) {
    std::optional<Meta> found = NewestMeta();
    for (const uint64_t offset : {uint64_t{0}, page_bytes_}) {
      if (found && found->transaction != transaction) found = MetaAt(offset);
    }
    return found && found->transaction == transaction ? found : std::nullopt;
  }

  // Whether every page that `root` leads to is inside the file and looks like one of a tree's. Pages at the
  // end that were freed before they were ever written may be missing, so the length alone proves nothing.
  bool TreeIsWhole(uint64_t root) {
    std::vector<uint64_t> open;
    if (root != kNoPage) open.push_back(root);
    std::vector<char> page(page_bytes_);
    for (uint64_t visits_left = size_bytes_ / page_bytes_ + 1; !open.empty(); --visits_left) {
      const uint64_t number = open.back();
      open.pop_back();
      if (visits_left == 0 || !ReadPage(number, page) || Load<uint64_t>(page, 0) != number) return false;
      const auto flags = Load<uint16_t>(page, 10);
      const size_t lower = Load<uint16_t>(page, 12);
      const size_t upper = Load<uint16_t>(page, 14);
      if (((flags & (kBranchPage | kLeafPage)) == 0) || lower < kPageHeaderBytes || lower > upper ||
          upper > page_bytes_)
        return false;
      const size_t nodes = (lower - kPageHeaderBytes) / sizeof(uint16_t);
      for (size_t i = 0; i < nodes; ++i) {
        const size_t node = Load<uint16_t>(page, kPageHeaderBytes + i * sizeof(uint16_t));
        if (node < upper || node + kNodeHeaderBytes > page_bytes_) return false;
        const uint64_t low = Load<uint16_t>(page, node);
        const uint64_t high = Load<uint16_t>(page, node + 2);
        const uint64_t node_flags = Load<uint16_t>(page, node + 4);
        const size_t at = node + kNodeHeaderBytes + Load<uint16_t>(page, node + 6);
        if (at > page_bytes_) return false;
        const uint64_t value_bytes = low | high << 16U;
        if ((flags & kBranchPage) != 0) {
          open.push_back(low | high << 16U | node_flags << 32U);
        } else if ((node_flags & kBigData) == 0) {
          if (value_bytes > page_bytes_ - at) return false;
        } else {
          if (at + sizeof(uint64_t) > page_bytes_) return false;
          const uint64_t first = Load<uint64_t>(page, at);
          const uint64_t pages = (kPageHeaderBytes - 1 + value_bytes) / page_bytes_ + 1;
          if (first > size_bytes_ / page_bytes_ || (first + pages) * page_bytes_ > size_bytes_) return false;
        }
      }
    }
    return true;
  }

 private:
  std::optional<Meta> MetaAt(uint64_t offset) const {
    Meta meta{};
    const auto got = ::pread(fd_, &meta, sizeof(meta), static_cast<off_t>(offset + kPageHeaderBytes));
    if (got != static_cast<ssize_t>(sizeof(meta))) return std::nullopt;
    const uint32_t page = meta.free_list.pad;
    const bool ours = meta.magic == kMagic && meta.version == kDataVersion && page >= kSmallestPage &&
                      page <= kLargestPage && (page & (page - 1)) == 0;
    return ours ? std::optional(meta) : std::nullopt;
  }

  bool ReadPage(uint64_t number, std::vector<char>& page) const {
    if (number >= size_bytes_ / page_bytes_) return false;
    const auto got = ::pread(fd_, page.data(), page.size(), static_cast<off_t>(number * page_bytes_));
    return got == static_cast<ssize_t>(page.size());
  }

  int fd_;
  uint64_t size_bytes_;
  uint64_t page_bytes_ = 4096;
};

struct FileSystemRow {
  uint64_t type;
  std::string_view name;
};
// statfs(2) and linux/magic.h; numbers that the kernel's headers lack are from the projects' own sources.
constexpr std::array kUnsuitable = {
    FileSystemRow{0x6969, "NFS"},        FileSystemRow{0x517B, "SMB"},
    FileSystemRow{0xFF534D42, "CIFS"},   FileSystemRow{0xFE534D42, "SMB"},
    FileSystemRow{0x01021997, "9P"},     FileSystemRow{0x65735546, "FUSE"},
    FileSystemRow{0x00C36400, "Ceph"},   FileSystemRow{0x0BD00BD0, "Lustre"},
    FileSystemRow{0x5346414F, "AFS"},    FileSystemRow{0x6B414653, "AFS"},
    FileSystemRow{0x73757245, "Coda"},   FileSystemRow{0x7461636F, "OCFS2"},
    FileSystemRow{0x01161970, "GFS2"},   FileSystemRow{0x47504653, "GPFS"},
    FileSystemRow{0x19830326, "BeeGFS"}, FileSystemRow{0x786F4256, "VirtualBox shared folder"},
    FileSystemRow{0x564C, "NCP"},
};

}  // namespace

std::string_view UnsuitableFileSystem(uint64_t statfs_type) {
  for (const FileSystemRow& row : kUnsuitable) {
    if (row.type == statfs_type) return row.name;
  }
  return {};
}

Status CheckFileSystem(const std::string& directory) {
  struct statfs info {};
  if (::statfs(directory.c_str(), &info) != 0) return ErrnoError(errno, fmt::format("statfs {}", directory));
  // f_type is signed on some machines: only its low 32 bits are the number.
  const std::string_view name = UnsuitableFileSystem(static_cast<uint32_t>(info.f_type));
  if (name.empty()) return OkStatus();
  return Error(
      Code::kFailedPrecondition,
      fmt::format("{} is on a network or user-space file system ({}), where the registry's locks do not "
                  "hold; keep the registry on a local disk of this host",
                  directory, name));
}

namespace {

Error Damaged(const std::string& path, std::string_view how) {
  return Error(Code::kDataLoss, fmt::format("{} {}; {}", path, how, kRestoreAdvice));
}

}  // namespace

Status CheckDataFile(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, fmt::format("open {}", path));
  uint64_t checked_transaction = 0;
  constexpr int kAttempts = 8;  // another one only if a process committed meanwhile
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return ErrnoError(errno, fmt::format("stat {}", path));
    DataFile file(fd.get(), static_cast<uint64_t>(info.st_size));
    const std::optional<Meta> meta = file.NewestMeta();
    if (!meta)
      return Damaged(
          path, info.st_size == 0 ? "is empty" : "is not a registry's data file (or its start is damaged)");
    if (file.Holds(*meta)) return OkStatus();
    if (file.TreeIsWhole(meta->free_list.root) && file.TreeIsWhole(meta->main.root)) {
      return OkStatus();
    }
    if (meta->transaction == checked_transaction) break;
    checked_transaction = meta->transaction;
  }
  return Damaged(path, "is cut short: pages that it refers to are missing");
}

Status CheckTrees(const std::string& path, uint64_t transaction) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, fmt::format("open {}", path));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoError(errno, fmt::format("stat {}", path));
  DataFile file(fd.get(), static_cast<uint64_t>(info.st_size));
  const std::optional<Meta> meta = file.MetaOf(transaction);
  if (!meta) return Error(Code::kAborted, fmt::format("{}: other commits came in between", path));
  for (const uint64_t root : {meta->main.root, meta->free_list.root}) {
    if (!file.TreeIsWhole(root)) return Damaged(path, "has a damaged page");
  }
  return OkStatus();
}

void WriteInPlace(const std::string& directory) {
  const Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  int flags = 0;
  // Other file systems do not have this flag, and do not need it.
  if (!fd.valid() || ::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0 || (flags & FS_NOCOW_FL) != 0) return;
  flags |= FS_NOCOW_FL;
  ::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags);
}

namespace {

// LMDB makes it as large as its readers need, and takes a larger one as it is.
constexpr off_t kReadersFileBytes = 68 << 10;

// Whether the file system writes changes to the file elsewhere on its disk.
bool IsCopiedOnWrite(int fd) {
  struct statfs info {};
  int flags = 0;
  return ::fstatfs(fd, &info) == 0 && static_cast<uint32_t>(info.f_type) == BTRFS_SUPER_MAGIC &&
         ::ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_NOCOW_FL) == 0;
}

// Whether no process has LMDB's environment open; none opens it while `opening` is held.
bool NobodyHasItOpen(int fd) {
  struct flock whole = {};  // the lock that mdb_env_open begins with
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  whole.l_len = 1;
  return ::fcntl(fd, F_SETLK, &whole) == 0;
}

Error NoRoom(int errno_value, const std::string& path) {
  if (errno_value != ENOSPC && errno_value != EDQUOT) return ErrnoError(errno_value, path);
  return {Code::kNoSpace,
          fmt::format("{}: the disk has no room for the table of readers ({} KiB), and without it "
                      "nothing can be read; remove something else from that disk",
                      path, kReadersFileBytes >> 10)};
}

// Blocks that were written once: writing them again needs no space, on any file system.
Status WriteZeros(int fd, const std::string& path) {
  if (::fallocate(fd, 0, 0, kReadersFileBytes) != 0 && errno != EOPNOTSUPP) return NoRoom(errno, path);
  const std::vector<char> zeros(kReadersFileBytes);
  for (off_t done = 0; done < kReadersFileBytes;) {
    const ssize_t wrote = ::pwrite(fd, zeros.data(), zeros.size() - static_cast<size_t>(done), done);
    if (wrote < 0) return NoRoom(errno, path);
    done += wrote;
  }
  return ::fdatasync(fd) == 0 ? OkStatus() : Status(NoRoom(errno, path));
}

}  // namespace

Status TakeRoomForReaders(const std::string& directory, const LockFile::Held& /*opening*/) {
  const std::string path = directory + "/lock.mdb";
  const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  struct stat info {};
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0) return NoRoom(errno, path);
  if (info.st_size > 0 && IsCopiedOnWrite(fd.get()) && NobodyHasItOpen(fd.get())) {
    // An earlier build made it. Its entries are of processes that have ended; the new one is written in
    // place.
    const std::string fresh = path + ".new";
    ::unlink(fresh.c_str());
    const Fd made(::open(fresh.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!made.valid()) return NoRoom(errno, fresh);
    RETURN_IF_ERROR(WriteZeros(made.get(), fresh));
    if (::rename(fresh.c_str(), path.c_str()) != 0) return ErrnoError(errno, fmt::format("rename {}", fresh));
    return OkStatus();
  }
  if (info.st_size == 0) return WriteZeros(fd.get(), path);
  constexpr off_t kBlock = 512;  // of st_blocks, stat(2)
  if (info.st_blocks * kBlock >= info.st_size) return OkStatus();
  if (::fallocate(fd.get(), 0, 0, info.st_size) == 0 || errno == EOPNOTSUPP) return OkStatus();
  return NoRoom(errno, path);
}

bool IsAllocated(int fd, uint64_t from, uint64_t bytes) {
  constexpr uint32_t kExtents = 32;
  alignas(struct fiemap) std::array<char, sizeof(struct fiemap) + kExtents * sizeof(struct fiemap_extent)>
      buffer;
  const uint64_t end = from + bytes;
  while (from < end) {
    buffer.fill(0);
    auto* const map = reinterpret_cast<struct fiemap*>(buffer.data());
    map->fm_start = from;
    map->fm_length = end - from;
    map->fm_extent_count = kExtents;
    if (::ioctl(fd, FS_IOC_FIEMAP, map) != 0 || map->fm_mapped_extents == 0) return false;
    for (uint32_t i = 0; i < map->fm_mapped_extents; ++i) {
      const struct fiemap_extent& extent = map->fm_extents[i];
      const bool has_place = (extent.fe_flags & (FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_UNKNOWN)) == 0;
      if (!has_place || extent.fe_logical > from) return false;
      from = std::max<uint64_t>(from, extent.fe_logical + extent.fe_length);
    }
  }
  return true;
}

}  // namespace modelfs::store
