// Reads every blob of a store from the disk, evenly over a period, again and again, and checks its SHA-256.
// Internal to cas/; cas/local/local_store.h states the contract.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/thread.h"
#include "cas/local/blob_directory.h"
#include "cas/local/local_store.h"
#include "cas/scrub_state.h"

namespace modelfs::cas {

// Takes the lock that makes the caller the one scrubber of the store among all processes. Returns nothing if
// another process holds it.
Result<std::optional<Fd>> BeTheOnlyScrubber(const BlobDirectory& core);
// The last saved state; an empty one if the store was never scrubbed, or if the saved state is damaged.
ScrubState LoadScrubState(BlobDirectory& core);
// Replaces the saved state as a whole; a power cut may bring back the state before. The caller is the only
// scrubber.
Status SaveScrubState(BlobDirectory& core, const ScrubState& state);

// For one thread at a time. Holds the names of one shard of objects/ (1/256 of all) and one buffer in memory.
class Scrubber {
 public:
  using OnDamaged = std::function<void(const Digest& digest, const FileInfo& info, const Error& error)>;
  Scrubber(BlobDirectory& core, ScrubOptions options, OnDamaged on_damaged);

  // Scrubs until `stop` is requested.
  void Run(const std::stop_token& stop);

 private:
  struct FreeBuffer {
    void operator()(std::byte* bytes) const;
  };

  // Checks the blobs that are due, and returns the time when the next one is due.
  Result<int64_t> Turn(const std::stop_token& stop);
  void BeginPass(int64_t at_ms);
  // The first blob behind the position; nothing at the end of the pass.
  Result<std::optional<Digest>> NextBlob();
  int64_t DueAt(const Digest& digest) const;
  // kCancelled: the blob was not judged.
  Status Check(Digest digest, const std::stop_token& stop);
  Result<Digest> HashOnDisk(const Fd& file, const std::string& path, uint64_t size_bytes,
                            const std::stop_token& stop);
  void EnableVerity(const std::string& path);
  void Condemn(const Digest& digest, const FileInfo& info, const std::string& reason);
  void Throttle(uint64_t bytes, const std::stop_token& stop);
  void Wait(int64_t until_ms, const std::stop_token& stop);
  void Save();

  BlobDirectory& core_;
  const ScrubOptions options_;
  const OnDamaged on_damaged_;
  const int64_t pace_ms_;  // the planned duration of a pass
  const std::unique_ptr<std::byte, FreeBuffer> buffer_;
  ScrubState state_;
  int64_t saved_at_ms_ = 0;
  bool saved_ = true;  // the last attempt succeeded
  bool try_verity_ = true;
  // The names in the shard of the position, as they were when this turn reached it.
  int listed_shard_ = -1;
  std::vector<Digest> listed_;
  // The bytes read since `burst_began_ms_`, the last time at which reading was slower than allowed.
  int64_t burst_began_ms_ = 0;
  uint64_t burst_bytes_ = 0;
  Mutex mu_;
  CondVar stopped_;
};

}  // namespace modelfs::cas
