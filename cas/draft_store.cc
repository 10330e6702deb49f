#include "cas/draft_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <deque>
#include <filesystem>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "cas/base/check.h"
#include "cas/base/fail_point.h"
#include "cas/base/text.h"
#include "cas/base/thread.h"
#include "cas/draft_hashes.h"
#include "cas/draft_layout.h"
#include "cas/file_hasher.h"
#include "cas/ingest.h"

namespace modelfs::cas {
namespace {

constexpr uint32_t kOwnMode = 0600;
constexpr uint32_t kOwnExecutableMode = 0700;
constexpr uint32_t kOwnerWrites = 0200;
constexpr uint32_t kOwnerExecutes = 0100;
constexpr size_t kCopyBytes = size_t{1} << 20U;
// Written bytes are on their way to the disk once there are this many, so that Seal's fsync is short.
constexpr uint64_t kWritebackBytes = uint64_t{8} << 20U;
// Smaller files are hashed by Seal, several at once: that is no slower, and leaves the writer the cores.
constexpr uint64_t kHashEarlyBytes = uint64_t{1} << 20U;
constexpr uint64_t kLabelMaxBytes = uint64_t{1} << 20U;
// What a draft's directory is called from the moment it is discarded.
constexpr std::string_view kGonePrefix = "gone.";

uint64_t Blocks512(uint64_t bytes) { return (bytes + 511) / 512; }

Error Sealed() {
  return {Code::kFailedPrecondition, "the draft is being committed and takes no more changes"};
}

Status WriteFully(int fd, uint64_t offset_bytes, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
    if (count < 0) {
      if (errno == EINTR) continue;
      return ErrnoError(errno, "write to the draft");
    }
    offset_bytes += static_cast<uint64_t>(count);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return OkStatus();
}

// Copies a piece of a blob into a file; short only at the blob's end.
Result<uint64_t> CopyPiece(OpenBlob& blob, uint64_t from, uint64_t length, int out, uint64_t to) {
  const uint64_t size_bytes = blob.digest().size_bytes;
  length = from >= size_bytes ? 0 : std::min(length, size_bytes - from);
  uint64_t done = 0;
  if (const std::optional<int> native = blob.NativeFd(); native.has_value()) {
    auto in_offset = static_cast<off64_t>(from);
    auto out_offset = static_cast<off64_t>(to);
    while (done < length) {
      const ssize_t count = ::copy_file_range(*native, &in_offset, out, &out_offset, length - done, 0);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && (errno == ENOSPC || errno == EDQUOT)) return ErrnoError(errno, "write to the draft");
      // A file system that cannot, or nothing copied: the loop below says what is the matter.
      if (count <= 0) break;
      done += static_cast<uint64_t>(count);
    }
  }
  std::vector<std::byte> buffer(std::min<uint64_t>(kCopyBytes, length - done));
  while (done < length) {
    const std::span<std::byte> piece =
        std::span(buffer).first(std::min<uint64_t>(buffer.size(), length - done));
    ASSIGN_OR_RETURN(const size_t count, blob.Read(from + done, piece, Deadline::Never()));
    if (count == 0) return Error(Code::kDataLoss, blob.digest().ToString() + " is shorter than its size");
    RETURN_IF_ERROR(WriteFully(out, to + done, piece.first(count)));
    done += count;
  }
  return length;
}

// Where an open file's bytes are at the moment. Replaced as a whole, never changed.
struct Backing {
  // A file of the draft's own...
  Fd fd;
  // ... which may be written to, until the next Seal: from then on it may be shared with the store.
  bool writable = false;
  uint64_t seals = 0;  // how many there had been when this was looked up
  // Or the first bytes of a blob.
  std::shared_ptr<OpenBlob> blob;
  uint64_t length_bytes = 0;
};

// A node while it is open or being changed; the handles of one node share one. Thread-safe.
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

  // Held by whoever exchanges the backing, while files are copied; readers go on with the old one.
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
  // Written since writing to the disk was last begun.
  std::atomic<uint64_t> unwritten_bytes = 0;

 private:
  Mutex mu_;
  CondVar changed_;
  bool changing_ GUARDED_BY(mu_) = false;
  std::shared_ptr<const Backing> backing_ GUARDED_BY(mu_);
};

class DraftImpl;

class DraftFileImpl : public DraftFile {
 public:
  DraftFileImpl(std::shared_ptr<DraftImpl> draft, std::shared_ptr<OpenNode> open, Draft::Access access)
      : draft_(std::move(draft)), open_(std::move(open)), access_(access) {}
  ~DraftFileImpl() override;
  Result<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out) override;
  Status Write(uint64_t offset_bytes, std::span<const std::byte> bytes) override;
  Status Allocate(uint64_t offset_bytes, uint64_t length_bytes) override;
  Status Sync() override;

 private:
  const std::shared_ptr<DraftImpl> draft_;
  const std::shared_ptr<OpenNode> open_;
  const Draft::Access access_;
};

class DraftImpl : public Draft, public std::enable_shared_from_this<DraftImpl> {
 public:
  DraftImpl(LocalStore& blobs, std::string path, DraftNumber number, std::string label, Fd lock)
      : blobs_(blobs),
        path_(std::move(path)),
        nodes_(path_ + "/n/"),
        number_(number),
        lock_(std::move(lock)) {
    labels_.push_back(std::move(label));
  }

  // Brings what a killed process left into order: nodes without a name, names without a node.
  Status Recover();
  // No change from now on, for ever.
  void Retire();
  const std::string& path() const { return path_; }
  // The blobs that files of the draft were published as, which are links to the same inode.
  std::map<DraftNode, Digest> TakePublished();

  DraftNumber number() const override { return number_; }
  const std::string& label() const override;
  Status SetLabel(const std::string& label) override;
  Result<DraftAttr> GetAttr(DraftNode node) override;
  Result<DraftEntry> Lookup(DraftNode directory, std::string_view name) override;
  Result<std::vector<DraftEntry>> List(DraftNode directory) override;
  Result<DraftNode> Parent(DraftNode directory) override;
  Result<DraftEntry> MakeFile(DraftNode directory, std::string_view name, bool executable) override;
  Result<DraftEntry> MakeDirectory(DraftNode directory, std::string_view name) override;
  Status RemoveFile(DraftNode directory, std::string_view name) override;
  Status RemoveDirectory(DraftNode directory, std::string_view name) override;
  Status Rename(DraftNode from_directory, std::string_view from_name, DraftNode to_directory,
                std::string_view to_name, RenameMode mode) override;
  Status SetExecutable(DraftNode file, bool executable) override;
  Status SetMtime(DraftNode node, int64_t mtime_s, int64_t mtime_ns) override;
  Status Truncate(DraftNode file, uint64_t size_bytes) override;
  Result<std::shared_ptr<DraftFile>> Open(DraftNode file, Access access) override;
  size_t open_writers() const override;
  Result<uint64_t> CopyFromBlob(DraftNode file, uint64_t to_offset_bytes, const Digest& blob,
                                uint64_t from_offset_bytes, uint64_t length_bytes, Epoch epoch) override;
  void Forget(DraftNode node) override;
  Result<Digest> Seal(Epoch epoch, const LocalStore::Progress& progress) override;
  void Unseal() override;

