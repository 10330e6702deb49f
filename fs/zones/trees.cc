#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cas/base/check.h"
#include "cas/base/pending.h"
#include "cas/base/text.h"
#include "cas/base/thread.h"
#include "fs/base/notifier.h"
#include "fs/base/tree_cache.h"
#include "fs/sharing/permit.h"
#include "fs/zones/attrs.h"
#include "fs/zones/small_files.h"
#include "fs/zones/xattrs.h"
#include "fs/zones/zones.h"

namespace modelfs::fs {
namespace {

using VersionPtr = std::shared_ptr<const CachedVersion>;

constexpr size_t kSmallFilesBytes = size_t{64} << 20U;

// ---------------------------------------------------------------------------------------------------

// Names under which the kernel may have a nodeid that is read through the daemon. When the file's blob
// becomes native, the kernel must look up these names again. Bounded; thread-safe.
class CachedNames {
 public:
  // More than this many files that are still being verified are not remembered one by one.
  static constexpr size_t kMaxNodes = 100'000;
  // The longest time that a name of another file leads to a nodeid that is read the slow way.
  static constexpr double kUnrememberedTtlS = 10;

  struct Name {
    NodeId parent = 0;
    std::string name;
    friend bool operator==(const Name&, const Name&) = default;
  };

  // False where there is no room.
  bool Add(const Digest& blob, NodeId node, NodeId parent, std::string_view name) {
    MutexLock lock(mu_);
    auto found = nodes_.find(node);
    if (found == nodes_.end()) {
      if (nodes_.size() >= kMaxNodes) return false;
      found = nodes_.emplace(node, Known{blob, {}}).first;
      by_blob_[blob].push_back(node);
    }
    Name added{parent, std::string(name)};
    std::vector<Name>& names = found->second.names;
    if (std::find(names.begin(), names.end(), added) == names.end()) names.push_back(std::move(added));
    return true;
  }

  void Remove(NodeId node) {
    MutexLock lock(mu_);
    const auto found = nodes_.find(node);
    if (found == nodes_.end()) return;
    const auto nodes = by_blob_.find(found->second.blob);
    CHECK(nodes != by_blob_.end());
    std::erase(nodes->second, node);
    if (nodes->second.empty()) by_blob_.erase(nodes);
    nodes_.erase(found);
  }

  std::vector<Name> Take(const Digest& blob) {
    MutexLock lock(mu_);
    std::vector<Name> names;
    const auto nodes = by_blob_.find(blob);
    if (nodes == by_blob_.end()) return names;
    for (const NodeId node : nodes->second) {
      const auto known = nodes_.find(node);
      CHECK(known != nodes_.end());
      std::move(known->second.names.begin(), known->second.names.end(), std::back_inserter(names));
      nodes_.erase(known);
    }
    by_blob_.erase(nodes);
    return names;
  }

 private:
  struct Known {
    Digest blob;
    std::vector<Name> names;
  };

  Mutex mu_;
  std::unordered_map<NodeId, Known> nodes_ GUARDED_BY(mu_);
  std::unordered_map<Digest, std::vector<NodeId>> by_blob_ GUARDED_BY(mu_);
};

// ---------------------------------------------------------------------------------------------------

// The attributes of open files, as stat(2) shows them. Once a version is deleted no other part has them, and
// fstat(2) reaches the daemon by the nodeid, without the handle. Thread-safe.
class OpenAttrs {
 public:
  // One more handle of `node`; undone by one Closed.
  void Opened(NodeId node, const struct stat& attr) {
    MutexLock lock(mu_);
    ++open_.try_emplace(node, Known{attr, 0}).first->second.handles;
  }

  void Closed(NodeId node) {
    MutexLock lock(mu_);
    const auto found = open_.find(node);
    CHECK(found != open_.end());
    if (--found->second.handles == 0) open_.erase(found);
  }

  // Nothing where no handle of `node` is open.
  std::optional<struct stat> Find(NodeId node) const {
    MutexLock lock(mu_);
    const auto found = open_.find(node);
    if (found == open_.end()) return std::nullopt;
    return found->second.attr;
  }

 private:
  struct Known {
    struct stat attr = {};
    size_t handles = 0;
  };

