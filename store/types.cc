#include "store/types.h"

#include <fmt/core.h>

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

std::string VersionName(const VersionInfo& version) {
  return fmt::format("{}/{}", version.model_name.ToString(), version.number);
}

}  // namespace modelfs::store
