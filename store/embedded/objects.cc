// Catalogs, schemas and models: making, finding, listing, renaming, deleting.
#include <fmt/core.h>

#include <algorithm>

#include "cas/base/text.h"
#include "store/actions.h"
#include "store/embedded/embedded_registry_impl.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

constexpr size_t kListStep = 1000;

ObjectKind ChildKind(ObjectKind parent) { return static_cast<ObjectKind>(static_cast<unsigned>(parent) + 1); }

FullName Join(FullName name, std::string_view leaf) {
  name.parts.emplace_back(leaf);
  return name;
}

// By the number of parts, whether or not the object exists. A name with more parts than a model's names
// nothing.
ObjectKind KindOf(const FullName& name) {
  return static_cast<ObjectKind>(
      std::min<size_t>(name.parts.size(), static_cast<size_t>(ObjectKind::kModel)));
}

// The query of a listing of these children, for its page tokens.
std::string ListQuery(ObjectId parent) { return fmt::format("list {}", parent); }

}  // namespace

Operation CreateOperation(ObjectKind holder) {
  switch (holder) {
    case ObjectKind::kMetastore:
      return Operation::kCreateCatalog;
    case ObjectKind::kCatalog:
      return Operation::kCreateSchema;
    case ObjectKind::kSchema:
      return Operation::kCreateModel;
    case ObjectKind::kModel:
      return Operation::kCreateVersion;
  }
  return Operation::kCreateVersion;
}

Result<ObjectInfo> EmbeddedRegistryImpl::InfoOf(View& view, const StoredObject& object, FullName name,
                                                Detail detail) {
  ObjectInfo info;
  info.id = object.record.id;
  info.kind = object.record.kind;
  info.parent = object.parent;
  info.name = object.name;
  info.full_name = std::move(name);
  ASSIGN_OR_RETURN(info.owner_id, view.OwnerOf(object.record));
  ASSIGN_OR_RETURN(info.owner, view.NameOfPrincipal(info.owner_id));
  info.created_at_ms = object.record.created.at_ms;
  info.created_by = object.record.created.by;
  info.updated_at_ms = object.record.updated.at_ms;
  info.updated_by = object.record.updated.by;
  info.browse_only = detail == Detail::kThin;
  if (info.browse_only) return info;
  info.aliases = object.record.aliases;
  info.next_version = object.record.next_version;
  info.latest_ready = object.record.latest_ready;
  return info;
}

Result<ObjectInfo> EmbeddedRegistryImpl::FullInfoOf(View& view, const Caller& caller,
                                                    const StoredObject& object) {
  RETURN_IF_ERROR(
      authorizer_.Check(view, caller, Operation::kSee, object.record.id, Authorizer::Named::kByCaller));
  ASSIGN_OR_RETURN(const bool full, authorizer_.May(view, caller, Operation::kGet, object.record.id));
  ASSIGN_OR_RETURN(FullName name, view.NameOf(object));
  ASSIGN_OR_RETURN(ObjectInfo info,
                   InfoOf(view, object, std::move(name), full ? Detail::kFull : Detail::kThin));
  if (object.record.has_description) {
    ASSIGN_OR_RETURN(info.comment, view.Description(object.record.id, 0));
  }
  return info;
}

Result<ObjectInfo> EmbeddedRegistryImpl::LookupIn(View& view, const Caller& caller, const FullName& name) {
  // All containers of a visible object are visible and open, so one check of the object is enough.
  ASSIGN_OR_RETURN(const std::optional<StoredObject> object, view.Find(name));
  if (object) {
    Result<ObjectInfo> info = FullInfoOf(view, caller, *object);
    if (info.ok() || info.error().code() != Code::kPermissionDenied) return info;
  }
  ASSIGN_OR_RETURN(StoredObject at, view.Object(kMetastoreId));
  FullName so_far;
  for (const std::string& part : name.parts) {
    so_far.parts.push_back(part);
    ASSIGN_OR_RETURN(at, VisibleChild(view, caller, at, so_far));
  }
  return FullInfoOf(view, caller, at);
}

