// Users, service principals and groups in the commands and in SQL.
#pragma once

#include <string>
#include <string_view>

#include "cas/base/result.h"
#include "store/governance.h"

namespace modelfs::tools {

// DeletePrincipal for a group (kGroup) or any other principal (kNoGroup). kFailedPrecondition if the
// principal is of the other kind.
enum class Removed { kGroup, kNoGroup };
Status RemovePrincipal(store::Governance& governance, const store::Caller& caller, std::string_view name,
                       Removed kind);

// `caller`, a metastore admin, acting as another principal: the audit log records both names. Without a
// `directory` only principals in the registry are found.
//   kPermissionDenied   the caller is not a metastore admin
//   kNotFound           neither the registry nor the host has a principal of that name
//   kInvalidArgument    a group, because it acts through its members
Result<store::Caller> ActAs(store::Governance& governance, store::PrincipalDirectory* directory,
                            const store::Caller& caller, std::string_view principal);

}  // namespace modelfs::tools
