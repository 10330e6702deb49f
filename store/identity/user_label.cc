#include "store/identity/user_label.h"

#include <fmt/core.h>

#include <optional>

#include "store/identity/host_identities.h"

namespace modelfs::store {

std::string UserLabel(uid_t uid) {
  const std::optional<UserDatabase::User> user = HostUserDatabase().UserOf(uid);
  return user ? fmt::format("{} (uid {})", user->name, uid) : fmt::format("uid {}", uid);
}

}  // namespace modelfs::store
