#include "cas/local/scrub.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <new>

#include "cas/local/upkeep.h"

namespace modelfs::cas {
namespace {

constexpr uint64_t kStateMaxBytes = 4096;
constexpr int kShards = 256;
// Direct reads need memory, offsets and lengths that are multiples of this; it is enough for every disk.
constexpr size_t kDirectAlignment = 4096;
constexpr size_t kPieceBytes = size_t{1} << 20U;
// A scrub that fell behind (nothing was mounted for a while) catches up at this speed at most. It is faster
// only if a pass at this speed would take longer than half a period.
constexpr uint64_t kCatchUpBytesPerSecond = uint64_t{32} << 20U;
constexpr int64_t kSaveMs = 30'000;
// Blobs that are due within this time are checked ahead of time, so that a large store is not listed for each
// blob.
constexpr int64_t kAheadMs = 60'000;
// Longer waits are split, so that the end of a suspend or a change of the clock is noticed.
constexpr int64_t kLongestWaitMs = 600'000;
// The wait before the next attempt, if another process scrubs or after a failure.
constexpr int64_t kRetryMs = 60'000;

std::string StatePath(const BlobDirectory& core) { return core.root + "/scrub.state"; }

std::byte* NewBuffer() {
  void* bytes = std::aligned_alloc(kDirectAlignment, kPieceBytes);
  if (bytes == nullptr) throw std::bad_alloc();
  return static_cast<std::byte*>(bytes);
}

// Switches direct I/O on or off. With it, reads come from the disk itself, and other programs' pages stay in
// the page cache. Returns false if the file system does not support it.
bool ReadDirectly(int fd, bool direct) {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ::fcntl(fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

}  // namespace

Result<std::optional<Fd>> BeTheOnlyScrubber(const BlobDirectory& core) {
  const std::string path = core.root + "/scrub.lock";
  Fd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock.valid()) return ErrnoError(errno, "open " + path);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return std::optional<Fd>(std::move(lock));
  if (errno == EWOULDBLOCK || errno == EINTR) return std::optional<Fd>();
  return ErrnoError(errno, "flock " + path);
}

ScrubState LoadScrubState(BlobDirectory& core) {
  const Result<std::string> encoded = core.files.ReadAll(StatePath(core), kStateMaxBytes);
  if (!encoded.ok()) return {};
  return ScrubState::Decode(*encoded).value_or(ScrubState());
}

Status SaveScrubState(BlobDirectory& core, const ScrubState& state) {
  const std::string path = StatePath(core);
  const std::string next = path + ".new";
  if (const Status gone = core.files.Unlink(next); !gone.ok() && gone.error().code() != Code::kNotFound) {
    return gone;
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, core.files.Create(next, 0600));
  const std::string encoded = state.Encode();
  RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(encoded))));
  RETURN_IF_ERROR(file->Sync());
  return core.files.Rename(next, path);
}

void Scrubber::FreeBuffer::operator()(std::byte* bytes) const { std::free(bytes); }

Scrubber::Scrubber(BlobDirectory& core, ScrubOptions options, OnDamaged on_damaged)
    : core_(core),
      options_(std::move(options)),
      on_damaged_(std::move(on_damaged)),
      // Leaves a little time for the reads themselves, and for blobs that arrive just after the pass has gone
      // by.
      pace_ms_(std::max<int64_t>(1, options_.period.count() * 15 / 16)),
      buffer_(NewBuffer()) {}

void Scrubber::Run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const Result<int64_t> next = Turn(stop);
    if (!next.ok() && core_.log != nullptr)
      core_.log->warn("scrub_failed error=\"{}\"", next.error().message());
    Wait(next.ok() ? *next : options_.clock->NowMs() + kRetryMs, stop);
  }
}

