// The statements of `modelfs sql` after parsing: names are checked and folded, optional parts are filled in.
// They are values, compared member by member. The grammar: docs/cli.md, "SQL".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "store/names.h"
#include "store/privilege.h"

namespace modelfs::tools {

// The object of a statement. FUNCTION is another word for a model, as in Unity Catalog.
struct Securable {
  store::ObjectKind kind = store::ObjectKind::kMetastore;
  store::FullName name;  // one part for a catalog … three for a model; none for the metastore

  friend bool operator==(const Securable&, const Securable&) = default;
};

// CREATE CATALOG|SCHEMA|MODEL [IF NOT EXISTS] name [COMMENT 'text']
struct CreateObject {
  Securable object;
  bool if_not_exists = false;
  std::string comment;

  friend bool operator==(const CreateObject&, const CreateObject&) = default;
};

// DROP CATALOG|SCHEMA|MODEL [IF EXISTS] name [RESTRICT|CASCADE]
struct DropObject {
  Securable object;
  bool if_exists = false;
  bool cascade = false;  // models only: with its versions

  friend bool operator==(const DropObject&, const DropObject&) = default;
};

// GRANT p, … ON securable TO principal;  REVOKE p, … ON securable FROM principal
struct GrantOrRevoke {
  enum class Action : uint8_t { kGrant, kRevoke };
  Action action = Action::kGrant;
  store::PrivilegeSet privileges;
  Securable object;
  std::string principal;

  friend bool operator==(const GrantOrRevoke&, const GrantOrRevoke&) = default;
};

// SHOW GRANTS|GRANT [principal] ON securable
struct ShowGrants {
  std::optional<std::string> principal;
  Securable object;

  friend bool operator==(const ShowGrants&, const ShowGrants&) = default;
};

// ALTER METASTORE|CATALOG|SCHEMA|MODEL [name] [SET] OWNER TO principal
struct SetOwner {
  Securable object;
  std::string principal;

  friend bool operator==(const SetOwner&, const SetOwner&) = default;
};

// ALTER MODEL name RENAME TO leaf
struct RenameModel {
  Securable model;
  std::string new_leaf;

  friend bool operator==(const RenameModel&, const RenameModel&) = default;
};

// COMMENT ON securable IS 'text'|NULL
struct CommentOn {
  Securable object;
  std::string comment;  // empty for NULL and for '', which remove the comment

  friend bool operator==(const CommentOn&, const CommentOn&) = default;
};

// ALTER CATALOG|SCHEMA|MODEL name SET TAGS ('key' = 'value', …)
struct SetTags {
  Securable object;
  std::vector<std::pair<std::string, std::string>> tags;  // at least one

  friend bool operator==(const SetTags&, const SetTags&) = default;
};

// ALTER CATALOG|SCHEMA|MODEL name UNSET TAGS ('key', …)
struct UnsetTags {
  Securable object;
  std::vector<std::string> keys;  // at least one

  friend bool operator==(const UnsetTags&, const UnsetTags&) = default;
};

// SHOW CATALOGS; SHOW SCHEMAS [IN catalog]; SHOW MODELS IN catalog.schema; each [[LIKE] 'pattern']
struct ShowObjects {
  store::ObjectKind kind = store::ObjectKind::kCatalog;  // the kind of the listed objects
  store::FullName container;  // no parts: the metastore, and for schemas every catalog
  std::optional<std::string> pattern;

  friend bool operator==(const ShowObjects&, const ShowObjects&) = default;
};

// SHOW PRINCIPALS|USERS|GROUPS [[LIKE] 'pattern']
struct ShowPrincipals {
  enum class Which : uint8_t { kAll, kUsers, kGroups };
  Which which = Which::kAll;
  std::optional<std::string> pattern;

  friend bool operator==(const ShowPrincipals&, const ShowPrincipals&) = default;
};

// CREATE GROUP [IF NOT EXISTS] group
struct CreateGroup {
  std::string group;
  bool if_not_exists = false;

  friend bool operator==(const CreateGroup&, const CreateGroup&) = default;
};

// DROP GROUP [IF EXISTS] group
struct DropGroup {
  std::string group;
  bool if_exists = false;

  friend bool operator==(const DropGroup&, const DropGroup&) = default;
};

// ALTER GROUP group ADD|DROP USER|GROUP|MEMBER principal, …
struct ChangeMembers {
  enum class Action : uint8_t { kAdd, kDrop };
  std::string group;
  Action action = Action::kAdd;
  std::vector<std::string> members;  // at least one

  friend bool operator==(const ChangeMembers&, const ChangeMembers&) = default;
};

// DESCRIBE [METASTORE|CATALOG|SCHEMA|MODEL] name
struct Describe {
  Securable object;

  friend bool operator==(const Describe&, const Describe&) = default;
};

using SqlStatement = std::variant<CreateObject, DropObject, GrantOrRevoke, ShowGrants, SetOwner, RenameModel,
                                  CommentOn, SetTags, UnsetTags, ShowObjects, ShowPrincipals, CreateGroup,
                                  DropGroup, ChangeMembers, Describe>;

}  // namespace modelfs::tools
