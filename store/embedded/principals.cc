// Users, service principals and groups: creating, finding, listing, deleting, and memberships.
#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <set>

#include "cas/base/text.h"
#include "store/embedded/embedded_registry_impl.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

constexpr std::string_view kListQuery = "principals";
constexpr size_t kStep = 1000;
// Memberships, of two keys each, in a commit that may delete the principal as well.
constexpr size_t kMembershipStep = 40;

Error NoPrincipal(std::string_view name) {
  return Error(Code::kNotFound, fmt::format("no principal is named {}; `modelfs principal ls` lists them",
                                            Printable(name.substr(0, kNameMaxBytes))));
}

Result<PrincipalInfo> Need(View& view, std::string_view name) {
  ASSIGN_OR_RETURN(std::optional<PrincipalInfo> found, view.FindPrincipal(name));
  if (!found) return NoPrincipal(name);
  return *std::move(found);
}

// The present settings: the owner may have changed since the registry was opened.
Result<RegistrySettings> SettingsIn(Change& change) {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, change.Get(keys::Settings()));
  if (!entry) return Error(Code::kDataLoss, "the registry's settings are missing");
  return DecodeSettings(entry->value);
}

// A group with its members recorded here.
Result<PrincipalInfo> NeedRegistryGroup(View& view, std::string_view name) {
  ASSIGN_OR_RETURN(PrincipalInfo group, Need(view, name));
  if (group.kind != PrincipalKind::kGroup) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} is a {} and has no members", group.name, PrincipalKindName(group.kind)));
  }
  if (group.source == PrincipalSource::kHost) {
    return Error(Code::kFailedPrecondition,
                 fmt::format("{} is a group of the host: change its members there (usermod -aG), not here",
                             group.name));
  }
  if (group.id == kAccountUsersId) {
    return Error(Code::kFailedPrecondition, fmt::format("everyone is always in `{}`", kAccountUsers));
  }
  return group;
}

// Those of the principals that are not deleted.
Result<std::vector<PrincipalInfo>> Living(View& view, const std::vector<PrincipalId>& ids) {
  ASSIGN_OR_RETURN(std::vector<PrincipalInfo> living, view.Principals(ids));
  std::erase_if(living, [](const PrincipalInfo& info) { return info.deleted; });
  return living;
}
Result<std::vector<PrincipalInfo>> GroupsAround(View& view, PrincipalId member) {
  ASSIGN_OR_RETURN(const std::vector<PrincipalId> ids, view.GroupsAround(member));
  return Living(view, ids);
}
Result<std::vector<PrincipalInfo>> MembersIn(View& view, PrincipalId group) {
  ASSIGN_OR_RETURN(const std::vector<PrincipalId> ids, view.MembersIn(group));
  return Living(view, ids);
}

// The keys of up to `most` memberships of a principal, as a member and as a group; each membership has two.
Result<std::vector<std::string>> MembershipKeys(View& view, PrincipalId principal, size_t most) {
  ASSIGN_OR_RETURN(const std::vector<PrincipalId> groups, view.GroupsAround(principal));
  ASSIGN_OR_RETURN(const std::vector<PrincipalId> members, view.MembersIn(principal));
  std::vector<std::string> found;
  const auto add = [&](PrincipalId group, PrincipalId member) {
    if (found.size() >= 2 * most) return;
    found.push_back(keys::Member(group, member));
    found.push_back(keys::MemberOf(member, group));
  };
  for (const PrincipalId group : groups) add(group, principal);
  for (const PrincipalId member : members) add(principal, member);
  return found;
}

// The length of the longest chain of groups from `start` on, `start` included, by `next`; stops beyond the
// limit.
template <typename Next>
Result<size_t> Depth(View& view, PrincipalId start, Next next) {
  std::vector<PrincipalId> level{start};
  size_t depth = 0;
  while (!level.empty() && depth <= kMaxGroupNesting) {
    ++depth;
    std::set<PrincipalId> after;
    for (const PrincipalId id : level) {
      ASSIGN_OR_RETURN(const std::vector<PrincipalInfo> adjacent, next(view, id));
      for (const PrincipalInfo& each : adjacent) {
        if (each.kind == PrincipalKind::kGroup) after.insert(each.id);
      }
    }
    level.assign(after.begin(), after.end());
  }
  return depth;
}

}  // namespace

