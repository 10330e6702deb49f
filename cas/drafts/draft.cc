#include "cas/drafts/draft.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>

#include "cas/base/codec.h"

namespace modelfs::cas {

Error Sealed() {
  return {Code::kFailedPrecondition, "the draft is being committed and takes no more changes"};
}

Error LostSomeBytes(std::string_view file) {
  return {Code::kDataLoss,
          fmt::format(
              "{}: bytes that a program wrote to this file through a mapping are lost, as the disk did not "
              "take them when the kernel wrote them back (was it full?); make room, then write the whole "
              "file again (cp, or truncate it to nothing first), or remove it",
              file)};
}

Status WriteFully(EditableFile& file, uint64_t offset_bytes, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ASSIGN_OR_RETURN(const size_t count, file.WriteAt(offset_bytes, bytes));
    offset_bytes += count;
    bytes = bytes.subspan(count);
  }
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
  hashes_.Stop();
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

std::vector<DraftNode> DraftImpl::OpenForWriting() {
  MutexLock names(names_mu_);
  MutexLock lock(state_mu_);
  return NamedWriters();
}

std::vector<DraftNode> DraftImpl::NamedWriters() {
  std::vector<DraftNode> files;
  for (const auto& [node, weak] : open_) {
    const std::shared_ptr<OpenNode> open = weak.lock();
    if (open != nullptr && open->writers > 0 && !nameless_.contains(node)) files.push_back(node);
  }
  return files;
}

const std::string& DraftImpl::label() const {
  MutexLock lock(label_mu_);
  return labels_.back();
}

Status DraftImpl::SetLabel(const std::string& label) {
  MutexLock lock(label_mu_);
  RETURN_IF_ERROR(ReplaceFile("label", label, Durability::kRestart));
  labels_.push_back(label);
  return OkStatus();
}

Status DraftImpl::Begin() {
  RETURN_IF_ERROR(ReplaceFile("format", std::string(kDraftFormat), Durability::kRestart));
  // Last, because a draft is one once it has a label.
  return SetLabel(label());
}

Status DraftImpl::ReplaceFile(std::string_view name, const std::string& bytes, Durability durability) {
  const std::string path = fmt::format("{}/{}", path_, name);
  const std::string temporary = path + ".new";
  Result<std::unique_ptr<WritableFile>> file = files_.Create(temporary, kOwnMode);
  if (!file.ok() && file.error().code() == Code::kAlreadyExists) {
    // Left by a process that was killed here.
    RETURN_IF_ERROR(files_.Unlink(temporary));
    file = files_.Create(temporary, kOwnMode);
  }
  if (!file.ok()) return file.error();
  RETURN_IF_ERROR((*file)->Append(std::as_bytes(std::span(bytes))));
  if (durability == Durability::kPowerCut) RETURN_IF_ERROR((*file)->Sync());
  RETURN_IF_ERROR(files_.Rename(temporary, path));
  if (durability == Durability::kPowerCut) return files_.SyncDirectory(path_);
  return OkStatus();
}

// --- recovery ---

Status DraftImpl::Recover() {
  // First, before any data of the current format is in the draft.
  constexpr uint64_t kMostFormatBytes = 256;
  const Result<std::string> format = files_.ReadAll(path_ + "/format", kMostFormatBytes);
  if (!format.ok() && format.error().code() != Code::kNotFound) return format.error();
  if (format.value_or("") != kDraftFormat) {
    RETURN_IF_ERROR(ReplaceFile("format", std::string(kDraftFormat), Durability::kRestart));
  }
  ASSIGN_OR_RETURN(const DraftTimes times, KeptTimes());
  ASSIGN_OR_RETURN(const std::vector<std::string> present, files_.List(path_ + "/n"));
  std::unordered_map<DraftNode, uint32_t> names = {{kDraftRoot, 1}};
  std::vector<DraftNode> directories = {kDraftRoot};
  while (!directories.empty()) {
    const DraftNode directory = directories.back();
    directories.pop_back();
    ASSIGN_OR_RETURN(const std::vector<DraftEntry> entries, List(directory));
    for (const DraftEntry& entry : entries) {
      ASSIGN_OR_RETURN(const bool found_first, RecoverName(directory, entry, names));
      if (found_first && entry.kind == DraftKind::kDirectory) directories.push_back(entry.node);
    }
  }
  DraftNode highest = 0;
  for (const std::string& name : present) {
    const std::optional<uint64_t> node = ParseDecimal(name);
    if (node.has_value() && *node <= UINT32_MAX) highest = std::max(highest, static_cast<DraftNode>(*node));
    if (node.has_value() && names.contains(static_cast<DraftNode>(*node))) continue;
    files_.RemoveTree(nodes_ + name).IgnoreError("no name leads there; it is removed with the draft");
  }
  next_node_ = highest + 1;
  MutexLock lock(state_mu_);
  times_ = times;
  std::erase_if(names, [](const auto& node) { return node.second < 2; });
  links_ = std::move(names);
  return OkStatus();
}

Result<DraftTimes> DraftImpl::KeptTimes() {
  // Enough for all nodes that a draft can have.
  constexpr uint64_t kMostBytes = uint64_t{1} << 30U;
  const Result<std::string> encoded = files_.ReadAll(path_ + "/times", kMostBytes);
  if (!encoded.ok()) {
    if (encoded.error().code() == Code::kNotFound) return DraftTimes();
    return encoded.error();
  }
  // A damaged file costs only times, which is no reason to withhold the files.
  return DecodeTimes(*encoded).value_or(DraftTimes());
}

Result<bool> DraftImpl::RecoverName(DraftNode directory, const DraftEntry& entry,
                                    std::unordered_map<DraftNode, uint32_t>& names) {
  const Result<FileInfo> info = StatNode(entry.node);
  if (!info.ok()) {
    if (info.error().code() != Code::kNotFound) return info.error();
    RETURN_IF_ERROR(files_.Unlink(NamePath(directory, entry.name)));
    return false;
  }
  if (++names[entry.node] > 1) return false;
  if (entry.kind != DraftKind::kDirectory) {
    if (info->atime_s == kLostBytesAtimeS) {
      MutexLock lock(state_mu_);
      lost_.insert(entry.node);
    }
    return true;
  }
  // Left behind by an interrupted rename.
  const Result<DraftNode> parent = Parent(entry.node);
  if (!parent.ok() || *parent != directory) RETURN_IF_ERROR(SetParent(entry.node, directory));
  return true;
}

}  // namespace modelfs::cas
