#include <fmt/core.h>
#include <sys/stat.h>

#include <unordered_map>

#include "cas/base/fail_point.h"
#include "cas/base/text.h"
#include "cas/drafts/draft.h"
#include "cas/tree_store.h"

namespace modelfs::cas {
namespace {

// Seal hashes smaller files itself, several at once. That is not slower, and leaves the cores to the writer.
constexpr uint64_t kHashEarlyBytes = uint64_t{1} << 20U;

Error StillRefused(const std::string& path, std::string_view what) {
  return {
      Code::kInvalidArgument,
      fmt::format(
          "{0}: a program wanted to make {1} here, which was refused, and no file has got that name since: a "
          "version would lack it; make the file, or give the name up (touch it, then rm it)",
          Printable(path), what)};
}

}  // namespace

bool DraftImpl::IsWorthHashing(const FileInfo& info) {
  return S_ISREG(info.mode) && info.size_bytes >= kHashEarlyBytes;
}

std::optional<HashedFile> DraftImpl::HashEarly(DraftNode file, const std::stop_token& stop) {
  {
    MutexLock lock(names_mu_);
    if (nameless_.contains(file)) return std::nullopt;  // removed, then closed: no Seal needs it
  }
  const Result<FileInfo> info = StatNode(file);
  if (!info.ok() || !IsWorthHashing(*info)) return std::nullopt;
  Result<HashedFile> hashed = blobs_.HashFile(NodePath(file), stop);
  if (!hashed.ok()) return std::nullopt;  // changed, removed or stopped meanwhile: Seal reports errors
  return *std::move(hashed);
}

Result<DraftNames> DraftImpl::AllNames() {
  DraftNames names;
  RETURN_IF_ERROR(TakeNames(kDraftRoot, "", names));
  MutexLock lock(names_mu_);
  for (const Refusal& refusal : refused_) {
    if (!names.directories.contains(refusal.directory)) continue;
    if (!NameAt(refusal.directory, refusal.name).ok()) return StillRefused(refusal.name, refusal.what);
  }
  refused_.clear();
  return names;
}

Status DraftImpl::TakeNames(DraftNode directory, const std::string& path, DraftNames& names) {
  ASSIGN_OR_RETURN(std::vector<Named> found, NamesIn(directory));
  std::vector<DraftEntry> entries;
  std::vector<std::pair<DraftNode, std::string>> below;
  entries.reserve(found.size());
  for (Named& named : found) {
    const std::string entry_path = path + named.name;
    if (!named.refused.empty()) return StillRefused(entry_path, named.refused);
    const EntryTarget& target = named.target;
    if (target.kind == DraftKind::kLink && !names.link_texts.contains(target.node)) {
      ASSIGN_OR_RETURN(std::string text, ReadLink(target.node));
      names.link_texts.emplace(target.node, std::move(text));
    }
    if (target.kind == DraftKind::kDirectory) below.emplace_back(target.node, entry_path + "/");
    entries.push_back({.name = std::move(named.name), .node = target.node, .kind = target.kind});
  }
  names.directories[directory].entries = std::move(entries);
  for (const auto& [node, below_path] : below) {
    names.directories[node].parent = directory;
    RETURN_IF_ERROR(TakeNames(node, below_path, names));
  }
  return OkStatus();
}

Status DraftImpl::BeginSeal() {
  {
    MutexLock names(names_mu_);
    MutexLock lock(state_mu_);
    if (sealed_) return Sealed();
    if (const size_t writers = NamedWriters().size(); writers > 0) {
      return Error(
          Code::kFailedPrecondition,
          fmt::format("{} of the draft's files are still open for writing; close them first", writers));
    }
    sealed_ = true;
  }
  // The changes under way may need `names_mu_`, so it is released before this wait.
  MutexLock lock(state_mu_);
  while (changes_ > 0) state_changed_.Wait(state_mu_);
  return OkStatus();
}

Result<SealedDraft> DraftImpl::Seal(Epoch epoch, const LocalStore::Progress& progress,
                                    const std::stop_token& stop) {
  RETURN_IF_ERROR(BeginSeal());
  std::vector<SealedFile> published;
  Result<SealedDraft> sealed = SealFiles(epoch, progress, stop, published);
  if (!sealed.ok()) TakeBack(published);
  // Files may be blobs now, even after a failure, so no descriptor from before may be written to.
  ++seals_;
  if (!sealed.ok()) {
    MutexLock lock(state_mu_);
    sealed_ = retired_;
  }
  if (!sealed.ok() && sealed.error().code() == Code::kCancelled) {
    // A new attempt, perhaps between two signals, then finds more of it done.
    for (const SealedFile& file : published) hashes_.Closed(file.node);
  }
  return sealed;
}

Result<SealedDraft> DraftImpl::SealFiles(Epoch epoch, const LocalStore::Progress& progress,
                                         const std::stop_token& stop, std::vector<SealedFile>& published) {
  const std::unordered_map<DraftNode, HashedFile> known = hashes_.Settle(stop);
  if (stop.stop_requested()) return Error(Code::kCancelled, "sealing the draft was stopped");
  ASSIGN_OR_RETURN(const DraftNames names, AllNames());
  ASSIGN_OR_RETURN(UnfoldedNames unfolded, Unfold(names));
  std::vector<TreeEntry> entries;
  std::unordered_map<std::string, FileTime> mtimes;  // by path
  std::vector<PublishItem> items;
  std::unordered_map<DraftNode, SealInput> inputs;
  std::vector<DraftNode> file_nodes;  // of the entries for files
  for (UnfoldedEntry& at : unfolded.leaves) {
    TreeEntry& entry = entries.emplace_back();
    entry.path = std::move(at.path);
    if (at.directory) {
      entry.kind = EntryKind::kEmptyDirectory;
      continue;
    }
    if (!inputs.contains(at.node)) {
      Result<SealInput> input = InputOf(at.node, entry.path, epoch, stop);
      if (!input.ok()) return input.error();
      if (!input->stored.has_value()) {
        const auto hashed = known.find(at.node);
        input->item = items.size();
        items.push_back({.source_path = NodePath(at.node),
                         .known = hashed == known.end() ? std::nullopt : std::optional(hashed->second)});
        published.push_back({.node = at.node,
                             .blob = Digest{},
                             .executable = input->attr.executable,
                             .mtime_s = input->attr.mtime_s,
                             .mtime_ns = input->attr.mtime_ns});
      }
      inputs.emplace(at.node, *std::move(input));
    }
    const SealInput& input = inputs.at(at.node);
    entry.executable = input.attr.executable;
    mtimes.emplace(entry.path,
                   FileTime{.s = input.attr.mtime_s, .ns = static_cast<uint32_t>(input.attr.mtime_ns)});
    file_nodes.push_back(at.node);
  }
  if (file_nodes.empty()) return Error(Code::kNotFound, "the draft holds no file");
  FAIL_POINT("seal.walked");
  RETURN_IF_ERROR(KeepTimes(published));
  ASSIGN_OR_RETURN(const std::vector<StoredFile> stored, blobs_.PublishAll(items, epoch, progress, stop));
  FAIL_POINT("seal.published");
  for (size_t i = 0; i < stored.size(); ++i) published[i].blob = stored[i].blob;
  auto node = file_nodes.begin();
  for (TreeEntry& entry : entries) {
    if (entry.kind != EntryKind::kFile) continue;
    const SealInput& input = inputs.at(*node++);
    const StoredFile& file = input.stored.has_value() ? *input.stored : stored[input.item];
    entry.blob = file.blob;
    entry.chunk_list = file.chunk_list;
  }
  ASSIGN_OR_RETURN(const Tree tree, Tree::Make(std::move(entries)));
  SealedDraft sealed;
  ASSIGN_OR_RETURN(sealed.tree, PutTree(blobs_, tree, epoch));
  FAIL_POINT("seal.stored");
  ASSIGN_OR_RETURN(sealed.times, TimesOf(tree, mtimes));
  for (UnfoldedEntry& directory : unfolded.directories) {
    sealed.directories.push_back({.path = std::move(directory.path), .node = directory.node});
  }
  MutexLock lock(state_mu_);
  for (const SealedFile& file : published) sealed_files_.emplace(file.node, file);
  return sealed;
}

Result<DraftImpl::SealInput> DraftImpl::InputOf(DraftNode node, const std::string& path, Epoch epoch,
                                                const std::stop_token& stop) {
  SealInput input;
  ASSIGN_OR_RETURN(input.attr, GetAttr(node));
  if (input.attr.lost_bytes) return LostSomeBytes(path);
  const std::optional<Digest>& shares = input.attr.shares;
  if (shares.has_value() && input.attr.size_bytes == shares->size_bytes) {
    Result<StoredFile> stored = blobs_.ReuseFile(*shares, epoch, stop);
    if (!stored.ok()) return stored.error().Wrap(path);
    input.stored = *std::move(stored);
    return input;
  }
  if (shares.has_value()) {
    // The beginning of a blob is a blob of its own.
    ASSIGN_OR_RETURN(const std::shared_ptr<OpenNode> open, OpenShared(node));
    RETURN_IF_ERROR(EnsureOwn(*open, UINT64_MAX));
  }
  return input;
}

Status DraftImpl::KeepTimes(const std::vector<SealedFile>& files) {
  if (files.empty()) return OkStatus();
  DraftTimes times;
  for (const SealedFile& file : files) {
    times.emplace(file.node, timespec{.tv_sec = file.mtime_s, .tv_nsec = file.mtime_ns});
  }
  RETURN_IF_ERROR(ReplaceFile("times", EncodeTimes(times), Durability::kPowerCut));
  MutexLock lock(state_mu_);
  times_ = std::move(times);
  return OkStatus();
}

void DraftImpl::Unseal() {
  std::unordered_map<DraftNode, SealedFile> files;
  {
    MutexLock lock(state_mu_);
    if (retired_ || !sealed_) return;
    files = std::move(sealed_files_);
    sealed_files_.clear();
  }
  for (const auto& [node, file] : files) Share(file);
  MutexLock lock(state_mu_);
  sealed_ = false;
}

void DraftImpl::Share(const SealedFile& file) {
  const ShareMarker marker = {
      .blob = file.blob, .length_bytes = file.blob.size_bytes, .executable = file.executable};
  const std::string path = NodePath(file.node);
  // The old name is a link of the blob's file; UnlinkOtherName removes it so that the blob stays verified.
  const std::string other = path + ".new";
  if (!files_.Symlink(marker.Encode(), other).ok()) return;
  // Two steps; a kill between them breaks nothing, because Recover finishes the exchange.
  Status exchanged = files_.SetTimes(other, {.mtime = MtimeOf(file)});
  if (exchanged.ok()) exchanged = files_.Exchange(other, path);
  if (!exchanged.ok()) {
    files_.Unlink(other).IgnoreError("Recover removes it");
    return;
  }
  blobs_.UnlinkOtherName(other, file.blob).IgnoreError("Recover removes it");
}

void DraftImpl::TakeBack(std::vector<SealedFile>& published) {
  for (SealedFile& file : published) {
    const std::string path = NodePath(file.node);
    const Result<FileInfo> info = StatNode(file.node);
    // Publishing makes a file read-only and sets its mtime to the epoch, before it adds a name in the store.
    if (!info.ok() || !IsPublished(*info)) continue;
    if (info->links > 1) {
      const Result<HashedFile> hashed = blobs_.HashFile(path);
      if (!hashed.ok()) continue;
      file.blob = hashed->stored.blob;
      const Result<FileInfo> blob = files_.Stat(blobs_.ObjectPath(file.blob));
      if (blob.ok() && blob->device == info->device && blob->inode == info->inode) {
        Share(file);
        continue;
      }
    }
    files_.SetTimes(path, {.mtime = MtimeOf(file)})
        .IgnoreError("if it stays read-only, `times` has its time");
    files_.SetMode(path, file.executable ? kOwnExecutableMode : kOwnMode)
        .IgnoreError("the first write copies it");
  }
}

}  // namespace modelfs::cas
