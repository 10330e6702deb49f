#include "cas/tree_times.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>

#include "cas/local/local_store.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

TreeTimes Times(std::vector<FileTime> times) { return TreeTimes::Make(std::move(times)).value(); }

TreeTimes Sample() {
  return Times({{1767225600, 0}, {1767225602, 123456789}, {1767225599, 999999999}, {-1, 500}});
}

TEST(TreeTimes, EncodingMatchesTheDocumentedBytes) {
  EXPECT_EQ(Hex(Sample().Encode()), DocumentedBytes("tree times"));
}

TEST(TreeTimes, DecodesItsOwnEncoding) {
  const TreeTimes rows[] = {
      Times({}),
      Sample(),
      Times({{0, 0}}),
      Times({{INT64_MIN, kNsPerS - 1}, {INT64_MAX, 0}, {INT64_MIN, 0}, {0, 1}, {INT64_MAX, 2}}),
  };
  for (const TreeTimes& times : rows) EXPECT_EQ(TreeTimes::Decode(times.Encode()).value(), times);
}

TEST(TreeTimes, CloseTimesTakeFewBytes) {
  EXPECT_EQ(Times(std::vector<FileTime>(1000, {1767225600, 0})).Encode().size(), 4U + 2 + 6 + 999 * 2);
}

TEST(TreeTimes, ATimeHasLessThanASecondOfNanoseconds) {
  EXPECT_EQ(TreeTimes::Make({{1, kNsPerS}}).error().code(), Code::kInvalidArgument);
  EXPECT_TRUE(TreeTimes::Make({{1, kNsPerS - 1}}).ok());
  // 1 s and 1,000,000,000 ns.
  EXPECT_EQ(TreeTimes::Decode("MFM\x01\x01\x02\x80\x94\xeb\xdc\x03").error().code(), Code::kDataLoss);
}

TEST(TreeTimes, EveryMutationIsRefusedOrEncodesOtherTimes) {
  const std::string encoded = Sample().Encode();
  std::mt19937_64 random(TestSeed());
  for (int round = 0; round < 20000; ++round) {
    const std::string mutated = Mutate(encoded, random);
    const Result<TreeTimes> times = TreeTimes::Decode(mutated);
    if (times.ok()) {
      EXPECT_EQ(Hex(times->Encode()), Hex(mutated));
    } else {
      EXPECT_EQ(times.error().code(), Code::kDataLoss);
    }
  }
}

TEST(TreeTimes, HostileCountsAllocateNothing) {
  EXPECT_FALSE(TreeTimes::Decode(std::string("MFM\x01\xff\xff\xff\xff\x0f", 9)).ok());
}

TEST(TreeTimes, ReadRequiresTheTreesNumberOfFiles) {
  const TempDirectory directory;
  const auto store = LocalStore::Open(RealFiles(), {.root = directory.path()}).value();
  const Digest digest = PutTreeTimes(*store, Sample(), Epoch{1}).value();
  EXPECT_EQ(ReadTreeTimes(*store, digest, 4).value(), Sample());
  EXPECT_EQ(ReadTreeTimes(*store, digest, 3).error().code(), Code::kDataLoss);
  const std::string other = "not times";
  ASSERT_TRUE(store->Put(DigestOf(other), other, Epoch{1}).ok());
  EXPECT_EQ(ReadTreeTimes(*store, DigestOf(other), 4).error().code(), Code::kDataLoss);
  EXPECT_EQ(ReadTreeTimes(*store, DigestOf("absent"), 4).error().code(), Code::kNotFound);
}

}  // namespace
}  // namespace modelfs::cas
