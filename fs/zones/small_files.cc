#include "fs/zones/small_files.h"

#include <iterator>
#include <utility>

namespace modelfs::fs {
namespace {

constexpr size_t kOverheadBytes = 256;  // of list, table and string
constexpr int kMostLookedAt = 64;       // files, for one that is not in use

size_t CostOf(size_t bytes) { return bytes + kOverheadBytes; }

}  // namespace

Result<SmallFiles::Bytes> SmallFiles::Get(const Digest& blob) {
  {
    const MutexLock lock(mu_);
    if (const auto found = cached_.find(blob); found != cached_.end()) {
      recent_.splice(recent_.begin(), recent_, found->second);
      return found->second->bytes;
    }
  }
  {
    const MutexLock lock(mu_);
    if (!MakeRoom(blob.size_bytes)) return Bytes();
  }
  ASSIGN_OR_RETURN(std::string read, blobs_.ReadAll(blob, blob.size_bytes, Deadline::Now()));
  // They are served from here for long, so they are checked in full, whatever the store has checked before.
  if (DigestOf(read) != blob) {
    return Error(Code::kDataLoss, blob.ToString() + ": its bytes do not have that SHA-256");
  }
  auto bytes = std::make_shared<const std::string>(std::move(read));
  const MutexLock lock(mu_);
  if (const auto found = cached_.find(blob); found != cached_.end()) return found->second->bytes;
  if (!MakeRoom(bytes->size())) return Bytes();
  recent_.push_front({blob, bytes});
  cached_.emplace(blob, recent_.begin());
  used_bytes_ += CostOf(bytes->size());
  return bytes;
}

// Lets go of files that no handle uses, the least recently used first. False if that was not enough.
bool SmallFiles::MakeRoom(size_t bytes) {
  for (int looked_at = 0; used_bytes_ + CostOf(bytes) > max_bytes_; ++looked_at) {
    if (recent_.empty() || looked_at == kMostLookedAt) return false;
    const File& last = recent_.back();
    if (last.bytes.use_count() > 1) {
      recent_.splice(recent_.begin(), recent_, std::prev(recent_.end()));
      continue;
    }
    used_bytes_ -= CostOf(last.bytes->size());
    cached_.erase(last.blob);
    recent_.pop_back();
  }
  return true;
}

}  // namespace modelfs::fs
