// What can be asked of the registry, as far as who may ask it differs: the rows of reference §2.4. Which
// privilege allows which is one table, kOperationRows (store/access/operation_table.h).
#pragma once

#include <cstdint>

namespace modelfs::store {

enum class Operation : uint8_t {
  kUse,            // be anybody: list what one may see, take a lease
  kCreateCatalog,  // on the metastore
  kSee,            // on any object: know of it, its owner, description and tags
  kGet,            // on any object: all its metadata
  kCreateSchema,   // on a catalog
  kCreateModel,    // on a schema
  kDelete,         // on any object
  kReadFiles,      // on a model, as all that follow but the last
  kCreateVersion,
  kDescribe,  // on any object
  kSetAlias,
  kTag,  // on any object
  kRename,
  kDeleteVersion,
  kShowGrants,  // on any object, as the next three: everybody's
  kGrant,
  kSetOwner,
  kConfigure,         // a container's settings
  kReadAudit,         // on the metastore, as the rest
  kManagePrincipals,  // users, groups and who is in them
  kReclaim,           // sweeps, fsck
};
inline constexpr int kOperations = 21;

}  // namespace modelfs::store
