// The one privilege of this process beyond those of its user: CAP_SYS_ADMIN (capabilities(7)), which mounting
// and passthrough need.
#pragma once

#include <sys/types.h>

#include "cas/base/result.h"

namespace modelfs {

// Whether this thread has CAP_SYS_ADMIN.
bool HasAdminCapability();

// Makes this process run as that user for good. It gets the user's groups, or `gid` alone if the host's user
// database does not have the user. It keeps CAP_SYS_ADMIN (if it had it) and no other capability. Call as
// root, before any thread is started. The kernel lets no process of that user trace this one.
//   kPermissionDenied   even root may not, in a container for instance
Status BecomeUser(uid_t uid, gid_t gid);

}  // namespace modelfs
