// GRANT, REVOKE, listings of grants, and the settings of containers.
#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cas/base/text.h"
#include "store/actions.h"
#include "store/embedded/embedded_registry_impl.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

constexpr size_t kMaxGrantsOnContainer = 4'000;  // reference §5
constexpr size_t kMaxGrantsOnModel = 1'000;
// A principal that only the host knows so far takes three writes, and a commit has room for 128.
constexpr size_t kMaxGrantChanges = 32;
constexpr std::string_view kChangesParam = "changes";  // of an audit record: the privileges that each
                                                       // principal got and lost

nlohmann::json NamesOf(PrivilegeSet privileges) {
  nlohmann::json names = nlohmann::json::array();
  for (const Privilege each : privileges.ToList()) names.push_back(PrivilegeName(each));
  return names;
}

std::string TextOf(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// As the Grants REST API names them: a model is a function there (reference §2.1).
std::string_view SecurableType(ObjectKind kind) {
  return kind == ObjectKind::kModel ? "function" : KindName(kind);
}

// Each level of containment from the metastore to the object, with its name.
struct Place {
  StoredObject object;
  FullName name;
};
Result<std::vector<Place>> PlacesOf(View& view, ObjectId id) {
  std::vector<Place> places;
  for (ObjectId at = id;;) {
    Place place;
    ASSIGN_OR_RETURN(place.object, view.Object(at));
    ASSIGN_OR_RETURN(place.name, view.NameOf(place.object));
    const ObjectId parent = place.object.parent;
    places.push_back(std::move(place));
    if (at == kMetastoreId) break;
    at = parent;
  }
  std::reverse(places.begin(), places.end());
  return places;
}

// The changes as requested, whether or not each changes anything.
std::string Shown(const std::vector<GrantChange>& changes) {
  nlohmann::json shown = nlohmann::json::array();
  for (const GrantChange& each : changes) {
    nlohmann::json row = {{"add", NamesOf(each.add)}, {"remove", NamesOf(each.remove)}};
    if (!each.principal.empty()) row["principal"] = each.principal;
    if (each.principal_id != kNobodyId) row["principal_id"] = each.principal_id;
    shown.push_back(std::move(row));
  }
  return TextOf(shown);
}

std::string Shown(const ContainerSettings& settings) {
  nlohmann::json shown = nlohmann::json::object();
  if (settings.signature_required) shown["signature_required"] = *settings.signature_required;
  if (settings.max_models) shown["max_models"] = *settings.max_models;
  if (settings.max_versions) shown["max_versions"] = *settings.max_versions;
  for (const auto& each : settings.protected_aliases) {
    if (!each.second.empty()) shown["protected_aliases"][each.first] = each.second;
  }
  return TextOf(shown);
}

Status CheckChange(const GrantChange& change, ObjectKind kind) {
  if ((change.add & change.remove) != PrivilegeSet()) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{}: {} is to be both granted and revoked", Printable(change.principal),
                             PrivilegeSqlName((change.add & change.remove).ToList().front())));
  }
  const PrivilegeSet foreign = (change.add | change.remove) - Grantable(kind);
  if (foreign.empty()) return OkStatus();
  std::string known;
  for (const Privilege each : Grantable(kind).ToList()) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", PrivilegeSqlName(each));
  }
  return Error(Code::kInvalidArgument,
               fmt::format("{} cannot be granted on a {}; these can: {}",
                           PrivilegeSqlName(foreign.ToList().front()), KindName(kind), known));
}

}  // namespace

bool EmbeddedRegistryImpl::KeepOwnChanges(const Identity& self, AuditRecord& record) {
  std::string& changes = record.params[std::string(kChangesParam)];
  const nlohmann::json all = nlohmann::json::parse(changes, nullptr, false);
  nlohmann::json own = nlohmann::json::array();
  if (all.is_array()) {
    for (const nlohmann::json& each : all) {
      if (!each.is_object()) continue;
      const auto id = each.find("principal_id");
      if (id != each.end() && id->is_number_unsigned() && self.Is(id->get<PrincipalId>()))
        own.push_back(each);
    }
  }
  changes = TextOf(own);
  return !own.empty();
}