 private:
  friend class DraftFileImpl;

  // One change under way; Seal waits for all of them. Refused once sealing has begun.
  class Change {
   public:
    static Result<Change> Begin(DraftImpl& draft);
    ~Change();
    Change(Change&& other) noexcept : draft_(std::exchange(other.draft_, nullptr)) {}
    Change& operator=(Change&&) = delete;

   private:
    explicit Change(DraftImpl& draft) : draft_(&draft) {}
    DraftImpl* draft_;
  };

  // A change of a file's bytes: what is known of them no longer holds.
  class BytesChange {
   public:
    BytesChange(DraftImpl& draft, DraftNode file) : draft_(draft), file_(file) {
      draft_.hashes_.Changed(file_);
    }
    ~BytesChange() { draft_.hashes_.Changed(file_); }
    BytesChange(const BytesChange&) = delete;
    BytesChange& operator=(const BytesChange&) = delete;

   private:
    DraftImpl& draft_;
    const DraftNode file_;
  };

  struct SealedFile {
    DraftNode node = 0;
    Digest blob;
    bool executable = false;
    int64_t mtime_s = 0;
    int64_t mtime_ns = 0;
  };
  // A file or an empty directory, as a walk from the root found it.
  struct Found {
    std::string path;
    DraftNode node = 0;
    bool directory = false;
  };

  std::string NodePath(DraftNode node) const { return nodes_ + std::to_string(node); }
  std::string NamePath(DraftNode directory, std::string_view name) const {
    return NodePath(directory) + "/" + std::string(name);
  }

  Result<struct stat> StatNode(DraftNode node) const;
  Result<ShareMarker> MarkerOf(DraftNode node) const;
  Status CheckDirectory(DraftNode directory) REQUIRES(names_mu_);
  Result<bool> IsEmptyDirectory(DraftNode directory);
  void DropName(DraftNode node);
  Status AddName(DraftNode directory, std::string_view name, const EntryTarget& target);
  Status Walk(DraftNode directory, const std::string& prefix, size_t depth, std::vector<Found>& found);

  Result<std::shared_ptr<OpenNode>> OpenShared(DraftNode node);
  bool IsWritable(const Backing& backing) const { return backing.writable && backing.seals == seals_.load(); }
  Result<std::shared_ptr<const Backing>> LoadBacking(DraftNode node);
  // The node's own file, writable; copies what it shared so far, at most `keep_bytes` of it.
  Result<std::shared_ptr<const Backing>> EnsureOwn(OpenNode& open, uint64_t keep_bytes);
  Result<std::shared_ptr<const Backing>> EnsureOwnExclusively(OpenNode& open, uint64_t keep_bytes);
  Status ShareExclusively(OpenNode& open, const ShareMarker& marker);
  void CloseWriter(OpenNode& open);
  std::optional<HashedFile> HashEarly(DraftNode file);
  Result<Digest> SealFiles(Epoch epoch, const LocalStore::Progress& progress);

  LocalStore& blobs_;
  const std::string path_;
  const std::string nodes_;  // ends with a slash
  const DraftNumber number_;

  mutable Mutex label_mu_;
  // The last is the label. The others stay, since label() hands out references.
  std::deque<std::string> labels_ GUARDED_BY(label_mu_);
  const Fd lock_;  // flock(2): this process owns the draft

  // Serialises changes of names. Held across calls that change directories on the local disk.
  Mutex names_mu_;
  std::unordered_set<DraftNode> nameless_ GUARDED_BY(names_mu_);

  std::atomic<DraftNode> next_node_ = 1;
  std::atomic<uint64_t> seals_ = 0;

  mutable Mutex state_mu_;
  CondVar state_changed_;
  bool sealed_ GUARDED_BY(state_mu_) = false;
  bool retired_ GUARDED_BY(state_mu_) = false;
  size_t changes_ GUARDED_BY(state_mu_) = 0;
  size_t writers_ GUARDED_BY(state_mu_) = 0;
  std::unordered_map<DraftNode, std::weak_ptr<OpenNode>> open_ GUARDED_BY(state_mu_);
  std::unordered_map<DraftNode, SealedFile> sealed_files_ GUARDED_BY(state_mu_);

  // Last, hence gone first: its thread uses the rest.
  DraftHashes hashes_{[this](DraftNode file) { return HashEarly(file); }};
};

// --- handles ---

DraftFileImpl::~DraftFileImpl() {
  if (access_ == Draft::Access::kWrite) draft_->CloseWriter(*open_);
}

Result<size_t> DraftFileImpl::Read(uint64_t offset_bytes, std::span<std::byte> out) {
  const std::shared_ptr<const Backing> backing = open_->Get();
  if (backing->fd.valid()) return ReadFully(backing->fd.get(), "draft", offset_bytes, out);
  if (offset_bytes >= backing->length_bytes) return size_t{0};
  out = out.first(std::min<uint64_t>(out.size(), backing->length_bytes - offset_bytes));
  return backing->blob->Read(offset_bytes, out, Deadline::Never());
}