  mutable Mutex mu_;
  std::unordered_map<NodeId, Known> open_ GUARDED_BY(mu_);
};

// ---------------------------------------------------------------------------------------------------

// An open file of a READY version.
class TreeHandle : public FileHandle {
 public:
  TreeHandle(std::string subject, NodeId node, const Digest& blob, const struct stat& attr,
             std::shared_ptr<OpenAttrs> attrs)
      : subject_(std::move(subject)), node_(node), digest_(blob), attrs_(std::move(attrs)) {
    attrs_->Opened(node_, attr);
  }
  ~TreeHandle() override { attrs_->Closed(node_); }
  TreeHandle(const TreeHandle&) = delete;
  TreeHandle& operator=(const TreeHandle&) = delete;

  Outcome<void> Sync() override { return {}; }  // a READY version is durable already

  Outcome<uint64_t> Seek(uint64_t offset_bytes, int whence) override {
    // No holes but the one that every file ends with, lseek(2).
    if (offset_bytes >= digest_.size_bytes) {
      return Refuse(ENXIO, fmt::format("{}: the offset {} lies beyond its end", subject_, offset_bytes));
    }
    return whence == SEEK_HOLE ? digest_.size_bytes : offset_bytes;
  }

  std::optional<Digest> Blob() const override { return digest_; }
  std::optional<store::VersionId> Version() const override { return Parse(node_).version; }

 protected:
  const std::string& subject() const { return subject_; }

 private:
  const std::string subject_;
  const NodeId node_;
  const Digest digest_;
  const std::shared_ptr<OpenAttrs> attrs_;
};

// Of a small file: without File, because its bytes were checked in full, so whatever file they came from, the
// kernel's pages of it are true.
class SmallHandle : public TreeHandle {
 public:
  template <typename... Tree>
  explicit SmallHandle(SmallFiles::Bytes bytes, Tree&&... tree)
      : TreeHandle(std::forward<Tree>(tree)...), bytes_(std::move(bytes)) {}

  Outcome<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out) override {
    if (offset_bytes >= bytes_->size()) return size_t{0};
    const size_t count = std::min<size_t>(out.size(), bytes_->size() - offset_bytes);
    std::memcpy(out.data(), bytes_->data() + offset_bytes, count);
    return count;
  }

 private:
  const SmallFiles::Bytes bytes_;
};

class BlobHandle : public TreeHandle {
 public:
  template <typename... Tree>
  BlobHandle(std::shared_ptr<cas::OpenBlob> blob, bool small, Tree&&... tree)
      : TreeHandle(std::forward<Tree>(tree)...), blob_(std::move(blob)), small_(small) {}

  Outcome<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out) override {
    const auto read = blob_->Read(offset_bytes, out, Deadline::Now());
    if (read.ok()) return *read;
    if (read.error().code() != Code::kDeadlineExceeded) return Refuse(read.error().Wrap(subject()));
    return NotYet(FetchOf(blob_, offset_bytes, out.size()));
  }

  // A small file that was opened while its bytes were on another host, or memory was full, is like a
  // SmallHandle: both may be open at the same time.
  std::optional<cas::FileId> File() const override { return small_ ? std::nullopt : blob_->File(); }
  // Where a handle of the same nodeid is cached, the dispatcher splices from it.
  std::optional<int> NativeFd() const override { return small_ ? std::nullopt : blob_->NativeFd(); }

 private:
  const std::shared_ptr<cas::OpenBlob> blob_;
  const bool small_;
};

// ---------------------------------------------------------------------------------------------------

class TreesZone : public Zone {
 public:
  explicit TreesZone(Context& context) : context_(context), small_(*context.blobs, kSmallFilesBytes) {
    on_native_ = context_.blobs->OnNative([this](const Digest& blob) { BlobIsNative(blob); });
  }

  Outcome<Entry> Lookup(const Request& request, NodeId parent, std::string_view name) override;
  Outcome<Attr> GetAttr(const Request& request, NodeId node) override;
  Outcome<NodeId> ParentOf(NodeId directory) override;
  Outcome<Place> PlaceOf(NodeId node) override;
  Outcome<OpenedFile> Open(const Request& request, NodeId node, int flags) override;
  Outcome<OpenedDirectory> OpenDirectory(const Request& request, NodeId node) override;
  void Forget(NodeId node) override { names_.Remove(node); }