Result<PrincipalInfo> EmbeddedRegistryImpl::CreatePrincipal(const Caller& caller, PrincipalKind kind,
                                                            std::string_view name) {
  RETURN_IF_ERROR(CheckPrincipalName(name));
  const Asked asked{Operation::kManagePrincipals,
                    kMetastoreId,
                    {{"name", std::string(name)}, {"kind", std::string(PrincipalKindName(kind))}},
                    "createPrincipal"};
  return Mutate(caller, asked, [&](Change& change) -> Result<PrincipalInfo> {
    ASSIGN_OR_RETURN(const std::optional<PrincipalInfo> taken, change.FindPrincipal(name));
    if (taken) {
      return Error(Code::kAlreadyExists,
                   fmt::format("a {} named {} exists already", PrincipalKindName(taken->kind), taken->name));
    }
    ASSIGN_OR_RETURN(PrincipalInfo made, change.AddPrincipal(kind, PrincipalSource::kRegistry, name));
    change.Audit(asked.action, FullName(), kMetastoreId,
                 {{"name", made.name},
                  {"kind", std::string(PrincipalKindName(kind))},
                  {"principal_id", std::to_string(made.id)}});
    change.TellPrincipals();
    return made;
  });
}

Status EmbeddedRegistryImpl::DeletePrincipal(const Caller& caller, std::string_view name) {
  const Asked asked{
      Operation::kManagePrincipals, kMetastoreId, {{"name", std::string(name)}}, "deletePrincipal"};
  PrincipalId deleted = kNobodyId;
  const Status done = Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(PrincipalInfo gone, Need(change, name));
    if (gone.id == kAccountUsersId) {
      return Error(Code::kFailedPrecondition,
                   fmt::format("`{}` contains everyone and cannot be deleted", kAccountUsers));
    }
    ASSIGN_OR_RETURN(const StoredObject metastore, change.Object(kMetastoreId));
    ASSIGN_OR_RETURN(const PrincipalId admin, change.OwnerOf(metastore.record));
    if (admin == gone.id) {
      return Error(
          Code::kFailedPrecondition,
          fmt::format("{} is the metastore's admin; hand that over first: ALTER METASTORE OWNER TO …",
                      gone.name));
    }
    ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, change.Get(keys::PrincipalCounters()));
    if (!entry) return Error(Code::kDataLoss, "the registry's counter of principals is missing");
    ASSIGN_OR_RETURN(PrincipalCountersRecord counters,
                     PrincipalCountersRecord::Decode(entry->value, "counter of principals"));
    uint64_t& count = gone.kind == PrincipalKind::kGroup ? counters.groups : counters.users;
    if (count > 0) --count;
    change.Put(keys::PrincipalCounters(), counters.Encode());
    // Its grants and objects stay recorded under its id, which no principal has from now on.
    const std::string folded = FoldCase(gone.name);
    change.Delete(keys::PrincipalName(folded));
    change.Put(keys::Burned(folded), EncodeText(gone.name));
    gone.deleted = true;
    change.Put(keys::Principal(gone.id), PrincipalRecord{gone}.Encode());
    RETURN_IF_ERROR(CheckKeeperStaysAdmin(change));
    ASSIGN_OR_RETURN(const std::vector<std::string> memberships,
                     MembershipKeys(change, gone.id, kMembershipStep));
    for (const std::string& key : memberships) change.Delete(key);
    deleted = gone.id;
    change.SetReserve(Reserve::kAll);
    change.AccessChanges();
    change.Audit(asked.action, FullName(), kMetastoreId,
                 {{"name", gone.name}, {"principal_id", std::to_string(gone.id)}});
    change.TellPrincipals();
    change.event().old_name = gone.name;
    return OkStatus();
  });
  RETURN_IF_ERROR(done);
  RemoveMemberships(deleted).IgnoreError("they have no effect; a sweep removes the rest");
  return OkStatus();
}

