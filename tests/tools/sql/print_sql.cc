#include "tests/tools/sql/print_sql.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include "store/sql_name.h"

namespace modelfs::tools {
namespace {

std::string Text(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') quoted += c;
    quoted += c;
  }
  return quoted + "'";
}

std::string Like(const std::optional<std::string>& pattern) {
  return pattern ? " LIKE " + Text(*pattern) : "";
}

struct Printer {
  std::string operator()(const CreateObject& create) const {
    return fmt::format("CREATE {} {}{}{}", store::SqlKind(create.object.kind),
                       create.if_not_exists ? "IF NOT EXISTS " : "", store::SqlName(create.object.name),
                       create.comment.empty() ? "" : " COMMENT " + Text(create.comment));
  }
  std::string operator()(const DropObject& drop) const {
    return fmt::format("DROP {} {}{}{}", store::SqlKind(drop.object.kind), drop.if_exists ? "IF EXISTS " : "",
                       store::SqlName(drop.object.name), drop.cascade ? " CASCADE" : "");
  }
  std::string operator()(const GrantOrRevoke& change) const {
    std::vector<std::string> privileges;
    for (const store::Privilege each : change.privileges.ToList()) {
      privileges.push_back(store::PrivilegeSqlName(each));
    }
    const bool grant = change.action == GrantOrRevoke::Action::kGrant;
    return fmt::format("{} {} ON {} {} {}", grant ? "GRANT" : "REVOKE", fmt::join(privileges, ", "),
                       store::SqlSecurable(change.object.kind, change.object.name), grant ? "TO" : "FROM",
                       store::SqlName(change.principal));
  }
  std::string operator()(const ShowGrants& show) const {
    return fmt::format("SHOW GRANTS {}ON {}", show.principal ? store::SqlName(*show.principal) + " " : "",
                       store::SqlSecurable(show.object.kind, show.object.name));
  }
  std::string operator()(const SetOwner& set) const {
    return fmt::format("ALTER {} OWNER TO {}", store::SqlSecurable(set.object.kind, set.object.name),
                       store::SqlName(set.principal));
  }
  std::string operator()(const RenameModel& rename) const {
    return fmt::format("ALTER {} RENAME TO {}", store::SqlSecurable(rename.model.kind, rename.model.name),
                       store::SqlName(rename.new_leaf));
  }
  std::string operator()(const CommentOn& comment) const {
    return fmt::format("COMMENT ON {} IS {}", store::SqlSecurable(comment.object.kind, comment.object.name),
                       comment.comment.empty() ? "NULL" : Text(comment.comment));
  }
  std::string operator()(const SetTags& set) const {
    std::vector<std::string> tags;
    for (const auto& tag : set.tags)
      tags.push_back(fmt::format("{} = {}", Text(tag.first), Text(tag.second)));
    return fmt::format("ALTER {} SET TAGS ({})", store::SqlSecurable(set.object.kind, set.object.name),
                       fmt::join(tags, ", "));
  }
  std::string operator()(const UnsetTags& unset) const {
    std::vector<std::string> keys;
    for (const std::string& key : unset.keys) keys.push_back(Text(key));
    return fmt::format("ALTER {} UNSET TAGS ({})", store::SqlSecurable(unset.object.kind, unset.object.name),
                       fmt::join(keys, ", "));
  }
  std::string operator()(const ShowObjects& show) const {
    return fmt::format("SHOW {}S{}{}", store::SqlKind(show.kind),
                       show.container.parts.empty() ? "" : " IN " + store::SqlName(show.container),
                       Like(show.pattern));
  }
  std::string operator()(const ShowPrincipals& show) const {
    using Which = ShowPrincipals::Which;
    return fmt::format("SHOW {}{}",
                       show.which == Which::kAll     ? "PRINCIPALS"
                       : show.which == Which::kUsers ? "USERS"
                                                     : "GROUPS",
                       Like(show.pattern));
  }
  std::string operator()(const CreateGroup& create) const {
    return fmt::format("CREATE GROUP {}{}", create.if_not_exists ? "IF NOT EXISTS " : "",
                       store::SqlName(create.group));
  }
  std::string operator()(const DropGroup& drop) const {
    return fmt::format("DROP GROUP {}{}", drop.if_exists ? "IF EXISTS " : "", store::SqlName(drop.group));
  }
  std::string operator()(const ChangeMembers& change) const {
    std::vector<std::string> members;
    for (const std::string& member : change.members) members.push_back(store::SqlName(member));
    return fmt::format("ALTER GROUP {} {} MEMBER {}", store::SqlName(change.group),
                       change.action == ChangeMembers::Action::kAdd ? "ADD" : "DROP",
                       fmt::join(members, ", "));
  }
  std::string operator()(const Describe& describe) const {
    return "DESCRIBE " + store::SqlSecurable(describe.object.kind, describe.object.name);
  }
};

}  // namespace

std::string PrintSql(const SqlStatement& statement) { return std::visit(Printer(), statement); }

}  // namespace modelfs::tools
