#include "cas/local/blob_directory.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <set>

#include "cas/base/fail_point.h"

namespace modelfs::cas {
namespace {

// Sums take 16 bytes for each 4 MiB: enough for a blob of 256 TiB.
constexpr uint64_t kSumsMaxBytes = uint64_t{1} << 30U;

bool SameStamp(const FileInfo& a, const FileInfo& b) {
  return SameFile(a, b) && a.size_bytes == b.size_bytes && a.mtime_s == b.mtime_s &&
         a.mtime_ns == b.mtime_ns && a.ctime_s == b.ctime_s && a.ctime_ns == b.ctime_ns;
}

std::string FolderOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

std::string RandomHex() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

}  // namespace

bool SameFile(const FileInfo& a, const FileInfo& b) { return a.device == b.device && a.inode == b.inode; }

bool IsBefore(const FileInfo& info, Epoch epoch) {
  return info.mtime_s < 0 || static_cast<uint64_t>(info.mtime_s) < epoch.revision;
}

bool SumsAreBefore(const FileInfo& info, Epoch epoch) { return info.mtime_ns != 0 || IsBefore(info, epoch); }

std::optional<std::string> WhyNotTheBlob(const Digest& digest, const FileInfo& info) {
  if (!S_ISREG(info.mode)) return "the file is not a regular file";
  if (info.size_bytes == digest.size_bytes) return std::nullopt;
  return fmt::format("the file has {} bytes instead of {}", info.size_bytes, digest.size_bytes);
}

Result<SweepLock> SweepLock::Take(const std::string& path, Mode mode) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return ErrnoError(errno, "open " + path);
  while (::flock(fd.get(), mode == Mode::kShared ? LOCK_SH : LOCK_EX) != 0) {
    if (errno != EINTR) return ErrnoError(errno, "flock " + path);
  }
  return SweepLock(std::move(fd));
}

Result<FileInfo> InfoOf(int fd, const std::string& name) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return ErrnoError(errno, "fstat " + name);
  return InfoFrom(info);
}

BlobDirectory::BlobDirectory(Files& files_in, std::string root_in, std::shared_ptr<spdlog::logger> log_in)
    : files(files_in),
      root(std::move(root_in)),
      log(std::move(log_in)),
      lock_path_(root + "/sweep.lock"),
      staging_prefix_(RandomHex()) {}

std::string BlobDirectory::Sharded(std::string_view folder, const Digest& digest) const {
  const std::string hex = digest.Hex();
  return fmt::format("{}/{}/{}/{}", root, folder, std::string_view(hex).substr(0, 2),
                     std::string_view(hex).substr(2));
}

std::string BlobDirectory::NewStagingPath(Epoch epoch) {
  return fmt::format("{}/staging/{}.{}.{}", root, epoch.revision, staging_prefix_, staged_.fetch_add(1));
}

Status BlobDirectory::MakeShards(const std::vector<std::string>& paths) {
  std::set<std::string> missing;
  {
    MutexLock lock(shards_mu_);
    for (const std::string& path : paths) {
      if (std::string folder = FolderOf(path); !durable_shards_.contains(folder)) missing.insert(folder);
    }
  }
  if (missing.empty()) return OkStatus();
  std::set<std::string> parents;
  for (const std::string& folder : missing) {
    RETURN_IF_ERROR(files.MakeDirectories(folder));
    parents.insert(FolderOf(folder));
  }
  for (const std::string& parent : parents) RETURN_IF_ERROR(files.SyncDirectory(parent));
  MutexLock lock(shards_mu_);
  for (const std::string& folder : missing) durable_shards_.emplace(folder, true);
  return OkStatus();
}

bool BlobDirectory::WasVerified(const Digest& digest) {
  Stripe& stripe = StripeOf(digest);
  MutexLock lock(stripe.mu);
  return stripe.verified.contains(digest);
}