Status DraftFileImpl::Write(uint64_t offset_bytes, std::span<const std::byte> bytes) {
  if (access_ != Draft::Access::kWrite) return Error(Code::kPermissionDenied, "the file is open for reading");
  ASSIGN_OR_RETURN(const DraftImpl::Change change, DraftImpl::Change::Begin(*draft_));
  ASSIGN_OR_RETURN(const auto backing, draft_->EnsureOwn(*open_, UINT64_MAX));
  const DraftImpl::BytesChange bytes_change(*draft_, open_->node);
  RETURN_IF_ERROR(WriteFully(backing->fd.get(), offset_bytes, bytes));
  if (open_->unwritten_bytes.fetch_add(bytes.size()) + bytes.size() >= kWritebackBytes) {
    open_->unwritten_bytes = 0;
    // Only a hint, so that sealing finds most of it on the disk already.
    (void)::sync_file_range(backing->fd.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
  }
  return OkStatus();
}

Status DraftFileImpl::Allocate(uint64_t offset_bytes, uint64_t length_bytes) {
  if (access_ != Draft::Access::kWrite) return Error(Code::kPermissionDenied, "the file is open for reading");
  ASSIGN_OR_RETURN(const DraftImpl::Change change, DraftImpl::Change::Begin(*draft_));
  ASSIGN_OR_RETURN(const auto backing, draft_->EnsureOwn(*open_, UINT64_MAX));
  const DraftImpl::BytesChange bytes_change(*draft_, open_->node);
  if (::fallocate(backing->fd.get(), 0, static_cast<off_t>(offset_bytes), static_cast<off_t>(length_bytes)) ==
      0) {
    return OkStatus();
  }
  if (errno == EOPNOTSUPP) return Error(Code::kUnimplemented, "allocate: the file system cannot");
  return ErrnoError(errno, "allocate");
}

Status DraftFileImpl::Sync() {
  const std::shared_ptr<const Backing> backing = open_->Get();
  // A shared blob is durable already.
  if (backing->fd.valid() && ::fsync(backing->fd.get()) != 0) return ErrnoError(errno, "fsync");
  return OkStatus();
}

// --- state ---

Result<DraftImpl::Change> DraftImpl::Change::Begin(DraftImpl& draft) {
  MutexLock lock(draft.state_mu_);
  if (draft.sealed_) return Sealed();
  ++draft.changes_;
  return Change(draft);
}

DraftImpl::Change::~Change() {
  if (draft_ == nullptr) return;
  MutexLock lock(draft_->state_mu_);
  --draft_->changes_;
  draft_->state_changed_.NotifyAll();
}

void DraftImpl::Retire() {
  MutexLock lock(state_mu_);
  sealed_ = true;
  retired_ = true;
  while (changes_ > 0) state_changed_.Wait(state_mu_);
}

std::map<DraftNode, Digest> DraftImpl::TakePublished() {
  MutexLock lock(state_mu_);
  std::map<DraftNode, Digest> published;
  for (const auto& [node, file] : sealed_files_) published.emplace(node, file.blob);
  sealed_files_.clear();
  return published;
}

size_t DraftImpl::open_writers() const {
  MutexLock lock(state_mu_);
  return writers_;
}

void DraftImpl::CloseWriter(OpenNode& open) {
  const bool last = --open.writers == 0;
  {
    MutexLock lock(state_mu_);
    --writers_;
  }
  if (last) hashes_.Closed(open.node);
}

std::optional<HashedFile> DraftImpl::HashEarly(DraftNode file) {
  const Result<struct stat> info = StatNode(file);
  if (!info.ok() || !S_ISREG(info->st_mode) || static_cast<uint64_t>(info->st_size) < kHashEarlyBytes) {
    return std::nullopt;
  }
  Result<HashedFile> hashed = blobs_.HashFile(NodePath(file));
  if (!hashed.ok())
    return std::nullopt;  // changed or removed meanwhile: Seal says what is wrong, if anything
  return *std::move(hashed);
}

const std::string& DraftImpl::label() const {
  MutexLock lock(label_mu_);
  return labels_.back();
}

Status DraftImpl::SetLabel(const std::string& label) {
  MutexLock lock(label_mu_);
  const std::string temporary = path_ + "/label.new";
  const Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kOwnMode));
  if (!fd.valid()) return ErrnoError(errno, "create " + temporary);
  RETURN_IF_ERROR(WriteFully(fd.get(), 0, std::as_bytes(std::span(label))));
  RETURN_IF_ERROR(RealFiles().Rename(temporary, path_ + "/label"));
  labels_.push_back(label);
  return OkStatus();
}

// --- names ---

Result<struct stat> DraftImpl::StatNode(DraftNode node) const {
  struct stat info {};
  if (::lstat(NodePath(node).c_str(), &info) != 0) {
    return ErrnoError(errno, fmt::format("node {} of draft {}", node, number_));
  }
  return info;
}

Result<ShareMarker> DraftImpl::MarkerOf(DraftNode node) const {
  ASSIGN_OR_RETURN(const std::string target, ReadLink(NodePath(node)));
  return ShareMarker::Decode(target);
}

Result<DraftAttr> DraftImpl::GetAttr(DraftNode node) {
  ASSIGN_OR_RETURN(const struct stat info, StatNode(node));
  DraftAttr attr;
  attr.mtime_s = info.st_mtim.tv_sec;
  attr.mtime_ns = info.st_mtim.tv_nsec;
  if (S_ISDIR(info.st_mode)) {
    attr.directory = true;
    return attr;
  }
  if (S_ISLNK(info.st_mode)) {
    const Result<ShareMarker> marker = MarkerOf(node);
    // Copied by a write since the stat: look again.
    if (!marker.ok() && marker.error().code() == Code::kNotFound) return GetAttr(node);
    if (!marker.ok()) return marker.error();
    attr.executable = marker->executable;
    attr.size_bytes = marker->length_bytes;
    attr.blocks_512 = Blocks512(marker->length_bytes);
    attr.shares = marker->blob;
    return attr;
  }
  attr.executable = (info.st_mode & kOwnerExecutes) != 0;
  attr.size_bytes = static_cast<uint64_t>(info.st_size);
  attr.blocks_512 = static_cast<uint64_t>(info.st_blocks);
  MutexLock lock(state_mu_);
  if (const auto at = sealed_files_.find(node); at != sealed_files_.end()) {
    attr.mtime_s = at->second.mtime_s;
    attr.mtime_ns = at->second.mtime_ns;
    attr.shares = at->second.blob;
  }
  return attr;
}

Result<DraftEntry> DraftImpl::Lookup(DraftNode directory, std::string_view name) {
  RETURN_IF_ERROR(CheckPathComponent(name));
  Result<std::string> target = ReadLink(NamePath(directory, name));
  if (!target.ok()) {
    if (target.error().code() != Code::kNotFound) return target.error();
    return Error(Code::kNotFound, fmt::format("{}: no such file in the draft", Printable(name)));
  }
  ASSIGN_OR_RETURN(const EntryTarget entry, EntryTarget::Decode(*target));
  return DraftEntry{.name = std::string(name), .node = entry.node, .directory = entry.directory};
}

Result<std::vector<DraftEntry>> DraftImpl::List(DraftNode directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, RealFiles().List(NodePath(directory)));
  std::vector<DraftEntry> entries;
  entries.reserve(names.size());
  for (const std::string& name : names) {
    Result<DraftEntry> entry = Lookup(directory, name);
    // The link to its parent, a rename's temporary name, or removed since it was listed.
    if (!entry.ok() && entry.error().code() != Code::kDataLoss) continue;
    if (!entry.ok()) return entry.error();
    entries.push_back(std::move(*entry));
  }
  std::sort(entries.begin(), entries.end(),
            [](const DraftEntry& a, const DraftEntry& b) { return a.name < b.name; });
  return entries;
}

Result<DraftNode> DraftImpl::Parent(DraftNode directory) {
  if (directory == kDraftRoot) return kDraftRoot;
  ASSIGN_OR_RETURN(const std::string target, ReadLink(NamePath(directory, kParentName)));
  const std::optional<uint64_t> parent = ParseNumber(target);
  if (!parent.has_value() || *parent > UINT32_MAX) {
    return Error(Code::kDataLoss, fmt::format("draft {}: node {} has no parent", number_, directory));
  }
  return static_cast<DraftNode>(*parent);
}

