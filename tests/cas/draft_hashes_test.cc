#include "cas/draft_hashes.h"

#include <gtest/gtest.h>

#include <future>
#include <optional>
#include <string>

namespace modelfs::cas {
namespace {

HashedFile HashOf(const std::string& bytes) { return HashBytes(std::as_bytes(std::span(bytes))); }

// A hash that has begun stays under way until the test lets it end.
class HeldHash {
 public:
  DraftHashes::Hash AsFunction() {
    return [this](DraftNode) -> std::optional<HashedFile> {
      begun_.set_value();
      may_end_.get_future().wait();
      return HashOf("bytes");
    };
  }
  void WaitUntilBegun() { begun_.get_future().wait(); }
  void LetEnd() { may_end_.set_value(); }

 private:
  std::promise<void> begun_;
  std::promise<void> may_end_;
};

TEST(DraftHashes, SettleWaitsForTheFileUnderWayAndKnowsIt) {
  HeldHash held;
  DraftHashes hashes(held.AsFunction());
  hashes.Closed(7);
  held.WaitUntilBegun();
  auto settled = std::async(std::launch::async, [&] { return hashes.Settle(); });
  held.LetEnd();
  const auto known = settled.get();
  ASSERT_TRUE(known.contains(7));
  EXPECT_EQ(known.at(7).stored.blob, DigestOf("bytes"));
}

TEST(DraftHashes, AChangeWhileItIsHashedDoesNotCount) {
  HeldHash held;
  DraftHashes hashes(held.AsFunction());
  hashes.Closed(7);
  held.WaitUntilBegun();
  hashes.Changed(7);
  held.LetEnd();
  EXPECT_FALSE(hashes.Settle().contains(7));
}

TEST(DraftHashes, AChangeAfterwardsForgetsThatFileOnly) {
  std::promise<void> second_begun;
  DraftHashes hashes([&](DraftNode file) -> std::optional<HashedFile> {
    if (file == 2) second_begun.set_value();
    return HashOf(std::to_string(file));
  });
  hashes.Closed(1);
  hashes.Closed(2);
  second_begun.get_future().wait();  // so the first is known
  ASSERT_EQ(hashes.Settle().size(), 2U);
  hashes.Changed(1);
  const auto known = hashes.Settle();
  EXPECT_FALSE(known.contains(1));
  EXPECT_TRUE(known.contains(2));
}

TEST(DraftHashes, WhatIsNotWorthHashingStaysUnknown) {
  std::promise<void> asked;
  DraftHashes hashes([&](DraftNode) -> std::optional<HashedFile> {
    asked.set_value();
    return std::nullopt;
  });
  hashes.Closed(1);
  asked.get_future().wait();
  EXPECT_TRUE(hashes.Settle().empty());
}

}  // namespace
}  // namespace modelfs::cas
