#include "store/access/authorizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "cas/base/text.h"
#include "store/records/keys.h"
#include "store/sql_name.h"

namespace modelfs::store {

// One step on the way from the metastore down to an object.
struct Level {
  ObjectId id = kMetastoreId;
  ObjectKind kind = ObjectKind::kMetastore;
  PrincipalId owner = kNobodyId;
  GrantsRecord grants;
};

// One thing that a caller lacks: any of these privileges, on the level of that number.
struct Missing {
  std::vector<Privilege> privileges;
  size_t depth = 0;
};

namespace {

// The most that the cache keeps for one epoch; beyond it, results are computed again.
constexpr size_t kMostIdentities = 10'000;
constexpr size_t kMostFacts = 200'000;

// Without its grants.
Result<Level> LevelOf(View& view, const StoredObject& stored) {
  Level level;
  level.id = stored.record.id;
  level.kind = stored.record.kind;
  ASSIGN_OR_RETURN(level.owner, view.OwnerOf(stored.record));
  return level;
}

// Adds the grants of the first `count` levels.
Status AddGrants(View& view, std::vector<Level>& levels, size_t count) {
  std::vector<ObjectId> ids;
  for (size_t i = 0; i < count; ++i) ids.push_back(levels[i].id);
  ASSIGN_OR_RETURN(std::vector<GrantsRecord> grants, view.GrantsOf(ids));
  for (size_t i = 0; i < count; ++i) levels[i].grants = std::move(grants[i]);
  return OkStatus();
}

Result<std::vector<Level>> LevelsOf(View& view, ObjectId object) {
  std::vector<Level> levels;
  for (ObjectId at = object;;) {
    ASSIGN_OR_RETURN(const StoredObject stored, view.Object(at));
    ASSIGN_OR_RETURN(Level level, LevelOf(view, stored));
    levels.push_back(std::move(level));
    if (at == kMetastoreId) break;
    at = stored.parent;
  }
  std::reverse(levels.begin(), levels.end());
  RETURN_IF_ERROR(AddGrants(view, levels, levels.size()));
  return levels;
}

// The levels of a name. A part that does not exist has no owner and no grants.
Result<std::vector<Level>> LevelsOf(View& view, const FullName& name) {
  ASSIGN_OR_RETURN(std::optional<StoredObject> at, view.Object(kMetastoreId));
  std::vector<Level> levels(1);
  ASSIGN_OR_RETURN(levels.back(), LevelOf(view, *at));
  size_t existing = 1;
  for (const std::string& part : name.parts) {
    Level level;
    level.kind = static_cast<ObjectKind>(static_cast<unsigned>(levels.back().kind) + 1);
    if (at) {
      Result<StoredObject> child = view.Child(at->record.id, part);
      if (!child.ok() && child.error().code() != Code::kNotFound) return child.error();
      at = child.ok() ? std::optional<StoredObject>(*std::move(child)) : std::nullopt;
    }
    if (at) {
      ASSIGN_OR_RETURN(level, LevelOf(view, *at));
      ++existing;
    }
    levels.push_back(std::move(level));
  }
  RETURN_IF_ERROR(AddGrants(view, levels, existing));
  return levels;
}

// The privileges of `identity` on one level, with ALL PRIVILEGES expanded for that level's kind.
PrivilegeSet GrantedAt(const Level& level, const Identity& identity) {
  PrivilegeSet granted;
  // Walk the shorter list and search the other.
  if (level.grants.grants.size() < identity.all.size()) {
    for (const GrantsRecord::Grant& grant : level.grants.grants) {
      if (identity.Is(grant.principal)) granted = granted | grant.privileges;
    }
  } else {
    for (const PrincipalId id : identity.all) granted = granted | level.grants.Of(id);
  }
  if (granted.Has(Privilege::kAllPrivileges)) granted = granted | ImpliedByAll(level.kind);
  return granted;
}

// The facts of `identity` when `way` opens the gates. Both are the same as a rule. For a group of the host,
// `way` has all the groups that its members may be in besides.
Facts Weigh(const std::vector<Level>& levels, const Identity& identity, const Identity& way) {
  Facts facts;
  facts.kind = levels.back().kind;
  facts.admin = identity.Is(levels.front().owner);
  facts.admin_way = way.Is(levels.front().owner);
  facts.owner = identity.Is(levels.back().owner);
  facts.reach = true;
  facts.in_reach = true;
  bool way_owns_catalog = false;
  PrivilegeSet on_the_way;
  for (size_t i = 0; i < levels.size(); ++i) {
    const Level& level = levels[i];
    const bool last = i + 1 == levels.size();
    const bool owns = identity.Is(level.owner);
    // Grants on the metastore never flow down.
    const auto flows = [&](PrivilegeSet above, const Identity& to) {
      return (level.kind == ObjectKind::kCatalog ? PrivilegeSet() : above) | GrantedAt(level, to);
    };
    facts.effective = flows(facts.effective, identity);
    on_the_way = &way == &identity ? facts.effective : flows(on_the_way, way);
    if (level.kind == ObjectKind::kCatalog) {
      way_owns_catalog = way.Is(level.owner);
      facts.in_reach = way_owns_catalog || on_the_way.Has(Privilege::kUseCatalog);
      if (!last) facts.container_owner = owns;
    } else if (level.kind == ObjectKind::kSchema) {
      facts.reach = facts.in_reach;
      facts.in_reach =
          facts.reach && (way.Is(level.owner) || way_owns_catalog || on_the_way.Has(Privilege::kUseSchema));
      facts.owns_schema = owns;
      facts.on_schema = facts.effective;
      // The owner of the schema still needs the gate of the catalog.
      if (!last) facts.container_owner = facts.container_owner || (owns && facts.reach);
    } else if (level.kind == ObjectKind::kModel) {
      facts.reach = facts.in_reach;
    }
  }
  return facts;
}

Facts Weigh(const std::vector<Level>& levels, const Identity& identity) {
  return Weigh(levels, identity, identity);
}

// The facts of a child about which only its container is known. If these let the caller see it, the caller
// sees every child.
Facts FactsOfAnyChild(const Facts& container) {
  Facts child;
  child.kind = static_cast<ObjectKind>(static_cast<unsigned>(container.kind) + 1);
  child.admin = container.admin;
  child.admin_way = container.admin_way;
  child.container_owner = container.kind != ObjectKind::kMetastore &&
                          (container.container_owner || (container.owner && container.reach));
  child.reach = container.in_reach;
  if (container.kind != ObjectKind::kMetastore) child.effective = container.effective;
  return child;
}

// The gates that are closed to `identity` among the levels before `end`.
std::vector<Missing> ClosedGates(const std::vector<Level>& levels, const Identity& identity, size_t end) {
  std::vector<Missing> closed;
  bool owns_catalog = false;
  PrivilegeSet effective;
  for (size_t depth = 0; depth < end; ++depth) {
    const Level& level = levels[depth];
    effective =
        (level.kind == ObjectKind::kCatalog ? PrivilegeSet() : effective) | GrantedAt(level, identity);
    if (level.kind == ObjectKind::kCatalog) owns_catalog = identity.Is(level.owner);
    if (level.kind != ObjectKind::kCatalog && level.kind != ObjectKind::kSchema) continue;
    const Privilege gate =
        level.kind == ObjectKind::kCatalog ? Privilege::kUseCatalog : Privilege::kUseSchema;
    if (owns_catalog || identity.Is(level.owner) || effective.Has(gate)) continue;
    closed.push_back({.privileges = {gate}, .depth = depth});
  }
  return closed;
}

// The name of the level of that number. The last level is the object itself: it is named only if `told`.
std::string NameAt(const FullName& name, size_t depth, bool told) {
  if (!told && depth == name.parts.size()) return "…";
  FullName at;
  at.parts.assign(name.parts.begin(), name.parts.begin() + static_cast<ptrdiff_t>(depth));
  return at.ToString();
}

// "USE CATALOG on catalog prod and EXECUTE on model prod.ml.iris"
std::string ListOf(const std::vector<Missing>& missing, const std::vector<Level>& levels,
                   const FullName& name, bool told) {
  std::string list;
  for (const Missing& each : missing) {
    // Two privileges are both named; of more, only the first is.
    constexpr size_t kNamed = 2;
    std::string privileges = PrivilegeSqlName(each.privileges.front());
    if (each.privileges.size() == kNamed) privileges += " or " + PrivilegeSqlName(each.privileges.back());
    if (each.privileges.size() > kNamed) privileges += " or another privilege";
    if (!list.empty()) list += &each == &missing.back() ? " and " : ", ";
    list += privileges;
    if (each.depth == 0 || (!told && each.depth == name.parts.size())) continue;
    list += fmt::format(" on {} {}", KindName(levels[each.depth].kind),
                        Printable(NameAt(name, each.depth, told)));
  }
  return list;
}

// The GRANT statements that would help; for each missing item the first privilege only.
std::string StatementsOf(const std::vector<Missing>& missing, const std::vector<Level>& levels,
                         const FullName& name, bool told, const Caller& caller) {
  std::string statements;
  for (const Missing& each : missing) {
    if (!statements.empty()) statements += "; ";
    const ObjectKind kind = levels[each.depth].kind;
    const bool named = told || each.depth < name.parts.size();
    FullName at;
    at.parts.assign(name.parts.begin(), name.parts.begin() + static_cast<ptrdiff_t>(each.depth));
    statements += named ? SqlGrant(each.privileges.front(), kind, at, caller.principal)
                        : SqlGrant(each.privileges.front(), kind, caller.principal);
  }
  return statements;
}

Error NamedAsAGroup(const Caller& caller) {
  return {
      Code::kPermissionDenied,
      fmt::format("{} is the name of a group here, so a user of that name holds nothing; an admin can give "
                  "the user another name in the identity map, or make the group under another name",
                  Printable(caller.principal))};
}

ObjectRights RightsOf(const Facts& facts) {
  const auto may = [&](Operation operation) {
    const OperationRow* row = RowOf(operation, facts.kind);
    return row != nullptr && Allows(*row, facts);
  };
  ObjectRights rights;
  rights.see = facts.kind == ObjectKind::kMetastore || may(Operation::kSee);
  rights.get = may(Operation::kGet);
  rights.read_files = may(Operation::kReadFiles);
  rights.tag = may(Operation::kTag) || may(Operation::kDescribe) || may(Operation::kSetOwner);
  rights.change_versions = may(Operation::kCreateVersion) || may(Operation::kDeleteVersion);
  rights.set_alias = may(Operation::kSetAlias);
  return rights;
}

}  // namespace

bool Identity::Is(PrincipalId principal) const {
  return principal != kNobodyId && std::binary_search(all.begin(), all.end(), principal);
}

bool Allows(const OperationRow& row, const Facts& facts) {
  if (row.Is(kAdmin) && facts.admin) return true;
  if (row.Is(kContainerOwner) && facts.container_owner) return true;
  if (row.Is(kBrowse) && facts.effective.Has(Privilege::kBrowse)) return true;
  const bool reach =
      row.reach == Reach::kNotNeeded || facts.reach || (row.reach == Reach::kNeeded && facts.admin_way);
  if (!reach) return false;
  if (row.Is(kOwner) && facts.owner) {
    if (row.and_also.empty() || facts.kind != ObjectKind::kModel) return true;
    return facts.owns_schema || facts.on_schema.HasAny(row.and_also);
  }
  if (!facts.effective.HasAny(row.any_of)) return false;
  if (row.and_also.empty()) return true;
  // USE CATALOG with CREATE SCHEMA, USE SCHEMA with CREATE MODEL: the object's own gate.
  return facts.in_reach || facts.admin;
}

size_t Authorizer::Cache::Hash::operator()(const Question& question) const {
  return std::hash<uint64_t>()(question.who) * 31 + std::hash<ObjectId>()(question.object);
}

Result<Revision> Authorizer::EpochOf(View& view) const {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, view.Get(keys::AccessEpoch()));
  return entry ? entry->revision : 0;
}

