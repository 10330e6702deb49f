// Names on their way to an alias: the users' shares, and the ends of names.
#include "fs/zones/held_names.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <linux/fs.h>

#include <atomic>

#include "tests/fs/zone_world.h"

namespace modelfs::fs {
namespace {

using Held = HeldNames::Held;
using IfTaken = HeldNames::IfTaken;

class FakeClock : public Clock {
 public:
  int64_t NowMs() const override { return 8 * now_ms; }  // set forward again and again
  int64_t SinceBootMs() const override { return now_ms; }
  std::atomic<int64_t> now_ms = 1'000'000'000;
};

constexpr store::ObjectId kModel = 7;
constexpr store::ObjectId kOther = 8;
constexpr uid_t kAnn = 60001;
constexpr uid_t kBob = 60002;

Held LinkOf(uid_t maker, store::VersionNumber version = 1) {
  Held held;
  held.maker = maker;
  held.version = version;
  return held;
}
Held FileOf(uid_t maker) {
  Held held;
  held.maker = maker;
  return held;
}

// Holds as many names as `maker` may in `model`, named by `prefix`; returns how many.
size_t Fill(HeldNames& names, store::ObjectId model, uid_t maker, std::string_view prefix) {
  size_t count = 0;
  while (names.Hold(model, fmt::format("{}{}", prefix, count), LinkOf(maker), IfTaken::kRefuse)) ++count;
  return count;
}

TEST(HeldNames, EachUserHasASharePerModelAndAltogether) {
  FakeClock clock;
  HeldNames names(clock);
  EXPECT_EQ(Fill(names, kModel, kAnn, ".a"), HeldNames::kMostInModel);
  const auto refused = names.Hold(kModel, ".more", LinkOf(kAnn), IfTaken::kRefuse);
  EXPECT_EQ(ErrnoOf(refused), EDQUOT);
  EXPECT_NE(MessageOf(refused).find("remove some"), std::string::npos) << MessageOf(refused);
  EXPECT_TRUE(names.Hold(kModel, ".bobs", LinkOf(kBob), IfTaken::kRefuse)) << "bob has a share of his own";
  EXPECT_TRUE(names.Hold(kOther, ".more", LinkOf(kAnn), IfTaken::kRefuse))
      << "another model has a share of its own";

  size_t total = HeldNames::kMostInModel + 1;
  for (store::ObjectId model = kOther + 1; total < HeldNames::kMostOfUser; ++model) {
    total += Fill(names, model, kAnn, ".a");
  }
  EXPECT_EQ(total, HeldNames::kMostOfUser);
  EXPECT_EQ(ErrnoOf(names.Hold(kOther, ".last", LinkOf(kAnn), IfTaken::kRefuse)), EDQUOT);
  EXPECT_TRUE(names.Hold(kOther, ".last", LinkOf(kBob), IfTaken::kRefuse));
  // A name that was given back can be taken again.
  EXPECT_TRUE(names.Drop(kModel, ".a0"));
  EXPECT_TRUE(names.Hold(kOther, ".again", LinkOf(kAnn), IfTaken::kRefuse));
}

TEST(HeldNames, ANameInTheWayIsReplacedOrKept) {
  FakeClock clock;
  HeldNames names(clock);
  ASSERT_TRUE(names.Hold(kModel, "x~", LinkOf(kBob, 1), IfTaken::kRefuse));
  EXPECT_EQ(ErrnoOf(names.Hold(kModel, "x~", LinkOf(kAnn, 2), IfTaken::kRefuse)), EEXIST);
  ASSERT_TRUE(names.Hold(kModel, "x~", LinkOf(kAnn, 2), IfTaken::kReplace));
  EXPECT_EQ(names.Find(kModel, "x~")->maker, kAnn);
  ASSERT_TRUE(names.Hold(kModel, "y~", LinkOf(kBob, 3), IfTaken::kRefuse));
  Fill(names, kModel, kAnn, ".a");
  ASSERT_TRUE(names.Hold(kModel, "x~", LinkOf(kAnn, 4), IfTaken::kReplace)) << "one for one of her own";
  EXPECT_EQ(ErrnoOf(names.Hold(kModel, "y~", LinkOf(kAnn, 5), IfTaken::kReplace)), EDQUOT);
  const auto kept = names.Find(kModel, "y~");
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->version, 3U);
  EXPECT_EQ(names.Find(kept->serial)->maker, kBob);
}

TEST(HeldNames, NamesExpireAndLinksSoonerThanFiles) {
  FakeClock clock;
  HeldNames names(clock);
  const auto link = names.Hold(kModel, ".link", LinkOf(kAnn), IfTaken::kRefuse);
  const auto file = names.Hold(kModel, "Champion", FileOf(kAnn), IfTaken::kRefuse);
  ASSERT_TRUE(link && file);
  Fill(names, kModel, kAnn, ".a");
  clock.now_ms += HeldNames::kLinkLifetimeMs - 1;
  EXPECT_TRUE(names.Find(kModel, ".link"));
  EXPECT_EQ(ErrnoOf(names.Hold(kModel, ".new", LinkOf(kAnn), IfTaken::kRefuse)), EDQUOT);
  clock.now_ms += 1;
  EXPECT_EQ(names.MadeBy(kAnn, kModel).size(), 1U) << "tar's file";
  EXPECT_TRUE(names.Hold(kModel, ".new", LinkOf(kAnn), IfTaken::kRefuse)) << "expired names have made room";
  EXPECT_FALSE(names.Find(kModel, ".link"));
  EXPECT_FALSE(names.Find(link->serial));
  EXPECT_FALSE(names.Drop(kModel, ".link"));
  EXPECT_EQ(ErrnoOf(names.Move(kModel, ".link", ".moved", 0)), ENOENT);
  EXPECT_TRUE(names.Find(file->serial));
  clock.now_ms += HeldNames::kFileLifetimeMs;
  EXPECT_FALSE(names.Find(kModel, "Champion"));
}

TEST(HeldNames, NamesGoWithTheirModel) {
  FakeClock clock;
  HeldNames names(clock);
  const size_t most = Fill(names, kModel, kAnn, ".a");
  ASSERT_TRUE(names.Hold(kOther, ".other", LinkOf(kAnn), IfTaken::kRefuse));
  names.DropModel(kModel);
  EXPECT_TRUE(names.MadeBy(kAnn, kModel).empty());
  EXPECT_TRUE(names.Find(kOther, ".other"));
  EXPECT_EQ(Fill(names, kModel, kAnn, ".b"), most);
}

TEST(HeldNames, AMovedNameKeepsItsMaker) {
  FakeClock clock;
  HeldNames names(clock);
  ASSERT_TRUE(names.Hold(kModel, ".a", LinkOf(kAnn, 1), IfTaken::kRefuse));
  ASSERT_TRUE(names.Hold(kModel, ".b", LinkOf(kBob, 2), IfTaken::kRefuse));
  EXPECT_EQ(ErrnoOf(names.Move(kModel, ".a", ".b", RENAME_NOREPLACE)), EEXIST);
  ASSERT_TRUE(names.Move(kModel, ".a", ".b", RENAME_EXCHANGE));
  EXPECT_EQ(names.Find(kModel, ".a")->maker, kBob);
  ASSERT_TRUE(names.Move(kModel, ".b", ".a", 0));
  EXPECT_EQ(names.Find(kModel, ".a")->maker, kAnn);
  EXPECT_FALSE(names.Find(kModel, ".b"));
  EXPECT_TRUE(names.MadeBy(kBob, kModel).empty());
  ASSERT_TRUE(names.Move(kModel, ".a", ".a", 0));
  EXPECT_TRUE(names.Find(kModel, ".a"));
}

}  // namespace
}  // namespace modelfs::fs
