#include "tools/principals.h"

#include <fmt/core.h>

#include <optional>

#include "cas/base/shell_word.h"
#include "cas/base/text.h"

namespace modelfs::tools {

Status RemovePrincipal(store::Governance& governance, const store::Caller& caller, std::string_view name,
                       Removed kind) {
  ASSIGN_OR_RETURN(const store::PrincipalInfo found, governance.FindPrincipal(caller, name));
  const bool is_group = found.kind == store::PrincipalKind::kGroup;
  if (is_group && kind == Removed::kNoGroup) {
    return Error(Code::kFailedPrecondition,
                 fmt::format("{} is a group; remove it with: {}", Printable(found.name),
                             ShellCommand({"modelfs", "group", "rm"}, {found.name})));
  }
  if (!is_group && kind == Removed::kGroup) {
    return Error(Code::kFailedPrecondition,
                 fmt::format("{} is a {}, not a group; remove it with: {}", Printable(found.name),
                             store::PrincipalKindName(found.kind),
                             ShellCommand({"modelfs", "principal", "rm"}, {found.name})));
  }
  return governance.DeletePrincipal(caller, found.name);
}

Result<store::Caller> ActAs(store::Governance& governance, store::PrincipalDirectory* directory,
                            const store::Caller& caller, std::string_view principal) {
  RETURN_IF_ERROR(store::CheckPrincipalName(principal));
  if (const Status admin =
          governance.CheckAccess(caller, store::Operation::kManagePrincipals, store::kMetastoreId);
      !admin.ok()) {
    return admin.error().Wrap(fmt::format("to act as {}", Printable(principal)));
  }
  store::Caller acting = caller;
  acting.run_by = caller.principal;
  store::PrincipalKind kind = store::PrincipalKind::kUser;
  const Result<store::PrincipalInfo> known = governance.FindPrincipal(caller, principal);
  if (known.ok()) {
    acting.principal = known->name;
    kind = known->kind;
  } else if (known.error().code() != Code::kNotFound) {
    return known.error();
  } else {
    std::optional<store::PrincipalDirectory::Found> found;
    if (directory != nullptr) found = directory->Find(principal);
    if (!found) return known.error();
    acting.principal = found->name;
    kind = found->kind;
  }
  if (kind == store::PrincipalKind::kGroup) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} is a group, which acts through its members: name one of them",
                             Printable(acting.principal)));
  }
  acting.groups.clear();
  if (directory != nullptr) acting.groups = directory->GroupsOf(acting.principal);
  return acting;
}

}  // namespace modelfs::tools
