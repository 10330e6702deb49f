// The channel on a real mount: passthrough, the life of a mount, and its traces afterwards.
#include "fs/kernel/fuse_channel.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <future>
#include <random>
#include <thread>

#include "cas/base/check.h"
#include "fs/kernel/mount_point.h"
#include "fs/mount_daemon.h"
#include "tests/fs/kernel/toy_mount.h"

namespace modelfs::fs {
namespace {

// Skips if this machine cannot pass through, with the daemon's reason.
#define NEEDS_PASSTHROUGH(mount)                                                  \
  if (!(mount).channel().passthrough()) {                                         \
    GTEST_SKIP() << "no passthrough: " << (mount).channel().passthrough_reason(); \
  }

std::string RandomBytes(size_t size_bytes) {
  std::mt19937_64 random(7);
  std::string bytes(size_bytes, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

size_t CountOf(const std::string& directory) {
  size_t count = 0;
  DIR* open = ::opendir(directory.c_str());
  while (::readdir(open) != nullptr) ++count;
  ::closedir(open);
  return count;
}

std::string ReadAll(int fd, size_t size_bytes) {
  std::string bytes(size_bytes, '\0');
  size_t done = 0;
  while (done < size_bytes) {
    const ssize_t count = ::pread(fd, bytes.data() + done, size_bytes - done, static_cast<off_t>(done));
    if (count <= 0) break;
    done += static_cast<size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

TEST(Passthrough, TheKernelReadsByItself) {
  NEEDS_FUSE();
  TestFolder folder;
  const std::string bytes = RandomBytes((size_t{5} << 20U) + 123);
  ToyZone zone;
  zone.AddBacked("blob", folder.File("blob", bytes), Flavour::kNative);
  ToyMount mount(zone);
  NEEDS_PASSTHROUGH(mount);

  const Fd file(::open(mount.File("blob").c_str(), O_RDONLY));
  ASSERT_TRUE(file.valid());
  EXPECT_EQ(ReadAll(file.get(), bytes.size()), bytes);
  void* mapped = ::mmap(nullptr, bytes.size(), PROT_READ, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_EQ(std::memcmp(mapped, bytes.data(), bytes.size()), 0);
  ::munmap(mapped, bytes.size());
  EXPECT_EQ(mount.Requests("read"), 0U);
  EXPECT_EQ(mount.Snapshot().native_handles, 1U);

  // posix_fadvise(2) goes past passthrough: READ is answered like any other.
  EXPECT_EQ(::posix_fadvise(file.get(), 0, 4096, POSIX_FADV_WILLNEED), 0);
  EXPECT_EQ(ReadAll(file.get(), bytes.size()), bytes);
}

TEST(Passthrough, HandlesOfOneFileShareOneBackingAndTheLastClosesIt) {
  NEEDS_FUSE();
  TestFolder folder;
  ToyZone zone;
  zone.AddBacked("blob", folder.File("blob", "bytes"), Flavour::kNative);
  ToyMount mount(zone);
  NEEDS_PASSTHROUGH(mount);
  for (int round = 0; round < 3; ++round) {
    std::vector<Fd> files;
    for (int i = 0; i < 20; ++i) files.emplace_back(::open(mount.File("blob").c_str(), O_RDONLY));
    for (const Fd& file : files) EXPECT_EQ(ReadAll(file.get(), 5), "bytes");
    EXPECT_EQ(mount.Snapshot().native_handles, 20U);
    files.clear();
    ASSERT_TRUE(Eventually([&] { return mount.Snapshot().open_files == 0; }));
    EXPECT_EQ(mount.Snapshot().native_handles, 0U);
  }
  EXPECT_EQ(mount.Requests("read"), 0U);
}

TEST(Passthrough, AFileThatBecomesNativeKeepsItsOldHandles) {
  NEEDS_FUSE();
  TestFolder folder;
  const std::string bytes = RandomBytes(size_t{1} << 20U);
  ToyZone zone;
  zone.AddBacked("blob", folder.File("blob", bytes), Flavour::kCached);
  ToyMount mount(zone);
  NEEDS_PASSTHROUGH(mount);

  const Fd old_file(::open(mount.File("blob").c_str(), O_RDONLY));
  void* old_map = ::mmap(nullptr, bytes.size(), PROT_READ, MAP_SHARED, old_file.get(), 0);
  ASSERT_NE(old_map, MAP_FAILED);
  EXPECT_EQ(ReadAll(old_file.get(), 4096), bytes.substr(0, 4096));

  zone.SetFlavour("blob", Flavour::kNative);
  mount.notifier().EntryChanged(kRootNode, "blob");
  mount.notifier().Flush();

  const Fd new_file(::open(mount.File("blob").c_str(), O_RDONLY));
  ASSERT_TRUE(new_file.valid());
  EXPECT_EQ(mount.Snapshot().native_handles, 1U);
  const uint64_t reads = mount.Requests("read");
  EXPECT_EQ(ReadAll(new_file.get(), bytes.size()), bytes);
  EXPECT_EQ(mount.Requests("read"), reads);

  // The old nodeid has a cached handle, so the next open of it joins that mode: a mixture would be EIO.
  const std::string by_number = "/proc/self/fd/" + std::to_string(old_file.get());
  const Fd reopened(::open(by_number.c_str(), O_RDONLY));
  ASSERT_TRUE(reopened.valid());
  EXPECT_EQ(ReadAll(reopened.get(), bytes.size()), bytes);
  EXPECT_EQ(ReadAll(old_file.get(), bytes.size()), bytes);
  EXPECT_EQ(std::memcmp(old_map, bytes.data(), bytes.size()), 0);

  struct stat before = {};
  struct stat after = {};
  ASSERT_EQ(::fstat(old_file.get(), &before), 0);
  ASSERT_EQ(::fstat(new_file.get(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino) << "sameopenfile(3) compares these";
  EXPECT_EQ(before.st_dev, after.st_dev);
  ::munmap(old_map, bytes.size());
}

TEST(Passthrough, WithoutItTheSameBytesAreRead) {
  NEEDS_FUSE();
  TestFolder folder;
  const std::string bytes = RandomBytes((size_t{3} << 20U) + 1);
  ToyZone zone;
  zone.AddBacked("blob", folder.File("blob", bytes), Flavour::kNative);
  FuseChannel::Options options;
  options.passthrough = false;
  ToyMount mount(zone, options);
  EXPECT_FALSE(mount.channel().passthrough());
  EXPECT_EQ(mount.channel().passthrough_reason(), "switched off");
  EXPECT_EQ(ReadWhole(mount.File("blob")), bytes);
  EXPECT_GT(mount.Requests("read"), 0U);
  EXPECT_EQ(mount.Snapshot().native_handles, 0U);
}

// A daemon in a process of its own, to be killed.
class Child {
 public:
  explicit Child(const std::string& mount_point, const std::string& real_file) {
    int ready[2];
    CHECK(::pipe(ready) == 0);
    pid_ = ::fork();
    CHECK(pid_ >= 0);
    if (pid_ == 0) {
      ToyZone zone;
      zone.AddBacked("blob", real_file, Flavour::kNative);
      FuseChannel::Options options;
      options.mount_point = mount_point;
      ToyMount mount(zone, options);
      const char native = mount.channel().passthrough() ? 'n' : 'c';
      [[maybe_unused]] const ssize_t written = ::write(ready[1], &native, 1);
      while (true) ::pause();
    }
    char native = 0;
    CHECK(::read(ready[0], &native, 1) == 1);
    native_ = native == 'n';
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~Child() { Kill(); }
  void Kill() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  bool native() const { return native_; }

 private:
  pid_t pid_ = -1;
  bool native_ = false;
};

TEST(MountLife, AKilledDaemonLeavesItsReadersAndAPlaceToMountAgain) {
  NEEDS_FUSE();
  TestFolder folder;
  TestFolder place;
  const std::string bytes = RandomBytes(size_t{2} << 20U);
  const std::string real_file = folder.File("blob", bytes);
  {
    Child daemon(place.path(), real_file);
    const Fd file(::open((place.path() + "/blob").c_str(), O_RDONLY));
    ASSERT_TRUE(file.valid());
    void* mapped = ::mmap(nullptr, bytes.size(), PROT_READ, MAP_SHARED, file.get(), 0);
    ASSERT_NE(mapped, MAP_FAILED);
    daemon.Kill();

    struct stat attr = {};
    EXPECT_EQ(::stat((place.path() + "/other").c_str(), &attr), -1);
    EXPECT_EQ(errno, ENOTCONN);
    if (daemon.native()) {
      EXPECT_EQ(ReadAll(file.get(), bytes.size()), bytes);
      EXPECT_EQ(std::memcmp(mapped, bytes.data(), bytes.size()), 0);
    }
    ::munmap(mapped, bytes.size());
  }

  const Result<std::string> prepared = PrepareMountPoint(place.path());
  ASSERT_TRUE(prepared.ok()) << prepared.error().message();
  EXPECT_FALSE(FindMount(place.path()));
  ToyZone zone;
  zone.AddBacked("blob", real_file, Flavour::kNative);
  FuseChannel::Options options;
  options.mount_point = *prepared;
  ToyMount mount(zone, options);
  EXPECT_EQ(ReadWhole(place.path() + "/blob"), bytes);
}

TEST(MountLife, AMountPointMustBeAFreeDirectory) {
  TestFolder folder;
  const std::string file = folder.File("file", "");
  const auto code = [](const std::string& path) {
    const Result<std::string> prepared = PrepareMountPoint(path);
    return prepared.ok() ? Code::kInternal : prepared.error().code();
  };
  EXPECT_EQ(code(folder.path() + "/missing"), Code::kNotFound);
  EXPECT_EQ(code(file), Code::kInvalidArgument);
  EXPECT_EQ(code(file + "/below"), Code::kInvalidArgument);
  EXPECT_EQ(PrepareMountPoint(folder.path() + "/../" + folder.path().substr(folder.path().rfind('/') + 1)),
            folder.path());
  NEEDS_FUSE();
  ToyZone zone;
  ToyMount mount(zone);
  EXPECT_EQ(code(mount.path()), Code::kAlreadyExists);
}

// P6: the mount there may hang for ever, and the user that mounts gets a message.
TEST(MountLife, AMountThatNeverAnswersIsNotWaitedFor) {
  NEEDS_FUSE();
  TestFolder place;
  FuseChannel::Options options;
  options.mount_point = place.path();
  const auto log =
      std::make_shared<spdlog::logger>("silent", std::make_shared<spdlog::sinks::null_sink_mt>());
  // Never served: its requests are not even read.
  const auto silent = FuseChannel::Mount(options, Dispatcher::Operations(), nullptr, log);
  ASSERT_TRUE(silent.ok()) << silent.error().message();
  for (const std::string& path : {place.path(), place.path() + "/"}) {
    const Result<std::string> prepared = PrepareMountPoint(path);
    ASSERT_FALSE(prepared.ok());
    EXPECT_EQ(prepared.error().code(), Code::kUnavailable) << prepared.error().message();
    EXPECT_NE(prepared.error().message().find("umount --lazy " + path), std::string::npos)
        << prepared.error().message();
  }
  EXPECT_TRUE(FindMount(place.path())) << "it may only be slow";
  EXPECT_TRUE(Unmount(place.path() + "/", true).ok());
  EXPECT_FALSE(FindMount(place.path()));
}

TEST(MountLife, MountInfoNamesTypeAndSource) {
  NEEDS_FUSE();
  ToyZone zone;
  FuseChannel::Options options;
  options.source = "/srv/my registry";
  ToyMount mount(zone, options);
  const std::optional<MountEntry> entry = FindMount(mount.path());
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->type, "fuse.modelfs");
  EXPECT_EQ(entry->source, "/srv/my registry");
  if (::geteuid() == 0) {
    EXPECT_EQ(ReadWhole("/sys/class/bdi/" + entry->device + "/read_ahead_kb"), "1024\n");
  }
}

TEST(MountLife, AReadOnlyMountRefusesWritesByItself) {
  NEEDS_FUSE();
  ToyZone zone;
  FuseChannel::Options options;
  options.read_only = true;
  ToyMount mount(zone, options);
  EXPECT_EQ(::mkdir(mount.File("d").c_str(), 0755), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(mount.Requests("mkdir"), 0U);
}

TEST(MountLife, StopAnswersEarlierRequestsAndUnmounts) {
  NEEDS_FUSE();
  TestFolder folder;
  ToyZone zone;
  zone.AddBacked("slow", folder.File("slow", "the bytes"), Flavour::kCached);
  std::atomic<bool> reading = false;
  std::atomic<bool> may_end = false;
  zone.on_read = [&] {
    reading = true;
    Eventually([&] { return may_end.load(); });
  };
  ToyMount mount(zone);
  std::future<std::string> content =
      std::async(std::launch::async, [&] { return ReadWhole(mount.File("slow")); });
  ASSERT_TRUE(Eventually([&] { return reading.load(); }));
  std::future<Status> stopped = std::async(std::launch::async, [&] { return mount.Stop(); });
  ASSERT_TRUE(Eventually([&] { return !FindMount(mount.path()); }));
  may_end = true;
  EXPECT_EQ(content.get(), "the bytes");
  EXPECT_TRUE(stopped.get().ok());
}

TEST(MountLife, AnUnmountFromOutsideEndsTheLoop) {
  NEEDS_FUSE();
  ToyZone zone;
  ToyMount mount(zone);
  const Status unmounted = Unmount(mount.path(), false);
  ASSERT_TRUE(unmounted.ok()) << unmounted.error().message();
  EXPECT_TRUE(mount.Join().ok());
  EXPECT_FALSE(FindMount(mount.path()));
  const Status again = Unmount(mount.path(), false);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code(), Code::kNotFound);
}

TEST(MountLife, ABusyMountNamesItsHolders) {
  NEEDS_FUSE();
  TestFolder folder;
  ToyZone zone;
  zone.AddBacked("file", folder.File("file", "bytes"), Flavour::kCached);
  ToyMount mount(zone);
  const Fd file(::open(mount.File("file").c_str(), O_RDONLY));
  const Status busy = Unmount(mount.path(), false);
  ASSERT_FALSE(busy.ok());
  EXPECT_EQ(busy.error().code(), Code::kFailedPrecondition);
  EXPECT_NE(busy.error().message().find(std::to_string(::getpid()) + " (fs_engine_test)"), std::string::npos)
      << busy.error().message();
  EXPECT_TRUE(Unmount(mount.path(), true).ok());
  EXPECT_EQ(ReadAll(file.get(), 5), "bytes") << "a lazy detach leaves open files readable";
}

TEST(MountLife, DescriptorsAndThreadsReturnToTheirStartingCounts) {
  NEEDS_FUSE();
  TestFolder folder;
  const std::string real_file = folder.File("blob", RandomBytes(100'000));
  const auto once = [&] {
    ToyZone zone;
    zone.AddBacked("blob", real_file, Flavour::kNative);
    ToyMount mount(zone);
    std::vector<std::thread> readers;
    for (int i = 0; i < 8; ++i) {
      readers.emplace_back([&] {
        for (int j = 0; j < 20; ++j) EXPECT_EQ(ReadWhole(mount.File("blob")).size(), 100'000U);
      });
    }
    for (std::thread& reader : readers) reader.join();
    EXPECT_TRUE(mount.Stop().ok());
    EXPECT_EQ(zone.releases, 160);
  };
  once();
  const size_t descriptors = CountOf("/proc/self/fd");
  const size_t threads = CountOf("/proc/self/task");
  once();
  EXPECT_EQ(CountOf("/proc/self/fd"), descriptors);
  EXPECT_TRUE(Eventually([&] { return CountOf("/proc/self/task") == threads; }));
}

TEST(Notifier, AnExpiredEntryIsLookedUpAgain) {
  NEEDS_FUSE();
  TestFolder folder;
  ToyZone zone;
  zone.AddBacked("file", folder.File("file", "x"), Flavour::kCached);
  ToyMount mount(zone);
  struct stat attr = {};
  ASSERT_EQ(::stat(mount.File("file").c_str(), &attr), 0);
  const uint64_t lookups = mount.Requests("lookup");
  ASSERT_EQ(::stat(mount.File("file").c_str(), &attr), 0);
  ASSERT_EQ(mount.Requests("lookup"), lookups);
  mount.notifier().EntryChanged(kRootNode, "file");
  mount.notifier().Flush();
  ASSERT_EQ(::stat(mount.File("file").c_str(), &attr), 0);
  EXPECT_EQ(mount.Requests("lookup"), lookups + 1);

  const uint64_t getattrs = mount.Requests("getattr");
  mount.notifier().AttrChanged(TreeNode(1, 1, Flavour::kCached));
  mount.notifier().Flush();
  ASSERT_EQ(::stat(mount.File("file").c_str(), &attr), 0);
  EXPECT_EQ(mount.Requests("getattr"), getattrs + 1);
}

}  // namespace
}  // namespace modelfs::fs
