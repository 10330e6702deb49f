#include "fs/refusals.h"

#include <gtest/gtest.h>

#include "fs/node_names.h"

namespace modelfs::fs {
namespace {

class FixedClock : public Clock {
 public:
  int64_t NowMs() const override { return 1'700'000'000'000; }
  int64_t SinceBootMs() const override { return NowMs(); }
};

TEST(Refusals, ShowsEachUserTheirOwnAsJsonLines) {
  const FixedClock clock;
  Refusals refusals(clock);
  refusals.Record({0, 7, "open", "/a/\"b\"\n", 30, "read-only"});
  refusals.Record({0, 8, "mkdir", "/c", 13, "not yours"});
  EXPECT_EQ(refusals.AsJsonLines(7),
            "{\"time_ms\":1700000000000,\"operation\":\"open\",\"path\":\"/a/\\\"b\\\"\\u000a\",\"errno\":30,"
            "\"errno_name\":\"EROFS\",\"message\":\"read-only\"}\n");
  EXPECT_EQ(refusals.Of(8).size(), 1U);
  EXPECT_TRUE(refusals.Of(9).empty());
}

TEST(Refusals, KeepsTheLastOfTheLastUsers) {
  const FixedClock clock;
  Refusals refusals(clock);
  for (int i = 0; i < 300; ++i) refusals.Record({i + 1, 7, "open", std::to_string(i), 30, ""});
  EXPECT_EQ(refusals.Of(7).size(), Refusals::kKeptPerUser);
  EXPECT_EQ(refusals.Of(7).back().path, "299");
  for (uid_t uid = 100; uid < 100 + Refusals::kUsers; ++uid) refusals.Record({1000, uid, "open", "", 1, ""});
  EXPECT_TRUE(refusals.Of(7).empty()) << "the one whose last refusal is oldest makes room";
  EXPECT_EQ(refusals.Of(100).size(), 1U);
}

TEST(NodeNames, WalksUpToTheRoot) {
  NodeNames names(3);
  names.Remember(10, kRootNode, "prod");
  names.Remember(11, 10, "ml");
  EXPECT_EQ(names.PathOf(11), "/prod/ml");
  EXPECT_EQ(names.PathOf(11, "new"), "/prod/ml/new");
  EXPECT_EQ(names.PathOf(kRootNode), "/");
  EXPECT_EQ(names.PathOf(99, "x"), ".../x");
  names.Renamed(10, "ml", 10, "nlp");
  EXPECT_EQ(names.PathOf(11), "/prod/nlp");
  names.Remember(10, 11, "cycle");
  EXPECT_EQ(names.PathOf(11).substr(0, 3), "...");
}

}  // namespace
}  // namespace modelfs::fs
