// Proving the audit log's index: that each record is listed wherever it was when it was written. Without
// that, whoever takes an entry out would hide a record from those who ask by name.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "store/audit/reader.h"
#include "store/records/change.h"

namespace modelfs::store {

// One thread at a time; the view outlives it.
class AuditIndexProof {
 public:
  AuditIndexProof(View& view, const AuditExtent& extent) : view_(view), extent_(extent) {}

  // A record that is kept in the registry. kDataLoss where it is not listed.
  Status Check(const AuditRecord& record);

 private:
  struct Container {
    ObjectId id = 0;
    uint64_t since = 0;  // the first record that can be about it
  };

  Status CheckListed(ObjectId object, uint64_t sequence);
  // That has the name now; nothing where there is none.
  Result<std::optional<Container>> Find(std::string_view full_name);

  View& view_;
  const AuditExtent& extent_;
  std::map<std::string, std::optional<Container>, std::less<>> known_;  // at most all catalogs and schemas
};

}  // namespace modelfs::store
