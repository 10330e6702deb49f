#include "cas/local/local_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <thread>
#include <unordered_map>

#include "cas/base/check.h"
#include "cas/base/fail_point.h"
#include "cas/base/thread.h"
#include "cas/local/blob_directory.h"
#include "cas/local/local_blob.h"
#include "cas/local/parallel.h"
#include "cas/local/publish_batch.h"
#include "cas/local/scrub.h"
#include "cas/local/source_directory.h"
#include "cas/local/upkeep.h"

namespace modelfs::cas {
namespace {

constexpr std::string_view kFormatFile = "/format";
constexpr std::string_view kFormatName = "modelfs objects ";
constexpr std::string_view kFormat = "modelfs objects 1\n";
constexpr uint64_t kFormatMaxBytes = 256;

// Whether a version of modelfs wrote this line.
bool IsAFormat(std::string_view line) {
  if (!line.starts_with(kFormatName) || !line.ends_with('\n')) return false;
  const std::string_view number = line.substr(kFormatName.size(), line.size() - kFormatName.size() - 1);
  return !number.empty() && number.find_first_not_of("0123456789") == std::string_view::npos;
}

// Lets one thread at a time work on a digest; the others wait, and then find the work done.
class SingleFlight {
 public:
  class Turn {
   public:
    Turn(SingleFlight& flights, const Digest& digest) : flights_(flights), digest_(digest) {
      MutexLock lock(flights_.mu_);
      while (!flights_.busy_.insert(digest_).second) flights_.done_.Wait(flights_.mu_);
    }
    ~Turn() {
      MutexLock lock(flights_.mu_);
      flights_.busy_.erase(digest_);
      flights_.done_.NotifyAll();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    SingleFlight& flights_;
    const Digest digest_;
  };

 private:
  Mutex mu_;
  CondVar done_;
  std::unordered_set<Digest> busy_ GUARDED_BY(mu_);
};

// Adds up the reports of several threads, for a Progress that expects the sum.
class Tally {
 public:
  explicit Tally(const LocalStore::Progress& progress) : progress_(progress) {}
  void Add(uint64_t bytes) {
    const uint64_t sum = sum_.fetch_add(bytes) + bytes;
    if (progress_) progress_(sum);
  }

 private:
  const LocalStore::Progress& progress_;
  std::atomic<uint64_t> sum_ = 0;
};

struct SourceFile {
  std::string path;
  Fd fd;
  FileInfo info;
  bool IsLarge() const { return info.size_bytes > kChunkBytes; }
};

Result<SourceFile> RegularFile(Fd fd, const std::string& path) {
  SourceFile source;
  source.path = path;
  source.fd = std::move(fd);
  ASSIGN_OR_RETURN(source.info, InfoOf(source.fd.get(), path));
  if (!S_ISREG(source.info.mode)) {
    return Error(Code::kInvalidArgument, path + ": only regular files can be stored");
  }
  return source;
}

// Opens a file in one of our folders. Does not use Files, because it only reads.
Result<SourceFile> OpenSource(const std::string& path) {
  ASSIGN_OR_RETURN(Fd fd, RealFiles().OpenRead(path));
  return RegularFile(std::move(fd), path);
}

Status CheckUnchanged(const SourceFile& source) {
  ASSIGN_OR_RETURN(const FileInfo now, InfoOf(source.fd.get(), source.path));
  const FileInfo& then = source.info;
  if (now.size_bytes == then.size_bytes && now.mtime_s == then.mtime_s && now.mtime_ns == then.mtime_ns) {
    return OkStatus();
  }
  return Error(Code::kAborted,
               source.path + ": changed while it was read; try again when nobody writes to it");
}

}  // namespace

class LocalStore::Impl {
 public:
  Impl(Files& files, const Options& options)
      : core_(std::make_shared<BlobDirectory>(files, options.root, options.log)),
        hash_threads_(options.hash_threads > 0 ? static_cast<size_t>(options.hash_threads)
                                               : std::max<size_t>(1, std::thread::hardware_concurrency())) {}

