// Appends audit records to the log: each with its number, the hash of the one before, and its index entries.
#include <algorithm>

#include "cas/base/text.h"
#include "store/records/change.h"
#include "store/records/keys.h"

namespace modelfs::store {

Result<std::vector<ObjectId>> View::IndexedUnder(const AuditRecord& record) {
  std::vector<ObjectId> objects;
  ObjectId container = kMetastoreId;
  std::string_view rest = record.full_name;
  for (size_t dot = rest.find('.'); dot != std::string_view::npos; dot = rest.find('.')) {
    const std::string_view part = rest.substr(0, dot);
    rest.remove_prefix(dot + 1);
    if (part.empty() || part.size() > kNameMaxBytes) break;  // not a name of this registry
    ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, Peek(keys::Object(container, part)));
    if (!entry)
      break;  // deleted meanwhile: a record that is written late may be about an object that no
              // longer exists
    ASSIGN_OR_RETURN(const ObjectRecord found, ObjectRecord::Decode(entry->value, part));
    container = found.id;
    objects.push_back(container);
  }
  if (record.object != kMetastoreId &&
      std::find(objects.begin(), objects.end(), record.object) == objects.end()) {
    objects.push_back(record.object);
  }
  return objects;
}

Status Change::ChainAudits() {
  if (audits_.empty()) return OkStatus();
  AuditHeadRecord head;
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, Get(keys::AuditHead()));
  if (entry) {
    ASSIGN_OR_RETURN(head, AuditHeadRecord::Decode(entry->value, "audit head"));
  }
  for (AuditRecord& record : audits_) {
    record.sequence = head.sequence + 1;
    record.previous_hash = head.hash;
    head.sequence = record.sequence;
    head.hash = AuditHash(record);
    std::string encoding = EncodeAudit(record);
    head.kept_bytes += encoding.size();
    Put(keys::Audit(record.sequence), std::move(encoding));
    ASSIGN_OR_RETURN(const std::vector<ObjectId> objects, IndexedUnder(record));
    for (const ObjectId object : objects) Put(keys::AuditIndex(object, record.sequence), EncodeText(""));
  }
  if (event_ && (event_->kind == EventKind::kDeleted || event_->kind == EventKind::kRenamed)) {
    Put(keys::AuditIndex(keys::LostName(audits_.front().full_name), audits_.front().sequence),
        EncodeText(""));
  }
  Put(keys::AuditHead(), head.Encode());
  return OkStatus();
}

}  // namespace modelfs::store
