// Aliases: at most ten names a model, each on one READY version, kept in the model's own record, so that
// setting, moving and swapping are one write.
#include <fmt/core.h>

#include <algorithm>
#include <bitset>

#include "cas/base/text.h"
#include "store/embedded/embedded_registry_impl.h"

namespace modelfs::store {
namespace {

using Aliases = std::vector<AliasInfo>;

Aliases::iterator Find(Aliases& aliases, std::string_view name) {
  return std::find_if(aliases.begin(), aliases.end(),
                      [&](const AliasInfo& alias) { return alias.name == name; });
}

void Sort(Aliases& aliases) {
  std::sort(aliases.begin(), aliases.end(),
            [](const AliasInfo& a, const AliasInfo& b) { return a.name < b.name; });
}

uint8_t FreeSlot(const Aliases& aliases) {
  std::bitset<kMaxAliasesPerModel> used;
  for (const AliasInfo& alias : aliases) used.set(alias.slot);
  uint8_t slot = 0;
  while (used.test(slot)) ++slot;
  return slot;
}

Error NoAlias(const FullName& model, std::string_view alias) {
  return Error(Code::kNotFound, fmt::format("{} has no alias {}", model.ToString(), Printable(alias)));
}

// Two aliases that differ only in case would be one to a client that folds case. `except` is about to be
// removed.
Status CheckCaseTwins(const Aliases& aliases, const FullName& model, std::string_view name,
                      std::string_view except) {
  const std::string folded = FoldCase(name);
  for (const AliasInfo& alias : aliases) {
    if (alias.name != name && alias.name != except && FoldCase(alias.name) == folded) {
      return Error(Code::kAlreadyExists,
                   fmt::format("{} has an alias {} already, and {} would differ from it only in case",
                               model.ToString(), alias.name, name));
    }
  }
  return OkStatus();
}

// Each move of a name is later than the one before, also within a millisecond and after the clock was set
// back: programs notice a move by its time.
int64_t MovedAt(const Change& change, int64_t before_ms) { return std::max(change.now_ms(), before_ms + 1); }

void Save(Change& change, StoredObject& model) {
  Sort(model.record.aliases);
  change.TouchObject(model);
}

}  // namespace

Result<MovedAlias> EmbeddedRegistryImpl::PointAlias(Change& change, StoredObject& model,
                                                    std::string_view alias, VersionNumber version,
                                                    AliasMode mode) {
  ASSIGN_OR_RETURN(const FullName name, change.NameOf(model));
  RETURN_IF_ERROR(CheckProtected(change, change.caller(), model, {alias}));
  ASSIGN_OR_RETURN(const VersionRecord record, change.Version(model, version));
  if (record.status != VersionStatus::kReady) {
    return Error(Code::kFailedPrecondition, fmt::format("{} version {} is {}; an alias needs a READY version",
                                                        name.ToString(), version, StatusName(record.status)));
  }
  Aliases& aliases = model.record.aliases;
  RETURN_IF_ERROR(CheckCaseTwins(aliases, name, alias, {}));
  auto at = Find(aliases, alias);
  if (at != aliases.end() && mode == AliasMode::kCreateOnly) {
    return Error(Code::kAlreadyExists, fmt::format("{} has an alias {} already", name.ToString(), alias));
  }
  Change::Params params{{"full_name_arg", name.ToString()},
                        {"alias_arg", std::string(alias)},
                        {"version_num", std::to_string(version)}};
  std::optional<VersionNumber> previous;
  if (at == aliases.end()) {
    if (aliases.size() >= kMaxAliasesPerModel) {
      return Error(Code::kResourceExhausted,
                   fmt::format("{} has {} aliases, the most there can be; remove one first", name.ToString(),
                               aliases.size()));
    }
    const uint8_t slot = FreeSlot(aliases);
    at = aliases.insert(aliases.end(), AliasInfo());
    at->name = alias;
    at->slot = slot;
  } else {
    previous = at->version;
    params["previous_version_num"] = std::to_string(at->version);
  }
  at->version = version;
  at->version_id = record.id;
  at->updated_at_ms = MovedAt(change, at->updated_at_ms);
  MovedAlias moved{*at, previous};
  Save(change, model);
  change.Audit("setRegisteredModelAlias", name, model.record.id, std::move(params));
  return moved;
}

Result<MovedAlias> EmbeddedRegistryImpl::SetAlias(const Caller& caller, ObjectId model_id,
                                                  std::string_view alias, VersionNumber version,
                                                  AliasMode mode) {
  RETURN_IF_ERROR(CheckAliasName(alias));
  const Asked asked{Operation::kSetAlias,
                    model_id,
                    {{"alias_arg", std::string(alias)}, {"version_num", std::to_string(version)}}};
  return Mutate(caller, asked, [&](Change& change) -> Result<MovedAlias> {
    ASSIGN_OR_RETURN(StoredObject model, change.Model(model_id));
    ASSIGN_OR_RETURN(MovedAlias moved, PointAlias(change, model, alias, version, mode));
    change.Tell(EventKind::kAliasSet, model);
    change.event().version = version;
    change.event().version_id = moved.alias.version_id;
    change.event().aliases = {std::string(alias)};
    return moved;
  });
}

Status EmbeddedRegistryImpl::DeleteAlias(const Caller& caller, ObjectId model_id, std::string_view alias) {
  constexpr const char* kAction = "deleteRegisteredModelAlias";
  const Asked asked{Operation::kSetAlias, model_id, {{"alias_arg", std::string(alias)}}, kAction};
  return Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(StoredObject model, change.Model(model_id));
    ASSIGN_OR_RETURN(const FullName name, change.NameOf(model));
    const auto at = Find(model.record.aliases, alias);
    if (at == model.record.aliases.end()) return NoAlias(name, alias);
    RETURN_IF_ERROR(CheckProtected(change, caller, model, {alias}));
    const AliasInfo gone = *at;
    model.record.aliases.erase(at);
    Save(change, model);
    change.Audit(kAction, name, model_id,
                 {{"full_name_arg", name.ToString()},
                  {"alias_arg", gone.name},
                  {"version_num", std::to_string(gone.version)}});
    change.Tell(EventKind::kAliasDeleted, model);
    change.event().version = gone.version;
    change.event().version_id = gone.version_id;
    change.event().aliases = {gone.name};
    return OkStatus();
  });
}

