#include "cas/local/scrub.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cas/chunk_list.h"
#include "cas/local/local_store.h"
#include "tests/cas/fake_files.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

constexpr Epoch kNow{.revision = 100};
constexpr int64_t kDayMs = int64_t{24} * 60 * 60 * 1000;
constexpr int64_t kStartMs = int64_t{1000} * kDayMs;
constexpr std::chrono::milliseconds kWeek{7 * kDayMs};

ScrubState Example() {
  ScrubState state;
  state.pass = {.began_at_ms = 1'767'225'600'000, .blobs = 3, .bytes = 4194305};
  state.position = DigestOf("hello").sha256;
  state.last = {.began_at_ms = 1'766'620'800'000,
                .ended_at_ms = 1'767'225'600'000,
                .blobs = 1000,
                .bytes = 5000000,
                .damaged = 1,
                .unchecked = 2};
  state.verity = ScrubState::Verity::kNotSupported;
  return state;
}

TEST(ScrubState, EncodingMatchesTheDocumentedBytes) {
  const std::string encoded = Example().Encode();
  EXPECT_EQ(Hex(encoded), DocumentedBytes("scrub state"));
  EXPECT_EQ(ScrubState::Decode(encoded)->Encode(), encoded);
  EXPECT_EQ(ScrubState::Decode(ScrubState().Encode())->Encode(), ScrubState().Encode());
}

TEST(ScrubState, ADamagedStateIsRefused) {
  std::mt19937_64 random(TestSeed());
  for (int i = 0; i < 500; ++i) {
    const auto decoded = ScrubState::Decode(Mutate(Example().Encode(), random));
    ASSERT_FALSE(decoded.ok());
    EXPECT_EQ(decoded.error().code(), Code::kDataLoss);
  }
}

TEST(ScrubState, TheFractionIsTheDigestsPlaceAmongAllDigests) {
  Sha256 digest{};
  EXPECT_EQ(FractionOf(digest), 0);
  digest[0] = 0x80;
  EXPECT_EQ(FractionOf(digest), 0.5);
  digest.fill(0xff);
  EXPECT_GT(FractionOf(digest), 0.999999);
  EXPECT_LT(FractionOf(digest), 1);
}

class SteppedClock : public Clock {
 public:
  int64_t NowMs() const override { return now_ms_; }
  int64_t SinceBootMs() const override { return now_ms_; }
  void Set(int64_t now_ms) { now_ms_ = now_ms; }

 private:
  int64_t now_ms_ = kStartMs;
};

// A store with a scrub that takes no time but its waits; each wait moves the clock.
struct World {
  World() {
    std::filesystem::create_directory(home / "blobs");
    files = std::make_unique<FakeFiles>(root());
    Open();
  }

  std::string root() const { return home / "blobs"; }
  void Open() { store = LocalStore::Open(*files, {.root = root()}).value(); }

  Digest Put(const std::string& bytes) {
    const Digest digest = DigestOf(bytes);
    EXPECT_TRUE(store->Put(digest, bytes, kNow).ok());
    return digest;
  }

  // Flips a bit in the file, without the store's knowledge.
  void Rot(const Digest& digest) {
    const std::string path = store->ObjectPath(digest);
    const FileInfo before = RealFiles().Stat(path).value();
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    std::string bytes = ReadFile(path);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x10);
    const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    ASSERT_EQ(::fsync(fd.get()), 0);
    std::filesystem::permissions(path, std::filesystem::perms::owner_read);
    ASSERT_TRUE(RealFiles().SetMtime(path, before.mtime_s).ok());
  }
  bool IsThere(const Digest& digest) const { return std::filesystem::exists(store->ObjectPath(digest)); }

  // Scrubs until the clock shows `until_ms`. `at_wait` is called before each wait.
  void ScrubUntil(int64_t until_ms, const std::function<void()>& at_wait = nullptr) {
    std::stop_source stop;
    ScrubOptions options;
    options.period = kWeek;
    options.clock = &clock;
    options.wait = [&](int64_t wake_ms, const std::stop_token&) {
      if (at_wait) at_wait();
      if (wake_ms >= until_ms) stop.request_stop();
      clock.Set(std::min(std::max(wake_ms, clock.NowMs()), until_ms));
    };
    store->Scrub(options, stop.get_token());
  }

  const TempDirectory home;
  std::unique_ptr<FakeFiles> files;
  SteppedClock clock;
  std::unique_ptr<LocalStore> store;
};

