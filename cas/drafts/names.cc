#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>

#include "cas/base/codec.h"
#include "cas/base/text.h"
#include "cas/drafts/draft.h"

namespace modelfs::cas {
namespace {

// A temporary name in a directory; it then replaces another. No file can have it, like kParentName.
constexpr std::string_view kTemporaryName = "\x01new";

uint64_t Blocks512(uint64_t bytes) { return (bytes + 511) / 512; }

}  // namespace

Result<FileInfo> DraftImpl::StatNode(DraftNode node) const {
  Result<FileInfo> info = files_.Stat(NodePath(node));
  if (!info.ok()) return info.error().Wrap(fmt::format("node {} of draft {}", node, number_));
  return info;
}

Result<ShareMarker> DraftImpl::MarkerOf(DraftNode node) const {
  ASSIGN_OR_RETURN(const std::string target, files_.ReadLink(NodePath(node)));
  return ShareMarker::Decode(target);
}

Result<DraftAttr> DraftImpl::GetAttr(DraftNode node) {
  ASSIGN_OR_RETURN(const FileInfo info, StatNode(node));
  DraftAttr attr;
  attr.mtime_s = info.mtime_s;
  attr.mtime_ns = info.mtime_ns;
  if (S_ISDIR(info.mode)) {
    attr.kind = DraftKind::kDirectory;
    return attr;
  }
  std::optional<std::string> target;
  if (S_ISLNK(info.mode)) {
    Result<std::string> read = files_.ReadLink(NodePath(node));
    // A write has copied it since the stat: look again.
    if (!read.ok() && read.error().code() == Code::kNotFound) return GetAttr(node);
    if (!read.ok()) return read.error();
    target = *std::move(read);
  }
  MutexLock lock(state_mu_);
  if (const auto several = links_.find(node); several != links_.end()) attr.links = several->second;
  attr.lost_bytes = lost_.contains(node);
  if (target.has_value()) {
    if (const std::optional<std::string> text = DecodeLinkNode(*target); text.has_value()) {
      attr.kind = DraftKind::kLink;
      attr.size_bytes = text->size();
      return attr;
    }
    ASSIGN_OR_RETURN(const ShareMarker marker, ShareMarker::Decode(*target));
    attr.executable = marker.executable;
    attr.size_bytes = marker.length_bytes;
    attr.blocks_512 = Blocks512(marker.length_bytes);
    attr.shares = marker.blob;
    return attr;
  }
  attr.executable = (info.mode & kOwnerExecutes) != 0;
  attr.size_bytes = info.size_bytes;
  attr.blocks_512 = info.blocks_512;
  if (IsPublished(info)) {
    const auto kept = times_.find(node);
    // Published by a build that saved no times: the ctime is close to the time of publishing.
    attr.mtime_s = kept == times_.end() ? info.ctime_s : kept->second.tv_sec;
    attr.mtime_ns = kept == times_.end() ? info.ctime_ns : kept->second.tv_nsec;
  }
  if (const auto at = sealed_files_.find(node); at != sealed_files_.end()) attr.shares = at->second.blob;
  return attr;
}

bool DraftImpl::IsPublished(const FileInfo& info) {
  return S_ISREG(info.mode) && (info.mode & kOwnerWrites) == 0;
}

Result<DraftImpl::Named> DraftImpl::NameAt(DraftNode directory, std::string_view name) const {
  RETURN_IF_ERROR(CheckPathComponent(name));
  Result<std::string> target = files_.ReadLink(NamePath(directory, name));
  if (!target.ok()) {
    if (target.error().code() != Code::kNotFound) return target.error();
    return Error(Code::kNotFound, fmt::format("{}: no such file in the draft", Printable(name)));
  }
  Named named;
  named.name = name;
  if (std::optional<std::string> refused = DecodeRefused(*target); refused.has_value()) {
    named.refused = *std::move(refused);
    return named;
  }
  ASSIGN_OR_RETURN(named.target, EntryTarget::Decode(*target));
  return named;
}

Result<std::vector<DraftImpl::Named>> DraftImpl::NamesIn(DraftNode directory) const {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(NodePath(directory)));
  std::vector<Named> found;
  found.reserve(names.size());
  for (const std::string& name : names) {
    // The link to the parent, or a temporary one.
    if (name.starts_with(kParentName)) continue;
    Result<Named> named = NameAt(directory, name);
    if (!named.ok() && named.error().code() == Code::kNotFound) continue;  // removed since it was listed
    if (!named.ok()) return named.error();
    found.push_back(*std::move(named));
  }
  std::sort(found.begin(), found.end(), [](const Named& a, const Named& b) { return a.name < b.name; });
  return found;
}

