#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cas/base/check.h"
#include "cas/base/shell_word.h"
#include "cas/base/text.h"
#include "cas/base/thread.h"
#include "fs/base/refusals.h"
#include "fs/base/rename_refusal.h"
#include "fs/base/tree_cache.h"
#include "fs/drafts/draft_table.h"
#include "fs/sharing/permit.h"
#include "fs/zones/attrs.h"
#include "fs/zones/info.h"
#include "fs/zones/xattrs.h"
#include "fs/zones/zones.h"

namespace modelfs::fs {
namespace {

// "m/aliases/Champion" for "m@Champion"
std::string AliasPath(std::string_view name) {
  const size_t at = name.find('@');
  return fmt::format("{}/aliases/{}", name.substr(0, at), name.substr(at + 1));
}

using store::ObjectId;
using store::ObjectInfo;
using store::ObjectKind;

// One registry call fills this many names of a listing.
constexpr size_t kListPage = 1000;

ObjectId ObjectOf(NodeId node) {
  if (node == kRootNode) return store::kMetastoreId;
  const NodeParts parts = Parse(node);
  CHECK(parts.kind == NodeKind::kObject);
  return parts.object;
}

// The root's times change, and the kernel is never notified of the root (fs/kernel/fuse_channel.h).
constexpr double kRootAttrTtlS = 1;

ObjectKind ChildKind(ObjectKind parent) {
  CHECK(parent != ObjectKind::kModel);
  return static_cast<ObjectKind>(static_cast<uint8_t>(parent) + 1);
}

// The children of a catalog, schema or the root. They are read in pages as the reader comes to them, and
// kept, so that an offset means the same name for as long as the directory is open.
class ChildrenHandle : public DirectoryHandle {
 public:
  ChildrenHandle(const Context& context, store::Caller caller, ObjectId parent, ObjectKind child_kind)
      : context_(context), caller_(std::move(caller)), parent_(parent), child_kind_(child_kind) {}

  Outcome<void> FetchPage() {
    auto page = context_.registry->List(caller_, parent_, {.limit = kListPage, .token = next_token_});
    if (!page.ok()) return RefuseNode(page.error());
    items_.reserve(items_.size() + page->items.size());
    for (ObjectInfo& object : page->items) {
      if (owners_.size() >= kMaxOwners) owners_.clear();
      const auto owner = owners_.try_emplace(std::move(object.owner)).first;
      if (!owner->second) owner->second = OwnerUid(context_, owner->first);
      items_.push_back({std::move(object.name), object.id, object.updated_at_ms, *owner->second});
    }
    next_token_ = std::move(page->next_token);
    complete_ = next_token_.empty();
    return {};
  }

  Outcome<std::optional<DirectoryEntry>> At(uint64_t index, bool plus) override {
    while (index >= items_.size() && !complete_) {
      if (auto fetched = FetchPage(); !fetched) return tl::unexpected(fetched.error());
    }
    if (index >= items_.size()) return std::optional<DirectoryEntry>();
    const Item& item = items_[index];
    DirectoryEntry entry;
    entry.name = item.name;
    entry.node = ObjectNode(item.id);
    entry.type = S_IFDIR;
    if (plus) {
      ObjectInfo object;
      object.kind = child_kind_;
      object.updated_at_ms = item.updated_at_ms;
      entry.entry = Entry{entry.node, ObjectStat(context_, object), kNamesTtlS, kNamesTtlS};
      entry.entry->attr.st_uid = item.owner;
    }
    return std::optional<DirectoryEntry>(std::move(entry));
  }

 private:
  struct Item {  // as small as it can be: a schema may hold 100,000
    std::string name;
    ObjectId id = 0;
    int64_t updated_at_ms = 0;
    uid_t owner = 0;
  };
  static constexpr size_t kMaxOwners = 1000;

