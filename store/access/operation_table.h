// The operation matrix (reference §2.4, column "Rule for us") as one table. The authorizer decides by it, its
// messages are made from it, and the tests are generated from it.
#pragma once

#include <cstdint>
#include <string_view>

#include "store/operation.h"
#include "store/privilege.h"

namespace modelfs::store {

// Whether privileges and ownership count only if the caller can reach the object: USE CATALOG on the catalog
// and USE SCHEMA on the schema, each granted, inherited, or by owning the container.
enum class Reach : uint8_t {
  kNotNeeded,
  kNeeded,         // a metastore admin needs none of it
  kNeededByAdmin,  // an admin needs the grants as everyone else does: for bytes
};

// The people that an operation is open to beside the holders of a privilege, as a set of bits.
enum OpenTo : uint8_t {
  kOwner = 1,           // of the object
  kContainerOwner = 2,  // of its schema or catalog
  kAdmin = 4,           // of the metastore
  kBrowse = 8,          // holders of BROWSE on the catalog, without reach
};

struct OperationRow {
  Operation operation;
  ObjectKind on;
  std::string_view verb;  // "read the files of"; the object follows
  Reach reach;
  unsigned open_to;          // bits of OpenTo
  PrivilegeSet any_of = {};  // in effect on the object
  // With ownership of the object or `any_of`: also these. Owning the schema satisfies those on a schema.
  PrivilegeSet and_also = {};