Status EmbeddedRegistryImpl::ChangeGrants(const Caller& caller, ObjectId object_id,
                                          const std::vector<GrantChange>& changes) {
  if (changes.size() > kMaxGrantChanges) {
    return Error(Code::kInvalidArgument, fmt::format("grants of {} principals at once; at most {} in one go",
                                                     changes.size(), kMaxGrantChanges));
  }
  const Asked asked{Operation::kGrant, object_id, {{"changes", Shown(changes)}}};
  return Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(const StoredObject object, change.Object(object_id));
    ASSIGN_OR_RETURN(const FullName name, change.NameOf(object));
    ASSIGN_OR_RETURN(GrantsRecord grants, change.Grants(object_id));
    const ObjectKind kind = object.record.kind;
    const size_t limit = kind == ObjectKind::kModel ? kMaxGrantsOnModel : kMaxGrantsOnContainer;
    nlohmann::json shown = nlohmann::json::array();
    bool moved = false;
    for (const GrantChange& each : changes) {
      RETURN_IF_ERROR(CheckChange(each, kind));
      PrincipalInfo principal;
      if (each.principal_id != kNobodyId) {
        ASSIGN_OR_RETURN(principal, change.Principal(each.principal_id));
        if (principal.deleted && !each.add.empty()) {
          return Error(
              Code::kNotFound,
              fmt::format("principal {} was deleted: its grants can only be revoked", each.principal_id));
        }
      } else if (each.add.empty()) {
        ASSIGN_OR_RETURN(const std::optional<PrincipalInfo> found, change.FindPrincipal(each.principal));
        if (!found) {
          return Error(Code::kNotFound, fmt::format("no principal is named {}, so nothing is granted to it",
                                                    Printable(each.principal)));
        }
        principal = *found;
      } else {
        ASSIGN_OR_RETURN(principal, authorizer_.Ensure(change, each.principal));
      }
      const PrivilegeSet before = grants.Of(principal.id);
      PrivilegeSet remove = each.remove;
      // Revoking ALL PRIVILEGES also revokes the privileges that it stands for (reference §2.3).
      if (remove.Has(Privilege::kAllPrivileges)) remove = remove | ImpliedByAll(kind);
      const PrivilegeSet after = (before - remove) | each.add;
      if (after == before) continue;
      moved = true;
      grants.Set(principal.id, after);
      change.Put(keys::Holding(principal.id, object.parent, object_id), EncodeText(""));
      shown.push_back({{"principal", principal.name},
                       {"principal_id", principal.id},
                       {"add", NamesOf(after - before)},
                       {"remove", NamesOf(before - after)}});
    }
    if (!moved) {
      change.Clear();  // also a principal of the host that was added for nothing
      return OkStatus();
    }
    if (grants.grants.size() > limit) {
      return Error(
          Code::kResourceExhausted,
          fmt::format(
              "{} {} would have grants of {} principals, and {} is the most there can be; grant to a group",
              KindName(kind), name.ToString(), grants.grants.size(), limit));
    }
    if (grants.grants.empty()) {
      change.Delete(keys::Grants(object_id));
    } else {
      change.Put(keys::Grants(object_id), grants.Encode());
    }
    // A principal that fills the disk must not be able to keep a right that way.
    if (std::all_of(changes.begin(), changes.end(),
                    [](const GrantChange& each) { return each.add.empty(); })) {
      ASSIGN_OR_RETURN(const bool admin, IsAdmin(change, caller));
      change.SetReserve(admin ? Reserve::kAll : Reserve::kPart);
    }
    change.AccessChanges();
    change.Audit(kGrantAction, name, object_id,
                 {{"securable_type", std::string(SecurableType(kind))},
                  {"securable_full_name", name.ToString()},
                  {std::string(kChangesParam), TextOf(shown)}});
    change.Tell(EventKind::kAccessChanged, object);
    return OkStatus();
  });
}