Identity Authorizer::Nobody() const {
  Identity identity;
  identity.serial = next_identity_.fetch_add(1, std::memory_order_relaxed);
  return identity;
}

Result<Identity> Authorizer::IdentityOfCaller(View& view, const Caller& caller) const {
  if (IsNobody(caller.principal)) return Nobody();
  ASSIGN_OR_RETURN(const std::optional<PrincipalInfo> self, view.FindPrincipal(caller.principal));
  // A user with the same name as a group is not in the group. A service principal is in no group of the host,
  // even if the host has a user of that name in one.
  if (self && self->kind == PrincipalKind::kGroup) return Nobody();
  const bool service = self && self->kind == PrincipalKind::kServicePrincipal;
  ASSIGN_OR_RETURN(Identity identity, ComputeIdentity(view, self ? self->id : kNobodyId,
                                                      service ? std::vector<std::string>() : caller.groups));
  if (!caller.shared_name) return identity;
  ASSIGN_OR_RETURN(const StoredObject metastore, view.Object(kMetastoreId));
  ASSIGN_OR_RETURN(const PrincipalId admin, view.OwnerOf(metastore.record));
  if (!identity.Is(admin)) return identity;
  Identity nobody = Nobody();
  nobody.refused_admin = true;
  return nobody;
}

