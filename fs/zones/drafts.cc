#include "fs/zones/drafts.h"

#include <fmt/core.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/xattr.h>

#include <algorithm>
#include <utility>

#include "cas/base/text.h"
#include "fs/base/rename_refusal.h"
#include "fs/drafts/committed_drafts.h"
#include "fs/sharing/permit.h"
#include "fs/zones/attrs.h"
#include "fs/zones/zones.h"
#include "store/names.h"

namespace modelfs::fs {
namespace {

using RecordPtr = DraftTable::RecordPtr;

// Only this mount changes the draft, and the kernel sees each change: this bounds how long the kernel caches
// its nodes after its end.
constexpr double kDraftTtlS = 1;

constexpr std::string_view kTagPrefix = "user.tag.";
constexpr std::string_view kDescription = "user.description";
constexpr std::string_view kOwnPrefix = "user.modelfs.";
constexpr std::string_view kAclPrefix = "system.posix_acl_";

struct stat DraftStat(const Context& context, const cas::DraftAttr& attr, uid_t creator) {
  constexpr mode_t kOwnerReadsAndWrites = S_IRUSR | S_IWUSR;
  const bool directory = attr.kind == cas::DraftKind::kDirectory;
  struct stat out = directory ? DirectoryStat(context, 0, attr.links)
                              : FileStat(context, attr.size_bytes, attr.executable, 0);
  if (attr.kind == cas::DraftKind::kLink) {
    out = SymlinkStat(context, attr.size_bytes, 0);
  } else {
    const bool executable = directory || attr.executable;
    out.st_mode = (out.st_mode & S_IFMT) | kOwnerReadsAndWrites | (executable ? mode_t{S_IXUSR} : mode_t{0});
  }
  out.st_uid = creator;
  if (!directory) {
    out.st_nlink = attr.links;
    out.st_blocks = static_cast<blkcnt_t>(attr.blocks_512);
  }
  out.st_mtim = timespec{.tv_sec = attr.mtime_s, .tv_nsec = attr.mtime_ns};
  out.st_ctim = out.st_mtim;
  out.st_atim = out.st_mtim;
  return out;
}

mode_t TypeOf(cas::DraftKind kind) {
  if (kind == cas::DraftKind::kDirectory) return S_IFDIR;
  return kind == cas::DraftKind::kLink ? S_IFLNK : S_IFREG;
}

// Says what a committed draft became; with the number of the version if the caller may know it.
std::string BecameVersion(std::optional<store::VersionNumber> told) {
  if (!told.has_value()) return "this draft became a version, which never changes";
  return fmt::format(
      "this draft became version {0}, which never changes; copy it to change it: "
      "cp -r versions/{0} versions/draft",
      *told);
}

// Translates a lower layer's error for a change to a draft into the kernel's terms. Use kMatters if the call
// fails on a directory that is not empty.
enum class Emptiness { kDoesNotMatter, kMatters };
enum class Numbers { kTold, kUntold };  // whether the caller may know the numbers of the model's versions
Refusal ChangeRefusal(DraftTable& drafts, const DraftTable::Record& record, const Error& error,
                      Numbers numbers, Emptiness emptiness = Emptiness::kDoesNotMatter) {
  if (error.code() != Code::kFailedPrecondition) return Refuse(error).value();
  switch (drafts.StateOf(record)) {
    case DraftState::kCommitting:
      return {EBUSY, "this draft is being committed"};
    case DraftState::kEnded: {
      const std::optional<store::VersionNumber> version = drafts.VersionOf(record);
      if (!version.has_value()) return {ENOENT, "this draft was removed"};
      return {EROFS, BecameVersion(numbers == Numbers::kTold ? version : std::nullopt)};
    }
    case DraftState::kOpen:
      break;
  }
  if (emptiness == Emptiness::kMatters) return {ENOTEMPTY, error.message()};
  return Refuse(error).value();
}

class DraftHandle : public FileHandle {
 public:
  DraftHandle(DraftTable& drafts, store::LeasePool& leases, RecordPtr record, cas::DraftNode node,
              cas::Draft::Access access, pid_t opener)
      : drafts_(drafts),
        leases_(leases),
        hold_(drafts, std::move(record),
              access == cas::Draft::Access::kWrite ? std::optional(DraftTable::Writer{node, opener})
                                                   : std::nullopt),
        node_(node),
        access_(access) {}