bool BlobDirectory::IsVerified(const Digest& digest, const FileInfo& info) {
  Stripe& stripe = StripeOf(digest);
  MutexLock lock(stripe.mu);
  const auto at = stripe.verified.find(digest);
  return at != stripe.verified.end() && SameStamp(at->second, info);
}

void BlobDirectory::MarkVerified(const Digest& digest, const FileInfo& info) {
  Stripe& stripe = StripeOf(digest);
  MutexLock lock(stripe.mu);
  stripe.verified[digest] = info;
}

Status BlobDirectory::RaiseEpoch(const Digest& digest, Epoch epoch) {
  const std::string path = ObjectPath(digest);
  const auto wanted = static_cast<int64_t>(epoch.revision);
  Stripe& stripe = StripeOf(digest);
  MutexLock lock(stripe.mu);
  ASSIGN_OR_RETURN(const FileInfo before, files.Stat(path));
  if (before.mtime_s >= wanted) return OkStatus();
  RETURN_IF_ERROR(files.SetMtime(path, wanted));
  const auto at = stripe.verified.find(digest);
  if (at == stripe.verified.end() || !SameStamp(at->second, before)) return OkStatus();
  ASSIGN_OR_RETURN(at->second, files.Stat(path));
  return OkStatus();
}

Status BlobDirectory::UnlinkOtherName(const std::string& path, const Digest& digest) {
  const std::string object = ObjectPath(digest);
  Stripe& stripe = StripeOf(digest);
  MutexLock lock(stripe.mu);
  const Result<FileInfo> before = files.Stat(object);
  RETURN_IF_ERROR(files.Unlink(path));
  const auto at = stripe.verified.find(digest);
  if (!before.ok() || at == stripe.verified.end() || !SameStamp(at->second, *before)) return OkStatus();
  if (Result<FileInfo> after = files.Stat(object); after.ok()) at->second = *after;
  return OkStatus();
}

Result<bool> BlobDirectory::ReuseIfPresent(const Digest& digest, Epoch epoch) {
  // Absence needs no lock, and most new files are absent.
  FileInfo info;
  if (const Result<FileInfo> found = files.Stat(ObjectPath(digest)); !found.ok()) {
    if (found.error().code() == Code::kNotFound) return false;
    return found.error();
  }
  {
    ASSIGN_OR_RETURN(const SweepLock shared, LockShared());
    const Result<FileInfo> found = files.Stat(ObjectPath(digest));
    if (!found.ok()) {
      if (found.error().code() == Code::kNotFound) return false;
      return found.error();
    }
    info = *found;
    if (!WhyNotTheBlob(digest, info)) {
      RETURN_IF_ERROR(RaiseEpoch(digest, epoch));
      return true;
    }
  }
  // Only after the release of the shared lock: Quarantine takes the exclusive one.
  const Error moved = Quarantine(digest, info, *WhyNotTheBlob(digest, info));
  if (moved.code() != Code::kDataLoss) return moved;
  return false;
}

Result<Sums> BlobDirectory::LoadSums(const Digest& digest) {
  ASSIGN_OR_RETURN(const std::string encoded, files.ReadAll(SumsPath(digest), kSumsMaxBytes));
  ASSIGN_OR_RETURN(Sums sums, Sums::Decode(encoded));
  if (sums.blob != digest) return Error(Code::kDataLoss, "sums: belong to " + sums.blob.ToString());
  return sums;
}

Result<std::optional<Digest>> BlobDirectory::ReuseListOf(const Digest& blob, Epoch epoch) {
  const Result<Sums> sums = LoadSums(blob);
  if (!sums.ok()) return std::optional<Digest>();
  ASSIGN_OR_RETURN(const bool present, ReuseIfPresent(sums->chunk_list, epoch));
  return present ? std::optional(sums->chunk_list) : std::nullopt;
}

