#include "cas/local/import_directory.h"

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
#include "cas/local/source_directory.h"
#include "cas/tree_store.h"

namespace modelfs::cas {
namespace {

constexpr uint32_t kOwnerExecutes = 0100;

// The most symlinks to directories that are followed. A link that is met again counts again, because its
// target is stored again. Without a limit, a few links to each other's folders would be walked for ever.
// Users have a handful.
constexpr size_t kMostFollowedDirectories = 10'000;

std::string_view KindOf(uint32_t mode) {
  if (S_ISCHR(mode)) return "a character device";
  if (S_ISBLK(mode)) return "a block device";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "not a regular file";
}

std::string Join(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : fmt::format("{}/{}", folder, name);
}

// The result of a walk over a directory. A file or folder has two paths: its path in the tree, and its real
// path. They differ below a symlink that was followed.
class Walk {
 public:
  Walk(SourceDirectory& source, const ImportOptions& options) : source_(source), options_(options) {}

  Status Run() {
    ASSIGN_OR_RETURN(const FileInfo info, source_.Stat(""));
    return Directory("", "", info);
  }

  std::vector<TreeEntry> TakeEntries() { return std::move(entries_); }
  // The real paths of the files among the entries, in their order.
  const std::vector<std::string>& sources() const { return sources_; }
  // The files' times, by their paths in the tree.
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
    // Also counts the directories that hold others, as Tree does; without this limit a walk may never end.
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
                     fmt::format("{}: up to here, symlinks to directories were followed {} times, and their "
                                 "targets are stored again each time; remove them",
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
        fmt::format(
            "{}: up to here, the symlinks unfold to more than {} files and directories, or to paths of "
            "more than {} MiB together; remove links to directories",
            relative, options_.most_unfolded, kMostUnfoldedBytes >> 20U));
  }

  SourceDirectory& source_;
  const ImportOptions& options_;
  std::vector<Identity> ancestors_;
  std::vector<TreeEntry> entries_;
  std::vector<std::string> sources_;
  size_t nodes_ = 1;  // the directory itself
  std::unordered_map<std::string, FileTime> times_;
  size_t followed_directories_ = 0;
  uint64_t unfolded_ = 0;        // entries that are links or lie below links
  uint64_t unfolded_bytes_ = 0;  // of their paths
  int links_deep_ = 0;           // links to directories on the way to this entry
};

}  // namespace

Result<ImportedTree> ImportDirectory(LocalStore& store, const std::string& directory, Epoch epoch,
                                     const LocalStore::Progress& progress, const ImportOptions& options) {
  ASSIGN_OR_RETURN(SourceDirectory source, SourceDirectory::Open(directory));
  Walk walk(source, options);
  RETURN_IF_ERROR(walk.Run());
  // All names and types are checked before the first byte is stored.
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
  ImportedTree imported;
  ASSIGN_OR_RETURN(imported.tree, Tree::Make(std::move(entries)));
  ASSIGN_OR_RETURN(imported.times, TimesOf(imported.tree, walk.times()));
  ASSIGN_OR_RETURN(imported.digest, PutTree(store, imported.tree, epoch));
  return imported;
}

}  // namespace modelfs::cas
