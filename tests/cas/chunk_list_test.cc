#include "cas/chunk_list.h"

#include <gtest/gtest.h>

#include <random>

#include "cas/blob_store.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

ChunkList Sample() {
  return {.blob_bytes = kChunkBytes + 1, .chunks = {DigestOf("first").sha256, DigestOf("second").sha256}};
}

TEST(ChunkList, EncodingMatchesTheDocumentedBytes) {
  EXPECT_EQ(Hex(Sample().Encode()), DocumentedBytes("chunk list"));
  EXPECT_EQ(ChunkList::Decode(Sample().Encode()).value(), Sample());
}

TEST(ChunkList, RefusesAListThatDoesNotFitTheBlobsSize) {
  for (const uint64_t blob_bytes : {uint64_t{0}, kChunkBytes, 2 * kChunkBytes + 1, ~uint64_t{0}}) {
    ChunkList list = Sample();
    list.blob_bytes = blob_bytes;
    const Result<ChunkList> decoded = ChunkList::Decode(list.Encode());
    ASSERT_FALSE(decoded.ok()) << blob_bytes;
    EXPECT_EQ(decoded.error().code(), Code::kDataLoss);
  }
}

TEST(ChunkList, EveryMutationIsRefusedOrEncodesAnotherList) {
  const std::string encoded = Sample().Encode();
  std::mt19937_64 random(TestSeed());
  for (int round = 0; round < 20000; ++round) {
    const std::string mutated = Mutate(encoded, random);
    const Result<ChunkList> list = ChunkList::Decode(mutated);
    if (list.ok()) {
      EXPECT_EQ(Hex(list->Encode()), Hex(mutated));
    } else {
      EXPECT_EQ(list.error().code(), Code::kDataLoss);
    }
  }
}

}  // namespace
}  // namespace modelfs::cas
