#include "cas/drafts/draft_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "cas/base/codec.h"
#include "cas/base/fail_point.h"
#include "cas/base/thread.h"
#include "cas/drafts/draft.h"
#include "cas/drafts/layout.h"
#include "cas/local/blob_directory.h"

namespace modelfs::cas {
namespace {

constexpr uint64_t kLabelMaxBytes = uint64_t{1} << 20U;
constexpr uint64_t kFormatMaxBytes = 256;
// The prefix of a draft's directory from the moment when it is discarded.
constexpr std::string_view kGonePrefix = "gone.";

// Makes ext4 place each directory below `path` apart from the others (chattr(1), attribute T). A draft is
// made and removed soon. ext4 does not reuse an inode for some seconds after it was freed, and looks at each
// of them again for every new one nearby. So drafts that follow each other in one place slow down by the
// square of their files. On other file systems, and on failure, nothing is lost.
void SpreadDirectoriesBelow(const std::string& path) {
  const Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  int flags = 0;
  if (!directory.valid() || ::ioctl(directory.get(), FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_TOPDIR_FL;
  (void)::ioctl(directory.get(), FS_IOC_SETFLAGS, &flags);
}

class DraftStoreImpl : public DraftStore {
 public:
  DraftStoreImpl(Files& files, Options options) : files_(files), options_(std::move(options)) {}

  Status Initialise() {
    RETURN_IF_ERROR(files_.MakeDirectories(options_.root));
    SpreadDirectoriesBelow(options_.root);
    return RemoveGone();
  }

  Result<std::shared_ptr<Draft>> Create(const std::string& label) override;
  Result<Loaded> Load(const std::function<bool(std::string_view label)>& wanted) override;
  Status Discard(const std::shared_ptr<Draft>& draft) override;
  Result<std::vector<Digest>> SharedBlobs() override;
  Result<Removed> RemoveUnheld(const std::function<bool(std::string_view label)>& unwanted,
                               bool dry_run) override;
  Result<uint64_t> RemoveExpired(std::chrono::seconds unused_for, int64_t now_s) override;

 private:
  struct Taken {
    Fd lock;
    std::string label;
  };

  std::string PathOf(DraftNumber number) const { return options_.root + "/" + std::to_string(number); }
  Result<std::vector<DraftNumber>> Numbers();
  // Takes the lock of a draft that no live process holds. kAborted if one does, or if the draft is gone.
  Result<Fd> TryLock(DraftNumber number);
  // Locks a draft if `wanted` accepts its label; otherwise returns nothing. Counts it in `held` if a live
  // process holds it.
  std::optional<Taken> Take(DraftNumber number, const std::function<bool(std::string_view label)>& wanted,
                            size_t& held);
  // The bytes of its files that have no other hard link.
  uint64_t OwnBytes(DraftNumber number);
  // Removes a draft from sight in one step, then its files one by one. The caller holds its lock.
  Status Remove(const std::string& path, const std::map<DraftNode, Digest>& published);
  // Removes the remains of discarded drafts, and of a Create that was killed.
  Status RemoveGone();
  // Whether it ever became a draft. A Create that is still at work holds its lock.
  bool HasLabel(DraftNumber number) const { return files_.Stat(PathOf(number) + "/label").ok(); }
  // Whether a later version of modelfs created it.
  Result<bool> IsNewer(DraftNumber number);

  Files& files_;
  const Options options_;
  Mutex mu_;
  uint64_t next_ GUARDED_BY(mu_) = 1;
  std::map<DraftNumber, std::shared_ptr<DraftImpl>> open_ GUARDED_BY(mu_);
};

Result<std::vector<DraftNumber>> DraftStoreImpl::Numbers() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(options_.root));
  std::vector<DraftNumber> numbers;
  for (const std::string& name : names) {
    const std::optional<uint64_t> number = ParseDecimal(name);
    if (number.has_value() && *number <= UINT32_MAX) numbers.push_back(static_cast<DraftNumber>(*number));
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Result<Fd> DraftStoreImpl::TryLock(DraftNumber number) {
  const std::string path = PathOf(number) + "/lock";
  const Error taken(Code::kAborted, path + ": another process holds that draft, or has removed it");
  Result<Fd> fd = files_.OpenLock(path);
  if (!fd.ok()) return fd.error().code() == Code::kNotFound ? taken : fd.error();
  if (::flock(fd->get(), LOCK_EX | LOCK_NB) != 0) return taken;
  // Check that its owner did not discard it between our open and our lock.
  ASSIGN_OR_RETURN(const FileInfo held, InfoOf(fd->get(), path));
  const Result<FileInfo> named = files_.Stat(path);
  if (!named.ok() && named.error().code() != Code::kNotFound) return named.error();
  if (!named.ok() || held.inode != named->inode) return taken;
  return fd;
}

std::optional<DraftStoreImpl::Taken> DraftStoreImpl::Take(
    DraftNumber number, const std::function<bool(std::string_view label)>& wanted, size_t& held) {
  const std::string path = PathOf(number) + "/label";
  const Result<std::string> seen = files_.ReadAll(path, kLabelMaxBytes);
  if (!seen.ok() || !wanted(*seen)) return std::nullopt;
  Result<Fd> lock = TryLock(number);
  if (!lock.ok()) {
    ++held;
    return std::nullopt;
  }
  // Read it again: before we had the lock, its owner may have changed the label, or discarded the draft.
  Result<std::string> label = files_.ReadAll(path, kLabelMaxBytes);
  if (!label.ok() || !wanted(*label)) return std::nullopt;
  return Taken{*std::move(lock), *std::move(label)};
}

Result<std::shared_ptr<Draft>> DraftStoreImpl::Create(const std::string& label) {
  while (true) {
    ASSIGN_OR_RETURN(const std::vector<DraftNumber> numbers, Numbers());
    DraftNumber number = 0;
    {
      MutexLock lock(mu_);
      if (!numbers.empty()) next_ = std::max<uint64_t>(next_, uint64_t{numbers.back()} + 1);
      if (next_ > UINT32_MAX) return Error(Code::kResourceExhausted, "no draft number is left");
      number = static_cast<DraftNumber>(next_++);
    }
    const std::string path = PathOf(number);
    if (const Status made = files_.MakeDirectory(path); !made.ok()) {
      if (made.error().code() == Code::kAlreadyExists) continue;  // another process was faster
      return made.error();
    }
    Result<Fd> lock_fd = TryLock(number);
    if (!lock_fd.ok() && lock_fd.error().code() == Code::kAborted) continue;  // RemoveGone has it
    if (!lock_fd.ok()) {
      files_.RemoveTree(path).IgnoreError("RemoveGone finds it");
      return lock_fd.error();
    }
    FAIL_POINT("draft.locked");
    Status made = files_.MakeDirectories(path + "/n/0");
    auto draft =
        std::make_shared<DraftImpl>(files_, *options_.blobs, path, number, label, *std::move(lock_fd));
    if (made.ok()) made = draft->Begin();
    if (!made.ok()) {
      Remove(path, {}).IgnoreError("RemoveGone finds it");
      return made.error();
    }
    MutexLock lock(mu_);
    open_.emplace(number, draft);
    return std::shared_ptr<Draft>(draft);
  }
}

Result<DraftStore::Loaded> DraftStoreImpl::Load(const std::function<bool(std::string_view label)>& wanted) {
  ASSIGN_OR_RETURN(const std::vector<DraftNumber> numbers, Numbers());
  Loaded loaded;
  for (const DraftNumber number : numbers) {
    {
      MutexLock lock(mu_);
      if (open_.contains(number)) continue;
    }
    std::optional<Taken> taken = Take(number, wanted, loaded.held);
    if (!taken.has_value()) continue;
    ASSIGN_OR_RETURN(const bool newer, IsNewer(number));
    if (newer) {
      ++loaded.newer;
      continue;
    }
    auto draft = std::make_shared<DraftImpl>(files_, *options_.blobs, PathOf(number), number,
                                             std::move(taken->label), std::move(taken->lock));
    RETURN_IF_ERROR(draft->Recover());
    MutexLock lock(mu_);
    open_.emplace(number, draft);
    loaded.drafts.push_back(draft);
  }
  return loaded;
}

Result<bool> DraftStoreImpl::IsNewer(DraftNumber number) {
  const Result<std::string> format = files_.ReadAll(PathOf(number) + "/format", kFormatMaxBytes);
  if (format.ok()) return *format != kDraftFormat && format->starts_with(kDraftFormatFamily);
  if (format.error().code() == Code::kNotFound) return false;
  return format.error();
}

Status DraftStoreImpl::Remove(const std::string& path, const std::map<DraftNode, Digest>& published) {
  const std::string gone =
      fmt::format("{}/{}{}.{}", options_.root, kGonePrefix, path.substr(path.rfind('/') + 1), ::getpid());
  RETURN_IF_ERROR(files_.Rename(path, gone));
  FAIL_POINT("discard.renamed");
  for (const auto& [node, blob] : published) {
    options_.blobs->UnlinkOtherName(gone + "/n/" + std::to_string(node), blob)
        .IgnoreError("RemoveTree removes it");
  }
  // From here on the draft is gone, even if its files stay for now.
  files_.RemoveTree(gone).IgnoreError("RemoveGone finds the rest by its name");
  return OkStatus();
}

Status DraftStoreImpl::RemoveGone() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(options_.root));
  for (const std::string& name : names) {
    if (!name.starts_with(kGonePrefix)) continue;
    const std::string gone = options_.root + "/" + name;
    // The process that discarded it is still removing it.
    const Result<Fd> lock = files_.OpenRead(gone + "/lock");
    if (lock.ok() && ::flock(lock->get(), LOCK_EX | LOCK_NB) != 0) continue;
    files_.RemoveTree(gone).IgnoreError("the next RemoveGone finds the rest by its name");
  }
  ASSIGN_OR_RETURN(const std::vector<DraftNumber> numbers, Numbers());
  for (const DraftNumber number : numbers) {
    if (HasLabel(number)) continue;
    const Result<Fd> lock = TryLock(number);
    if (lock.ok() && !HasLabel(number)) RETURN_IF_ERROR(Remove(PathOf(number), {}));
  }
  return OkStatus();
}

Status DraftStoreImpl::Discard(const std::shared_ptr<Draft>& draft) {
  std::shared_ptr<DraftImpl> open;
  {
    MutexLock lock(mu_);
    const auto at = open_.find(draft->number());
    if (at == open_.end() || at->second != draft) return Error(Code::kNotFound, "the draft is gone already");
    open = at->second;
    open_.erase(at);
  }
  open->Retire();
  return Remove(open->path(), open->TakePublished());
}

Result<std::vector<Digest>> DraftStoreImpl::SharedBlobs() {
  std::set<Digest> blobs;
  ASSIGN_OR_RETURN(const std::vector<DraftNumber> numbers, Numbers());
  for (const DraftNumber number : numbers) {
    const std::string nodes = PathOf(number) + "/n";
    const Result<std::vector<std::string>> names = files_.List(nodes);
    // Discarded since it was listed, so it needs no blob any more.
    if (!names.ok() && names.error().code() == Code::kNotFound) continue;
    if (!names.ok()) return names.error();
    ASSIGN_OR_RETURN(const bool newer, IsNewer(number));
    if (newer) {
      return Error(
          Code::kFailedPrecondition,
          fmt::format(
              "{} is a draft of a later version of modelfs, which alone knows the blobs that it uses: run "
              "that version, or remove the draft",
              PathOf(number)));
    }
    for (const std::string& name : *names) {
      const Result<std::string> target = files_.ReadLink(fmt::format("{}/{}", nodes, name));
      if (!target.ok()) continue;
      const Result<ShareMarker> marker = ShareMarker::Decode(*target);
      if (marker.ok()) blobs.insert(marker->blob);
    }
  }
  std::vector<Digest> all(blobs.begin(), blobs.end());
  for (const Digest& blob : blobs) {
    if (const std::optional<Digest> list = options_.blobs->ChunkListOf(blob); list.has_value()) {
      all.push_back(*list);
    }
  }
  return all;
}

uint64_t DraftStoreImpl::OwnBytes(DraftNumber number) {
  const std::string nodes = PathOf(number) + "/n";
  const Result<std::vector<std::string>> names = files_.List(nodes);
  uint64_t bytes = 0;
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    const Result<FileInfo> info = files_.Stat(fmt::format("{}/{}", nodes, name));
    if (info.ok() && S_ISREG(info->mode) && info->links == 1) bytes += info->size_bytes;
  }
  return bytes;
}

Result<DraftStore::Removed> DraftStoreImpl::RemoveUnheld(
    const std::function<bool(std::string_view label)>& unwanted, bool dry_run) {
  if (!dry_run) RETURN_IF_ERROR(RemoveGone());
  ASSIGN_OR_RETURN(const std::vector<DraftNumber> numbers, Numbers());
  Removed removed;
  size_t held = 0;
  for (const DraftNumber number : numbers) {
    const std::optional<Taken> taken = Take(number, unwanted, held);
    if (!taken.has_value()) continue;
    removed.bytes += OwnBytes(number);
    ++removed.drafts;
    if (!dry_run) RETURN_IF_ERROR(Remove(PathOf(number), {}));
  }
  return removed;
}

Result<uint64_t> DraftStoreImpl::RemoveExpired(std::chrono::seconds unused_for, int64_t now_s) {
  RETURN_IF_ERROR(RemoveGone());
  ASSIGN_OR_RETURN(const std::vector<DraftNumber> numbers, Numbers());
  uint64_t removed = 0;
  for (const DraftNumber number : numbers) {
    const std::string path = PathOf(number);
    // The newest ctime, because `cp -a` sets mtimes to any time.
    int64_t last_s = 0;
    const auto look = [&](const std::string& at) {
      const Result<FileInfo> info = files_.Stat(at);
      if (info.ok()) last_s = std::max(last_s, info->ctime_s);
    };
    look(path);
    look(path + "/label");
    const Result<std::vector<std::string>> names = files_.List(path + "/n");
    if (names.ok()) {
      for (const std::string& name : *names) look(fmt::format("{}/n/{}", path, name));
    }
    if (last_s == 0 || now_s - last_s < unused_for.count()) continue;
    const Result<Fd> lock_fd = TryLock(number);
    if (!lock_fd.ok()) continue;
    RETURN_IF_ERROR(Remove(path, {}));
    ++removed;
  }
  return removed;
}

}  // namespace

Result<std::unique_ptr<DraftStore>> DraftStore::Open(Files& files, Options options) {
  auto store = std::make_unique<DraftStoreImpl>(files, std::move(options));
  if (Status status = store->Initialise(); !status.ok()) return status.error().Wrap("drafts");
  return std::unique_ptr<DraftStore>(std::move(store));
}

}  // namespace modelfs::cas
