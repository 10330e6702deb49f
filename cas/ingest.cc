#include "cas/ingest.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <fnmatch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <utility>

#include "cas/base/check.h"
#include "cas/base/fd.h"
#include "cas/base/text.h"
#include "cas/draft_links.h"
#include "cas/source_directory.h"
#include "cas/target_directory.h"

namespace modelfs::cas {
namespace {

constexpr uint32_t kOwnerExecutes = 0100;
constexpr size_t kCopyBytes = size_t{1} << 20U;

// Of symlinks to directories, each time that one is met: what they point to is stored again each time, and a
// few of them that point to each other's folders would be walked for ever. People have a handful.
constexpr size_t kMostFollowedDirectories = 10'000;

std::string_view KindOf(uint32_t mode) {
  if (S_ISCHR(mode)) return "a character device";
  if (S_ISBLK(mode)) return "a block device";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "no regular file";
}

std::string Join(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : fmt::format("{}/{}", folder, name);
}

// What a walk over a directory found. A file or folder has two paths: the one under which it is stored, and
// the real one, which differs below a symlink that was followed.
class Walk {
 public:
  Walk(SourceDirectory& source, const IngestOptions& options) : source_(source), options_(options) {}

  Status Run() {
    ASSIGN_OR_RETURN(const FileInfo info, source_.Stat(""));
    return Directory("", "", info);
  }

  std::vector<TreeEntry> TakeEntries() { return std::move(entries_); }
  // The real paths of the files among the entries, in their order.
  const std::vector<std::string>& sources() const { return sources_; }
  // Their times, by the paths under which they are stored.
  const std::unordered_map<std::string, FileTime>& times() const { return times_; }

 private:
  using Identity = std::pair<uint64_t, uint64_t>;  // device and inode
  static Identity IdentityOf(const FileInfo& info) { return {info.device, info.inode}; }

  Status Directory(const std::string& real, const std::string& relative, const FileInfo& info) {
    ancestors_.push_back(IdentityOf(info));
    ASSIGN_OR_RETURN(const std::vector<std::string> names, WantedNames(real, relative));
    if (names.empty() && !relative.empty()) {
      TreeEntry entry;
      entry.path = relative;
      entry.kind = EntryKind::kEmptyDirectory;
      entries_.push_back(std::move(entry));
    }
    for (const std::string& name : names) {
      const std::string shown = Join(relative, name);
      if (Status status = CheckPathComponent(name); !status.ok()) {
        return status.error().Wrap(Printable(relative.empty() ? source_.Shown("") : relative));
      }
      if (ancestors_.size() > kTreeMaxDepth) {
        return Error(Code::kInvalidArgument,
                     fmt::format("{}: lies more than {} levels deep", shown, kTreeMaxDepth));
      }
      RETURN_IF_ERROR(Entry(Join(real, name), shown));
    }
    ancestors_.pop_back();
    return OkStatus();
  }

  // The names in a directory that are not excluded, sorted.
  Result<std::vector<std::string>> WantedNames(const std::string& real, const std::string& relative) const {
    ASSIGN_OR_RETURN(const std::vector<std::string> names, source_.List(real));
    std::vector<std::string> wanted;
    for (const std::string& name : names) {
      const std::string path = Join(relative, name);
      bool excluded = Matches(path, name, false);
      if (!excluded && Matches(path, name, true)) {
        ASSIGN_OR_RETURN(const FileInfo info, source_.Stat(Join(real, name)));
        excluded = S_ISDIR(info.mode);
      }
      if (!excluded) wanted.push_back(name);
    }
    std::sort(wanted.begin(), wanted.end());
    return wanted;
  }

  bool Matches(const std::string& path, const std::string& name, bool is_directory) const {
    return std::any_of(options_.exclude.begin(), options_.exclude.end(), [&](std::string_view pattern) {
      const bool of_directories = pattern.ends_with('/');
      if (of_directories && !is_directory) return false;
      if (of_directories) pattern.remove_suffix(1);
      const bool of_path = pattern.find('/') != std::string_view::npos;
      if (pattern.starts_with('/')) pattern.remove_prefix(1);
      return ::fnmatch(std::string(pattern).c_str(), of_path ? path.c_str() : name.c_str(), FNM_PATHNAME) ==
             0;
    });
  }

