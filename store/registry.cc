#include "store/registry.h"

namespace modelfs::store {

std::string_view StatusName(VersionStatus status) {
  switch (status) {
    case VersionStatus::kPending:
      return "PENDING_REGISTRATION";
    case VersionStatus::kReady:
      return "READY";
    case VersionStatus::kFailed:
      return "FAILED_REGISTRATION";
  }
  return "UNKNOWN";
}

ObjectRights ObjectRights::operator|(const ObjectRights& other) const {
  return {see || other.see,
          get || other.get,
          read_files || other.read_files,
          tag || other.tag,
          change_versions || other.change_versions,
          set_alias || other.set_alias};
}

}  // namespace modelfs::store
