#include "cas/local/local_blob.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>

#include "cas/base/check.h"
#include "cas/base/checksum.h"
#include "cas/local/file_hasher.h"

namespace modelfs::cas {
namespace {

// The one chunk buffer of a verifying thread, kept for its next chunk.
ChunkBuffer& VerifyBuffer() {
  thread_local ChunkBuffer buffer;
  return buffer;
}

FileId IdOf(int fd, const FileInfo& info) {
  FileId id{.device = info.device, .inode = info.inode};
  struct statx born {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &born) == 0 && (born.stx_mask & STATX_BTIME) != 0) {
    id.born_ns = born.stx_btime.tv_sec * 1'000'000'000 + born.stx_btime.tv_nsec;
  }
  return id;
}

}  // namespace

LocalBlob::LocalBlob(std::shared_ptr<BlobDirectory> core, const Digest& digest, Fd file, const FileInfo& info,
                     bool verified)
    : core_(std::move(core)),
      digest_(digest),
      file_(std::move(file)),
      info_(info),
      id_(IdOf(file_.get(), info_)),
      native_(verified) {
  if (verified || digest.size_bytes <= kChunkBytes) return;
  if (Result<Sums> sums = core_->LoadSums(digest); sums.ok()) {
    sums_ = std::move(*sums);
    chunks_.resize(sums_->chunks.size());
  }
}

std::optional<int> LocalBlob::NativeFd() const {
  if (!native_.load(std::memory_order_acquire)) return std::nullopt;
  return file_.get();
}

Result<size_t> LocalBlob::Read(uint64_t offset_bytes, std::span<std::byte> out, const Deadline& deadline) {
  if (offset_bytes >= digest_.size_bytes || out.empty()) return size_t{0};
  out = out.first(std::min<uint64_t>(out.size(), digest_.size_bytes - offset_bytes));
  if (!native_.load(std::memory_order_acquire)) {
    if (sums_.has_value()) {
      const size_t last = (offset_bytes + out.size() - 1) / kChunkBytes;
      for (size_t chunk = offset_bytes / kChunkBytes; chunk <= last; ++chunk) {
        RETURN_IF_ERROR(EnsureChunk(chunk));
      }
    } else {
      MutexLock lock(mu_);
      while (!native_.load(std::memory_order_acquire) && !failed_.has_value()) {
        if (!changed_.WaitUntil(mu_, deadline.at()) && deadline.Passed()) {
          return Error(Code::kDeadlineExceeded, digest_.ToString() + ": is still being verified");
        }
      }
      if (failed_.has_value()) return *failed_;
    }
  }
  ASSIGN_OR_RETURN(const size_t count, ReadFile(offset_bytes, out));
  // The file was cut short after it was verified; a reader must not take this for the end of the blob.
  if (count != out.size()) return core_->Quarantine(digest_, info_, "the file was cut short");
  return count;
}

Result<size_t> LocalBlob::ReadFile(uint64_t offset_bytes, std::span<std::byte> out) {
  Result<size_t> count = ReadFully(core_->files, file_.get(), digest_.ToString(), offset_bytes, out);
  if (!count.ok()) return core_->ReadFailed(digest_, info_, count.error());
  return count;
}

void LocalBlob::Fetch(uint64_t /*offset_bytes*/, uint64_t /*length_bytes*/, const std::stop_token& stop,
                      Done done) {
  {
    const MutexLock lock(mu_);
    if (!native_.load(std::memory_order_acquire) && !sums_.has_value() && !failed_.has_value()) {
      std::erase_if(waiters_, [](const Waiter& waiter) { return waiter.stop.stop_requested(); });
      waiters_.push_back({stop, std::move(done)});
      return;
    }
  }
  done(OkStatus());
}

// A chunk that another thread checks is waited for without a deadline: that is one read of the local disk.
Status LocalBlob::EnsureChunk(size_t chunk) {
  {
    MutexLock lock(mu_);
    while (!failed_.has_value() && chunks_[chunk] == ChunkState::kBusy) changed_.Wait(mu_);
    if (failed_.has_value()) return *failed_;
    if (chunks_[chunk] == ChunkState::kGood) return OkStatus();
    chunks_[chunk] = ChunkState::kBusy;
  }
  Status checked = CheckChunk(chunk);
  MutexLock lock(mu_);
  chunks_[chunk] = checked.ok() ? ChunkState::kGood : ChunkState::kUnknown;
  if (!checked.ok() && checked.error().code() == Code::kDataLoss) failed_ = checked.error();
  changed_.NotifyAll();
  return checked;
}

Status LocalBlob::CheckChunk(size_t chunk) {
  const uint64_t offset = chunk * kChunkBytes;
  const std::span<std::byte> bytes =
      VerifyBuffer().span().first(std::min(kChunkBytes, digest_.size_bytes - offset));
  ASSIGN_OR_RETURN(const size_t count, ReadFile(offset, bytes));
  if (count == bytes.size() && Xxh3_128(bytes) == sums_->chunks[chunk]) return OkStatus();
  return core_->Quarantine(digest_, info_, fmt::format("chunk {} does not match its checksum", chunk));
}

Status LocalBlob::VerifyAsWhole(const std::stop_token& stop) {
  HashOptions options;
  options.files = &core_->files;
  options.stop = stop;
  const Result<HashedFile> hashed =
      HashDescriptor(file_.get(), digest_.ToString(), info_.size_bytes, options);
  if (!hashed.ok()) return core_->ReadFailed(digest_, info_, hashed.error());
  if (hashed->stored.blob != digest_) {
    return core_->Quarantine(digest_, info_, "its bytes do not have that SHA-256");
  }
  if (hashed->large != nullptr) {
    core_->RepairSums(hashed->large->sums, info_)
        .IgnoreError("the bytes are good; unless the blob was removed meanwhile, the next start tries again");
  }
  return OkStatus();
}

void LocalBlob::Fail(const Error& error) { Settle(error); }

void LocalBlob::Settle(const std::optional<Error>& failed) {
  std::vector<Waiter> waiters;
  {
    const MutexLock lock(mu_);
    if (failed.has_value() && !failed_.has_value()) failed_ = failed;
    native_.store(!failed_.has_value(), std::memory_order_release);
    changed_.NotifyAll();
    waiters.swap(waiters_);
  }
  for (const Waiter& waiter : waiters)
    waiter.done(OkStatus());  // a Read then says what is wrong, if anything
}

Status LocalBlob::VerifyAll(const std::stop_token& stop) {
  if (native_.load(std::memory_order_acquire)) return OkStatus();
  if (sums_.has_value()) {
    for (size_t chunk = 0; chunk < sums_->chunks.size(); ++chunk) {
      if (stop.stop_requested())
        return Error(Code::kCancelled, digest_.ToString() + ": verifying it was stopped");
      RETURN_IF_ERROR(EnsureChunk(chunk));
    }
  } else if (Status whole = VerifyAsWhole(stop); !whole.ok()) {
    Fail(whole.error());
    return whole;
  }
  // `info_` is from before the check, so that after a change during the check the next Open checks again.
  core_->MarkVerified(digest_, info_);
  Settle(std::nullopt);
  const MutexLock lock(mu_);
  if (failed_.has_value()) return *failed_;
  return OkStatus();
}

}  // namespace modelfs::cas