Result<StoredObject> EmbeddedRegistryImpl::VisibleChild(View& view, const Caller& caller,
                                                        const StoredObject& container, const FullName& name) {
  if (container.record.kind == ObjectKind::kModel) {
    return Error(Code::kNotFound,
                 fmt::format("{}: a model has no objects in it", Printable(name.ToString())));
  }
  RETURN_IF_ERROR(authorizer_.CheckInside(view, caller, container.record.id));
  Result<StoredObject> child = view.Child(container.record.id, name.leaf());
  if (child.ok()) {
    const Status seen =
        authorizer_.Check(view, caller, Operation::kSee, child->record.id, Authorizer::Named::kByCaller);
    if (seen.ok()) return child;
    if (seen.error().code() != Code::kPermissionDenied) return seen.error();
    view.NoteHidden(seen.error());
  } else if (child.error().code() != Code::kNotFound) {
    return child;
  }
  ASSIGN_OR_RETURN(const bool nothing_hidden, authorizer_.SeesAllIn(view, caller, container.record.id));
  return Error(
      Code::kNotFound,
      fmt::format(
          "{}: no such {}{}", Printable(name.ToString()), KindName(ChildKind(container.record.kind)),
          nothing_hidden ? "" : fmt::format(", or none that {} may see", Printable(caller.principal))));
}

Result<ObjectInfo> EmbeddedRegistryImpl::Lookup(const Caller& caller, const FullName& name) {
  Asked asked{Operation::kUse, kMetastoreId};
  asked.full_name = name.ToString();
  asked.action = ActionOf(Operation::kGet, KindOf(name));
  return Inspect(caller, asked, [&](View& view) { return FindByName(view, caller, name); });
}

Result<ObjectInfo> EmbeddedRegistryImpl::FindByName(View& view, const Caller& caller, const FullName& name) {
  Result<ObjectInfo> found = LookupIn(view, caller, name);
  if (found.ok()) return found;
  // Collects everything that is missing, on the way and on the object itself, in one answer. A hidden name
  // gets the same answer as an absent one.
  const Status seen = authorizer_.CheckSeeByName(view, caller, name);
  if (seen.ok()) return found;
  if (found.error().code() == Code::kPermissionDenied) return seen.error();
  if (found.error().code() != Code::kNotFound) return found;
  return Error(Code::kNotFound,
               fmt::format("{}; if it exists: {}", found.error().message(), seen.error().message()));
}

Result<ObjectInfo> EmbeddedRegistryImpl::LookupChild(const Caller& caller, ObjectId parent,
                                                     std::string_view leaf) {
  return Inspect(caller, Operation::kUse, parent,
                 [&](View& view) { return FindChild(view, caller, parent, leaf); });
}

Result<ObjectInfo> EmbeddedRegistryImpl::FindChild(View& view, const Caller& caller, ObjectId parent,
                                                   std::string_view leaf) {
  const Result<StoredObject> child = view.Child(parent, leaf);
  if (child.ok()) {
    Result<ObjectInfo> info = FullInfoOf(view, caller, *child);
    if (info.ok() || info.error().code() != Code::kPermissionDenied) return info;
  }
  ASSIGN_OR_RETURN(const StoredObject container, view.Object(parent));
  RETURN_IF_ERROR(authorizer_.CheckInside(view, caller, parent));
  ASSIGN_OR_RETURN(const FullName name, view.NameOf(container));
  ASSIGN_OR_RETURN(const StoredObject visible, VisibleChild(view, caller, container, Join(name, leaf)));
  return FullInfoOf(view, caller, visible);
}

Result<ObjectInfo> EmbeddedRegistryImpl::Get(const Caller& caller, ObjectId id) {
  return Inspect(caller, Operation::kSee, id,
                 [&](View& view) -> Result<ObjectInfo> { return FindById(view, caller, id); });
}