TEST(Scrub, ReadsEachBlobOnceInAPeriodEvenlySpread) {
  World world;
  std::map<Digest, std::vector<int64_t>> checks;
  std::map<std::string, Digest> by_path;
  for (int i = 0; i < 40; ++i) {
    const Digest digest = world.Put("blob " + std::to_string(i));
    by_path[world.store->ObjectPath(digest)] = digest;
  }
  world.files->BeforeCall([&](std::string_view call, const std::string& path) {
    const auto found = by_path.find(path);
    if (call == "open" && found != by_path.end()) checks[found->second].push_back(world.clock.NowMs());
  });
  world.ScrubUntil(kStartMs + 22 * kDayMs);
  ASSERT_EQ(checks.size(), 40U);
  std::set<int64_t> firsts;
  for (const auto& [digest, times] : checks) {
    EXPECT_GE(times.size(), 3U);
    int64_t before = kStartMs;
    for (const int64_t time : times) {
      EXPECT_LE(time - before, kWeek.count()) << digest.ToString();
      before = time;
    }
    firsts.insert((times.front() - kStartMs) / kDayMs);
  }
  EXPECT_GE(firsts.size(), 5U) << "the reads are spread";
  const ScrubState state = world.store->Scrubbed();
  EXPECT_EQ(state.last.blobs, 40U);
  EXPECT_GT(state.last.bytes, 0U);
  EXPECT_EQ(state.last.damaged, 0U);
}

TEST(Scrub, ABlobStoredMeanwhileIsAlsoReadWithinAPeriod) {
  World world;
  world.Put("the first");
  std::set<std::string> read;
  world.files->BeforeCall([&](std::string_view call, const std::string& path) {
    if (call == "open") read.insert(path);
  });
  world.ScrubUntil(kStartMs + 2 * kDayMs);
  std::vector<Digest> later;
  for (int i = 0; i < 20; ++i) later.push_back(world.Put("later " + std::to_string(i)));
  read.clear();
  world.ScrubUntil(kStartMs + 2 * kDayMs + kWeek.count());
  for (const Digest& digest : later) EXPECT_TRUE(read.contains(world.store->ObjectPath(digest)));
}

TEST(Scrub, ARottenBlobIsQuarantinedAndItsReadersGetDataLoss) {
  for (const size_t size : {size_t{5}, kChunkBytes + 12345}) {
    World world;
    const std::string bytes = RandomBytes(size, size);
    const Digest rotten = world.Put(bytes);
    const Digest sound = world.Put("sound");
    const std::shared_ptr<OpenBlob> open = world.store->Open(rotten).value();
    ASSERT_TRUE(open->NativeFd().has_value()) << "a blob that was just stored is verified";
    world.Rot(rotten);
    world.ScrubUntil(kStartMs + kWeek.count());
    EXPECT_FALSE(world.IsThere(rotten));
    EXPECT_TRUE(std::filesystem::exists(world.root() + "/quarantine/" + rotten.Hex()));
    EXPECT_TRUE(world.IsThere(sound));
    const ScrubState state = world.store->Scrubbed();
    EXPECT_EQ(state.last.damaged, 1U);
    EXPECT_EQ(state.last.unchecked, 0U);
    EXPECT_EQ(world.store->Open(rotten).error().code(), Code::kDataLoss);
    std::byte byte{};
    EXPECT_EQ(open->Read(0, {&byte, 1}, Deadline::Never()).error().code(), Code::kDataLoss);
    EXPECT_FALSE(open->NativeFd().has_value());
    // The same content again: it is whole, and can be read.
    EXPECT_EQ(world.Put(bytes), rotten);
    EXPECT_EQ(world.store->ReadAll(rotten, bytes.size()).value(), bytes);
  }
}

// The XXH3 sums fit the file, too: only its SHA-256 shows that it is not the blob.
TEST(Scrub, AnotherFileWithMatchingSumsIsFound) {
  World world;
  const std::string large = RandomBytes(kChunkBytes + 1, 3);
  const std::string other = RandomBytes(kChunkBytes + 1, 4);
  const Digest digest = world.Put(large);
  world.Put(other);
  Sums sums = Sums::Decode(ReadFile(world.root() + "/sums/" + DigestOf(other).Hex().substr(0, 2) + "/" +
                                    DigestOf(other).Hex().substr(2)))
                  .value();
  sums.blob = digest;
  const std::string sums_path =
      world.root() + "/sums/" + digest.Hex().substr(0, 2) + "/" + digest.Hex().substr(2);
  std::filesystem::remove(sums_path);
  WriteFile(sums_path, sums.Encode());
  const std::string path = world.store->ObjectPath(digest);
  std::filesystem::remove(path);
  WriteFile(path, other);
  world.Open();
  EXPECT_EQ(world.store->ReadAll(digest, other.size()).value(), other) << "the sums do not show the damage";
  world.ScrubUntil(kStartMs + kWeek.count());
  EXPECT_FALSE(world.IsThere(digest));
  EXPECT_EQ(world.store->Scrubbed().last.damaged, 1U);
}