  Outcome<std::string> GetXattr(const Request& request, NodeId node, std::string_view name) override;
  Outcome<std::vector<std::string>> ListXattr(const Request& request, NodeId node) override;
  Outcome<void> SetXattr(const Request& request, NodeId node, std::string_view name, std::string_view value,
                         int flags) override;
  Outcome<void> RemoveXattr(const Request& request, NodeId node, std::string_view name) override;

  Outcome<Attr> SetAttr(const Request& request, NodeId node, const AttrChange& /*change*/) override {
    return ReadOnly(request, node, "");
  }
  Outcome<Entry> MakeDirectory(const Request& request, NodeId parent, std::string_view name,
                               mode_t /*mode*/) override {
    return ReadOnly(request, parent, name);
  }
  Outcome<CreatedFile> Create(const Request& request, NodeId parent, std::string_view name, mode_t /*mode*/,
                              int /*flags*/) override {
    return ReadOnly(request, parent, name);
  }
  Outcome<Entry> MakeSymlink(const Request& request, NodeId parent, std::string_view name,
                             std::string_view target) override;
  Outcome<void> Unlink(const Request& request, NodeId parent, std::string_view name) override {
    return RefuseRemoval(request, parent, name);
  }
  Outcome<void> RemoveDirectory(const Request& request, NodeId parent, std::string_view name) override {
    return RefuseRemoval(request, parent, name);
  }
  Outcome<void> Rename(const Request& request, NodeId parent, std::string_view name, NodeId /*new_parent*/,
                       std::string_view /*new_name*/, unsigned /*flags*/) override {
    return ReadOnly(request, parent, name);
  }

  // One name of a directory as LOOKUP and READDIRPLUS answer it.
  Entry EntryOf(const CachedVersion& version, const NodeParts& parent, NodeId parent_node, uint32_t child);
  // Notes which of these children are native, with one question to the store.
  void NoteNative(const CachedVersion& version, std::span<const uint32_t> children) const;
  // The nodeid alone, for READDIR.
  NodeId NodeOf(const NodeParts& parent, const CachedVersion& version, uint32_t child) const;

 protected:
  Refusal Unsupported(std::string_view operation) const override {
    return {EROFS, fmt::format("{}: a READY version never changes; make a draft of it with `cp -r versions/N "
                               "versions/draft`, change that, and `mv versions/draft versions/next`",
                               operation)};
  }

 private:
  struct Found {
    NodeParts parts;
    VersionPtr version;
    const cas::TreeIndex::Node* node = nullptr;
  };

  Outcome<Found> Find(NodeId node);
  // Read by the daemon whatever is native: such a file has one nodeid.
  bool IsSmall(const Digest& blob) const { return blob.size_bytes <= context_.small_file_bytes; }
  Outcome<std::shared_ptr<FileHandle>> HandleOf(const Found& found, NodeId node);
  tl::unexpected<Refusal> RefuseOpen(const Found& found, const std::string& subject, const Error& why) const;
  // For a file that cannot be opened. Another process may delete a version, and a sweep its blobs, before the
  // watcher is notified. The cached list of files is then old, and nothing is damaged.
  bool WasDeleted(store::VersionId version) const;
  std::string PathOf(const CachedVersion& version, uint32_t node) const;
  // The parameters of an allowed or refused open in the audit log.
  std::map<std::string, std::string> AuditParams(const Found& opened) const;
  struct stat AliasRootAttr(const store::VersionInfo& version, uint8_t slot) const;
  tl::unexpected<Refusal> ReadOnly(const Request& request, NodeId node, std::string_view name) const;
  tl::unexpected<Refusal> RefuseRemoval(const Request& request, NodeId parent, std::string_view name) const;
  void BlobIsNative(const Digest& blob);

  Context& context_;
  CachedNames names_;
  SmallFiles small_;
  const std::shared_ptr<OpenAttrs> open_ = std::make_shared<OpenAttrs>();
  cas::Subscription on_native_;  // ends before what it calls
};

// The entries of one directory of a tree, made as they are read.
class TreeDirectoryHandle : public DirectoryHandle {
 public:
  TreeDirectoryHandle(TreesZone& zone, VersionPtr version, NodeId directory)
      : zone_(zone), version_(std::move(version)), directory_(directory), parts_(Parse(directory)) {}

