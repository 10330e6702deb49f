#include "fs/base/refusals.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "fs/kernel/node_names.h"

namespace modelfs::fs {
namespace {

class FixedClock : public Clock {
 public:
  int64_t NowMs() const override { return 1'700'000'000'000; }
  int64_t SinceBootMs() const override { return NowMs(); }
};

TEST(Refusals, ShowsEachUserItsOwnRefusals) {
  const FixedClock clock;
  Refusals refusals(clock);
  refusals.Record({0, 7, "open", "/a", 30, "read-only"});
  refusals.Record({0, 8, "mkdir", "/c", 13, "not yours"});
  ASSERT_EQ(refusals.Of(7).size(), 1U);
  EXPECT_EQ(refusals.Of(7)[0].path, "/a");
  EXPECT_EQ(refusals.Of(7)[0].time_ms, 1'700'000'000'000);
  EXPECT_EQ(refusals.Of(8).size(), 1U);
  EXPECT_TRUE(refusals.Of(9).empty());
}

TEST(Refusals, KeepsTheLastRefusalsOfTheLastUsers) {
  const FixedClock clock;
  Refusals refusals(clock);
  for (int i = 0; i < 300; ++i) refusals.Record({i + 1, 7, "open", std::to_string(i), 30, ""});
  EXPECT_EQ(refusals.Of(7).size(), Refusals::kKeptPerUser);
  EXPECT_EQ(refusals.Of(7).back().path, "299");
  for (uid_t uid = 100; uid < 100 + Refusals::kUsers; ++uid) refusals.Record({1000, uid, "open", "", 1, ""});
  EXPECT_TRUE(refusals.Of(7).empty()) << "the user with the oldest last refusal makes room";
  EXPECT_EQ(refusals.Of(100).size(), 1U);
}

TEST(Refusals, ARepeatIsCountedAndNotKeptAgain) {
  const FixedClock clock;
  Refusals refusals(clock);
  refusals.Record({10, 7, "open", "/a", 13, "not yours"});
  refusals.Record({20, 7, "open", "/b", 13, "not yours"});
  refusals.Record({30, 7, "open", "/a", 13, "not yours"});
  refusals.Record({40, 7, "open", "/a", 13, "for another reason"});
  std::vector<RefusalRecord> kept = refusals.Of(7);
  ASSERT_EQ(kept.size(), 3U);
  EXPECT_EQ(kept[0].path, "/b");
  EXPECT_EQ(kept[1].path, "/a") << "by the time of the last refusal";
  EXPECT_EQ(kept[1].count, 2U);
  EXPECT_EQ(kept[1].first_ms, 10);
  EXPECT_EQ(kept[1].time_ms, 30);
  EXPECT_EQ(kept[2].count, 1U);

  // In one family only the operation and errno must be equal, and the newest message stays.
  for (int i = 0; i < 233; ++i) {
    refusals.Record({50 + i, 7, "mkdir", "/v/" + std::to_string(i), 30, "never changes", "version 1"});
  }
  refusals.Record({300, 7, "mkdir", "/w", 30, "never changes", "version 2"});
  refusals.Record({301, 7, "unlink", "/v/0", 30, "never changes", "version 1"});
  kept = refusals.Of(7);
  ASSERT_EQ(kept.size(), 6U);
  EXPECT_EQ(kept[3].path, "/v/232");
  EXPECT_EQ(kept[3].count, 233U);
  EXPECT_EQ(kept[3].first_ms, 50);
}

TEST(Refusals, ThousandsOfEqualRefusalsPushNothingElseOut) {
  const FixedClock clock;
  Refusals refusals(clock);
  refusals.Record({1, 7, "rename", "/draft -> /3", 34, "not the next number"});
  for (int i = 0; i < 5000; ++i) refusals.Record({2 + i, 7, "create", std::to_string(i), 22, "no name"});
  refusals.Record({6000, 7, "open", "/x", 13, "not yours"});
  const std::vector<RefusalRecord> kept = refusals.Of(7);
  EXPECT_EQ(kept.size(), Refusals::kKeptPerUser);
  EXPECT_EQ(kept.front().operation, "rename");
  EXPECT_EQ(kept[kept.size() - 2].path, "4999");
  EXPECT_EQ(kept.back().operation, "open");
}

TEST(NodeNames, TheLeastRecentlyUsedNodeIsDropped) {
  NodeNames names(2);
  names.Remember(10, kRootNode, "old");
  names.Remember(11, 10, "second");
  EXPECT_EQ(names.Find(10)->name, "old");
  names.Remember(12, 10, "third");
  EXPECT_FALSE(names.Find(11));
  ASSERT_TRUE(names.Find(10));
  ASSERT_TRUE(names.Find(12));
  EXPECT_EQ(names.Find(12)->parent, NodeId{10});
  names.Remember(12, 11, "renamed");
  EXPECT_EQ(names.Find(12)->name, "renamed");
  names.Forget(12);
  names.Forget(12);
  EXPECT_FALSE(names.Find(12));
}

}  // namespace
}  // namespace modelfs::fs