Result<Identity> Authorizer::ComputeIdentity(View& view, PrincipalId self,
                                             const std::vector<std::string>& groups) const {
  Identity identity = Nobody();
  std::set<PrincipalId> found{kAccountUsersId};
  std::deque<PrincipalId> open;
  const auto add = [&](PrincipalId id) {
    if (found.insert(id).second) open.push_back(id);
  };
  if (self != kNobodyId) {
    identity.self = self;
    add(self);
  }
  for (const std::string& name : groups) {
    ASSIGN_OR_RETURN(const std::optional<PrincipalInfo> group, view.FindPrincipal(name));
    // A group made here is not the host's, whatever its name.
    if (group && group->kind == PrincipalKind::kGroup && group->source == PrincipalSource::kHost)
      add(group->id);
  }
  while (!open.empty()) {
    const PrincipalId member = open.front();
    open.pop_front();
    ASSIGN_OR_RETURN(const std::vector<PrincipalId> in, view.GroupsAround(member));
    ASSIGN_OR_RETURN(const std::vector<PrincipalInfo> infos, view.Principals(in));
    for (const PrincipalInfo& group : infos) {
      if (!group.deleted) add(group.id);
    }
  }
  identity.all.assign(found.begin(), found.end());
  return identity;
}

Result<std::shared_ptr<const Identity>> Authorizer::IdentityAt(View& view, Revision epoch,
                                                               const Caller& caller) const {
  std::string key = FoldCase(caller.principal);
  for (const std::string& group : caller.groups) key.append(1, '\0').append(FoldCase(group));
  if (caller.shared_name) key.append(2, '\0');  // no group is named ""
  {
    const MutexLock lock(mu_);
    if (cache_.epoch == epoch) {
      const auto known = cache_.identities.find(key);
      if (known != cache_.identities.end()) return known->second;
    }
  }
  ASSIGN_OR_RETURN(Identity computed, IdentityOfCaller(view, caller));
  auto identity = std::make_shared<const Identity>(std::move(computed));
  const MutexLock lock(mu_);
  if (cache_.epoch < epoch || cache_.identities.size() >= kMostIdentities) {
    cache_.facts.clear();
    cache_.identities.clear();
    cache_.epoch = epoch;
  }
  // A view older than the cache gets its own result, which is not cached.
  if (cache_.epoch == epoch) identity = cache_.identities.emplace(std::move(key), identity).first->second;
  return identity;
}