Status EmbeddedRegistryImpl::RemoveMemberships(PrincipalId deleted) {
  // Nothing is added to a deleted principal, so no expectation is needed.
  for (;;) {
    KvTransaction transaction;
    {
      ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
      View view(*snapshot);
      ASSIGN_OR_RETURN(const std::vector<std::string> keys, MembershipKeys(view, deleted, kMembershipStep));
      for (const std::string& key : keys) transaction.Delete(key);
    }
    if (transaction.writes.empty()) return OkStatus();
    RETURN_IF_ERROR(kv_.Commit(transaction));
  }
}

// Removes those that a killed deletion left, and those that older programs left on purpose.
Status EmbeddedRegistryImpl::RemoveMembershipsOfDeleted() {
  const std::string prefix = keys::Principal(0).substr(0, 1);
  std::string begin = prefix;
  for (bool more = true; more;) {
    std::vector<KvEntry> entries;
    {
      ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
      ASSIGN_OR_RETURN(entries, snapshot->Range(begin, keys::AfterPrefix(prefix), kStep));
    }
    for (const KvEntry& entry : entries) {
      ASSIGN_OR_RETURN(const PrincipalRecord record, PrincipalRecord::Decode(entry.value, "principal"));
      if (record.info.deleted) RETURN_IF_ERROR(RemoveMemberships(keys::FirstNumber(entry.key)));
    }
    more = entries.size() == kStep;
    if (more) begin = keys::After(entries.back().key);
  }
  return OkStatus();
}

Result<PrincipalInfo> EmbeddedRegistryImpl::FindPrincipal(const Caller& caller, std::string_view name) {
  return Inspect(caller, Operation::kUse, kMetastoreId,
                 [&](View& view) -> Result<PrincipalInfo> { return Need(view, name); });
}

Result<Page<PrincipalInfo>> EmbeddedRegistryImpl::ListPrincipals(const Caller& caller,
                                                                 const PageRequest& page) {
  const size_t limit = PageLimit(page);
  std::string begin = keys::PrincipalName("");
  const std::string end = keys::AfterPrefix(begin);
  if (!page.token.empty()) {
    ASSIGN_OR_RETURN(const std::string last, DecodePageToken(kListQuery, page.token));
    begin = keys::After(keys::PrincipalName(last));
  }
  return Inspect(caller, Operation::kUse, kMetastoreId, [&](View& view) -> Result<Page<PrincipalInfo>> {
    ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, view.snapshot().Range(begin, end, limit + 1));
    std::vector<PrincipalId> ids;
    for (const KvEntry& entry : entries) {
      if (ids.size() == limit) break;
      ASSIGN_OR_RETURN(ids.emplace_back(), DecodeNumber(entry.value, "principal's name"));
    }
    Page<PrincipalInfo> answer;
    ASSIGN_OR_RETURN(answer.items, view.Principals(ids));
    if (entries.size() > limit) {
      answer.next_token = EncodePageToken(kListQuery, FoldCase(answer.items.back().name));
    }
    return answer;
  });
}

