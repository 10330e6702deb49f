// How many calls of the registry, and transactions of its engine, a file operation on a real mount makes:
// behind HTTP each call is a round trip.
#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "cas/base/check.h"
#include "cas/base/fd.h"
#include "tests/fs/served.h"
#include "tests/fs/zone_world.h"
#include "tests/store/counting.h"

namespace modelfs::fs {
namespace {

using store::Counting;

// As getfattr -d reads them.
std::map<std::string, std::string> AttributesOf(const std::string& path) {
  std::map<std::string, std::string> attributes;
  const ssize_t needed = ::listxattr(path.c_str(), nullptr, 0);
  CHECK(needed > 0);
  std::string names(static_cast<size_t>(needed), '\0');
  CHECK(::listxattr(path.c_str(), names.data(), names.size()) == needed);
  for (size_t at = 0; at < names.size(); at = names.find('\0', at) + 1) {
    const char* name = names.data() + at;
    const ssize_t size = ::getxattr(path.c_str(), name, nullptr, 0);
    CHECK(size >= 0);
    std::string value(static_cast<size_t>(size), '\0');
    CHECK(::getxattr(path.c_str(), name, value.data(), value.size()) == size);
    attributes[name] = value;
  }
  return attributes;
}

class Counted {
 public:
  Counted() {
    model = world.Make("prod.ml.iris");
    world.Commit(model, {{"weights", "one"}});
    world.Commit(model, {{"weights", "two"}});
    CHECK(world.registry->SetTag(world.caller, {model, std::nullopt}, "team", "vision").ok());
    CHECK(world.registry->SetTag(world.caller, {model, 1}, "stage", "test").ok());
    CHECK(world.registry->SetDescription(world.caller, {model, std::nullopt}, "flowers").ok());
    CHECK(world.registry->SetAlias(world.caller, model, "Champion", 1).ok());
    auto opened = store::EmbeddedRegistry::Open(kv_, *world.blobs, SystemClock(), world.identities.get());
    CHECK(opened.ok());
    embedded_ = *std::move(opened);
    registry_ = std::make_unique<store::CountingRegistry>(*embedded_, counting_);
    governance_ = std::make_unique<store::CountingGovernance>(*embedded_, counting_);
    served_ = std::make_unique<Served>(
        world, Served::Options{.registry = registry_.get(), .governance = governance_.get()});
  }

  std::string path(std::string_view below) const {
    return served_->path(fmt::format("prod/ml/iris/{}", below));
  }

  // Prints and returns the numbers of what `work` does, once the names on its way are known to the kernel.
  Counting::Counts Of(std::string_view what, const std::function<void()>& work) {
    counting_.Take();
    work();
    Counting::Counts made = counting_.Take();
    fmt::print("{:<30} {} calls, {} snapshots, {} commits: {}\n", what, made.calls, made.snapshots,
               made.commits, made.names);
    return made;
  }

  ZoneWorld world;
  store::ObjectId model = 0;