  constexpr bool Is(OpenTo people) const { return (open_to & people) != 0; }
};

namespace operation_table {
using Op = Operation;
using On = ObjectKind;
using P = Privilege;
using enum Reach;
inline constexpr unsigned kOwnersAndAdmin = kOwner | kContainerOwner | kAdmin;
inline constexpr PrivilegeSet kAnyUse = {P::kExecute, P::kManage, P::kCreateModelVersion, P::kApplyTag};

// One line for each row.
// clang-format off
inline constexpr OperationRow kOperationRows[] = {
    // The metastore.
    {Op::kCreateCatalog,    On::kMetastore, "create a catalog in",            kNotNeeded,     kAdmin,                    {P::kCreateCatalog}},
    {Op::kShowGrants,       On::kMetastore, "see everybody's grants on",      kNotNeeded,     kAdmin},
    {Op::kGrant,            On::kMetastore, "grant or revoke on",             kNotNeeded,     kAdmin},
    {Op::kSetOwner,         On::kMetastore, "hand over",                      kNotNeeded,     kAdmin},
    {Op::kConfigure,        On::kMetastore, "change the settings of",         kNotNeeded,     kAdmin},
    {Op::kDescribe,         On::kMetastore, "describe",                       kNotNeeded,     kAdmin},
    {Op::kTag,              On::kMetastore, "tag",                            kNotNeeded,     kAdmin},
    {Op::kReadAudit,        On::kMetastore, "read the audit log of",          kNotNeeded,     kAdmin,                    {P::kReadAudit}},
    {Op::kManagePrincipals, On::kMetastore, "change the users and groups of", kNotNeeded,     kAdmin},
    {Op::kReclaim,          On::kMetastore, "sweep or check",                 kNotNeeded,     kAdmin},

    // Catalogs.
    {Op::kSee,              On::kCatalog,   "see",                            kNotNeeded,     kOwner | kAdmin | kBrowse, {P::kUseCatalog, P::kManage}},
    {Op::kGet,              On::kCatalog,   "see",                            kNotNeeded,     kOwner | kAdmin | kBrowse, {P::kUseCatalog, P::kManage}},
    {Op::kCreateSchema,     On::kCatalog,   "create a schema in",             kNeeded,        kOwner,                    {P::kCreateSchema}, {P::kUseCatalog}},
    {Op::kDelete,           On::kCatalog,   "delete",                         kNotNeeded,     kOwner | kAdmin,           {P::kManage}},
    {Op::kDescribe,         On::kCatalog,   "describe",                       kNotNeeded,     kOwner | kAdmin,           {P::kManage}},
    {Op::kTag,              On::kCatalog,   "tag",                            kNotNeeded,     kOwner,                    {P::kApplyTag}},
    {Op::kShowGrants,       On::kCatalog,   "see everybody's grants on",      kNotNeeded,     kOwner | kAdmin,           {P::kManage}},
    {Op::kGrant,            On::kCatalog,   "grant or revoke on",             kNotNeeded,     kOwner | kAdmin,           {P::kManage}},
    {Op::kSetOwner,         On::kCatalog,   "change the owner of",            kNotNeeded,     kOwner | kAdmin,           {P::kManage}},
    {Op::kConfigure,        On::kCatalog,   "change the settings of",         kNotNeeded,     kOwner | kAdmin,           {P::kManage}},

    // Schemas.
    {Op::kSee,              On::kSchema,    "see",                            kNeeded,        kOwnersAndAdmin | kBrowse, {P::kUseSchema, P::kManage}},
    {Op::kGet,              On::kSchema,    "see",                            kNeeded,        kOwnersAndAdmin | kBrowse, {P::kUseSchema, P::kManage}},
    {Op::kCreateModel,      On::kSchema,    "create a model in",              kNeeded,        kOwner,                    {P::kCreateModel}, {P::kUseSchema}},
    {Op::kDelete,           On::kSchema,    "delete",                         kNeeded,        kOwnersAndAdmin,           {P::kManage}},
    {Op::kDescribe,         On::kSchema,    "describe",                       kNeeded,        kOwnersAndAdmin,           {P::kManage}},
    {Op::kTag,              On::kSchema,    "tag",                            kNeeded,        kOwner,                    {P::kApplyTag}},
    {Op::kShowGrants,       On::kSchema,    "see everybody's grants on",      kNeeded,        kOwnersAndAdmin,           {P::kManage}},
    {Op::kGrant,            On::kSchema,    "grant or revoke on",             kNeeded,        kOwnersAndAdmin,           {P::kManage}},
    {Op::kSetOwner,         On::kSchema,    "change the owner of",            kNeeded,        kOwnersAndAdmin,           {P::kManage}},
    {Op::kConfigure,        On::kSchema,    "change the settings of",         kNeeded,        kOwnersAndAdmin,           {P::kManage}},

    // Models, and their versions, aliases and tags.
    {Op::kSee,              On::kModel,     "see",                            kNeeded,        kOwnersAndAdmin | kBrowse, kAnyUse},
    {Op::kGet,              On::kModel,     "see the versions of",            kNeeded,        kOwnersAndAdmin,           {P::kExecute, P::kManage}},
    {Op::kReadFiles,        On::kModel,     "read the files of",              kNeededByAdmin, kOwner,                    {P::kExecute}},
    {Op::kCreateVersion,    On::kModel,     "create a version of",            kNeeded,        kOwner,                    {P::kCreateModelVersion, P::kManage}},
    {Op::kDescribe,         On::kModel,     "describe",                       kNeeded,        kOwner,                    {P::kManage}},
    {Op::kSetAlias,         On::kModel,     "set or delete an alias of",      kNeeded,        kOwner,                    {P::kManage}},
    {Op::kTag,              On::kModel,     "tag",                            kNeeded,        kOwner,                    {P::kApplyTag}},
    {Op::kRename,           On::kModel,     "rename",                         kNeeded,        kOwner,                    {}, {P::kCreateModel}},
    {Op::kDeleteVersion,    On::kModel,     "delete a version of",            kNeeded,        kOwner | kAdmin,           {P::kManage}},
    {Op::kDelete,           On::kModel,     "delete",                         kNeeded,        kOwner | kAdmin,           {P::kManage}},
    {Op::kShowGrants,       On::kModel,     "see everybody's grants on",      kNeeded,        kOwnersAndAdmin,           {P::kManage}},
    {Op::kGrant,            On::kModel,     "grant or revoke on",             kNeeded,        kOwnersAndAdmin,           {P::kManage}},
    {Op::kSetOwner,         On::kModel,     "change the owner of",            kNeeded,        kOwnersAndAdmin,           {P::kManage}},
};
// clang-format on
}  // namespace operation_table
using operation_table::kOperationRows;

// The row of an operation on a kind of object; nullptr if the operation makes no sense there.
constexpr const OperationRow* RowOf(Operation operation, ObjectKind on) {
  for (const OperationRow& row : kOperationRows) {
    if (row.operation == operation && row.on == on) return &row;
  }
  return nullptr;
}

}  // namespace modelfs::store