Status DraftImpl::CheckDirectory(DraftNode directory) {
  if (nameless_.contains(directory)) {
    return Error(Code::kNotFound, "the directory was removed");
  }
  ASSIGN_OR_RETURN(const struct stat info, StatNode(directory));
  if (!S_ISDIR(info.st_mode)) return Error(Code::kNotFound, "is not a directory");
  return OkStatus();
}

Result<bool> DraftImpl::IsEmptyDirectory(DraftNode directory) {
  ASSIGN_OR_RETURN(const std::vector<DraftEntry> entries, List(directory));
  return entries.empty();
}

void DraftImpl::DropName(DraftNode node) {
  MutexLock lock(state_mu_);
  open_.erase(node);
}

Status DraftImpl::AddName(DraftNode directory, std::string_view name, const EntryTarget& target) {
  if (::symlink(target.Encode().c_str(), NamePath(directory, name).c_str()) == 0) return OkStatus();
  return ErrnoError(errno, Printable(name));
}

Result<DraftEntry> DraftImpl::MakeFile(DraftNode directory, std::string_view name, bool executable) {
  RETURN_IF_ERROR(CheckPathComponent(name));
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  MutexLock lock(names_mu_);
  RETURN_IF_ERROR(CheckDirectory(directory));
  const DraftNode node = next_node_.fetch_add(1);
  const std::string path = NodePath(node);
  {
    const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                       executable ? kOwnExecutableMode : kOwnMode));
    if (!fd.valid()) return ErrnoError(errno, "create " + path);
    // Whatever the umask: the owner's bits carry meaning here.
    if (::fchmod(fd.get(), executable ? kOwnExecutableMode : kOwnMode) != 0) {
      return ErrnoError(errno, "fchmod " + path);
    }
  }
  if (Status named = AddName(directory, name, {.node = node, .directory = false}); !named.ok()) {
    ::unlink(path.c_str());
    return named.error();
  }
  return DraftEntry{.name = std::string(name), .node = node, .directory = false};
}

Result<DraftEntry> DraftImpl::MakeDirectory(DraftNode directory, std::string_view name) {
  RETURN_IF_ERROR(CheckPathComponent(name));
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  MutexLock lock(names_mu_);
  RETURN_IF_ERROR(CheckDirectory(directory));
  const DraftNode node = next_node_.fetch_add(1);
  const std::string path = NodePath(node);
  if (::mkdir(path.c_str(), 0700) != 0) return ErrnoError(errno, "mkdir " + path);
  const std::string up = NamePath(node, kParentName);
  Status named = ::symlink(std::to_string(directory).c_str(), up.c_str()) == 0
                     ? AddName(directory, name, {.node = node, .directory = true})
                     : Status(ErrnoError(errno, "symlink " + up));
  if (!named.ok()) {
    ::unlink(up.c_str());
    ::rmdir(path.c_str());
    return named.error();
  }
  return DraftEntry{.name = std::string(name), .node = node, .directory = true};
}

Status DraftImpl::RemoveFile(DraftNode directory, std::string_view name) {
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  MutexLock lock(names_mu_);
  ASSIGN_OR_RETURN(const DraftEntry entry, Lookup(directory, name));
  if (entry.directory) return Error(Code::kInvalidArgument, Printable(name) + ": is a directory");
  RETURN_IF_ERROR(RealFiles().Unlink(NamePath(directory, name)));
  nameless_.insert(entry.node);
  return OkStatus();
}

Status DraftImpl::RemoveDirectory(DraftNode directory, std::string_view name) {
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  MutexLock lock(names_mu_);
  ASSIGN_OR_RETURN(const DraftEntry entry, Lookup(directory, name));
  if (!entry.directory) return Error(Code::kNotFound, Printable(name) + ": is not a directory");
  ASSIGN_OR_RETURN(const bool empty, IsEmptyDirectory(entry.node));
  if (!empty) return Error(Code::kFailedPrecondition, Printable(name) + ": the directory is not empty");
  RETURN_IF_ERROR(RealFiles().Unlink(NamePath(directory, name)));
  nameless_.insert(entry.node);
  return OkStatus();
}

Status DraftImpl::Rename(DraftNode from_directory, std::string_view from_name, DraftNode to_directory,
                         std::string_view to_name, RenameMode mode) {
  RETURN_IF_ERROR(CheckPathComponent(to_name));
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  MutexLock lock(names_mu_);
  RETURN_IF_ERROR(CheckDirectory(to_directory));
  ASSIGN_OR_RETURN(const DraftEntry from, Lookup(from_directory, from_name));
  Result<DraftEntry> to = Lookup(to_directory, to_name);
  if (!to.ok() && to.error().code() != Code::kNotFound) return to.error();
  if (mode == RenameMode::kNoReplace && to.ok()) {
    return Error(Code::kAlreadyExists, Printable(to_name) + ": exists already");
  }
  if (mode == RenameMode::kExchange && !to.ok()) return to.error();
  if (to.ok() && to->node == from.node) return OkStatus();
  const auto is_inside = [&](DraftNode directory, DraftNode of) -> Result<bool> {
    while (directory != of && directory != kDraftRoot) {
      ASSIGN_OR_RETURN(directory, Parent(directory));
    }
    return directory == of;
  };
  if (from.directory) {
    ASSIGN_OR_RETURN(const bool loop, is_inside(to_directory, from.node));
    if (loop) return Error(Code::kInvalidArgument, "a directory cannot be moved into itself");
  }
  if (mode == RenameMode::kExchange && to->directory) {
    ASSIGN_OR_RETURN(const bool loop, is_inside(from_directory, to->node));
    if (loop) return Error(Code::kInvalidArgument, "a directory cannot be moved into itself");
  }
  if (mode == RenameMode::kReplace && to.ok()) {
    if (from.directory && !to->directory) {
      return Error(Code::kNotFound, Printable(to_name) + ": is not a directory");
    }
    if (!from.directory && to->directory) {
      return Error(Code::kInvalidArgument, Printable(to_name) + ": is a directory");
    }
    if (to->directory) {
      ASSIGN_OR_RETURN(const bool empty, IsEmptyDirectory(to->node));
      if (!empty)
        return Error(Code::kFailedPrecondition, Printable(to_name) + ": the directory is not empty");
    }
  }
  const unsigned flags = mode == RenameMode::kExchange ? RENAME_EXCHANGE : 0U;
  if (::renameat2(AT_FDCWD, NamePath(from_directory, from_name).c_str(), AT_FDCWD,
                  NamePath(to_directory, to_name).c_str(), flags) != 0) {
    return ErrnoError(errno, "rename " + Printable(from_name));
  }
  if (mode == RenameMode::kReplace && to.ok()) nameless_.insert(to->node);
  const auto set_parent = [&](DraftNode directory, DraftNode parent) {
    return ReplaceBySymlink(std::to_string(parent), NamePath(directory, kParentName),
                            NamePath(directory, std::string(kParentName) + "new"));
  };
  if (from.directory && from_directory != to_directory) RETURN_IF_ERROR(set_parent(from.node, to_directory));
  if (mode == RenameMode::kExchange && to->directory && from_directory != to_directory) {
    RETURN_IF_ERROR(set_parent(to->node, from_directory));
  }
  return OkStatus();
}

