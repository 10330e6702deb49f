#include "store/principal.h"

#include <fmt/core.h>

#include "cas/base/text.h"

namespace modelfs::store {

std::string_view PrincipalKindName(PrincipalKind kind) {
  switch (kind) {
    case PrincipalKind::kUser:
      return "user";
    case PrincipalKind::kServicePrincipal:
      return "service principal";
    case PrincipalKind::kGroup:
      return "group";
  }
  return "principal";
}

bool IsNobody(std::string_view principal) { return principal.empty() || principal.starts_with("uid:"); }

Status CheckPrincipalName(std::string_view name) {
  const auto refuse = [&](std::string_view rule) {
    return Error(Code::kInvalidArgument,
                 fmt::format("principal \"{}\": {}", Printable(name.substr(0, kNameMaxBytes)), rule));
  };
  if (name.empty()) return refuse("a principal's name cannot be empty");
  if (name.size() > kNameMaxBytes) return refuse("a principal's name has at most 255 bytes");
  if (!IsValidUtf8(name)) return refuse("a principal's name is UTF-8 text");
  if (HasHiddenCharacters(name)) {
    return refuse("a principal's name has no control, bidirectional or invisible characters");
  }
  if (!IsNfc(name)) return refuse("write it in Unicode normalisation form C");
  if (name.front() == ' ' || name.back() == ' ') return refuse("remove the space at its beginning or end");
  const std::string folded = FoldCase(name);
  if (folded.size() > kNameMaxBytes)
    return refuse("a principal's name has at most 255 bytes in lower case, too");
  if (folded.starts_with("uid:") || folded.starts_with("gid:")) {
    return refuse(
        "names that begin with uid: or gid: stand for users and groups without a name on the "
        "host; they hold no privileges. Give the user a name (the host's user database, or --identity-map)");
  }
  return OkStatus();
}

}  // namespace modelfs::store