Result<DraftEntry> DraftImpl::Lookup(DraftNode directory, std::string_view name) {
  ASSIGN_OR_RETURN(Named named, NameAt(directory, name));
  if (!named.refused.empty()) {
    return Error(Code::kNotFound, fmt::format("{}: {} was refused here, and no file has the name",
                                              Printable(name), named.refused));
  }
  return DraftEntry{.name = std::move(named.name), .node = named.target.node, .kind = named.target.kind};
}

Result<std::vector<DraftEntry>> DraftImpl::List(DraftNode directory) {
  ASSIGN_OR_RETURN(std::vector<Named> names, NamesIn(directory));
  std::vector<DraftEntry> entries;
  entries.reserve(names.size());
  for (Named& named : names) {
    if (!named.refused.empty()) continue;
    entries.push_back({.name = std::move(named.name), .node = named.target.node, .kind = named.target.kind});
  }
  return entries;
}

Result<DraftNode> DraftImpl::Parent(DraftNode directory) {
  if (directory == kDraftRoot) return kDraftRoot;
  ASSIGN_OR_RETURN(const std::string target, files_.ReadLink(NamePath(directory, kParentName)));
  const std::optional<uint64_t> parent = ParseDecimal(target);
  if (!parent.has_value() || *parent > UINT32_MAX) {
    return Error(Code::kDataLoss, fmt::format("draft {}: node {} has no parent", number_, directory));
  }
  return static_cast<DraftNode>(*parent);
}

Status DraftImpl::CheckDirectory(DraftNode directory) {
  if (nameless_.contains(directory)) {
    return Error(Code::kNotFound, "the directory was removed");
  }
  ASSIGN_OR_RETURN(const FileInfo info, StatNode(directory));
  if (!S_ISDIR(info.mode)) return Error(Code::kNotFound, "is not a directory");
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
  const std::string path = NamePath(directory, name);
  Status made = files_.Symlink(target.Encode(), path);
  if (!made.ok() && made.error().code() == Code::kAlreadyExists) {
    const Result<Named> there = NameAt(directory, name);
    if (!there.ok() || there->refused.empty()) {
      return Error(Code::kAlreadyExists, Printable(name) + ": exists already");
    }
    made = ReplaceBySymlink(files_, target.Encode(), path, NamePath(directory, kTemporaryName));
  }
  if (!made.ok()) return made.error().Wrap(Printable(name));
  return OkStatus();
}

Result<DraftEntry> DraftImpl::MakeFile(DraftNode directory, std::string_view name, bool executable) {
  RETURN_IF_ERROR(CheckPathComponent(name));
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  MutexLock lock(names_mu_);
  RETURN_IF_ERROR(CheckDirectory(directory));
  const DraftNode node = next_node_.fetch_add(1);
  const std::string path = NodePath(node);
  RETURN_IF_ERROR(files_.Create(path, executable ? kOwnExecutableMode : kOwnMode));
  return NameNode(directory, name, {.node = node, .kind = DraftKind::kFile});
}

Result<DraftEntry> DraftImpl::NameNode(DraftNode directory, std::string_view name,
                                       const EntryTarget& target) {
  if (Status named = AddName(directory, name, target); !named.ok()) {
    files_.RemoveTree(NodePath(target.node)).IgnoreError("no name leads there; the next start removes it");
    return named.error();
  }
  return DraftEntry{.name = std::string(name), .node = target.node, .kind = target.kind};
}

