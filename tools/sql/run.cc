#include "tools/sql/run.h"

#include <fmt/core.h>

#include <ctime>
#include <utility>

#include "cas/base/text.h"
#include "store/actions.h"
#include "store/registry_json.h"
#include "store/search_filter.h"
#include "store/sql_name.h"
#include "tools/pages.h"
#include "tools/principals.h"
#include "tools/settings.h"
#include "tools/sql/parser.h"

namespace modelfs::tools {
namespace {

// "2026-11-22T23:27:44Z": independent of the time zone.
std::string UtcTime(int64_t time_ms) {
  const auto seconds = static_cast<std::time_t>(time_ms / 1000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec);
}

bool Matches(const std::optional<std::string>& pattern, std::string_view name) {
  return !pattern || store::LikeMatches(FoldCase(*pattern), FoldCase(name));
}

class Runner {
 public:
  Runner(store::Registry& registry, store::Governance& governance, const store::Caller& caller)
      : registry_(registry), governance_(governance), caller_(caller) {}

  Result<SqlTable> operator()(const CreateObject& create) {
    const store::FullName& name = create.object.name;
    store::ObjectId parent = store::kMetastoreId;
    if (name.parts.size() > 1) {
      const store::Caller caller = AboutTo(
          fmt::format("create{}", store::ActionNoun(static_cast<store::ObjectKind>(name.parts.size()))),
          name.ToString());
      ASSIGN_OR_RETURN(const store::ObjectInfo container, registry_.Lookup(caller, name.Parent()));
      parent = container.id;
    }
    const auto made = registry_.Create(caller_, parent, name.leaf(), create.comment);
    return Done(made, create.if_not_exists ? std::optional(Code::kAlreadyExists) : std::nullopt);
  }

  Result<SqlTable> operator()(const DropObject& drop) {
    using Mode = store::Registry::DeleteMode;
    const Result<store::ObjectId> id = Find(drop.object, store::Operation::kDelete);
    if (!id.ok()) return Done(id, drop.if_exists ? std::optional(Code::kNotFound) : std::nullopt);
    return Done(registry_.Delete(caller_, *id, drop.cascade ? Mode::kWithVersions : Mode::kIfEmpty));
  }

  Result<SqlTable> operator()(const GrantOrRevoke& statement) {
    ASSIGN_OR_RETURN(const store::ObjectId id, Find(statement.object, store::Operation::kGrant));
    store::GrantChange change;
    change.principal = statement.principal;
    (statement.action == GrantOrRevoke::Action::kGrant ? change.add : change.remove) = statement.privileges;
    return Done(governance_.ChangeGrants(caller_, id, {change}));
  }

  Result<SqlTable> operator()(const ShowGrants& show) {
    ASSIGN_OR_RETURN(const store::ObjectId id, Find(show.object, store::Operation::kShowGrants));
    ASSIGN_OR_RETURN(const std::vector<store::GrantInfo> grants,
                     governance_.Grants(caller_, id, show.principal.value_or("")));
    SqlTable table{{"Principal", "ActionType", "ObjectType", "ObjectKey"}, {}};
    for (const store::GrantInfo& grant : grants) {
      for (const store::Privilege privilege : grant.privileges.ToList()) {
        table.rows.push_back({grant.principal, store::PrivilegeSqlName(privilege),
                              std::string(store::SqlKind(grant.from_kind)), grant.from.ToString()});
      }
    }
    return table;
  }

  Result<SqlTable> operator()(const SetOwner& set) {
    ASSIGN_OR_RETURN(const store::ObjectId id, Find(set.object, store::Operation::kSetOwner));
    return Done(registry_.SetOwner(caller_, id, set.principal));
  }

  Result<SqlTable> operator()(const RenameModel& rename) {
    ASSIGN_OR_RETURN(const store::ObjectId id, Find(rename.model, store::Operation::kRename));
    return Done(registry_.Rename(caller_, id, rename.new_leaf));
  }

  Result<SqlTable> operator()(const CommentOn& comment) {
    ASSIGN_OR_RETURN(const store::ObjectId id, Find(comment.object, store::Operation::kDescribe));
    return Done(registry_.SetDescription(caller_, {id, std::nullopt}, comment.comment));
  }

