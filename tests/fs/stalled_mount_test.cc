// A host that has the bytes and does not answer: those that wait for it stop nobody else, on a real mount.

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cas/base/check.h"
#include "cas/base/clock.h"
#include "cas/base/fd.h"
#include "cas/base/thread.h"
#include "tests/fs/served.h"
#include "tests/fs/stalling_store.h"
#include "tests/fs/zone_world.h"

namespace modelfs::fs {
namespace {

using modelfs::testing::StallingStore;

constexpr size_t kReaders = 64;
constexpr uint64_t kMiB = uint64_t{1} << 20U;
constexpr size_t kBlock = 4096;

// Processes of their own that are killed. `work` may only make system calls: it runs after a fork of a
// process with threads.
class Readers {
 public:
  explicit Readers(const std::function<void(size_t reader)>& work) {
    for (size_t reader = 0; reader < kReaders; ++reader) {
      const pid_t child = ::fork();
      CHECK(child >= 0);
      if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        work(reader);
        ::_exit(1);
      }
      alive_.push_back(child);
    }
  }
  ~Readers() {
    KillEach([] { return true; });
  }

  // How many have ended, each killed alone and waited for. `go_on`: whether to wait on for one that does not.
  size_t KillEach(const std::function<bool()>& go_on) {
    size_t ended = 0;
    for (pid_t& reader : alive_) {
      if (reader < 0) continue;
      ::kill(reader, SIGKILL);
      int status = 0;
      pid_t gone = 0;
      const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, reader, 0)));
      while ((gone = ::waitpid(reader, &status, WNOHANG)) == 0 && go_on()) {
        pollfd exited{.fd = process.get(), .events = POLLIN, .revents = 0};
        ::poll(&exited, 1, 100);  // ms, between two questions whether to go on
      }
      if (gone != reader) continue;
      reader = -1;
      if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ++ended;
    }
    return ended;
  }

 private:
  std::vector<pid_t> alive_;
};

// Ends what hangs: it lets the origin go on, which makes the test fail instead of stopping it.
class Watchdog {
 public:
  explicit Watchdog(StallingStore& store)
      : thread_([this, &store] {
          const MutexLock lock(mu_);
          const Deadline deadline = Deadline::After(std::chrono::seconds(40));
          while (!over_ && !deadline.Passed()) changed_.WaitUntil(mu_, deadline.at());
          if (over_) return;
          bit_ = true;
          store.Release();
        }) {}
  ~Watchdog() {
    {
      const MutexLock lock(mu_);
      over_ = true;
      changed_.NotifyAll();
    }
    thread_.join();
  }
  bool bit() const { return bit_; }

 private:
  Mutex mu_;
  CondVar changed_;
  bool over_ GUARDED_BY(mu_) = false;
  std::atomic<bool> bit_ = false;
  std::thread thread_;
};

struct World {
  ZoneWorld zones;
  store::ObjectId model = zones.Make("prod.ml.iris");
  std::string weights = Bytes(kReaders * kMiB + kMiB);
  store::VersionInfo first = zones.Commit(model, {{"weights.bin", weights}, {"small", "small bytes"}});
  store::VersionInfo second = zones.Commit(model, ManyFiles());
  store::VersionInfo third = zones.Commit(model, {{"cold", "cold bytes"}});
  std::unique_ptr<StallingStore> store;
  cas::LocalStore* host = nullptr;  // what the stalling store stands on
  std::unique_ptr<Served> served =
      std::make_unique<Served>(zones, Served::Options{.tier = [this](cas::LocalStore& local) {
                                 host = &local;
                                 store = std::make_unique<StallingStore>(local);
                                 return store.get();
                               }});

  std::string path(std::string_view below) const {
    return served->path("prod/ml/iris/" + std::string(below));
  }

  static std::string Bytes(size_t size_bytes) {
    std::string bytes(size_bytes, '\0');
    for (size_t i = 0; i < bytes.size(); i += kBlock) bytes[i] = static_cast<char>('a' + (i / kBlock) % 26);
    return bytes;
  }
  static std::map<std::string, std::string> ManyFiles() {
    std::map<std::string, std::string> files;
    for (size_t i = 0; i < kReaders; ++i) files[fmt::format("f{}", i)] = fmt::format("bytes {}", i);
    return files;
  }
};

