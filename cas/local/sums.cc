#include "cas/local/sums.h"

#include <algorithm>

#include "cas/base/codec.h"
#include "cas/blob_store.h"

namespace modelfs::cas {
namespace {

constexpr std::string_view kMagic = "MFS\x01";  // the last byte is the version
constexpr size_t kTrailerBytes = 8;

}  // namespace

std::string Sums::Encode() const {
  Encoder out;
  out.Raw(kMagic).DigestValue(blob).DigestValue(chunk_list);
  for (const Checksum128& chunk : chunks) {
    out.Raw(std::string_view(reinterpret_cast<const char*>(chunk.data()), chunk.size()));
  }
  // No digest names this file, so it carries its own checksum.
  out.U64(Xxh3_64(out.bytes()));
  return out.Take();
}

Result<Sums> Sums::Decode(std::string_view encoded) {
  const auto refuse = [](std::string_view why) {
    return Error(Code::kDataLoss, "sums: " + std::string(why));
  };
  if (encoded.size() < kTrailerBytes) return refuse("too short");
  Decoder trailer(encoded.substr(encoded.size() - kTrailerBytes));
  encoded.remove_suffix(kTrailerBytes);
  if (trailer.U64() != Xxh3_64(encoded)) return refuse("the checksum at its end does not match");
  Decoder in(encoded);
  if (in.Raw(kMagic.size()) != kMagic) return refuse("does not begin with its magic number and version 1");
  Sums sums;
  sums.blob = in.DigestValue();
  sums.chunk_list = in.DigestValue();
  const uint64_t size_bytes = sums.blob.size_bytes;
  if (!in.ok() || size_bytes <= kChunkBytes) return refuse("the digests are malformed");
  const uint64_t count = (size_bytes / kChunkBytes) + (size_bytes % kChunkBytes == 0 ? 0 : 1);
  if (in.remaining() % sizeof(Checksum128) != 0 || in.remaining() / sizeof(Checksum128) != count) {
    return refuse("the number of chunks does not fit the blob's size");
  }
  sums.chunks.resize(count);
  for (Checksum128& chunk : sums.chunks) {
    const std::string_view raw = in.Raw(chunk.size());
    std::copy(raw.begin(), raw.end(), reinterpret_cast<char*>(chunk.data()));
  }
  RETURN_IF_ERROR(in.Finish("sums"));
  return sums;
}

}  // namespace modelfs::cas
