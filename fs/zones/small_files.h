// The bytes of small READY files, in memory: an open of one needs neither a descriptor nor passthrough, and
// the kernel's page cache of it is true for ever.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "cas/base/digest.h"
#include "cas/base/result.h"
#include "cas/base/thread.h"
#include "cas/blob_store.h"

namespace modelfs::fs {

// Thread-safe. Holds the files that were used last, and those that are in use: `max_bytes` together at the
// most.
class SmallFiles {
 public:
  using Bytes = std::shared_ptr<const std::string>;

  SmallFiles(cas::BlobStore& blobs, size_t max_bytes) : blobs_(blobs), max_bytes_(max_bytes) {}

  // The whole blob; its SHA-256 was checked when it was read. Null if those in use leave no room for it.
  // Waits for the local disk alone. Errors as BlobStore::ReadAll with Deadline::Now().
  Result<Bytes> Get(const Digest& blob);

 private:
  struct File {
    Digest blob;
    Bytes bytes;
  };

  bool MakeRoom(size_t bytes) REQUIRES(mu_);

  cas::BlobStore& blobs_;
  const size_t max_bytes_;
  Mutex mu_;
  std::list<File> recent_ GUARDED_BY(mu_);  // most recently used first
  std::unordered_map<Digest, std::list<File>::iterator> cached_ GUARDED_BY(mu_);
  size_t used_bytes_ GUARDED_BY(mu_) = 0;  // with what a file costs beside its bytes
};

}  // namespace modelfs::fs
