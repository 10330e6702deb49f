#include "cas/ingest.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <unordered_set>

#include "cas/base/fd.h"
#include "cas/base/text.h"

namespace modelfs::cas {
namespace {

constexpr uint32_t kOwnerExecutes = 0100;
constexpr size_t kCopyBytes = size_t{1} << 20U;

struct FreeString {
  void operator()(char* text) const { std::free(text); }  // NOLINT: realpath(3) allocates so
};

// The path with every symlink followed, or nothing where it leads nowhere.
std::optional<std::string> RealPath(const std::string& path) {
  const std::unique_ptr<char, FreeString> resolved(::realpath(path.c_str(), nullptr));
  if (resolved == nullptr) return std::nullopt;
  return std::string(resolved.get());
}

bool IsWithin(const std::string& path, const std::string& directory) {
  return path == directory || directory == "/" || path.starts_with(directory + "/");
}

std::string_view KindOf(uint32_t mode) {
  if (S_ISCHR(mode)) return "a character device";
  if (S_ISBLK(mode)) return "a block device";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "no regular file";
}

// What a walk over a directory found.
class Walk {
 public:
  // `root` has no symlinks in it.
  explicit Walk(std::string root) : root_(std::move(root)) { ancestors_.push_back(root_); }

  Status Run() { return Directory(root_, ""); }

  std::vector<TreeEntry> TakeEntries() { return std::move(entries_); }
  // Of the files among the entries, in their order.
  const std::vector<std::string>& sources() const { return sources_; }

 private:
  Status Directory(const std::string& real, const std::string& relative) {
    ASSIGN_OR_RETURN(std::vector<std::string> names, RealFiles().List(real));
    std::sort(names.begin(), names.end());
    if (names.empty() && !relative.empty()) {
      TreeEntry entry;
      entry.path = relative;
      entry.kind = EntryKind::kEmptyDirectory;
      entries_.push_back(std::move(entry));
    }
    for (const std::string& name : names) {
      const std::string shown = relative.empty() ? name : fmt::format("{}/{}", relative, name);
      if (Status status = CheckPathComponent(name); !status.ok()) {
        return status.error().Wrap(Printable(relative.empty() ? real : relative));
      }
      if (ancestors_.size() > kTreeMaxDepth) {
        return Error(Code::kInvalidArgument,
                     fmt::format("{}: lies more than {} levels deep", shown, kTreeMaxDepth));
      }
      RETURN_IF_ERROR(Entry(fmt::format("{}/{}", real, name), shown));
    }
    return OkStatus();
  }

  Status Entry(std::string real, const std::string& relative) {
    ASSIGN_OR_RETURN(FileInfo info, RealFiles().Stat(real));
    if (S_ISLNK(info.mode)) {
      const std::optional<std::string> target = RealPath(real);
      if (!target.has_value()) {
        return Error(
            Code::kInvalidArgument,
            fmt::format("{}: is a symlink that leads nowhere; remove it or restore its target", relative));
      }
      if (!IsWithin(*target, root_)) {
        return Error(Code::kInvalidArgument,
                     fmt::format("{}: is a symlink to {}, outside the directory; replace it by a copy",
                                 relative, Printable(*target)));
      }
      real = *target;
      ASSIGN_OR_RETURN(info, RealFiles().Stat(real));
    }
    if (S_ISDIR(info.mode)) {
      // A symlink to a directory that it lies in would be walked for ever.
      if (std::find(ancestors_.begin(), ancestors_.end(), real) != ancestors_.end()) {
        return Error(Code::kInvalidArgument,
                     fmt::format("{}: is a symlink to a directory that it lies in; remove it", relative));
      }
      ancestors_.push_back(real);
      RETURN_IF_ERROR(Directory(real, relative));
      ancestors_.pop_back();
      return OkStatus();
    }
    if (!S_ISREG(info.mode)) {
      return Error(Code::kInvalidArgument, fmt::format("{}: is {}; only files and directories can be stored",
                                                       relative, KindOf(info.mode)));
    }
    if (entries_.size() >= kTreeMaxNodes) {
      return Error(Code::kInvalidArgument,
                   fmt::format("a version holds at most {} files and directories", kTreeMaxNodes));
    }
    TreeEntry entry;
    entry.path = relative;
    entry.executable = (info.mode & kOwnerExecutes) != 0;
    entries_.push_back(std::move(entry));
    sources_.push_back(std::move(real));
    return OkStatus();
  }