void DraftImpl::Forget(DraftNode node) {
  MutexLock lock(names_mu_);
  if (nameless_.erase(node) == 0) return;
  DropName(node);
  const std::string path = NodePath(node);
  // Best effort: what stays is unreachable, and goes with the draft or at its next start.
  if (::unlink(path.c_str()) == 0 || errno != EISDIR) return;
  ::unlink(NamePath(node, kParentName).c_str());
  ::rmdir(path.c_str());
}

// --- bytes ---

Result<std::shared_ptr<const Backing>> DraftImpl::LoadBacking(DraftNode node) {
  const std::string path = NodePath(node);
  auto backing = std::make_shared<Backing>();
  // Before the mode is looked at: a Seal in between makes this one old.
  backing->seals = seals_.load();
  ASSIGN_OR_RETURN(const struct stat info, StatNode(node));
  if (S_ISDIR(info.st_mode)) return Error(Code::kInvalidArgument, "is a directory");
  if (S_ISLNK(info.st_mode)) {
    ASSIGN_OR_RETURN(const ShareMarker marker, MarkerOf(node));
    ASSIGN_OR_RETURN(backing->blob, blobs_.Open(marker.blob));
    backing->length_bytes = marker.length_bytes;
    return backing;
  }
  backing->writable = (info.st_mode & kOwnerWrites) != 0;
  backing->fd = Fd(::open(path.c_str(), (backing->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW));
  if (!backing->fd.valid()) return ErrnoError(errno, "open " + path);
  return backing;
}

Result<std::shared_ptr<OpenNode>> DraftImpl::OpenShared(DraftNode node) {
  std::shared_ptr<OpenNode> open;
  {
    MutexLock lock(state_mu_);
    std::weak_ptr<OpenNode>& slot = open_[node];
    open = slot.lock();
    if (open == nullptr) {
      open = std::make_shared<OpenNode>(node);
      slot = open;
    }
  }
  if (open->Get() != nullptr) return open;
  const OpenNode::Exclusive exclusive(*open);
  if (open->Get() != nullptr) return open;
  Result<std::shared_ptr<const Backing>> backing = LoadBacking(node);
  if (!backing.ok()) {
    MutexLock lock(state_mu_);
    if (const auto at = open_.find(node); at != open_.end() && at->second.lock() == open) open_.erase(at);
    return backing.error();
  }
  open->Set(std::move(*backing));
  return open;
}

Result<std::shared_ptr<const Backing>> DraftImpl::EnsureOwn(OpenNode& open, uint64_t keep_bytes) {
  if (auto backing = open.Get(); IsWritable(*backing)) return backing;
  const OpenNode::Exclusive exclusive(open);
  return EnsureOwnExclusively(open, keep_bytes);
}

Result<std::shared_ptr<const Backing>> DraftImpl::EnsureOwnExclusively(OpenNode& open, uint64_t keep_bytes) {
  std::shared_ptr<const Backing> old = open.Get();
  if (old->writable && !IsWritable(*old)) {
    ASSIGN_OR_RETURN(old, LoadBacking(open.node));
    open.Set(old);
  }
  if (IsWritable(*old)) return old;
  ASSIGN_OR_RETURN(const DraftAttr attr, GetAttr(open.node));
  const std::string path = NodePath(open.node);
  const std::string temporary = path + ".new";
  ::unlink(temporary.c_str());
  auto own = std::make_shared<Backing>();
  own->writable = true;
  own->seals = seals_.load();
  const uint32_t mode = attr.executable ? kOwnExecutableMode : kOwnMode;
  own->fd = Fd(::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!own->fd.valid()) return ErrnoError(errno, "create " + temporary);
  const Status copied = [&]() -> Status {
    if (::fchmod(own->fd.get(), mode) != 0) return ErrnoError(errno, "fchmod " + temporary);
    if (old->blob != nullptr) {
      const uint64_t length = std::min(keep_bytes, old->length_bytes);
      RETURN_IF_ERROR(CopyPiece(*old->blob, 0, length, own->fd.get(), 0));
    } else {
      std::vector<std::byte> buffer(std::min<uint64_t>(kCopyBytes, keep_bytes));
      for (uint64_t done = 0; done < keep_bytes && !buffer.empty();) {
        ASSIGN_OR_RETURN(const size_t count, ReadFully(old->fd.get(), path, done, buffer));
        if (count == 0) break;
        RETURN_IF_ERROR(WriteFully(own->fd.get(), done, std::span(buffer).first(count)));
        done += count;
      }
    }
    return RealFiles().Rename(temporary, path);
  }();
  if (!copied.ok()) {
    ::unlink(temporary.c_str());
    return copied.error();
  }
  open.Set(own);
  return std::shared_ptr<const Backing>(own);
}

Status DraftImpl::ShareExclusively(OpenNode& open, const ShareMarker& marker) {
  auto backing = std::make_shared<Backing>();
  ASSIGN_OR_RETURN(backing->blob, blobs_.Open(marker.blob));
  backing->length_bytes = marker.length_bytes;
  const std::string path = NodePath(open.node);
  RETURN_IF_ERROR(ReplaceBySymlink(marker.Encode(), path, path + ".new"));
  open.Set(std::move(backing));
  return OkStatus();
}

Result<std::shared_ptr<DraftFile>> DraftImpl::Open(DraftNode file, Access access) {
  if (access == Access::kRead) {
    ASSIGN_OR_RETURN(std::shared_ptr<OpenNode> open, OpenShared(file));
    return std::make_shared<DraftFileImpl>(shared_from_this(), std::move(open), access);
  }
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  ASSIGN_OR_RETURN(std::shared_ptr<OpenNode> open, OpenShared(file));
  {
    MutexLock lock(state_mu_);
    ++writers_;
    ++open->writers;
  }
  return std::make_shared<DraftFileImpl>(shared_from_this(), std::move(open), access);
}

Status DraftImpl::SetExecutable(DraftNode file, bool executable) {
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  ASSIGN_OR_RETURN(const std::shared_ptr<OpenNode> open, OpenShared(file));
  const OpenNode::Exclusive exclusive(*open);
  ASSIGN_OR_RETURN(const DraftAttr attr, GetAttr(file));
  if (attr.executable == executable) return OkStatus();
  const std::string path = NodePath(file);
  if (attr.shares.has_value()) {
    ASSIGN_OR_RETURN(ShareMarker marker, MarkerOf(file));
    marker.executable = executable;
    RETURN_IF_ERROR(ReplaceBySymlink(marker.Encode(), path, path + ".new"));
    const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                               {.tv_sec = attr.mtime_s, .tv_nsec = attr.mtime_ns}};
    ::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW);
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const auto own, EnsureOwnExclusively(*open, UINT64_MAX));
  if (::fchmod(own->fd.get(), executable ? kOwnExecutableMode : kOwnMode) != 0) {
    return ErrnoError(errno, "fchmod " + path);
  }
  return OkStatus();
}