  Outcome<std::optional<DirectoryEntry>> At(uint64_t index, bool plus) override {
    const std::vector<uint32_t>& children = version_->tree->Get(parts_.tree_node)->children;
    if (index >= children.size()) return std::optional<DirectoryEntry>();
    const uint32_t child = children[index];
    const cas::TreeIndex::Node* node = version_->tree->Get(child);
    DirectoryEntry entry;
    entry.name = node->name;
    entry.type = node->file == nullptr ? S_IFDIR : S_IFREG;
    if (plus) {
      if (index >= noted_) {
        const size_t count = std::min(kNotedAtOnce, children.size() - index);
        zone_.NoteNative(*version_, std::span(children).subspan(index, count));
        noted_ = index + count;
      }
      entry.entry = zone_.EntryOf(*version_, parts_, directory_, child);
      entry.node = entry.entry->node;
    } else {
      entry.node = zone_.NodeOf(parts_, *version_, child);
    }
    return std::optional<DirectoryEntry>(std::move(entry));
  }

 private:
  static constexpr size_t kNotedAtOnce = 256;  // about what one reply of READDIRPLUS holds

  TreesZone& zone_;
  const VersionPtr version_;
  const NodeId directory_;
  const NodeParts parts_;
  uint64_t noted_ = 0;  // children below this index went through NoteNative
};

Outcome<TreesZone::Found> TreesZone::Find(NodeId node) {
  Found found;
  found.parts = Parse(node);
  CHECK(found.parts.kind == NodeKind::kTree || found.parts.kind == NodeKind::kAliasTree);
  Pending pending;
  auto version = context_.trees->Find(found.parts.version, pending);
  if (!version.ok()) {
    if (pending != nullptr) return NotYet(std::move(pending));
    if (version.error().code() == Code::kNotFound) {
      return Refuse(ESTALE, fmt::format("the version was deleted: {}", version.error().message()));
    }
    return Refuse(version.error());
  }
  found.version = *std::move(version);
  found.node = found.version->tree->Get(found.parts.tree_node);
  if (found.node == nullptr) {
    return Refuse(ESTALE, fmt::format("this version has no file with the number {}", found.parts.tree_node));
  }
  return found;
}

NodeId TreesZone::NodeOf(const NodeParts& parent, const CachedVersion& version, uint32_t child) const {
  if (parent.kind == NodeKind::kAliasTree && version.tree->Get(child)->file == nullptr) {
    return AliasTreeNode(parent.slot, parent.version, child);
  }
  return TreeNode(parent.version, child, Flavour::kCached);
}

void TreesZone::NoteNative(const CachedVersion& version, std::span<const uint32_t> children) const {
  if (!context_.native) return;
  std::vector<uint32_t> asked;
  std::vector<Digest> blobs;
  for (const uint32_t child : children) {
    const cas::TreeEntry* file = version.tree->Get(child)->file;
    if (file == nullptr || IsSmall(file->blob)) continue;
    if (version.seen_native[child].load(std::memory_order_relaxed)) continue;
    asked.push_back(child);
    blobs.push_back(file->blob);
  }
  if (asked.empty()) return;
  const std::vector<bool> native = context_.blobs->AreNative(blobs);
  for (size_t i = 0; i < asked.size(); ++i) {
    if (native[i]) version.seen_native[asked[i]].store(true, std::memory_order_relaxed);
  }
}

Entry TreesZone::EntryOf(const CachedVersion& version, const NodeParts& parent, NodeId parent_node,
                         uint32_t child) {
  const cas::TreeIndex::Node* node = version.tree->Get(child);
  Entry entry;
  entry.node = NodeOf(parent, version, child);
  entry.attr = TreeStat(context_, version, child);
  entry.attr_ttl_s = kForever;
  entry.entry_ttl_s = kForever;
  if (node->file == nullptr || !context_.native || IsSmall(node->file->blob)) return entry;

  const Digest& blob = node->file->blob;
  std::atomic<bool>& seen_native = version.seen_native[child];
  if (!seen_native.load(std::memory_order_relaxed) && !context_.blobs->IsNative(blob)) {
    if (!names_.Add(blob, entry.node, parent_node, node->name)) {
      entry.entry_ttl_s = CachedNames::kUnrememberedTtlS;
      return entry;
    }
    // Asked again: from now on BlobIsNative finds the name.
    if (!context_.blobs->IsNative(blob)) return entry;
    BlobIsNative(blob);
  }
  seen_native.store(true, std::memory_order_relaxed);
  entry.node = TreeNode(parent.version, child, Flavour::kNative);
  return entry;
}

