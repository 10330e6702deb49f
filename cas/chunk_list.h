// The SHA-256 of every chunk of a large blob, in order. With it a part of a download can be verified before
// the whole is here. Stored as a blob of its own, by digest. Format: docs/formats.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/digest.h"
#include "cas/base/result.h"

namespace modelfs::cas {

struct ChunkList {
  uint64_t blob_bytes = 0;     // more than kChunkBytes
  std::vector<Sha256> chunks;  // one for each kChunkBytes begun

  std::string Encode() const;
  // kDataLoss for anything that Encode would not write.
  static Result<ChunkList> Decode(std::string_view encoded);
  friend bool operator==(const ChunkList&, const ChunkList&) = default;
};

}  // namespace modelfs::cas
