#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "cas/base/text.h"
#include "cas/draft_impl.h"

namespace modelfs::cas {
namespace {

uint64_t Blocks512(uint64_t bytes) { return (bytes + 511) / 512; }

}  // namespace

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
    MutexLock lock(state_mu_);
    attr.lost_bytes = lost_.contains(node);
    return attr;
  }
  attr.executable = (info.st_mode & kOwnerExecutes) != 0;
  attr.size_bytes = static_cast<uint64_t>(info.st_size);
  attr.blocks_512 = static_cast<uint64_t>(info.st_blocks);
  MutexLock lock(state_mu_);
  attr.lost_bytes = lost_.contains(node);
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
  lost_.erase(node);
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
  hashes_.Removed(entry.node);
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
  if (mode == RenameMode::kReplace && to.ok()) {
    nameless_.insert(to->node);
    hashes_.Removed(to->node);
  }
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

}  // namespace modelfs::cas
