// A user of the host in a message for people.
#pragma once

#include <sys/types.h>

#include <string>

namespace modelfs::store {

// "ann (uid 1000)", or "uid 1000" if the host's user database has no such user. Queries that database.
std::string UserLabel(uid_t uid);

}  // namespace modelfs::store
