// Who may do what: the operation matrix (reference §2.4, column "Rule for us") as one table. The
// authorizer decides by it, its messages are made from it, and the tests are generated from it.
#pragma once

#include <string_view>

#include "store/operation.h"
#include "store/privilege.h"

namespace modelfs::store {

// Whether privileges and ownership count only together with the way there: USE CATALOG on the catalog and USE
// SCHEMA on the schema, each granted, inherited, or by owning the container.
enum class Reach : uint8_t {
  kNotNeeded,
  kNeeded,         // a metastore admin has it anyway
  kNeededByAdmin,  // and an admin needs the grants as everybody does: for bytes
};

struct OperationRow {
  Operation operation;
  ObjectKind on;
  std::string_view verb;  // "read the files of"; the object follows
  Reach reach = Reach::kNeeded;
  bool owner = false;            // of the object
  bool container_owner = false;  // of its schema or catalog
  bool admin = false;            // of the metastore
  PrivilegeSet any_of = {};           // in effect on the object
  PrivilegeSet and_also = {};       // with `owner` or `any_of`: also these; of a schema's, owning it will do
  bool browse = false;           // BROWSE on the catalog is enough, without reach
};

inline constexpr OperationRow kOperationRows[] = {
    // The metastore.
    {.operation = Operation::kCreateCatalog, .on = ObjectKind::kMetastore, .verb = "create a catalog in",
     .reach = Reach::kNotNeeded, .admin = true, .any_of = {Privilege::kCreateCatalog}},
    {.operation = Operation::kShowGrants, .on = ObjectKind::kMetastore, .verb = "see everybody's grants on",
     .reach = Reach::kNotNeeded, .admin = true},
    {.operation = Operation::kGrant, .on = ObjectKind::kMetastore, .verb = "grant or revoke on",
     .reach = Reach::kNotNeeded, .admin = true},
    {.operation = Operation::kSetOwner, .on = ObjectKind::kMetastore, .verb = "hand over",
     .reach = Reach::kNotNeeded, .admin = true},
    {.operation = Operation::kDescribe, .on = ObjectKind::kMetastore, .verb = "describe",
     .reach = Reach::kNotNeeded, .admin = true},
    {.operation = Operation::kTag, .on = ObjectKind::kMetastore, .verb = "tag",
     .reach = Reach::kNotNeeded, .admin = true},
    {.operation = Operation::kReadAudit, .on = ObjectKind::kMetastore, .verb = "read the audit log of",
     .reach = Reach::kNotNeeded, .admin = true, .any_of = {Privilege::kReadAudit}},
    {.operation = Operation::kManagePrincipals, .on = ObjectKind::kMetastore,
     .verb = "change the users and groups of", .reach = Reach::kNotNeeded, .admin = true},
    {.operation = Operation::kReclaim, .on = ObjectKind::kMetastore, .verb = "sweep or check",
     .reach = Reach::kNotNeeded, .admin = true},

    // Catalogs.
    {.operation = Operation::kSee, .on = ObjectKind::kCatalog, .verb = "see", .reach = Reach::kNotNeeded,
     .owner = true, .admin = true, .any_of = {Privilege::kUseCatalog, Privilege::kManage}, .browse = true},
    {.operation = Operation::kGet, .on = ObjectKind::kCatalog, .verb = "see", .reach = Reach::kNotNeeded,
     .owner = true, .admin = true, .any_of = {Privilege::kUseCatalog, Privilege::kManage}, .browse = true},
    {.operation = Operation::kCreateSchema, .on = ObjectKind::kCatalog, .verb = "create a schema in",
     .owner = true, .any_of = {Privilege::kCreateSchema}, .and_also = {Privilege::kUseCatalog}},
    {.operation = Operation::kDelete, .on = ObjectKind::kCatalog, .verb = "delete", .reach = Reach::kNotNeeded,
     .owner = true, .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kDescribe, .on = ObjectKind::kCatalog, .verb = "describe",
     .reach = Reach::kNotNeeded, .owner = true, .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kTag, .on = ObjectKind::kCatalog, .verb = "tag", .reach = Reach::kNotNeeded,
     .owner = true, .any_of = {Privilege::kApplyTag}},
    {.operation = Operation::kShowGrants, .on = ObjectKind::kCatalog, .verb = "see everybody's grants on",
     .reach = Reach::kNotNeeded, .owner = true, .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kGrant, .on = ObjectKind::kCatalog, .verb = "grant or revoke on",
     .reach = Reach::kNotNeeded, .owner = true, .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kSetOwner, .on = ObjectKind::kCatalog, .verb = "change the owner of",
     .reach = Reach::kNotNeeded, .owner = true, .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kConfigure, .on = ObjectKind::kCatalog, .verb = "change the settings of",
     .reach = Reach::kNotNeeded, .owner = true, .admin = true, .any_of = {Privilege::kManage}},

    // Schemas.
    {.operation = Operation::kSee, .on = ObjectKind::kSchema, .verb = "see", .owner = true,
     .container_owner = true, .admin = true, .any_of = {Privilege::kUseSchema, Privilege::kManage},
     .browse = true},
    {.operation = Operation::kGet, .on = ObjectKind::kSchema, .verb = "see", .owner = true,
     .container_owner = true, .admin = true, .any_of = {Privilege::kUseSchema, Privilege::kManage},
     .browse = true},
    {.operation = Operation::kCreateModel, .on = ObjectKind::kSchema, .verb = "create a model in",
     .owner = true, .any_of = {Privilege::kCreateModel}, .and_also = {Privilege::kUseSchema}},
    {.operation = Operation::kDelete, .on = ObjectKind::kSchema, .verb = "delete", .owner = true,
     .container_owner = true, .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kDescribe, .on = ObjectKind::kSchema, .verb = "describe", .owner = true,
     .container_owner = true, .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kTag, .on = ObjectKind::kSchema, .verb = "tag", .owner = true,
     .any_of = {Privilege::kApplyTag}},
    {.operation = Operation::kShowGrants, .on = ObjectKind::kSchema, .verb = "see everybody's grants on",
     .owner = true, .container_owner = true, .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kGrant, .on = ObjectKind::kSchema, .verb = "grant or revoke on", .owner = true,
     .container_owner = true, .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kSetOwner, .on = ObjectKind::kSchema, .verb = "change the owner of",
     .owner = true, .container_owner = true, .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kConfigure, .on = ObjectKind::kSchema, .verb = "change the settings of",
     .owner = true, .container_owner = true, .admin = true, .any_of = {Privilege::kManage}},

    // Models, and their versions, aliases and tags.
    {.operation = Operation::kSee, .on = ObjectKind::kModel, .verb = "see", .owner = true,
     .container_owner = true, .admin = true,
     .any_of = {Privilege::kExecute, Privilege::kManage, Privilege::kCreateModelVersion,
                Privilege::kApplyTag},
     .browse = true},
    {.operation = Operation::kGet, .on = ObjectKind::kModel, .verb = "see the versions of", .owner = true,
     .container_owner = true, .admin = true, .any_of = {Privilege::kExecute, Privilege::kManage}},
    {.operation = Operation::kReadFiles, .on = ObjectKind::kModel, .verb = "read the files of",
     .reach = Reach::kNeededByAdmin, .owner = true, .any_of = {Privilege::kExecute}},
    {.operation = Operation::kCreateVersion, .on = ObjectKind::kModel, .verb = "create a version of",
     .owner = true, .any_of = {Privilege::kCreateModelVersion, Privilege::kManage}},
    {.operation = Operation::kDescribe, .on = ObjectKind::kModel, .verb = "describe", .owner = true,
     .any_of = {Privilege::kManage}},
    {.operation = Operation::kSetAlias, .on = ObjectKind::kModel, .verb = "set or delete an alias of",
     .owner = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kTag, .on = ObjectKind::kModel, .verb = "tag", .owner = true,
     .any_of = {Privilege::kApplyTag}},
    {.operation = Operation::kRename, .on = ObjectKind::kModel, .verb = "rename", .owner = true,
     .and_also = {Privilege::kCreateModel}},
    {.operation = Operation::kDeleteVersion, .on = ObjectKind::kModel, .verb = "delete a version of",
     .owner = true, .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kDelete, .on = ObjectKind::kModel, .verb = "delete", .owner = true,
     .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kShowGrants, .on = ObjectKind::kModel, .verb = "see everybody's grants on",
     .owner = true, .container_owner = true, .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kGrant, .on = ObjectKind::kModel, .verb = "grant or revoke on", .owner = true,
     .container_owner = true, .admin = true, .any_of = {Privilege::kManage}},
    {.operation = Operation::kSetOwner, .on = ObjectKind::kModel, .verb = "change the owner of",
     .owner = true, .container_owner = true, .admin = true, .any_of = {Privilege::kManage}},
};

// The row of an operation on a kind of object; nullptr where it makes no sense there.
constexpr const OperationRow* RowOf(Operation operation, ObjectKind on) {
  for (const OperationRow& row : kOperationRows) {
    if (row.operation == operation && row.on == on) return &row;
  }
  return nullptr;
}

}  // namespace modelfs::store