Status DraftImpl::SetMtime(DraftNode node, int64_t mtime_s, int64_t mtime_ns) {
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  ASSIGN_OR_RETURN(const struct stat info, StatNode(node));
  // Published already by a process that was killed then: its mtime is the blob's epoch.
  if (S_ISREG(info.st_mode) && (info.st_mode & kOwnerWrites) == 0) return OkStatus();
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, {.tv_sec = mtime_s, .tv_nsec = mtime_ns}};
  if (::utimensat(AT_FDCWD, NodePath(node).c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoError(errno, "utimensat");
  }
  return OkStatus();
}

Status DraftImpl::Truncate(DraftNode file, uint64_t size_bytes) {
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  ASSIGN_OR_RETURN(const std::shared_ptr<OpenNode> open, OpenShared(file));
  const OpenNode::Exclusive exclusive(*open);
  const std::shared_ptr<const Backing> backing = open->Get();
  if (backing->blob != nullptr && size_bytes == backing->length_bytes) return OkStatus();
  if (backing->blob != nullptr && size_bytes > 0 && size_bytes < backing->length_bytes) {
    ASSIGN_OR_RETURN(ShareMarker marker, MarkerOf(file));
    marker.length_bytes = size_bytes;
    return ShareExclusively(*open, marker);
  }
  const BytesChange bytes_change(*this, file);
  ASSIGN_OR_RETURN(const auto own, EnsureOwnExclusively(*open, size_bytes));
  if (::ftruncate(own->fd.get(), static_cast<off_t>(size_bytes)) != 0) return ErrnoError(errno, "truncate");
  return OkStatus();
}

Result<uint64_t> DraftImpl::CopyFromBlob(DraftNode file, uint64_t to_offset_bytes, const Digest& blob,
                                         uint64_t from_offset_bytes, uint64_t length_bytes, Epoch epoch) {
  if (from_offset_bytes >= blob.size_bytes || length_bytes == 0) return uint64_t{0};
  const uint64_t count = std::min(length_bytes, blob.size_bytes - from_offset_bytes);
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  ASSIGN_OR_RETURN(const std::shared_ptr<OpenNode> open, OpenShared(file));
  const OpenNode::Exclusive exclusive(*open);
  const BytesChange bytes_change(*this, file);
  ASSIGN_OR_RETURN(const DraftAttr attr, GetAttr(file));
  const bool continues = to_offset_bytes == from_offset_bytes && attr.size_bytes == to_offset_bytes;
  const bool shareable = attr.size_bytes == 0 || (attr.shares.has_value() && *attr.shares == blob);
  if (continues && shareable) {
    // With its epoch raised before the marker names it, no sweep takes the blob in between.
    RETURN_IF_ERROR(blobs_.ReuseFile(blob, epoch));
    const ShareMarker marker = {
        .blob = blob, .length_bytes = to_offset_bytes + count, .executable = attr.executable};
    RETURN_IF_ERROR(ShareExclusively(*open, marker));
    return count;
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<OpenBlob> source, blobs_.Open(blob));
  ASSIGN_OR_RETURN(const auto own, EnsureOwnExclusively(*open, UINT64_MAX));
  return CopyPiece(*source, from_offset_bytes, count, own->fd.get(), to_offset_bytes);
}

// --- seal ---

Status DraftImpl::Walk(DraftNode directory, const std::string& prefix, size_t depth,
                       std::vector<Found>& found) {
  if (depth > kTreeMaxDepth) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{}: lies more than {} levels deep", prefix, kTreeMaxDepth));
  }
  ASSIGN_OR_RETURN(const std::vector<DraftEntry> entries, List(directory));
  if (entries.empty() && !prefix.empty()) {
    found.push_back({.path = prefix.substr(0, prefix.size() - 1), .node = directory, .directory = true});
  }
  for (const DraftEntry& entry : entries) {
    if (entry.directory) {
      RETURN_IF_ERROR(Walk(entry.node, prefix + entry.name + "/", depth + 1, found));
    } else {
      found.push_back({.path = prefix + entry.name, .node = entry.node, .directory = false});
    }
  }
  return OkStatus();
}

Result<Digest> DraftImpl::Seal(Epoch epoch, const LocalStore::Progress& progress) {
  {
    MutexLock lock(state_mu_);
    if (sealed_) return Sealed();
    if (writers_ > 0) {
      return Error(
          Code::kFailedPrecondition,
          fmt::format("{} of the draft's files are still open for writing; close them first", writers_));
    }
    sealed_ = true;
    while (changes_ > 0) state_changed_.Wait(state_mu_);
  }
  Result<Digest> tree = SealFiles(epoch, progress);
  // Files may be blobs now, whether all went well or not: nobody writes through a descriptor from before.
  ++seals_;
  if (!tree.ok()) {
    MutexLock lock(state_mu_);
    sealed_ = retired_;
  }
  return tree;
}

Result<Digest> DraftImpl::SealFiles(Epoch epoch, const LocalStore::Progress& progress) {
  const std::unordered_map<DraftNode, HashedFile> known = hashes_.Settle();
  std::vector<Found> found;
  RETURN_IF_ERROR(Walk(kDraftRoot, "", 1, found));
  std::vector<TreeEntry> entries;
  std::vector<PublishItem> items;
  std::vector<SealedFile> published;
  std::vector<size_t> entry_of_item;
  bool any_file = false;
  for (const Found& at : found) {
    TreeEntry& entry = entries.emplace_back();
    entry.path = at.path;
    if (at.directory) {
      entry.kind = EntryKind::kEmptyDirectory;
      continue;
    }
    any_file = true;
    ASSIGN_OR_RETURN(DraftAttr attr, GetAttr(at.node));
    entry.executable = attr.executable;
    if (attr.shares.has_value() && attr.size_bytes == attr.shares->size_bytes) {
      Result<StoredFile> stored = blobs_.ReuseFile(*attr.shares, epoch);
      if (!stored.ok()) return stored.error().Wrap(at.path);
      entry.blob = stored->blob;
      entry.chunk_list = stored->chunk_list;
      continue;
    }
    if (attr.shares.has_value()) {
      // The beginning of a blob is a blob of its own.
      ASSIGN_OR_RETURN(const std::shared_ptr<OpenNode> open, OpenShared(at.node));
      RETURN_IF_ERROR(EnsureOwn(*open, UINT64_MAX));
    }
    const auto hashed = known.find(at.node);
    items.push_back({.source_path = NodePath(at.node),
                     .known = hashed == known.end() ? std::nullopt : std::optional(hashed->second)});
    entry_of_item.push_back(entries.size() - 1);
    published.push_back({.node = at.node,
                         .blob = Digest{},
                         .executable = attr.executable,
                         .mtime_s = attr.mtime_s,
                         .mtime_ns = attr.mtime_ns});
  }
  if (!any_file) return Error(Code::kNotFound, "the draft holds no file");
  FAIL_POINT("seal.walked");
  ASSIGN_OR_RETURN(const std::vector<StoredFile> stored, blobs_.PublishAll(items, epoch, progress));
  FAIL_POINT("seal.published");
  for (size_t i = 0; i < stored.size(); ++i) {
    entries[entry_of_item[i]].blob = stored[i].blob;
    entries[entry_of_item[i]].chunk_list = stored[i].chunk_list;
    published[i].blob = stored[i].blob;
  }
  ASSIGN_OR_RETURN(const Tree tree, Tree::Make(std::move(entries)));
  ASSIGN_OR_RETURN(const Digest digest, PutTree(blobs_, tree, epoch));
  FAIL_POINT("seal.stored");
  MutexLock lock(state_mu_);
  for (const SealedFile& file : published) sealed_files_.emplace(file.node, file);
  return digest;
}

