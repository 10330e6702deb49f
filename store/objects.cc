// Catalogs, schemas and models: making, finding, listing, renaming, deleting.
#include <fmt/core.h>

#include "cas/base/text.h"
#include "store/embedded_registry_impl.h"
#include "store/keys.h"

namespace modelfs::store {
namespace {

constexpr size_t kListStep = 1000;

ObjectKind ChildKind(ObjectKind parent) { return static_cast<ObjectKind>(static_cast<unsigned>(parent) + 1); }

// "Catalog" as Unity Catalog's audit action names say it: createCatalog, deleteRegisteredModel.
std::string_view ActionNoun(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kMetastore:
      return "Metastore";
    case ObjectKind::kCatalog:
      return "Catalog";
    case ObjectKind::kSchema:
      return "Schema";
    case ObjectKind::kModel:
      return "RegisteredModel";
  }
  return "Object";
}

FullName Join(FullName name, std::string_view leaf) {
  name.parts.emplace_back(leaf);
  return name;
}

// The names under which a listing of these children is one query.
std::string ListQuery(ObjectId parent) { return fmt::format("list {}", parent); }

}  // namespace

Result<ObjectInfo> EmbeddedRegistryImpl::InfoOf(View& /*view*/, const StoredObject& object, FullName name) {
  ObjectInfo info;
  info.id = object.record.id;
  info.kind = object.record.kind;
  info.parent = object.parent;
  info.name = object.name;
  info.full_name = std::move(name);
  info.owner = object.record.owner;
  info.created_at_ms = object.record.created.at_ms;
  info.created_by = object.record.created.by;
  info.updated_at_ms = object.record.updated.at_ms;
  info.updated_by = object.record.updated.by;
  info.aliases = object.record.aliases;
  info.next_version = object.record.next_version;
  info.latest_ready = object.record.latest_ready;
  return info;
}

Result<ObjectInfo> EmbeddedRegistryImpl::FullInfoOf(View& view, const StoredObject& object) {
  ASSIGN_OR_RETURN(FullName name, view.NameOf(object));
  ASSIGN_OR_RETURN(ObjectInfo info, InfoOf(view, object, std::move(name)));
  if (object.record.has_description) {
    ASSIGN_OR_RETURN(info.comment, view.Description(object.record.id, 0));
  }
  return info;
}

Result<ObjectInfo> EmbeddedRegistryImpl::Lookup(const Caller& caller, const FullName& name) {
  return Inspect(caller, Operation::kRead, kMetastoreId, [&](View& view) -> Result<ObjectInfo> {
    ASSIGN_OR_RETURN(StoredObject object, view.Object(kMetastoreId));
    FullName so_far;
    for (const std::string& part : name.parts) {
      so_far.parts.push_back(part);
      if (object.record.kind == ObjectKind::kModel) {
        return Error(Code::kNotFound, fmt::format("{}: a model has no objects in it", name.ToString()));
      }
      Result<StoredObject> child = view.Child(object.record.id, part);
      if (!child.ok() && child.error().code() == Code::kNotFound) {
        return Error(Code::kNotFound, fmt::format("{}: no such {}", Printable(so_far.ToString()),
                                                  KindName(ChildKind(object.record.kind))));
      }
      if (!child.ok()) return child.error();
      object = *std::move(child);
    }
    return FullInfoOf(view, object);
  });
}

Result<ObjectInfo> EmbeddedRegistryImpl::LookupChild(const Caller& caller, ObjectId parent,
                                                     std::string_view leaf) {
  return Inspect(caller, Operation::kRead, parent, [&](View& view) -> Result<ObjectInfo> {
    ASSIGN_OR_RETURN(const StoredObject child, view.Child(parent, leaf));
    return FullInfoOf(view, child);
  });
}

Result<ObjectInfo> EmbeddedRegistryImpl::Get(const Caller& caller, ObjectId id) {
  return Inspect(caller, Operation::kRead, id, [&](View& view) -> Result<ObjectInfo> {
    ASSIGN_OR_RETURN(const StoredObject object, view.Object(id));
    return FullInfoOf(view, object);
  });
}