  Status Entry(std::string real, const std::string& relative) {
    ASSIGN_OR_RETURN(FileInfo info, source_.Stat(real));
    const bool followed = S_ISLNK(info.mode);
    if (followed) {
      Result<std::string> target =
          source_.Follow(real, options_.dereference ? SourceDirectory::LinksOut::kFollow
                                                    : SourceDirectory::LinksOut::kRefuse);
      if (!target.ok()) return target.error().Wrap(relative);
      real = *std::move(target);
      ASSIGN_OR_RETURN(info, source_.Stat(real));
    }
    // With the directories that hold others, as a tree counts: else a walk could go on without an end.
    if (++nodes_ > kTreeMaxNodes) {
      return Error(
          Code::kInvalidArgument,
          fmt::format("{}: a version holds at most {} files and directories; leave some out, or pack "
                      "small files together",
                      relative, kTreeMaxNodes));
    }
    if (relative.size() > kPathMaxBytes) {
      return Error(Code::kInvalidArgument,
                   fmt::format("{}: its path is longer than {} bytes", relative, kPathMaxBytes));
    }
    if (followed || links_deep_ > 0) RETURN_IF_ERROR(CountUnfolded(relative));
    if (S_ISDIR(info.mode)) {
      // A symlink to a directory that it lies in would be walked for ever.
      if (std::find(ancestors_.begin(), ancestors_.end(), IdentityOf(info)) != ancestors_.end()) {
        return Error(Code::kInvalidArgument,
                     fmt::format("{}: is a symlink to a directory that it lies in; remove it", relative));
      }
      if (!followed) return Directory(real, relative, info);
      if (++followed_directories_ > kMostFollowedDirectories) {
        return Error(Code::kInvalidArgument,
                     fmt::format("{}: symlinks to directories were followed {} times by here, and what they "
                                 "point to is stored again each time; remove them",
                                 relative, kMostFollowedDirectories));
      }
      if (++links_deep_ > kMostLinksFollowed) {
        return Error(
            Code::kInvalidArgument,
            fmt::format("{}: symlinks to directories lie more than {} deep within each other; remove some",
                        relative, kMostLinksFollowed));
      }
      RETURN_IF_ERROR(Directory(real, relative, info));
      --links_deep_;
      return OkStatus();
    }
    if (!S_ISREG(info.mode)) {
      return Error(Code::kInvalidArgument, fmt::format("{}: is {}; only files and directories can be stored",
                                                       relative, KindOf(info.mode)));
    }
    TreeEntry entry;
    entry.path = relative;
    entry.executable = (info.mode & kOwnerExecutes) != 0;
    times_.emplace(relative, FileTime{.s = info.mtime_s, .ns = static_cast<uint32_t>(info.mtime_ns)});
    entries_.push_back(std::move(entry));
    sources_.push_back(std::move(real));
    return OkStatus();
  }

  Status CountUnfolded(const std::string& relative) {
    unfolded_bytes_ += relative.size();
    if (++unfolded_ <= options_.most_unfolded && unfolded_bytes_ <= kMostUnfoldedBytes) return OkStatus();
    return Error(
        Code::kInvalidArgument,
        fmt::format("{}: the symlinks by here unfold to more than {} files and directories, or to paths of "
                    "more than {} MiB together; remove links to directories",
                    relative, options_.most_unfolded, kMostUnfoldedBytes >> 20U));
  }

  SourceDirectory& source_;
  const IngestOptions& options_;
  std::vector<Identity> ancestors_;
  std::vector<TreeEntry> entries_;
  std::vector<std::string> sources_;
  size_t nodes_ = 1;  // the directory itself
  std::unordered_map<std::string, FileTime> times_;
  size_t followed_directories_ = 0;
  uint64_t unfolded_ = 0;        // entries that are links, or below them
  uint64_t unfolded_bytes_ = 0;  // of their paths
  int links_deep_ = 0;           // links to directories on the way to here
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

Status SetMtime(int file, const FileTime& time, const std::string& path) {
  const std::array<timespec, 2> times = {timespec{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                                         timespec{.tv_sec = time.s, .tv_nsec = time.ns}};
  if (::futimens(file, times.data()) != 0) return ErrnoError(errno, "set the time of " + path);
  return OkStatus();
}

}  // namespace

Result<IngestedTree> IngestDirectory(LocalStore& store, const std::string& directory, Epoch epoch,
                                     const LocalStore::Progress& progress, const IngestOptions& options) {
  ASSIGN_OR_RETURN(SourceDirectory source, SourceDirectory::Open(directory));
  Walk walk(source, options);
  RETURN_IF_ERROR(walk.Run());
  // Names and kinds are judged before the first byte is stored.
  ASSIGN_OR_RETURN(const std::vector<StoredFile> stored,
                   store.ImportAll(source, walk.sources(), epoch, progress));
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
  ASSIGN_OR_RETURN(ingested.times, TimesOf(ingested.tree, walk.times()));
  ASSIGN_OR_RETURN(ingested.digest, PutTree(store, ingested.tree, epoch));
  return ingested;
}

Result<TreeTimes> TimesOf(const Tree& tree, const std::unordered_map<std::string, FileTime>& by_path) {
  std::vector<FileTime> times;
  times.reserve(tree.file_count());
  for (const TreeEntry& entry : tree.entries()) {
    if (entry.kind == EntryKind::kFile) times.push_back(by_path.at(entry.path));
  }
  return TreeTimes::Make(std::move(times));
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

Status ExportTree(BlobStore& store, const Tree& tree, const TreeTimes& times, const std::string& directory,
                  const LocalStore::Progress& progress) {
  CHECK(times.times().size() == tree.file_count());
  ASSIGN_OR_RETURN(TargetDirectory target, TargetDirectory::Open(directory));
  uint64_t done = 0;
  size_t file = 0;
  for (const TreeEntry& entry : tree.entries()) {
    if (entry.kind != EntryKind::kFile) {
      RETURN_IF_ERROR(target.MakeDirectory(entry.path));
      continue;
    }
    ASSIGN_OR_RETURN(const std::shared_ptr<OpenBlob> blob, store.Open(entry.blob));
    ASSIGN_OR_RETURN(const Fd out, target.CreateFile(entry.path, entry.executable ? 0777 : 0666));
    const std::string path = directory + "/" + entry.path;
    RETURN_IF_ERROR(CopyBlob(*blob, out.get(), path));
    RETURN_IF_ERROR(SetMtime(out.get(), times.times()[file++], path));
    done += entry.blob.size_bytes;
    if (progress) progress(done);
  }
  return target.Finish();
}

}  // namespace modelfs::cas
