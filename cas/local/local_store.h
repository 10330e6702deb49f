// Blobs on this host's disk.
//
//   objects/ab/cdef…   whole blobs, read-only files named by SHA-256, so that the kernel can open them
//   sums/ab/cdef…      for blobs of more than one chunk: XXH3-128 of each chunk, and the chunk list's digest
//   staging/           incoming files, "<epoch>.…"; only their writer reads them
//   quarantine/        blobs that failed their check, kept for inspection
//   sweep.lock         shared by operations that rely on a present blob, exclusive for a batch of a sweep
//
// Publishing: create a temporary file in staging, write, fsync, rename, fsync the directory. The file's mtime
// in seconds holds the blob's epoch, because this is the only mutable attribute that costs neither a file nor
// a write. Several processes may use one directory at once. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "cas/base/clock.h"
#include "cas/blob_store.h"
#include "cas/files.h"
#include "cas/local/file_hasher.h"
#include "cas/scrub_state.h"

namespace spdlog {
class logger;
}

namespace modelfs::cas {

// A blob larger than this is verified in the background after its first open since a restart; a smaller blob
// is verified during that open.
inline constexpr uint64_t kVerifyAtOpenBytes = uint64_t{16} << 20U;

// One file for PublishAll: `source_path` is on the store's own file system. The store hard-links it and never
// copies it. The caller promises that no handle writes to it any more.
struct PublishItem {
  std::string source_path;
  // Set if the caller has hashed the file already (HashFile).
  std::optional<HashedFile> known = std::nullopt;
};

struct DamagedBlob {
  Digest digest;
  std::string reason;
};

struct FsckReport {
  uint64_t blobs_checked = 0;
  uint64_t bytes_checked = 0;
  std::vector<DamagedBlob> damaged;  // wrong bytes, a wrong size, or a missing or wrong sums file
};

// The speed and the clock of a scrub.
struct ScrubOptions {
  // Each blob is read once in this time.
  std::chrono::milliseconds period = std::chrono::days(7);
  const Clock* clock = &SystemClock();
  // Returns at `until_ms` of the clock, or sooner. If empty, the scrub sleeps, at most until `stop` is
  // requested.
  std::function<void(int64_t until_ms, const std::stop_token& stop)> wait = {};
};

struct SweepReport {
  uint64_t blobs_removed = 0;
  uint64_t bytes_removed = 0;
  uint64_t blobs_kept = 0;
  // Of the blobs kept, those that are not live and stayed because their epoch is not before the horizon.
  uint64_t blobs_held_back = 0;
  uint64_t bytes_held_back = 0;
};

class SourceDirectory;

class LocalStore : public BlobStore {
 public:
  struct Options {
    std::string root;      // an existing or new directory, private to the registry's owner
    int hash_threads = 0;  // 0: one for each core
    std::shared_ptr<spdlog::logger> log = nullptr;  // may be null
  };

  // Creates the directories. Removes nothing.
  static Result<std::unique_ptr<LocalStore>> Open(Files& files, const Options& options);
  ~LocalStore() override;

  Status Put(const Digest& digest, std::string_view bytes, Epoch epoch) override;
  Result<std::shared_ptr<OpenBlob>> Open(const Digest& digest) override;
  Status Keep(const Digest& digest, Epoch epoch) override;
  // The registry of a home reads this very store.
  Status Offer(const Digest& /*tree*/, const std::optional<Digest>& /*times*/,
               const Deadline& /*deadline*/) override {
    return OkStatus();
  }
  std::vector<bool> AreNative(std::span<const Digest> digests) override;
  std::vector<uint64_t> LocalBytesOf(std::span<const Digest> digests) override;
  [[nodiscard]] Subscription OnNative(std::function<void(const Digest&)> listener) override;

  // Reports how many bytes have been stored so far. May be called on any thread.
  using Progress = std::function<void(uint64_t bytes_done)>;

  // Copies files of a directory of this host into the store, several at once, each in one pass over its
  // bytes. Returns the results in the order of `paths`, which are relative to the directory. On OK all are
  // durable. On error some blobs may be stored; nothing refers to them, so a sweep takes them. kAborted if a
  // file, or the way to it, changed while it was read.
  Result<std::vector<StoredFile>> ImportAll(const SourceDirectory& directory,
                                            const std::vector<std::string>& paths, Epoch epoch,
                                            const Progress& progress);

  // Publishes files that are on the store's file system already, without copying a byte: hashes those without
  // known digests, makes all durable, and links them in. Returns the results in the order of `items`.
  // kCancelled if `stop` was requested before all were hashed.
  Result<std::vector<StoredFile>> PublishAll(const std::vector<PublishItem>& items, Epoch epoch,
                                             const Progress& progress, const std::stop_token& stop = {});

  // Computes whole-file and chunk digests in one pass, without storing anything. kCancelled if `stop` was
  // requested.
  Result<HashedFile> HashFile(const std::string& path, const std::stop_token& stop = {});

  // Does the same for a present blob that a draft's file shares, and for its chunk list, which is made anew
  // if it is gone. kNotFound, kDataLoss as Open; kCancelled.
  Result<StoredFile> ReuseFile(const Digest& digest, Epoch epoch, const std::stop_token& stop = {});

  // The digest of the chunk list of a present blob of more than one chunk, from its sums file.
  std::optional<Digest> ChunkListOf(const Digest& digest);

  // Removes a name outside the store that is a hard link to a present blob (made by PublishAll). This process
  // does not have to verify the blob again.
  Status UnlinkOtherName(const std::string& path, const Digest& digest);

  // The path under which a present blob can be linked or opened. Only this process may use it.
  std::string ObjectPath(const Digest& digest) const;

  // Reads and checks every blob. With `quarantine`, damaged ones are moved to quarantine and cannot be opened
  // any more.
  Result<FsckReport> Fsck(bool quarantine, const Progress& progress);

  // Reads every blob from the disk once in a period and checks its SHA-256, evenly spread over that time.
  // Repeats that until `stop` is requested. The progress survives restarts; only one of several processes
  // scrubs. Damaged blobs are moved to quarantine, as by Fsck with `quarantine`, and their readers in this
  // store get kDataLoss. Blobs that the disk cannot read are reported and left in place. Blobs get fs-verity
  // if the file system supports it. Call this on a thread of its own.
  void Scrub(const ScrubOptions& options, const std::stop_token& stop);
  // The scrub's progress, whichever process scrubs; also the result of the last Fsck.
  ScrubState Scrubbed();

  // Removes every blob that is not in `live` and has an epoch before `horizon`, and staging files with an
  // epoch before it. `live` holds blobs, chunk lists and trees. With `dry_run` it only counts.
  //   kCancelled   `stop` was requested; the removals made before that stay
  Result<SweepReport> Sweep(const std::unordered_set<Digest>& live, Epoch horizon, bool dry_run,
                            const std::stop_token& stop = {});

 private:
  class Impl;
  explicit LocalStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace modelfs::cas