Result<Page<ObjectInfo>> EmbeddedRegistryImpl::List(const Caller& caller, ObjectId parent,
                                                    const PageRequest& page) {
  const size_t limit = PageLimit(page);
  std::string begin = keys::FirstChild(parent);
  if (!page.token.empty()) {
    ASSIGN_OR_RETURN(const std::string last, DecodePageToken(ListQuery(parent), page.token));
    if (!last.empty()) begin = keys::After(keys::Object(parent, last));
  }
  return Inspect(caller, Operation::kRead, parent, [&](View& view) -> Result<Page<ObjectInfo>> {
    ASSIGN_OR_RETURN(const StoredObject container, view.Object(parent));
    ASSIGN_OR_RETURN(const FullName container_name, view.NameOf(container));
    const std::string end = keys::AfterPrefix(keys::Object(parent, ""));
    Page<ObjectInfo> answer;
    while (answer.items.size() < limit) {
      const size_t step = std::min(kListStep, limit - answer.items.size());
      ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, view.snapshot().Range(begin, end, step));
      for (const KvEntry& entry : entries) {
        StoredObject child;
        child.parent = parent;
        child.name = keys::NameOf(entry.key, 1);
        ASSIGN_OR_RETURN(child.record, ObjectRecord::Decode(entry.value, child.name));
        ASSIGN_OR_RETURN(ObjectInfo info, InfoOf(view, child, Join(container_name, child.name)));
        answer.items.push_back(std::move(info));
      }
      if (entries.size() < step) return answer;
      begin = keys::After(entries.back().key);
    }
    ASSIGN_OR_RETURN(const std::vector<KvEntry> more, view.snapshot().Range(begin, end, 1));
    if (!more.empty()) {
      answer.next_token = EncodePageToken(ListQuery(parent), answer.items.back().name);
    }
    return answer;
  });
}

Result<ObjectInfo> EmbeddedRegistryImpl::Create(const Caller& caller, ObjectId parent, std::string_view leaf,
                                                std::string_view comment) {
  RETURN_IF_ERROR(CheckObjectName(leaf));
  RETURN_IF_ERROR(CheckDescription(comment));
  return Mutate(caller, Operation::kCreateChild, parent, [&](Change& change) -> Result<ObjectInfo> {
    ASSIGN_OR_RETURN(StoredObject container, change.Object(parent));
    if (container.record.kind == ObjectKind::kModel) {
      return Error(Code::kInvalidArgument,
                   fmt::format("{}: a model holds versions, not other objects", container.name));
    }
    ASSIGN_OR_RETURN(const FullName container_name, change.NameOf(container));
    const FullName name = Join(container_name, leaf);
    StoredObject object;
    object.parent = parent;
    object.name = leaf;
    object.record.kind = ChildKind(container.record.kind);
    ASSIGN_OR_RETURN(const std::optional<KvEntry> taken, change.Get(keys::Object(parent, leaf)));
    if (taken) {
      return Error(Code::kAlreadyExists,
                   fmt::format("{}: the {} exists already", name.ToString(), KindName(object.record.kind)));
    }
    ASSIGN_OR_RETURN(object.record.id, change.NextObjectId());
    object.record.owner = caller.principal;
    object.record.created = object.record.updated = change.stamp();
    object.record.has_description = !comment.empty();
    if (!comment.empty()) change.Put(keys::Description(object.record.id, 0), EncodeText(comment));
    change.PutObject(object);
    change.Put(keys::Where(object.record.id), WhereRecord{parent, object.name}.Encode());
    ++container.record.children;
    change.PutObject(container);
    change.Audit(fmt::format("create{}", ActionNoun(object.record.kind)), name, object.record.id,
                 {{"name", object.name}, {"comment_bytes", std::to_string(comment.size())}});
    change.Tell(EventKind::kCreated, object);
    ASSIGN_OR_RETURN(ObjectInfo info, InfoOf(change, object, name));
    info.comment = comment;
    return info;
  });
}