  // Separate from the constructor, because the hold must exist before the file is opened.
  Status Open() {
    ASSIGN_OR_RETURN(file_, draft().Open(node_, access_));
    return OkStatus();
  }

  Outcome<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out) override {
    Result<size_t> count = file_->Read(offset_bytes, out);
    if (count.ok()) return *count;
    if (count.error().code() != Code::kDeadlineExceeded) return Refuse(count.error());
    return NotYet(file_->PendingRead(offset_bytes, out.size()));
  }

  Outcome<size_t> Write(uint64_t offset_bytes, std::span<const std::byte> bytes) override {
    const Result<size_t> count = file_->Write(offset_bytes, bytes);
    if (!count.ok()) return Changed(count.error());
    return *count;
  }

  Outcome<void> Sync() override {
    if (const Status synced = file_->Sync(); !synced.ok()) return Refuse(synced.error());
    return {};
  }

  Outcome<void> Allocate(int mode, uint64_t offset_bytes, uint64_t length_bytes) override {
    if (mode != 0) {
      return Refuse(EOPNOTSUPP, "in a draft, fallocate can only make a file longer (mode 0): no holes");
    }
    if (const Status done = file_->Allocate(offset_bytes, length_bytes); !done.ok()) return Changed(done);
    return {};
  }

  // Drafts have no holes that are worth finding: everything up to the end is data.
  Outcome<uint64_t> Seek(uint64_t offset_bytes, int whence) override {
    const Result<cas::DraftAttr> attr = draft().GetAttr(node_);
    if (!attr.ok()) return Refuse(attr.error());
    if (offset_bytes >= attr->size_bytes) return Refuse(ENXIO, "the offset is past the end of the file");
    return whence == SEEK_DATA ? offset_bytes : attr->size_bytes;
  }

  // Shares a blob if that is the whole copy; the kernel copies everything else by itself.
  Outcome<size_t> CopyFrom(const FileHandle& from, uint64_t from_offset_bytes, uint64_t offset_bytes,
                           uint64_t length_bytes) override {
    const auto by_kernel = [] {
      return Refuse(EXDEV, "these bytes cannot be shared: the kernel copies them");
    };
    std::optional<Digest> blob = from.Blob();
    if (const auto* other = dynamic_cast<const DraftHandle*>(&from); other != nullptr) {
      const Result<cas::DraftAttr> source = other->draft().GetAttr(other->node_);
      if (!source.ok()) return Refuse(source.error());
      if (from_offset_bytes >= source->size_bytes) return 0;
      // The blob has the file's earlier bytes; the kernel may still have the written ones.
      if (source->lost_bytes) return by_kernel();
      length_bytes = std::min(length_bytes, source->size_bytes - from_offset_bytes);
      blob = source->shares;
    }
    if (!blob.has_value() || from_offset_bytes != offset_bytes) return by_kernel();
    const Result<cas::DraftAttr> mine = draft().GetAttr(node_);
    if (!mine.ok()) return Refuse(mine.error());
    if (mine->size_bytes != offset_bytes || (offset_bytes > 0 && mine->shares != blob)) return by_kernel();

    Result<store::HeldLease> use = leases_.Get();
    if (!use.ok()) return Refuse(use.error());
    const Result<uint64_t> added =
        draft().CopyFromBlob(node_, offset_bytes, *blob, from_offset_bytes, length_bytes, use->lease().epoch);
    if (!added.ok()) {
      if (added.error().code() == Code::kNotFound) return by_kernel();  // not on this host
      return Changed(added.error());
    }
    if (const auto version = from.Version(); version.has_value()) {
      drafts_.CopiedFrom(hold_.record(), *version);
    }
    return static_cast<size_t>(*added);
  }

 private:
  cas::Draft& draft() const { return *hold_.record().draft; }
  tl::unexpected<Refusal> Changed(const Status& status) { return Changed(status.error()); }
  tl::unexpected<Refusal> Changed(const Error& error) {
    // A handle outlives its opener's rights, and does not know its user.
    return tl::unexpected(ChangeRefusal(drafts_, hold_.record(), error, Numbers::kUntold));
  }

