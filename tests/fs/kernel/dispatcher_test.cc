#include "fs/kernel/dispatcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "tests/fs/kernel/toy_mount.h"

namespace modelfs::fs {
namespace {

std::vector<std::string> NamesIn(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(path.c_str());
  EXPECT_NE(directory, nullptr);
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory)) names.emplace_back(entry->d_name);
  ::closedir(directory);
  return names;
}

TEST(Dispatcher, AnswersAttributesListingsAndReads) {
  NEEDS_FUSE();
  TestFolder folder;
  ToyZone zone;
  zone.AddBacked("hello", folder.File("hello", "hello world\n"), Flavour::kCached);
  ToyMount mount(zone);

  struct stat attr = {};
  ASSERT_EQ(::stat(mount.File("hello").c_str(), &attr), 0);
  EXPECT_EQ(attr.st_size, 12);
  EXPECT_EQ(attr.st_ino, InodeNumber(TreeNode(1, 1, Flavour::kNative))) << "the flavour does not show";
  EXPECT_EQ(ReadWhole(mount.File("hello")), "hello world\n");
  EXPECT_EQ(NamesIn(mount.path()), (std::vector<std::string>{".", "..", "hello"}));
}

TEST(Dispatcher, ListsManyEntriesOnceEachAndForgetsThem) {
  NEEDS_FUSE();
  constexpr size_t kEntries = 20'000;
  ToyZone zone;
  zone.AddDirectory("many", kEntries, true);
  ToyMount mount(zone);

  const std::vector<std::string> names = NamesIn(mount.File("many"));
  EXPECT_EQ(names.size(), kEntries + 2);
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), kEntries + 2);
  const auto asked_for_again = [&] {
    const uint64_t before = mount.Requests("readdirplus") + mount.Requests("readdir");
    EXPECT_EQ(NamesIn(mount.File("many")).size(), kEntries + 2);
    return mount.Requests("readdirplus") + mount.Requests("readdir") - before;
  };
  // The kernel may drop its cache at any time, so more than one request may be needed.
  uint64_t again = asked_for_again();
  for (int i = 0; i < 10 && again != 0; ++i) again = asked_for_again();
  EXPECT_EQ(again, 0U) << "a listing that may be kept is not asked for again";

  struct stat attr = {};
  ASSERT_EQ(::stat((mount.File("many") + "/e1").c_str(), &attr), 0);
  const uint64_t lookups = mount.Requests("lookup");
  ASSERT_EQ(::stat((mount.File("many") + "/e1").c_str(), &attr), 0);
  EXPECT_EQ(mount.Requests("lookup"), lookups);
}

