#include "cas/local/sums.h"

#include <gtest/gtest.h>

#include <random>

#include "cas/blob_store.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

Sums Sample() {
  Sums sums;
  sums.blob = DigestOf("stands for many bytes");
  sums.blob.size_bytes = kChunkBytes + 1;
  sums.chunk_list = DigestOf("its chunk list");
  for (const std::string_view chunk : {"first", "second"}) {
    sums.chunks.push_back(Xxh3_128(std::as_bytes(std::span(chunk))));
  }
  return sums;
}

TEST(Sums, EncodingMatchesTheDocumentedBytes) {
  EXPECT_EQ(Hex(Sample().Encode()), DocumentedBytes("sums"));
  EXPECT_EQ(Sums::Decode(Sample().Encode()).value(), Sample());
}

TEST(Sums, EveryMutationIsRefused) {
  const std::string encoded = Sample().Encode();
  std::mt19937_64 random(TestSeed());
  for (int round = 0; round < 20000; ++round) {
    const Result<Sums> sums = Sums::Decode(Mutate(encoded, random));
    ASSERT_FALSE(sums.ok());
    EXPECT_EQ(sums.error().code(), Code::kDataLoss);
  }
}

}  // namespace
}  // namespace modelfs::cas
