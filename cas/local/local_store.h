// Blobs on this host's disk.
//
//   objects/ab/cdef…   whole blobs, read-only files named by SHA-256, so that the kernel can open them
//   sums/ab/cdef…      for blobs of more than one chunk: XXH3-128 of each chunk, and the chunk list's digest
//   staging/           files on their way in, "<epoch>.…"; a name here is never read by anyone else
//   quarantine/        blobs that failed their check, kept for people to look at
//   sweep.lock         shared by whoever relies on a present blob, exclusive for a batch of a sweep
//
// Publishing: temp name in staging, write, fsync, rename, fsync the directory. A blob's epoch is kept
// as the file's mtime in seconds: the one mutable attribute that costs neither a file nor a write.
// Several processes may use one directory at once. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
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

// A blob larger than this is verified in the background on its first use after a restart; a smaller
// one while it is being opened.
inline constexpr uint64_t kVerifyAtOpenBytes = uint64_t{16} << 20U;

// One file for PublishAll: `source_path` is on the store's own file system and is hard-linked in,
// never copied. The caller promises that nobody writes to it any more, through any handle.
struct PublishItem {
  std::string source_path;
  // Set where the caller hashed it already (HashFile).
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

// How a scrub goes about it.
struct ScrubOptions {
  // Each blob is read once in so long.
  std::chrono::milliseconds period = std::chrono::days(7);
  const Clock* clock = &SystemClock();
  // Returns at `until_ms` of the clock, or sooner. Empty: sleeps, no longer than until `stop` is requested.
  std::function<void(int64_t until_ms, const std::stop_token& stop)> wait = {};
};

struct SweepReport {
  uint64_t blobs_removed = 0;
  uint64_t bytes_removed = 0;
  uint64_t blobs_kept = 0;
  // Of those kept, the ones that are not live and stayed because their epoch is not over.
  uint64_t blobs_held_back = 0;
  uint64_t bytes_held_back = 0;
};

class SourceDirectory;

class LocalStore : public BlobStore {
 public:
  struct Options {
    std::string root;      // an existing or new directory, private to the registry's owner
    int hash_threads = 0;  // 0: one a core
    std::shared_ptr<spdlog::logger> log = nullptr;  // may be null
  };

  // Makes the directories. Removes nothing.
  static Result<std::unique_ptr<LocalStore>> Open(Files& files, const Options& options);
  ~LocalStore() override;

  Status Put(const Digest& digest, std::string_view bytes, Epoch epoch) override;
  Result<std::shared_ptr<OpenBlob>> Open(const Digest& digest) override;
  bool IsNative(const Digest& digest) override;
  uint64_t LocalBytes(const Digest& digest) override;
  void OnNative(std::function<void(const Digest&)> listener) override;

  // Reports how many bytes have been stored so far; called from any thread.
  using Progress = std::function<void(uint64_t bytes_done)>;

  // Copies files of a directory of this host into the store, several at once, each in one pass over
  // its bytes. Answers in the order of `paths`, which are relative to it. All durable on OK; on error some
  // may be stored, unreferenced, for a sweep to take. kAborted where a file, or the way to it, changed
  // while it was read.
  Result<std::vector<StoredFile>> ImportAll(const SourceDirectory& directory,
                                            const std::vector<std::string>& paths, Epoch epoch,
                                            const Progress& progress);

  // Takes in files that are on the store's file system already, without copying a byte: hashes what
  // is not known yet, makes all durable, links them in. Answers in the order of `items`. kCancelled where
  // `stop` was requested before all was hashed.
  Result<std::vector<StoredFile>> PublishAll(const std::vector<PublishItem>& items, Epoch epoch,
                                             const Progress& progress, const std::stop_token& stop = {});

  // Whole-file and chunk digests in one pass, without storing anything. kCancelled.
  Result<HashedFile> HashFile(const std::string& path, const std::stop_token& stop = {});

  // Marks a present blob as used in `epoch`, so that no sweep takes it before that lease ends.
  // kNotFound where it is gone.
  Status Reuse(const Digest& digest, Epoch epoch);

  // Reuse of a present blob that some file shares, and of its chunk list, which is made anew where it is
  // gone. kNotFound, kDataLoss as Open; kCancelled.
  Result<StoredFile> ReuseFile(const Digest& digest, Epoch epoch, const std::stop_token& stop = {});

  // The chunk list that goes with a present blob of more than one chunk, as its sums file says.
  std::optional<Digest> ChunkListOf(const Digest& digest);

  // Removes a name outside the store that is a hard link of a present blob (PublishAll made it one)
  // without making this process verify the blob again.
  Status UnlinkOtherName(const std::string& path, const Digest& digest);

  // The path under which a present blob can be linked or opened. For this process's own use.
  std::string ObjectPath(const Digest& digest) const;

  // Reads and checks every blob. With `quarantine`, damaged ones are moved aside and no longer open.
  Result<FsckReport> Fsck(bool quarantine, const Progress& progress);

  // Reads every blob from the disk once in a period and checks its SHA-256, evenly spread over that time,
  // again and again until `stop` is requested. What was done stays known over restarts; of several processes
  // one scrubs. What is damaged is moved aside, as by Fsck with `quarantine`, and readers that have it open
  // through this store are answered kDataLoss. What the disk cannot read is reported and left where it is.
  // Blobs get fs-verity where the file system has it. To be called by a thread of its own.
  void Scrub(const ScrubOptions& options, const std::stop_token& stop);
  // How far that is, by whichever process; also what the last Fsck found.
  ScrubState Scrubbed();

  // Removes every blob that is not in `live` and whose epoch is before `horizon`, and staging files
  // whose epoch is before it. `live` holds blobs, chunk lists and trees. With `dry_run` it only counts.
  //   kCancelled   `stop` was requested; what was removed by then is gone
  Result<SweepReport> Sweep(const std::unordered_set<Digest>& live, Epoch horizon, bool dry_run,
                            const std::stop_token& stop = {});

 private:
  class Impl;
  explicit LocalStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace modelfs::cas
