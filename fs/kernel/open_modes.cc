#include "fs/kernel/open_modes.h"

#include <utility>

#include "cas/base/check.h"

namespace modelfs::fs {
namespace {

constexpr size_t kMostPageFiles = 1'000'000;  // some 80 bytes each

}  // namespace

Result<std::optional<OpenModes::Mode>> OpenModes::Join(NodeId node, const std::optional<cas::FileId>& file) {
  const auto found = modes_.find(node);
  if (found == modes_.end()) return std::optional<Mode>();
  Live& live = found->second;
  if (live.file != file) {
    return Error(
        Code::kDataLoss,
        "it was damaged and is whole again, but the damaged file is still open; end what has it open "
        "(fuser -v FILE shows who), then open it again");
  }
  ++live.handles;
  if (live.backing_id) ++native_handles_;
  return std::optional(Mode{live.backing_id, true});
}

OpenModes::Mode OpenModes::First(NodeId node, std::optional<int32_t> backing_id,
                                 const std::optional<cas::FileId>& file) {
  modes_.emplace(node, Live{backing_id, file, 1});
  if (backing_id) ++native_handles_;
  if (!file) return Mode{backing_id, true};
  const auto [known, added] = page_files_.try_emplace(node, *file);
  // An invalidation waits in the kernel for pages that are on their way, uninterruptibly, perhaps for those
  // of the next handle: so none of a node that no handle has ever read.
  if (added) return Mode{backing_id, !lost_track_};
  return Mode{backing_id, std::exchange(known->second, file) == file};
}

Result<OpenModes::Mode> OpenModes::Opened(NodeId node, std::optional<cas::FileId> file,
                                          const Backing& backing) {
  {
    MutexLock lock(mu_);
    ASSIGN_OR_RETURN(const std::optional<Mode> joined, Join(node, file));
    if (joined) return *joined;
    if (backing.open == nullptr) return First(node, std::nullopt, file);
  }

  std::optional<int32_t> mine;
  if (Result<int32_t> opened = backing.open(); opened.ok()) mine = *opened;
  Result<std::optional<Mode>> joined = std::optional<Mode>();
  {
    MutexLock lock(mu_);
    joined = Join(node, file);  // another OPEN was quicker: its mode holds
    if (joined.ok() && !*joined) return First(node, mine, file);
  }
  if (mine) backing.close(*mine);
  if (!joined.ok()) return joined.error();
  return **joined;
}

void OpenModes::Closed(NodeId node, const std::function<void(int32_t)>& close_backing) {
  std::optional<int32_t> unused;
  {
    MutexLock lock(mu_);
    const auto found = modes_.find(node);
    CHECK(found != modes_.end());
    if (found->second.backing_id) --native_handles_;
    if (--found->second.handles == 0) {
      unused = found->second.backing_id;
      modes_.erase(found);
    }
  }
  if (unused) close_backing(*unused);
}

void OpenModes::Forgotten(NodeId node) {
  MutexLock lock(mu_);
  if (modes_.contains(node)) return;  // of one lookup of several: its pages are those of the open file
  if (const auto known = page_files_.find(node); known != page_files_.end()) known->second.reset();
  if (page_files_.size() < kMostPageFiles) return;
  page_files_.clear();
  lost_track_ = true;
}

size_t OpenModes::native_handles() const {
  MutexLock lock(mu_);
  return native_handles_;
}

}  // namespace modelfs::fs
