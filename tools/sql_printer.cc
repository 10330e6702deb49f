#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tools/sql_parser.h"

namespace modelfs::tools {
namespace {

std::string InQuotes(std::string_view text, char quote) {
  std::string quoted(1, quote);
  for (const char c : text) {
    quoted += c;
    if (c == quote) quoted += c;
  }
  return quoted + quote;
}

std::string Text(std::string_view text) { return InQuotes(text, '\''); }

// In back-ticks where the parser needs them: for other characters, and for the two words that begin
// something else where a name may stand (IF EXISTS; SHOW GRANTS ON).
std::string Name(std::string_view name) {
  const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
  const auto is = [&](std::string_view word) {
    return std::equal(name.begin(), name.end(), word.begin(), word.end(),
                      [](char a, char b) { return a == b || a == b - 'a' + 'A'; });
  };
  return plain && !is("if") && !is("on") ? std::string(name) : InQuotes(name, '`');
}

std::string Name(const store::FullName& name) {
  std::string dotted;
  for (const std::string& part : name.parts) dotted += (dotted.empty() ? "" : ".") + Name(part);
  return dotted;
}

std::string Object(const Securable& object) {
  return fmt::format("{}{}{}", KindWord(object.kind), object.name.parts.empty() ? "" : " ",
                     Name(object.name));
}

std::string Like(const std::optional<std::string>& pattern) {
  return pattern ? " LIKE " + Text(*pattern) : "";
}

struct Printer {
  std::string operator()(const CreateObject& create) const {
    return fmt::format("CREATE {} {}{}{}", KindWord(create.object.kind),
                       create.if_not_exists ? "IF NOT EXISTS " : "", Name(create.object.name),
                       create.comment.empty() ? "" : " COMMENT " + Text(create.comment));
  }
  std::string operator()(const DropObject& drop) const {
    return fmt::format("DROP {} {}{}{}", KindWord(drop.object.kind), drop.if_exists ? "IF EXISTS " : "",
                       Name(drop.object.name), drop.cascade ? " CASCADE" : "");
  }
  std::string operator()(const GrantOrRevoke& change) const {
    std::vector<std::string> privileges;
    for (const store::Privilege each : change.privileges.ToList()) {
      privileges.push_back(store::PrivilegeSqlName(each));
    }
    const bool grant = change.action == GrantOrRevoke::Action::kGrant;
    return fmt::format("{} {} ON {} {} {}", grant ? "GRANT" : "REVOKE", fmt::join(privileges, ", "),
                       Object(change.object), grant ? "TO" : "FROM", Name(change.principal));
  }
  std::string operator()(const ShowGrants& show) const {
    return fmt::format("SHOW GRANTS {}ON {}", show.principal ? Name(*show.principal) + " " : "",
                       Object(show.object));
  }
  std::string operator()(const SetOwner& set) const {
    return fmt::format("ALTER {} OWNER TO {}", Object(set.object), Name(set.principal));
  }
  std::string operator()(const RenameModel& rename) const {
    return fmt::format("ALTER {} RENAME TO {}", Object(rename.model), Name(rename.new_leaf));
  }
  std::string operator()(const CommentOn& comment) const {
    return fmt::format("COMMENT ON {} IS {}", Object(comment.object),
                       comment.comment.empty() ? "NULL" : Text(comment.comment));
  }
  std::string operator()(const SetTags& set) const {
    std::vector<std::string> tags;
    for (const auto& tag : set.tags)
      tags.push_back(fmt::format("{} = {}", Text(tag.first), Text(tag.second)));
    return fmt::format("ALTER {} SET TAGS ({})", Object(set.object), fmt::join(tags, ", "));
  }
  std::string operator()(const UnsetTags& unset) const {
    std::vector<std::string> keys;
    for (const std::string& key : unset.keys) keys.push_back(Text(key));
    return fmt::format("ALTER {} UNSET TAGS ({})", Object(unset.object), fmt::join(keys, ", "));
  }
  std::string operator()(const ShowObjects& show) const {
    return fmt::format("SHOW {}S{}{}", KindWord(show.kind),
                       show.container.parts.empty() ? "" : " IN " + Name(show.container), Like(show.pattern));
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
    return fmt::format("CREATE GROUP {}{}", create.if_not_exists ? "IF NOT EXISTS " : "", Name(create.group));
  }
  std::string operator()(const DropGroup& drop) const {
    return fmt::format("DROP GROUP {}{}", drop.if_exists ? "IF EXISTS " : "", Name(drop.group));
  }
  std::string operator()(const ChangeMembers& change) const {
    std::vector<std::string> members;
    for (const std::string& member : change.members) members.push_back(Name(member));
    return fmt::format("ALTER GROUP {} {} MEMBER {}", Name(change.group),
                       change.action == ChangeMembers::Action::kAdd ? "ADD" : "DROP",
                       fmt::join(members, ", "));
  }
  std::string operator()(const Describe& describe) const { return "DESCRIBE " + Object(describe.object); }
};

}  // namespace

std::string_view KindWord(store::ObjectKind kind) {
  switch (kind) {
    case store::ObjectKind::kMetastore:
      return "METASTORE";
    case store::ObjectKind::kCatalog:
      return "CATALOG";
    case store::ObjectKind::kSchema:
      return "SCHEMA";
    case store::ObjectKind::kModel:
      return "MODEL";
  }
  return "";
}

std::string PrintSql(const SqlStatement& statement) { return std::visit(Printer(), statement); }

}  // namespace modelfs::tools
