#include "store/authorizer.h"

#include <fmt/core.h>

namespace modelfs::store {

Status Authorizer::Check(const Caller& caller, Operation /*operation*/, ObjectId /*object*/) const {
  // A uid that the kernel vouched for outranks the name that the host has for it: names can be shared.
  const bool is_owner =
      caller.proof == Proof::kToken ? caller.principal == settings_.owner : caller.uid == settings_.owner_uid;
  if (is_owner) return OkStatus();
  return Error(
      Code::kPermissionDenied,
      fmt::format("this registry belongs to {} (uid {}), and {} (uid {}) may not use it; work as {}, or make "
                  "a registry of your own with `modelfs init`",
                  settings_.owner, settings_.owner_uid, caller.principal, caller.uid, settings_.owner));
}

}  // namespace modelfs::store
