#include "cas/blob_store.h"

#include <fmt/core.h>

#include <utility>

namespace modelfs::cas {

Result<std::string> BlobStore::ReadAll(const Digest& digest, uint64_t limit_bytes, const Deadline& deadline) {
  if (digest.size_bytes > limit_bytes) {
    return Error(Code::kInvalidArgument, fmt::format("{} has {} bytes, more than the {} expected",
                                                     digest.ToString(), digest.size_bytes, limit_bytes));
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<OpenBlob> blob, Open(digest));
  std::string bytes(digest.size_bytes, '\0');
  size_t filled = 0;
  while (filled < bytes.size()) {
    ASSIGN_OR_RETURN(const size_t count,
                     blob->Read(filled, std::as_writable_bytes(std::span(bytes)).subspan(filled), deadline));
    if (count == 0) return Error(Code::kDataLoss, digest.ToString() + " is shorter than its size");
    filled += count;
  }
  return bytes;
}

Pending FetchOf(std::shared_ptr<OpenBlob> blob, uint64_t offset_bytes, uint64_t length_bytes) {
  return [blob = std::move(blob), offset_bytes, length_bytes](const std::stop_token& stop, Done done) {
    blob->Fetch(offset_bytes, length_bytes, stop, std::move(done));
  };
}

}  // namespace modelfs::cas