  ~Impl() {
    {
      MutexLock lock(verify_mu_);
      verify_stop_.request_stop();
      verify_wake_.NotifyAll();
    }
    if (verifier_.joinable()) verifier_.join();
  }

  BlobDirectory& core() { return *core_; }
  size_t hash_threads() const { return hash_threads_; }

  Status Initialise();
  Status Put(const Digest& digest, std::string_view bytes, Epoch epoch);
  Result<std::shared_ptr<OpenBlob>> Open(const Digest& digest);
  bool IsNative(const Digest& digest);
  Subscription OnNative(std::function<void(const Digest&)> listener) {
    return listeners_.Add(std::move(listener));
  }
  Result<std::vector<StoredFile>> ImportAll(const SourceDirectory& directory,
                                            const std::vector<std::string>& paths, Epoch epoch,
                                            const Progress& progress);
  Result<std::vector<StoredFile>> PublishAll(const std::vector<PublishItem>& items, Epoch epoch,
                                             const Progress& progress, const std::stop_token& stop);
  Result<HashedFile> HashFile(const std::string& path, Tally& tally, const std::stop_token& stop);
  Result<StoredFile> ReuseFile(const Digest& digest, Epoch epoch, const std::stop_token& stop);
  // Makes open readers of this file of a blob fail with `error`.
  void FailOpen(const Digest& digest, const FileInfo& info, const Error& error);

 private:
  // Calls `work(i, false)` for each file below `count`, several at once. `work` returns false for a large
  // file. The large files follow with `work(i, true)`, one after the other, each with as many threads as it
  // likes.
  template <typename Work>
  Status EachFile(size_t count, const Work& work);

  // ReuseIfPresent for a caller that has the true bytes: also verifies a copy that this process has not
  // verified yet, and quarantines a damaged one. So storing a file again repairs its blob.
  Result<bool> ReuseIfSound(const Digest& digest, Epoch epoch, const std::stop_token& stop = {});
  Result<StoredFile> ImportFile(const SourceFile& source, Epoch epoch, PublishBatch& batch, Tally& tally);
  Result<HashedFile> HashSource(const SourceFile& source, Tally& tally, const std::stop_token& stop);
  bool IsTheBlob(const SourceFile& source, const HashedFile& hashed);

  void VerifyLater(std::shared_ptr<LocalBlob> blob);
  void RunVerifier();

  const std::shared_ptr<BlobDirectory> core_;
  const size_t hash_threads_;
  SingleFlight puts_;
  SingleFlight opens_;

  Mutex open_mu_;
  // Blobs that are open now, so that all openers share one descriptor and one verification.
  std::unordered_map<Digest, std::weak_ptr<LocalBlob>> open_ GUARDED_BY(open_mu_);

  Mutex verify_mu_;
  CondVar verify_wake_;
  std::deque<std::shared_ptr<LocalBlob>> verify_queue_ GUARDED_BY(verify_mu_);
  std::stop_source verify_stop_;
  std::thread verifier_;

  Listeners listeners_;  // of OnNative
};

Status LocalStore::Impl::Initialise() {
  Files& files = core_->files;
  const std::string& root = core_->root;
  const std::string path = root + std::string(kFormatFile);
  Result<std::string> format = files.ReadAll(path, kFormatMaxBytes);
  if (format.ok() && *format == kFormat) return OkStatus();
  if (format.ok() && IsAFormat(*format)) {
    return Error(Code::kFailedPrecondition,
                 path + ": was written by another version of modelfs; open the store with that version");
  }
  // Our line is never longer than the limit, so a longer file is damaged, too.
  if (format.ok() ? !format->empty() : format.error().code() == Code::kInvalidArgument) {
    return Error(Code::kDataLoss,
                 fmt::format("{} is damaged; restore it from a backup, where it is the one line "
                             "\"{}\", and run modelfs fsck",
                             path, kFormat.substr(0, kFormat.size() - 1)));
  }
  if (!format.ok() && format.error().code() != Code::kNotFound) return format.error();
  for (const char* folder : {"/objects", "/sums", "/staging"}) {
    RETURN_IF_ERROR(files.MakeDirectories(root + folder));
  }
  // Written last and synced, so that the folders exist if this file does.
  const std::string staged = core_->NewStagingPath(Epoch{});
  ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, files.Create(staged, 0444));
  RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(kFormat))));
  RETURN_IF_ERROR(file->Sync());
  RETURN_IF_ERROR(files.SyncDirectory(root));
  RETURN_IF_ERROR(files.Rename(staged, path));
  return files.SyncDirectory(root);
}