  const Context& context_;
  const store::Caller caller_;
  const ObjectId parent_;
  const ObjectKind child_kind_;
  std::vector<Item> items_;
  std::unordered_map<std::string, std::optional<uid_t>> owners_;  // looked up once for many children
  std::string next_token_;
  bool complete_ = false;
};

// Recognises threads that copy a whole model into a new one, as `cp -r` and shutil.copytree do, by their
// requests. They list a model, make another, and look for `versions` and `aliases` in it to make those, too.
// Both exist already, so the kernel refuses that mkdir by itself, and nothing else shows the attempt.
// Bounded; thread-safe.
class ModelCopies {
 public:
  void Listed(pid_t thread, ObjectId model) {
    MutexLock lock(mu_);
    Of(thread).source = model;
  }

  void Made(pid_t thread, ObjectId model) {
    MutexLock lock(mu_);
    Copy& copy = Of(thread);
    copy.made = model;
    copy.asked_for = 0;
  }

  // `part` of `model` was looked up. Returns the source of the copy into `model`, once both parts were looked
  // up.
  std::optional<ObjectId> LookedUp(pid_t thread, ObjectId model, std::string_view part) {
    MutexLock lock(mu_);
    const auto copy =
        std::find_if(copies_.begin(), copies_.end(), [&](const Copy& each) { return each.thread == thread; });
    if (copy == copies_.end() || copy->made != model || copy->source == 0 || copy->source == model)
      return std::nullopt;
    copy->asked_for |= part == "versions" ? 1U : 2U;
    if (copy->asked_for != 3U) return std::nullopt;
    const ObjectId source = copy->source;
    copies_.erase(copy);
    return source;
  }

 private:
  static constexpr size_t kThreads = 64;
  struct Copy {
    pid_t thread = 0;
    ObjectId source = 0;
    ObjectId made = 0;
    unsigned asked_for = 0;
  };

  Copy& Of(pid_t thread) REQUIRES(mu_) {
    const auto known =
        std::find_if(copies_.begin(), copies_.end(), [&](const Copy& each) { return each.thread == thread; });
    Copy copy{.thread = thread};
    if (known != copies_.end()) {
      copy = *known;
      copies_.erase(known);
    } else if (copies_.size() == kThreads) {
      copies_.pop_front();
    }
    return copies_.emplace_back(copy);
  }

  Mutex mu_;
  std::deque<Copy> copies_ GUARDED_BY(mu_);  // the most recent last
};

class ObjectsZone : public Zone {
 public:
  explicit ObjectsZone(Context& context) : context_(context) {}

  Outcome<Entry> Lookup(const Request& request, NodeId parent, std::string_view name) override;
  Outcome<Attr> GetAttr(const Request& request, NodeId node) override;
  Outcome<NodeId> ParentOf(NodeId directory) override;
  Outcome<Place> PlaceOf(NodeId node) override;
  Outcome<Attr> SetAttr(const Request& request, NodeId node, const AttrChange& change) override;
  Outcome<Entry> MakeDirectory(const Request& request, NodeId parent, std::string_view name,
                               mode_t mode) override;
  Outcome<CreatedFile> Create(const Request& request, NodeId parent, std::string_view name, mode_t mode,
                              int flags) override;
  Outcome<Entry> MakeSymlink(const Request& request, NodeId parent, std::string_view name,
                             std::string_view target) override;
  Outcome<void> RemoveDirectory(const Request& request, NodeId parent, std::string_view name) override;
  Outcome<void> Rename(const Request& request, NodeId parent, std::string_view name, NodeId new_parent,
                       std::string_view new_name, unsigned flags) override;
  Outcome<OpenedDirectory> OpenDirectory(const Request& request, NodeId node) override;
  Outcome<std::string> GetXattr(const Request& request, NodeId node, std::string_view name) override;
  Outcome<std::vector<std::string>> ListXattr(const Request& request, NodeId node) override;
  Outcome<void> SetXattr(const Request& request, NodeId node, std::string_view name, std::string_view value,
                         int flags) override;
  Outcome<void> RemoveXattr(const Request& request, NodeId node, std::string_view name) override;

