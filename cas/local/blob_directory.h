// What the parts of LocalStore share: where things lie, the sweep lock, what this process has verified,
// and what happens to a damaged blob. Internal to cas/; users see cas/local/local_store.h.
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

// The flock(2) on sweep.lock, until this goes. A process may hold several shared ones at a time; nobody
// who holds a shared one may wait for the exclusive one.
class SweepLock {
 public:
  enum class Mode { kShared, kExclusive };
  static Result<SweepLock> Take(const std::string& path, Mode mode);

 private:
  explicit SweepLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// Whether both are the same file, whatever happened to it in between.
bool SameFile(const FileInfo& a, const FileInfo& b);

// Whether a file's epoch is before `epoch`.
bool IsBefore(const FileInfo& info, Epoch epoch);
// The same of a sums file. An mtime with a part of a second is the time of day at which an earlier version of
// this program wrote such a file anew: it has no epoch, and so nobody who holds a lease relies on it.
bool SumsAreBefore(const FileInfo& info, Epoch epoch);

// What shows already by its attributes that a file is not the blob; nothing where none does.
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
  // A name that nobody else uses. It begins with the epoch, so that a sweep knows whose leftover it is.
  std::string NewStagingPath(Epoch epoch);

  Result<SweepLock> LockShared() const { return SweepLock::Take(lock_path_, SweepLock::Mode::kShared); }
  Result<SweepLock> LockExclusive() const { return SweepLock::Take(lock_path_, SweepLock::Mode::kExclusive); }

  // Makes the directories that hold `paths` below objects/ and sums/, durably.
  Status MakeShards(const std::vector<std::string>& paths);

  // A blob counts as verified while its file is the very one, unchanged, whose bytes this process has
  // stored or checked: same device, inode, size, mtime and ctime.
  bool IsVerified(const Digest& digest, const FileInfo& info);
  // Whether it may be so: without looking at the file, which may have changed since.
  bool WasVerified(const Digest& digest);
  void MarkVerified(const Digest& digest, const FileInfo& info);

  // Raises a present blob's epoch, never lowers it. The caller holds the shared sweep lock, or no sweep
  // can want the blob. Our own change of its mtime does not make it unverified.
  Status RaiseEpoch(const Digest& digest, Epoch epoch);
  // Removes another link to a blob's file, which changes its ctime, without making it unverified.
  Status UnlinkOtherName(const std::string& path, const Digest& digest);

  // True where the blob is here and is now marked as used in `epoch`. One with a wrong size is moved to
  // quarantine and counts as absent. Takes the shared sweep lock.
  Result<bool> ReuseIfPresent(const Digest& digest, Epoch epoch);

  Result<Sums> LoadSums(const Digest& digest);
  // Replaces a sums file that was missing or damaged; it gets the blob's epoch. kNotFound, and nothing is
  // written, where the blob is no longer the file that `info` says: a sweep may have taken it meanwhile.
  // Takes the shared sweep lock.
  Status RepairSums(const Sums& sums, const FileInfo& info);
  // True where there is a sums file, of a blob that may still be on its way; it is now marked as used in
  // `epoch`. Takes the shared sweep lock.
  Result<bool> ReuseSumsIfPresent(const Digest& blob, Epoch epoch);

  // Moves a damaged blob aside if it still is the file `info` says, and answers the error to give to
  // whoever wanted its bytes. Takes the exclusive sweep lock.
  Error Quarantine(const Digest& digest, const FileInfo& info, std::string_view reason);
  // The error of a read of a blob's file, after what it means: where the kernel found by fs-verity that the
  // bytes are not the blob's, it is moved aside as by Quarantine. Any other disk that fails may be back soon.
  Error ReadFailed(const Digest& digest, const FileInfo& info, const Error& error);
  // The error for a blob that is not there: kDataLoss where it lies in quarantine, else kNotFound.
  Error Missing(const Digest& digest);

 private:
  struct Stripe {
    // Held across the stat(2) or the change whose stamp it guards, since the two belong together: calls
    // on one inode's metadata, never on bytes.
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

// What stat(2) says of an open file.
Result<FileInfo> InfoOf(int fd, const std::string& name);

}  // namespace modelfs::cas
