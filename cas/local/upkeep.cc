#include "cas/local/upkeep.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <span>
#include <string>

#include "cas/base/clock.h"
#include "cas/base/fail_point.h"
#include "cas/blob_store.h"
#include "cas/chunk_list.h"
#include "cas/local/file_hasher.h"
#include "cas/local/parallel.h"
#include "cas/local/scrub.h"

namespace modelfs::cas {
namespace {

// The most blobs that are removed under one exclusive lock, so that others wait for a few unlinks only.
constexpr size_t kSweepBatch = 32;

bool IsLowerHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// Calls `visit` with the digest (size unknown) of each name in objects/ or sums/. A shard that does not exist
// counts as empty.
template <typename Visit>
Status EachName(BlobDirectory& core, std::string_view folder, const Visit& visit) {
  const std::string top = core.root + "/" + std::string(folder);
  ASSIGN_OR_RETURN(std::vector<std::string> shards, core.files.List(top));
  std::sort(shards.begin(), shards.end());
  for (const std::string& shard : shards) {
    ASSIGN_OR_RETURN(const std::vector<Digest> digests, NamesIn(core, folder, shard));
    for (const Digest& digest : digests) RETURN_IF_ERROR(visit(digest));
  }
  return OkStatus();
}

// The attributes of a name that may vanish at any time; nothing if it has vanished.
Result<std::optional<FileInfo>> StatIfThere(BlobDirectory& core, const std::string& path) {
  Result<FileInfo> info = core.files.Stat(path);
  if (info.ok()) return std::optional<FileInfo>(*info);
  if (info.error().code() == Code::kNotFound) return std::optional<FileInfo>();
  return info.error();
}

// Loads the sums of a blob after a failed attempt, now under the shared lock. So no sweep is between the
// removals of the blob and of its sums. kNotFound if the blob is no longer the file that `info` describes.
Result<Sums> LoadSumsAgain(BlobDirectory& core, const Digest& digest, const FileInfo& info) {
  ASSIGN_OR_RETURN(const SweepLock shared, core.LockShared());
  ASSIGN_OR_RETURN(const std::optional<FileInfo> now, StatIfThere(core, core.ObjectPath(digest)));
  if (!now.has_value() || !SameFile(*now, info)) {
    return Error(Code::kNotFound, digest.ToString() + ": was removed while it was read");
  }
  Result<Sums> sums = core.LoadSums(digest);
  if (sums.ok() || sums.error().code() != Code::kNotFound) return sums;
  return Error(Code::kDataLoss, sums.error().message());
}

// Whether the list that sums name is of version 1, as earlier programs wrote it, and right for this file. OK
// and false, too, if the list is not in the store.
Result<bool> NameAListOfDigests(BlobDirectory& core, const Sums& sums, int fd, const std::string& path) {
  const std::string list_path = core.ObjectPath(sums.chunk_list);
  Result<Fd> file = core.files.OpenRead(list_path);
  if (!file.ok()) return file.error().code() == Code::kNotFound ? Result<bool>(false) : file.error();
  std::string encoded(sums.chunk_list.size_bytes, '\0');
  const std::span<std::byte> room = std::as_writable_bytes(std::span(encoded));
  ASSIGN_OR_RETURN(const size_t count, ReadFully(core.files, file->get(), list_path, 0, room));
  if (count != encoded.size() || DigestOf(encoded) != sums.chunk_list) return false;
  const Result<ChunkList> list = ChunkList::Decode(encoded);
  if (!list.ok() || list->kind != ChunkList::Kind::kDigests || list->blob_bytes != sums.blob.size_bytes)
    return false;
  ChunkBuffer buffer;
  for (size_t i = 0; i < list->chunks.size(); ++i) {
    const uint64_t offset = i * kChunkBytes;
    const std::span<std::byte> chunk =
        buffer.span().first(std::min(kChunkBytes, sums.blob.size_bytes - offset));
    ASSIGN_OR_RETURN(const size_t read, ReadFully(core.files, fd, path, offset, chunk));
    if (read != chunk.size() || !list->Matches(sums.blob.sha256, i, chunk)) return false;
  }
  return true;
}

// Whether `sums` are those of a file that hashes to `hashed`: with the same list, or one of version 1.
Result<bool> AreTheSumsOf(BlobDirectory& core, const Sums& sums, const Sums& hashed, int fd,
                          const std::string& path) {
  if (sums == hashed) return true;
  if (sums.blob != hashed.blob || sums.chunks != hashed.chunks) return false;
  return NameAListOfDigests(core, sums, fd, path);
}

// Returns the defect of a blob, or nothing; kNotFound if the blob was removed meanwhile. `digest.size_bytes`
// is the size of the file.
Result<std::optional<std::string>> Examine(BlobDirectory& core, const Digest& digest, const FileInfo& info,
                                           bool repair, const std::function<void(uint64_t)>& on_bytes) {
  if (std::optional<std::string> why = WhyNotTheBlob(digest, info)) return why;
  const std::string path = core.ObjectPath(digest);
  ASSIGN_OR_RETURN(const Fd file, core.files.OpenRead(path));
  // Drops the cached pages, which may be better than the bytes on the disk. Direct reads, as a scrub makes,
  // would be slower than the disk, because this hashes with several threads.
  (void)::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  HashOptions options;
  options.files = &core.files;
  options.on_bytes = on_bytes;
  ASSIGN_OR_RETURN(const HashedFile hashed, HashDescriptor(file.get(), path, info.size_bytes, options));
  if (hashed.stored.blob != digest) return std::optional<std::string>("its bytes do not have that SHA-256");
  if (hashed.large == nullptr) return std::optional<std::string>();
  Result<Sums> sums = core.LoadSums(digest);
  if (!sums.ok()) sums = LoadSumsAgain(core, digest, info);
  if (!sums.ok() && sums.error().code() == Code::kNotFound) return sums.error();
  if (sums.ok()) {
    ASSIGN_OR_RETURN(const bool right, AreTheSumsOf(core, *sums, hashed.large->sums, file.get(), path));
    if (right) return std::optional<std::string>();
  }
  std::string reason = "its bytes are good, but its sums file is wrong";
  if (!sums.ok())
    reason = fmt::format("its bytes are good, but not its sums file ({})", sums.error().message());
  if (repair) {
    RETURN_IF_ERROR(core.RepairSums(hashed.large->sums, info));
    reason += "; it was rewritten";
  }
  return std::optional<std::string>(std::move(reason));
}

// Removes the sums of an absent blob if their epoch is before `horizon`. A publisher that is about to name
// the blob has raised their epoch before, because sums come first. The caller holds the exclusive sweep lock.
Status RemoveSums(BlobDirectory& core, const Digest& digest, Epoch horizon) {
  ASSIGN_OR_RETURN(const std::optional<FileInfo> info, StatIfThere(core, core.SumsPath(digest)));
  if (!info.has_value() || !SumsAreBefore(*info, horizon)) return OkStatus();
  return core.files.Unlink(core.SumsPath(digest));
}

Status SweepStaging(BlobDirectory& core, Epoch horizon) {
  const std::string staging = core.root + "/staging";
  ASSIGN_OR_RETURN(const std::vector<std::string> names, core.files.List(staging));
  if (names.empty()) return OkStatus();
  // A file that RepairSums stages under the shared lock belongs to no lease, and may have any epoch.
  ASSIGN_OR_RETURN(const SweepLock exclusive, core.LockExclusive());
  for (const std::string& name : names) {
    uint64_t revision = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), revision);
    if (error != std::errc() || end == name.data() + name.size() || *end != '.') continue;
    if (revision >= horizon.revision) continue;
    core.files.Unlink(fmt::format("{}/{}", staging, name))
        .IgnoreError("its writer may have removed it at the same time");
  }
  return OkStatus();
}

}  // namespace

