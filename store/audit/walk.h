// Proving the chain, record after record: that none was removed, edited or moved.
#pragma once

#include <cstdint>
#include <string_view>

#include "cas/base/result.h"
#include "store/records/records.h"

namespace modelfs::store {

// kDataLoss: "audit record 7 is missing; ...".
Error BrokenAudit(uint64_t sequence, std::string_view how);

class AuditWalk {
 public:
  AuditWalk() = default;
  // Goes on behind what is proved elsewhere.
  explicit AuditWalk(const AuditStartRecord& start) : sequence_(start.sequence - 1), hash_(start.hash) {}

  // The record that is stored where `sequence` should be. kDataLoss names the first record that is not what
  // it was.
  Result<AuditRecord> Take(uint64_t sequence, std::string_view encoding);

  // Of the last record that was taken.
  uint64_t sequence() const { return sequence_; }
  const Sha256& hash() const { return hash_; }

 private:
  uint64_t sequence_ = 0;
  Sha256 hash_{};
};

}  // namespace modelfs::store
