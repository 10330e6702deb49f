// Immutable blobs, named by what they contain; the one interface the rest of the house knows.
//
// A blob is a file's bytes. LocalStore (cas/local/local_store.h) keeps blobs on this host; the tiers that
// fetch from elsewhere implement the same interface, which is why a blob may be open before all of
// its bytes are here, and why reads take a Deadline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cas/base/clock.h"
#include "cas/base/digest.h"
#include "cas/base/result.h"

namespace modelfs::cas {

// Blobs larger than this are cut into chunks of this size, the last one shorter; each chunk is
// verified before its first byte reaches a reader.
inline constexpr uint64_t kChunkBytes = uint64_t{4} << 20U;

// The registry revision of the lease under which blobs are written (store/registry.h, Lease). A
// blob carries the highest epoch it was put or reused under, and a sweep removes only blobs whose
// epoch lies before every live lease. Never a time of day: it cannot jump.
struct Epoch {
  uint64_t revision = 0;
  friend auto operator<=>(const Epoch&, const Epoch&) = default;
};

// Which file of this host. A number is given to another file once the one that had it is gone, so it takes
// the time of birth, too (statx(2); 0 where the file system knows none).
struct FileId {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t born_ns = 0;
  friend bool operator==(const FileId&, const FileId&) = default;
};

// One blob, open. The bytes stay readable for as long as this lives, whatever is deleted meanwhile.
// Thread-safe.
class OpenBlob {
 public:
  virtual ~OpenBlob() = default;

  virtual const Digest& digest() const = 0;

  // The file that the bytes are in; nothing where they are in none. After a damaged blob was healed it is
  // another one, and whoever opened the damaged one before keeps that.
  virtual std::optional<FileId> File() const { return std::nullopt; }

  // Fills `out` from `offset_bytes`; the count is short only at the end of the blob, 0 past it.
  // Waits for the chunks it touches, no longer than `deadline`. No byte is returned unverified.
  //   kDataLoss          failed its check; the blob is quarantined and the message names it
  //   kDeadlineExceeded, kUnavailable   not here yet, and could not be had in time
  virtual Result<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out, const Deadline& deadline) = 0;

  // A descriptor of the whole blob as an ordinary read-only file, to be read by others directly:
  // nothing until every byte is here and has been verified, then the same one always. Ours to close.
  virtual std::optional<int> NativeFd() const = 0;
};

// Thread-safe. Every call may block on disk or network, so no caller holds a lock across one.
class BlobStore {
 public:
  virtual ~BlobStore() = default;

  // Makes `bytes` readable under `digest`, and marks it as used in `epoch`. On OK the blob is
  // durable. On any error a reader finds it whole or not at all. Putting a present blob is OK.
  //   kInvalidArgument   `bytes` does not have that digest; nothing was stored
  //   kNoSpace           disk or quota full
  virtual Status Put(const Digest& digest, std::string_view bytes, Epoch epoch) = 0;

  // Opens without waiting for the bytes. A blob that this process has not verified yet is verified
  // at once where that is quick, and in the background otherwise; see OnNative.
  //   kNotFound   no tier has it
  //   kDataLoss   it failed its check and was quarantined
  virtual Result<std::shared_ptr<OpenBlob>> Open(const Digest& digest) = 0;

  // The whole blob, verified. kInvalidArgument where it is larger than `limit_bytes`; as Open and Read.
  virtual Result<std::string> ReadAll(const Digest& digest, uint64_t limit_bytes);

  // True where Open would answer a blob whose NativeFd is there. Never blocks for long.
  virtual bool IsNative(const Digest& digest) = 0;

  // How many of its bytes are on this host (for `user.modelfs.cached`).
  virtual uint64_t LocalBytes(const Digest& digest) = 0;

  // `listener` is called, from a thread of the store's, each time a blob that was opened without a
  // NativeFd has got one. At most one listener; set before the first Open, reset with nullptr.
  virtual void OnNative(std::function<void(const Digest&)> listener) = 0;
};

}  // namespace modelfs::cas