Result<std::vector<GrantInfo>> EmbeddedRegistryImpl::GrantsAt(View& view, const Caller& caller,
                                                              ObjectId object, std::string_view principal,
                                                              bool inherited) {
  ASSIGN_OR_RETURN(const bool all, authorizer_.May(view, caller, Operation::kShowGrants, object));
  ASSIGN_OR_RETURN(const std::shared_ptr<const Identity> self, authorizer_.IdentityOf(view, caller));
  // The principals that are listed: all, the caller's, or one. For effective grants its groups count too.
  std::optional<Identity> only;
  if (!principal.empty()) {
    ASSIGN_OR_RETURN(const std::optional<PrincipalInfo> found, view.FindPrincipal(principal));
    if (!found) return Error(Code::kNotFound, fmt::format("no principal is named {}", Printable(principal)));
    if (!all && !self->Is(found->id)) {
      const Status denied = authorizer_.Check(view, caller, Operation::kShowGrants, object);
      return denied.error();
    }
    if (inherited) {
      ASSIGN_OR_RETURN(only, authorizer_.IdentityOfPrincipal(view, *found));
    } else {
      only.emplace();
      only->all = {found->id};
    }
  } else if (!all) {
    only = *self;
  }
  ASSIGN_OR_RETURN(std::vector<Place> places, PlacesOf(view, object));
  const ObjectKind kind = places.back().object.record.kind;
  if (!inherited) places.erase(places.begin(), places.end() - 1);
  std::vector<GrantInfo> answer;
  for (const Place& place : places) {
    const ObjectKind from = place.object.record.kind;
    // Grants on the metastore never flow down.
    if (from == ObjectKind::kMetastore && kind != ObjectKind::kMetastore) continue;
    ASSIGN_OR_RETURN(const GrantsRecord grants, view.Grants(place.object.record.id));
    std::vector<PrincipalId> holders;
    for (const GrantsRecord::Grant& grant : grants.grants) {
      if (!only || only->Is(grant.principal)) holders.push_back(grant.principal);
    }
    ASSIGN_OR_RETURN(const std::vector<PrincipalInfo> infos, view.Principals(holders));
    for (const PrincipalInfo& info : infos) {
      GrantInfo& row = answer.emplace_back();
      row.principal_id = info.id;
      if (!info.deleted) row.principal = info.name;
      row.kind = info.kind;
      row.privileges = grants.Of(info.id);
      row.from_kind = from;
      row.from = place.name;
    }
  }
  std::stable_sort(answer.begin(), answer.end(),
                   [](const GrantInfo& a, const GrantInfo& b) { return a.principal < b.principal; });
  return answer;
}

Result<std::vector<GrantInfo>> EmbeddedRegistryImpl::Grants(const Caller& caller, ObjectId object,
                                                            std::string_view principal) {
  return Inspect(caller, Operation::kUse, object, [&](View& view) -> Result<std::vector<GrantInfo>> {
    return GrantsAt(view, caller, object, principal, false);
  });
}

Result<std::vector<GrantInfo>> EmbeddedRegistryImpl::EffectiveGrants(const Caller& caller, ObjectId object,
                                                                     std::string_view principal) {
  return Inspect(caller, Operation::kUse, object, [&](View& view) -> Result<std::vector<GrantInfo>> {
    return GrantsAt(view, caller, object, principal, true);
  });
}

Status EmbeddedRegistryImpl::CheckAccess(const Caller& caller, Operation operation, ObjectId object) {
  Refused refused;
  return TryInspect(
      caller, operation, object, [](View&) { return OkStatus(); }, refused);
}

Result<ObjectAccess> EmbeddedRegistryImpl::AccessOf(const Caller& caller, ObjectId object) {
  if (!caller.IsUpkeep()) {
    return Error(Code::kPermissionDenied,
                 "only a front end may read the rights of all principals; SHOW GRANTS lists grants");
  }
  return Inspect(caller, Operation::kGet, object,
                 [&](View& view) -> Result<ObjectAccess> { return authorizer_.AccessOf(view, object); });
}

Result<ContainerSettings> EmbeddedRegistryImpl::SettingsAt(View& view, ObjectId container) {
  ASSIGN_OR_RETURN(const ContainerSettingsRecord record, view.SettingsOf(container));
  ContainerSettings settings;
  settings.signature_required = record.signature_required;
  settings.max_models = record.max_models;
  settings.max_versions = record.max_versions;
  for (const auto& [alias, principal] : record.protected_aliases) {
    ASSIGN_OR_RETURN(settings.protected_aliases[alias], view.NameOfPrincipal(principal));
  }
  return settings;
}

