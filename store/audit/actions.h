// What a refused request is called in the audit log: a change that was made says its own name, one that was
// refused got no further than its operation.
#pragma once

#include <string>
#include <string_view>

#include "store/operation.h"
#include "store/registry.h"

namespace modelfs::store {

// Grants and revokes. Who may not see everybody's grants is not shown all of such a record.
inline constexpr std::string_view kGrantAction = "updatePermissions";

// "RegisteredModel", as the audit actions of Unity Catalog say it: createCatalog, deleteRegisteredModel.
std::string_view ActionNoun(ObjectKind kind);

// "setRegisteredModelAlias": as Unity Catalog calls the request (reference §11), as far as the operation
// tells.
std::string ActionOf(Operation operation, ObjectKind kind);

}  // namespace modelfs::store
