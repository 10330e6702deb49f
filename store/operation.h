// The operations on a registry that differ in the privileges they need: the rows of reference §2.4. One table
// says which privilege allows which operation, kOperationRows (store/access/operation_table.h).
#pragma once

#include <cstdint>

namespace modelfs::store {

enum class Operation : uint8_t {
  kUse,            // have a name: list the objects that one may see, take a lease
  kCreateCatalog,  // on the metastore
  kSee,            // on any object: know of it, its owner, description and tags
  kGet,            // on any object: all its metadata
  kCreateSchema,   // on a catalog
  kCreateModel,    // on a schema
  kDelete,         // on any object
  kReadFiles,      // on a model, as all that follow, if not noted otherwise
  kCreateVersion,
  kDescribe,  // on any object
  kSetAlias,
  kTag,  // on any object
  kRename,
  kDeleteVersion,
  kShowGrants,  // on any object, as the next three; the grants of all principals
  kGrant,
  kSetOwner,
  kConfigure,         // a container's settings
  kReadAudit,         // on the metastore, as the rest
  kManagePrincipals,  // users, groups and memberships
  kReclaim,           // sweeps, fsck
};
inline constexpr int kOperations = 21;

}  // namespace modelfs::store
