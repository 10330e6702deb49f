// A mount's own numbers.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace modelfs::fs {

struct StatisticsSnapshot {
  int64_t started_at_ms = 0;
  int64_t now_ms = 0;
  bool passthrough = false;
  std::string passthrough_reason;            // why it is off; empty when it is on
  std::map<std::string, uint64_t> requests;  // by operation, "read", "lookup", … since the start
  uint64_t refused = 0;                      // requests answered with an error, ENOENT of a lookup aside
  uint64_t open_files = 0;
  uint64_t open_directories = 0;
  uint64_t native_handles = 0;  // those of open_files that the kernel reads by itself
  uint64_t drafts = 0;          // of this mount
};

// The dispatcher keeps them. Thread-safe.
class Statistics {
 public:
  virtual ~Statistics() = default;
  virtual StatisticsSnapshot Snapshot() const = 0;
};

}  // namespace modelfs::fs
