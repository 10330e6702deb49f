// Immutable blobs, named by their contents; the one interface that the other folders know.
//
// A blob is a file's bytes. LocalStore (cas/local/local_store.h) keeps blobs on this host; the tiers that
// fetch blobs from elsewhere implement the same interface. Therefore a blob may be open before all of its
// bytes are here, and reads take a Deadline.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/digest.h"
#include "cas/base/pending.h"
#include "cas/base/result.h"
#include "cas/listeners.h"

namespace modelfs::cas {

// Blobs larger than this are cut into chunks of this size; the last one may be shorter. Each chunk is
// verified before its first byte reaches a reader.
inline constexpr uint64_t kChunkBytes = uint64_t{4} << 20U;

// A reader waits no longer than this for bytes that are not on this host yet.
inline constexpr std::chrono::seconds kPatience{60};

// The registry revision of the lease under which blobs are written (store/leases.h). A blob carries
// the highest epoch under which it was put or reused. A sweep removes only blobs with an epoch before every
// live lease. An epoch is never a time of day, so it cannot jump.
struct Epoch {
  uint64_t revision = 0;
  friend auto operator<=>(const Epoch&, const Epoch&) = default;
};

// Identifies a file of this host. The kernel reuses the inode number of a removed file, so this holds the
// time of birth, too (statx(2); 0 if the file system does not record it).
struct FileId {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t born_ns = 0;
  friend bool operator==(const FileId&, const FileId&) = default;
};

// An open blob. Its bytes stay readable for as long as this object lives, whatever is deleted meanwhile.
// Thread-safe.
class OpenBlob {
 public:
  virtual ~OpenBlob() = default;

  virtual const Digest& digest() const = 0;

  // The file that holds the bytes, or nothing if no file does. A repaired blob is a different file; blobs
  // that were opened before the repair keep the damaged one.
  virtual std::optional<FileId> File() const { return std::nullopt; }

  // Fills `out` from `offset_bytes`; the count is short only at the end of the blob, and 0 past it. Waits for
  // the chunks that it needs, no longer than `deadline`. Returns no unverified byte.
  //   kDataLoss          a chunk failed its check; the blob is quarantined and the message names it
  //   kDeadlineExceeded, kUnavailable   a chunk is not here yet, and did not arrive in time
  // With Deadline::Now() it waits for the local disk alone, and kDeadlineExceeded means: Fetch first.
  virtual Result<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out, const Deadline& deadline) = 0;

  // Brings these bytes to this host, and calls `done` once a Read of them waits for the local disk alone, or
  // fails at once. Never waits itself, and takes no thread. The caller keeps the blob until `done`.
  virtual void Fetch(uint64_t offset_bytes, uint64_t length_bytes, const std::stop_token& stop,
                     Done done) = 0;

  // A descriptor of the whole blob as an ordinary read-only file, so that others can read it directly.
  // Returns nothing until every byte is here and verified, and always the same descriptor after that. The
  // blob closes it.
  virtual std::optional<int> NativeFd() const = 0;
};

// Thread-safe. Every call may block on disk or network, so callers must not hold a lock across one.
class BlobStore {
 public:
  virtual ~BlobStore() = default;

  // Makes `bytes` readable under `digest`, and marks it as used in `epoch`. On OK the blob is
  // durable. On any error a reader finds it whole or not at all. Putting a present blob is OK.
  //   kInvalidArgument   `bytes` does not have that digest; nothing was stored
  //   kNoSpace           disk or quota full
  virtual Status Put(const Digest& digest, std::string_view bytes, Epoch epoch) = 0;

  // Opens without waiting for the bytes, nor for another host. A blob that this process has not verified yet
  // is verified at once if that is quick, and in the background otherwise; see OnNative.
  //   kNotFound   no tier has it; a tier that cannot know that without waiting returns it from Fetch
  //   kDataLoss   it failed its check and was quarantined
  virtual Result<std::shared_ptr<OpenBlob>> Open(const Digest& digest) = 0;

  // Returns the whole blob, verified. kInvalidArgument if it is larger than `limit_bytes`; other errors as
  // Open and Read.
  Result<std::string> ReadAll(const Digest& digest, uint64_t limit_bytes,
                              const Deadline& deadline = Deadline::After(kPatience));

  // Marks a present blob as used in `epoch`, as Put does, so that no sweep takes it before that lease ends.
  //   kNotFound   no tier has it any more
  virtual Status Keep(const Digest& digest, Epoch epoch) = 0;

  // Makes the blobs that this tree lists, the tree itself, and the blob of its files' times if there is one,
  // available where the registry can read them: the step between storing a tree and committing a version of
  // it. kDeadlineExceeded, kUnavailable.
  virtual Status Offer(const Digest& tree, const std::optional<Digest>& times, const Deadline& deadline) = 0;

  // Of each in turn, whether Open would return a blob that has a NativeFd. Never blocks for long.
  virtual std::vector<bool> AreNative(std::span<const Digest> digests) = 0;
  bool IsNative(const Digest& digest) { return AreNative({&digest, 1}).front(); }

  // Of each in turn, how many of its bytes are on this host (for `user.modelfs.cached`).
  virtual std::vector<uint64_t> LocalBytesOf(std::span<const Digest> digests) = 0;
  uint64_t LocalBytes(const Digest& digest) { return LocalBytesOf({&digest, 1}).front(); }

  // `listener` is called on a thread of the store each time a blob that was opened without a NativeFd gets
  // one. Several mounts may share a store: each adds its own, before its first Open.
  [[nodiscard]] virtual Subscription OnNative(std::function<void(const Digest&)> listener) = 0;
};

// Fetch of bytes of `blob`, which the value keeps open.
Pending FetchOf(std::shared_ptr<OpenBlob> blob, uint64_t offset_bytes, uint64_t length_bytes);

}  // namespace modelfs::cas