TEST(Dispatcher, WritesReadBackAndForgetReachesTheZone) {
  NEEDS_FUSE();
  ToyZone zone;
  ToyMount mount(zone);
  const std::string path = mount.File("new");
  Fd file(::open(path.c_str(), O_CREAT | O_RDWR, 0644));
  ASSERT_TRUE(file.valid());
  const std::string text(300'000, 'x');
  ASSERT_EQ(::pwrite(file.get(), text.data(), text.size(), 5), static_cast<ssize_t>(text.size()));
  EXPECT_EQ(::fsync(file.get()), 0);
  EXPECT_EQ(::ftruncate(file.get(), 100), 0);
  std::string want(100, 'x');
  std::fill_n(want.begin(), 5, '\0');
  EXPECT_EQ(ReadWhole(path), want);
  EXPECT_EQ(::lseek(file.get(), 0, SEEK_HOLE), 100);
  EXPECT_EQ(::lseek(file.get(), 7, SEEK_DATA), 7);
  EXPECT_EQ(::pwrite(file.get(), text.data(), 1, 0), 1);
  const uint64_t asked = mount.Requests("getxattr");
  for (int i = 0; i < 10; ++i) EXPECT_EQ(::pwrite(file.get(), text.data(), 10, 0), 10);
  EXPECT_EQ(mount.Requests("getxattr"), asked) << "not each write asks for security.capability";

  ASSERT_EQ(::unlink(path.c_str()), 0);
  EXPECT_EQ(zone.forgotten, 0);
  file.Reset();
  EXPECT_TRUE(Eventually([&] { return zone.forgotten == 1; }));
  EXPECT_TRUE(Eventually([&] { return zone.releases == 2; }));
  EXPECT_EQ(mount.Snapshot().open_files, 0U);
}

TEST(Dispatcher, ARefusalHasAReasonAndAPath) {
  NEEDS_FUSE();
  TestFolder folder;
  ToyZone zone;
  zone.AddBacked("sealed", folder.File("sealed", "x"), Flavour::kCached);
  zone.AddDirectory("d", 3, true);
  ToyMount mount(zone);

  EXPECT_EQ(::open(mount.File("sealed").c_str(), O_WRONLY), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(LastRefusal(mount.refusals()), "open /sealed 30: a READY version never changes");

  EXPECT_EQ(::open(mount.File("d/new").c_str(), O_CREAT | O_WRONLY, 0644), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(LastRefusal(mount.refusals()), "create /d/new 30: a READY version never changes");

  EXPECT_EQ(::rename(mount.File("sealed").c_str(), mount.File("other").c_str()), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(LastRefusal(mount.refusals()), "rename /sealed -> /other 1: renaming is not for toys");

  EXPECT_EQ(::link(mount.File("sealed").c_str(), mount.File("hard").c_str()), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(LastRefusal(mount.refusals()).find("ln -s"), std::string::npos);

  EXPECT_EQ(::mkfifo(mount.File("fifo").c_str(), 0644), -1);
  EXPECT_EQ(errno, EPERM);

  const size_t refusals = mount.refusals().Of(::geteuid()).size();
  struct stat attr = {};
  EXPECT_EQ(::stat(mount.File("absent").c_str(), &attr), -1);
  EXPECT_EQ(errno, ENOENT);
  char value[1];
  EXPECT_EQ(::getxattr(mount.File("sealed").c_str(), "user.none", value, 1), -1);
  EXPECT_EQ(errno, ENODATA);
  EXPECT_EQ(::getxattr(mount.File("sealed").c_str(), "user.modelfs.status", value, 1), -1);
  EXPECT_EQ(errno, ERANGE);
  EXPECT_EQ(mount.refusals().Of(::geteuid()).size(), refusals) << "absence is an answer";
}

TEST(Dispatcher, SettingAnAclIsRefusedInFavourOfGrants) {
  NEEDS_FUSE();
  TestFolder folder;
  ToyZone zone;
  zone.AddBacked("sealed", folder.File("sealed", "x"), Flavour::kCached);
  ToyMount mount(zone);
  const std::string path = mount.File("sealed");
  // acl(5) in its xattr form: version 2, then user::rw-, group::r--, other::r--
  const unsigned char acl[] = {2, 0, 0,   0,   1,   0,   6,    0, 255, 255, 255, 255, 4,   0,
                               4, 0, 255, 255, 255, 255, 0x20, 0, 4,   0,   255, 255, 255, 255};
  EXPECT_EQ(::setxattr(path.c_str(), "system.posix_acl_access", acl, sizeof(acl), 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(LastRefusal(mount.refusals()).find("GRANT"), std::string::npos);

  char value[64];
  EXPECT_EQ(::getxattr(path.c_str(), "system.posix_acl_access", value, sizeof(value)), -1);
  EXPECT_EQ(errno, EOPNOTSUPP) << "ls -l asks no further on this mount";
}

TEST(Dispatcher, ExtendedAttributesReturnSizeAndValue) {
  NEEDS_FUSE();
  TestFolder folder;
  ToyZone zone;
  zone.AddBacked("file", folder.File("file", "x"), Flavour::kCached);
  ToyMount mount(zone);
  char value[64];
  EXPECT_EQ(::getxattr(mount.File("file").c_str(), "user.modelfs.status", nullptr, 0), 5);
  ASSERT_EQ(::getxattr(mount.File("file").c_str(), "user.modelfs.status", value, sizeof(value)), 5);
  EXPECT_EQ(std::string(value, 5), "READY");
  ASSERT_EQ(::listxattr(mount.File("file").c_str(), value, sizeof(value)), 38);
  EXPECT_EQ(std::string(value, 18), std::string("user.modelfs.name\0", 18));
}

TEST(Dispatcher, ALongRenameDelaysNoOtherRequest) {
  NEEDS_FUSE();
  TestFolder folder;
  ToyZone zone;
  zone.AddBacked("file", folder.File("file", "bytes"), Flavour::kCached);
  zone.AddDirectory("d", 10, false);
  std::atomic<bool> begun = false;
  std::atomic<bool> may_end = false;
  zone.on_rename = [&](std::string_view, std::string_view) -> Outcome<void> {
    begun = true;
    Eventually([&] { return may_end.load(); });
    return {};
  };
  FuseChannel::Options options;
  options.max_threads = 2;  // as few as possible: the rename must not be on one of them
  ToyMount mount(zone, options);
  // The kernel delays lookups in the directory of a rename: only other requests can go on.
  const Fd directory(::open(mount.File("d").c_str(), O_RDONLY | O_DIRECTORY));
  std::thread rename([&] { ::rename(mount.File("file").c_str(), mount.File("other").c_str()); });
  ASSERT_TRUE(Eventually([&] { return begun.load(); }));
  EXPECT_EQ(NamesIn("/proc/self/fd/" + std::to_string(directory.get())).size(), 12U);
  struct statvfs space = {};
  EXPECT_EQ(::statvfs(mount.path().c_str(), &space), 0);
  EXPECT_GT(space.f_blocks, 0U);
  may_end = true;
  rename.join();
}

TEST(Dispatcher, AnUnknownIoctlReturnsENOTTY) {
  NEEDS_FUSE();
  TestFolder folder;
  ToyZone zone;
  zone.AddBacked("file", folder.File("file", "x"), Flavour::kCached);
  ToyMount mount(zone);
  const Fd file(::open(mount.File("file").c_str(), O_RDONLY));
  int value = 0;
  EXPECT_EQ(::ioctl(file.get(), 0x5413 /* TIOCGWINSZ */, &value), -1);
  EXPECT_EQ(errno, ENOTTY);
}

TEST(Dispatcher, AHandleOfAnEarlierProcessIsOpenedAgain) {
  NEEDS_FUSE();
  TestFolder folder;
  ToyZone zone;
  zone.AddBacked("file", folder.File("file", std::string(1'000'000, 'x')), Flavour::kCached);
  zone.AddDirectory("d", 5'000, false);
  ToyMount mount(zone);
  const Fd file(::open(mount.File("file").c_str(), O_RDONLY));
  const Fd written(::open(mount.File("new").c_str(), O_CREAT | O_WRONLY, 0644));
  DIR* directory = ::opendir(mount.File("d").c_str());
  ASSERT_NE(directory, nullptr);
  ASSERT_NE(::readdir(directory), nullptr);

  mount.ForgetHandles();
  ASSERT_EQ(mount.Snapshot().open_files, 0U);
  char byte = 0;
  EXPECT_EQ(::pread(file.get(), &byte, 1, 999'999), 1);
  EXPECT_EQ(byte, 'x');
  EXPECT_EQ(::write(written.get(), "later", 5), 5);
  EXPECT_EQ(ReadWhole(mount.File("new")), "later");
  size_t names = 1;
  while (::readdir(directory) != nullptr) ++names;
  ::closedir(directory);
  EXPECT_EQ(names, 5'002U);
}

TEST(Dispatcher, ASmallReadCostsTwoRoundTrips) {
  NEEDS_FUSE();
  TestFolder folder;
  ToyZone zone;
  zone.AddBacked("small", folder.File("small", "0123456789"), Flavour::kCached);
  ToyMount mount(zone);
  const auto read = [&] {
    const Fd file(::open(mount.File("small").c_str(), O_RDONLY));
    char bytes[16];
    return ::read(file.get(), bytes, sizeof(bytes));
  };
  ASSERT_EQ(read(), 10);
  ASSERT_TRUE(Eventually([&] { return mount.Requests("release") == 1; }));
  const StatisticsSnapshot before = mount.Snapshot();
  ASSERT_EQ(read(), 10);
  ASSERT_TRUE(Eventually([&] { return mount.Requests("release") == 2; }));
  const StatisticsSnapshot after = mount.Snapshot();
  std::string requests;
  for (const auto& [name, count] : after.requests) {
    for (uint64_t i = before.requests.at(name); i < count; ++i) requests += name + " ";
  }
  // RELEASE is sent after close(2) returned, and the pages are still there from the first time.
  EXPECT_EQ(requests, "open release ");
}

// Until the kernel has the root's attributes no user gets in, and an invalidation on their way drops them.
TEST(Dispatcher, NoInvalidationOfTheRootReachesTheKernel) {
  NEEDS_FUSE();
  ToyZone zone;
  ToyMount mount(zone);
  struct stat attr = {};
  ASSERT_EQ(::stat(mount.path().c_str(), &attr), 0);
  const uint64_t asked = mount.Requests("getattr");
  mount.channel().InvalidateAttr(kRootNode);
  ASSERT_EQ(::stat(mount.path().c_str(), &attr), 0);
  EXPECT_EQ(mount.Requests("getattr"), asked);
}

}  // namespace
}  // namespace modelfs::fs