void DraftImpl::Unseal() {
  std::unordered_map<DraftNode, SealedFile> files;
  {
    MutexLock lock(state_mu_);
    if (retired_ || !sealed_) return;
    files = std::move(sealed_files_);
    sealed_files_.clear();
  }
  // What the store has now is shared like any other blob. A file where this fails stays read-only and is
  // copied by its first write.
  for (const auto& [node, file] : files) {
    const ShareMarker marker = {
        .blob = file.blob, .length_bytes = file.blob.size_bytes, .executable = file.executable};
    const std::string path = NodePath(file.node);
    // The old name is a link of the blob's file, so it goes in a way that keeps the blob verified.
    if (::symlink(marker.Encode().c_str(), (path + ".new").c_str()) != 0) continue;
    const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                               {.tv_sec = file.mtime_s, .tv_nsec = file.mtime_ns}};
    ::utimensat(AT_FDCWD, (path + ".new").c_str(), times, AT_SYMLINK_NOFOLLOW);
    // In two steps that a kill between them leaves whole: Recover finishes the exchange.
    if (::renameat2(AT_FDCWD, (path + ".new").c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) != 0) {
      ::unlink((path + ".new").c_str());
      continue;
    }
    blobs_.UnlinkOtherName(path + ".new", file.blob).IgnoreError("Recover removes it");
  }
  MutexLock lock(state_mu_);
  sealed_ = false;
}

// --- recovery ---

Status DraftImpl::Recover() {
  ASSIGN_OR_RETURN(const std::vector<std::string> present, RealFiles().List(path_ + "/n"));
  std::unordered_set<DraftNode> reachable = {kDraftRoot};
  std::vector<DraftNode> directories = {kDraftRoot};
  DraftNode highest = 0;
  while (!directories.empty()) {
    const DraftNode directory = directories.back();
    directories.pop_back();
    ASSIGN_OR_RETURN(const std::vector<DraftEntry> entries, List(directory));
    for (const DraftEntry& entry : entries) {
      if (!StatNode(entry.node).ok()) {
        ::unlink(NamePath(directory, entry.name).c_str());
        continue;
      }
      if (!reachable.insert(entry.node).second) continue;
      if (!entry.directory) continue;
      directories.push_back(entry.node);
      // Left behind by a rename that was cut short.
      const Result<DraftNode> parent = Parent(entry.node);
      if (parent.ok() && *parent == directory) continue;
      RETURN_IF_ERROR(ReplaceBySymlink(std::to_string(directory), NamePath(entry.node, kParentName),
                                       NamePath(entry.node, std::string(kParentName) + "new")));
    }
  }
  for (const std::string& name : present) {
    const std::optional<uint64_t> node = ParseNumber(name);
    if (node.has_value() && *node <= UINT32_MAX) highest = std::max(highest, static_cast<DraftNode>(*node));
    if (node.has_value() && reachable.contains(static_cast<DraftNode>(*node))) continue;
    std::error_code ignored;
    std::filesystem::remove_all(nodes_ + name, ignored);
  }
  next_node_ = highest + 1;
  return OkStatus();
}

// --- the store of drafts ---