Result<DraftEntry> DraftImpl::MakeDirectory(DraftNode directory, std::string_view name) {
  RETURN_IF_ERROR(CheckPathComponent(name));
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  MutexLock lock(names_mu_);
  RETURN_IF_ERROR(CheckDirectory(directory));
  const DraftNode node = next_node_.fetch_add(1);
  const std::string path = NodePath(node);
  RETURN_IF_ERROR(files_.MakeDirectory(path));
  if (Status up = files_.Symlink(std::to_string(directory), NamePath(node, kParentName)); !up.ok()) {
    files_.RemoveDirectory(path).IgnoreError("no name leads there; the next start removes it");
    return up.error();
  }
  return NameNode(directory, name, {.node = node, .kind = DraftKind::kDirectory});
}

Result<DraftEntry> DraftImpl::MakeLink(DraftNode directory, std::string_view name, std::string_view text) {
  RETURN_IF_ERROR(CheckPathComponent(name));
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  MutexLock lock(names_mu_);
  RETURN_IF_ERROR(CheckDirectory(directory));
  const DraftNode node = next_node_.fetch_add(1);
  if (Status made = files_.Symlink(EncodeLinkNode(text), NodePath(node)); !made.ok()) {
    return made.error().Wrap(fmt::format("{}: a link of {} bytes", Printable(name), text.size()));
  }
  return NameNode(directory, name, {.node = node, .kind = DraftKind::kLink});
}

Result<std::string> DraftImpl::ReadLink(DraftNode link) {
  ASSIGN_OR_RETURN(const std::string target, files_.ReadLink(NodePath(link)));
  std::optional<std::string> text = DecodeLinkNode(target);
  if (!text.has_value()) return Error(Code::kInvalidArgument, "is not a symbolic link");
  return *std::move(text);
}

Result<DraftEntry> DraftImpl::AddLink(DraftNode node, DraftNode directory, std::string_view name) {
  RETURN_IF_ERROR(CheckPathComponent(name));
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  MutexLock lock(names_mu_);
  RETURN_IF_ERROR(CheckDirectory(directory));
  if (nameless_.contains(node)) return Error(Code::kNotFound, "the file was removed");
  ASSIGN_OR_RETURN(const DraftAttr attr, GetAttr(node));
  if (attr.kind == DraftKind::kDirectory) {
    return Error(Code::kInvalidArgument, "a directory cannot have a second name (hard link)");
  }
  RETURN_IF_ERROR(AddName(directory, name, {.node = node, .kind = attr.kind}));
  MutexLock state(state_mu_);
  links_.try_emplace(node, 1).first->second += 1;
  return DraftEntry{.name = std::string(name), .node = node, .kind = attr.kind};
}

void DraftImpl::NoteRefused(DraftNode directory, std::string_view name, std::string_view what) {
  if (!CheckPathComponent(name).ok()) return;
  const Result<Change> change = Change::Begin(*this);
  if (!change.ok()) return;
  MutexLock lock(names_mu_);
  if (!CheckDirectory(directory).ok()) return;
  const Status noted = files_.Symlink(EncodeRefused(what), NamePath(directory, name));
  if (noted.ok() || noted.error().code() == Code::kAlreadyExists) return;
  refused_.push_back({.directory = directory, .name = std::string(name), .what = std::string(what)});
}

Status DraftImpl::RemoveFile(DraftNode directory, std::string_view name) {
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  MutexLock lock(names_mu_);
  ASSIGN_OR_RETURN(const DraftEntry entry, Lookup(directory, name));
  if (entry.kind == DraftKind::kDirectory) {
    return Error(Code::kInvalidArgument, Printable(name) + ": is a directory");
  }
  RETURN_IF_ERROR(files_.Unlink(NamePath(directory, name)));
  NameGone(entry.node);
  return OkStatus();
}

void DraftImpl::NameGone(DraftNode node) {
  {
    MutexLock lock(state_mu_);
    if (const auto several = links_.find(node); several != links_.end()) {
      if (--several->second < 2) links_.erase(several);
      return;
    }
  }
  nameless_.insert(node);
  hashes_.Removed(node);
}

