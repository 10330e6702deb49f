#include "store/types.h"

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

}  // namespace modelfs::store