TEST(Scrub, ContinuesAtItsPositionAfterARestart) {
  World world;
  for (int i = 0; i < 40; ++i) world.Put("blob " + std::to_string(i));
  std::vector<std::string> read;
  world.files->BeforeCall([&](std::string_view call, const std::string& path) {
    if (call == "open" && path.find("/objects/") != std::string::npos) read.push_back(path);
  });
  const int64_t pass_ms = kWeek.count() * 15 / 16;
  for (int64_t part = 1; part <= 7; ++part) {
    world.Open();
    world.ScrubUntil(kStartMs + pass_ms * part / 7);
  }
  EXPECT_EQ(std::set<std::string>(read.begin(), read.end()).size(), 40U);
  EXPECT_EQ(read.size(), 40U) << "each once";
  // After a long pause all due blobs are checked at once.
  read.clear();
  world.ScrubUntil(kStartMs + pass_ms + 3 * kDayMs);
  EXPECT_LT(read.size(), 40U);
  world.clock.Set(kStartMs + 100 * kDayMs);
  world.Open();
  world.ScrubUntil(kStartMs + 100 * kDayMs + 1000);
  EXPECT_EQ(std::set<std::string>(read.begin(), read.end()).size(), 40U);
  EXPECT_LE(read.size(), 41U) << "each once, and possibly the first one of the next pass";
}

TEST(Scrub, ReadsNoFasterThanNecessary) {
  World world;
  const uint64_t size_bytes = uint64_t{40} << 20U;
  const Digest large = world.Put(RandomBytes(size_bytes, 5));
  world.ScrubUntil(kStartMs + kDayMs / 2);
  ASSERT_GT(FractionOf(large.sha256), 0.1) << "it is still to be read";
  world.clock.Set(kStartMs + 100 * kDayMs);  // it is behind, and catches up
  int64_t began_ms = 0;
  int64_t ended_ms = 0;
  const uint64_t before = world.store->Scrubbed().pass.bytes;
  world.ScrubUntil(kStartMs + 101 * kDayMs, [&] {
    if (began_ms == 0) began_ms = world.clock.NowMs();
    if (ended_ms == 0 && world.store->Scrubbed().last.bytes >= before + size_bytes)
      ended_ms = world.clock.NowMs();
  });
  ASSERT_GT(ended_ms, 0);
  EXPECT_GE(ended_ms - began_ms, 200) << "40 MiB; a full disk of this size is read in half a week";
}

