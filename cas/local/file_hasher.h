// One pass over a file's bytes: computes its digest and its chunks' digests and checksums, and copies it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>

#include "cas/base/digest.h"
#include "cas/base/result.h"
#include "cas/chunk_list.h"
#include "cas/files.h"
#include "cas/local/sums.h"

namespace modelfs::cas {

// The digests of a file that was stored.
struct StoredFile {
  Digest blob;
  std::optional<Digest> chunk_list;  // present exactly for blobs larger than kChunkBytes
};

// A file's digests, and for blobs of more than one chunk the chunk list and sums that are stored beside them.
struct HashedFile {
  struct Large {
    std::string chunk_list;  // encoded
    Sums sums;
  };
  StoredFile stored;
  std::shared_ptr<const Large> large;  // null for blobs of one chunk
};

// A buffer of one chunk that a thread reuses. Not thread-safe.
class ChunkBuffer {
 public:
  ChunkBuffer();
  std::span<std::byte> span();

 private:
  std::unique_ptr<std::byte[]> bytes_;
};

// Reads until `out` is full or the file ends; `name` is for messages.
Result<size_t> ReadFully(Files& files, int fd, const std::string& name, uint64_t offset_bytes,
                         std::span<std::byte> out);
inline Result<size_t> ReadFully(int fd, const std::string& name, uint64_t offset_bytes,
                                std::span<std::byte> out) {
  return ReadFully(RealFiles(), fd, name, offset_bytes, out);
}

struct HashOptions {
  // Reads the file through these; null means the operating system.
  Files* files = nullptr;
  // Every byte is also appended here; may be null.
  WritableFile* copy = nullptr;
  // Called with the number of bytes done since the call before; may be empty.
  std::function<void(uint64_t)> on_bytes;
  // Uses one more thread, so that hashing and copying run in parallel.
  bool parallel = false;
  // Checked before each piece.
  std::stop_token stop = {};
};

// Hashes the first `size_bytes` bytes of `fd`. kAborted if the file is shorter or longer, kCancelled if
// `stop` was requested.
Result<HashedFile> HashDescriptor(int fd, const std::string& name, uint64_t size_bytes,
                                  const HashOptions& options);

// The same for bytes in memory.
HashedFile HashBytes(std::span<const std::byte> bytes);

}  // namespace modelfs::cas
