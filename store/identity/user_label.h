// A user of the host in a sentence for people.
#pragma once

#include <sys/types.h>

#include <string>

namespace modelfs::store {

// "ann (uid 1000)", or "uid 1000" where the host's user database has no such user. Asks that database.
std::string UserLabel(uid_t uid);

}  // namespace modelfs::store