Result<std::shared_ptr<const Identity>> Authorizer::IdentityOf(View& view, const Caller& caller) const {
  ASSIGN_OR_RETURN(const Revision epoch, EpochOf(view));
  return IdentityAt(view, epoch, caller);
}

Result<Identity> Authorizer::IdentityOfPrincipal(View& view, const PrincipalInfo& principal) const {
  std::vector<std::string> groups;
  if (principal.kind == PrincipalKind::kUser && directory_ != nullptr) {
    groups = directory_->GroupsOf(principal.name);
  }
  return ComputeIdentity(view, principal.id, groups);
}

Result<Facts> Authorizer::FactsOf(View& view, const Caller& caller, ObjectId object) const {
  ASSIGN_OR_RETURN(const Revision epoch, EpochOf(view));
  ASSIGN_OR_RETURN(const std::shared_ptr<const Identity> identity, IdentityAt(view, epoch, caller));
  const Cache::Question question{identity->serial, object};
  {
    const MutexLock lock(mu_);
    if (cache_.epoch == epoch) {
      const auto known = cache_.facts.find(question);
      if (known != cache_.facts.end()) return known->second;
    }
  }
  ASSIGN_OR_RETURN(const std::vector<Level> levels, LevelsOf(view, object));
  const Facts facts = Weigh(levels, *identity);
  const MutexLock lock(mu_);
  if (cache_.epoch == epoch) {
    if (cache_.facts.size() >= kMostFacts) cache_.facts.clear();
    cache_.facts.emplace(question, facts);
  }
  return facts;
}

Result<bool> Authorizer::May(View& view, const Caller& caller, Operation operation, ObjectId object) const {
  if (caller.IsUpkeep()) {
    return operation == Operation::kUse || operation == Operation::kSee || operation == Operation::kGet ||
           operation == Operation::kReadFiles || operation == Operation::kReadAudit ||
           operation == Operation::kReclaim;
  }
  if (operation == Operation::kUse) return !IsNobody(caller.principal);
  ASSIGN_OR_RETURN(const Facts facts, FactsOf(view, caller, object));
  const OperationRow* row = RowOf(operation, facts.kind);
  // Everyone may see the metastore. Any other pair without a row is a caller's mistake, which the call itself
  // refuses.
  return row == nullptr || Allows(*row, facts);
}