TEST(Scrub, OnlyOneProcessScrubs) {
  World world;
  const Digest digest = world.Put("blob");
  world.Rot(digest);
  const Fd lock(::open((world.root() + "/scrub.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::flock(lock.get(), LOCK_EX | LOCK_NB), 0);
  world.ScrubUntil(kStartMs + 2 * kWeek.count());
  EXPECT_TRUE(world.IsThere(digest));
  ASSERT_EQ(::flock(lock.get(), LOCK_UN), 0);
  world.ScrubUntil(kStartMs + 4 * kWeek.count());
  EXPECT_FALSE(world.IsThere(digest));
}

TEST(Scrub, AnUnreadableBlobIsReportedAndStays) {
  World world;
  const Digest bad = world.Put("a bad sector");
  world.files->BreakReadsOf(world.store->ObjectPath(bad));
  world.ScrubUntil(kStartMs + kWeek.count());
  EXPECT_EQ(world.store->Scrubbed().last.damaged, 1U);
  EXPECT_TRUE(world.IsThere(bad));
  world.files->BreakReadsOf("");
  EXPECT_TRUE(world.store->Open(bad).ok()) << "the disk is back";
}

TEST(Scrub, AFullDiskDoesNotMakeItReadABlobTwice) {
  World world;
  for (int i = 0; i < 10; ++i) world.Put("blob " + std::to_string(i));
  size_t read = 0;
  world.files->BeforeCall([&](std::string_view call, const std::string& path) {
    if (call == "open" && path.find("/objects/") != std::string::npos) ++read;
    if (call == "create" && path.find("scrub.state") != std::string::npos) world.files->FailCall(1);
  });
  world.ScrubUntil(kStartMs + kWeek.count());
  EXPECT_GE(read, 10U);
  EXPECT_LE(read, 12U);
}

TEST(Scrub, BlobsGetFsVerityIfTheFileSystemHasIt) {
  World world;
  const Digest digest = world.Put(RandomBytes(kChunkBytes + 1, 6));
  const std::string path = world.store->ObjectPath(digest);
  int asked = 0;
  world.files->BeforeCall(
      [&](std::string_view call, const std::string&) { asked += call == "ioctl" ? 1 : 0; });
  world.Put("another");
  world.Put("and another");
  world.ScrubUntil(kStartMs + 6 * kDayMs);
  EXPECT_EQ(asked, 1) << "once in a pass, if the file system does not support it";
  EXPECT_EQ(world.store->Scrubbed().verity, ScrubState::Verity::kNotSupported);

  world.files->SetVerity(FakeFiles::Verity::kOpenForWriting);
  world.ScrubUntil(kStartMs + 2 * kWeek.count());
  EXPECT_FALSE(world.files->HasVerity(path));
  world.files->SetVerity(FakeFiles::Verity::kSupported);
  world.ScrubUntil(kStartMs + 3 * kWeek.count());
  EXPECT_TRUE(world.files->HasVerity(path));
  EXPECT_EQ(world.store->Scrubbed().verity, ScrubState::Verity::kOn);
  EXPECT_EQ(world.store->Scrubbed().last.damaged, 0U);
  // Leases and other names still work.
  EXPECT_TRUE(world.store->Keep(digest, {.revision = 200}).ok());
  EXPECT_EQ(RealFiles().Stat(path)->mtime_s, 200);
  ASSERT_TRUE(RealFiles().Link(path, world.home / "draft").ok());
  EXPECT_TRUE(world.store->UnlinkOtherName(world.home / "draft", digest).ok());
  EXPECT_TRUE(world.store->Open(digest).ok());
}

// An error from fs-verity is damage, whichever reader meets it.
TEST(Scrub, AnErrorOfFsVerityIsDamage) {
  enum class Reader { kScrub, kOpenSmall, kRead, kFsck };
  for (const Reader reader : {Reader::kScrub, Reader::kOpenSmall, Reader::kRead, Reader::kFsck}) {
    SCOPED_TRACE(static_cast<int>(reader));
    World world;
    world.files->SetVerity(FakeFiles::Verity::kSupported);
    const Digest digest = world.Put(RandomBytes(reader == Reader::kOpenSmall ? 1000 : kChunkBytes + 1, 7));
    world.ScrubUntil(kStartMs + kWeek.count());
    ASSERT_TRUE(world.files->HasVerity(world.store->ObjectPath(digest)));
    std::shared_ptr<OpenBlob> open;
    if (reader == Reader::kRead) open = world.store->Open(digest).value();
    world.Rot(digest);
    if (reader != Reader::kRead) world.Open();
    switch (reader) {
      case Reader::kScrub:
        world.ScrubUntil(kStartMs + 2 * kWeek.count());
        break;
      case Reader::kOpenSmall:
        EXPECT_EQ(world.store->Open(digest).error().code(), Code::kDataLoss);
        break;
      case Reader::kRead: {
        std::byte byte{};
        EXPECT_EQ(open->Read(0, {&byte, 1}, Deadline::Never()).error().code(), Code::kDataLoss);
        break;
      }
      case Reader::kFsck:
        EXPECT_EQ(world.store->Fsck(true, nullptr)->damaged.size(), 1U);
        break;
    }
    EXPECT_FALSE(world.IsThere(digest));
    EXPECT_TRUE(std::filesystem::exists(world.root() + "/quarantine/" + digest.Hex()));
  }
}

TEST(Scrub, AWholeFsckCountsAsAPass) {
  World world;
  world.Put("blob");
  ASSERT_TRUE(world.store->Fsck(false, nullptr).ok());
  EXPECT_EQ(world.store->Scrubbed().last.blobs, 1U);
  EXPECT_GT(world.store->Scrubbed().last.ended_at_ms, 0);
  EXPECT_EQ(world.store->Scrubbed().pass.began_at_ms, 0);
}

// With the real wait, which ends as soon as a stop is requested.
TEST(Scrub, StopsAtOnce) {
  World world;
  world.Put("blob");
  std::stop_source stop;
  std::thread scrub([&] { world.store->Scrub({}, stop.get_token()); });
  while (world.store->Scrubbed().pass.began_at_ms == 0) std::this_thread::yield();
  stop.request_stop();
  scrub.join();
}

}  // namespace
}  // namespace modelfs::cas
