// One pass over a file's bytes: its digest, its chunks' digests and checksums, and on the way a copy.
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

// What a file became when it was stored.
struct StoredFile {
  Digest blob;
  std::optional<Digest> chunk_list;  // exactly for blobs larger than kChunkBytes
};

// A file's digests, and for blobs of more than one chunk what is stored beside them.
struct HashedFile {
  struct Large {
    std::string chunk_list;  // encoded
    Sums sums;
  };
  StoredFile stored;
  std::shared_ptr<const Large> large;  // null for blobs of one chunk
};

// A buffer of one chunk that a thread uses again and again. Not thread-safe.
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
  // What the file is read through; null: the operating system.
  Files* files = nullptr;
  // Each byte is appended here as well; may be null.
  WritableFile* copy = nullptr;
  // Called with the number of bytes done since the call before; may be empty.
  std::function<void(uint64_t)> on_bytes;
  // With two more threads, so that the digests of the whole and of the chunks are computed side by side.
  bool parallel = false;
  // Looked at before each piece.
  std::stop_token stop = {};
};

// Hashes the first `size_bytes` bytes of `fd`. kAborted where the file ends sooner or goes on, kCancelled
// where it was stopped.
Result<HashedFile> HashDescriptor(int fd, const std::string& name, uint64_t size_bytes,
                                  const HashOptions& options);

// The same of bytes in memory.
HashedFile HashBytes(std::span<const std::byte> bytes);

}  // namespace modelfs::cas
