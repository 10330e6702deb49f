#include "store/privilege.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "cas/base/text.h"

namespace modelfs::store {
namespace {

constexpr std::array<std::string_view, kPrivileges> kNames = {
    "ALL_PRIVILEGES", "CREATE_CATALOG",  "USE_CATALOG",          "USE_SCHEMA", "CREATE_SCHEMA",
    "CREATE_MODEL",   "CREATE_FUNCTION", "CREATE_MODEL_VERSION", "EXECUTE",    "APPLY_TAG",
    "BROWSE",         "MANAGE",          "READ_AUDIT",
};

// On the model, and on its schema and catalog: they flow down (reference §2.2).
constexpr PrivilegeSet kOnModels = {Privilege::kCreateModelVersion, Privilege::kExecute, Privilege::kApplyTag,
                                    Privilege::kManage, Privilege::kAllPrivileges};
constexpr PrivilegeSet kOnSchemas =
    kOnModels | PrivilegeSet{Privilege::kUseSchema, Privilege::kCreateModel, Privilege::kCreateFunction};
constexpr PrivilegeSet kOnCatalogs =
    kOnSchemas | PrivilegeSet{Privilege::kUseCatalog, Privilege::kCreateSchema, Privilege::kBrowse};
// ALL PRIVILEGES cannot be granted on the metastore (reference §2.2: "any of these" are the three below).
constexpr PrivilegeSet kOnMetastore = {Privilege::kCreateCatalog, Privilege::kReadAudit};

}  // namespace

std::string_view KindName(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kMetastore:
      return "metastore";
    case ObjectKind::kCatalog:
      return "catalog";
    case ObjectKind::kSchema:
      return "schema";
    case ObjectKind::kModel:
      return "model";
  }
  return "object";
}

std::vector<Privilege> PrivilegeSet::ToList() const {
  std::vector<Privilege> list;
  for (size_t i = 0; i < kPrivileges; ++i) {
    if (Has(static_cast<Privilege>(i))) list.push_back(static_cast<Privilege>(i));
  }
  return list;
}

PrivilegeSet Grantable(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kMetastore:
      return kOnMetastore;
    case ObjectKind::kCatalog:
      return kOnCatalogs;
    case ObjectKind::kSchema:
      return kOnSchemas;
    case ObjectKind::kModel:
      return kOnModels;
  }
  return {};
}

PrivilegeSet ImpliedByAll(ObjectKind kind) {
  return Grantable(kind) - PrivilegeSet{Privilege::kAllPrivileges, Privilege::kManage};
}

std::string_view PrivilegeName(Privilege privilege) { return kNames.at(static_cast<size_t>(privilege)); }

std::string PrivilegeSqlName(Privilege privilege) {
  std::string name(PrivilegeName(privilege));
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

Result<Privilege> ParsePrivilege(std::string_view text) {
  std::string name;
  for (const char c : text) {
    name += c == ' ' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  const auto* const found = std::find(kNames.begin(), kNames.end(), name);
  if (found != kNames.end()) return static_cast<Privilege>(found - kNames.begin());
  std::string all;
  for (const std::string_view each : kNames) all += fmt::format("{}{}", all.empty() ? "" : ", ", each);
  return Error(Code::kInvalidArgument, fmt::format("no privilege is named \"{}\"; these exist: {}",
                                                   Printable(text.substr(0, 64)), all));
}

}  // namespace modelfs::store