Result<int64_t> Scrubber::Turn(const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const std::optional<Fd> alone, BeTheOnlyScrubber(core_));
  if (!alone) return options_.clock->NowMs() + kRetryMs;
  // After a failed save (a full disk, say) only this object has the state.
  if (saved_) state_ = LoadScrubState(core_);
  listed_shard_ = -1;
  saved_at_ms_ = options_.clock->NowMs();
  while (!stop.stop_requested()) {
    const int64_t now_ms = options_.clock->NowMs();
    // A pass that began more than one pass in the future shows that the clock was set back.
    if (state_.pass.began_at_ms == 0 || state_.pass.began_at_ms > now_ms + pace_ms_) BeginPass(now_ms);
    ASSIGN_OR_RETURN(const std::optional<Digest> next, NextBlob());
    const int64_t end_ms = state_.pass.began_at_ms + pace_ms_;
    const int64_t due_ms = next ? DueAt(*next) : end_ms;
    if (due_ms > now_ms + (next ? std::min(kAheadMs, pace_ms_ / kShards) : 0)) {
      Save();
      return due_ms;
    }
    if (next) {
      const Status checked = Check(*next, stop);
      if (!checked.ok() && checked.error().code() == Code::kCancelled) break;
      RETURN_IF_ERROR(checked);
      state_.position = next->sha256;
      if (now_ms - saved_at_ms_ >= kSaveMs) Save();
      continue;
    }
    state_.last = state_.pass;
    state_.last.ended_at_ms = now_ms;
    if (core_.log != nullptr) {
      core_.log->info("scrubbed blobs={} bytes={} damaged={} unchecked={}", state_.last.blobs,
                      state_.last.bytes, state_.last.damaged, state_.last.unchecked);
    }
    BeginPass(now_ms);
    Save();
  }
  Save();
  return options_.clock->NowMs();
}

void Scrubber::BeginPass(int64_t at_ms) {
  state_.pass = {};
  state_.pass.began_at_ms = at_ms;
  state_.position.reset();
  listed_shard_ = -1;
  try_verity_ = true;  // the store may be on another file system now
}

Result<std::optional<Digest>> Scrubber::NextBlob() {
  for (int shard = state_.position ? (*state_.position)[0] : 0; shard < kShards; ++shard) {
    if (shard != listed_shard_) {
      ASSIGN_OR_RETURN(listed_, NamesIn(core_, "objects", fmt::format("{:02x}", shard)));
      listed_shard_ = shard;
    }
    const auto behind = [&](const Digest& digest) {
      return !state_.position || digest.sha256 > *state_.position;
    };
    const auto next = std::find_if(listed_.begin(), listed_.end(), behind);
    if (next != listed_.end()) {
      listed_.erase(listed_.begin(), next);  // the position never goes back
      return std::optional<Digest>(listed_.front());
    }
  }
  return std::optional<Digest>();
}

int64_t Scrubber::DueAt(const Digest& digest) const {
  const double share = FractionOf(digest.sha256) * static_cast<double>(pace_ms_);
  return state_.pass.began_at_ms + static_cast<int64_t>(share);
}

Status Scrubber::Check(Digest digest, const std::stop_token& stop) {
  const std::string path = core_.ObjectPath(digest);
  const auto unchecked = [&](const Error& error) -> Status {
    if (error.code() == Code::kCancelled) return error;
    if (error.code() == Code::kNotFound) return OkStatus();  // a sweep took it
    ++state_.pass.unchecked;
    if (core_.log != nullptr)
      core_.log->warn("scrub_passed_over digest={} error=\"{}\"", digest.ToString(), error.message());
    return OkStatus();
  };
  Result<FileInfo> info = core_.files.Stat(path);
  if (!info.ok()) return unchecked(info.error());
  digest.size_bytes = info->size_bytes;
  if (const auto why = WhyNotTheBlob(digest, *info)) {
    ++state_.pass.blobs;
    Condemn(digest, *info, *why);
    return OkStatus();
  }
  // First, so that the kernel goes on to check the very bytes that are checked below.
  EnableVerity(path);
  const Result<Fd> file = core_.files.OpenRead(path);
  if (!file.ok()) return unchecked(file.error());
  info = InfoOf(file->get(), path);
  if (!info.ok()) return unchecked(info.error());
  for (int reading = 0;; ++reading) {
    const Result<Digest> hashed = HashOnDisk(*file, path, info->size_bytes, stop);
    const bool unreadable = !hashed.ok() && hashed.error().code() == Code::kDataLoss;
    if (!hashed.ok() && !unreadable) return unchecked(hashed.error());
    if (hashed.ok() && hashed->sha256 == digest.sha256) {
      ++state_.pass.blobs;
      core_.MarkVerified(digest, *info);
      return OkStatus();
    }
    if (reading == 0) continue;  // read again: a bit may have flipped on the way from the disk
    ++state_.pass.blobs;
    if (hashed.ok()) {
      Condemn(digest, *info, "its bytes on the disk do not have that SHA-256");
      return OkStatus();
    }
    // Without fs-verity the disk may only be unreachable for now, so a blob that it cannot read stays in
    // place.
    const Error failed = core_.ReadFailed(digest, *info, hashed.error());
    ++state_.pass.damaged;
    if (core_.log != nullptr)
      core_.log->error("scrub_unreadable digest={} error=\"{}\"", digest.ToString(), failed.message());
    on_damaged_(digest, *info, failed);
    return OkStatus();
  }
}