// Does `work` `times` times; prints how long that took.
void Measure(std::string_view what, int times, std::string_view when, const std::function<void(int)>& work) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < times; ++i) work(i);
  const auto took = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start);
  fmt::print("{:<28} {:>4} done, {:>7.0f} us each, {}\n", what, times, took.count() / times, when);
}

// What must not mind the waiting.
void UseTheRest(const World& world, std::string_view when) {
  Measure("ls of a model's versions", 200, when, [&](int) {
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(world.path("versions")), {}), 3);
  });
  Measure("ls of a version", 200, when, [&](int) {
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(world.path("versions/1")), {}), 2);
  });
  Measure("open + read + close, warm", 200, when,
          [&](int) { EXPECT_EQ(ReadPath(world.path("versions/1/small")), "small bytes"); });
  Measure("alias move", 50, when, [&](int i) {
    const std::string link = world.path("aliases/.moving");
    EXPECT_EQ(Errno(::symlink(i % 2 == 0 ? "../versions/1" : "../versions/3", link.c_str())), 0);
    EXPECT_EQ(Errno(::rename(link.c_str(), world.path("aliases/Champion").c_str())), 0);
  });
}

// Half of them read through the page cache, with the kernel's readahead in the background, and half past it.
void ReadOne(const std::string& path, size_t reader) {
  alignas(kBlock) std::array<char, kBlock> block;
  const int file = ::open(path.c_str(), O_RDONLY | (reader % 2 == 0 ? 0 : O_DIRECT));
  if (file >= 0)
    static_cast<void>(::pread(file, block.data(), block.size(), static_cast<off_t>(reader * kMiB)));
}

TEST(StalledMount, ReadersOfAStalledBlobStopNobodyElseAndCanBeKilled) {
  SKIP_WITHOUT_MOUNT();
  World world;
  world.store->Stall(DigestOf(world.weights));
  const std::string stalled = world.path("versions/1/weights.bin");
  EXPECT_EQ(OpenErrno(stalled, O_RDONLY), 0);
  // Its first open verifies it in the background, for which this host has as many cores as for what is timed.
  ASSERT_TRUE(Eventually([&] { return world.host->IsNative(DigestOf(world.weights)); }));
  EXPECT_EQ(ReadPath(world.path("versions/1/small")), "small bytes");
  UseTheRest(world, "nobody waits");

  const Watchdog watchdog(*world.store);
  Readers readers([&](size_t reader) { ReadOne(stalled, reader); });
  const auto all_wait = [&] {
    const std::set<uint64_t> offsets = world.store->waited_for();
    size_t waiting = 0;
    for (size_t reader = 0; reader < kReaders; ++reader) waiting += offsets.count(reader * kMiB);
    return waiting == kReaders;
  };
  ASSERT_TRUE(Eventually([&] { return watchdog.bit() || all_wait(); }));
  UseTheRest(world, "64 readers wait");
  EXPECT_EQ(ReadPath(world.path("versions/3/cold")), "cold bytes") << "a first read, through the daemon";
  EXPECT_TRUE(all_wait()) << "the others were done while all 64 waited";

  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(readers.KillEach([&] { return !watchdog.bit(); }), kReaders);
  const auto took = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start);
  fmt::print("{} readers killed one by one, {:.2f} ms each\n", kReaders, took.count() / kReaders);
  EXPECT_FALSE(watchdog.bit()) << "something hung";

  world.store->Release();
  const Fd file(::open(stalled.c_str(), O_RDONLY | O_CLOEXEC));
  std::string read(kBlock, '\0');
  ASSERT_EQ(::pread(file.get(), read.data(), read.size(), 5 * kMiB), static_cast<ssize_t>(kBlock));
  EXPECT_EQ(read, world.weights.substr(5 * kMiB, kBlock));
}

