// Proves the chain, record after record: no record was removed, edited or moved.
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
  // Continues after records that were verified elsewhere.
  explicit AuditWalk(const AuditStartRecord& start) : sequence_(start.sequence - 1), hash_(start.hash) {}

  // Checks the record that is stored at the place of `sequence`. kDataLoss names the first record that was
  // changed.
  Result<AuditRecord> Take(uint64_t sequence, std::string_view encoding);

  // Of the last record that was taken.
  uint64_t sequence() const { return sequence_; }
  const Sha256& hash() const { return hash_; }

 private:
  uint64_t sequence_ = 0;
  Sha256 hash_{};
};

}  // namespace modelfs::store
