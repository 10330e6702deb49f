#include "cas/chunk_list.h"

#include <gtest/gtest.h>

#include <random>

#include "cas/blob_store.h"
#include "cas/local/file_hasher.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

ChunkList Sample() {
  return {.kind = ChunkList::Kind::kStates,
          .blob_bytes = (2 * kChunkBytes) + 1,
          .chunks = {DigestOf("first").sha256, DigestOf("second").sha256}};
}

// As programs until 2026-11 wrote it.
ChunkList ListOfDigests(std::string_view blob) {
  ChunkList list{.kind = ChunkList::Kind::kDigests, .blob_bytes = blob.size(), .chunks = {}};
  for (size_t at = 0; at < blob.size(); at += kChunkBytes) {
    list.chunks.push_back(DigestOf(blob.substr(at, kChunkBytes)).sha256);
  }
  return list;
}

std::span<const std::byte> Chunk(std::string_view blob, size_t index) {
  return std::as_bytes(std::span(blob.substr(index * kChunkBytes, kChunkBytes)));
}

// Every chunk matches at its place, and neither changed, nor elsewhere, nor cut short.
void ExpectEachChunkVerifiesAlone(const ChunkList& list, std::string blob, size_t chunks) {
  const Sha256 digest = DigestOf(blob).sha256;
  for (size_t i = 0; i < chunks; ++i) {
    EXPECT_TRUE(list.Matches(digest, i, Chunk(blob, i))) << i;
    EXPECT_FALSE(list.Matches(digest, (i + 1) % chunks, Chunk(blob, i))) << i;
    EXPECT_FALSE(list.Matches(digest, i, Chunk(blob, i).first(Chunk(blob, i).size() - 1))) << i;
    char& last = blob[std::min((i + 1) * kChunkBytes, blob.size()) - 1];
    last = static_cast<char>(last ^ 1);
    EXPECT_FALSE(list.Matches(digest, i, Chunk(blob, i))) << i;
    last = static_cast<char>(last ^ 1);
  }
  EXPECT_FALSE(list.Matches(digest, chunks, {}));
}

TEST(ChunkList, EncodingMatchesTheDocumentedBytes) {
  EXPECT_EQ(Hex(Sample().Encode()), DocumentedBytes("chunk list"));
  EXPECT_EQ(ChunkList::Decode(Sample().Encode()).value(), Sample());
}

TEST(ChunkList, ReadsVersion1) {
  const ChunkList list{.kind = ChunkList::Kind::kDigests,
                       .blob_bytes = kChunkBytes + 1,
                       .chunks = {DigestOf("first").sha256, DigestOf("second").sha256}};
  EXPECT_EQ(Hex(list.Encode()), DocumentedBytes("chunk list, version 1"));
  EXPECT_EQ(ChunkList::Decode(list.Encode()).value(), list);
}

TEST(ChunkList, VerifiesEachChunkAlone) {
  for (const size_t size : {(2 * kChunkBytes) + 5, 2 * kChunkBytes, kChunkBytes + 1}) {
    const std::string blob = RandomBytes(size, 7);
    const HashedFile hashed = HashBytes(std::as_bytes(std::span(blob)));
    const ChunkList list = ChunkList::Decode(hashed.large->chunk_list).value();
    EXPECT_EQ(list.kind, ChunkList::Kind::kStates);
    const size_t chunks = (size + kChunkBytes - 1) / kChunkBytes;
    ExpectEachChunkVerifiesAlone(list, blob, chunks);
    ExpectEachChunkVerifiesAlone(ListOfDigests(blob), blob, chunks);
  }
}

// The chain of states ends in the blob's digest, so a list of another blob never verifies the last chunk.
TEST(ChunkList, AnotherBlobsLastChunkDoesNotMatch) {
  const std::string blob = RandomBytes((2 * kChunkBytes) + 5, 7);
  const std::string other = RandomBytes((2 * kChunkBytes) + 5, 8);
  const ChunkList list =
      ChunkList::Decode(HashBytes(std::as_bytes(std::span(other))).large->chunk_list).value();
  EXPECT_FALSE(list.Matches(DigestOf(blob).sha256, 2, Chunk(other, 2)));
}

TEST(ChunkList, RefusesAListThatDoesNotFitTheBlobsSize) {
  for (const uint64_t blob_bytes :
       {uint64_t{0}, kChunkBytes, kChunkBytes + 1, 4 * kChunkBytes, ~uint64_t{0}}) {
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
