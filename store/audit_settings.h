// Settings of a registry's audit log: which opens of files are in it, and when its old records move to files.
// Format: docs/formats.md, "audit settings".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cas/base/result.h"

namespace modelfs::store {

struct AuditSettings {
  enum class Opens : uint8_t {
    // A principal's opens of one version within a minute: one record, and one with the number of the rest.
    kCounted = 0,
    kEach = 1,  // a record each
  };
  Opens opens = Opens::kCounted;
  // Records move to files when those in the registry exceed this size, or the oldest exceeds the age below.
  // The newest half stays. An engine's file is about three times as large as the records in it.
  uint64_t most_bytes = uint64_t{8} << 20U;
  int64_t longest_ms = int64_t{90} * 24 * 60 * 60 * 1000;

  std::string Encode() const;
  static Result<AuditSettings> Decode(std::string_view bytes, std::string_view what);
  friend bool operator==(const AuditSettings&, const AuditSettings&) = default;
};

// kInvalidArgument for a size of less than 64 KiB or an age of less than a minute: the log would be all
// files.
Status CheckAuditSettings(const AuditSettings& settings);

}  // namespace modelfs::store