Status DraftImpl::SetParent(DraftNode directory, DraftNode parent) {
  return ReplaceBySymlink(files_, std::to_string(parent), NamePath(directory, kParentName),
                          NamePath(directory, kTemporaryName));
}

Status DraftImpl::RemoveDirectory(DraftNode directory, std::string_view name) {
  ASSIGN_OR_RETURN(const Change change, Change::Begin(*this));
  MutexLock lock(names_mu_);
  ASSIGN_OR_RETURN(const DraftEntry entry, Lookup(directory, name));
  if (entry.kind != DraftKind::kDirectory) {
    return Error(Code::kNotFound, Printable(name) + ": is not a directory");
  }
  ASSIGN_OR_RETURN(const bool empty, IsEmptyDirectory(entry.node));
  if (!empty) return Error(Code::kFailedPrecondition, Printable(name) + ": the directory is not empty");
  RETURN_IF_ERROR(files_.Unlink(NamePath(directory, name)));
  NameGone(entry.node);
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
  const bool from_directory_moves = from.kind == DraftKind::kDirectory;
  const bool to_is_directory = to.ok() && to->kind == DraftKind::kDirectory;
  const auto is_inside = [&](DraftNode directory, DraftNode of) -> Result<bool> {
    while (directory != of && directory != kDraftRoot) {
      ASSIGN_OR_RETURN(directory, Parent(directory));
    }
    return directory == of;
  };
  if (from_directory_moves) {
    ASSIGN_OR_RETURN(const bool loop, is_inside(to_directory, from.node));
    if (loop) return Error(Code::kInvalidArgument, "a directory cannot be moved into itself");
  }
  if (mode == RenameMode::kExchange && to_is_directory) {
    ASSIGN_OR_RETURN(const bool loop, is_inside(from_directory, to->node));
    if (loop) return Error(Code::kInvalidArgument, "a directory cannot be moved into itself");
  }
  if (mode == RenameMode::kReplace && to.ok()) {
    if (from_directory_moves && !to_is_directory) {
      return Error(Code::kNotFound, Printable(to_name) + ": is not a directory");
    }
    if (!from_directory_moves && to_is_directory) {
      return Error(Code::kInvalidArgument, Printable(to_name) + ": is a directory");
    }
    if (to_is_directory) {
      ASSIGN_OR_RETURN(const bool empty, IsEmptyDirectory(to->node));
      if (!empty)
        return Error(Code::kFailedPrecondition, Printable(to_name) + ": the directory is not empty");
    }
  }
  // Before the names move, so that a full disk is noticed before anything changed. If the process is killed
  // here, Recover repairs the parents.
  const bool moves = from_directory != to_directory;
  const auto set_parents = [&](DraftNode of_from, DraftNode of_to) -> Status {
    if (moves && from_directory_moves) RETURN_IF_ERROR(SetParent(from.node, of_from));
    if (moves && mode == RenameMode::kExchange && to_is_directory) return SetParent(to->node, of_to);
    return OkStatus();
  };
  const std::string from_path = NamePath(from_directory, from_name);
  const std::string to_path = NamePath(to_directory, to_name);
  Status renamed = set_parents(to_directory, from_directory);
  if (renamed.ok()) {
    renamed = mode == RenameMode::kExchange ? files_.Exchange(from_path, to_path)
                                            : files_.Rename(from_path, to_path);
  }
  if (!renamed.ok()) {
    set_parents(from_directory, to_directory).IgnoreError("the next start repairs it");
    return renamed.error().Wrap("rename " + Printable(from_name));
  }
  if (mode == RenameMode::kReplace && to.ok()) NameGone(to->node);
  return OkStatus();
}

void DraftImpl::Forget(DraftNode node) {
  MutexLock lock(names_mu_);
  if (nameless_.erase(node) == 0) return;
  DropName(node);
  files_.RemoveTree(NodePath(node))
      .IgnoreError("it is unreachable; the next start or the end of the draft removes it");
}

}  // namespace modelfs::cas