Status EmbeddedRegistryImpl::AddMember(const Caller& caller, std::string_view group_name,
                                       std::string_view member_name) {
  const Asked asked{Operation::kManagePrincipals,
                    kMetastoreId,
                    {{"group", std::string(group_name)}, {"member", std::string(member_name)}},
                    "addPrincipalToGroup"};
  return Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(const PrincipalInfo group, NeedRegistryGroup(change, group_name));
    ASSIGN_OR_RETURN(const PrincipalInfo member, authorizer_.Ensure(change, member_name));
    if (member.id == kAccountUsersId) {
      return Error(Code::kInvalidArgument,
                   fmt::format("`{}` cannot be a member: grant to it directly", kAccountUsers));
    }
    ASSIGN_OR_RETURN(const std::optional<KvEntry> present, change.Get(keys::Member(group.id, member.id)));
    if (present) return OkStatus();
    // Concurrent changes of groups write the epoch too, so that one of them starts again.
    ASSIGN_OR_RETURN([[maybe_unused]] const auto epoch, change.Get(keys::AccessEpoch()));
    ASSIGN_OR_RETURN(const std::vector<PrincipalInfo> around, GroupsAround(change, member.id));
    if (around.size() >= kMaxMemberships) {
      return Error(Code::kResourceExhausted,
                   fmt::format("{} is in {} groups, the most there can be", member.name, around.size()));
    }
    if (member.kind == PrincipalKind::kGroup) {
      std::set<PrincipalId> above{group.id};
      std::deque<PrincipalId> open{group.id};
      while (!open.empty()) {
        if (open.front() == member.id) {
          return Error(
              Code::kFailedPrecondition,
              fmt::format(
                  "{} is in {} already, through other groups or itself; a group cannot contain itself",
                  group.name, member.name));
        }
        ASSIGN_OR_RETURN(const std::vector<PrincipalInfo> next, GroupsAround(change, open.front()));
        open.pop_front();
        for (const PrincipalInfo& each : next) {
          if (above.insert(each.id).second) open.push_back(each.id);
        }
      }
      ASSIGN_OR_RETURN(const size_t up, Depth(change, group.id, GroupsAround));
      ASSIGN_OR_RETURN(const size_t down, Depth(change, member.id, MembersIn));
      if (up + down > kMaxGroupNesting) {
        return Error(Code::kResourceExhausted,
                     fmt::format("groups can be nested {} deep at most; with {} in {} they would be {} deep",
                                 kMaxGroupNesting, member.name, group.name, up + down));
      }
    }
    change.Put(keys::Member(group.id, member.id), EncodeText(""));
    change.Put(keys::MemberOf(member.id, group.id), EncodeText(""));
    change.AccessChanges();
    change.Audit(asked.action, FullName(), kMetastoreId, {{"group", group.name}, {"member", member.name}});
    change.TellPrincipals();
    return OkStatus();
  });
}

Status EmbeddedRegistryImpl::RemoveMember(const Caller& caller, std::string_view group_name,
                                          std::string_view member_name) {
  const Asked asked{Operation::kManagePrincipals,
                    kMetastoreId,
                    {{"group", std::string(group_name)}, {"member", std::string(member_name)}},
                    "removePrincipalFromGroup"};
  return Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(const PrincipalInfo group, NeedRegistryGroup(change, group_name));
    ASSIGN_OR_RETURN(const PrincipalInfo member, Need(change, member_name));
    ASSIGN_OR_RETURN(const std::optional<KvEntry> present, change.Get(keys::Member(group.id, member.id)));
    if (!present) {
      return Error(Code::kNotFound, fmt::format("{} is not a direct member of {}", member.name, group.name));
    }
    change.Delete(keys::Member(group.id, member.id));
    change.Delete(keys::MemberOf(member.id, group.id));
    RETURN_IF_ERROR(CheckKeeperStaysAdmin(change));
    change.SetReserve(Reserve::kAll);
    change.AccessChanges();
    change.Audit(asked.action, FullName(), kMetastoreId, {{"group", group.name}, {"member", member.name}});
    change.TellPrincipals();
    return OkStatus();
  });
}

Result<bool> EmbeddedRegistryImpl::IsAdmin(View& view, const Caller& caller) {
  return authorizer_.May(view, caller, Operation::kManagePrincipals, kMetastoreId);
}

Result<bool> EmbeddedRegistryImpl::IsKeeperAdmin(View& view, const RegistrySettings& settings) {
  ASSIGN_OR_RETURN(const StoredObject metastore, view.Object(kMetastoreId));
  ASSIGN_OR_RETURN(const PrincipalId admin, view.OwnerOf(metastore.record));
  ASSIGN_OR_RETURN(const std::optional<PrincipalInfo> keeper, view.FindPrincipal(settings.owner));
  if (!keeper) return false;
  ASSIGN_OR_RETURN(const Identity identity, authorizer_.IdentityOfPrincipal(view, *keeper));
  return identity.Is(admin);
}