  Result<SqlTable> operator()(const SetTags& set) {
    ASSIGN_OR_RETURN(const store::ObjectId id, Find(set.object, store::Operation::kTag));
    for (const auto& tag : set.tags) {
      RETURN_IF_ERROR(registry_.SetTag(caller_, {id, std::nullopt}, tag.first, tag.second));
    }
    return SqlTable{};
  }

  Result<SqlTable> operator()(const UnsetTags& unset) {
    ASSIGN_OR_RETURN(const store::ObjectId id, FindToUntag(unset.object));
    for (const std::string& key : unset.keys) {
      RETURN_IF_ERROR(registry_.DeleteTag(caller_, {id, std::nullopt}, key));
    }
    return SqlTable{};
  }

  Result<SqlTable> operator()(const ShowObjects& show) {
    SqlTable table;
    switch (show.kind) {
      case store::ObjectKind::kMetastore:
      case store::ObjectKind::kCatalog:
        table.columns = {"Catalog", "Owner"};
        RETURN_IF_ERROR(EachChild(store::kMetastoreId, show.pattern, table));
        return table;
      case store::ObjectKind::kSchema:
        table.columns = {"Catalog", "Schema", "Owner"};
        if (show.container.parts.empty()) return SchemasEverywhere(show.pattern, std::move(table));
        break;
      case store::ObjectKind::kModel:
        table.columns = {"Catalog", "Schema", "Model", "LatestVersion", "Owner"};
        break;
    }
    ASSIGN_OR_RETURN(const store::ObjectInfo container, registry_.Lookup(caller_, show.container));
    RETURN_IF_ERROR(EachChild(container.id, show.pattern, table));
    return table;
  }

  Result<SqlTable> operator()(const ShowPrincipals& show) {
    SqlTable table{{"Principal", "Kind", "Source"}, {}};
    RETURN_IF_ERROR(EachItem(
        [&](const store::PageRequest& page) { return governance_.ListPrincipals(caller_, page); },
        [&](const store::PrincipalInfo& principal) {
          if (show.which == ShowPrincipals::Which::kUsers && principal.kind != store::PrincipalKind::kUser)
            return;
          if (show.which == ShowPrincipals::Which::kGroups && principal.kind != store::PrincipalKind::kGroup)
            return;
          if (!Matches(show.pattern, principal.name)) return;
          table.rows.push_back({principal.name, std::string(store::PrincipalKindName(principal.kind)),
                                std::string(store::SourceField(principal.source))});
        }));
    return table;
  }

  Result<SqlTable> operator()(const CreateGroup& create) {
    const auto made = governance_.CreatePrincipal(caller_, store::PrincipalKind::kGroup, create.group);
    return Done(made, create.if_not_exists ? std::optional(Code::kAlreadyExists) : std::nullopt);
  }

  Result<SqlTable> operator()(const DropGroup& drop) {
    return Done(RemovePrincipal(governance_, caller_, drop.group, Removed::kGroup),
                drop.if_exists ? std::optional(Code::kNotFound) : std::nullopt);
  }

  Result<SqlTable> operator()(const ChangeMembers& change) {
    for (const std::string& member : change.members) {
      RETURN_IF_ERROR(change.action == ChangeMembers::Action::kAdd
                          ? governance_.AddMember(caller_, change.group, member)
                          : governance_.RemoveMember(caller_, change.group, member));
    }
    return SqlTable{};
  }

