#include "fs/zones/small_files.h"

#include <utility>

namespace modelfs::fs {
namespace {

constexpr size_t kOverheadBytes = 256;  // of list, table and string

}  // namespace

Result<SmallFiles::Bytes> SmallFiles::Get(const Digest& blob) {
  {
    const MutexLock lock(mu_);
    if (const auto found = cached_.find(blob); found != cached_.end()) {
      recent_.splice(recent_.begin(), recent_, found->second);
      return found->second->bytes;
    }
  }
  ASSIGN_OR_RETURN(std::string read, blobs_.ReadAll(blob, blob.size_bytes, Deadline::Now()));
  // They are served from here for long, so they are checked in full, whatever the store has checked before.
  if (DigestOf(read) != blob) {
    return Error(Code::kDataLoss, blob.ToString() + ": its bytes do not have that SHA-256");
  }
  auto bytes = std::make_shared<const std::string>(std::move(read));
  const MutexLock lock(mu_);
  if (const auto found = cached_.find(blob); found != cached_.end()) return found->second->bytes;
  recent_.push_front({blob, bytes});
  cached_.emplace(blob, recent_.begin());
  used_bytes_ += bytes->size() + kOverheadBytes;
  while (used_bytes_ > max_bytes_ && recent_.size() > 1) {
    used_bytes_ -= recent_.back().bytes->size() + kOverheadBytes;
    cached_.erase(recent_.back().blob);
    recent_.pop_back();
  }
  return bytes;
}

}  // namespace modelfs::fs