Status LocalStore::Impl::Put(const Digest& digest, std::string_view bytes, Epoch epoch) {
  if (DigestOf(bytes) != digest) {
    return Error(Code::kInvalidArgument,
                 fmt::format("put {}: the bytes have another digest", digest.ToString()));
  }
  const SingleFlight::Turn turn(puts_, digest);
  PublishBatch batch(*core_, epoch, 1);
  ASSIGN_OR_RETURN(const bool present, ReuseIfSound(digest, epoch));
  if (present) {
    batch.AddPresent(digest);
    return batch.Commit();
  }
  if (digest.size_bytes <= kChunkBytes) {
    RETURN_IF_ERROR(batch.AddBytes(digest, bytes));
    return batch.Commit();
  }
  ASSIGN_OR_RETURN(StagedFile staged, StagedFile::Create(*core_, epoch));
  RETURN_IF_ERROR(staged.file().Append(std::as_bytes(std::span(bytes))));
  const HashedFile hashed = HashBytes(std::as_bytes(std::span(bytes)));
  RETURN_IF_ERROR(batch.AddStaged(digest, std::move(staged)));
  RETURN_IF_ERROR(batch.AddLargeParts(hashed));
  return batch.Commit();
}

Result<std::shared_ptr<OpenBlob>> LocalStore::Impl::Open(const Digest& digest) {
  const std::string path = core_->ObjectPath(digest);
  const auto live = [&]() -> std::shared_ptr<LocalBlob> {
    MutexLock lock(open_mu_);
    const auto at = open_.find(digest);
    return at == open_.end() ? nullptr : at->second.lock();
  };
  // Whether `blob` is the file that has the name now, and is verified or will be.
  const auto is_current = [&](const LocalBlob& blob, const FileInfo& now) {
    const FileInfo& then = blob.info();
    if (then.device != now.device || then.inode != now.inode || then.size_bytes != now.size_bytes)
      return false;
    if (blob.NativeFd().has_value()) return core_->IsVerified(digest, now);
    return then.ctime_s == now.ctime_s && then.ctime_ns == now.ctime_ns;
  };
  Result<FileInfo> info = core_->files.Stat(path);
  if (!info.ok()) return info.error().code() == Code::kNotFound ? core_->Missing(digest) : info.error();
  if (const std::shared_ptr<LocalBlob> blob = live(); blob != nullptr && is_current(*blob, *info))
    return blob;

  // Before the open, because a symlink cannot be opened.
  if (!S_ISREG(info->mode)) return core_->Quarantine(digest, *info, *WhyNotTheBlob(digest, *info));
  // One opener verifies; the others wait here, and then find the blob open and verified.
  const SingleFlight::Turn turn(opens_, digest);
  Result<Fd> file = core_->files.OpenRead(path);
  if (!file.ok()) return file.error().code() == Code::kNotFound ? core_->Missing(digest) : file.error();
  ASSIGN_OR_RETURN(info, InfoOf(file->get(), path));
  if (const std::shared_ptr<LocalBlob> blob = live(); blob != nullptr && is_current(*blob, *info))
    return blob;
  if (const auto why = WhyNotTheBlob(digest, *info)) return core_->Quarantine(digest, *info, *why);
  const auto blob =
      std::make_shared<LocalBlob>(core_, digest, std::move(*file), *info, core_->IsVerified(digest, *info));
  if (!blob->NativeFd().has_value()) {
    if (digest.size_bytes <= kVerifyAtOpenBytes) {
      RETURN_IF_ERROR(blob->VerifyAll(std::stop_token()));
    } else {
      VerifyLater(blob);
    }
  }
  MutexLock lock(open_mu_);
  // Removes closed blobs from the map each time its size reaches a power of two, from 64 on.
  if (open_.size() >= 64 && (open_.size() & (open_.size() - 1)) == 0) {
    std::erase_if(open_, [](const auto& entry) { return entry.second.expired(); });
  }
  open_[digest] = blob;
  return blob;
}