// Asks ext4 to lay out each directory below `path` by itself (chattr(1), attribute T). A draft is made and
// removed soon; ext4 does not reuse an inode for some seconds after it was freed, and looks at each of them
// again for every new one nearby, so drafts that follow each other in one place slow down by the square of
// their files. Elsewhere, and where it fails, nothing is lost.
void SpreadDirectoriesBelow(const std::string& path) {
  const Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  int flags = 0;
  if (!directory.valid() || ::ioctl(directory.get(), FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_TOPDIR_FL;
  (void)::ioctl(directory.get(), FS_IOC_SETFLAGS, &flags);
}

class DraftStoreImpl : public DraftStore {
 public:
  DraftStoreImpl(Files& files, Options options) : files_(files), options_(std::move(options)) {}

  Status Initialise() {
    RETURN_IF_ERROR(files_.MakeDirectories(options_.root));
    SpreadDirectoriesBelow(options_.root);
    return RemoveGone();
  }

  Result<std::shared_ptr<Draft>> Create(const std::string& label) override;
  Result<std::vector<std::shared_ptr<Draft>>> Load(
      const std::function<bool(std::string_view label)>& wanted) override;
  Status Discard(const std::shared_ptr<Draft>& draft) override;
  Result<std::vector<Digest>> SharedBlobs() override;
  Result<uint64_t> RemoveExpired(std::chrono::seconds unused_for, int64_t now_s) override;

 private:
  std::string PathOf(DraftNumber number) const { return options_.root + "/" + std::to_string(number); }
  Result<std::vector<DraftNumber>> Numbers();
  // The lock of a draft that no live process holds; nothing where one does or it is gone.
  std::optional<Fd> TryLock(DraftNumber number);
  // Takes a draft out of sight in one step, then removes it piece by piece.
  Status Remove(const std::string& path, const std::map<DraftNode, Digest>& published);
  Status RemoveGone();

  Files& files_;
  const Options options_;
  Mutex mu_;
  uint64_t next_ GUARDED_BY(mu_) = 1;
  std::map<DraftNumber, std::shared_ptr<DraftImpl>> open_ GUARDED_BY(mu_);
};

Result<std::vector<DraftNumber>> DraftStoreImpl::Numbers() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(options_.root));
  std::vector<DraftNumber> numbers;
  for (const std::string& name : names) {
    const std::optional<uint64_t> number = ParseNumber(name);
    if (number.has_value() && *number <= UINT32_MAX) numbers.push_back(static_cast<DraftNumber>(*number));
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::optional<Fd> DraftStoreImpl::TryLock(DraftNumber number) {
  const std::string path = PathOf(number) + "/lock";
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kOwnMode));
  if (!fd.valid() || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return std::nullopt;
  // Discarded by its owner between our open and our lock?
  struct stat held {};
  struct stat named {};
  if (::fstat(fd.get(), &held) != 0 || ::lstat(path.c_str(), &named) != 0 || held.st_ino != named.st_ino) {
    return std::nullopt;
  }
  return fd;
}

Result<std::shared_ptr<Draft>> DraftStoreImpl::Create(const std::string& label) {
  while (true) {
    ASSIGN_OR_RETURN(const std::vector<DraftNumber> numbers, Numbers());
    DraftNumber number = 0;
    {
      MutexLock lock(mu_);
      if (!numbers.empty()) next_ = std::max<uint64_t>(next_, uint64_t{numbers.back()} + 1);
      if (next_ > UINT32_MAX) return Error(Code::kResourceExhausted, "no draft number is left");
      number = static_cast<DraftNumber>(next_++);
    }
    const std::string path = PathOf(number);
    if (::mkdir(path.c_str(), 0700) != 0) {
      if (errno == EEXIST) continue;  // another process was faster
      return ErrnoError(errno, "mkdir " + path);
    }
    std::optional<Fd> lock_fd = TryLock(number);
    if (!lock_fd.has_value()) return Error(Code::kAborted, path + ": somebody else took the new draft");
    RETURN_IF_ERROR(files_.MakeDirectories(path + "/n/0"));
    auto draft = std::make_shared<DraftImpl>(*options_.blobs, path, number, label, std::move(*lock_fd));
    // Last: a draft is one from when it has a label.
    RETURN_IF_ERROR(draft->SetLabel(label));
    MutexLock lock(mu_);
    open_.emplace(number, draft);
    return std::shared_ptr<Draft>(draft);
  }
}

Result<std::vector<std::shared_ptr<Draft>>> DraftStoreImpl::Load(
    const std::function<bool(std::string_view label)>& wanted) {
  ASSIGN_OR_RETURN(const std::vector<DraftNumber> numbers, Numbers());
  std::vector<std::shared_ptr<Draft>> drafts;
  for (const DraftNumber number : numbers) {
    std::shared_ptr<DraftImpl> open;
    {
      MutexLock lock(mu_);
      if (const auto at = open_.find(number); at != open_.end()) open = at->second;
    }
    if (open != nullptr) {
      if (wanted(open->label())) drafts.push_back(open);
      continue;
    }
    Result<std::string> label = files_.ReadAll(PathOf(number) + "/label", kLabelMaxBytes);
    if (!label.ok() || !wanted(*label)) continue;
    std::optional<Fd> lock_fd = TryLock(number);
    if (!lock_fd.has_value()) continue;
    auto draft =
        std::make_shared<DraftImpl>(*options_.blobs, PathOf(number), number, *label, std::move(*lock_fd));
    RETURN_IF_ERROR(draft->Recover());
    MutexLock lock(mu_);
    open_.emplace(number, draft);
    drafts.push_back(draft);
  }
  return drafts;
}

Status DraftStoreImpl::Remove(const std::string& path, const std::map<DraftNode, Digest>& published) {
  const std::string gone =
      fmt::format("{}/{}{}.{}", options_.root, kGonePrefix, path.substr(path.rfind('/') + 1), ::getpid());
  RETURN_IF_ERROR(files_.Rename(path, gone));
  FAIL_POINT("discard.renamed");
  for (const auto& [node, blob] : published) {
    options_.blobs->UnlinkOtherName(gone + "/n/" + std::to_string(node), blob)
        .IgnoreError("what is left goes with the rest");
  }
  std::error_code error;
  std::filesystem::remove_all(gone, error);
  if (error) return ErrnoError(error.value(), "remove " + gone);
  return OkStatus();
}

Status DraftStoreImpl::RemoveGone() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(options_.root));
  for (const std::string& name : names) {
    if (!name.starts_with(kGonePrefix)) continue;
    std::error_code ignored;
    std::filesystem::remove_all(options_.root + "/" + name, ignored);
  }
  return OkStatus();
}

Status DraftStoreImpl::Discard(const std::shared_ptr<Draft>& draft) {
  std::shared_ptr<DraftImpl> open;
  {
    MutexLock lock(mu_);
    const auto at = open_.find(draft->number());
    if (at == open_.end() || at->second != draft) return Error(Code::kNotFound, "the draft is gone already");
    open = at->second;
    open_.erase(at);
  }
  open->Retire();
  return Remove(open->path(), open->TakePublished());
}

Result<std::vector<Digest>> DraftStoreImpl::SharedBlobs() {
  std::set<Digest> blobs;
  ASSIGN_OR_RETURN(const std::vector<DraftNumber> numbers, Numbers());
  for (const DraftNumber number : numbers) {
    const std::string nodes = PathOf(number) + "/n";
    const Result<std::vector<std::string>> names = files_.List(nodes);
    // Discarded since it was listed: then it needs nothing any more.
    if (!names.ok() && names.error().code() == Code::kNotFound) continue;
    if (!names.ok()) return names.error();
    for (const std::string& name : *names) {
      const Result<std::string> target = ReadLink(nodes + "/" + name);
      if (!target.ok()) continue;
      const Result<ShareMarker> marker = ShareMarker::Decode(*target);
      if (marker.ok()) blobs.insert(marker->blob);
    }
  }
  std::vector<Digest> all(blobs.begin(), blobs.end());
  for (const Digest& blob : blobs) {
    if (const std::optional<Digest> list = options_.blobs->ChunkListOf(blob); list.has_value()) {
      all.push_back(*list);
    }
  }
  return all;
}

Result<uint64_t> DraftStoreImpl::RemoveExpired(std::chrono::seconds unused_for, int64_t now_s) {
  RETURN_IF_ERROR(RemoveGone());
  ASSIGN_OR_RETURN(const std::vector<DraftNumber> numbers, Numbers());
  uint64_t removed = 0;
  for (const DraftNumber number : numbers) {
    const std::string path = PathOf(number);
    // The newest ctime: mtimes are what `cp -a` makes of them.
    int64_t last_s = 0;
    const auto look = [&last_s](const std::string& at) {
      struct stat info {};
      if (::lstat(at.c_str(), &info) == 0) last_s = std::max<int64_t>(last_s, info.st_ctim.tv_sec);
    };
    look(path);
    look(path + "/label");
    const Result<std::vector<std::string>> names = files_.List(path + "/n");
    if (names.ok()) {
      for (const std::string& name : *names) look(path + "/n/" + name);
    }
    if (last_s == 0 || now_s - last_s < unused_for.count()) continue;
    const std::optional<Fd> lock_fd = TryLock(number);
    if (!lock_fd.has_value()) continue;
    RETURN_IF_ERROR(Remove(path, {}));
    ++removed;
  }
  return removed;
}

}  // namespace

Result<std::unique_ptr<DraftStore>> DraftStore::Open(Files& files, Options options) {
  auto store = std::make_unique<DraftStoreImpl>(files, std::move(options));
  if (Status status = store->Initialise(); !status.ok()) return status.error().Wrap("drafts");
  return std::unique_ptr<DraftStore>(std::move(store));
}

}  // namespace modelfs::cas