Status Authorizer::Check(View& view, const Caller& caller, Operation operation, ObjectId object,
                         Named named) const {
  ASSIGN_OR_RETURN(const bool allowed, May(view, caller, operation, object));
  if (allowed) return OkStatus();
  view.NoteRefused({operation, object});
  if (caller.IsUpkeep()) {
    return Error(Code::kPermissionDenied,
                 "the program itself may not change anything: it acts in no user's name");
  }
  RETURN_IF_ERROR(CheckHasName(view, caller));
  ASSIGN_OR_RETURN(const Facts facts, FactsOf(view, caller, object));
  // The names of catalogs and schemas never change, so a caller that has the id of one had its name.
  const bool told = facts.kind != ObjectKind::kModel || named == Named::kByCaller ||
                    Allows(*RowOf(Operation::kSee, facts.kind), facts);
  ASSIGN_OR_RETURN(const StoredObject stored, view.Object(object));
  ASSIGN_OR_RETURN(const FullName name, view.NameOf(stored));
  ASSIGN_OR_RETURN(const std::vector<Level> levels, LevelsOf(view, object));
  ASSIGN_OR_RETURN(const Error refusal,
                   Refusal(view, caller, *RowOf(operation, facts.kind), levels, name, told));
  return refusal;
}

Status Authorizer::CheckSeeByName(View& view, const Caller& caller, const FullName& name) const {
  if (caller.IsUpkeep()) return OkStatus();
  RETURN_IF_ERROR(CheckHasName(view, caller));
  ASSIGN_OR_RETURN(const std::vector<Level> levels, LevelsOf(view, name));
  ASSIGN_OR_RETURN(const std::shared_ptr<const Identity> identity, IdentityOf(view, caller));
  const OperationRow* row = RowOf(Operation::kSee, levels.back().kind);
  if (Allows(*row, Weigh(levels, *identity))) return OkStatus();
  ASSIGN_OR_RETURN(const Error refusal, Refusal(view, caller, *row, levels, name, true));
  return refusal;
}

Status Authorizer::CheckHasName(View& view, const Caller& caller) const {
  if (IsNobody(caller.principal)) {
    return Error(
        Code::kPermissionDenied,
        fmt::format("{} has no name here and holds no privilege; add it to the host's users or to the "
                    "identity map of the mount",
                    caller.principal.empty() ? "the caller" : caller.principal));
  }
  ASSIGN_OR_RETURN(const std::optional<PrincipalInfo> self, view.FindPrincipal(caller.principal));
  if (self && self->kind == PrincipalKind::kGroup) return NamedAsAGroup(caller);
  ASSIGN_OR_RETURN(const std::shared_ptr<const Identity> identity, IdentityOf(view, caller));
  if (!identity->refused_admin) return OkStatus();
  return Error(Code::kPermissionDenied,
               fmt::format("{} is a metastore admin, and uid {} has this name only by a range or the default "
                           "of the identity map, so it holds nothing; an admin's uid needs a line of its own",
                           Printable(caller.principal), caller.uid));
}

Status Authorizer::CheckInside(View& view, const Caller& caller, ObjectId container) const {
  RETURN_IF_ERROR(Check(view, caller, Operation::kSee, container));
  if (caller.IsUpkeep()) return OkStatus();
  if (Status named = CheckHasName(view, caller); !named.ok()) {
    view.NoteRefused({Operation::kSee, container});
    return named;
  }
  ASSIGN_OR_RETURN(const Facts facts, FactsOf(view, caller, container));
  if (facts.kind == ObjectKind::kMetastore || facts.admin || facts.in_reach ||
      facts.effective.Has(Privilege::kBrowse)) {
    return OkStatus();
  }
  view.NoteRefused({Operation::kSee, container});
  ASSIGN_OR_RETURN(const StoredObject stored, view.Object(container));
  ASSIGN_OR_RETURN(const FullName name, view.NameOf(stored));
  ASSIGN_OR_RETURN(const std::vector<Level> levels, LevelsOf(view, container));
  ASSIGN_OR_RETURN(const std::shared_ptr<const Identity> identity, IdentityOf(view, caller));
  const std::vector<Missing> missing = ClosedGates(levels, *identity, levels.size());
  ASSIGN_OR_RETURN(const std::string help, HowToGet(view, caller, levels, missing, name, true));
  return Error(Code::kPermissionDenied,
               fmt::format("{} may not see what is in {} {}: it lacks {}; {}", Printable(caller.principal),
                           KindName(facts.kind), Printable(name.ToString()),
                           ListOf(missing, levels, name, true), help));
}

