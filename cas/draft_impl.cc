#include "cas/draft_impl.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

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

Error BytesError(int errno_value, std::string_view call) {
  if (errno_value != EFBIG) return ErrnoError(errno_value, call);
  return {Code::kTooLarge,
          fmt::format("{}: a file of that size is more than the file system of the registry can "
                      "hold; split it",
                      call)};
}

Result<size_t> WriteSome(int fd, uint64_t offset_bytes, std::span<const std::byte> bytes) {
  while (true) {
    const ssize_t count = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) return BytesError(errno, "write to the draft");
  }
}

Status WriteFully(int fd, uint64_t offset_bytes, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ASSIGN_OR_RETURN(const size_t count, WriteSome(fd, offset_bytes, bytes));
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

size_t DraftImpl::open_writers() const {
  MutexLock lock(state_mu_);
  return writers_;
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
      const Result<struct stat> info = StatNode(entry.node);
      if (!info.ok()) {
        ::unlink(NamePath(directory, entry.name).c_str());
        continue;
      }
      if (!reachable.insert(entry.node).second) continue;
      if (!entry.directory && info->st_atim.tv_sec == kLostBytesAtimeS) {
        MutexLock lock(state_mu_);
        lost_.insert(entry.node);
      }
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

}  // namespace modelfs::cas