bool LocalStore::Impl::IsNative(const Digest& digest) {
  // A listing asks this for each of its files: a blob that this process never verified costs no system call.
  if (!core_->WasVerified(digest)) return false;
  const Result<FileInfo> info = core_->files.Stat(core_->ObjectPath(digest));
  return info.ok() && info->size_bytes == digest.size_bytes && core_->IsVerified(digest, *info);
}

void LocalStore::Impl::FailOpen(const Digest& digest, const FileInfo& info, const Error& error) {
  std::shared_ptr<LocalBlob> blob;
  {
    MutexLock lock(open_mu_);
    if (const auto at = open_.find(digest); at != open_.end()) blob = at->second.lock();
  }
  if (blob != nullptr && SameFile(blob->info(), info)) blob->Fail(error);
}

void LocalStore::Impl::VerifyLater(std::shared_ptr<LocalBlob> blob) {
  MutexLock lock(verify_mu_);
  verify_queue_.push_back(std::move(blob));
  if (!verifier_.joinable()) verifier_ = TryStartThread([this] { RunVerifier(); });
  verify_wake_.NotifyAll();
}

void LocalStore::Impl::RunVerifier() {
  const std::stop_token stop = verify_stop_.get_token();
  while (true) {
    std::shared_ptr<LocalBlob> blob;
    {
      MutexLock lock(verify_mu_);
      while (verify_queue_.empty() && !stop.stop_requested()) verify_wake_.Wait(verify_mu_);
      if (stop.stop_requested()) return;
      blob = std::move(verify_queue_.front());
      verify_queue_.pop_front();
    }
    if (blob->VerifyAll(stop).ok()) listeners_.Call(blob->digest());
  }
}

template <typename Work>
Status LocalStore::Impl::EachFile(size_t count, const Work& work) {
  Mutex mu;
  std::vector<size_t> put_off;
  RETURN_IF_ERROR(ParallelFor(count, hash_threads_, [&](size_t i) -> Status {
    ASSIGN_OR_RETURN(const bool done, work(i, false));
    if (done) return OkStatus();
    MutexLock lock(mu);
    put_off.push_back(i);
    return OkStatus();
  }));
  for (const size_t i : put_off) {
    ASSIGN_OR_RETURN(const bool done, work(i, true));
    CHECK(done);
  }
  return OkStatus();
}

Result<bool> LocalStore::Impl::ReuseIfSound(const Digest& digest, Epoch epoch, const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const bool present, core_->ReuseIfPresent(digest, epoch));
  if (!present) return false;
  const std::string path = core_->ObjectPath(digest);
  Result<Fd> file = core_->files.OpenRead(path);
  if (!file.ok()) {
    if (file.error().code() == Code::kNotFound) return false;  // moved to quarantine meanwhile
    return file.error();
  }
  ASSIGN_OR_RETURN(const FileInfo info, InfoOf(file->get(), path));
  if (core_->IsVerified(digest, info)) return true;
  LocalBlob blob(core_, digest, std::move(*file), info, false);
  const Status verified = blob.VerifyAll(stop);
  if (verified.ok()) return true;
  if (verified.error().code() == Code::kDataLoss) return false;
  return verified.error();
}

