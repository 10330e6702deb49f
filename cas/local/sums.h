// The data beside a blob of more than one chunk on this host's disk: a checksum of each chunk, so that a
// damaged disk is noticed at memory speed, and the digest of its chunk list. Format: docs/formats.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cas/base/checksum.h"
#include "cas/base/digest.h"
#include "cas/base/result.h"

namespace modelfs::cas {

struct Sums {
  Digest blob;  // more than kChunkBytes
  Digest chunk_list;
  std::vector<Checksum128> chunks;  // one for each kChunkBytes begun

  std::string Encode() const;
  // kDataLoss for anything that Encode would not write.
  static Result<Sums> Decode(std::string_view encoded);
  friend bool operator==(const Sums&, const Sums&) = default;
};

}  // namespace modelfs::cas
