#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "cas/base/fail_point.h"
#include "cas/draft_impl.h"
#include "cas/ingest.h"

namespace modelfs::cas {
namespace {

// Smaller files are hashed by Seal, several at once: that is no slower, and leaves the writer the cores.
constexpr uint64_t kHashEarlyBytes = uint64_t{1} << 20U;

}  // namespace

bool DraftImpl::IsWorthHashing(const struct stat& info) {
  return S_ISREG(info.st_mode) && static_cast<uint64_t>(info.st_size) >= kHashEarlyBytes;
}

std::optional<HashedFile> DraftImpl::HashEarly(DraftNode file, const std::stop_token& stop) {
  {
    MutexLock lock(names_mu_);
    if (nameless_.contains(file)) return std::nullopt;  // removed, then closed: no Seal will ask for it
  }
  const Result<struct stat> info = StatNode(file);
  if (!info.ok() || !IsWorthHashing(*info)) return std::nullopt;
  Result<HashedFile> hashed = blobs_.HashFile(NodePath(file), stop);
  if (!hashed.ok())
    return std::nullopt;  // changed, removed or stopped meanwhile: Seal says what is wrong, if anything
  return *std::move(hashed);
}

Status DraftImpl::Walk(DraftNode directory, const std::string& prefix, size_t depth,
                       std::vector<Found>& found) {
  if (depth > kTreeMaxDepth) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{}: lies more than {} levels deep", prefix, kTreeMaxDepth));
  }
  ASSIGN_OR_RETURN(const std::vector<DraftEntry> entries, List(directory));
  if (entries.empty() && !prefix.empty()) {
    found.push_back({.path = prefix.substr(0, prefix.size() - 1), .node = directory, .directory = true});
  }
  for (const DraftEntry& entry : entries) {
    if (entry.directory) {
      RETURN_IF_ERROR(Walk(entry.node, prefix + entry.name + "/", depth + 1, found));
    } else {
      found.push_back({.path = prefix + entry.name, .node = entry.node, .directory = false});
    }
  }
  return OkStatus();
}

Result<Digest> DraftImpl::Seal(Epoch epoch, const LocalStore::Progress& progress,
                               const std::stop_token& stop) {
  {
    MutexLock lock(state_mu_);
    if (sealed_) return Sealed();
    if (writers_ > 0) {
      return Error(
          Code::kFailedPrecondition,
          fmt::format("{} of the draft's files are still open for writing; close them first", writers_));
    }
    sealed_ = true;
    while (changes_ > 0) state_changed_.Wait(state_mu_);
  }
  std::vector<SealedFile> published;
  Result<Digest> tree = SealFiles(epoch, progress, stop, published);
  if (!tree.ok()) TakeBack(published);
  // Files may be blobs now, whether all went well or not: nobody writes through a descriptor from before.
  ++seals_;
  if (!tree.ok()) {
    MutexLock lock(state_mu_);
    sealed_ = retired_;
  }
  if (!tree.ok() && tree.error().code() == Code::kCancelled) {
    // Whoever tries again, perhaps between two signals, finds more of it done.
    for (const SealedFile& file : published) hashes_.Closed(file.node);
  }
  return tree;
}

