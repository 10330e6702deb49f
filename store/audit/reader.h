// Finding records of the audit log: in the files that a rotation made, in the index, and where there is none
// record by record.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "store/audit/files.h"
#include "store/records/change.h"
#include "store/registry.h"

namespace modelfs::store {

// The log's extent as of one snapshot.
struct AuditExtent {
  AuditStartRecord start;  // of what is kept in the registry; before it: files
  AuditHeadRecord head;
};
// kDataLoss where the head is missing.
Result<AuditExtent> ReadAuditExtent(Snapshot& snapshot);

// One query; use once. One thread at a time.
class AuditReader {
 public:
  // All must outlive it.
  AuditReader(View& view, const AuditFiles& files, const AuditQuery& query);

  Result<std::vector<AuditRecord>> Read();
  // What changed one object, of what is kept in the registry; the query's own name is not looked at. Each
  // record as `show` leaves it, which may clear parts of it; where that answers false it is left out and not
  // counted.
  using Show = std::function<Result<bool>(AuditRecord&)>;
  Result<std::vector<AuditRecord>> ReadChangesOf(ObjectId object, Show show);

 private:
  // Sequence numbers, both ends included; empty where first > last.
  struct Stretch {
    uint64_t first = 1;
    uint64_t last = 0;
    bool empty() const { return first > last; }
  };
  // One object's entries of the index within a stretch, in the query's order.
  class IndexCursor;

  bool Full() const { return found_.size() >= query_.limit; }
  bool NewestFirst() const { return query_.order == AuditQuery::Order::kNewestFirst; }
  Stretch Wanted(uint64_t first, uint64_t last) const;

  // Which objects have or had the query's name.
  Status FindObjects(const AuditExtent& extent);
  Status ReadFiles(const Stretch& stretch);
  Status ReadOneFile(const AuditFile& file, const Stretch& stretch);
  Status Scan(const Stretch& stretch);
  Status ReadIndex(const Stretch& stretch);

  // Takes a record where it is wanted; `how` it was found decides what is still to be checked.
  enum class Found { kByObject, kByScan };
  Status Offer(std::string_view encoding, uint64_t sequence, Found how);
  bool IsWanted(const AuditRecord& record, Found how);
  bool IsAbout(const AuditRecord& record) const;
  bool IsBy(const std::string& principal);

  View& view_;
  const AuditFiles& files_;
  const AuditQuery& query_;
  const std::string principal_;              // folded
  std::map<std::string, bool> known_names_;  // of principals: whether they are the one
  bool changes_only_ = false;
  Show show_;
  std::optional<ObjectId> object_;  // that has the name now, or was asked for
  std::set<ObjectId> former_;       // that had it once
  std::vector<AuditRecord> found_;
};

}  // namespace modelfs::store
