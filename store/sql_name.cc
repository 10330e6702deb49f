#include "store/sql_name.h"

#include <fmt/core.h>

#include <algorithm>

namespace modelfs::store {

std::string SqlQuoted(std::string_view name) {
  std::string quoted = "`";
  for (const char c : name) {
    if (c == '`') quoted += '`';
    quoted += c;
  }
  return quoted + "`";
}

std::string SqlName(std::string_view name) {
  const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
  const auto is = [&](std::string_view word) {
    return std::equal(name.begin(), name.end(), word.begin(), word.end(),
                      [](char a, char b) { return a == b || a == b - 'a' + 'A'; });
  };
  return plain && !is("if") && !is("on") ? std::string(name) : SqlQuoted(name);
}

std::string SqlName(const FullName& name) {
  std::string dotted;
  for (const std::string& part : name.parts) dotted += (dotted.empty() ? "" : ".") + SqlName(part);
  return dotted;
}

std::string_view SqlKind(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kMetastore:
      return "METASTORE";
    case ObjectKind::kCatalog:
      return "CATALOG";
    case ObjectKind::kSchema:
      return "SCHEMA";
    case ObjectKind::kModel:
      return "MODEL";
  }
  return "";
}

std::string SqlSecurable(ObjectKind kind, const FullName& name) {
  return fmt::format("{}{}{}", SqlKind(kind), name.parts.empty() ? "" : " ", SqlName(name));
}

std::string SqlGrant(Privilege privilege, ObjectKind kind, const FullName& name, std::string_view principal) {
  return fmt::format("GRANT {} ON {} TO {}", PrivilegeSqlName(privilege), SqlSecurable(kind, name),
                     SqlQuoted(principal));
}

std::string SqlGrant(Privilege privilege, ObjectKind kind, std::string_view principal) {
  return fmt::format("GRANT {} ON {} … TO {}", PrivilegeSqlName(privilege), SqlKind(kind),
                     SqlQuoted(principal));
}

}  // namespace modelfs::store