Result<Digest> Scrubber::HashOnDisk(const Fd& file, const std::string& path, uint64_t size_bytes,
                                    const std::stop_token& stop) {
  // The kernel reads a file with fs-verity through its cache in any case. The cache is dropped as a whole,
  // because dropping a part keeps folios that reach beyond it (measured: half of the file was not read from
  // the disk).
  bool direct = !core_.files.HasVerity(path) && ReadDirectly(file.get(), true);
  const auto forget = [&] { (void)::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED); };
  if (!direct) forget();
  Sha256Hasher hasher;
  for (uint64_t offset = 0; offset < size_bytes;) {
    if (stop.stop_requested()) return Error(Code::kCancelled, "the scrub was stopped");
    const std::span<std::byte> room(buffer_.get(), kPieceBytes);
    const Result<size_t> count = core_.files.ReadAt(file.get(), path, offset, room);
    if (!count.ok() && count.error().code() == Code::kInvalidArgument && direct) {
      direct = false;  // some file systems report it only now
      if (!ReadDirectly(file.get(), false)) return count.error();
      forget();
      continue;
    }
    if (!count.ok()) return count.error();
    if (*count == 0) break;
    hasher.Update(room.first(*count));
    offset += *count;
    state_.pass.bytes += *count;
    Throttle(*count, stop);
  }
  if (!direct) forget();
  return hasher.Finish();
}

void Scrubber::EnableVerity(const std::string& path) {
  if (!try_verity_) return;
  const Status enabled = core_.files.EnableVerity(path);
  if (enabled.ok()) {
    state_.verity = ScrubState::Verity::kOn;
    return;
  }
  const Code code = enabled.error().code();
  if (code == Code::kAborted || code == Code::kNotFound) return;  // the next pass tries again
  if (code == Code::kUnimplemented) state_.verity = ScrubState::Verity::kNotSupported;
  try_verity_ = false;
  if (core_.log != nullptr) core_.log->info("no_fs_verity reason=\"{}\"", enabled.error().message());
}

void Scrubber::Condemn(const Digest& digest, const FileInfo& info, const std::string& reason) {
  const Error error = core_.Quarantine(digest, info, reason);
  ++state_.pass.damaged;
  on_damaged_(digest, info, error);
}

void Scrubber::Throttle(uint64_t bytes, const std::stop_token& stop) {
  const int64_t now_ms = options_.clock->NowMs();
  uint64_t per_second = kCatchUpBytesPerSecond;
  struct statvfs disk {};
  if (::statvfs(core_.root.c_str(), &disk) == 0) {
    const double used =
        static_cast<double>(disk.f_blocks - disk.f_bfree) * static_cast<double>(disk.f_frsize);
    const double seconds = std::max(1.0, static_cast<double>(options_.period.count()) / 1000);
    per_second = std::max(per_second, static_cast<uint64_t>(2 * used / seconds));
  }
  const int64_t even_ms = burst_began_ms_ + static_cast<int64_t>(burst_bytes_ * 1000 / per_second);
  if (even_ms < now_ms) {
    burst_began_ms_ = now_ms;
    burst_bytes_ = 0;
  }
  burst_bytes_ += bytes;
  const int64_t until_ms = burst_began_ms_ + static_cast<int64_t>(burst_bytes_ * 1000 / per_second);
  if (until_ms > now_ms) Wait(until_ms, stop);
}

void Scrubber::Wait(int64_t until_ms, const std::stop_token& stop) {
  if (options_.wait) {
    options_.wait(until_ms, stop);
    return;
  }
  const int64_t now_ms = options_.clock->NowMs();
  const std::chrono::milliseconds rest(std::clamp<int64_t>(until_ms - now_ms, 0, kLongestWaitMs));
  const Deadline deadline = Deadline::After(rest);
  const std::stop_callback wake(stop, [this] {
    MutexLock lock(mu_);
    stopped_.NotifyAll();
  });
  MutexLock lock(mu_);
  while (!stop.stop_requested() && !deadline.Passed()) stopped_.WaitUntil(mu_, deadline.at());
}

void Scrubber::Save() {
  saved_at_ms_ = options_.clock->NowMs();
  const Status saved = SaveScrubState(core_, state_);
  if (!saved.ok() && saved_ && core_.log != nullptr)
    core_.log->warn("scrub_state_not_saved error=\"{}\"", saved.error().message());
  saved_ = saved.ok();
}

}  // namespace modelfs::cas
