#include "cas/chunk_list.h"

#include <algorithm>

#include "cas/base/codec.h"
#include "cas/blob_store.h"

namespace modelfs::cas {
namespace {

constexpr std::string_view kMagic = "MFC";  // and one byte: the kind, which is the version

constexpr uint64_t ChunkCount(uint64_t blob_bytes) {
  return (blob_bytes / kChunkBytes) + (blob_bytes % kChunkBytes == 0 ? 0 : 1);
}

// How many entries a list of this kind has.
constexpr uint64_t EntryCount(ChunkList::Kind kind, uint64_t blob_bytes) {
  return ChunkCount(blob_bytes) - (kind == ChunkList::Kind::kStates ? 1 : 0);
}

}  // namespace

std::string ChunkList::Encode() const {
  Encoder out;
  out.Raw(kMagic).U8(static_cast<uint8_t>(kind)).Varint(blob_bytes);
  for (const Sha256& chunk : chunks) {
    out.Raw(std::string_view(reinterpret_cast<const char*>(chunk.data()), chunk.size()));
  }
  return out.Take();
}

Result<ChunkList> ChunkList::Decode(std::string_view encoded) {
  const auto refuse = [](std::string_view why) {
    return Error(Code::kDataLoss, "chunk list: " + std::string(why));
  };
  Decoder in(encoded);
  if (in.Raw(kMagic.size()) != kMagic) return refuse("does not begin with its magic number");
  ChunkList list;
  list.kind = static_cast<Kind>(in.U8());
  if (list.kind != Kind::kDigests && list.kind != Kind::kStates) return refuse("is not of version 1 or 2");
  list.blob_bytes = in.Varint();
  if (!in.ok()) return refuse("the blob's size is malformed");
  if (list.blob_bytes <= kChunkBytes) return refuse("the blob has only one chunk");
  const uint64_t count = EntryCount(list.kind, list.blob_bytes);
  // Compared by division: `count` comes from outside, so a product could overflow.
  if (in.remaining() % sizeof(Sha256) != 0 || in.remaining() / sizeof(Sha256) != count) {
    return refuse("the number of chunks does not fit the blob's size");
  }
  list.chunks.resize(count);
  for (Sha256& chunk : list.chunks) {
    const std::string_view raw = in.Raw(chunk.size());
    std::copy(raw.begin(), raw.end(), reinterpret_cast<char*>(chunk.data()));
  }
  RETURN_IF_ERROR(in.Finish("chunk list"));
  return list;
}

bool ChunkList::Matches(const Sha256& blob, size_t index, std::span<const std::byte> bytes) const {
  const uint64_t count = ChunkCount(blob_bytes);
  if (index >= count) return false;
  const uint64_t offset = index * kChunkBytes;
  if (bytes.size() != std::min(kChunkBytes, blob_bytes - offset)) return false;
  if (kind == Kind::kDigests) return DigestOf(bytes).sha256 == chunks[index];
  Sha256Hasher hasher = index == 0 ? Sha256Hasher() : Sha256Hasher(chunks[index - 1], offset);
  hasher.Update(bytes);
  return index + 1 == count ? hasher.Finish().sha256 == blob : hasher.State() == chunks[index];
}

}  // namespace modelfs::cas
