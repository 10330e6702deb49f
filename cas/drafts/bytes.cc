#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "cas/drafts/draft.h"
#include "cas/local/blob_directory.h"

namespace modelfs::cas {
namespace {

constexpr size_t kCopyBytes = size_t{1} << 20U;
// Write-back starts each time this many bytes were written, so that Seal's fsync is short.
constexpr uint64_t kWritebackBytes = uint64_t{8} << 20U;

// Copies a part of a blob into a file; short only at the blob's end.
Result<uint64_t> CopyPiece(OpenBlob& blob, uint64_t from, uint64_t length, EditableFile& out, uint64_t to) {
  const uint64_t size_bytes = blob.digest().size_bytes;
  length = from >= size_bytes ? 0 : std::min(length, size_bytes - from);
  uint64_t done = 0;
  if (const std::optional<int> native = blob.NativeFd(); native.has_value()) {
    while (done < length) {
      ASSIGN_OR_RETURN(const uint64_t count, out.CopyAt(to + done, *native, from + done, length - done));
      if (count == 0) break;
      done += count;
    }
  }
  std::vector<std::byte> buffer(std::min<uint64_t>(kCopyBytes, length - done));
  while (done < length) {
    const std::span<std::byte> piece =
        std::span(buffer).first(std::min<uint64_t>(buffer.size(), length - done));
    ASSIGN_OR_RETURN(const size_t count, blob.Read(from + done, piece, Deadline::After(kPatience)));
    if (count == 0) return Error(Code::kDataLoss, blob.digest().ToString() + " is shorter than its size");
    RETURN_IF_ERROR(WriteFully(out, to + done, piece.first(count)));
    done += count;
  }
  return length;
}

}  // namespace

// --- handles ---

DraftFileImpl::~DraftFileImpl() {
  if (access_ == Draft::Access::kWrite) draft_->CloseWriter(*open_);
}

Result<size_t> DraftFileImpl::Read(uint64_t offset_bytes, std::span<std::byte> out) {
  // The kernel's cached pages are as they were written, but the pages that it reads here may be the lost
  // ones. A copy of those would look like a good file.
  if (open_->lost_bytes) return LostSomeBytes("read");
  const std::shared_ptr<const Backing> backing = open_->Get();
  if (backing->fd() >= 0) return ReadFully(backing->fd(), "draft", offset_bytes, out);
  if (offset_bytes >= backing->length_bytes) return size_t{0};
  out = out.first(std::min<uint64_t>(out.size(), backing->length_bytes - offset_bytes));
  return backing->blob->Read(offset_bytes, out, Deadline::Now());
}

Pending DraftFileImpl::PendingRead(uint64_t offset_bytes, uint64_t length_bytes) {
  const std::shared_ptr<const Backing> backing = open_->Get();
  if (backing->blob != nullptr) return FetchOf(backing->blob, offset_bytes, length_bytes);
  // A write has put a file of the draft's own in its place meanwhile.
  return [](const std::stop_token&, const Done& done) { done(OkStatus()); };
}

Result<size_t> DraftFileImpl::Write(uint64_t offset_bytes, std::span<const std::byte> bytes) {
  if (access_ != Draft::Access::kWrite) return Error(Code::kPermissionDenied, "the file is open for reading");
  ASSIGN_OR_RETURN(const DraftImpl::Change change, DraftImpl::Change::Begin(*draft_));
  ASSIGN_OR_RETURN(const auto backing, draft_->EnsureOwn(*open_, UINT64_MAX));
  const DraftImpl::BytesChange bytes_change(*draft_, open_->node);
  ASSIGN_OR_RETURN(const size_t count, backing->own->WriteAt(offset_bytes, bytes));
  if (open_->unwritten_bytes.fetch_add(count) + count >= kWritebackBytes) {
    open_->unwritten_bytes = 0;
    backing->own->StartWriteback();
  }
  return count;
}

Status DraftFileImpl::Allocate(uint64_t offset_bytes, uint64_t length_bytes) {
  if (access_ != Draft::Access::kWrite) return Error(Code::kPermissionDenied, "the file is open for reading");
  ASSIGN_OR_RETURN(const DraftImpl::Change change, DraftImpl::Change::Begin(*draft_));
  ASSIGN_OR_RETURN(const auto backing, draft_->EnsureOwn(*open_, UINT64_MAX));
  const DraftImpl::BytesChange bytes_change(*draft_, open_->node);
  return backing->own->Allocate(offset_bytes, length_bytes);
}

Status DraftFileImpl::Sync() {
  const std::shared_ptr<const Backing> backing = open_->Get();
  // A blob is durable already.
  return backing->own != nullptr ? backing->own->Sync() : OkStatus();
}

// --- backings ---

Result<std::shared_ptr<const Backing>> DraftImpl::LoadBacking(DraftNode node) {
  const std::string path = NodePath(node);
  auto backing = std::make_shared<Backing>();
  // Before the mode is read: a Seal in between makes this backing outdated.
  backing->seals = seals_.load();
  ASSIGN_OR_RETURN(const FileInfo info, StatNode(node));
  if (S_ISDIR(info.mode)) return Error(Code::kInvalidArgument, "is a directory");
  if (S_ISLNK(info.mode)) {
    ASSIGN_OR_RETURN(const ShareMarker marker, MarkerOf(node));
    ASSIGN_OR_RETURN(backing->blob, blobs_.Open(marker.blob));
    backing->length_bytes = marker.length_bytes;
    return backing;
  }
  if (IsPublished(info)) {
    ASSIGN_OR_RETURN(backing->published, files_.OpenRead(path));
  } else {
    ASSIGN_OR_RETURN(backing->own, files_.OpenEditable(path));
  }
  return backing;
}

Result<std::shared_ptr<OpenNode>> DraftImpl::OpenShared(DraftNode node) {
  std::shared_ptr<OpenNode> open;
  {
    MutexLock lock(state_mu_);
    std::weak_ptr<OpenNode>& slot = open_[node];
    open = slot.lock();
    if (open == nullptr) {
      open = std::make_shared<OpenNode>(node);
      open->lost_bytes = lost_.contains(node);
      slot = open;
    }
  }
  if (open->Get() != nullptr) return open;
  const OpenNode::Exclusive exclusive(*open);
  if (open->Get() != nullptr) return open;
  Result<std::shared_ptr<const Backing>> backing = LoadBacking(node);
  if (!backing.ok()) {
    MutexLock lock(state_mu_);
    if (const auto at = open_.find(node); at != open_.end() && at->second.lock() == open) open_.erase(at);
    return backing.error();
  }
  open->Set(std::move(*backing));
  return open;
}

Result<std::shared_ptr<const Backing>> DraftImpl::EnsureOwn(OpenNode& open, uint64_t keep_bytes) {
  if (auto backing = open.Get(); IsWritable(*backing)) return backing;
  const OpenNode::Exclusive exclusive(open);
  return EnsureOwnExclusively(open, keep_bytes);
}

Result<std::shared_ptr<const Backing>> DraftImpl::EnsureOwnExclusively(OpenNode& open, uint64_t keep_bytes) {
  std::shared_ptr<const Backing> old = open.Get();
  if (old->own != nullptr && !IsWritable(*old)) {
    ASSIGN_OR_RETURN(old, LoadBacking(open.node));
    open.Set(old);
  }
  if (IsWritable(*old)) return old;
  ASSIGN_OR_RETURN(const DraftAttr attr, GetAttr(open.node));
  const std::string path = NodePath(open.node);
  const std::string temporary = path + ".new";
  auto own = std::make_shared<Backing>();
  own->seals = seals_.load();
  const uint32_t mode = attr.executable ? kOwnExecutableMode : kOwnMode;
  Result<std::unique_ptr<EditableFile>> created = files_.CreateEditable(temporary, mode);
  if (!created.ok() && created.error().code() == Code::kAlreadyExists) {
    // Left by a process that was killed here.
    RETURN_IF_ERROR(files_.Unlink(temporary));
    created = files_.CreateEditable(temporary, mode);
  }
  if (!created.ok()) return created.error();
  own->own = *std::move(created);
  const Status copied = [&]() -> Status {
    if (old->blob != nullptr) {
      const uint64_t length = std::min(keep_bytes, old->length_bytes);
      RETURN_IF_ERROR(CopyPiece(*old->blob, 0, length, *own->own, 0));
    } else {
      std::vector<std::byte> buffer(std::min<uint64_t>(kCopyBytes, keep_bytes));
      for (uint64_t done = 0; done < keep_bytes && !buffer.empty();) {
        ASSIGN_OR_RETURN(const size_t count, ReadFully(old->fd(), path, done, buffer));
        if (count == 0) break;
        RETURN_IF_ERROR(WriteFully(*own->own, done, std::span(buffer).first(count)));
        done += count;
      }
    }
    KeepLoss(open, temporary);
    RETURN_IF_ERROR(files_.SetTimes(temporary, {.mtime = MtimeOf(attr)}));
    return files_.Rename(temporary, path);
  }();
  if (!copied.ok()) {
    files_.Unlink(temporary).IgnoreError("the next copy removes it");
    return copied.error();
  }
  open.Set(own);
  return std::shared_ptr<const Backing>(own);
}

Status DraftImpl::ShareExclusively(OpenNode& open, const ShareMarker& marker) {
  auto backing = std::make_shared<Backing>();
  ASSIGN_OR_RETURN(backing->blob, blobs_.Open(marker.blob));
  backing->length_bytes = marker.length_bytes;
  const std::string path = NodePath(open.node);
  RETURN_IF_ERROR(ReplaceBySymlink(files_, marker.Encode(), path, path + ".new"));
  KeepLoss(open, path);
  open.Set(std::move(backing));
  return OkStatus();
}

void DraftImpl::LostBytes(DraftNode file) {
  const Result<Change> change = Change::Begin(*this);
  // The draft is sealed, so the file had no writer: these bytes were meant for an earlier, finished draft.
  if (!change.ok()) return;
  std::shared_ptr<OpenNode> open;
  {
    MutexLock lock(state_mu_);
    lost_.insert(file);
    if (const auto at = open_.find(file); at != open_.end()) open = at->second.lock();
    if (open != nullptr) open->lost_bytes = true;
  }
  // Prevents others from replacing the file between their check of lost_bytes and this mark.
  std::optional<OpenNode::Exclusive> exclusive;
  if (open != nullptr) exclusive.emplace(*open);
  MarkLost(NodePath(file));
}

void DraftImpl::MarkLost(const std::string& path) {
  files_.SetTimes(path, {.atime = timespec{.tv_sec = kLostBytesAtimeS, .tv_nsec = 0}})
      .IgnoreError("this process remembers it");
}

void DraftImpl::KeepLoss(const OpenNode& open, const std::string& path) {
  if (open.lost_bytes) MarkLost(path);
}

void DraftImpl::ForgetLoss(OpenNode& open) {
  {
    MutexLock lock(state_mu_);
    if (lost_.erase(open.node) == 0) return;
    open.lost_bytes = false;
  }
  files_.SetTimes(NodePath(open.node), {.atime = timespec{.tv_sec = 0, .tv_nsec = UTIME_NOW}})
      .IgnoreError("after a restart the file must be written once more");
}

void DraftImpl::CloseWriter(OpenNode& open) {
  if (--open.writers > 0) return;
  const std::shared_ptr<const Backing> backing = open.Get();
  if (backing == nullptr || backing->own == nullptr) return;
  const Result<FileInfo> info = InfoOf(backing->fd(), "draft");
  if (info.ok() && IsWorthHashing(*info)) hashes_.Closed(open.node);
}

Result<std::shared_ptr<DraftFile>> DraftImpl::Open(DraftNode file, Access access) {
  if (access == Access::kRead) {
    ASSIGN_OR_RETURN(std::shared_ptr<OpenNode> open, OpenShared(file));
    return std::make_shared<DraftFileImpl>(shared_from_this(), std::move(open), access);
  }
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  ASSIGN_OR_RETURN(std::shared_ptr<OpenNode> open, OpenShared(file));
  {
    MutexLock lock(state_mu_);
    ++open->writers;
  }
  return std::make_shared<DraftFileImpl>(shared_from_this(), std::move(open), access);
}

Status DraftImpl::SetExecutable(DraftNode file, bool executable) {
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  ASSIGN_OR_RETURN(const std::shared_ptr<OpenNode> open, OpenShared(file));
  const OpenNode::Exclusive exclusive(*open);
  ASSIGN_OR_RETURN(const DraftAttr attr, GetAttr(file));
  if (attr.executable == executable) return OkStatus();
  const std::string path = NodePath(file);
  if (attr.shares.has_value()) {
    ASSIGN_OR_RETURN(ShareMarker marker, MarkerOf(file));
    marker.executable = executable;
    RETURN_IF_ERROR(ReplaceBySymlink(files_, marker.Encode(), path, path + ".new"));
    files_.SetTimes(path, {.mtime = MtimeOf(attr)}).IgnoreError("only the bit was asked for");
    KeepLoss(*open, path);
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const auto own, EnsureOwnExclusively(*open, UINT64_MAX));
  return own->own->SetMode(executable ? kOwnExecutableMode : kOwnMode);
}

Status DraftImpl::SetMtime(DraftNode node, int64_t mtime_s, int64_t mtime_ns) {
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  ASSIGN_OR_RETURN(const FileInfo info, StatNode(node));
  const timespec mtime = {.tv_sec = mtime_s, .tv_nsec = mtime_ns};
  if (!IsPublished(info)) return files_.SetTimes(NodePath(node), {.mtime = mtime});
  // Published by a process that was killed then.
  DraftTimes times;
  {
    MutexLock lock(state_mu_);
    times_[node] = mtime;
    times = times_;
  }
  return ReplaceFile("times", EncodeTimes(times), Durability::kRestart);
}

Status DraftImpl::Truncate(DraftNode file, uint64_t size_bytes) {
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  ASSIGN_OR_RETURN(const std::shared_ptr<OpenNode> open, OpenShared(file));
  const OpenNode::Exclusive exclusive(*open);
  const std::shared_ptr<const Backing> backing = open->Get();
  if (backing->blob != nullptr && size_bytes == backing->length_bytes) return OkStatus();
  const BytesChange bytes_change(*this, file);
  if (backing->blob != nullptr && size_bytes > 0 && size_bytes < backing->length_bytes) {
    ASSIGN_OR_RETURN(ShareMarker marker, MarkerOf(file));
    marker.length_bytes = size_bytes;
    return ShareExclusively(*open, marker);
  }
  ASSIGN_OR_RETURN(const auto own, EnsureOwnExclusively(*open, size_bytes));
  RETURN_IF_ERROR(own->own->Truncate(size_bytes));
  if (size_bytes == 0) ForgetLoss(*open);
  return OkStatus();
}

Result<uint64_t> DraftImpl::CopyFromBlob(DraftNode file, uint64_t to_offset_bytes, const Digest& blob,
                                         uint64_t from_offset_bytes, uint64_t length_bytes, Epoch epoch) {
  if (from_offset_bytes >= blob.size_bytes || length_bytes == 0) return uint64_t{0};
  const uint64_t count = std::min(length_bytes, blob.size_bytes - from_offset_bytes);
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  ASSIGN_OR_RETURN(const std::shared_ptr<OpenNode> open, OpenShared(file));
  const OpenNode::Exclusive exclusive(*open);
  const BytesChange bytes_change(*this, file);
  ASSIGN_OR_RETURN(const DraftAttr attr, GetAttr(file));
  const bool continues = to_offset_bytes == from_offset_bytes && attr.size_bytes == to_offset_bytes;
  const bool shareable = attr.size_bytes == 0 || (attr.shares.has_value() && *attr.shares == blob);
  if (continues && shareable) {
    // The epoch is raised before the marker names the blob, so that no sweep takes it in between.
    RETURN_IF_ERROR(blobs_.ReuseFile(blob, epoch));
    const ShareMarker marker = {
        .blob = blob, .length_bytes = to_offset_bytes + count, .executable = attr.executable};
    RETURN_IF_ERROR(ShareExclusively(*open, marker));
    return count;
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<OpenBlob> source, blobs_.Open(blob));
  ASSIGN_OR_RETURN(const auto own, EnsureOwnExclusively(*open, UINT64_MAX));
  return CopyPiece(*source, from_offset_bytes, count, *own->own, to_offset_bytes);
}

}  // namespace modelfs::cas
