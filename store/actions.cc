#include "store/actions.h"

#include <fmt/core.h>

#include "store/journal.h"

namespace modelfs::store {
std::string_view ActionNoun(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kMetastore:
      return "Metastore";
    case ObjectKind::kCatalog:
      return "Catalog";
    case ObjectKind::kSchema:
      return "Schema";
    case ObjectKind::kModel:
      return "RegisteredModel";
  }
  return "Object";
}

std::string ActionOf(Operation operation, ObjectKind kind) {
  switch (operation) {
    case Operation::kUse:
    case Operation::kSee:
    case Operation::kGet:
      return fmt::format("get{}", ActionNoun(kind));
    case Operation::kCreateCatalog:
      return "createCatalog";
    case Operation::kCreateSchema:
      return "createSchema";
    case Operation::kCreateModel:
      return "createRegisteredModel";
    case Operation::kDelete:
      return fmt::format("delete{}", ActionNoun(kind));
    case Operation::kReadFiles:
      return std::string(kOpenAction);
    case Operation::kCreateVersion:
      return "createModelVersion";
    case Operation::kDescribe:
    case Operation::kRename:
    case Operation::kSetOwner:
    case Operation::kConfigure:
      return fmt::format("update{}", ActionNoun(kind));
    case Operation::kSetAlias:
      return "setRegisteredModelAlias";
    case Operation::kTag:
      return fmt::format("set{}Tag", ActionNoun(kind));
    case Operation::kDeleteVersion:
      return "deleteModelVersion";
    case Operation::kShowGrants:
      return "getPermissions";
    case Operation::kGrant:
      return std::string(kGrantAction);
    case Operation::kReadAudit:
      return "getAuditLog";
    case Operation::kManagePrincipals:
      return "updatePrincipals";
    case Operation::kReclaim:
      return "reclaim";
  }
  return "unknown";
}

}  // namespace modelfs::store