  Result<SqlTable> operator()(const Describe& describe) {
    store::ObjectInfo object;
    if (describe.object.name.parts.empty()) {
      ASSIGN_OR_RETURN(object, registry_.Get(caller_, store::kMetastoreId));
    } else {
      ASSIGN_OR_RETURN(object, registry_.Lookup(caller_, describe.object.name));
    }
    SqlTable table{{"Field", "Value"}, {}};
    const auto add = [&table](std::string field, std::string value) {
      if (!value.empty()) table.rows.push_back({std::move(field), std::move(value)});
    };
    add("Type", std::string(store::SqlKind(object.kind)));
    add("Name", object.full_name.ToString());
    add("Owner", object.owner);
    add("Comment", object.comment);
    add("CreatedAt", UtcTime(object.created_at_ms));
    add("CreatedBy", object.created_by);
    add("UpdatedAt", UtcTime(object.updated_at_ms));
    add("UpdatedBy", object.updated_by);
    if (object.latest_ready != 0) add("LatestVersion", std::to_string(object.latest_ready));
    for (const store::AliasInfo& alias : object.aliases) {
      add("Alias." + alias.name, std::to_string(alias.version));
    }
    ASSIGN_OR_RETURN(const auto tags, registry_.Tags(caller_, {object.id, std::nullopt}));
    for (const auto& tag : tags) table.rows.push_back({"Tag." + tag.first, tag.second});
    if (HasSettings(object)) {
      ASSIGN_OR_RETURN(const store::ContainerSettings settings, governance_.GetSettings(caller_, object.id));
      for (const auto& setting : SettingsList(settings)) add("Setting." + setting.first, setting.second);
    }
    return table;
  }

 private:
  // OK if `result` is OK, or failed with the code that the statement forgives.
  template <typename T>
  static Result<SqlTable> Done(const Result<T>& result, std::optional<Code> forgiven = std::nullopt) {
    if (result.ok() || result.error().code() == forgiven) return SqlTable{};
    return result.error();
  }

  // The object on which a statement is about to request `operation`.
  Result<store::ObjectId> Find(const Securable& object, store::Operation operation) {
    return Find(object, AboutTo(store::ActionOf(operation, object.kind)));
  }
  Result<store::ObjectId> FindToUntag(const Securable& object) {
    return Find(object, AboutTo(fmt::format("delete{}Tag", store::ActionNoun(object.kind))));
  }
  Result<store::ObjectId> Find(const Securable& object, const store::Caller& caller) {
    if (object.kind == store::ObjectKind::kMetastore) return store::kMetastoreId;
    ASSIGN_OR_RETURN(const store::ObjectInfo found, registry_.Lookup(caller, object.name));
    return found.id;
  }
  store::Caller AboutTo(std::string action, std::string full_name = "") const {
    store::Caller caller = caller_;
    caller.intent.emplace();
    caller.intent->action = std::move(action);
    caller.intent->full_name = std::move(full_name);
    return caller;
  }

  // A row for each child with a matching name: the parts of its name, a model's latest version, the owner.
  Status EachChild(store::ObjectId parent, const std::optional<std::string>& pattern, SqlTable& table) {
    return EachItem([&](const store::PageRequest& page) { return registry_.List(caller_, parent, page); },
                    [&](const store::ObjectInfo& child) {
                      if (!Matches(pattern, child.name)) return;
                      std::vector<std::string> row = child.full_name.parts;
                      if (child.kind == store::ObjectKind::kModel) {
                        row.push_back(child.latest_ready == 0 ? "" : std::to_string(child.latest_ready));
                      }
                      row.push_back(child.owner);
                      table.rows.push_back(std::move(row));
                    });
  }

  Result<SqlTable> SchemasEverywhere(const std::optional<std::string>& pattern, SqlTable table) {
    std::vector<store::ObjectId> catalogs;
    RETURN_IF_ERROR(EachItem(
        [&](const store::PageRequest& page) { return registry_.List(caller_, store::kMetastoreId, page); },
        [&](const store::ObjectInfo& catalog) { catalogs.push_back(catalog.id); }));
    for (const store::ObjectId catalog : catalogs) {
      const Status listed = EachChild(catalog, pattern, table);
      // The caller may see a catalog but not use it, and another process may have dropped it meanwhile.
      if (!listed.ok() && listed.error().code() != Code::kPermissionDenied &&
          listed.error().code() != Code::kNotFound) {
        return listed.error();
      }
    }
    return table;
  }

  store::Registry& registry_;
  store::Governance& governance_;
  const store::Caller& caller_;
};

}  // namespace

Result<SqlTable> RunSql(store::Registry& registry, store::Governance& governance, const store::Caller& caller,
                        const SqlStatement& statement) {
  return std::visit(Runner(registry, governance, caller), statement);
}

}  // namespace modelfs::tools