// Names the principals that can grant the missing privileges, and the statements for it. These are the
// owner of the outermost place where something is missing, and the metastore's admin. The admin's name is not
// hidden from anyone.
Result<std::string> Authorizer::HowToGet(View& view, const Caller& caller, const std::vector<Level>& levels,
                                         const std::vector<Missing>& missing, const FullName& name,
                                         bool told) const {
  const size_t top = std::min_element(missing.begin(), missing.end(), [](const auto& a, const auto& b) {
                       return a.depth < b.depth;
                     })->depth;
  std::string whom;
  if (top > 0) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const Identity> identity, IdentityOf(view, caller));
    const Facts facts = Weigh({levels.begin(), levels.begin() + static_cast<ptrdiff_t>(top) + 1}, *identity);
    const Level& level = levels[top];
    const bool named = told || top < name.parts.size();
    whom = fmt::format("the owner of {} {}", KindName(level.kind), Printable(NameAt(name, top, told)));
    if (!named) whom = fmt::format("its owner");
    // A hidden object shows no owner, as an absent one has none.
    if (level.owner != kNobodyId && named && Allows(*RowOf(Operation::kSee, level.kind), facts)) {
      ASSIGN_OR_RETURN(const PrincipalInfo owner, view.Principal(level.owner));
      if (!owner.deleted) whom += fmt::format(" ({})", Printable(owner.name));
    }
    whom += " or ";
  }
  whom += "a metastore admin";
  if (levels.front().owner != kNobodyId) {
    ASSIGN_OR_RETURN(const PrincipalInfo admin, view.Principal(levels.front().owner));
    if (!admin.deleted) whom += fmt::format(" ({})", Printable(admin.name));
  }
  return fmt::format("{} can give {}: {}", whom, missing.size() == 1 ? "it" : "them",
                     StatementsOf(missing, levels, name, told, caller));
}

// Names everything that is missing, on the way and on the object itself, in the words of the GRANTs that
// would help. Names the object only if `told`.
Result<Error> Authorizer::Refusal(View& view, const Caller& caller, const OperationRow& row,
                                  const std::vector<Level>& levels, const FullName& name, bool told) const {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Identity> identity, IdentityOf(view, caller));
  const Facts facts = Weigh(levels, *identity);
  std::string shown = "this registry";
  if (facts.kind != ObjectKind::kMetastore) {
    shown = told ? fmt::format("{} {}", KindName(facts.kind), Printable(name.ToString()))
                 : fmt::format("this {}", KindName(facts.kind));
  }
  const std::string message = fmt::format("{} may not {} {}", Printable(caller.principal), row.verb, shown);

  const size_t depth = levels.size() - 1;
  const bool owns = row.Is(kOwner) && facts.owner;
  const bool only_owner = row.Is(kOwner) && !owns && row.any_of.empty();
  const PrivilegeSet wanted = row.any_of.empty() || owns ? row.and_also : row.any_of;
  std::vector<Missing> missing;
  const bool needs_reach = row.reach == Reach::kNeeded || row.reach == Reach::kNeededByAdmin;
  if (needs_reach && !facts.reach && !(row.reach == Reach::kNeeded && facts.admin)) {
    missing = ClosedGates(levels, *identity, depth);
  }
  // The object itself may lack a privilege, and its own gate if the rule needs it (USE SCHEMA with CREATE
  // MODEL).
  const bool enough = owns && (row.and_also.empty() || facts.kind != ObjectKind::kModel);
  bool lacks_privilege = false;
  if (!enough && !only_owner && !wanted.empty()) {
    lacks_privilege =
        owns ? !facts.owns_schema && !facts.on_schema.HasAny(wanted) : !facts.effective.HasAny(wanted);
    if (lacks_privilege) {
      std::vector<Privilege> privileges = wanted.ToList();
      const auto execute = std::find(privileges.begin(), privileges.end(), Privilege::kExecute);
      if (execute != privileges.end()) std::iter_swap(privileges.begin(), execute);
      // A privilege that a model's owner needs on the schema is granted on the schema.
      const bool on_schema =
          facts.kind == ObjectKind::kModel && !Grantable(facts.kind).Has(privileges.front());
      missing.push_back({.privileges = std::move(privileges), .depth = on_schema ? depth - 1 : depth});
    }
    if (!owns && !row.and_also.empty() && !facts.admin) {
      for (Missing& gate : ClosedGates(levels, *identity, levels.size())) {
        if (gate.depth == depth) missing.push_back(std::move(gate));
      }
    }
  }
  if (!missing.empty()) {
    ASSIGN_OR_RETURN(const std::string help, HowToGet(view, caller, levels, missing, name, told));
    return Error(
        Code::kPermissionDenied,
        fmt::format("{}: it lacks {}{}; {}", message, ListOf(missing, levels, name, told),
                    row.Is(kOwner) && !owns && lacks_privilege ? ", and does not own it" : "", help));
  }
  if (row.Is(kAdmin) && !row.Is(kOwner)) {
    return Error(Code::kPermissionDenied, fmt::format("{}: that is for a metastore admin", message));
  }
  return Error(Code::kPermissionDenied,
               fmt::format("{}: that is for its owner; ownership is given by ALTER {} {} OWNER TO …", message,
                           SqlKind(facts.kind), told ? SqlName(name) : "…"));
}

