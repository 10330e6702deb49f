#include "fs/base/zone.h"

#include <fmt/core.h>

#include "cas/base/error_table.h"

namespace modelfs::fs {
namespace {

class FixedDirectory : public DirectoryHandle {
 public:
  explicit FixedDirectory(std::vector<DirectoryEntry> entries) : entries_(std::move(entries)) {}

  Outcome<std::optional<DirectoryEntry>> At(uint64_t index, bool /*plus*/) override {
    if (index >= entries_.size()) return std::nullopt;
    return entries_[index];
  }

 private:
  const std::vector<DirectoryEntry> entries_;
};

tl::unexpected<Refusal> NotThisFile(std::string_view what) {
  return Refuse(EBADF, fmt::format("this open file cannot be {}", what));
}

}  // namespace

tl::unexpected<Refusal> NotYet(Pending pending) {
  return tl::unexpected<Refusal>(
      Refusal{ETIMEDOUT, "its bytes are not on this host yet", std::move(pending)});
}

tl::unexpected<Refusal> Refuse(const Error& error) {
  return Refuse(RowOf(error.code()).fuse_errno, error.message());
}

tl::unexpected<Refusal> RefuseNode(const Error& error) {
  if (error.code() == Code::kNotFound) return Refuse(ESTALE, error.message());
  return Refuse(error);
}

Outcome<size_t> FileHandle::Read(uint64_t /*offset_bytes*/, std::span<std::byte> /*out*/) {
  return NotThisFile("read");
}
Outcome<size_t> FileHandle::Write(uint64_t /*offset_bytes*/, std::span<const std::byte> /*bytes*/) {
  return NotThisFile("written");
}
Outcome<void> FileHandle::Sync() { return {}; }
Outcome<void> FileHandle::Allocate(int /*mode*/, uint64_t /*offset_bytes*/, uint64_t /*length_bytes*/) {
  return NotThisFile("extended");
}
Outcome<uint64_t> FileHandle::Seek(uint64_t /*offset_bytes*/, int /*whence*/) {
  // lseek(2): a file system may report that it knows no holes; callbacks.cc turns this errno into our reply.
  return Refuse(EOPNOTSUPP, "this open file does not know its holes");
}
Outcome<size_t> FileHandle::CopyFrom(const FileHandle& /*from*/, uint64_t /*from_offset_bytes*/,
                                     uint64_t /*offset_bytes*/, uint64_t /*length_bytes*/) {
  return Refuse(EXDEV, "copied through read and write");
}

std::shared_ptr<DirectoryHandle> MakeDirectoryHandle(std::vector<DirectoryEntry> entries) {
  return std::make_shared<FixedDirectory>(std::move(entries));
}

Refusal Zone::Unsupported(std::string_view operation) const {
  return Refusal{EPERM,
                 fmt::format("{}: this directory is the registry's own and does not allow it", operation)};
}

Outcome<Place> Zone::PlaceOf(NodeId) { return Refuse(ENOENT, "no name leads there"); }
Outcome<Attr> Zone::SetAttr(const Request&, NodeId, const AttrChange&) {
  return tl::unexpected(Unsupported("changing attributes"));
}
Outcome<std::string> Zone::ReadLink(const Request&, NodeId) {
  return tl::unexpected(Refusal{EINVAL, "not a symbolic link"});
}
Outcome<Entry> Zone::MakeDirectory(const Request&, NodeId, std::string_view, mode_t) {
  return tl::unexpected(Unsupported("mkdir"));
}
Outcome<CreatedFile> Zone::Create(const Request&, NodeId, std::string_view, mode_t, int) {
  return tl::unexpected(Unsupported("creating a file"));
}
Outcome<Entry> Zone::MakeSymlink(const Request&, NodeId, std::string_view, std::string_view) {
  return tl::unexpected(Unsupported("making a symbolic link"));
}
Outcome<Entry> Zone::MakeHardLink(const Request&, NodeId, NodeId, std::string_view) {
  return Refuse(
      EPERM,
      "hard links are possible in drafts alone: use `ln -s` for an alias, `cp` for a file (inside the "
      "mount it shares the bytes)");
}
Outcome<Entry> Zone::MakeSpecial(const Request&, NodeId, std::string_view, mode_t) {
  return Refuse(EPERM, "a registry holds directories, files and symbolic links only");
}
Outcome<void> Zone::Unlink(const Request&, NodeId, std::string_view) {
  return tl::unexpected(Unsupported("removing a file"));
}
Outcome<void> Zone::RemoveDirectory(const Request&, NodeId, std::string_view) {
  return tl::unexpected(Unsupported("rmdir"));
}
Outcome<void> Zone::Rename(const Request&, NodeId, std::string_view, NodeId, std::string_view, unsigned) {
  return tl::unexpected(Unsupported("rename"));
}
Outcome<OpenedFile> Zone::Open(const Request&, NodeId, int) { return tl::unexpected(Unsupported("open")); }
Outcome<std::string> Zone::GetXattr(const Request&, NodeId, std::string_view name) {
  return tl::unexpected(Refusal{ENODATA, fmt::format("no attribute {}", name)});
}
Outcome<std::vector<std::string>> Zone::ListXattr(const Request&, NodeId) {
  return std::vector<std::string>{};
}
Outcome<void> Zone::SetXattr(const Request&, NodeId, std::string_view, std::string_view, int) {
  return tl::unexpected(Unsupported("setting an extended attribute"));
}
Outcome<void> Zone::RemoveXattr(const Request&, NodeId, std::string_view) {
  return tl::unexpected(Unsupported("removing an extended attribute"));
}
void Zone::LostBytes(NodeId) {}
void Zone::Forget(NodeId) {}

}  // namespace modelfs::fs