 private:
  Counting counting_;
  store::CountingKv kv_{*world.kv, counting_};
  std::unique_ptr<store::EmbeddedRegistry> embedded_;
  std::unique_ptr<store::CountingRegistry> registry_;
  std::unique_ptr<store::CountingGovernance> governance_;
  std::unique_ptr<Served> served_;
};

TEST(CallsOfAMount, MovingAnAliasIsOneReadAndOneCommit) {
  SKIP_WITHOUT_MOUNT();
  Counted counted;
  const std::string alias = counted.path("aliases/Champion");
  const std::string held = counted.path("aliases/.Champion.new");
  struct stat attr = {};
  ASSERT_EQ(Errno(::lstat(alias.c_str(), &attr)), 0);

  const auto made = counted.Of("symlink to a temporary name",
                               [&] { EXPECT_EQ(Errno(::symlink("../versions/2", held.c_str())), 0); });
  EXPECT_LE(made.calls, 1U);
  EXPECT_EQ(made.commits, 0U);

  const auto moved =
      counted.Of("rename over an alias", [&] { EXPECT_EQ(Errno(::rename(held.c_str(), alias.c_str())), 0); });
  EXPECT_LE(moved.calls, 2U) << "one read and one change";
  EXPECT_EQ(moved.commits, 1U);
  EXPECT_LE(moved.snapshots, 2U) << "one of the read, one of the change";
  std::array<char, 64> target = {};
  ASSERT_GT(::readlink(alias.c_str(), target.data(), target.size() - 1), 0);
  EXPECT_STREQ(target.data(), "../versions/2");

  // The number of reads here depends on the moment when the kernel is notified of the changes before.
  const auto set = counted.Of("symlink to a new alias", [&] {
    EXPECT_EQ(Errno(::symlink("../versions/1", counted.path("aliases/New").c_str())), 0);
  });
  EXPECT_EQ(set.commits, 1U);
  const auto removed = counted.Of(
      "unlink of an alias", [&] { EXPECT_EQ(Errno(::unlink(counted.path("aliases/New").c_str())), 0); });
  EXPECT_EQ(removed.commits, 1U);
}

TEST(CallsOfAMount, OpeningAFileIsAtMostOne) {
  SKIP_WITHOUT_MOUNT();
  Counted counted;
  const std::string file = counted.path("versions/1/weights");
  struct stat attr = {};
  ASSERT_EQ(Errno(::stat(file.c_str(), &attr)), 0);
  for (const char* what : {"open of a file", "open of a file again"}) {
    const auto made = counted.Of(what, [&] {
      const Fd opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
      EXPECT_TRUE(opened.valid());
    });
    EXPECT_LE(made.calls, 1U) << what;
    EXPECT_EQ(made.commits, 0U) << what;
  }
}

TEST(CallsOfAMount, ReadingAllAttributesIsOne) {
  SKIP_WITHOUT_MOUNT();
  Counted counted;
  struct stat attr = {};
  for (const char* below : {"", "versions/1"}) {
    const std::string path = counted.path(below);
    ASSERT_EQ(Errno(::stat(path.c_str(), &attr)), 0);
    // A version's list of files is read once.
    ASSERT_NE(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator());
    std::map<std::string, std::string> attributes;
    const auto made = counted.Of(fmt::format("getfattr -d of {}", *below == '\0' ? "a model" : "a version"),
                                 [&] { attributes = AttributesOf(path); });
    EXPECT_EQ(made.calls, 1U) << path;
    EXPECT_EQ(made.commits, 0U) << path;
    EXPECT_EQ(attributes.at("user.modelfs.name"), "prod.ml.iris");
  }
}

// Only the thread that listed the names reads the values of that moment, and not beyond a change of its own.
TEST(CallsOfAMount, AttributesThatWereReadAMomentAgoAreNotOlderThanTheReadersOwnChange) {
  SKIP_WITHOUT_MOUNT();
  Counted counted;
  const std::string path = counted.path("");
  EXPECT_EQ(AttributesOf(path).at("user.tag.team"), "vision");
  ASSERT_EQ(Errno(::setxattr(path.c_str(), "user.tag.team", "audio", 5, 0)), 0);
  EXPECT_EQ(AttributesOf(path).at("user.tag.team"), "audio");
}

// Nor older than a change that another process has finished.
TEST(CallsOfAMount, AttributesThatWereReadAMomentAgoEndWithAnyChange) {
  SKIP_WITHOUT_MOUNT();
  Counted counted;
  const std::string path = counted.path("");
  for (int round = 0; round < 50; ++round) {
    AttributesOf(path);
    const std::string value = std::to_string(round);
    ASSERT_TRUE(
        counted.world.registry->SetTag(counted.world.caller, {counted.model, std::nullopt}, "team", value)
            .ok());
    std::array<char, 64> read = {};
    ASSERT_GT(::getxattr(path.c_str(), "user.tag.team", read.data(), read.size()), 0);
    ASSERT_EQ(value, read.data());
  }
}

}  // namespace
}  // namespace modelfs::fs