Result<std::vector<Digest>> NamesIn(BlobDirectory& core, std::string_view folder, std::string_view shard) {
  std::vector<Digest> digests;
  const Result<std::vector<std::string>> names =
      core.files.List(fmt::format("{}/{}/{}", core.root, folder, shard));
  if (!names.ok() && names.error().code() == Code::kNotFound) return digests;
  if (!names.ok()) return names.error();
  for (const std::string& name : *names) {
    const std::string hex = std::string(shard) + name;
    const Result<Sha256> sha256 = ParseSha256Hex(hex);
    // Not one of ours; a user may have put it there for a reason.
    if (!sha256.ok() || !IsLowerHex(hex)) continue;
    digests.push_back({.sha256 = *sha256, .size_bytes = 0});
  }
  std::sort(digests.begin(), digests.end());
  return digests;
}

namespace {

// Counts a whole check as a scrub's pass, unless another process scrubs at this moment: its own pass will do.
void NotePass(BlobDirectory& core, int64_t began_at_ms, const FsckReport& report) {
  const Result<std::optional<Fd>> alone = BeTheOnlyScrubber(core);
  if (!alone.ok() || !*alone) return;
  ScrubState state = LoadScrubState(core);
  state.last = {.began_at_ms = began_at_ms,
                .ended_at_ms = SystemClock().NowMs(),
                .blobs = report.blobs_checked,
                .bytes = report.bytes_checked,
                .damaged = report.damaged.size(),
                .unchecked = 0};
  SaveScrubState(core, state).IgnoreError("it is only shown to people");
}

}  // namespace

