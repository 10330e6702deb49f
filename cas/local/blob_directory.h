// The state that the parts of LocalStore share: paths, the sweep lock, the blobs that this process has
// verified, and the quarantine of damaged blobs. Internal to cas/; other folders use cas/local/local_store.h.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/thread.h"
#include "cas/blob_store.h"
#include "cas/files.h"
#include "cas/local/sums.h"

namespace spdlog {
class logger;
}

namespace modelfs::cas {

// Holds the flock(2) on sweep.lock for its lifetime. A process may hold several shared ones at a time. A
// holder of a shared lock must not wait for the exclusive one.
class SweepLock {
 public:
  enum class Mode { kShared, kExclusive };
  static Result<SweepLock> Take(const std::string& path, Mode mode);

 private:
  explicit SweepLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// Whether both describe the same file, even if it changed in between.
bool SameFile(const FileInfo& a, const FileInfo& b);

// Whether a file's epoch is before `epoch`.
bool IsBefore(const FileInfo& info, Epoch epoch);
// The same for a sums file. An mtime with a fraction of a second is a time of day, not an epoch: an earlier
// version of this program rewrote such files without an epoch. Therefore no lease holder relies on it.
bool SumsAreBefore(const FileInfo& info, Epoch epoch);

// The reason why a file's attributes alone show that it is not the blob, or nothing if they do not.
std::optional<std::string> WhyNotTheBlob(const Digest& digest, const FileInfo& info);

// Thread-safe. Lives as long as the store or any of its open blobs.
class BlobDirectory {
 public:
  BlobDirectory(Files& files_in, std::string root_in, std::shared_ptr<spdlog::logger> log_in);

  Files& files;
  const std::string root;
  const std::shared_ptr<spdlog::logger> log;  // may be null

  std::string ObjectPath(const Digest& digest) const { return Sharded("objects", digest); }
  std::string SumsPath(const Digest& digest) const { return Sharded("sums", digest); }
  std::string QuarantinePath(const Digest& digest) const { return root + "/quarantine/" + digest.Hex(); }
  // A unique name. It begins with the epoch, so that a sweep can decide whether a leftover may go.
  std::string NewStagingPath(Epoch epoch);

  Result<SweepLock> LockShared() const { return SweepLock::Take(lock_path_, SweepLock::Mode::kShared); }
  Result<SweepLock> LockExclusive() const { return SweepLock::Take(lock_path_, SweepLock::Mode::kExclusive); }

  // Creates the directories that hold `paths` below objects/ and sums/, durably.
  Status MakeShards(const std::vector<std::string>& paths);

  // Whether this process has stored or checked this very file's bytes, and the file is unchanged since: same
  // device, inode, size, mtime and ctime.
  bool IsVerified(const Digest& digest, const FileInfo& info);
  // Whether the blob was verified once. Does not look at the file, which may have changed since.
  bool WasVerified(const Digest& digest);
  void MarkVerified(const Digest& digest, const FileInfo& info);

  // Raises a present blob's epoch, and never lowers it. The caller holds the shared sweep lock, or knows that
  // no sweep can remove the blob. The blob stays verified, although this changes the file's mtime.
  Status RaiseEpoch(const Digest& digest, Epoch epoch);
  // Removes another link to a blob's file. The blob stays verified, although this changes the file's ctime.
  Status UnlinkOtherName(const std::string& path, const Digest& digest);

  // Marks the blob as used in `epoch` if it is present, and returns whether it is. A blob with a wrong size
  // is moved to quarantine and counts as absent. Takes the shared sweep lock.
  Result<bool> ReuseIfPresent(const Digest& digest, Epoch epoch);

  Result<Sums> LoadSums(const Digest& digest);
  // The chunk list that the sums of a large blob name, marked as used in `epoch`; nullopt without sums or
  // list.
  Result<std::optional<Digest>> ReuseListOf(const Digest& blob, Epoch epoch);
  // Replaces a sums file that was missing or damaged; the new one gets the blob's epoch. Returns kNotFound,
  // and writes nothing, if the blob is no longer the file that `info` describes: a sweep may have taken it
  // meanwhile. Takes the shared sweep lock.
  Status RepairSums(const Sums& sums, const FileInfo& info);
  // Marks the sums file as used in `epoch` if it exists, and returns whether it does. Its blob may not have
  // its name yet. Takes the shared sweep lock.
  Result<bool> ReuseSumsIfPresent(const Digest& blob, Epoch epoch);

  // Moves a damaged blob to quarantine if it still is the file that `info` describes. Returns the error for
  // its readers. Takes the exclusive sweep lock.
  Error Quarantine(const Digest& digest, const FileInfo& info, std::string_view reason);
  // Returns the error for a failed read of a blob's file. If the file has fs-verity, kDataLoss means that its
  // bytes changed, and the blob is moved to quarantine. Without fs-verity the blob stays, because the disk
  // may recover.
  Error ReadFailed(const Digest& digest, const FileInfo& info, const Error& error);
  // Returns the error for an absent blob: kDataLoss if it lies in quarantine, otherwise kNotFound.
  Error Missing(const Digest& digest);

 private:
  struct Stripe {
    // Held across the stat(2) or the change together with the update of `verified`, so that both agree. These
    // are calls on one inode's metadata, never on bytes.
    Mutex mu;
    std::unordered_map<Digest, FileInfo> verified GUARDED_BY(mu);
  };

  std::string Sharded(std::string_view folder, const Digest& digest) const;
  Stripe& StripeOf(const Digest& digest) { return stripes_[digest.sha256[31] % stripes_.size()]; }

  const std::string lock_path_;
  const std::string staging_prefix_;
  std::atomic<uint64_t> staged_ = 0;
  std::array<Stripe, 64> stripes_;
  Mutex shards_mu_;
  std::unordered_map<std::string, bool> durable_shards_ GUARDED_BY(shards_mu_);
};

// fstat(2) of an open file; `name` is for the error.
Result<FileInfo> InfoOf(int fd, const std::string& name);

}  // namespace modelfs::cas
