// Users, service principals and groups, as the commands and SQL speak of them.
#pragma once

#include <string>
#include <string_view>

#include "cas/base/result.h"
#include "store/registry.h"
#include "tools/print/output.h"

namespace modelfs::tools {

std::string_view SourceName(store::PrincipalSource source);  // "registry", "host"
std::string PrincipalKindField(store::PrincipalKind kind);   // "user", "service_principal", "group"
// `name`, `id`, `kind`, `source`, `created_at`, `created_by`.
Json PrincipalJson(const store::PrincipalInfo& principal);

// As DeletePrincipal, of a group or of anybody but a group. kFailedPrecondition where it is the other.
enum class Removed { kGroup, kNoGroup };
Status RemovePrincipal(store::Registry& registry, const store::Caller& caller, std::string_view name,
                       Removed kind);

// `caller`, a metastore admin, in another's name: the audit log shows both. Without a directory only those
// whom the registry knows can be meant.
//   kPermissionDenied   the caller is none
//   kNotFound           nobody of that name, neither in the registry nor on the host
//   kInvalidArgument    a group: it acts through its members
Result<store::Caller> ActAs(store::Registry& registry, store::PrincipalDirectory* directory,
                            const store::Caller& caller, std::string_view principal);

}  // namespace modelfs::tools
