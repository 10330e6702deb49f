// The audit log's name of a refused request. A change that was made records its own name; a refused one is
// known by its operation only.
#pragma once

#include <string>
#include <string_view>

#include "store/operation.h"
#include "store/types.h"

namespace modelfs::store {

// Grants and revokes. A caller that may not see everyone's grants sees only its own part of such a record.
inline constexpr std::string_view kGrantAction = "updatePermissions";

// "RegisteredModel", as in the audit actions of Unity Catalog: createCatalog, deleteRegisteredModel.
std::string_view ActionNoun(ObjectKind kind);

// "setRegisteredModelAlias": Unity Catalog's name of the request (reference §11), as far as it follows from
// the operation.
std::string ActionOf(Operation operation, ObjectKind kind);

}  // namespace modelfs::store