Result<StoredFile> LocalStore::Impl::ImportFile(const SourceFile& source, Epoch epoch, PublishBatch& batch,
                                                Tally& tally) {
  const std::string& path = source.path;
  const uint64_t size_bytes = source.info.size_bytes;
  if (size_bytes <= kChunkBytes) {
    thread_local ChunkBuffer buffer;
    const std::span<std::byte> bytes = buffer.span().first(size_bytes);
    ASSIGN_OR_RETURN(const size_t count, ReadFully(source.fd.get(), path, 0, bytes));
    RETURN_IF_ERROR(CheckUnchanged(source));
    if (count != size_bytes) return Error(Code::kAborted, path + ": changed while it was read; try again");
    const std::string_view content(reinterpret_cast<const char*>(bytes.data()), count);
    const Digest digest = DigestOf(content);
    ASSIGN_OR_RETURN(const bool present, ReuseIfSound(digest, epoch));
    if (present) {
      batch.AddPresent(digest);
    } else {
      RETURN_IF_ERROR(batch.AddBytes(digest, content));
    }
    tally.Add(count);
    return StoredFile{.blob = digest, .chunk_list = std::nullopt};
  }
  (void)::posix_fadvise(source.fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  ASSIGN_OR_RETURN(StagedFile staged, StagedFile::Create(*core_, epoch));
  HashOptions options;
  options.copy = &staged.file();
  options.on_bytes = [&tally](uint64_t count) { tally.Add(count); };
  options.parallel = hash_threads_ > 1;
  ASSIGN_OR_RETURN(const HashedFile hashed, HashDescriptor(source.fd.get(), path, size_bytes, options));
  RETURN_IF_ERROR(CheckUnchanged(source));
  ASSIGN_OR_RETURN(const bool present, ReuseIfSound(hashed.stored.blob, epoch));
  if (present) {
    batch.AddPresent(hashed.stored.blob);
  } else {
    RETURN_IF_ERROR(batch.AddStaged(hashed.stored.blob, std::move(staged)));
  }
  StoredFile stored = hashed.stored;
  ASSIGN_OR_RETURN(stored.chunk_list, batch.AddLargeParts(hashed));
  return stored;
}

Result<std::vector<StoredFile>> LocalStore::Impl::ImportAll(const SourceDirectory& directory,
                                                            const std::vector<std::string>& paths,
                                                            Epoch epoch, const Progress& progress) {
  std::vector<StoredFile> stored(paths.size());
  PublishBatch batch(*core_, epoch, paths.size());
  Tally tally(progress);
  const Status each = EachFile(paths.size(), [&](size_t i, bool alone) -> Result<bool> {
    ASSIGN_OR_RETURN(Fd fd, directory.OpenRead(paths[i]));
    ASSIGN_OR_RETURN(const SourceFile source, RegularFile(std::move(fd), directory.Shown(paths[i])));
    if (!alone && source.IsLarge()) return false;
    ASSIGN_OR_RETURN(stored[i], ImportFile(source, epoch, batch, tally));
    return true;
  });
  RETURN_IF_ERROR(each);
  RETURN_IF_ERROR(batch.Commit());
  return stored;
}

Result<HashedFile> LocalStore::Impl::HashSource(const SourceFile& source, Tally& tally,
                                                const std::stop_token& stop) {
  HashOptions options;
  options.stop = stop;
  options.on_bytes = [&tally](uint64_t count) { tally.Add(count); };
  options.parallel = hash_threads_ > 1;
  return HashDescriptor(source.fd.get(), source.path, source.info.size_bytes, options);
}

bool LocalStore::Impl::IsTheBlob(const SourceFile& source, const HashedFile& hashed) {
  const Result<FileInfo> blob = core_->files.Stat(core_->ObjectPath(hashed.stored.blob));
  return blob.ok() && SameFile(*blob, source.info);
}

Result<HashedFile> LocalStore::Impl::HashFile(const std::string& path, Tally& tally,
                                              const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const SourceFile source, OpenSource(path));
  ASSIGN_OR_RETURN(HashedFile hashed, HashSource(source, tally, stop));
  RETURN_IF_ERROR(CheckUnchanged(source));
  return hashed;
}