 protected:
  Refusal Unsupported(std::string_view operation) const override {
    return {EPERM, fmt::format("{} is not possible on catalogs, schemas and models; possible are mkdir, "
                               "rmdir, mv of a model within its schema and setfattr",
                               operation)};
  }

 private:
  // LOOKUP does not depend on the caller, so the daemon itself is the caller here.
  Result<ObjectInfo> Get(NodeId node) { return context_.registry->Get(context_.daemon, ObjectOf(node)); }

  // A name in `container`, as a message begins with it.
  std::string SubjectOf(const Request& request, const ObjectInfo& container, std::string_view name) const;

  void NoteLookup(const Request& request, const ObjectInfo& model, std::string_view part);
  Outcome<Entry> LookupAlias(ObjectId schema, std::string_view model, std::string_view alias);
  Entry ObjectEntry(const ObjectInfo& object) const {
    return {ObjectNode(object.id), ObjectStat(context_, object), kNamesTtlS, kNamesTtlS};
  }
  Entry PartEntry(NodeId node, const ObjectInfo& model) const {
    return {node, ModelPartStat(context_, model), kNamesTtlS, kNamesTtlS};
  }

  Context& context_;
  ModelCopies copies_;
};

// Records a refusal that the kernel gives by itself, so that its user finds it in `modelfs why`.
void ObjectsZone::NoteLookup(const Request& request, const ObjectInfo& model, std::string_view part) {
  const std::optional<ObjectId> source_id = copies_.LookedUp(request.pid, model.id, part);
  if (!source_id || context_.refusals == nullptr || model.next_version != 1) return;
  if (context_.draft_table != nullptr && !context_.draft_table->List(model.id).empty()) return;
  const auto source = context_.registry->Get(context_.daemon, *source_id);
  if (!source.ok()) return;
  const std::vector<std::string>& parts = model.full_name.parts;
  RefusalRecord record;
  record.uid = request.caller.uid;
  record.operation = "mkdir";
  record.path = fmt::format("/{}/versions", fmt::join(parts, "/"));
  record.errno_value = EEXIST;
  record.message = fmt::format(
      "a new model has its versions/ and aliases/ at once, and a version appears by a commit, so `cp -r` "
      "cannot "
      "copy a model as a whole; this can: {}",
      HowToCopy(source->full_name.ToString(), model.full_name.ToString()));
  context_.refusals->Record(std::move(record));
}

std::string ObjectsZone::SubjectOf(const Request& request, const ObjectInfo& container,
                                   std::string_view name) const {
  const std::string shown = ShownName(context_, request, container);
  switch (container.kind) {
    case ObjectKind::kMetastore:
      return Printable(name);
    case ObjectKind::kModel:
      return fmt::format("{}: {}", shown, Printable(name));
    default:
      return fmt::format("{}.{}", shown, Printable(name));
  }
}

Outcome<Entry> ObjectsZone::LookupAlias(ObjectId schema, std::string_view model, std::string_view alias) {
  const auto info = context_.registry->LookupChild(context_.daemon, schema, model);
  if (!info.ok()) return Refuse(ENOENT, info.error().message());
  const auto found = std::find_if(info->aliases.begin(), info->aliases.end(),
                                  [&](const store::AliasInfo& each) { return each.name == alias; });
  if (info->kind != ObjectKind::kModel || found == info->aliases.end()) {
    return Refuse(ENOENT, fmt::format("{} has no alias {}", info->full_name.ToString(), Printable(alias)));
  }
  const auto version = context_.registry->GetVersionById(context_.daemon, found->version_id);
  if (!version.ok()) return Refuse(version.error());
  Entry entry;
  entry.node = AliasTreeNode(found->slot, found->version_id, 0);
  entry.attr = AliasRootStat(context_, *version, *found);
  entry.attr_ttl_s = kForever;
  entry.entry_ttl_s = 0;
  return entry;
}

Outcome<Entry> ObjectsZone::Lookup(const Request& request, NodeId parent, std::string_view name) {
  if (parent == kRootNode && name == ".modelfs") return ControlDirectoryEntry(context_);
  const ObjectId object = ObjectOf(parent);

  // In a model these are its parts; elsewhere the first two are ordinary names.
  if (name == "versions" || name == "aliases" || name == ".info") {
    const auto info = context_.registry->Get(context_.daemon, object);
    if (!info.ok()) return RefuseNode(info.error());
    if (info->kind == ObjectKind::kModel) {
      if (name != ".info") NoteLookup(request, *info, name);
      if (name == "versions") return PartEntry(VersionsNode(object), *info);
      if (name == "aliases") return PartEntry(AliasesNode(object), *info);
      return InfoDirectoryEntry(context_, *info);
    }
  }
  if (const size_t at = name.find('@'); at != std::string_view::npos) {
    return LookupAlias(object, name.substr(0, at), name.substr(at + 1));
  }
  if (const Status legal = store::CheckObjectName(name); !legal.ok()) {
    return Refuse(ENOENT, legal.error().message());
  }
  const auto child = context_.registry->LookupChild(context_.daemon, object, name);
  if (!child.ok()) return Refuse(child.error());
  return ObjectEntry(*child);
}

Outcome<Attr> ObjectsZone::GetAttr(const Request& /*request*/, NodeId node) {
  const auto object = Get(node);
  if (!object.ok()) return RefuseNode(object.error());
  return Attr{ObjectStat(context_, *object), node == kRootNode ? kRootAttrTtlS : kNamesTtlS};
}

Outcome<NodeId> ObjectsZone::ParentOf(NodeId directory) {
  if (directory == kRootNode) return kRootNode;
  const auto object = Get(directory);
  if (!object.ok()) return RefuseNode(object.error());
  return ObjectNode(object->parent);
}

Outcome<Place> ObjectsZone::PlaceOf(NodeId node) {
  auto object = Get(node);
  if (!object.ok()) return Refuse(object.error());
  return Place{ObjectNode(object->parent), std::move(object->name)};
}

Outcome<Attr> ObjectsZone::SetAttr(const Request& request, NodeId node, const AttrChange& change) {
  const auto object = Get(node);
  if (!object.ok()) return RefuseNode(object.error());
  const struct stat now = ObjectStat(context_, *object);
  constexpr mode_t kPermissions = 07777;
  if (change.mode && (*change.mode & kPermissions) != (now.st_mode & kPermissions)) {
    return Refuse(EPERM, fmt::format("{}: access is a matter of the registry's grants and not of mode bits, "
                                     "which stay {:04o}",
                                     ShownName(context_, request, *object), now.st_mode & kPermissions));
  }
  if ((change.uid && *change.uid != now.st_uid) || (change.gid && *change.gid != now.st_gid)) {
    return Refuse(EPERM, fmt::format("{}: chown does not transfer ownership here; use `setfattr -n "
                                     "user.modelfs.owner -v PRINCIPAL`",
                                     ShownName(context_, request, *object)));
  }
  // Times are the registry's record of the last change. Setting them succeeds and changes nothing, because
  // tar, rsync -a and cp -a finish each directory that they make by setting its times.
  return Attr{now, kNamesTtlS};
}

Outcome<Entry> ObjectsZone::MakeDirectory(const Request& request, NodeId parent, std::string_view name,
                                          mode_t /*mode*/) {
  const auto container = Get(parent);
  if (!container.ok()) return RefuseNode(container.error());
  if (container->kind == ObjectKind::kModel) {
    return Refuse(EPERM,
                  fmt::format("{}: a model holds versions/ and aliases/ and nothing else; a new version "
                              "begins with `mkdir versions/draft`",
                              ShownName(context_, request, *container)));
  }
  if (parent == kRootNode && name == ".modelfs") {
    return Refuse(EEXIST, ".modelfs: the mount's own directory is there already");
  }
  const auto created = context_.registry->Create(request.caller, container->id, name, "");
  if (!created.ok()) return RefuseCaller(context_, container->id, created.error());
  if (created->kind == ObjectKind::kModel) copies_.Made(request.pid, created->id);
  return ObjectEntry(*created);
}

Outcome<CreatedFile> ObjectsZone::Create(const Request& request, NodeId parent, std::string_view name,
                                         mode_t /*mode*/, int /*flags*/) {
  const auto container = Get(parent);
  if (!container.ok()) return RefuseNode(container.error());
  const std::string subject = SubjectOf(request, *container, name);
  if (container->kind == ObjectKind::kModel) {
    return Refuse(EPERM,
                  fmt::format("{}: files belong to a version; make a draft with `mkdir versions/draft`, "
                              "write there, and `mv versions/draft versions/next`",
                              subject));
  }
  return Refuse(EPERM,
                fmt::format("{}: only directories are possible here: mkdir makes a {}; files belong in "
                            "MODEL/versions/draft/",
                            subject, store::KindName(ChildKind(container->kind))));
}

Outcome<Entry> ObjectsZone::MakeSymlink(const Request& request, NodeId parent, std::string_view name,
                                        std::string_view /*target*/) {
  const auto container = Get(parent);
  if (!container.ok()) return RefuseNode(container.error());
  return Refuse(
      EPERM,
      fmt::format(
          "{}: symlinks are aliases and belong in MODEL/aliases/: `ln -sfn ../versions/N MODEL/aliases/NAME`",
          SubjectOf(request, *container, name)));
}

Outcome<void> ObjectsZone::RemoveDirectory(const Request& request, NodeId parent, std::string_view name) {
  const auto container = Get(parent);
  if (!container.ok()) return RefuseNode(container.error());
  const std::string subject = SubjectOf(request, *container, name);
  if (container->kind == ObjectKind::kModel) {
    return Refuse(EPERM,
                  fmt::format("{}: it is part of the model and goes with it: rmdir the model once it has "
                              "no versions",
                              subject));
  }
  if (parent == kRootNode && name == ".modelfs") {
    return Refuse(EPERM, ".modelfs: the mount's own directory cannot be removed");
  }
  if (const size_t at = name.find('@'); at != std::string_view::npos) {
    return Refuse(EPERM,
                  fmt::format("{}: this is an alias seen as a directory; to remove the alias: {}; to delete "
                              "a version: {}",
                              subject, ShellCommand({"rm"}, {AliasPath(name)}),
                              ShellCommand({"rmdir"}, {fmt::format("{}/versions/N", name.substr(0, at))})));
  }
  const auto child = context_.registry->LookupChild(context_.daemon, container->id, name);
  if (!child.ok()) return Refuse(child.error());
  if (context_.draft_table != nullptr && child->kind == ObjectKind::kModel) {
    if (const auto drafts = context_.draft_table->List(child->id); !drafts.empty()) {
      // A caller that may not delete it is refused for that, and learns nothing of other users' drafts.
      if (auto may = Permit(context_, request, store::Operation::kDelete, child->id); !may) return may;
      return Refuse(ENOTEMPTY,
                    fmt::format("{}: this mount holds {} drafts of it, which their creators have to "
                                "commit or remove first",
                                subject, drafts.size()));
    }
  }
  const Status deleted =
      context_.registry->Delete(request.caller, child->id, store::Registry::DeleteMode::kIfEmpty);
  if (deleted.ok()) return {};
  if (deleted.error().code() == Code::kFailedPrecondition) {
    return Refuse(ENOTEMPTY, deleted.error().message());
  }
  return RefuseCaller(context_, child->id, deleted.error());
}

Outcome<void> ObjectsZone::Rename(const Request& request, NodeId parent, std::string_view name,
                                  NodeId new_parent, std::string_view new_name, unsigned flags) {
  const auto container = Get(parent);
  if (!container.ok()) return Refuse(container.error());
  const std::string subject = SubjectOf(request, *container, name);
  if ((flags & RENAME_EXCHANGE) != 0) {
    return Refuse(EPERM,
                  fmt::format("{}: two models cannot be exchanged; rename one after the other", subject));
  }
  if (container->kind == ObjectKind::kModel || name == ".modelfs") {
    return Refuse(EPERM, fmt::format("{}: this name is fixed and cannot be moved", subject));
  }
  if (container->kind != ObjectKind::kSchema) {
    return Refuse(EPERM, fmt::format("{}: only models can be renamed, a {} cannot", subject,
                                     store::KindName(ChildKind(container->kind))));
  }
  if (const size_t at = name.find('@'); at != std::string_view::npos) {
    return Refuse(
        EPERM, fmt::format("{}: this is an alias seen as a directory; rename the alias: {}", subject,
                           ShellCommand({"mv", "-T"}, {AliasPath(name),
                                                       fmt::format("{}/aliases/NEW", name.substr(0, at))})));
  }
  if (new_parent != parent) {
    return Refuse(EPERM, fmt::format("{}: a model stays in its schema; to bring a version elsewhere without "
                                     "copying its bytes: {}",
                                     subject,
                                     ShellCommand({"cp", "-r"}, {fmt::format("{}/versions/N", name),
                                                                 "CATALOG/SCHEMA/MODEL/versions/draft"})));
  }
  const auto model = context_.registry->LookupChild(context_.daemon, container->id, name);
  if (!model.ok()) return Refuse(model.error());
  if (name == new_name) return {};
  const auto renamed = context_.registry->Rename(request.caller, model->id, new_name);
  if (renamed.ok()) return {};
  switch (renamed.error().code()) {
    case Code::kAlreadyExists:  // a model is never replaced; `mv` must not get EEXIST or EINVAL
    case Code::kInvalidArgument:
      return Refuse(EPERM, renamed.error().message());
    default:
      return tl::unexpected(ForRename(RefuseCaller(context_, model->id, renamed.error()).value()));
  }
}

Outcome<OpenedDirectory> ObjectsZone::OpenDirectory(const Request& request, NodeId node) {
  const auto object = Get(node);
  if (!object.ok()) return RefuseNode(object.error());
  if (object->kind != ObjectKind::kMetastore) {
    if (auto may = Permit(context_, request, store::Operation::kSee, object->id); !may) {
      return tl::unexpected(may.error());
    }
  }
  if (object->kind == ObjectKind::kModel) {
    copies_.Listed(request.pid, object->id);
    const Entry aliases = PartEntry(AliasesNode(object->id), *object);
    const Entry versions = PartEntry(VersionsNode(object->id), *object);
    return OpenedDirectory{MakeDirectoryHandle({{"aliases", aliases.node, S_IFDIR, aliases},
                                                {"versions", versions.node, S_IFDIR, versions}}),
                           false};
  }
  auto children =
      std::make_shared<ChildrenHandle>(context_, request.caller, object->id, ChildKind(object->kind));
  if (auto fetched = children->FetchPage(); !fetched) return tl::unexpected(fetched.error());
  return OpenedDirectory{std::move(children), false};
}

Outcome<std::string> ObjectsZone::GetXattr(const Request& request, NodeId node, std::string_view name) {
  return GetObjectXattr(context_, request, ObjectOf(node), name);
}

Outcome<std::vector<std::string>> ObjectsZone::ListXattr(const Request& request, NodeId node) {
  return ListObjectXattrs(context_, request, ObjectOf(node));
}

Outcome<void> ObjectsZone::SetXattr(const Request& request, NodeId node, std::string_view name,
                                    std::string_view value, int flags) {
  const auto object = Get(node);
  if (!object.ok()) return RefuseNode(object.error());
  return SetXattrOf(context_, request, {object->id, std::nullopt}, ShownName(context_, request, *object),
                    name, value, flags);
}

Outcome<void> ObjectsZone::RemoveXattr(const Request& request, NodeId node, std::string_view name) {
  const auto object = Get(node);
  if (!object.ok()) return RefuseNode(object.error());
  return RemoveXattrOf(context_, request, {object->id, std::nullopt}, ShownName(context_, request, *object),
                       name);
}

}  // namespace

std::unique_ptr<Zone> MakeObjectsZone(Context& context) { return std::make_unique<ObjectsZone>(context); }

}  // namespace modelfs::fs