  const std::string root_;
  std::vector<std::string> ancestors_;
  std::vector<TreeEntry> entries_;
  std::vector<std::string> sources_;
};

Status CopyBlob(OpenBlob& blob, int out, const std::string& path) {
  const uint64_t size_bytes = blob.digest().size_bytes;
  uint64_t done = 0;
  // The kernel shares or copies the bytes itself where it can; else they go through here.
  if (const std::optional<int> native = blob.NativeFd(); native.has_value()) {
    off64_t from = 0;
    while (done < size_bytes) {
      const ssize_t count = ::copy_file_range(*native, &from, out, nullptr, size_bytes - done, 0);
      if (count == 0) break;
      if (count < 0) {
        if (errno == EINTR) continue;
        if (errno == ENOSPC || errno == EDQUOT || errno == EIO) return ErrnoError(errno, "write " + path);
        break;
      }
      done += static_cast<uint64_t>(count);
    }
  }
  std::vector<std::byte> buffer(std::min<uint64_t>(kCopyBytes, size_bytes - done));
  while (done < size_bytes) {
    ASSIGN_OR_RETURN(const size_t count, blob.Read(done, buffer, Deadline::Never()));
    if (count == 0) return Error(Code::kDataLoss, blob.digest().ToString() + " is shorter than its size");
    for (size_t written = 0; written < count;) {
      const ssize_t n = ::write(out, buffer.data() + written, count - written);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, "write " + path);
      written += static_cast<size_t>(n);
    }
    done += count;
  }
  return OkStatus();
}

}  // namespace

Result<IngestedTree> IngestDirectory(LocalStore& store, const std::string& directory, Epoch epoch,
                                     const LocalStore::Progress& progress) {
  const std::optional<std::string> root = RealPath(directory);
  if (!root.has_value()) return ErrnoError(errno, directory);
  ASSIGN_OR_RETURN(const FileInfo info, RealFiles().Stat(*root));
  if (!S_ISDIR(info.mode)) return Error(Code::kInvalidArgument, directory + ": is not a directory");
  Walk walk(*root);
  RETURN_IF_ERROR(walk.Run());
  // Names and kinds are judged before the first byte is stored.
  ASSIGN_OR_RETURN(const std::vector<StoredFile> stored, store.ImportAll(walk.sources(), epoch, progress));
  std::vector<TreeEntry> entries = walk.TakeEntries();
  size_t file = 0;
  for (TreeEntry& entry : entries) {
    if (entry.kind != EntryKind::kFile) continue;
    entry.blob = stored[file].blob;
    entry.chunk_list = stored[file].chunk_list;
    ++file;
  }
  IngestedTree ingested;
  ASSIGN_OR_RETURN(ingested.tree, Tree::Make(std::move(entries)));
  ASSIGN_OR_RETURN(ingested.digest, PutTree(store, ingested.tree, epoch));
  return ingested;
}

Result<Digest> PutTree(BlobStore& store, const Tree& tree, Epoch epoch) {
  const std::string encoded = tree.Encode();
  if (encoded.size() > kTreeMaxBytes) {
    return Error(Code::kInvalidArgument, "the version's list of files is larger than 1 GiB");
  }
  const Digest digest = DigestOf(encoded);
  RETURN_IF_ERROR(store.Put(digest, encoded, epoch));
  return digest;
}

Result<Tree> ReadTree(BlobStore& store, const Digest& digest) {
  ASSIGN_OR_RETURN(const std::string encoded, store.ReadAll(digest, kTreeMaxBytes));
  Result<Tree> tree = Tree::Decode(encoded);
  if (!tree.ok()) return tree.error().Wrap(digest.ToString());
  return tree;
}

Status ExportTree(BlobStore& store, const Tree& tree, const std::string& directory,
                  const LocalStore::Progress& progress) {
  Files& files = RealFiles();
  RETURN_IF_ERROR(files.MakeDirectories(directory));
  ASSIGN_OR_RETURN(const std::vector<std::string> present, files.List(directory));
  if (!present.empty()) {
    return Error(Code::kFailedPrecondition, directory + ": is not empty; name a new or an empty directory");
  }
  std::unordered_set<std::string> made;
  uint64_t done = 0;
  for (const TreeEntry& entry : tree.entries()) {
    const std::string path = directory + "/" + entry.path;
    // For people, not private like the store's own: what mkdir(1) would give.
    const bool is_file = entry.kind == EntryKind::kFile;
    for (size_t slash = entry.path.find('/'); slash != std::string::npos || !is_file;
         slash = entry.path.find('/', slash + 1)) {
      std::string folder = directory + "/" + entry.path.substr(0, slash);
      if (made.insert(folder).second && ::mkdir(folder.c_str(), 0777) != 0) {
        return ErrnoError(errno, "mkdir " + folder);
      }
      if (slash == std::string::npos) break;
    }
    if (!is_file) continue;
    ASSIGN_OR_RETURN(const std::shared_ptr<OpenBlob> blob, store.Open(entry.blob));
    const Fd out(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                        entry.executable ? 0777 : 0666));
    if (!out.valid()) return ErrnoError(errno, "create " + path);
    RETURN_IF_ERROR(CopyBlob(*blob, out.get(), path));
    done += entry.blob.size_bytes;
    if (progress) progress(done);
  }
  return OkStatus();
}

}  // namespace modelfs::cas
