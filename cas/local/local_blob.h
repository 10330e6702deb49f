// An open blob of LocalStore: verified chunk by chunk, until the whole is verified. Internal to cas/.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/thread.h"
#include "cas/blob_store.h"
#include "cas/local/blob_directory.h"

namespace modelfs::cas {

// Thread-safe. Two readers of one chunk verify it once.
class LocalBlob : public OpenBlob {
 public:
  // `info` holds the attributes of `file` when it was opened. With `verified`, the blob is native at once.
  LocalBlob(std::shared_ptr<BlobDirectory> core, const Digest& digest, Fd file, const FileInfo& info,
            bool verified);

  const Digest& digest() const override { return digest_; }
  std::optional<FileId> File() const override { return id_; }
  Result<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out, const Deadline& deadline) override;
  // All bytes are here. Where the chunks have no checksums it waits until the whole was verified.
  void Fetch(uint64_t offset_bytes, uint64_t length_bytes, const std::stop_token& stop, Done done) override;
  std::optional<int> NativeFd() const override;

  const FileInfo& info() const { return info_; }

  // Checks all chunks that are not checked yet. On OK the blob is native, and the store remembers that it is
  // verified.
  //   kDataLoss   it failed, and was quarantined
  //   kCancelled  `stop` was requested
  Status VerifyAll(const std::stop_token& stop);

  // Marks the blob as damaged: later reads return this error, and NativeFd returns nothing.
  void Fail(const Error& error);

 private:
  enum class ChunkState : uint8_t { kUnknown, kBusy, kGood };

  // Checks a chunk, or waits if another thread is checking it. Returns the blob's error if a chunk was bad.
  Status EnsureChunk(size_t chunk);
  Status CheckChunk(size_t chunk);
  // The whole is verified (nothing) or damaged: nobody waits for that any more.
  void Settle(const std::optional<Error>& failed);
  Status VerifyAsWhole(const std::stop_token& stop);
  Result<size_t> ReadFile(uint64_t offset_bytes, std::span<std::byte> out);

  const std::shared_ptr<BlobDirectory> core_;
  const Digest digest_;
  const Fd file_;
  const FileInfo info_;
  const FileId id_;
  // Checksums by chunk. Without them (a blob of one chunk, or a missing or damaged sums file) only the whole
  // blob can be verified, by its SHA-256.
  std::optional<Sums> sums_;
  std::atomic<bool> native_;

  Mutex mu_;
  CondVar changed_;
  std::vector<ChunkState> chunks_ GUARDED_BY(mu_);
  std::optional<Error> failed_ GUARDED_BY(mu_);
  struct Waiter {
    std::stop_token stop;
    Done done;
  };
  std::vector<Waiter> waiters_ GUARDED_BY(mu_);  // of Fetch
};

}  // namespace modelfs::cas