  DraftTable& drafts_;
  store::LeasePool& leases_;
  DraftTable::Hold hold_;  // before file_: waiters for writers look again when the hold ends
  const cas::DraftNode node_;
  const cas::Draft::Access access_;
  std::shared_ptr<cas::DraftFile> file_;
};

class DraftsZone : public Zone {
 public:
  DraftsZone(Context& context, DraftTable& drafts, store::LeasePool& leases, Zone& trees)
      : context_(context), drafts_(drafts), leases_(leases), committed_(context, drafts, trees) {}

  Outcome<Entry> Lookup(const Request& request, NodeId parent, std::string_view name) override {
    if (IsCommitted(parent)) return committed_.Lookup(request, parent, name);
    const NodeParts at = Parse(parent);
    Outcome<RecordPtr> record = Readable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    const Result<cas::DraftEntry> found = (*record)->draft->Lookup(at.draft_node, name);
    if (!found.ok()) {
      // An invalid name is absent; a request that would create it gets the reason.
      if (found.error().code() == Code::kInvalidArgument) return Refuse(ENOENT, found.error().message());
      return Refuse(found.error());
    }
    return EntryOf(**record, found->node);
  }

  Outcome<Attr> GetAttr(const Request& request, NodeId node) override {
    if (IsCommitted(node)) return committed_.GetAttr(request, node);
    const NodeParts at = Parse(node);
    Outcome<RecordPtr> record = Readable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    return AttrOf(**record, at.draft_node);
  }

