#include "cas/blob_store.h"

#include <fmt/core.h>

namespace modelfs::cas {

Result<std::string> BlobStore::ReadAll(const Digest& digest, uint64_t limit_bytes) {
  if (digest.size_bytes > limit_bytes) {
    return Error(Code::kInvalidArgument, fmt::format("{} has {} bytes, more than the {} expected",
                                                     digest.ToString(), digest.size_bytes, limit_bytes));
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<OpenBlob> blob, Open(digest));
  std::string bytes(digest.size_bytes, '\0');
  size_t filled = 0;
  while (filled < bytes.size()) {
    ASSIGN_OR_RETURN(
        const size_t count,
        blob->Read(filled, std::as_writable_bytes(std::span(bytes)).subspan(filled), Deadline::Never()));
    if (count == 0) return Error(Code::kDataLoss, digest.ToString() + " is shorter than its size");
    filled += count;
  }
  return bytes;
}

}  // namespace modelfs::cas