Status EmbeddedRegistryImpl::Delete(const Caller& caller, ObjectId id, DeleteMode mode) {
  bool leaves_versions = false;
  RETURN_IF_ERROR(Mutate(caller, Operation::kDelete, id, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(const StoredObject object, change.Object(id));
    ASSIGN_OR_RETURN(const FullName name, change.NameOf(object));
    if (object.record.kind == ObjectKind::kMetastore) {
      return Error(Code::kInvalidArgument, "the registry itself cannot be deleted from within");
    }
    const bool is_model = object.record.kind == ObjectKind::kModel;
    leaves_versions = is_model && object.record.children > 0;
    if (object.record.children > 0 && !(is_model && mode == DeleteMode::kWithVersions)) {
      const std::string_view held = is_model ? "version" : KindName(ChildKind(object.record.kind));
      return Error(
          Code::kFailedPrecondition,
          fmt::format("{} {} holds {} {}{}; delete them first", KindName(object.record.kind), name.ToString(),
                      object.record.children, held, object.record.children == 1 ? "" : "s"));
    }
    ASSIGN_OR_RETURN(StoredObject container, change.Object(object.parent));
    if (container.record.children > 0) --container.record.children;
    change.PutObject(container);
    change.Delete(keys::Object(object.parent, object.name));
    change.Delete(keys::Where(id));
    if (object.record.has_description) change.Delete(keys::Description(id, 0));
    ASSIGN_OR_RETURN(const auto tags, change.Tags(id, 0));
    for (const auto& [key, value] : tags) change.Delete(keys::Tag(id, 0, key));
    if (leaves_versions) change.Put(keys::Unfinished(id), EncodeText(""));
    change.Audit(fmt::format("delete{}", ActionNoun(object.record.kind)), name, id,
                 {{"full_name_arg", name.ToString()}});
    change.Tell(EventKind::kDeleted, object);
    return OkStatus();
  }));
  if (leaves_versions) {
    FinishDeletion(id).IgnoreError("the model is gone for everyone; a sweep finishes what is left");
  }
  return OkStatus();
}

Result<ObjectInfo> EmbeddedRegistryImpl::Rename(const Caller& caller, ObjectId model,
                                                std::string_view new_leaf) {
  RETURN_IF_ERROR(CheckObjectName(new_leaf));
  return Mutate(caller, Operation::kRename, model, [&](Change& change) -> Result<ObjectInfo> {
    ASSIGN_OR_RETURN(StoredObject object, change.Model(model));
    if (object.name == new_leaf) return FullInfoOf(change, object);
    ASSIGN_OR_RETURN(const FullName old_name, change.NameOf(object));
    const FullName new_name = Join(old_name.Parent(), new_leaf);
    ASSIGN_OR_RETURN(const std::optional<KvEntry> taken, change.Get(keys::Object(object.parent, new_leaf)));
    if (taken) {
      return Error(
          Code::kAlreadyExists,
          fmt::format("{}: there is a model of this name; rename cannot replace it", new_name.ToString()));
    }
    change.Delete(keys::Object(object.parent, object.name));
    const std::string old_leaf = std::exchange(object.name, std::string(new_leaf));
    change.TouchObject(object);
    change.Put(keys::Where(model), WhereRecord{object.parent, object.name}.Encode());
    change.Audit("updateRegisteredModel", old_name, model,
                 {{"full_name_arg", old_name.ToString()}, {"new_name", new_name.ToString()}});
    change.Tell(EventKind::kRenamed, object);
    change.event().old_name = old_leaf;
    return FullInfoOf(change, object);
  });
}

Result<ObjectInfo> EmbeddedRegistryImpl::SetOwner(const Caller& caller, ObjectId id,
                                                  std::string_view principal) {
  if (principal.empty() || principal.size() > kNameMaxBytes || !IsValidUtf8(principal) ||
      HasHiddenCharacters(principal)) {
    return Error(Code::kInvalidArgument,
                 fmt::format("owner \"{}\": a principal has 1 to 255 bytes of printable text",
                             Printable(principal.substr(0, kNameMaxBytes))));
  }
  return Mutate(caller, Operation::kSetOwner, id, [&](Change& change) -> Result<ObjectInfo> {
    ASSIGN_OR_RETURN(StoredObject object, change.Object(id));
    ASSIGN_OR_RETURN(const FullName name, change.NameOf(object));
    object.record.owner = principal;
    change.TouchObject(object);
    change.Audit(fmt::format("update{}", ActionNoun(object.record.kind)), name, id,
                 {{"full_name_arg", name.ToString()}, {"owner", std::string(principal)}});
    change.Tell(EventKind::kUpdated, object);
    return FullInfoOf(change, object);
  });
}

}  // namespace modelfs::store