Result<std::vector<StoredFile>> LocalStore::Impl::PublishAll(const std::vector<PublishItem>& items,
                                                             Epoch epoch, const Progress& progress,
                                                             const std::stop_token& stop) {
  Tally tally(progress);
  std::vector<StoredFile> stored(items.size());
  PublishBatch batch(*core_, epoch, items.size());
  const Status each = EachFile(items.size(), [&](size_t i, bool alone) -> Result<bool> {
    const PublishItem& item = items[i];
    HashedFile hashed;
    if (item.known.has_value()) {
      hashed = *item.known;
      tally.Add(hashed.stored.blob.size_bytes);
    } else {
      ASSIGN_OR_RETURN(const SourceFile source, OpenSource(item.source_path));
      if (!alone && source.IsLarge()) return false;
      ASSIGN_OR_RETURN(hashed, HashSource(source, tally, stop));
      // If an earlier publish was interrupted, this may be the blob's own inode, and its epoch may be raised
      // meanwhile. That changes the mtime, but not the bytes.
      if (Status unchanged = CheckUnchanged(source); !unchanged.ok() && !IsTheBlob(source, hashed))
        return unchanged.error();
    }
    stored[i].blob = hashed.stored.blob;
    ASSIGN_OR_RETURN(const bool present, ReuseIfSound(hashed.stored.blob, epoch, stop));
    if (present) {
      batch.AddPresent(hashed.stored.blob);
    } else {
      RETURN_IF_ERROR(batch.AddLink(hashed.stored.blob, item.source_path));
    }
    ASSIGN_OR_RETURN(stored[i].chunk_list, batch.AddLargeParts(hashed));
    return true;
  });
  RETURN_IF_ERROR(each);
  RETURN_IF_ERROR(batch.Commit());
  return stored;
}

Result<StoredFile> LocalStore::Impl::ReuseFile(const Digest& digest, Epoch epoch,
                                               const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const bool present, core_->ReuseIfPresent(digest, epoch));
  if (!present) return core_->Missing(digest);
  if (digest.size_bytes <= kChunkBytes) return StoredFile{.blob = digest, .chunk_list = std::nullopt};
  ASSIGN_OR_RETURN(const std::optional<Digest> list, core_->ReuseListOf(digest, epoch));
  if (list.has_value()) return StoredFile{.blob = digest, .chunk_list = list};
  const std::string path = core_->ObjectPath(digest);
  ASSIGN_OR_RETURN(const Fd file, core_->files.OpenRead(path));
  ASSIGN_OR_RETURN(const FileInfo info, InfoOf(file.get(), path));
  HashOptions options;
  options.stop = stop;
  ASSIGN_OR_RETURN(const HashedFile hashed, HashDescriptor(file.get(), path, info.size_bytes, options));
  if (hashed.stored.blob != digest) {
    return core_->Quarantine(digest, info, "its bytes do not have that SHA-256");
  }
  RETURN_IF_ERROR(core_->RepairSums(hashed.large->sums, info));
  PublishBatch batch(*core_, epoch, 2);
  StoredFile stored = hashed.stored;
  ASSIGN_OR_RETURN(stored.chunk_list, batch.AddLargeParts(hashed));
  RETURN_IF_ERROR(batch.Commit());
  return stored;
}

LocalStore::LocalStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LocalStore::~LocalStore() = default;

Result<std::unique_ptr<LocalStore>> LocalStore::Open(Files& files, const Options& options) {
  auto impl = std::make_unique<Impl>(files, options);
  if (Status status = impl->Initialise(); !status.ok()) return status.error().Wrap("object store");
  return std::unique_ptr<LocalStore>(new LocalStore(std::move(impl)));
}