// Each asks for a name of its own: the kernel asks once for a name, however many want it.
TEST(StalledMount, WalkersIntoAVersionWhoseListIsStalledStopNobodyElseAndCanBeKilled) {
  SKIP_WITHOUT_MOUNT();
  World world;
  world.store->Stall(world.second.tree);
  const std::string version = world.path("versions/2");
  const Watchdog watchdog(*world.store);
  Readers walkers([&](size_t reader) {
    std::array<char, 64> name;
    struct stat attr = {};
    const int root = ::open(version.c_str(), O_PATH);
    std::snprintf(name.data(), name.size(), reader == 0 ? "." : "f%zu", reader);
    if (reader == 0) static_cast<void>(::open(version.c_str(), O_RDONLY | O_DIRECTORY));  // OPENDIR
    ::fstatat(root, name.data(), &attr, 0);
  });
  ASSERT_TRUE(Eventually([&] { return watchdog.bit() || world.store->waiting() == kReaders; }));
  UseTheRest(world, "64 walkers wait");
  EXPECT_EQ(world.store->waiting(), kReaders);
  EXPECT_EQ(walkers.KillEach([&] { return !watchdog.bit(); }), kReaders);
  EXPECT_FALSE(watchdog.bit()) << "something hung";

  world.store->Release();
  EXPECT_EQ(ReadPath(version + "/f7"), "bytes 7");
}

TEST(StalledMount, AReadThatWaitsGoesOnWhenItsBytesAreHere) {
  SKIP_WITHOUT_MOUNT();
  World world;
  world.store->Stall(DigestOf(world.weights));
  std::vector<std::thread> readers;
  std::atomic<size_t> right = 0;
  for (size_t reader = 0; reader < kReaders; ++reader) {
    readers.emplace_back([&, reader] {
      const Fd file(::open(world.path("versions/1/weights.bin").c_str(), O_RDONLY | O_CLOEXEC));
      std::string read(kBlock, '\0');
      const auto offset = static_cast<off_t>(reader * kMiB);
      if (::pread(file.get(), read.data(), read.size(), offset) == static_cast<ssize_t>(kBlock) &&
          read == world.weights.substr(reader * kMiB, kBlock)) {
        ++right;
      }
    });
  }
  EXPECT_TRUE(Eventually([&] { return world.store->waited_for().size() >= kReaders; }));
  EXPECT_EQ(right, 0U);
  world.store->Release();
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(right, kReaders);
}

TEST(StalledMount, AMountEndsWhileReadersWait) {
  SKIP_WITHOUT_MOUNT();
  World world;
  world.store->Stall(DigestOf(world.weights));
  const std::string stalled = world.path("versions/1/weights.bin");
  const Watchdog watchdog(*world.store);
  Readers readers([&](size_t reader) { ReadOne(stalled, reader); });
  ASSERT_TRUE(Eventually([&] { return watchdog.bit() || world.store->waiting() >= kReaders; }));
  world.served.reset();
  EXPECT_FALSE(watchdog.bit()) << "the mount ended only once the origin answered";
}

// The registry may be where the new blobs are not yet.
TEST(StalledMount, ACommitOffersItsBlobsBeforeTheRegistryHearsOfThem) {
  SKIP_WITHOUT_MOUNT();
  World world;
  const std::string draft = world.path("versions/draft");
  ASSERT_EQ(Errno(::mkdir(draft.c_str(), 0755)), 0);
  std::ofstream(draft + "/file") << "new bytes";
  world.store->AnswerOffers(Error(Code::kUnavailable, "the other host does not answer"));
  EXPECT_EQ(Errno(::rename(draft.c_str(), world.path("versions/4").c_str())), EHOSTUNREACH);
  EXPECT_EQ(OpenErrno(world.path("versions/4/file"), O_RDONLY), ENOENT);
  world.store->AnswerOffers(OkStatus());
  EXPECT_EQ(Errno(::rename(draft.c_str(), world.path("versions/4").c_str())), 0);
  EXPECT_EQ(ReadPath(world.path("versions/4/file")), "new bytes");
}

}  // namespace
}  // namespace modelfs::fs
