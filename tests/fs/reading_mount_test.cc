// READY versions on a real mount, by system calls: refusals, the effects of others' changes, reads of bytes.

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "cas/base/check.h"
#include "cas/base/fd.h"
#include "tests/fs/served.h"
#include "tests/fs/zone_world.h"

namespace modelfs::fs {
namespace {

struct Row {
  std::string what;
  std::function<int()> act;
};

void AddRows(std::vector<Row>& rows, const std::string& at, const std::string& elsewhere) {
  const auto add = [&](std::string what, std::function<int()> act) {
    rows.push_back({fmt::format("{} in {}", what, at), std::move(act)});
  };
  const std::string file = at + "/file";
  const std::string other = at + "/sub/other";
  const std::string fresh = at + "/new";
  const std::string sub = at + "/sub";
  const std::vector<std::pair<std::string, int>> opens = {
      {"O_WRONLY", O_WRONLY},
      {"O_RDWR", O_RDWR},
      {"O_TRUNC", O_RDONLY | O_TRUNC},
      {"O_WRONLY|O_TRUNC", O_WRONLY | O_TRUNC},
      {"O_APPEND", O_WRONLY | O_APPEND},
      {"O_CREAT of what is there", O_WRONLY | O_CREAT},
  };
  for (const auto& open : opens) {
    add("open " + open.first, [file, flags = open.second] { return OpenErrno(file, flags); });
  }
  add("creat", [fresh] { return OpenErrno(fresh, O_WRONLY | O_CREAT | O_TRUNC); });
  add("exclusive creat", [fresh] { return OpenErrno(fresh, O_RDWR | O_CREAT | O_EXCL); });
  add("mkdir", [fresh] { return Errno(::mkdir(fresh.c_str(), 0755)); });
  add("mknod", [fresh] { return Errno(::mknod(fresh.c_str(), S_IFREG | 0644, 0)); });
  add("mkfifo", [fresh] { return Errno(::mkfifo(fresh.c_str(), 0644)); });
  add("symlink", [fresh] { return Errno(::symlink("../versions/1", fresh.c_str())); });
  add("link", [file, fresh] { return Errno(::link(file.c_str(), fresh.c_str())); });
  add("unlink", [file] { return Errno(::unlink(file.c_str())); });
  add("rmdir", [sub] { return Errno(::rmdir(sub.c_str())); });
  add("rename", [file, fresh] { return Errno(::rename(file.c_str(), fresh.c_str())); });
  add("rename over", [file, other] { return Errno(::rename(file.c_str(), other.c_str())); });
  add("rename of a directory", [sub, fresh] { return Errno(::rename(sub.c_str(), fresh.c_str())); });
  add("rename out", [file, elsewhere] { return Errno(::rename(file.c_str(), elsewhere.c_str())); });
  add("exchange", [file, other] {
    return Errno(::renameat2(AT_FDCWD, file.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE));
  });
  add("truncate", [file] { return Errno(::truncate(file.c_str(), 0)); });
  add("extend", [file] { return Errno(::truncate(file.c_str(), 1 << 20)); });
  for (const std::string& each : {file, sub}) {
    const std::string name = each.substr(at.size() + 1);
    add("chmod of " + name, [each] { return Errno(::chmod(each.c_str(), 0600)); });
    add("chown of " + name, [each] { return Errno(::chown(each.c_str(), 1, 1)); });
    add("touch of " + name, [each] { return Errno(::utimensat(AT_FDCWD, each.c_str(), nullptr, 0)); });
    add("setxattr of " + name, [each] { return Errno(::setxattr(each.c_str(), "user.foo", "v", 1, 0)); });
    add("tag of " + name, [each] { return Errno(::setxattr(each.c_str(), "user.tag.k", "v", 1, 0)); });
    add("removexattr of " + name, [each] { return Errno(::removexattr(each.c_str(), "user.foo")); });
  }
}

TEST(ReadingMount, EveryChangeToAReadyVersionReturnsEROFSAndAReason) {
  SKIP_WITHOUT_MOUNT();
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  world.Commit(model, {{"file", "a"}, {"sub/file", "b"}, {"sub/other", "c"}});
  ASSERT_TRUE(world.registry->SetAlias(world.caller, model, "Champion", 1).ok());
  const Served served(world);
  const std::string at = served.path("prod/ml/iris");
  std::vector<Row> rows;
  AddRows(rows, at + "/versions/1", at + "/versions/out");
  AddRows(rows, at + "/aliases/Champion", at + "/versions/out");
  AddRows(rows, at + "@Champion", at + "/versions/out");
  ASSERT_GE(rows.size(), 60U);
  for (const Row& row : rows) EXPECT_EQ(row.act(), EROFS) << row.what;

  std::istringstream errors(ReadPath(served.path(".modelfs/errors")));
  uint64_t explained = 0;  // repeats are one line with a count
  for (std::string line; std::getline(errors, line);) {
    if (line.find("cp -r versions/1 versions/draft") == std::string::npos) continue;
    const size_t count = line.find("\"count\":");
    ASSERT_NE(count, std::string::npos) << line;
    explained += std::stoull(line.substr(count + 8));
  }
  EXPECT_EQ(explained, rows.size());
  EXPECT_EQ(ReadPath(at + "/versions/1/file"), "a");
}

TEST(ReadingMount, ChangesOfOtherProcessesBecomeVisible) {
  SKIP_WITHOUT_MOUNT();
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  world.Commit(model, {{"file", "one"}});
  const Served served(world);
  const auto other = world.OtherProcess();
  const std::string at = served.path("prod/ml/iris");
  const auto exists = [](const std::string& path) { return ::access(path.c_str(), F_OK) == 0; };

  EXPECT_EQ(OpenErrno(at + "@Champion/file", O_RDONLY), ENOENT);
  EXPECT_EQ(OpenErrno(at + "/versions/2/file", O_RDONLY), ENOENT);
  world.Commit(model, {{"file", "two"}});
  ASSERT_TRUE(other->SetAlias(world.caller, model, "Champion", 2).ok());
  EXPECT_EQ(ReadPath(at + "@Champion/file"), "two") << "looked up at once";
  const Fd open(::open((at + "@Champion/file").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(other->SetAlias(world.caller, model, "Champion", 1).ok());
  EXPECT_EQ(ReadPath(at + "@Champion/file"), "one");
  EXPECT_EQ(ReadFd(open.get()), "two") << "an open file stays with its version";

  ASSERT_TRUE(exists(at + "/versions/2/file"));
  ASSERT_TRUE(other->DeleteVersion(world.caller, model, 2).ok());
  EXPECT_TRUE(Eventually([&] { return !exists(at + "/versions/2"); }));
  EXPECT_EQ(OpenErrno(at + "/versions/2/file", O_RDONLY), ENOENT);
  EXPECT_EQ(ReadFd(open.get()), "two") << "and is read to the end";

  ASSERT_TRUE(other->Rename(world.caller, model, "rose").ok());
  EXPECT_TRUE(Eventually([&] { return exists(served.path("prod/ml/rose")) && !exists(at); }));
  EXPECT_EQ(ReadPath(served.path("prod/ml/rose@Champion/file")), "one");
}

// The kernel caches all of a version, so it walks there without asking.
TEST(ReadingMount, AVersionDeletedByOthersLeavesTheKernelsCaches) {
  SKIP_WITHOUT_MOUNT();
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  world.Commit(model, {{"data/file", "one"}, {"data/never asked for", "x"}, {"other/open", "read"}});
  world.Commit(model, {{"file", "two"}});
  const Served served(world);
  const auto other = world.OtherProcess();
  const std::string version = served.path("prod/ml/iris/versions/1");
  const std::array<std::string, 3> kept = {version, version + "/data", version + "/data/file"};
  const auto kernel_has_all = [&] {
    return std::all_of(kept.begin(), kept.end(),
                       [](const std::string& path) { return ::access(path.c_str(), F_OK) == 0; });
  };
  ASSERT_TRUE(kernel_has_all());
  const Fd directory(::open(version.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // In another directory: its first read makes it native, and its name is then invalidated.
  const Fd file(::open((version + "/other/open").c_str(), O_RDONLY | O_CLOEXEC));

  ASSERT_TRUE(other->DeleteVersion(world.caller, model, 1).ok());
  ASSERT_TRUE(Eventually([&] { return ::access(kept.back().c_str(), F_OK) != 0; }));
  for (const std::string& path : kept) {
    struct stat attr = {};
    EXPECT_EQ(Errno(::stat(path.c_str(), &attr)), ENOENT) << path;
    EXPECT_EQ(OpenErrno(path, O_RDONLY), ENOENT) << path;
  }
  EXPECT_EQ(OpenErrno(version + "/data/never asked for", O_RDONLY), ENOENT);
  for (const auto& left : std::filesystem::directory_iterator(served.path("prod/ml/iris/versions"))) {
    EXPECT_EQ(left.path().filename(), "2");
  }

  // A process in it gets an error, finds the way out, and reads on from its open files.
  const int there = ::openat(directory.get(), "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  EXPECT_EQ(there, -1);
  EXPECT_TRUE(errno == ENOENT || errno == ESTALE) << errno;
  EXPECT_EQ(ReadFd(file.get()), "read");
  EXPECT_EQ(ReadPath(served.path("prod/ml/iris/versions/2/file")), "two");
}

// All uses that a program makes of an open file.
void ExpectWholeUse(int fd, const std::string& want, const std::string& scratch) {
  struct stat attr = {};
  ASSERT_EQ(Errno(::fstat(fd, &attr)), 0);
  EXPECT_EQ(attr.st_mode, mode_t{S_IFREG | 0644});
  EXPECT_EQ(attr.st_size, static_cast<off_t>(want.size()));
  void* mapped = ::mmap(nullptr, want.size(), PROT_READ, MAP_PRIVATE, fd, 0);
  ASSERT_NE(mapped, MAP_FAILED) << errno;
  EXPECT_EQ(std::string_view(static_cast<const char*>(mapped), want.size()), want);
  ::munmap(mapped, want.size());

  ASSERT_EQ(::lseek(fd, 0, SEEK_SET), 0);
  EXPECT_EQ(std::system(fmt::format("cat <&{} >{}", fd, scratch).c_str()), 0);
  EXPECT_EQ(ReadPath(scratch), want);
  const Fd sent(::open(scratch.c_str(), O_RDWR | O_TRUNC | O_CLOEXEC));
  off_t offset = 0;
  while (::sendfile(sent.get(), fd, &offset, want.size()) > 0) {
  }
  EXPECT_EQ(ReadFd(sent.get()), want);
}

// After a repair, no new open returns a byte of the damaged file, even if an earlier handle has read the
// damage into the kernel's pages.
TEST(ReadingMount, ARepairedFileNeverShowsItsDamagedBytes) {
  SKIP_WITHOUT_MOUNT();
  for (const bool passthrough : {true, false}) {
    SCOPED_TRACE(passthrough);
    ZoneWorld world;
    const store::ObjectId model = world.Make("prod.ml.iris");
    const std::string bytes(3 * 4096, 'w');
    world.Commit(model, {{"weights", bytes}});
    const Served served(world, Served::Options{.passthrough = passthrough});
    const std::string versions = served.path("prod/ml/iris/versions/");
    ASSERT_EQ(ReadPath(versions + "1/weights"), bytes);
    Fd before(::open((versions + "1/weights").c_str(), O_RDONLY | O_CLOEXEC));

    const std::string hex = DigestOf(std::string_view(bytes)).Hex();
    const std::string object =
        fmt::format("{}/blobs/objects/{}/{}", world.directory, hex.substr(0, 2), hex.substr(2));
    {
      const Fd damage(::open(object.c_str(), O_WRONLY | O_CLOEXEC));
      ASSERT_EQ(::pwrite(damage.get(), "X", 1, 5000), 1) << object;
    }
    // Reads through the open handle, once the kernel has to ask for the page.
    ASSERT_EQ(::posix_fadvise(before.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
    EXPECT_NE(ReadFd(before.get()), bytes) << "the damage does not show";
    EXPECT_EQ(OpenErrno(versions + "1/weights", O_RDONLY), EIO);

    world.Commit(model, {{"weights", bytes}});  // the same content, by another process
    ASSERT_TRUE(Eventually([&] { return ::access((versions + "2").c_str(), F_OK) == 0; }));
    EXPECT_EQ(ReadPath(versions + "2/weights"), bytes);
    // By the nodeid of the open handle, or by the one that its name leads to since it was verified.
    const std::string failed = fmt::format("<errno {}>", EIO);
    std::string read = ReadPath(versions + "1/weights");
    EXPECT_TRUE(read == failed || read == bytes) << read;
    if (read == failed) {
      const std::string errors = ReadPath(served.path(".modelfs/errors"));
      EXPECT_NE(errors.find("the damaged file is still open"), std::string::npos) << errors;
    }
    before.Reset();
    EXPECT_TRUE(Eventually([&] { return (read = ReadPath(versions + "1/weights")) != failed; }));
    EXPECT_EQ(read, bytes);
  }
}

TEST(ReadingMount, OpenFilesStayWholeWhenTheirVersionIsDeleted) {
  SKIP_WITHOUT_MOUNT();
  for (const bool passthrough : {true, false}) {
    ZoneWorld world;
    const store::ObjectId model = world.Make("prod.ml.iris");
    std::string bytes(3 * 4096 + 17, '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 >> 4U);
    for (const char* number : {"1", "2"}) {
      world.Commit(model, {{"weights", bytes + number}, {"sub/part", number + bytes}});
    }
    ASSERT_TRUE(world.registry->SetAlias(world.caller, model, "Champion", 2).ok());
    const Served served(world, Served::Options{.passthrough = passthrough});
    const auto other = world.OtherProcess();
    const std::string at = served.path("prod/ml/iris");
    const std::array<std::function<int()>, 2> deletions = {
        [&] { return other->DeleteVersion(world.caller, model, 1).ok() ? 0 : -1; },
        [&] { return ::rmdir((at + "/versions/2").c_str()); },
    };
    for (size_t i = 0; i < deletions.size(); ++i) {
      const std::string number = std::to_string(i + 1);
      SCOPED_TRACE(fmt::format("passthrough {} version {}", passthrough, number));
      const std::string version = fmt::format("{}/versions/{}", at, number);
      const std::string seen = i == 0 ? version : at + "@Champion";
      // For a shell to inherit.
      const Fd weights(::open((seen + "/weights").c_str(), O_RDONLY));
      const Fd part(::open((seen + "/sub/part").c_str(), O_RDONLY));
      const Fd directory(::open(seen.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      ASSERT_TRUE(weights.valid() && part.valid() && directory.valid());
      ASSERT_EQ(deletions.at(i)(), 0);
      ASSERT_TRUE(Eventually([&] { return ::access(version.c_str(), F_OK) != 0; }));
      for (const Fd* file : {&weights, &part}) {
        // A read makes the kernel ask for the attributes again.
        struct stat attr = {};
        EXPECT_TRUE(Eventually([&] {
          char first = 0;
          return ::pread(file->get(), &first, 1, 0) != 1 || ::fstat(file->get(), &attr) != 0 ||
                 attr.st_nlink == 0;
        }));
      }
      ExpectWholeUse(weights.get(), bytes + number, world.directory + "/copy");
      ExpectWholeUse(part.get(), number + bytes, world.directory + "/copy");
      EXPECT_EQ(::openat(directory.get(), "weights", O_RDONLY | O_CLOEXEC), -1);
      EXPECT_EQ(OpenErrno(fmt::format("/proc/self/fd/{}", weights.get()), O_RDONLY), ESTALE);
    }
  }
}

TEST(ReadingMount, AWorkingDirectorySurvivesTheInvalidationOfItsName) {
  SKIP_WITHOUT_MOUNT();
  ZoneWorld world;
  const Served served(world);
  const auto other = world.OtherProcess();
  std::string below;
  for (const char* name : {"/prod", "/ml", "/iris"}) {
    below += name;
    ASSERT_EQ(Errno(::mkdir(served.path(below.substr(1)).c_str(), 0755)), 0);
  }
  const std::string path = served.path(below.substr(1));
  const Fd directory(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(directory.valid());
  // Its name is invalidated for the first rename. Notifications are sent in order: once the later one shows,
  // the earlier one has been sent.
  const auto model = other->Lookup(world.caller, *store::FullName::Parse("prod.ml.iris"));
  ASSERT_TRUE(model.ok());
  const std::string later = served.path("prod/ml/later");
  ASSERT_EQ(Errno(::mkdir(later.c_str(), 0755)), 0);
  ASSERT_EQ(::access(later.c_str(), F_OK), 0);
  ASSERT_TRUE(other->Rename(world.caller, model->id, "rose").ok());
  ASSERT_TRUE(other->Rename(world.caller, model->id, "iris").ok());
  const auto other_model = other->Lookup(world.caller, *store::FullName::Parse("prod.ml.later"));
  ASSERT_TRUE(other_model.ok());
  ASSERT_TRUE(other->Rename(world.caller, other_model->id, "moved").ok());
  ASSERT_TRUE(Eventually([&] { return ::access(later.c_str(), F_OK) != 0; }));
  ASSERT_EQ(::access(path.c_str(), F_OK), 0);
  std::array<char, 4096> link = {};
  const ssize_t length =
      ::readlink(fmt::format("/proc/self/fd/{}", directory.get()).c_str(), link.data(), link.size());
  ASSERT_GT(length, 0);
  EXPECT_EQ(std::string(link.data(), static_cast<size_t>(length)), std::filesystem::canonical(path).string());
}

TEST(ReadingMount, AFlippedBitReturnsEIOAndAMessage) {
  SKIP_WITHOUT_MOUNT();
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  world.Commit(model, {{"weights", "many numbers"}, {"fine", "others"}});
  world.FlipBit(DigestOf(std::string_view("many numbers")));
  const Served served(world);
  EXPECT_EQ(ReadPath(served.path("prod/ml/iris/versions/1/weights")), fmt::format("<errno {}>", EIO));
  EXPECT_EQ(ReadPath(served.path("prod/ml/iris/versions/1/fine")), "others");
  const std::string errors = ReadPath(served.path(".modelfs/errors"));
  EXPECT_NE(errors.find("prod.ml.iris/1: weights"), std::string::npos) << errors;
}

// A number in `status`, e.g. "native_handles", or "read" among the requests.
int64_t StatusNumber(const Served& served, const std::string& name) {
  const std::string status = ReadPath(served.path(".modelfs/status"));
  const std::string key = fmt::format("\"{}\": ", name);
  const size_t at = status.find(key);
  return at == std::string::npos ? -1 : std::atoll(status.c_str() + at + key.size());
}
#define SKIP_WITHOUT_PASSTHROUGH(served)                                                               \
  if (ReadPath((served).path(".modelfs/status")).find("\"passthrough\": true") == std::string::npos) { \
    GTEST_SKIP() << "no passthrough here";                                                             \
  }

// A file that is verified during an open is native in that very open.
TEST(ReadingMount, AfterARestartASmallFileIsNativeAtOnce) {
  SKIP_WITHOUT_MOUNT();
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  world.Commit(model, {{"weights", "many numbers"}});
  const Served served(world);
  SKIP_WITHOUT_PASSTHROUGH(served);
  const std::string path = served.path("prod/ml/iris/versions/1/weights");
  const Fd first(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(StatusNumber(served, "native_handles"), 1);
  EXPECT_EQ(ReadFd(first.get()), "many numbers");

  // A later lookup may get another nodeid, of the same file.
  const Fd again(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(StatusNumber(served, "native_handles"), 2);
  EXPECT_EQ(ReadFd(again.get()), "many numbers");
  struct stat before = {};
  struct stat now = {};
  ASSERT_EQ(::fstat(first.get(), &before), 0);
  ASSERT_EQ(::stat(path.c_str(), &now), 0);
  EXPECT_EQ(before.st_ino, now.st_ino) << "one file to every reader";
}

// A larger file is verified in the background from its first open on. Until then it is read through the page
// cache, and handles from then stay so.
TEST(ReadingMount, AfterARestartALargeFileIsNativeOnceItIsVerified) {
  SKIP_WITHOUT_MOUNT();
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  std::string bytes(cas::kVerifyAtOpenBytes + 4097, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 >> 7U);
  world.Commit(model, {{"weights", bytes}});
  const Served served(world);
  SKIP_WITHOUT_PASSTHROUGH(served);
  const std::string path = served.path("prod/ml/iris/versions/1/weights");
  const Fd first(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  // None, unless the verification that the open began was quicker.
  const int64_t before = StatusNumber(served, "native_handles");
  Fd second;
  ASSERT_TRUE(Eventually([&] {
    second = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    return StatusNumber(served, "native_handles") == before + 1;
  }));
  const int64_t reads = StatusNumber(served, "read");
  EXPECT_TRUE(ReadFd(second.get()) == bytes);
  const int64_t of_status = StatusNumber(served, "read") - reads;
  EXPECT_LE(of_status, 4) << "the kernel reads it by itself: only reads of `status` are counted";
  EXPECT_TRUE(ReadFd(first.get()) == bytes) << "the old handle goes on as it was";
}

// An alias directory never goes back: each reader sees the old version or the new one, and none before.
TEST(ReadingMount, AnAliasDirectoryMovesForwardUnderItsReaders) {
  SKIP_WITHOUT_MOUNT();
  constexpr int kVersions = 100;
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  for (int i = 1; i <= kVersions; ++i) world.Commit(model, {{"number", std::to_string(i)}});
  ASSERT_TRUE(world.registry->SetAlias(world.caller, model, "Champion", 1).ok());
  const Served served(world);
  const std::string path = served.path("prod/ml/iris@Champion/number");
  std::atomic<int> current = 1;
  std::atomic<bool> done = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      int last = 0;
      while (!done) {
        const int at_least = current;
        const std::string content = ReadPath(path);
        const int seen = std::atoi(content.c_str());
        EXPECT_GE(seen, std::max(last, at_least)) << content;
        last = seen;
      }
    });
  }
  const auto other = world.OtherProcess();
  for (int i = 2; i <= kVersions; ++i) {
    ASSERT_TRUE(other->SetAlias(world.caller, model, "Champion", static_cast<store::VersionNumber>(i)).ok());
    current = i;
  }
  done = true;
  for (std::thread& each : readers) each.join();
  EXPECT_EQ(ReadPath(path), std::to_string(kVersions));
}

// The daemon's counters say how the bytes were read: the kernel sends a READ once, and OPENs ever after.
TEST(ReadingMount, ASmallFileIsReadOnceAndThenFromThePageCache) {
  SKIP_WITHOUT_MOUNT();
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const std::string large(4097, 'x');
  world.Commit(model, {{"small", "small bytes"}, {"empty", ""}, {"large", large}});
  const Served served(world, {.small_file_bytes = 4096});
  const std::string version = served.path("prod/ml/iris/versions/1");
  const auto requests = [&](const std::string& operation) {
    const std::string metrics = ReadPath(served.path(".modelfs/metrics"));
    std::smatch found;
    const std::regex line("modelfs_requests_total\\{[^}]*\"" + operation + "\"[^}]*\\} (\\d+)");
    return std::regex_search(metrics, found, line) ? std::stoull(found[1]) : 0ULL;
  };
  EXPECT_EQ(ReadPath(version + "/small"), "small bytes");
  EXPECT_EQ(ReadPath(version + "/empty"), "");
  const uint64_t before = requests("read");
  const uint64_t between = requests("read") - before;  // of the metrics themselves
  const uint64_t from = requests("read");
  for (int i = 0; i < 10; ++i) EXPECT_EQ(ReadPath(version + "/small"), "small bytes");
  EXPECT_EQ(requests("read") - from, between) << "ten opens, no READ";
  EXPECT_EQ(ReadPath(version + "/large"), large);

  // Damage below: what is served was checked in full, and what is not in memory is checked when it is read.
  world.FlipBit(DigestOf("small bytes"));
  EXPECT_EQ(ReadPath(version + "/small"), "small bytes");
  const Fd open(::open((version + "/small").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(world.registry->DeleteVersion(world.caller, model, 1).ok());
  ASSERT_TRUE(world.blobs->Sweep({}, {.revision = UINT64_MAX}, false).ok());
  EXPECT_TRUE(Eventually([&] { return OpenErrno(version + "/small", O_RDONLY) == ENOENT; }));
  EXPECT_EQ(ReadFd(open.get()), "small bytes") << "what is open is read to the end";
}

}  // namespace
}  // namespace modelfs::fs
