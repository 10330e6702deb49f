#include "store/audit/walk.h"

#include <fmt/core.h>

namespace modelfs::store {

Error BrokenAudit(uint64_t sequence, std::string_view how) {
  return Error(
      Code::kDataLoss,
      fmt::format("audit record {} {}; the log was tampered with or damaged from there on", sequence, how));
}

Result<AuditRecord> AuditWalk::Take(uint64_t sequence, std::string_view encoding) {
  const uint64_t wanted = sequence_ + 1;
  if (sequence != wanted) return BrokenAudit(wanted, "is missing");
  Result<AuditRecord> record = DecodeAudit(encoding, "audit");
  if (!record.ok()) return BrokenAudit(wanted, "does not match its checksum");
  if (record->sequence != wanted) return BrokenAudit(wanted, "has another record in its place");
  if (record->previous_hash != hash_) {
    // Either this record was exchanged or the one before was edited, with its checksum. If the chain fits up
    // to the one before, that is the edited one.
    return BrokenAudit(sequence_ == 0 ? wanted : sequence_, "was edited");
  }
  sequence_ = wanted;
  hash_ = record->hash;
  return record;
}

}  // namespace modelfs::store