Status BlobDirectory::RepairSums(const Sums& sums, const FileInfo& info) {
  const std::string path = SumsPath(sums.blob);
  RETURN_IF_ERROR(MakeShards({path}));
  // Held until the file has its name, so that no sweep takes the blob or the staged file; a sums file is
  // small.
  ASSIGN_OR_RETURN(const SweepLock shared, LockShared());
  ASSIGN_OR_RETURN(const FileInfo now, files.Stat(ObjectPath(sums.blob)));
  if (!SameFile(now, info)) return Error(Code::kNotFound, sums.blob.ToString() + ": was replaced meanwhile");
  const std::string staged =
      NewStagingPath({.revision = static_cast<uint64_t>(std::max<int64_t>(now.mtime_s, 0))});
  ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, files.Create(staged, 0444));
  const std::string encoded = sums.Encode();
  RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(encoded))));
  RETURN_IF_ERROR(files.SetMtime(staged, now.mtime_s));
  RETURN_IF_ERROR(file->Sync());
  RETURN_IF_ERROR(files.Rename(staged, path));
  return files.SyncDirectory(FolderOf(path));
}

Result<bool> BlobDirectory::ReuseSumsIfPresent(const Digest& blob, Epoch epoch) {
  const std::string path = SumsPath(blob);
  ASSIGN_OR_RETURN(const SweepLock shared, LockShared());
  const Result<FileInfo> found = files.Stat(path);
  if (!found.ok()) {
    if (found.error().code() == Code::kNotFound) return false;
    return found.error();
  }
  if (SumsAreBefore(*found, epoch)) {
    RETURN_IF_ERROR(files.SetMtime(path, static_cast<int64_t>(epoch.revision)));
  }
  return true;
}

Error BlobDirectory::Quarantine(const Digest& digest, const FileInfo& info, std::string_view reason) {
  const Result<SweepLock> exclusive = LockExclusive();
  if (!exclusive.ok()) return exclusive.error();
  const std::string path = ObjectPath(digest);
  const Result<FileInfo> now = files.Stat(path);
  // Another process may have replaced it with a good one already.
  if (now.ok() && SameFile(*now, info)) {
    const Status moved = [&]() -> Status {
      RETURN_IF_ERROR(files.MakeDirectories(root + "/quarantine"));
      // rename(2) does not replace a file by a directory, or a directory by a file.
      const std::string target = QuarantinePath(digest);
      if (const Result<FileInfo> earlier = files.Stat(target);
          earlier.ok() && S_ISDIR(earlier->mode) != S_ISDIR(now->mode)) {
        RETURN_IF_ERROR(files.Rename(target, fmt::format("{}.{}", target, earlier->inode)));
      }
      RETURN_IF_ERROR(files.Rename(path, target));
      FAIL_POINT("quarantine.moved");
      RETURN_IF_ERROR(files.SyncDirectory(root + "/quarantine"));
      return files.SyncDirectory(FolderOf(path));
    }();
    if (!moved.ok()) return moved.error().Wrap("move " + digest.ToString() + " to quarantine");
    if (log != nullptr) log->error("blob_quarantined digest={} reason=\"{}\"", digest.ToString(), reason);
  }
  return {Code::kDataLoss, fmt::format("{}: {}; it was moved to quarantine", digest.ToString(), reason)};
}

Error BlobDirectory::ReadFailed(const Digest& digest, const FileInfo& info, const Error& error) {
  if (error.code() != Code::kDataLoss || !files.HasVerity(ObjectPath(digest))) return error;
  return Quarantine(digest, info, "fs-verity found that its bytes changed on the disk");
}

Error BlobDirectory::Missing(const Digest& digest) {
  if (files.Stat(QuarantinePath(digest)).ok()) {
    return {Code::kDataLoss, digest.ToString() +
                                 ": failed its check and lies in quarantine; a good copy of the same bytes "
                                 "replaces it: register the file again, or restore it from a backup"};
  }
  return {Code::kNotFound, digest.ToString() + ": not in the store"};
}

}  // namespace modelfs::cas