Result<Digest> DraftImpl::SealFiles(Epoch epoch, const LocalStore::Progress& progress,
                                    const std::stop_token& stop, std::vector<SealedFile>& published) {
  const std::unordered_map<DraftNode, HashedFile> known = hashes_.Settle(stop);
  if (stop.stop_requested()) return Error(Code::kCancelled, "sealing the draft was stopped");
  std::vector<Found> found;
  RETURN_IF_ERROR(Walk(kDraftRoot, "", 1, found));
  std::vector<TreeEntry> entries;
  std::vector<PublishItem> items;
  std::vector<size_t> entry_of_item;
  bool any_file = false;
  for (const Found& at : found) {
    TreeEntry& entry = entries.emplace_back();
    entry.path = at.path;
    if (at.directory) {
      entry.kind = EntryKind::kEmptyDirectory;
      continue;
    }
    any_file = true;
    ASSIGN_OR_RETURN(DraftAttr attr, GetAttr(at.node));
    if (attr.lost_bytes) return LostSomeBytes(at.path);
    entry.executable = attr.executable;
    if (attr.shares.has_value() && attr.size_bytes == attr.shares->size_bytes) {
      Result<StoredFile> stored = blobs_.ReuseFile(*attr.shares, epoch, stop);
      if (!stored.ok()) return stored.error().Wrap(at.path);
      entry.blob = stored->blob;
      entry.chunk_list = stored->chunk_list;
      continue;
    }
    if (attr.shares.has_value()) {
      // The beginning of a blob is a blob of its own.
      ASSIGN_OR_RETURN(const std::shared_ptr<OpenNode> open, OpenShared(at.node));
      RETURN_IF_ERROR(EnsureOwn(*open, UINT64_MAX));
    }
    const auto hashed = known.find(at.node);
    items.push_back({.source_path = NodePath(at.node),
                     .known = hashed == known.end() ? std::nullopt : std::optional(hashed->second)});
    entry_of_item.push_back(entries.size() - 1);
    published.push_back({.node = at.node,
                         .blob = Digest{},
                         .executable = attr.executable,
                         .mtime_s = attr.mtime_s,
                         .mtime_ns = attr.mtime_ns});
  }
  if (!any_file) return Error(Code::kNotFound, "the draft holds no file");
  FAIL_POINT("seal.walked");
  ASSIGN_OR_RETURN(const std::vector<StoredFile> stored, blobs_.PublishAll(items, epoch, progress, stop));
  FAIL_POINT("seal.published");
  for (size_t i = 0; i < stored.size(); ++i) {
    entries[entry_of_item[i]].blob = stored[i].blob;
    entries[entry_of_item[i]].chunk_list = stored[i].chunk_list;
    published[i].blob = stored[i].blob;
  }
  ASSIGN_OR_RETURN(const Tree tree, Tree::Make(std::move(entries)));
  ASSIGN_OR_RETURN(const Digest digest, PutTree(blobs_, tree, epoch));
  FAIL_POINT("seal.stored");
  MutexLock lock(state_mu_);
  for (const SealedFile& file : published) sealed_files_.emplace(file.node, file);
  return digest;
}

void DraftImpl::Unseal() {
  std::unordered_map<DraftNode, SealedFile> files;
  {
    MutexLock lock(state_mu_);
    if (retired_ || !sealed_) return;
    files = std::move(sealed_files_);
    sealed_files_.clear();
  }
  for (const auto& [node, file] : files) Share(file);
  MutexLock lock(state_mu_);
  sealed_ = false;
}

void DraftImpl::Share(const SealedFile& file) {
  const ShareMarker marker = {
      .blob = file.blob, .length_bytes = file.blob.size_bytes, .executable = file.executable};
  const std::string path = NodePath(file.node);
  // The old name is a link of the blob's file, so it goes in a way that keeps the blob verified.
  if (::symlink(marker.Encode().c_str(), (path + ".new").c_str()) != 0) return;
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                             {.tv_sec = file.mtime_s, .tv_nsec = file.mtime_ns}};
  ::utimensat(AT_FDCWD, (path + ".new").c_str(), times, AT_SYMLINK_NOFOLLOW);
  // In two steps that a kill between them leaves whole: Recover finishes the exchange.
  if (::renameat2(AT_FDCWD, (path + ".new").c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) != 0) {
    ::unlink((path + ".new").c_str());
    return;
  }
  blobs_.UnlinkOtherName(path + ".new", file.blob).IgnoreError("Recover removes it");
}

void DraftImpl::TakeBack(std::vector<SealedFile>& published) {
  for (SealedFile& file : published) {
    const std::string path = NodePath(file.node);
    const Result<struct stat> info = StatNode(file.node);
    // Publishing made it read-only, and its time the epoch, before it gave it a name in the store.
    if (!info.ok() || !S_ISREG(info->st_mode) || (info->st_mode & kOwnerWrites) != 0) continue;
    if (info->st_nlink > 1) {
      const Result<HashedFile> hashed = blobs_.HashFile(path);
      if (!hashed.ok()) continue;
      file.blob = hashed->stored.blob;
      struct stat blob {};
      if (::lstat(blobs_.ObjectPath(file.blob).c_str(), &blob) == 0 && blob.st_dev == info->st_dev &&
          blob.st_ino == info->st_ino) {
        Share(file);
        continue;
      }
    }
    const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                               {.tv_sec = file.mtime_s, .tv_nsec = file.mtime_ns}};
    ::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW);
    ::chmod(path.c_str(), file.executable ? kOwnExecutableMode : kOwnMode);
  }
}

}  // namespace modelfs::cas