Result<ContainerSettings> EmbeddedRegistryImpl::GetSettings(const Caller& caller, ObjectId container) {
  return Inspect(caller, Operation::kGet, container,
                 [&](View& view) -> Result<ContainerSettings> { return SettingsAt(view, container); });
}

Status EmbeddedRegistryImpl::SetSettings(const Caller& caller, ObjectId container,
                                         const ContainerSettings& expected,
                                         const ContainerSettings& settings) {
  for (const auto& [alias, principal] : settings.protected_aliases) RETURN_IF_ERROR(CheckAliasName(alias));
  const Asked asked{Operation::kConfigure, container, {{"settings", Shown(settings)}}};
  return Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(const StoredObject object, change.Object(container));
    ASSIGN_OR_RETURN(const FullName name, change.NameOf(object));
    if (object.record.kind != ObjectKind::kCatalog && object.record.kind != ObjectKind::kSchema) {
      return Error(Code::kInvalidArgument,
                   fmt::format("a {} has no settings; set them on its catalog or schema",
                               KindName(object.record.kind)));
    }
    ASSIGN_OR_RETURN(const ContainerSettingsRecord before, change.SettingsOf(container));
    ASSIGN_OR_RETURN(const ContainerSettings present, SettingsAt(change, container));
    if (!(present == expected)) {
      return Error(Code::kAborted,
                   fmt::format("the settings of {} were changed meanwhile; look at them and try again",
                               name.ToString()));
    }
    ContainerSettingsRecord record;
    record.signature_required = settings.signature_required;
    record.max_models = settings.max_models;
    record.max_versions = settings.max_versions;
    for (const auto& [alias, principal] : settings.protected_aliases) {
      if (principal.empty()) {  // the guard was deleted: no one may move the alias until another is named
        const auto was = before.protected_aliases.find(alias);
        if (was != before.protected_aliases.end()) record.protected_aliases[alias] = was->second;
        continue;
      }
      ASSIGN_OR_RETURN(const PrincipalInfo info, authorizer_.Ensure(change, principal));
      record.protected_aliases[alias] = info.id;
    }
    if (record.Encode() == before.Encode()) {
      change.Clear();
      return OkStatus();
    }
    if (record.empty()) {
      change.Delete(keys::ContainerSettings(container));
    } else {
      change.Put(keys::ContainerSettings(container), record.Encode());
    }
    change.Audit(object.record.kind == ObjectKind::kCatalog ? "updateCatalog" : "updateSchema", name,
                 container, {{"full_name_arg", name.ToString()}, {"settings", Shown(settings)}});
    change.Tell(EventKind::kSettingsChanged, object);
    return OkStatus();
  });
}

Result<EmbeddedRegistryImpl::Rules> EmbeddedRegistryImpl::RulesIn(View& view,
                                                                  const std::vector<ObjectId>& containers) {
  Rules rules;
  if (authorizer_.settings().signature == RegistrySettings::SignaturePolicy::kRequired) {
    rules.signature_required_by = kMetastoreId;
  }
  // The stricter rule holds, wherever it is set: a caller that may make a schema must not be able to relax
  // its catalog's rules. A caller must belong to each guard of an alias to move it.
  const auto lower = [](std::optional<Rules::Limit>& limit, std::optional<uint64_t> set, ObjectId by) {
    if (set && (!limit || *set < limit->most)) limit = Rules::Limit{*set, by};
  };
  for (const ObjectId container : containers) {
    ASSIGN_OR_RETURN(const ContainerSettingsRecord record, view.SettingsOf(container));
    if (record.signature_required.value_or(false) && !rules.signature_required_by) {
      rules.signature_required_by = container;
    }
    lower(rules.max_models, record.max_models, container);
    lower(rules.max_versions, record.max_versions, container);
    for (const auto& [alias, principal] : record.protected_aliases) {
      rules.protected_aliases[FoldCase(alias)].push_back(principal);
    }
  }
  return rules;
}