Result<bool> Authorizer::SeesAllIn(View& view, const Caller& caller, ObjectId container) const {
  if (caller.IsUpkeep()) return true;
  ASSIGN_OR_RETURN(const Facts facts, FactsOf(view, caller, container));
  const Facts child = FactsOfAnyChild(facts);
  return Allows(*RowOf(Operation::kSee, child.kind), child);
}

Result<Visibility> Authorizer::VisibleIn(View& view, const Caller& caller, ObjectId container) const {
  Visibility visibility;
  if (caller.IsUpkeep()) {
    visibility.all = visibility.full = true;
    return visibility;
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<const Identity> identity, IdentityOf(view, caller));
  ASSIGN_OR_RETURN(const Facts facts, FactsOf(view, caller, container));
  if (facts.kind == ObjectKind::kModel) return visibility;
  const Facts child = FactsOfAnyChild(facts);
  visibility.all = Allows(*RowOf(Operation::kSee, child.kind), child);
  visibility.full = Allows(*RowOf(Operation::kGet, child.kind), child);
  if (visibility.full || (!visibility.all && !child.reach)) return visibility;
  for (const PrincipalId id : identity->all) {
    std::string begin = keys::Holding(id, container, 0);
    const std::string end = keys::Holding(id, container + 1, 0);
    constexpr size_t kStep = 1000;
    for (bool more = true; more;) {
      ASSIGN_OR_RETURN(const std::vector<KvEntry> held, view.snapshot().Range(begin, end, kStep));
      for (const KvEntry& entry : held) visibility.some.insert(keys::ThirdNumber(entry.key));
      more = held.size() == kStep;
      if (more) begin = keys::After(held.back().key);
    }
  }
  return visibility;
}

Result<std::shared_ptr<const Namesakes>> Authorizer::NamesakesIn(View& view) const {
  // Making or deleting a principal writes their counter.
  ASSIGN_OR_RETURN(const std::optional<KvEntry> counters, view.Get(keys::PrincipalCounters()));
  const Revision revision = counters ? counters->revision : 0;
  {
    const MutexLock lock(mu_);
    if (namesakes_ != nullptr && namesakes_revision_ == revision) return namesakes_;
  }
  auto found = std::make_shared<Namesakes>();
  std::string begin = keys::Principal(0);
  const std::string end = keys::AfterPrefix(begin.substr(0, 1));
  constexpr size_t kStep = 1000;
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, view.snapshot().Range(begin, end, kStep));
    for (const KvEntry& entry : entries) {
      ASSIGN_OR_RETURN(const PrincipalRecord record, PrincipalRecord::Decode(entry.value, "principal"));
      if (record.info.deleted || record.info.kind == PrincipalKind::kUser) continue;
      (record.info.kind == PrincipalKind::kGroup ? found->groups : found->service_principals)
          .push_back(record.info.name);
    }
    more = entries.size() == kStep;
    if (more) begin = keys::After(entries.back().key);
  }
  const MutexLock lock(mu_);
  if (namesakes_revision_ <= revision) {
    namesakes_ = found;
    namesakes_revision_ = revision;
  }
  return std::shared_ptr<const Namesakes>(std::move(found));
}