void TreesZone::BlobIsNative(const Digest& blob) {
  for (const CachedNames::Name& each : names_.Take(blob))
    context_.notifier->EntryChanged(each.parent, each.name);
}

bool TreesZone::WasDeleted(store::VersionId version) const {
  const auto now = context_.registry->GetVersionById(context_.daemon, version);
  if (now.ok() || now.error().code() != Code::kNotFound) return false;
  context_.trees->Drop(version);
  return true;
}

std::string TreesZone::PathOf(const CachedVersion& version, uint32_t node) const {
  std::string path;
  for (const cas::TreeIndex::Node* at = version.tree->Get(node); node != 0;
       node = at->parent, at = version.tree->Get(node)) {
    path = path.empty() ? std::string(at->name) : fmt::format("{}/{}", at->name, path);
  }
  return path;
}

tl::unexpected<Refusal> TreesZone::ReadOnly(const Request& request, NodeId node,
                                            std::string_view name) const {
  const NodeParts parts = Parse(node);
  Pending pending;
  const auto version = context_.trees->Find(parts.version, pending);
  if (pending != nullptr) return NotYet(std::move(pending));
  // A version must not be written to, even if it was deleted or cannot be read.
  if (!version.ok())
    return Refuse(EROFS, "a version never changes, and this one was deleted or cannot be read");
  const store::VersionInfo& info = (*version)->info;
  const std::string path = PathOf(**version, parts.tree_node);
  std::string subject = ShownName(context_, request, info);
  if (!path.empty()) subject += fmt::format(": {}", Printable(path));
  if (!name.empty()) subject += fmt::format("{}{}", path.empty() ? ": " : "/", Printable(name));
  return Refuse(EROFS, fmt::format("{}: {}", subject, NeverChanges(ShownNumber(context_, request, info))));
}

// For `rm -r versions/N`, which begins with the files.
tl::unexpected<Refusal> TreesZone::RefuseRemoval(const Request& request, NodeId parent,
                                                 std::string_view name) const {
  Refusal refusal = ReadOnly(request, parent, name).value();
  Pending pending;
  const auto version = context_.trees->Find(Parse(parent).version, pending);
  if (version.ok()) {
    refusal.message += fmt::format(". To delete the version as a whole: `rmdir versions/{}`",
                                   ShownNumber(context_, request, (*version)->info));
  }
  return tl::unexpected<Refusal>(std::move(refusal));
}

Outcome<Entry> TreesZone::MakeSymlink(const Request& request, NodeId parent, std::string_view name,
                                      std::string_view /*target*/) {
  Refusal refusal = ReadOnly(request, parent, name).value();
  refusal.message +=
      ". To move an alias that exists: `ln -sfn ../versions/N aliases/NAME`; without -n, ln goes into the "
      "version that the alias points to";
  return tl::unexpected<Refusal>(std::move(refusal));
}

Outcome<Entry> TreesZone::Lookup(const Request& /*request*/, NodeId parent, std::string_view name) {
  const auto found = Find(parent);
  if (!found) return tl::unexpected(found.error());
  const std::optional<uint32_t> child = found->version->tree->Child(found->parts.tree_node, name);
  // Programs that search for files by name (Python's import, loaders that try one suffix after another)
  // ask for many that are not there, and nothing will ever be added.
  if (!child) return Entry{.node = 0, .attr = {}, .attr_ttl_s = 0, .entry_ttl_s = kForever};
  return EntryOf(*found->version, found->parts, parent, *child);
}