Result<FsckReport> FsckStore(BlobDirectory& core, size_t threads, bool quarantine,
                             const LocalStore::Progress& progress) {
  const int64_t began_at_ms = SystemClock().NowMs();
  std::vector<Digest> blobs;
  RETURN_IF_ERROR(EachName(core, "objects", [&](const Digest& digest) {
    blobs.push_back(digest);
    return OkStatus();
  }));
  FsckReport report;
  std::atomic<uint64_t> blobs_checked = 0;
  std::atomic<uint64_t> bytes_checked = 0;
  Mutex mu;
  const Status checked = ParallelFor(blobs.size(), threads, [&](size_t i) -> Status {
    Digest& digest = blobs[i];
    ASSIGN_OR_RETURN(const std::optional<FileInfo> info, StatIfThere(core, core.ObjectPath(digest)));
    if (!info.has_value()) return OkStatus();  // swept since it was listed
    digest.size_bytes = info->size_bytes;
    const Result<std::optional<std::string>> found =
        Examine(core, digest, *info, quarantine, [&](uint64_t count) {
          const uint64_t done = bytes_checked.fetch_add(count) + count;
          if (progress) progress(done);
        });
    ++blobs_checked;
    if (found.ok() && !found->has_value()) {
      core.MarkVerified(digest, *info);
      return OkStatus();
    }
    if (!found.ok() && found.error().code() == Code::kNotFound) return OkStatus();
    DamagedBlob damaged;
    damaged.digest = digest;
    damaged.reason = found.ok() ? **found : found.error().message();
    const bool bytes_are_good = found.ok() && damaged.reason.starts_with("its bytes are good");
    if (quarantine && !bytes_are_good) {
      damaged.reason = core.Quarantine(digest, *info, damaged.reason).message();
    }
    MutexLock lock(mu);
    report.damaged.push_back(std::move(damaged));
    return OkStatus();
  });
  RETURN_IF_ERROR(checked);
  report.blobs_checked = blobs_checked;
  report.bytes_checked = bytes_checked;
  std::sort(report.damaged.begin(), report.damaged.end(),
            [](const DamagedBlob& a, const DamagedBlob& b) { return a.digest < b.digest; });
  NotePass(core, began_at_ms, report);
  return report;
}

Result<SweepReport> SweepStore(BlobDirectory& core, const std::unordered_set<Digest>& live, Epoch horizon,
                               bool dry_run, const std::stop_token& stop) {
  SweepReport report;
  const Error stopped(Code::kCancelled, "the sweep was stopped");
  std::vector<Digest> batch;
  const auto hold_back = [&report](const FileInfo& info) {
    ++report.blobs_kept;
    ++report.blobs_held_back;
    report.bytes_held_back += info.size_bytes;
  };
  // Checks each blob again under the lock: a process that used it since it was listed has raised its epoch.
  const auto remove_batch = [&]() -> Status {
    if (batch.empty()) return OkStatus();
    ASSIGN_OR_RETURN(const SweepLock exclusive, core.LockExclusive());
    for (const Digest& digest : batch) {
      const std::string path = core.ObjectPath(digest);
      ASSIGN_OR_RETURN(const std::optional<FileInfo> info, StatIfThere(core, path));
      if (!info.has_value()) continue;
      if (!IsBefore(*info, horizon)) {
        hold_back(*info);
        continue;
      }
      if (!dry_run) {
        RETURN_IF_ERROR(core.files.Unlink(path));
        FAIL_POINT("sweep.unlinked");
        RETURN_IF_ERROR(RemoveSums(core, digest, horizon));
      }
      ++report.blobs_removed;
      report.bytes_removed += info->size_bytes;
    }
    batch.clear();
    return OkStatus();
  };
  const Status swept = EachName(core, "objects", [&](Digest digest) -> Status {
    if (stop.stop_requested()) return stopped;
    ASSIGN_OR_RETURN(const std::optional<FileInfo> info, StatIfThere(core, core.ObjectPath(digest)));
    if (!info.has_value() || S_ISDIR(info->mode)) return OkStatus();  // a directory is for fsck to move
    digest.size_bytes = info->size_bytes;
    if (live.contains(digest)) {
      ++report.blobs_kept;
      return OkStatus();
    }
    if (!IsBefore(*info, horizon)) {
      hold_back(*info);
      return OkStatus();
    }
    batch.push_back(digest);
    return batch.size() < kSweepBatch ? OkStatus() : remove_batch();
  });
  RETURN_IF_ERROR(swept);
  RETURN_IF_ERROR(remove_batch());
  if (dry_run) return report;
  RETURN_IF_ERROR(SweepStaging(core, horizon));
  // Removes sums without a blob. They are left by a crash between the two names, or by a publish that ended
  // before its blob had its name.
  RETURN_IF_ERROR(EachName(core, "sums", [&](const Digest& digest) -> Status {
    if (stop.stop_requested()) return stopped;
    ASSIGN_OR_RETURN(const std::optional<FileInfo> blob, StatIfThere(core, core.ObjectPath(digest)));
    if (blob.has_value()) return OkStatus();
    ASSIGN_OR_RETURN(const SweepLock exclusive, core.LockExclusive());
    ASSIGN_OR_RETURN(const std::optional<FileInfo> now, StatIfThere(core, core.ObjectPath(digest)));
    return now.has_value() ? OkStatus() : RemoveSums(core, digest, horizon);
  }));
  if (core.log != nullptr) {
    core.log->info("swept blobs_removed={} bytes_removed={} blobs_kept={}", report.blobs_removed,
                   report.bytes_removed, report.blobs_kept);
  }
  return report;
}

}  // namespace modelfs::cas
