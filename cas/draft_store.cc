#include "cas/draft_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <set>

#include "cas/base/fail_point.h"
#include "cas/base/thread.h"
#include "cas/draft_impl.h"
#include "cas/draft_layout.h"

namespace modelfs::cas {
namespace {

constexpr uint64_t kLabelMaxBytes = uint64_t{1} << 20U;
// What a draft's directory is called from the moment it is discarded.
constexpr std::string_view kGonePrefix = "gone.";

// Asks ext4 to lay out each directory below `path` by itself (chattr(1), attribute T). A draft is made and
// removed soon; ext4 does not reuse an inode for some seconds after it was freed, and looks at each of them
// again for every new one nearby, so drafts that follow each other in one place slow down by the square of
// their files. Elsewhere, and where it fails, nothing is lost.
void SpreadDirectoriesBelow(const std::string& path) {
  const Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  int flags = 0;
  if (!directory.valid() || ::ioctl(directory.get(), FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_TOPDIR_FL;
  (void)::ioctl(directory.get(), FS_IOC_SETFLAGS, &flags);
}

// Removes what it can. Others may remove the same at the same time: each ENOENT is their progress.
void RemoveTree(const std::string& path) {
  std::error_code error;
  do {
    std::filesystem::remove_all(path, error);
  } while (error == std::errc::no_such_file_or_directory);
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
  // The lock of a draft that no live process holds. kAborted where one does, or it is gone.
  Result<Fd> TryLock(DraftNumber number);
  // Locks a draft whose label `wanted` accepts; nothing where it does not. Counts in `held` where a live
  // process holds it.
  std::optional<Taken> Take(DraftNumber number, const std::function<bool(std::string_view label)>& wanted,
                            size_t& held);
  // What its files take that are nobody else's.
  uint64_t OwnBytes(DraftNumber number);
  // Takes a draft out of sight in one step, then removes it piece by piece. The caller holds its lock.
  Status Remove(const std::string& path, const std::map<DraftNode, Digest>& published);
  // Removes what is left of drafts that were discarded, and what a killed Create began with.
  Status RemoveGone();
  // Whether it ever became a draft. A Create that is at it holds its lock.
  bool HasLabel(DraftNumber number) const { return ::access((PathOf(number) + "/label").c_str(), F_OK) == 0; }

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
    const std::optional<uint64_t> number = ParseNumber(name);
    if (number.has_value() && *number <= UINT32_MAX) numbers.push_back(static_cast<DraftNumber>(*number));
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Result<Fd> DraftStoreImpl::TryLock(DraftNumber number) {
  const std::string path = PathOf(number) + "/lock";
  const Error taken(Code::kAborted, path + ": another process has that draft, or had it and removed it");
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kOwnMode));
  if (!fd.valid()) return errno == ENOENT ? taken : ErrnoError(errno, "open " + path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return taken;
  // Discarded by its owner between our open and our lock?
  struct stat held {};
  struct stat named {};
  if (::fstat(fd.get(), &held) != 0 || ::lstat(path.c_str(), &named) != 0 || held.st_ino != named.st_ino) {
    return taken;
  }
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
  // Read again: until it was locked, its owner may have changed it, or discarded the draft.
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
    if (::mkdir(path.c_str(), 0700) != 0) {
      if (errno == EEXIST) continue;  // another process was faster
      return ErrnoError(errno, "mkdir " + path);
    }
    Result<Fd> lock_fd = TryLock(number);
    if (!lock_fd.ok() && lock_fd.error().code() == Code::kAborted) continue;  // by whoever clears away
    if (!lock_fd.ok()) {
      ::rmdir(path.c_str());
      return lock_fd.error();
    }
    FAIL_POINT("draft.locked");
    Status made = files_.MakeDirectories(path + "/n/0");
    auto draft = std::make_shared<DraftImpl>(*options_.blobs, path, number, label, *std::move(lock_fd));
    // Last: a draft is one from when it has a label.
    if (made.ok()) made = draft->SetLabel(label);
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
    auto draft = std::make_shared<DraftImpl>(*options_.blobs, PathOf(number), number, std::move(taken->label),
                                             std::move(taken->lock));
    RETURN_IF_ERROR(draft->Recover());
    MutexLock lock(mu_);
    open_.emplace(number, draft);
    loaded.drafts.push_back(draft);
  }
  return loaded;
}

Status DraftStoreImpl::Remove(const std::string& path, const std::map<DraftNode, Digest>& published) {
  const std::string gone =
      fmt::format("{}/{}{}.{}", options_.root, kGonePrefix, path.substr(path.rfind('/') + 1), ::getpid());
  RETURN_IF_ERROR(files_.Rename(path, gone));
  FAIL_POINT("discard.renamed");
  for (const auto& [node, blob] : published) {
    options_.blobs->UnlinkOtherName(gone + "/n/" + std::to_string(node), blob)
        .IgnoreError("what is left goes with the rest");
  }
  // The draft is gone, whatever becomes of its files: what is left is found by its name.
  RemoveTree(gone);
  return OkStatus();
}

Status DraftStoreImpl::RemoveGone() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(options_.root));
  for (const std::string& name : names) {
    if (!name.starts_with(kGonePrefix)) continue;
    const std::string gone = options_.root + "/" + name;
    // Whoever discarded it is at it.
    const Fd lock(::open((gone + "/lock").c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (lock.valid() && ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) continue;
    RemoveTree(gone);
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
    // Discarded since it was listed: then it needs nothing any more.
    if (!names.ok() && names.error().code() == Code::kNotFound) continue;
    if (!names.ok()) return names.error();
    for (const std::string& name : *names) {
      const Result<std::string> target = ReadLink(fmt::format("{}/{}", nodes, name));
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
    // The newest ctime: mtimes are what `cp -a` makes of them.
    int64_t last_s = 0;
    const auto look = [&last_s](const std::string& at) {
      struct stat info {};
      if (::lstat(at.c_str(), &info) == 0) last_s = std::max<int64_t>(last_s, info.st_ctim.tv_sec);
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