Status EmbeddedRegistryImpl::CheckKeeperIsAdmin(Change& change) {
  // If two changes at once would each leave the keeper one way to be an admin, the other's, one of them
  // starts again.
  ASSIGN_OR_RETURN([[maybe_unused]] const auto epoch, change.Get(keys::AccessEpoch()));
  ASSIGN_OR_RETURN(const RegistrySettings settings, SettingsIn(change));
  ASSIGN_OR_RETURN(const bool is_admin, IsKeeperAdmin(change, settings));
  if (is_admin) return OkStatus();
  return Error(
      Code::kFailedPrecondition,
      fmt::format("then {0} would not be a metastore admin any more, but it owns the registry's files, "
                  "so no one else can run commands on it; the metastore's owner must be {0} or a "
                  "group that {0} is in: ALTER GROUP … ADD USER `{0}`",
                  Printable(settings.owner)));
}

Status EmbeddedRegistryImpl::CheckKeeperStaysAdmin(Change& change) {
  ASSIGN_OR_RETURN(const RegistrySettings settings, SettingsIn(change));
  View before(change.snapshot());
  ASSIGN_OR_RETURN(const bool was_admin, IsKeeperAdmin(before, settings));
  return was_admin ? CheckKeeperIsAdmin(change) : OkStatus();
}

Result<std::string> EmbeddedRegistryImpl::TakeOver(const Caller& keeper) {
  return Mutate(keeper, {Operation::kUse}, [&](Change& change) -> Result<std::string> {
    ASSIGN_OR_RETURN(RegistrySettings settings, SettingsIn(change));
    ASSIGN_OR_RETURN(StoredObject metastore, change.Object(kMetastoreId));
    ASSIGN_OR_RETURN(const PrincipalId before, change.OwnerOf(metastore.record));
    ASSIGN_OR_RETURN(std::string name_before, change.NameOfPrincipal(before));
    ASSIGN_OR_RETURN(metastore.record.owner, authorizer_.EnsureSelf(change, keeper));
    metastore.record.owner_name.clear();
    change.TouchObject(metastore);
    settings.owner = keeper.principal;
    settings.owner_uid = keeper.uid;
    change.SetReserve(Reserve::kAll);
    change.Put(keys::Settings(), EncodeSettings(settings));
    change.AccessChanges();
    change.Audit("takeOverMetastore", FullName(), kMetastoreId,
                 {{"owner", keeper.principal}, {"previous_owner", name_before}});
    change.Tell(EventKind::kAccessChanged, metastore);
    return name_before;
  });
}

Result<std::vector<PrincipalInfo>> EmbeddedRegistryImpl::Members(const Caller& caller,
                                                                 std::string_view group_name) {
  return Inspect(caller, Operation::kUse, kMetastoreId,
                 [&](View& view) -> Result<std::vector<PrincipalInfo>> {
                   ASSIGN_OR_RETURN(const PrincipalInfo group, NeedRegistryGroup(view, group_name));
                   return MembersIn(view, group.id);
                 });
}

Result<std::vector<PrincipalInfo>> EmbeddedRegistryImpl::GroupsOf(const Caller& caller,
                                                                  std::string_view principal) {
  return Inspect(caller, Operation::kUse, kMetastoreId,
                 [&](View& view) -> Result<std::vector<PrincipalInfo>> {
                   ASSIGN_OR_RETURN(const PrincipalInfo member, Need(view, principal));
                   ASSIGN_OR_RETURN(const Identity identity, authorizer_.IdentityOfPrincipal(view, member));
                   std::vector<PrincipalId> ids = identity.all;
                   std::erase(ids, member.id);
                   ASSIGN_OR_RETURN(std::vector<PrincipalInfo> groups, view.Principals(ids));
                   std::sort(groups.begin(), groups.end(),
                             [](const PrincipalInfo& a, const PrincipalInfo& b) { return a.name < b.name; });
                   return groups;
                 });
}

}  // namespace modelfs::store