  Outcome<NodeId> ParentOf(NodeId directory) override {
    if (IsCommitted(directory)) return committed_.ParentOf(directory);
    const NodeParts at = Parse(directory);
    Outcome<RecordPtr> record = Readable(Request(), at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    if (at.draft_node == cas::kDraftRoot) return VersionsNode((*record)->model);
    const Result<cas::DraftNode> parent = (*record)->draft->Parent(at.draft_node);
    if (!parent.ok()) return Refuse(parent.error());
    return DraftNodeId(at.draft, *parent);
  }

  Outcome<Place> PlaceOf(NodeId node) override {
    const NodeParts at = Parse(node);
    const RecordPtr record = drafts_.Get(at.draft);
    if (record == nullptr) return Zone::PlaceOf(node);
    if (at.draft_node == cas::kDraftRoot) return Place{VersionsNode(record->model), drafts_.NameOf(*record)};
    std::optional<std::pair<cas::DraftNode, std::string>> found;
    if (const Result<cas::DraftNode> parent = record->draft->Parent(at.draft_node); parent.ok()) {
      found = FindIn(*record->draft, {*parent}, at.draft_node, Search::kThere);
    } else {
      found = FindIn(*record->draft, {cas::kDraftRoot}, at.draft_node, Search::kBelow);
    }
    if (!found) return Zone::PlaceOf(node);
    return Place{DraftNodeId(at.draft, found->first), std::move(found->second)};
  }

  Outcome<Attr> SetAttr(const Request& request, NodeId node, const AttrChange& change) override {
    const NodeParts at = Parse(node);
    Outcome<RecordPtr> record = Writable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    cas::Draft& draft = *(*record)->draft;
    // For root, chown succeeds and changes nothing: `tar x`, `cp -a` and `rsync -a` finish files of other
    // users with it.
    const bool is_root = request.caller.uid == 0;
    if (change.uid.has_value() && *change.uid != (*record)->creator && !is_root) {
      return Refuse(EPERM,
                    "files in a draft belong to the draft's creator; models have one owner: "
                    "setfattr -n user.modelfs.owner -v PRINCIPAL MODEL");
    }
    Status done = OkStatus();
    if (change.size_bytes.has_value()) done = draft.Truncate(at.draft_node, *change.size_bytes);
    if (done.ok() && change.mode.has_value()) {
      const Result<cas::DraftAttr> now = draft.GetAttr(at.draft_node);
      if (!now.ok()) return Refuse(now.error());
      const bool executable = (*change.mode & S_IXUSR) != 0;
      if (now->kind == cas::DraftKind::kFile && now->executable != executable) {
        done = draft.SetExecutable(at.draft_node, executable);
      }
    }
    if (done.ok() && change.mtime.has_value()) {
      timespec mtime = *change.mtime;
      if (mtime.tv_nsec == UTIME_NOW) clock_gettime(CLOCK_REALTIME, &mtime);
      done = draft.SetMtime(at.draft_node, mtime.tv_sec, mtime.tv_nsec);
    }
    if (!done.ok()) return tl::unexpected(Changed(request, **record, done.error()));
    drafts_.Touch(**record);
    return AttrOf(**record, at.draft_node);
  }

  Outcome<Entry> MakeDirectory(const Request& request, NodeId parent, std::string_view name,
                               mode_t /*mode*/) override {
    const NodeParts at = Parse(parent);
    Outcome<RecordPtr> record = Writable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    const Result<cas::DraftEntry> made = (*record)->draft->MakeDirectory(at.draft_node, name);
    if (!made.ok()) return tl::unexpected(Changed(request, **record, made.error()));
    drafts_.Touch(**record);
    return EntryOf(**record, made->node);
  }

  Outcome<CreatedFile> Create(const Request& request, NodeId parent, std::string_view name, mode_t mode,
                              int flags) override {
    const NodeParts at = Parse(parent);
    Outcome<RecordPtr> record = Writable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    const Result<cas::DraftEntry> made =
        (*record)->draft->MakeFile(at.draft_node, name, (mode & S_IXUSR) != 0);
    if (!made.ok()) return tl::unexpected(Changed(request, **record, made.error()));
    Outcome<OpenedFile> file = OpenNode(request, *record, made->node, flags);
    if (!file.has_value()) return tl::unexpected(file.error());
    Outcome<Entry> entry = EntryOf(**record, made->node);
    if (!entry.has_value()) return tl::unexpected(entry.error());
    drafts_.Touch(**record);
    return CreatedFile{*entry, *std::move(file)};
  }

  Outcome<std::string> ReadLink(const Request& request, NodeId node) override {
    const NodeParts at = Parse(node);
    Outcome<RecordPtr> record = Readable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    if (auto own = Own(request, **record, store::Operation::kReadFiles); !own)
      return tl::unexpected(own.error());
    Result<std::string> text = (*record)->draft->ReadLink(at.draft_node);
    if (!text.ok()) return Refuse(text.error());
    return *std::move(text);
  }

  Outcome<Entry> MakeSymlink(const Request& request, NodeId parent, std::string_view name,
                             std::string_view target) override {
    const NodeParts at = Parse(parent);
    Outcome<RecordPtr> record = Writable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    const Result<cas::DraftEntry> made = (*record)->draft->MakeLink(at.draft_node, name, target);
    if (made.ok()) return Named(**record, made->node);
    Refusal refusal = Changed(request, **record, made.error());
    // An invalid name keeps EINVAL; otherwise the target is longer than the file system allows.
    if (refusal.errno_value == EINVAL && CheckPathComponent(name).ok()) refusal.errno_value = ENAMETOOLONG;
    return Refused(**record, at.draft_node, name, "a symbolic link", std::move(refusal));
  }

  Outcome<Entry> MakeHardLink(const Request& request, NodeId node, NodeId parent,
                              std::string_view name) override {
    const NodeParts at = Parse(parent);
    const NodeParts of = Parse(node);
    Outcome<RecordPtr> record = Writable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    constexpr std::string_view kWhat = "a hard link";
    if (of.kind != NodeKind::kDraft || of.draft != at.draft) {
      return Refused(
          **record, at.draft_node, name, kWhat,
          {EXDEV,
           "a hard link does not lead out of its draft: copy the file (inside the mount `cp` shares "
           "the bytes; of a tree with such links, cp -r or cp -a --no-preserve=links)"});
    }
    const Result<cas::DraftEntry> made = (*record)->draft->AddLink(of.draft_node, at.draft_node, name);
    if (made.ok()) return Named(**record, made->node);
    return Refused(**record, at.draft_node, name, kWhat, Changed(request, **record, made.error()));
  }

  Outcome<Entry> MakeSpecial(const Request& request, NodeId parent, std::string_view name,
                             mode_t mode) override {
    const NodeParts at = Parse(parent);
    Outcome<RecordPtr> record = Writable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    const std::string_view what = S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket" : "a device";
    return Refused(
        **record, at.draft_node, name, what,
        {EPERM, fmt::format("a version holds files, directories and links to them, not {}; the draft is not "
                            "committed until {} exists or is given up (touch it, then rm it)",
                            what, Printable(name))});
  }

  Outcome<void> Unlink(const Request& request, NodeId parent, std::string_view name) override {
    return RemoveName(request, parent, name, &cas::Draft::RemoveFile);
  }

  Outcome<void> RemoveDirectory(const Request& request, NodeId parent, std::string_view name) override {
    return RemoveName(request, parent, name, &cas::Draft::RemoveDirectory);
  }

  Outcome<void> Rename(const Request& request, NodeId parent, std::string_view name, NodeId new_parent,
                       std::string_view new_name, unsigned flags) override {
    const NodeParts from = Parse(parent);
    const NodeParts to = Parse(new_parent);
    if (to.kind == NodeKind::kTree || to.kind == NodeKind::kAliasTree) {
      return Refuse(EROFS, "a READY version never changes");
    }
    if (to.kind == NodeKind::kDraft && to.draft != from.draft) {
      return BetweenDrafts(request, from.draft, to.draft, flags);
    }
    if (to.kind != NodeKind::kDraft) {
      return Refuse(
          EPERM,
          "files in a draft can be moved within drafts only; copy them (cp -r shares the bytes where it "
          "can), then remove them here");
    }
    Outcome<RecordPtr> found = Writable(request, from.draft);
    if (!found.has_value()) {
      return tl::unexpected(ForRename(found.error()));
    }
    DraftTable::Record& record = **found;
    cas::Draft& draft = *record.draft;
    cas::Draft::RenameMode mode = cas::Draft::RenameMode::kReplace;
    if ((flags & RENAME_NOREPLACE) != 0) mode = cas::Draft::RenameMode::kNoReplace;
    if ((flags & RENAME_EXCHANGE) != 0) mode = cas::Draft::RenameMode::kExchange;

    const Result<cas::DraftEntry> moved = draft.Lookup(from.draft_node, name);
    const Result<cas::DraftEntry> replaced = draft.Lookup(to.draft_node, new_name);
    const Status done = draft.Rename(from.draft_node, name, to.draft_node, new_name, mode);
    if (!done.ok()) {
      Refusal refusal = Changed(request, record, done.error(), Emptiness::kMatters);
      const bool exists = refusal.errno_value == EEXIST && mode == cas::Draft::RenameMode::kNoReplace;
      return tl::unexpected(exists ? std::move(refusal) : ForRename(std::move(refusal)));
    }
    if (mode == cas::Draft::RenameMode::kReplace && replaced.ok() && moved.ok() &&
        replaced->node != moved->node) {
      drafts_.Unlinked(record, replaced->node);
    }
    drafts_.Touch(record);
    return {};
  }

  Outcome<OpenedFile> Open(const Request& request, NodeId node, int flags) override {
    const NodeParts at = Parse(node);
    const bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
    Outcome<RecordPtr> record = writes ? Writable(request, at.draft) : Readable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    if (auto own = Own(request, **record, store::Operation::kReadFiles); !own)
      return tl::unexpected(own.error());
    drafts_.Touch(**record);
    return OpenNode(request, *record, at.draft_node, flags);
  }

  Outcome<OpenedDirectory> OpenDirectory(const Request& request, NodeId node) override {
    if (IsCommitted(node)) return committed_.OpenDirectory(request, node);
    const NodeParts at = Parse(node);
    Outcome<RecordPtr> record = Readable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    if (auto own = Own(request, **record, store::Operation::kReadFiles); !own)
      return tl::unexpected(own.error());
    Result<std::vector<cas::DraftEntry>> children = (*record)->draft->List(at.draft_node);
    if (!children.ok()) return Refuse(children.error());
    std::vector<DirectoryEntry> entries;
    entries.reserve(children->size());
    for (cas::DraftEntry& child : *children) {
      entries.push_back(DirectoryEntry{.name = std::move(child.name),
                                       .node = DraftNodeId(at.draft, child.node),
                                       .type = TypeOf(child.kind),
                                       .entry = std::nullopt});
    }
    return OpenedDirectory{MakeDirectoryHandle(std::move(entries)), false};
  }

  Outcome<std::string> GetXattr(const Request& request, NodeId node, std::string_view name) override {
    const NodeParts at = Parse(node);
    Outcome<RecordPtr> record = Readable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    if (auto own = Own(request, **record, store::Operation::kReadFiles); !own)
      return tl::unexpected(own.error());
    if (at.draft_node == cas::kDraftRoot) {
      const store::DraftFields fields = drafts_.FieldsOf(**record);
      if (name == kDescription && !fields.description.empty()) return fields.description;
      if (name.starts_with(kTagPrefix)) {
        const auto tag = fields.tags.find(std::string(name.substr(kTagPrefix.size())));
        if (tag != fields.tags.end()) return tag->second;
      }
      if (name == "user.modelfs.status") return "DRAFT";
      // The draft's contents are its creator's; facts of the model need the creator's present permission.
      const store::ObjectId model_id = (*record)->model;
      const bool is_name = name == "user.modelfs.name";
      if (is_name || name == "user.modelfs.next_version") {
        auto may = is_name ? Permit(context_, request, store::Operation::kSee, model_id)
                           : PermitNumbers(context_, request, model_id);
        if (!may) return tl::unexpected(may.error());
        const Result<store::ObjectInfo> model = context_.registry->Get(context_.daemon, model_id);
        if (!model.ok()) return Refuse(model.error());
        return is_name ? model->full_name.ToString() : std::to_string(model->next_version);
      }
    }
    return Refuse(ENODATA, fmt::format("no attribute {} here", Printable(name)));
  }

  Outcome<std::vector<std::string>> ListXattr(const Request& request, NodeId node) override {
    const NodeParts at = Parse(node);
    Outcome<RecordPtr> record = Readable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    if (auto own = Own(request, **record, store::Operation::kReadFiles); !own)
      return tl::unexpected(own.error());
    std::vector<std::string> names;
    if (at.draft_node != cas::kDraftRoot) return names;
    names = {"user.modelfs.name", "user.modelfs.next_version", "user.modelfs.status"};
    const store::DraftFields fields = drafts_.FieldsOf(**record);
    if (!fields.description.empty()) names.emplace_back(kDescription);
    for (const auto& [key, value] : fields.tags) names.push_back(fmt::format("{}{}", kTagPrefix, key));
    return names;
  }

  Outcome<void> SetXattr(const Request& request, NodeId node, std::string_view name, std::string_view value,
                         int flags) override {
    return ChangeXattr(request, node, name, value, flags);
  }

  Outcome<void> RemoveXattr(const Request& request, NodeId node, std::string_view name) override {
    return ChangeXattr(request, node, name, std::nullopt, 0);
  }

  void LostBytes(NodeId node) override {
    const NodeParts at = Parse(node);
    if (const RecordPtr record = drafts_.Get(at.draft); record != nullptr) {
      record->draft->LostBytes(at.draft_node);
    }
  }

  void Forget(NodeId node) override {
    const NodeParts at = Parse(node);
    drafts_.Forgotten(at.draft, at.draft_node);
  }

 protected:
  Refusal Unsupported(std::string_view operation) const override {
    return {EPERM,
            fmt::format("{} is not possible in a draft: it holds files, directories and links", operation)};
  }

 private:
  enum class Search { kThere, kBelow };
  // A directory and a name in it that leads to `wanted`: in `directories`, or anywhere below. As in any file
  // system, a file does not know its directory.
  static std::optional<std::pair<cas::DraftNode, std::string>> FindIn(cas::Draft& draft,
                                                                      std::vector<cas::DraftNode> directories,
                                                                      cas::DraftNode wanted, Search search) {
    while (!directories.empty()) {
      const cas::DraftNode directory = directories.back();
      directories.pop_back();
      Result<std::vector<cas::DraftEntry>> entries = draft.List(directory);
      if (!entries.ok()) continue;  // not a directory, or gone meanwhile
      for (cas::DraftEntry& entry : *entries) {
        if (entry.node == wanted) return std::pair(directory, std::move(entry.name));
        if (search == Search::kBelow) directories.push_back(entry.node);
      }
    }
    return std::nullopt;
  }

  // Whether it is a directory of a draft that has become a version.
  bool IsCommitted(NodeId node) {
    return drafts_.Get(Parse(node).draft) == nullptr && committed_.Shown(node).has_value();
  }

  Outcome<void> Own(const Request& request, const DraftTable::Record& record, store::Operation operation) {
    return PermitDraft(context_, request, drafts_, record, operation);
  }

  Outcome<Entry> Named(DraftTable::Record& record, cas::DraftNode node) {
    drafts_.Touch(record);
    return EntryOf(record, node);
  }

  // Notes the refusal, because the program may go on without what it asked for: the commit then asks for that
  // name.
  static tl::unexpected<Refusal> Refused(DraftTable::Record& record, cas::DraftNode directory,
                                         std::string_view name, std::string_view what, Refusal refusal) {
    record.draft->NoteRefused(directory, name, what);
    return tl::unexpected(std::move(refusal));
  }

  // As ChangeRefusal, for this caller.
  Refusal Changed(const Request& request, const DraftTable::Record& record, const Error& error,
                  Emptiness emptiness = Emptiness::kDoesNotMatter) {
    const bool told = MayKnowNumbers(context_, request, record.model);
    return ChangeRefusal(drafts_, record, error, told ? Numbers::kTold : Numbers::kUntold, emptiness);
  }

  // The refusal for a caller that still holds a nodeid of it. That caller need not be its creator, nor still
  // see the model.
  Refusal Gone(const Request& request, uint32_t draft) {
    if (const auto commit = drafts_.CommittedAs(draft); commit.has_value()) {
      const bool told = MayKnowNumbers(context_, request, commit->model);
      return {EROFS, BecameVersion(told ? std::optional(commit->version) : std::nullopt)};
    }
    return {ESTALE, "this draft is gone: it was removed, or was unused for too long"};
  }

  Outcome<RecordPtr> Readable(const Request& request, uint32_t draft) {
    RecordPtr record = drafts_.Get(draft);
    if (record == nullptr) {
      Refusal refusal = Gone(request, draft);
      refusal.errno_value = ESTALE;
      return tl::unexpected(std::move(refusal));
    }
    return record;
  }

  // ESTALE only if nothing is remembered of it.
  Outcome<RecordPtr> Writable(const Request& request, uint32_t draft) {
    RecordPtr record = drafts_.Get(draft);
    if (record == nullptr) return tl::unexpected(Gone(request, draft));
    if (auto own = Own(request, *record, store::Operation::kCreateVersion); !own)
      return tl::unexpected(own.error());
    if (drafts_.StateOf(*record) != DraftState::kOpen) {
      return tl::unexpected(
          Changed(request, *record, Error(Code::kFailedPrecondition, "the draft is not open")));
    }
    return record;
  }

  Outcome<Attr> AttrOf(const DraftTable::Record& record, cas::DraftNode node) const {
    const Result<cas::DraftAttr> attr = record.draft->GetAttr(node);
    if (!attr.ok()) return Refuse(attr.error());
    return Attr{DraftStat(context_, *attr, record.creator), kDraftTtlS};
  }

  Outcome<Entry> EntryOf(const DraftTable::Record& record, cas::DraftNode node) const {
    Outcome<Attr> attr = AttrOf(record, node);
    if (!attr.has_value()) return tl::unexpected(attr.error());
    return Entry{.node = DraftNodeId(record.draft->number(), node),
                 .attr = attr->attr,
                 .attr_ttl_s = kDraftTtlS,
                 .entry_ttl_s = kDraftTtlS};
  }

  // The kernel would go on using the nodeid, which names the former draft. So a move is a copy and a removal:
  // `mv` and other programs do both by themselves when rename returns EXDEV.
  Outcome<void> BetweenDrafts(const Request& request, cas::DraftNumber from, cas::DraftNumber to,
                              unsigned flags) {
    for (const cas::DraftNumber each : {from, to}) {
      if (Outcome<RecordPtr> record = Writable(request, each); !record.has_value()) {
        return tl::unexpected(ForRename(record.error()));
      }
    }
    if ((flags & RENAME_EXCHANGE) != 0) {
      return Refuse(EPERM, "files of two drafts cannot be exchanged; move one after the other");
    }
    return Refuse(EXDEV, "to another draft, files are moved by copying and removing them, as `mv` does");
  }

  Outcome<OpenedFile> OpenNode(const Request& request, const RecordPtr& record, cas::DraftNode node,
                               int flags) {
    const auto access =
        (flags & O_ACCMODE) == O_RDONLY ? cas::Draft::Access::kRead : cas::Draft::Access::kWrite;
    if ((flags & O_TRUNC) != 0) {
      if (const Status done = record->draft->Truncate(node, 0); !done.ok()) {
        return tl::unexpected(Changed(request, *record, done.error()));
      }
    }
    auto handle = std::make_shared<DraftHandle>(drafts_, leases_, record, node, access, request.pid);
    if (const Status opened = handle->Open(); !opened.ok()) {
      return tl::unexpected(Changed(request, *record, opened.error()));
    }
    // All writes come through this kernel, so its pages are never older than the file.
    return OpenedFile{std::move(handle), PageCache::kKeep};
  }

  Outcome<void> RemoveName(const Request& request, NodeId parent, std::string_view name,
                           Status (cas::Draft::*remove)(cas::DraftNode, std::string_view)) {
    const NodeParts at = Parse(parent);
    Outcome<RecordPtr> record = Writable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    cas::Draft& draft = *(*record)->draft;
    const Result<cas::DraftEntry> entry = draft.Lookup(at.draft_node, name);
    if (!entry.ok()) return Refuse(entry.error());
    if (const Status done = (draft.*remove)(at.draft_node, name); !done.ok()) {
      return tl::unexpected(Changed(request, **record, done.error(), Emptiness::kMatters));
    }
    drafts_.Unlinked(**record, entry->node);
    drafts_.Touch(**record);
    return {};
  }

  // `value` absent: remove.
  Outcome<void> ChangeXattr(const Request& request, NodeId node, std::string_view name,
                            std::optional<std::string_view> value, int flags) {
    const NodeParts at = Parse(node);
    Outcome<RecordPtr> record = Writable(request, at.draft);
    if (!record.has_value()) return tl::unexpected(record.error());
    if (name.starts_with(kOwnPrefix) || name.starts_with(kAclPrefix)) return {};

    const bool tag = name.starts_with(kTagPrefix);
    if (at.draft_node != cas::kDraftRoot || (!tag && name != kDescription)) {
      if (!value.has_value()) return Refuse(ENODATA, fmt::format("no attribute {} here", Printable(name)));
      return Refuse(ENOTSUP,
                    "a draft keeps only the extended attributes user.tag.<key> and user.description, on its "
                    "top directory: they become the version's");
    }
    store::DraftFields fields = drafts_.FieldsOf(**record);
    const std::string key(tag ? name.substr(kTagPrefix.size()) : std::string_view());
    const bool present = tag ? fields.tags.contains(key) : !fields.description.empty();
    if (!value.has_value() && !present) {
      return Refuse(ENODATA, fmt::format("no attribute {} here", Printable(name)));
    }
    if ((flags & XATTR_CREATE) != 0 && present) return Refuse(EEXIST, "the attribute exists already");
    if ((flags & XATTR_REPLACE) != 0 && !present) return Refuse(ENODATA, "the attribute does not exist");
    if (value.has_value()) {
      Status valid = tag ? store::CheckTagKey(key) : store::CheckDescription(*value);
      if (valid.ok() && tag) valid = store::CheckTagValue(*value);
      if (!valid.ok()) return Refuse(valid.error());
      if (tag && !present && fields.tags.size() >= store::kMaxTagsPerObject) {
        return Refuse(EDQUOT, fmt::format("a version has at most {} tags", store::kMaxTagsPerObject));
      }
    }
    if (tag && value.has_value()) {
      fields.tags[key] = std::string(*value);
    } else if (tag) {
      fields.tags.erase(key);
    } else {
      fields.description = value.value_or(std::string_view());
    }
    if (const Status saved = drafts_.SetFields(**record, std::move(fields)); !saved.ok()) {
      return tl::unexpected(Changed(request, **record, saved.error()));
    }
    return {};
  }

  Context& context_;
  DraftTable& drafts_;
  store::LeasePool& leases_;
  CommittedDrafts committed_;
};

}  // namespace

std::unique_ptr<Zone> MakeDraftsZone(Context& context, DraftTable& drafts, store::LeasePool& leases,
                                     Zone& trees) {
  return std::make_unique<DraftsZone>(context, drafts, leases, trees);
}

Outcome<void> PermitDraft(const Context& context, const Request& request, DraftTable& drafts,
                          const DraftTable::Record& record, store::Operation operation) {
  if (request.caller.uid == record.creator) return {};
  const Error refusal(Code::kPermissionDenied, "a draft belongs to its creator alone until it is committed");
  AuditDecision(context, request, operation, record.model, refusal, {{"draft", drafts.NameOf(record)}});
  return Refuse(refusal);
}

Outcome<Entry> DraftRootEntry(const Context& context, DraftTable::Record& record) {
  const Result<cas::DraftAttr> attr = record.draft->GetAttr(cas::kDraftRoot);
  if (!attr.ok()) return Refuse(attr.error());
  return Entry{.node = DraftNodeId(record.draft->number(), cas::kDraftRoot),
               .attr = DraftStat(context, *attr, record.creator),
               .attr_ttl_s = 0,
               .entry_ttl_s = 0};
}

}  // namespace modelfs::fs