Status EmbeddedRegistryImpl::RenameAlias(const Caller& caller, ObjectId model_id, std::string_view from,
                                         std::string_view to, AliasMode mode) {
  RETURN_IF_ERROR(CheckAliasName(to));
  const Asked asked{
      Operation::kSetAlias, model_id, {{"alias_arg", std::string(to)}, {"renamed_from", std::string(from)}}};
  return Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(StoredObject model, change.Model(model_id));
    ASSIGN_OR_RETURN(const FullName name, change.NameOf(model));
    Aliases& aliases = model.record.aliases;
    if (Find(aliases, from) == aliases.end()) return NoAlias(name, from);
    if (from == to) return OkStatus();
    RETURN_IF_ERROR(CheckProtected(change, caller, model, {from, to}));
    RETURN_IF_ERROR(CheckCaseTwins(aliases, name, to, from));
    int64_t before_ms = Find(aliases, from)->updated_at_ms;
    if (const auto replaced = Find(aliases, to); replaced != aliases.end()) {
      if (mode == AliasMode::kCreateOnly) {
        return Error(Code::kAlreadyExists, fmt::format("{} has an alias {} already", name.ToString(), to));
      }
      before_ms = std::max(before_ms, replaced->updated_at_ms);
      aliases.erase(replaced);
    }
    const auto at = Find(aliases, from);  // keeps its slot: it is the same alias under another name
    at->name = to;
    at->updated_at_ms = MovedAt(change, before_ms);
    const AliasInfo moved = *at;
    Save(change, model);
    change.Audit("setRegisteredModelAlias", name, model_id,
                 {{"full_name_arg", name.ToString()},
                  {"alias_arg", moved.name},
                  {"version_num", std::to_string(moved.version)},
                  {"renamed_from", std::string(from)}});
    change.Tell(EventKind::kAliasSet, model);
    change.event().version = moved.version;
    change.event().version_id = moved.version_id;
    change.event().aliases = {std::string(from), moved.name};
    return OkStatus();
  });
}

Status EmbeddedRegistryImpl::SwapAliases(const Caller& caller, ObjectId model_id, std::string_view a,
                                         std::string_view b) {
  const Asked asked{
      Operation::kSetAlias, model_id, {{"alias_arg", std::string(a)}, {"other_alias_arg", std::string(b)}}};
  return Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(StoredObject model, change.Model(model_id));
    ASSIGN_OR_RETURN(const FullName name, change.NameOf(model));
    Aliases& aliases = model.record.aliases;
    const auto at_a = Find(aliases, a);
    if (at_a == aliases.end()) return NoAlias(name, a);
    const auto at_b = Find(aliases, b);
    if (at_b == aliases.end()) return NoAlias(name, b);
    if (at_a == at_b) return OkStatus();
    RETURN_IF_ERROR(CheckProtected(change, caller, model, {a, b}));
    std::swap(at_a->name, at_b->name);  // each keeps its slot and version: the names change places
    at_a->updated_at_ms = at_b->updated_at_ms =
        MovedAt(change, std::max(at_a->updated_at_ms, at_b->updated_at_ms));
    change.Audit("setRegisteredModelAlias", name, model_id,
                 {{"full_name_arg", name.ToString()},
                  {"alias_arg", at_a->name},
                  {"version_num", std::to_string(at_a->version)},
                  {"other_alias_arg", at_b->name},
                  {"other_version_num", std::to_string(at_b->version)}});
    Save(change, model);
    change.Tell(EventKind::kAliasSet, model);
    change.event().aliases = {std::string(a), std::string(b)};
    return OkStatus();
  });
}

}  // namespace modelfs::store
