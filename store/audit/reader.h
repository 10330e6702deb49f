// Finds records of the audit log: in the files that a rotation made, in the index, and record by record for
// the part that has no index.
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
#include "store/journal.h"
#include "store/records/change.h"

namespace modelfs::store {

// The log's extent as of one snapshot.
struct AuditExtent {
  AuditStartRecord start;  // of the part in the registry; older records are in files
  AuditHeadRecord head;
};
// kDataLoss if the head is missing.
Result<AuditExtent> ReadAuditExtent(Snapshot& snapshot);

// One query; use once. One thread at a time.
class AuditReader {
 public:
  // All must outlive it.
  AuditReader(View& view, const AuditFiles& files, const AuditQuery& query);

  Result<std::vector<AuditRecord>> Read();
  // The changes of one object, from the records that are kept in the registry; the query's own name is
  // ignored. `show` may clear parts of a record. If it returns false, the record is left out and not counted.
  using Show = std::function<Result<bool>(AuditRecord&)>;
  Result<std::vector<AuditRecord>> ReadChangesOf(ObjectId object, Show show);

 private:
  // Sequence numbers, both ends included; empty if first > last.
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

  // Finds the objects that have or had the query's name.
  Status FindObjects(const AuditExtent& extent);
  Status ReadFiles(const Stretch& stretch);
  Status ReadOneFile(const AuditFile& file, const Stretch& stretch);
  Status Scan(const Stretch& stretch);
  Status ReadIndex(const Stretch& stretch);

  // Takes a record if the query wants it; `how` it was found decides which checks are left.
  enum class Found { kByObject, kByScan };
  Status Offer(std::string_view encoding, uint64_t sequence, Found how);
  bool IsWanted(const AuditRecord& record, Found how);
  bool IsAbout(const AuditRecord& record) const;
  bool IsBy(const std::string& principal);

  View& view_;
  const AuditFiles& files_;
  const AuditQuery& query_;
  const std::string principal_;              // folded
  std::map<std::string, bool> known_names_;  // of principals: whether each is the query's principal
  bool changes_only_ = false;
  Show show_;
  std::optional<ObjectId> object_;  // has the name now, or was given
  std::set<ObjectId> former_;       // had the name once
  std::vector<AuditRecord> found_;
};

}  // namespace modelfs::store
