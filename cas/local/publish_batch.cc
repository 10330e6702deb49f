#include "cas/local/publish_batch.h"

#include <algorithm>
#include <set>

#include "cas/base/fail_point.h"

namespace modelfs::cas {
namespace {

constexpr uint32_t kReadOnly = 0444;
constexpr uint32_t kOwnerExecutes = 0100;

// The most names that are given under one shared sweep lock, so that a sweep gets its turn.
constexpr size_t kNamesPerLock = 256;

}  // namespace

Result<StagedFile> StagedFile::Create(BlobDirectory& core, Epoch epoch) {
  std::string path = core.NewStagingPath(epoch);
  ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, core.files.Create(path, kReadOnly));
  return StagedFile(core, std::move(path), std::move(file));
}

StagedFile::~StagedFile() {
  if (file_ != nullptr) core_->files.Unlink(path_).IgnoreError("a sweep removes files left in staging");
}

StagedFile::StagedFile(StagedFile&& other) noexcept
    : core_(other.core_), path_(std::move(other.path_)), file_(std::move(other.file_)) {}

PublishBatch::PublishBatch(BlobDirectory& core, Epoch epoch, size_t expected_files)
    : core_(core), epoch_(epoch), keep_open_(expected_files <= kSyncEachUpTo) {}

PublishBatch::~PublishBatch() {
  MutexLock lock(mu_);
  for (const Incoming& incoming : incoming_) {
    if (!incoming.done && incoming.kind != Incoming::Kind::kLinked) {
      core_.files.Unlink(incoming.path).IgnoreError("a sweep removes files left in staging");
    }
  }
}

void PublishBatch::AddPresent(const Digest& digest) {
  MutexLock lock(mu_);
  touched_.push_back(core_.ObjectPath(digest));
}

Status PublishBatch::AddBytes(const Digest& digest, std::string_view bytes) {
  ASSIGN_OR_RETURN(StagedFile staged, StagedFile::Create(core_, epoch_));
  RETURN_IF_ERROR(staged.file().Append(std::as_bytes(std::span(bytes))));
  return AddStaged(digest, std::move(staged));
}

Status PublishBatch::AddStaged(const Digest& digest, StagedFile staged) {
  Incoming incoming;
  incoming.digest = digest;
  incoming.path = staged.path_;
  incoming.file = std::move(staged.file_);
  return Seal(std::move(incoming));
}

Status PublishBatch::AddLink(const Digest& digest, const std::string& source_path) {
  ASSIGN_OR_RETURN(const FileInfo info, core_.files.Stat(source_path));
  // The x bit stays, because the file also belongs to its draft until the draft is gone. In objects/ the bit
  // is not used.
  const uint32_t mode = kReadOnly | ((info.mode & kOwnerExecutes) != 0 ? kOwnerExecutes : 0U);
  RETURN_IF_ERROR(core_.files.SetMode(source_path, mode));
  Incoming incoming;
  incoming.digest = digest;
  incoming.path = source_path;
  incoming.kind = Incoming::Kind::kLinked;
  return Seal(std::move(incoming));
}

Result<std::optional<Digest>> PublishBatch::AddLargeParts(const HashedFile& hashed) {
  if (hashed.large == nullptr) return std::optional<Digest>();
  const Digest& blob = hashed.stored.blob;
  ASSIGN_OR_RETURN(std::optional<Digest> list, core_.ReuseListOf(blob, epoch_));
  if (list.has_value()) {
    AddPresent(*list);
  } else {
    list = hashed.stored.chunk_list;
    RETURN_IF_ERROR(AddList(*list, hashed.large->chunk_list));
  }
  ASSIGN_OR_RETURN(const bool sums_present, core_.ReuseSumsIfPresent(blob, epoch_));
  if (sums_present) {
    MutexLock lock(mu_);
    touched_.push_back(core_.SumsPath(blob));
    return list;
  }
  ASSIGN_OR_RETURN(StagedFile staged, StagedFile::Create(core_, epoch_));
  const std::string encoded = hashed.large->sums.Encode();
  RETURN_IF_ERROR(staged.file().Append(std::as_bytes(std::span(encoded))));
  Incoming incoming;
  incoming.digest = blob;
  incoming.path = staged.path_;
  incoming.file = std::move(staged.file_);
  incoming.kind = Incoming::Kind::kSums;
  RETURN_IF_ERROR(Seal(std::move(incoming)));
  return list;
}