Result<ObjectAccess> Authorizer::AccessOf(View& view, ObjectId object) const {
  ASSIGN_OR_RETURN(const std::vector<Level> levels, LevelsOf(view, object));
  ObjectAccess access;
  if (levels.back().owner != kNobodyId) {
    ASSIGN_OR_RETURN(access.owner, view.Principal(levels.back().owner));
    if (access.owner.deleted) access.owner = PrincipalInfo();
  }
  Identity everyone;
  everyone.all = {kAccountUsersId};
  access.everyone = RightsOf(Weigh(levels, everyone));
  ASSIGN_OR_RETURN(access.namesakes, NamesakesIn(view));

  // Collect the principals that are named on the way down, and the members of registry groups among them. A
  // group of the host is named as it is, because its members are not in the registry.
  std::deque<PrincipalId> open;
  std::set<PrincipalId> seen{kAccountUsersId};
  const auto add = [&](PrincipalId id) {
    if (id != kNobodyId && seen.insert(id).second) open.push_back(id);
  };
  for (const Level& level : levels) {
    add(level.owner);
    for (const GrantsRecord::Grant& grant : level.grants.grants) add(grant.principal);
  }
  std::vector<PrincipalInfo> users;
  std::vector<std::pair<PrincipalInfo, Identity>> host_groups;
  // A user that neither an owner nor a grant here names has the gates by these identities, whichever of the
  // groups it is in.
  Identity together = everyone;
  while (!open.empty()) {
    const PrincipalId id = open.front();
    open.pop_front();
    ASSIGN_OR_RETURN(PrincipalInfo info, view.Principal(id));
    if (info.deleted) continue;
    if (info.kind != PrincipalKind::kGroup) {
      users.push_back(std::move(info));
    } else if (info.source == PrincipalSource::kRegistry) {
      ASSIGN_OR_RETURN(const std::vector<PrincipalId> members, view.MembersIn(id));
      for (const PrincipalId member : members) add(member);
    } else {
      ASSIGN_OR_RETURN(Identity identity, ComputeIdentity(view, id, {}));
      together.all.insert(together.all.end(), identity.all.begin(), identity.all.end());
      host_groups.emplace_back(std::move(info), std::move(identity));
    }
  }
  std::sort(together.all.begin(), together.all.end());
  together.all.erase(std::unique(together.all.begin(), together.all.end()), together.all.end());

  // A principal with nothing beyond `everyone` needs no entry.
  const auto mention = [&](const PrincipalInfo& principal, const Facts& facts) {
    const ObjectRights rights = RightsOf(facts);
    if (!((access.everyone | rights) == access.everyone)) {
      access.entries.push_back({principal, rights, facts.admin});
    }
    return rights;
  };
  std::unordered_map<PrincipalId, ObjectRights> of_group;
  for (const auto& [info, identity] : host_groups) {
    of_group[info.id] = mention(info, Weigh(levels, identity, together));
  }
  for (const PrincipalInfo& info : users) {
    // A user's groups of the host matter only if one of them is named. To ask the host for the groups of
    // thousands of users takes seconds.
    ASSIGN_OR_RETURN(const Identity identity, host_groups.empty() ? ComputeIdentity(view, info.id, {})
                                                                  : IdentityOfPrincipal(view, info));
    const ObjectRights rights = mention(info, Weigh(levels, identity));
    ObjectRights of_groups;
    for (const PrincipalId in : identity.all) {
      if (const auto found = of_group.find(in); found != of_group.end())
        of_groups = of_groups | found->second;
    }
    if (!((rights | of_groups) == rights)) access.lesser.push_back({info, rights, of_groups});
  }
  std::sort(access.lesser.begin(), access.lesser.end(),
            [](const LesserRights& a, const LesserRights& b) { return a.principal.name < b.principal.name; });
  std::sort(
      access.entries.begin(), access.entries.end(), [](const PrincipalRights& a, const PrincipalRights& b) {
        return std::pair(a.principal.kind, a.principal.name) < std::pair(b.principal.kind, b.principal.name);
      });
  return access;
}

Result<PrincipalInfo> Authorizer::Ensure(Change& change, std::string_view name) const {
  RETURN_IF_ERROR(CheckPrincipalName(name));
  ASSIGN_OR_RETURN(const std::optional<PrincipalInfo> known, change.FindPrincipal(name));
  if (known) return *known;
  std::optional<PrincipalDirectory::Found> found;
  if (directory_ != nullptr) found = directory_->Find(name);
  if (!found) {
    return Error(
        Code::kNotFound,
        fmt::format("no principal is named {}: neither a user or group of this host nor one made here; "
                    "`modelfs principal create` makes a user, `modelfs group create` a group",
                    SqlQuoted(name)));
  }
  return change.AddPrincipal(found->kind, PrincipalSource::kHost, found->name);
}

Result<PrincipalId> Authorizer::EnsureSelf(Change& change, const Caller& caller) const {
  if (IsNobody(caller.principal) || caller.IsUpkeep()) {
    return Error(Code::kPermissionDenied, "a caller without a name here cannot own anything");
  }
  ASSIGN_OR_RETURN(const std::optional<PrincipalInfo> known, change.FindPrincipal(caller.principal));
  if (known && known->kind == PrincipalKind::kGroup) return NamedAsAGroup(caller);
  if (known) return known->id;
  ASSIGN_OR_RETURN(const PrincipalInfo made,
                   change.AddPrincipal(PrincipalKind::kUser, PrincipalSource::kHost, caller.principal));
  return made.id;
}

}  // namespace modelfs::store