Outcome<Attr> TreesZone::GetAttr(const Request& /*request*/, NodeId node) {
  const auto found = Find(node);
  if (!found) {
    std::optional<struct stat> open = open_->Find(node);
    if (found.error().errno_value != ESTALE || !open) return tl::unexpected(found.error());
    open->st_nlink = 0;  // as of every file that is open and has no name any more
    return Attr{*open, kForever};
  }
  const NodeParts& parts = found->parts;
  if (parts.kind == NodeKind::kAliasTree && parts.tree_node == 0) {
    return Attr{AliasRootAttr(found->version->info, parts.slot), kForever};
  }
  return Attr{TreeStat(context_, *found->version, parts.tree_node), kForever};
}

struct stat TreesZone::AliasRootAttr(const store::VersionInfo& version, uint8_t slot) const {
  const auto model = context_.registry->Get(context_.daemon, version.model);
  if (model.ok()) {
    for (const store::AliasInfo& alias : model->aliases) {
      if (alias.slot == slot && alias.version_id == version.id)
        return AliasRootStat(context_, version, alias);
    }
  }
  return VersionRootStat(context_, version);  // it was moved away or deleted
}

Outcome<NodeId> TreesZone::ParentOf(NodeId directory) {
  const auto found = Find(directory);
  if (!found) return tl::unexpected(found.error());
  const NodeParts& parts = found->parts;
  const uint32_t parent = found->node->parent;
  if (parts.kind == NodeKind::kTree) {
    if (parts.tree_node == 0) return VersionsNode(found->version->info.model);
    return TreeNode(parts.version, parent, Flavour::kCached);
  }
  if (parts.tree_node != 0) return AliasTreeNode(parts.slot, parts.version, parent);
  const auto model = context_.registry->Get(context_.daemon, found->version->info.model);
  if (!model.ok()) return Refuse(model.error());
  return ObjectNode(model->parent);
}

Outcome<Place> TreesZone::PlaceOf(NodeId node) {
  const NodeParts parts = Parse(node);
  if (parts.tree_node != 0) {
    const auto found = Find(node);
    if (!found) return tl::unexpected(found.error());
    const uint32_t parent = found->node->parent;
    return Place{parts.kind == NodeKind::kTree ? TreeNode(parts.version, parent, Flavour::kCached)
                                               : AliasTreeNode(parts.slot, parts.version, parent),
                 std::string(found->node->name)};
  }
  // The record is enough: a version has a place even if its files cannot be read.
  const auto version = context_.registry->GetVersionById(context_.daemon, parts.version);
  if (!version.ok()) return Refuse(version.error());
  if (parts.kind == NodeKind::kAliasTree) {
    const auto model = context_.registry->Get(context_.daemon, version->model);
    if (!model.ok()) return Refuse(model.error());
    for (const store::AliasInfo& alias : model->aliases) {
      if (alias.slot == parts.slot)
        return Place{ObjectNode(model->parent), fmt::format("{}@{}", model->name, alias.name)};
    }
  }
  return Place{VersionsNode(version->model), std::to_string(version->number)};
}

std::map<std::string, std::string> TreesZone::AuditParams(const Found& opened) const {
  std::map<std::string, std::string> params{{"version_arg", std::to_string(opened.version->info.number)}};
  const std::string path = PathOf(*opened.version, opened.parts.tree_node);
  if (!path.empty()) params[opened.node->file != nullptr ? "file" : "directory"] = path;
  return params;
}

Outcome<OpenedFile> TreesZone::Open(const Request& request, NodeId node, int flags) {
  if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0) return ReadOnly(request, node, "");
  const auto found = Find(node);
  if (!found) return tl::unexpected(found.error());
  CHECK(found->node->file != nullptr);
  const store::ObjectId model = found->version->info.model;
  constexpr auto kOpen = store::Operation::kReadFiles;
  if (const Status may = Decide(context_, request, kOpen, model); !may.ok()) {
    return Refused(context_, request, kOpen, model, may, AuditParams(*found));
  }
  auto handle = HandleOf(*found, node);
  if (!handle) return tl::unexpected(handle.error());
  AuditDecision(context_, request, kOpen, model, OkStatus(), AuditParams(*found));
  return OpenedFile{*std::move(handle), PageCache::kKeep};
}