Status PublishBatch::AddList(const Digest& list, std::string_view encoded) {
  ASSIGN_OR_RETURN(const bool present, core_.ReuseIfPresent(list, epoch_));
  if (!present) return AddBytes(list, encoded);
  AddPresent(list);
  return OkStatus();
}

Status PublishBatch::Seal(Incoming incoming) {
  // After the last write, because a write sets the mtime to the time of day.
  Status stamped = core_.files.SetMtime(incoming.path, static_cast<int64_t>(epoch_.revision));
  if (!keep_open_) incoming.file.reset();
  MutexLock lock(mu_);
  incoming_.push_back(std::move(incoming));
  return stamped;
}

std::string PublishBatch::TargetOf(const Incoming& incoming) const {
  return incoming.kind == Incoming::Kind::kSums ? core_.SumsPath(incoming.digest)
                                                : core_.ObjectPath(incoming.digest);
}

Status PublishBatch::Commit() {
  MutexLock lock(mu_);
  FAIL_POINT("publish.staged");
  RETURN_IF_ERROR(SyncBytes());
  FAIL_POINT("publish.synced");
  // Sums first, so that a reader that finds a large blob also finds its sums.
  std::stable_partition(incoming_.begin(), incoming_.end(),
                        [](const Incoming& incoming) { return incoming.kind == Incoming::Kind::kSums; });
  std::vector<std::string> targets;
  for (const Incoming& incoming : incoming_) targets.push_back(TargetOf(incoming));
  RETURN_IF_ERROR(core_.MakeShards(targets));
  touched_.insert(touched_.end(), targets.begin(), targets.end());
  for (size_t begin = 0; begin < incoming_.size(); begin += kNamesPerLock) {
    ASSIGN_OR_RETURN(const SweepLock shared, core_.LockShared());
    const size_t end = std::min(incoming_.size(), begin + kNamesPerLock);
    for (size_t i = begin; i < end; ++i) RETURN_IF_ERROR(GiveName(incoming_[i]));
  }
  RETURN_IF_ERROR(SyncNames());
  FAIL_POINT("publish.durable");
  return OkStatus();
}

Status PublishBatch::SyncBytes() {
  if (incoming_.size() > kSyncEachUpTo) return core_.files.SyncFileSystem(core_.root);
  for (Incoming& incoming : incoming_) {
    RETURN_IF_ERROR(incoming.file != nullptr ? incoming.file->Sync() : core_.files.SyncFile(incoming.path));
    incoming.file.reset();
  }
  return OkStatus();
}

Status PublishBatch::GiveName(Incoming& incoming) {
  const std::string target = TargetOf(incoming);
  if (incoming.kind == Incoming::Kind::kSums) {
    RETURN_IF_ERROR(core_.files.Rename(incoming.path, target));
    incoming.done = true;
    FAIL_POINT("publish.sums");
    return OkStatus();
  }
  Status named = incoming.kind == Incoming::Kind::kLinked ? core_.files.Link(incoming.path, target)
                                                          : core_.files.RenameNew(incoming.path, target);
  if (!named.ok()) {
    // Another writer was first with the same bytes; ours stay in staging and are removed with the batch.
    if (named.error().code() == Code::kAlreadyExists) return core_.RaiseEpoch(incoming.digest, epoch_);
    return named;
  }
  incoming.done = true;
  FAIL_POINT("publish.linked");
  ASSIGN_OR_RETURN(const FileInfo info, core_.files.Stat(target));
  core_.MarkVerified(incoming.digest, info);
  return OkStatus();
}

Status PublishBatch::SyncNames() {
  std::set<std::string> folders;
  for (const std::string& path : touched_) folders.insert(path.substr(0, path.rfind('/')));
  if (folders.size() > kSyncEachUpTo) return core_.files.SyncFileSystem(core_.root);
  for (const std::string& folder : folders) RETURN_IF_ERROR(core_.files.SyncDirectory(folder));
  return OkStatus();
}

}  // namespace modelfs::cas
