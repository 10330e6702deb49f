// The chunks of a large blob, each of kChunkBytes but for a shorter last one: the list lets a part of a
// download be verified before the rest is here. It is stored as a blob of its own, by digest. Format:
// docs/formats.md.
//
// A list of states holds the state of SHA-256 between each two chunks. The one pass that computes the blob's
// digest computes these, too. Each chunk is verified alone: it must lead from the state before it to the
// state after it, and the last one to the blob's digest. When all chunks were verified, in any order, so is
// the blob. To forge a chunk is as hard as a second preimage of SHA-256 for a message of known length.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/digest.h"
#include "cas/base/result.h"

namespace modelfs::cas {

struct ChunkList {
  enum class Kind : uint8_t {
    kDigests = 1,  // the SHA-256 of each chunk; programs until 2026-11 wrote these
    kStates = 2,   // the state after each chunk but the last
  };
  Kind kind = Kind::kStates;
  uint64_t blob_bytes = 0;  // more than kChunkBytes
  std::vector<Sha256> chunks;

  std::string Encode() const;
  // kDataLoss for anything that Encode would not write.
  static Result<ChunkList> Decode(std::string_view encoded);

  // Whether `bytes` are the whole chunk `index` of `blob`, which has `blob_bytes` bytes. The list itself must
  // be trusted, as a list that a tree names is.
  bool Matches(const Sha256& blob, size_t index, std::span<const std::byte> bytes) const;

  friend bool operator==(const ChunkList&, const ChunkList&) = default;
};

}  // namespace modelfs::cas
