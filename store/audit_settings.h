// How a registry's audit log is kept: which opens of files are in it, and when its old records move to files.
// Format: docs/formats.md, "audit settings".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cas/base/result.h"

namespace modelfs::store {

struct AuditSettings {
  enum class Opens : uint8_t {
    kCounted =
        0,  // a principal's of one version within a minute: one record, and one with the number of the rest
    kEach = 1,  // a record each
  };
  Opens opens = Opens::kCounted;
  // Records move to files when those in the registry are more bytes than this, or the oldest is older. The
  // newest half stays. An engine's file is some three times as large as the records in it.
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