Result<EmbeddedRegistryImpl::Rules> EmbeddedRegistryImpl::RulesFor(View& view, const StoredObject& model) {
  ASSIGN_OR_RETURN(const StoredObject schema, view.Object(model.parent));
  return RulesIn(view, {schema.parent, model.parent});
}

Result<std::vector<EffectiveSettings>> EmbeddedRegistryImpl::GetEffectiveSettings(const Caller& caller,
                                                                                  ObjectId container) {
  return Inspect(caller, Operation::kGet, container,
                 [&](View& view) -> Result<std::vector<EffectiveSettings>> {
                   ASSIGN_OR_RETURN(const std::vector<Place> places, PlacesOf(view, container));
                   std::vector<ObjectId> containers;
                   containers.reserve(places.size());
                   for (const Place& place : places) containers.push_back(place.object.record.id);
                   ASSIGN_OR_RETURN(const Rules rules, RulesIn(view, containers));
                   std::vector<EffectiveSettings> answer;
                   for (const Place& place : places) {
                     const ObjectId id = place.object.record.id;
                     EffectiveSettings here;
                     here.from_kind = place.object.record.kind;
                     here.from = place.name;
                     ASSIGN_OR_RETURN(here.settings, SettingsAt(view, id));
                     if (rules.signature_required_by && rules.signature_required_by != id) {
                       here.settings.signature_required.reset();
                     } else if (rules.signature_required_by) {
                       here.settings.signature_required = true;  // also the registry's own rule
                     }
                     if (!rules.max_models || rules.max_models->by != id) here.settings.max_models.reset();
                     if (!rules.max_versions || rules.max_versions->by != id)
                       here.settings.max_versions.reset();
                     if (!(here.settings == ContainerSettings())) answer.push_back(std::move(here));
                   }
                   return answer;
                 });
}

Status EmbeddedRegistryImpl::CheckRoomIn(View& view, const StoredObject& holder) {
  const bool of_model = holder.record.kind == ObjectKind::kModel;
  if (!of_model && holder.record.kind != ObjectKind::kSchema) return OkStatus();
  ASSIGN_OR_RETURN(const Rules rules,
                   of_model ? RulesFor(view, holder) : RulesIn(view, {holder.parent, holder.record.id}));
  const std::optional<Rules::Limit>& limit = of_model ? rules.max_versions : rules.max_models;
  if (!limit || holder.record.children < limit->most) return OkStatus();
  view.NoteRefused({CreateOperation(holder.record.kind), holder.record.id});
  ASSIGN_OR_RETURN(const FullName name, view.NameOf(holder));
  return Error(Code::kResourceExhausted,
               of_model ? fmt::format("{} has {} versions, and {} is the limit that was set (max-versions); "
                                      "delete one first",
                                      name.ToString(), holder.record.children, limit->most)
                        : fmt::format("{} holds {} models, and {} is the limit that was set (max-models)",
                                      name.ToString(), holder.record.children, limit->most));
}

Status EmbeddedRegistryImpl::CheckProtected(View& view, const Caller& caller, const StoredObject& model,
                                            const std::vector<std::string_view>& aliases) {
  ASSIGN_OR_RETURN(const Rules rules, RulesFor(view, model));
  return CheckProtected(view, caller, rules, aliases);
}

Status EmbeddedRegistryImpl::CheckProtected(View& view, const Caller& caller, const Rules& rules,
                                            const std::vector<std::string_view>& aliases) {
  for (const std::string_view alias : aliases) {
    const auto found = rules.protected_aliases.find(FoldCase(alias));
    if (found == rules.protected_aliases.end()) continue;
    ASSIGN_OR_RETURN(const std::shared_ptr<const Identity> self, authorizer_.IdentityOf(view, caller));
    for (const PrincipalId guard : found->second) {
      if (self->Is(guard)) continue;
      ASSIGN_OR_RETURN(const std::string name, view.NameOfPrincipal(guard));
      return Error(
          Code::kPermissionDenied,
          fmt::format("the alias {} is protected: only {} may set, move or delete it; {} is not one of them",
                      alias, name.empty() ? "a deleted principal" : Printable(name),
                      Printable(caller.principal)));
    }
  }
  return OkStatus();
}

}  // namespace modelfs::store
