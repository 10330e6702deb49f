// What this process may do beyond its user's own: CAP_SYS_ADMIN (capabilities(7)), which mounting and
// passthrough need.
#pragma once

#include <sys/types.h>

#include "cas/base/result.h"

namespace modelfs {

// Whether this thread may do what wants CAP_SYS_ADMIN.
bool HasAdminCapability();

// Goes on as that user for good: with their groups, or with `gid` alone where the host's user database has no
// such user, and with CAP_SYS_ADMIN (if it was there) and no other capability. Call as root and before any
// thread is started. The kernel lets no process of that user trace this one.
//   kPermissionDenied   root itself may not, in a container for instance
Status BecomeUser(uid_t uid, gid_t gid);

}  // namespace modelfs