Result<ObjectInfo> EmbeddedRegistryImpl::FindById(View& view, const Caller& caller, ObjectId id) {
  ASSIGN_OR_RETURN(const StoredObject object, view.Object(id));
  return FullInfoOf(view, caller, object);
}

EmbeddedRegistryImpl::Asked EmbeddedRegistryImpl::AskedOf(const Subject& subject) {
  Asked asked{Operation::kUse, kMetastoreId};
  if (const auto* id = std::get_if<ObjectId>(&subject.object)) {
    asked.operation = subject.to_do.value_or(subject.version ? Operation::kGet : Operation::kSee);
    asked.object = *id;
  } else if (const auto* child = std::get_if<Subject::Child>(&subject.object)) {
    asked.object = child->parent;
  } else {
    const FullName& name = std::get<FullName>(subject.object);
    asked.full_name = name.ToString();
    asked.action = ActionOf(Operation::kGet, KindOf(name));
  }
  if (subject.version) {
    asked.params["version_arg"] = std::to_string(*subject.version);
    if (!subject.to_do) asked.action = "getModelVersion";
  }
  return asked;
}

Result<Description> EmbeddedRegistryImpl::Describe(const Caller& caller, const Subject& subject) {
  return Inspect(caller, AskedOf(subject), [&](View& view) -> Result<Description> {
    Description described;
    if (const auto* id = std::get_if<ObjectId>(&subject.object)) {
      ASSIGN_OR_RETURN(described.object, FindById(view, caller, *id));
    } else if (const auto* child = std::get_if<Subject::Child>(&subject.object)) {
      ASSIGN_OR_RETURN(described.object, FindChild(view, caller, child->parent, child->leaf));
    } else {
      ASSIGN_OR_RETURN(described.object, FindByName(view, caller, std::get<FullName>(subject.object)));
    }
    const ObjectId object = described.object.id;
    if (subject.to_do) RETURN_IF_ERROR(authorizer_.Check(view, caller, *subject.to_do, object));
    if (subject.version) {
      RETURN_IF_ERROR(authorizer_.Check(view, caller, Operation::kGet, object));
      ASSIGN_OR_RETURN(described.version, FullVersion(view, caller, object, *subject.version));
    }
    ASSIGN_OR_RETURN(described.tags, view.Tags(object, subject.version.value_or(0)));
    return described;
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
  return Inspect(caller, Operation::kSee, parent, [&](View& view) -> Result<Page<ObjectInfo>> {
    ASSIGN_OR_RETURN(const StoredObject container, view.Object(parent));
    ASSIGN_OR_RETURN(const FullName container_name, view.NameOf(container));
    ASSIGN_OR_RETURN(const Visibility visible, authorizer_.VisibleIn(view, caller, parent));
    Page<ObjectInfo> answer;
    // False: the page is full, and there is more.
    const auto add = [&](const StoredObject& child) -> Result<bool> {
      ASSIGN_OR_RETURN(const std::optional<Detail> detail, DetailOf(view, caller, visible, child.record.id));
      if (!detail) return true;
      if (answer.items.size() == limit) {
        answer.next_token = EncodePageToken(ListQuery(parent), answer.items.back().name);
        return false;
      }
      ASSIGN_OR_RETURN(ObjectInfo info, InfoOf(view, child, Join(container_name, child.name), *detail));
      answer.items.push_back(std::move(info));
      return true;
    };
    if (!visible.all) {
      // The caller sees a few children among many: find them by its holdings instead of looking at each
      // child.
      ASSIGN_OR_RETURN(const std::vector<StoredObject> children, ChildrenOf(view, parent, visible.some));
      for (const StoredObject& child : children) {
        if (keys::Object(parent, child.name) < begin) continue;
        ASSIGN_OR_RETURN(const bool more, add(child));
        if (!more) break;
      }
      return answer;
    }
    const std::string end = keys::AfterPrefix(keys::Object(parent, ""));
    for (;;) {
      const size_t step = std::min(kListStep, limit + 1 - answer.items.size());
      ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, view.snapshot().Range(begin, end, step));
      for (const KvEntry& entry : entries) {
        StoredObject child;
        child.parent = parent;
        child.name = keys::NameOf(entry.key, 1);
        ASSIGN_OR_RETURN(child.record, ObjectRecord::Decode(entry.value, child.name));
        ASSIGN_OR_RETURN(const bool more, add(child));
        if (!more) return answer;
      }
      if (entries.size() < step) return answer;
      begin = keys::After(entries.back().key);
    }
  });
}

Result<std::optional<EmbeddedRegistryImpl::Detail>> EmbeddedRegistryImpl::DetailOf(View& view,
                                                                                   const Caller& caller,
                                                                                   const Visibility& visible,
                                                                                   ObjectId child) {
  if (visible.full) return std::optional(Detail::kFull);
  const bool asked = visible.some.count(child) > 0;
  if (asked) {
    ASSIGN_OR_RETURN(const bool full, authorizer_.May(view, caller, Operation::kGet, child));
    if (full) return std::optional(Detail::kFull);
  }
  if (visible.all) return std::optional(Detail::kThin);
  if (!asked) return std::optional<Detail>();
  ASSIGN_OR_RETURN(const bool seen, authorizer_.May(view, caller, Operation::kSee, child));
  return seen ? std::optional(Detail::kThin) : std::nullopt;
}

Result<std::vector<StoredObject>> EmbeddedRegistryImpl::ChildrenOf(View& view, ObjectId parent,
                                                                   const std::unordered_set<ObjectId>& ids) {
  std::vector<StoredObject> children;
  for (const ObjectId id : ids) {
    Result<StoredObject> child = view.Object(id);
    if (!child.ok() && child.error().code() == Code::kNotFound) continue;  // deleted since
    if (!child.ok()) return child.error();
    if (child->parent == parent && id != kMetastoreId) children.push_back(*std::move(child));
  }
  std::sort(children.begin(), children.end(),
            [](const StoredObject& a, const StoredObject& b) { return a.name < b.name; });
  return children;
}

Result<ObjectInfo> EmbeddedRegistryImpl::Create(const Caller& caller, ObjectId parent, std::string_view leaf,
                                                std::string_view comment) {
  RETURN_IF_ERROR(CheckObjectName(leaf));
  RETURN_IF_ERROR(CheckDescription(comment));
  Asked asked{Operation::kUse,
              parent,
              {{"name", std::string(leaf)}, {"comment_bytes", std::to_string(comment.size())}}};
  return Mutate(caller, asked, [&](Change& change) -> Result<ObjectInfo> {
    ASSIGN_OR_RETURN(StoredObject container, change.Object(parent));
    if (container.record.kind == ObjectKind::kModel) {
      return Error(Code::kInvalidArgument,
                   fmt::format("{}: a model holds versions, not other objects", container.name));
    }
    ASSIGN_OR_RETURN(const FullName container_name, change.NameOf(container));
    const FullName name = Join(container_name, leaf);
    asked.full_name = name.ToString();
    asked.action = ActionOf(CreateOperation(container.record.kind), container.record.kind);
    StoredObject object;
    object.parent = parent;
    object.name = leaf;
    object.record.kind = ChildKind(container.record.kind);
    const Result<StoredObject> taken = change.Child(parent, leaf);
    if (!taken.ok() && taken.error().code() != Code::kNotFound) return taken.error();
    if (taken.ok()) {
      // Comes before the check of privileges, because clients create first and take "exists" for success. But
      // only a caller that may see the object learns of it (reference §4).
      ASSIGN_OR_RETURN(const bool seen, authorizer_.May(change, caller, Operation::kSee, taken->record.id));
      if (seen) {
        return Error(Code::kAlreadyExists,
                     fmt::format("{}: the {} exists already", name.ToString(), KindName(object.record.kind)));
      }
    }
    RETURN_IF_ERROR(authorizer_.Check(change, caller, CreateOperation(container.record.kind), parent));
    if (taken.ok()) {
      // A caller that could create it learns that the name is taken in any case.
      RETURN_IF_ERROR(CheckRoomIn(change, container));
      return Error(Code::kAlreadyExists,
                   fmt::format("{}: the name is taken by a {} that {} may not see", name.ToString(),
                               KindName(object.record.kind), Printable(caller.principal)));
    }
    RETURN_IF_ERROR(AddObject(change, container, object, comment));
    change.Audit(asked.action, name, object.record.id,
                 {{"name", object.name}, {"comment_bytes", std::to_string(comment.size())}});
    ASSIGN_OR_RETURN(ObjectInfo info, InfoOf(change, object, name, Detail::kFull));
    info.comment = comment;
    return info;
  });
}

Status EmbeddedRegistryImpl::AddObject(Change& change, StoredObject& container, StoredObject& object,
                                       std::string_view comment) {
  RETURN_IF_ERROR(CheckRoomIn(change, container));
  ObjectRecord& record = object.record;
  ASSIGN_OR_RETURN(record.id, change.NextObjectId());
  ASSIGN_OR_RETURN(record.owner, authorizer_.EnsureSelf(change, change.caller()));
  record.created = record.updated = change.stamp();
  record.has_description = !comment.empty();
  if (!comment.empty()) change.Put(keys::Description(record.id, 0), EncodeText(comment));
  change.PutObject(object);
  change.Put(keys::Where(record.id), WhereRecord{object.parent, object.name}.Encode());
  change.Put(keys::Holding(record.owner, object.parent, record.id), EncodeText(""));
  ++container.record.children;
  change.PutObject(container);
  change.Tell(EventKind::kCreated, object);
  return OkStatus();
}

Status EmbeddedRegistryImpl::Delete(const Caller& caller, ObjectId id, DeleteMode mode) {
  bool leaves_versions = false;
  RETURN_IF_ERROR(Mutate(caller, {Operation::kDelete, id}, [&](Change& change) -> Status {
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
    if (is_model) {
      ASSIGN_OR_RETURN(const Rules rules, RulesFor(change, object));
      for (const AliasInfo& alias : object.record.aliases) {
        if (rules.protected_aliases.count(FoldCase(alias.name)) == 0) continue;
        return Error(
            Code::kFailedPrecondition,
            fmt::format(
                "{} has the protected alias {}; a principal that may delete the alias must do so first",
                name.ToString(), alias.name));
      }
    }
    change.SetReserve(Reserve::kPart);
    ASSIGN_OR_RETURN(StoredObject container, change.Object(object.parent));
    if (container.record.children > 0) --container.record.children;
    change.PutObject(container);
    change.Delete(keys::Object(object.parent, object.name));
    change.Delete(keys::Where(id));
    change.Delete(keys::Grants(id));
    ASSIGN_OR_RETURN(const PrincipalId owner, change.OwnerOf(object.record));
    if (owner != kNobodyId) change.Delete(keys::Holding(owner, object.parent, id));
    change.Delete(keys::ContainerSettings(id));
    change.Delete(keys::CopyUnderWay(id));
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
    FinishDeletion(id).IgnoreError("the model is deleted for every caller; a sweep removes the rest");
  }
  return OkStatus();
}

Result<ObjectInfo> EmbeddedRegistryImpl::Rename(const Caller& caller, ObjectId model,
                                                std::string_view new_leaf) {
  RETURN_IF_ERROR(CheckObjectName(new_leaf));
  Asked asked{Operation::kRename, model, {{"new_name", std::string(new_leaf)}}};
  return Mutate(caller, asked, [&](Change& change) -> Result<ObjectInfo> {
    ASSIGN_OR_RETURN(StoredObject object, change.Model(model));
    if (object.name == new_leaf) return FullInfoOf(change, caller, object);
    ASSIGN_OR_RETURN(const FullName old_name, change.NameOf(object));
    const FullName new_name = Join(old_name.Parent(), new_leaf);
    asked.params["new_name"] = new_name.ToString();
    // A path with a protected alias in it would lead nowhere, or another model could take the name and lead
    // it elsewhere.
    std::vector<std::string_view> aliases;
    for (const AliasInfo& alias : object.record.aliases) aliases.push_back(alias.name);
    if (const Status guarded = CheckProtected(change, caller, object, aliases); !guarded.ok()) {
      return guarded.error().Wrap(
          fmt::format("{} cannot be renamed while it has a protected alias", old_name.ToString()));
    }
    // After every other refusal: only a caller that could take the name learns that a hidden model has it.
    ASSIGN_OR_RETURN(const std::optional<KvEntry> taken, change.Get(keys::Object(object.parent, new_leaf)));
    if (taken) {
      return Error(
          Code::kAlreadyExists,
          fmt::format("{}: a model has this name already; rename cannot replace it", new_name.ToString()));
    }
    change.Delete(keys::Object(object.parent, object.name));
    const std::string old_leaf = std::exchange(object.name, std::string(new_leaf));
    change.TouchObject(object);
    change.Put(keys::Where(model), WhereRecord{object.parent, object.name}.Encode());
    change.Audit("updateRegisteredModel", old_name, model,
                 {{"full_name_arg", old_name.ToString()}, {"new_name", new_name.ToString()}});
    change.Tell(EventKind::kRenamed, object);
    change.event().old_name = old_leaf;
    return FullInfoOf(change, caller, object);
  });
}

Result<ObjectInfo> EmbeddedRegistryImpl::SetOwner(const Caller& caller, ObjectId id,
                                                  std::string_view principal) {
  const Asked asked{Operation::kSetOwner, id, {{"owner", std::string(principal)}}};
  return Mutate(caller, asked, [&](Change& change) -> Result<ObjectInfo> {
    ASSIGN_OR_RETURN(StoredObject object, change.Object(id));
    ASSIGN_OR_RETURN(const FullName name, change.NameOf(object));
    ASSIGN_OR_RETURN(const PrincipalInfo owner, authorizer_.Ensure(change, principal));
    if (owner.id == kAccountUsersId) {
      return Error(Code::kInvalidArgument,
                   fmt::format("`{}` contains everyone and owns nothing; make a group", kAccountUsers));
    }
    ASSIGN_OR_RETURN(const StoredObject metastore, change.Object(kMetastoreId));
    ASSIGN_OR_RETURN(const PrincipalId admin, change.OwnerOf(metastore.record));
    ASSIGN_OR_RETURN(const std::shared_ptr<const Identity> self, authorizer_.IdentityOf(change, caller));
    if (object.record.kind == ObjectKind::kModel && !self->Is(admin) && !self->Is(owner.id)) {
      return Error(
          Code::kPermissionDenied,
          fmt::format("{} may give {} to itself or a group it is in, and not to {}; a metastore admin may "
                      "give it to anyone",
                      Printable(caller.principal), name.ToString(), owner.name));
    }
    ASSIGN_OR_RETURN(const PrincipalId before, change.OwnerOf(object.record));
    if (owner.id != before) {
      // An admin may use the reserve, because the change takes the object from its owner. Other callers may
      // not: they could give it to and fro.
      if (self->Is(admin)) change.SetReserve(Reserve::kAll);
      object.record.owner = owner.id;
      object.record.owner_name.clear();
      change.TouchObject(object);
      if (object.record.kind == ObjectKind::kMetastore) RETURN_IF_ERROR(CheckKeeperIsAdmin(change));
      change.Put(keys::Holding(owner.id, object.parent, id), EncodeText(""));
      change.AccessChanges();
      change.Audit(fmt::format("update{}", ActionNoun(object.record.kind)), name, id,
                   {{"full_name_arg", name.ToString()}, {"owner", owner.name}});
      change.Tell(EventKind::kAccessChanged, object);
    }
    ASSIGN_OR_RETURN(ObjectInfo info, InfoOf(change, object, name, Detail::kFull));
    if (object.record.has_description) {
      ASSIGN_OR_RETURN(info.comment, change.Description(id, 0));
    }
    return info;
  });
}

}  // namespace modelfs::store
