// Users, service principals and groups in the commands and in SQL.
#pragma once

#include <string>
#include <string_view>

#include "cas/base/result.h"
#include "store/governance.h"
#include "tools/print/output.h"

namespace modelfs::tools {

std::string_view SourceName(store::PrincipalSource source);  // "registry", "host"
std::string PrincipalKindField(store::PrincipalKind kind);   // "user", "service_principal", "group"
// `name`, `id`, `kind`, `source`, `created_at`, `created_by`.
Json PrincipalJson(const store::PrincipalInfo& principal);

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
