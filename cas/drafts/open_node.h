// A draft's file while it is open or being changed: the place of its bytes, and the lock for replacing it.
// Internal to cas/.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "cas/base/fd.h"
#include "cas/base/thread.h"
#include "cas/blob_store.h"
#include "cas/drafts/draft_store.h"
#include "cas/files.h"

namespace modelfs::cas {

// The current place of an open file's bytes. Replaced as a whole, never changed.
struct Backing {
  // A file of the draft's own. It may be written to until the next Seal, which may share it with the store.
  std::unique_ptr<EditableFile> own;
  uint64_t seals = 0;  // the number of seals when this was looked up
  // Or a published file, which is read-only.
  Fd published;
  // Or the first bytes of a blob.
  std::shared_ptr<OpenBlob> blob;
  uint64_t length_bytes = 0;

  // The descriptor of the file that holds the bytes; -1 if they are in a blob.
  int fd() const { return own != nullptr ? own->fd() : published.get(); }
};

// A node while it is open or being changed; all handles of a node share one OpenNode. Thread-safe.
class OpenNode {
 public:
  explicit OpenNode(DraftNode node_in) : node(node_in) {}
  const DraftNode node;

  std::shared_ptr<const Backing> Get() {
    MutexLock lock(mu_);
    return backing_;
  }
  void Set(std::shared_ptr<const Backing> backing) {
    MutexLock lock(mu_);
    backing_ = std::move(backing);
  }

  // Held by the thread that replaces the backing, while it copies; readers use the old one meanwhile.
  class Exclusive {
   public:
    explicit Exclusive(OpenNode& open) : open_(open) {
      MutexLock lock(open_.mu_);
      while (open_.changing_) open_.changed_.Wait(open_.mu_);
      open_.changing_ = true;
    }
    ~Exclusive() {
      MutexLock lock(open_.mu_);
      open_.changing_ = false;
      open_.changed_.NotifyAll();
    }
    Exclusive(const Exclusive&) = delete;
    Exclusive& operator=(const Exclusive&) = delete;

   private:
    OpenNode& open_;
  };

  std::atomic<size_t> writers = 0;
  std::atomic<bool> lost_bytes = false;  // see Draft::LostBytes
  // Bytes that were written since write-back was last started.
  std::atomic<uint64_t> unwritten_bytes = 0;

 private:
  Mutex mu_;
  CondVar changed_;
  bool changing_ GUARDED_BY(mu_) = false;
  std::shared_ptr<const Backing> backing_ GUARDED_BY(mu_);
};

}  // namespace modelfs::cas
