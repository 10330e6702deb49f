#include "cas/base/privileges.h"

#include <cap-ng.h>
#include <fmt/core.h>
#include <pwd.h>

namespace modelfs {

bool HasAdminCapability() {
  return capng_get_caps_process() == 0 && capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN) != 0;
}

Status BecomeUser(uid_t uid, gid_t gid) {
  const bool admin = HasAdminCapability();
  const passwd* user = ::getpwuid(uid);
  capng_clear(CAPNG_SELECT_CAPS);
  if (admin) {
    capng_update(CAPNG_ADD, static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED), CAP_SYS_ADMIN);
  }
  const int failure =
      capng_change_id(static_cast<int>(uid), static_cast<int>(user != nullptr ? user->pw_gid : gid),
                      user != nullptr ? CAPNG_INIT_SUPP_GRP : CAPNG_DROP_SUPP_GRP);
  if (failure == 0) return OkStatus();
  return Error(Code::kPermissionDenied,
               fmt::format("root cannot become uid {} here (capng_change_id: {}); give the container the "
                           "capabilities SETUID, SETGID and SETPCAP, or run this as that user",
                           uid, failure));
}

}  // namespace modelfs
