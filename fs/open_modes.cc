#include "fs/open_modes.h"

#include "cas/base/check.h"

namespace modelfs::fs {

std::optional<int32_t> OpenModes::Opened(NodeId node, const Backing& backing) {
  const auto join = [&]() REQUIRES(mu_) -> Mode* {
    const auto found = modes_.find(node);
    if (found == modes_.end()) return nullptr;
    ++found->second.handles;
    if (found->second.backing_id) ++native_handles_;
    return &found->second;
  };

  {
    MutexLock lock(mu_);
    if (const Mode* mode = join()) return mode->backing_id;
    if (backing.open == nullptr) {
      modes_.emplace(node, Mode{std::nullopt, 1});
      return std::nullopt;
    }
  }

  std::optional<int32_t> mine;
  if (Result<int32_t> opened = backing.open(); opened.ok()) mine = *opened;
  std::optional<int32_t> answer;
  {
    MutexLock lock(mu_);
    if (const Mode* mode = join()) {
      answer = mode->backing_id;  // another OPEN was quicker: its mode holds
    } else {
      modes_.emplace(node, Mode{mine, 1});
      if (mine) ++native_handles_;
      return mine;
    }
  }
  if (mine) backing.close(*mine);
  return answer;
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

size_t OpenModes::native_handles() const {
  MutexLock lock(mu_);
  return native_handles_;
}

}  // namespace modelfs::fs