Outcome<std::shared_ptr<FileHandle>> TreesZone::HandleOf(const Found& found, NodeId node) {
  const Digest& digest = found.node->file->blob;
  const struct stat attr = TreeStat(context_, *found.version, found.parts.tree_node);
  std::string subject =
      fmt::format("{}: {}", store::VersionName(found.version->info), Printable(found.node->file->path));
  const bool small = IsSmall(digest);
  if (small) {
    Result<SmallFiles::Bytes> bytes = small_.Get(digest);
    if (bytes.ok() && *bytes != nullptr) {
      return std::make_shared<SmallHandle>(*std::move(bytes), std::move(subject), node, digest, attr, open_);
    }
    if (!bytes.ok() && bytes.error().code() != Code::kDeadlineExceeded) {
      return RefuseOpen(found, subject, bytes.error());
    }
  }
  const auto blob = context_.blobs->Open(digest);
  if (!blob.ok()) return RefuseOpen(found, subject, blob.error());
  const bool native = found.parts.flavour == Flavour::kNative;
  // It became native by being opened: lookups of its name return the other nodeid from now on.
  if (context_.native && !native && !small && (*blob)->NativeFd()) BlobIsNative(digest);
  return std::make_shared<BlobHandle>(*blob, small, std::move(subject), node, digest, attr, open_);
}

tl::unexpected<Refusal> TreesZone::RefuseOpen(const Found& found, const std::string& subject,
                                              const Error& why) const {
  if (WasDeleted(found.parts.version)) {
    return Refuse(ESTALE, fmt::format("{}: the version was deleted", subject));
  }
  const Error error = why.Wrap(subject);
  // The version lists it, so that it is not there is damage; ENOENT would deny the file.
  if (error.code() == Code::kNotFound) return Refuse(EIO, error.message() + "; run `modelfs fsck`");
  return Refuse(error);
}

Outcome<OpenedDirectory> TreesZone::OpenDirectory(const Request& request, NodeId node) {
  const auto found = Find(node);
  if (!found) return tl::unexpected(found.error());
  if (auto may = Permit(context_, request, store::Operation::kReadFiles, found->version->info.model,
                        AuditParams(*found));
      !may) {
    return tl::unexpected(may.error());
  }
  CHECK(found->node->file == nullptr);
  return OpenedDirectory{std::make_shared<TreeDirectoryHandle>(*this, found->version, node), true};
}

Outcome<std::string> TreesZone::GetXattr(const Request& request, NodeId node, std::string_view name) {
  if (!IsRegistryXattr(name))
    return Refuse(ENODATA, fmt::format("{}: there is no such attribute here", name));
  const auto found = Find(node);
  if (!found) return tl::unexpected(found.error());
  if (found->parts.tree_node == 0) return GetVersionXattr(context_, request, *found->version, name);
  if (found->node->file != nullptr) {
    return GetFileXattr(context_, request, *found->version, *found->node->file, name);
  }
  return Refuse(ENODATA, fmt::format("{}: directories inside a version have no attributes", name));
}

Outcome<std::vector<std::string>> TreesZone::ListXattr(const Request& request, NodeId node) {
  const auto found = Find(node);
  if (!found) return tl::unexpected(found.error());
  if (found->parts.tree_node == 0) return ListVersionXattrs(context_, request, *found->version);
  if (found->node->file != nullptr) return ListFileXattrs(context_, request, *found->version);
  return std::vector<std::string>();
}

Outcome<void> TreesZone::SetXattr(const Request& request, NodeId node, std::string_view name,
                                  std::string_view value, int flags) {
  const auto found = Find(node);
  if (!found) return tl::unexpected(found.error());
  if (found->parts.tree_node != 0 || !IsRegistryXattr(name)) return ReadOnly(request, node, "");
  const store::VersionInfo& info = found->version->info;
  return SetXattrOf(context_, request, {info.model, info.number}, ShownName(context_, request, info), name,
                    value, flags);
}

Outcome<void> TreesZone::RemoveXattr(const Request& request, NodeId node, std::string_view name) {
  const auto found = Find(node);
  if (!found) return tl::unexpected(found.error());
  if (found->parts.tree_node != 0 || !IsRegistryXattr(name)) return ReadOnly(request, node, "");
  const store::VersionInfo& info = found->version->info;
  return RemoveXattrOf(context_, request, {info.model, info.number}, ShownName(context_, request, info),
                       name);
}

}  // namespace

std::unique_ptr<Zone> MakeTreesZone(Context& context) { return std::make_unique<TreesZone>(context); }

}  // namespace modelfs::fs