Status LocalStore::Put(const Digest& digest, std::string_view bytes, Epoch epoch) {
  return impl_->Put(digest, bytes, epoch);
}
Result<std::shared_ptr<OpenBlob>> LocalStore::Open(const Digest& digest) { return impl_->Open(digest); }
std::vector<bool> LocalStore::AreNative(std::span<const Digest> digests) {
  std::vector<bool> native;
  native.reserve(digests.size());
  for (const Digest& digest : digests) native.push_back(impl_->IsNative(digest));
  return native;
}

std::vector<uint64_t> LocalStore::LocalBytesOf(std::span<const Digest> digests) {
  std::vector<uint64_t> local;
  local.reserve(digests.size());
  for (const Digest& digest : digests) {
    const Result<FileInfo> info = impl_->core().files.Stat(ObjectPath(digest));
    local.push_back(info.ok() && !WhyNotTheBlob(digest, *info) ? digest.size_bytes : 0);
  }
  return local;
}

Subscription LocalStore::OnNative(std::function<void(const Digest&)> listener) {
  return impl_->OnNative(std::move(listener));
}

Result<std::vector<StoredFile>> LocalStore::ImportAll(const SourceDirectory& directory,
                                                      const std::vector<std::string>& paths, Epoch epoch,
                                                      const Progress& progress) {
  return impl_->ImportAll(directory, paths, epoch, progress);
}

Result<std::vector<StoredFile>> LocalStore::PublishAll(const std::vector<PublishItem>& items, Epoch epoch,
                                                       const Progress& progress,
                                                       const std::stop_token& stop) {
  return impl_->PublishAll(items, epoch, progress, stop);
}

Result<HashedFile> LocalStore::HashFile(const std::string& path, const std::stop_token& stop) {
  const Progress nobody;
  Tally tally(nobody);
  return impl_->HashFile(path, tally, stop);
}

Status LocalStore::Keep(const Digest& digest, Epoch epoch) {
  ASSIGN_OR_RETURN(const bool present, impl_->core().ReuseIfPresent(digest, epoch));
  if (!present) return impl_->core().Missing(digest);
  return OkStatus();
}

Result<StoredFile> LocalStore::ReuseFile(const Digest& digest, Epoch epoch, const std::stop_token& stop) {
  return impl_->ReuseFile(digest, epoch, stop);
}

std::optional<Digest> LocalStore::ChunkListOf(const Digest& digest) {
  if (digest.size_bytes <= kChunkBytes) return std::nullopt;
  const Result<Sums> sums = impl_->core().LoadSums(digest);
  if (!sums.ok()) return std::nullopt;
  return sums->chunk_list;
}

Status LocalStore::UnlinkOtherName(const std::string& path, const Digest& digest) {
  return impl_->core().UnlinkOtherName(path, digest);
}

std::string LocalStore::ObjectPath(const Digest& digest) const { return impl_->core().ObjectPath(digest); }

Result<FsckReport> LocalStore::Fsck(bool quarantine, const Progress& progress) {
  return FsckStore(impl_->core(), impl_->hash_threads(), quarantine, progress);
}

void LocalStore::Scrub(const ScrubOptions& options, const std::stop_token& stop) {
  Scrubber(impl_->core(), options, [this](const Digest& digest, const FileInfo& info, const Error& error) {
    impl_->FailOpen(digest, info, error);
  }).Run(stop);
}

ScrubState LocalStore::Scrubbed() { return LoadScrubState(impl_->core()); }

Result<SweepReport> LocalStore::Sweep(const std::unordered_set<Digest>& live, Epoch horizon, bool dry_run,
                                      const std::stop_token& stop) {
  return SweepStore(impl_->core(), live, horizon, dry_run, stop);
}

}  // namespace modelfs::cas
