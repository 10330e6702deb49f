// A power cut under LMDB. This program stands between the library and the kernel (its own pwrite and
// fdatasync are found first). It keeps the bytes of data.mdb that had reached the disk: everything at an
// fdatasync, and each write through a descriptor with O_DSYNC.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <sstream>

#include "store/kv/lmdb_kv.h"
#include "tests/store/expect.h"
#include "tests/store/kv/scratch_dir.h"

namespace {

struct Disk {
  std::mutex mu;
  std::map<std::string, std::string> durable;  // path -> bytes, for files named data.mdb
  std::set<std::string> synced_directories;
};
Disk& TheDisk() {
  static Disk disk;
  return disk;
}

std::string PathOf(int fd) {
  char path[4096];
  const ssize_t length = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof(path));
  return length < 0 ? std::string() : std::string(path, static_cast<size_t>(length));
}

bool IsDataFile(const std::string& path) {
  return path.size() > 9 && path.compare(path.size() - 9, 9, "/data.mdb") == 0;
}

std::string Slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

void NoteSync(int fd) {
  const std::string path = PathOf(fd);
  Disk& disk = TheDisk();
  const std::lock_guard<std::mutex> lock(disk.mu);
  if (IsDataFile(path)) disk.durable[path] = Slurp(path);
}

ssize_t NoteWrite(int fd, const void* bytes, size_t count, off_t offset, const char* name) {
  const ssize_t written = Real<ssize_t(int, const void*, size_t, off_t)>(name)(fd, bytes, count, offset);
  if (written > 0 && (::fcntl(fd, F_GETFL) & O_DSYNC) != 0) {
    const std::string path = PathOf(fd);
    Disk& disk = TheDisk();
    const std::lock_guard<std::mutex> lock(disk.mu);
    if (IsDataFile(path)) {
      std::string& durable = disk.durable[path];
      const size_t end = static_cast<size_t>(offset) + static_cast<size_t>(written);
      if (durable.size() < end) durable.resize(end);
      durable.replace(static_cast<size_t>(offset), static_cast<size_t>(written),
                      static_cast<const char*>(bytes), static_cast<size_t>(written));
    }
  }
  return written;
}

}  // namespace

extern "C" {
int fdatasync(int fd) {
  NoteSync(fd);
  return Real<int(int)>("fdatasync")(fd);
}
int fsync(int fd) {
  NoteSync(fd);
  Disk& disk = TheDisk();
  struct stat info {};
  if (::fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
    const std::lock_guard<std::mutex> lock(disk.mu);
    disk.synced_directories.insert(PathOf(fd));
  }
  return Real<int(int)>("fsync")(fd);
}
// glibc has the two names for one function on 64-bit machines; the library may use either.
ssize_t InterposedPwrite(int fd, const void* bytes, size_t count, off_t offset) __asm__("pwrite");
ssize_t InterposedPwrite(int fd, const void* bytes, size_t count, off_t offset) {
  return NoteWrite(fd, bytes, count, offset, "pwrite");
}
ssize_t InterposedPwrite64(int fd, const void* bytes, size_t count, off_t offset) __asm__("pwrite64");
ssize_t InterposedPwrite64(int fd, const void* bytes, size_t count, off_t offset) {
  return NoteWrite(fd, bytes, count, offset, "pwrite64");
}
}

namespace modelfs::store {
namespace {

using testing::Outcome;
using testing::ScratchDir;

// How many of 30 acknowledged commits were lost by a power cut right after their acknowledgement.
int LostCommits(const std::string& home, bool unsafe_no_sync) {
  LmdbOptions options;
  options.directory = home;
  options.mode = LmdbOptions::Mode::kCreate;
  options.unsafe_no_sync = unsafe_no_sync;
  const auto kv = OpenLmdbKv(options).value();
  int lost = 0;
  for (int i = 0; i < 30; ++i) {
    KvTransaction transaction;
    transaction.Put("key" + std::to_string(i), std::string(static_cast<size_t>(i) * 700, 'v'));
    if (i > 3) transaction.Delete("key" + std::to_string(i - 3));
    EXPECT_OK(kv->Commit(transaction));
    std::string durable;
    {
      Disk& disk = TheDisk();
      const std::lock_guard<std::mutex> lock(disk.mu);
      durable = disk.durable[std::filesystem::canonical(home).string() + "/data.mdb"];
    }
    const ScratchDir after;
    std::ofstream(after.path() + "/data.mdb", std::ios::binary) << durable;
    const auto reopened = OpenLmdbKv({.directory = after.path()});
    bool kept = reopened.ok();
    if (kept) {
      const auto snapshot = (*reopened)->Read().value();
      for (int k = std::max(0, i - 2); k <= i; ++k) {
        const auto entry = snapshot->Get("key" + std::to_string(k)).value();
        kept = kept && entry && entry->value.size() == static_cast<size_t>(k) * 700;
      }
      if (i > 3) kept = kept && !snapshot->Get("key" + std::to_string(i - 3)).value();
    }
    if (!kept) ++lost;
  }
  return lost;
}

TEST(PowerCut, NoAcknowledgedCommitIsLost) {
  const ScratchDir dir;
  EXPECT_EQ(LostCommits(dir.path() + "/kv", false), 0);
}

TEST(PowerCut, TheTestNoticesAnEngineThatDoesNotSync) {
  const ScratchDir dir;
  EXPECT_GT(LostCommits(dir.path() + "/kv", true), 20);
}

TEST(PowerCut, ANewRegistrysNamesAreSynced) {
  const ScratchDir dir;
  LmdbOptions options;
  options.directory = dir.path() + "/kv";
  options.mode = LmdbOptions::Mode::kCreate;
  ASSERT_OK(OpenLmdbKv(options));
  Disk& disk = TheDisk();
  const std::lock_guard<std::mutex> lock(disk.mu);
  const std::string root = std::filesystem::canonical(dir.path()).string();
  EXPECT_EQ(disk.synced_directories.count(root + "/kv"), 1U) << "holds the name data.mdb";
  EXPECT_EQ(disk.synced_directories.count(root), 1U) << "holds the name of the directory";
}

}  // namespace
}  // namespace modelfs::store
