// Proves the audit log's index: each record is listed under every object that it was about when it was
// written. Without the proof, removing an entry would hide a record from queries by name.
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

  // A record that is kept in the registry. kDataLoss if it is not listed.
  Status Check(const AuditRecord& record);

 private:
  struct Container {
    ObjectId id = 0;
    uint64_t since = 0;  // the first record that can be about it
  };

  Status CheckListed(ObjectId object, uint64_t sequence);
  // The container that has the name now; nullopt if none has.
  Result<std::optional<Container>> Find(std::string_view full_name);

  View& view_;
  const AuditExtent& extent_;
  std::map<std::string, std::optional<Container>, std::less<>> known_;  // at most all catalogs and schemas
};

}  // namespace modelfs::store
