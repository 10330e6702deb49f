// Reading the audit log, and proving that nobody changed it.
#include <fmt/core.h>

#include "store/embedded_registry_impl.h"
#include "store/keys.h"

namespace modelfs::store {
namespace {

constexpr size_t kStep = 1000;

Error Broken(uint64_t sequence, std::string_view how) {
  return Error(
      Code::kDataLoss,
      fmt::format("audit record {} {}; the log was tampered with or damaged from there on", sequence, how));
}

// Whether a record is about the object that is called `full_name` now or was when it was written, or about
// something inside of it.
bool IsAbout(const AuditRecord& record, std::string_view full_name, std::optional<ObjectId> id) {
  if (full_name.empty() || (id && record.object == *id)) return true;
  const std::string_view name = record.full_name;
  return name.substr(0, full_name.size()) == full_name &&
         (name.size() == full_name.size() || name[full_name.size()] == '.');
}

}  // namespace

Result<std::vector<AuditRecord>> EmbeddedRegistryImpl::Audit(const Caller& caller, uint64_t after_sequence,
                                                             size_t limit, std::string_view full_name) {
  std::optional<ObjectId> id;
  if (!full_name.empty()) {
    ASSIGN_OR_RETURN(const FullName name, FullName::Parse(full_name));
    // A deleted object's records are found by the name they carry.
    if (const Result<ObjectInfo> object = Lookup(caller, name); object.ok()) id = object->id;
  }
  return Inspect(
      caller, Operation::kReadAudit, kMetastoreId, [&](View& view) -> Result<std::vector<AuditRecord>> {
        std::vector<AuditRecord> records;
        const std::string end = keys::AfterPrefix(keys::Audit(0).substr(0, 1));
        std::string begin = keys::After(keys::Audit(after_sequence));
        while (records.size() < limit) {
          ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, view.snapshot().Range(begin, end, kStep));
          for (const KvEntry& entry : entries) {
            const std::string what = fmt::format("audit record {}", keys::FirstNumber(entry.key));
            ASSIGN_OR_RETURN(AuditRecord record, DecodeAudit(entry.value, what));
            if (IsAbout(record, full_name, id)) records.push_back(std::move(record));
            if (records.size() == limit) break;
          }
          if (entries.size() < kStep) break;
          begin = keys::After(entries.back().key);
        }
        return records;
      });
}

Result<uint64_t> EmbeddedRegistryImpl::VerifyAudit(const Caller& caller) {
  return Inspect(caller, Operation::kReadAudit, kMetastoreId, [&](View& view) -> Result<uint64_t> {
    ASSIGN_OR_RETURN(const std::optional<KvEntry> head_entry, view.Get(keys::AuditHead()));
    if (!head_entry) return Broken(0, "(the head) is missing");
    ASSIGN_OR_RETURN(const AuditHeadRecord head, AuditHeadRecord::Decode(head_entry->value, "audit head"));
    const std::string end = keys::AfterPrefix(keys::Audit(0).substr(0, 1));
    std::string begin = keys::Audit(0);
    AuditHeadRecord last;  // of what was walked so far
    for (bool more = true; more;) {
      ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, view.snapshot().Range(begin, end, kStep));
      for (const KvEntry& entry : entries) {
        const uint64_t sequence = last.sequence + 1;
        if (keys::FirstNumber(entry.key) != sequence) return Broken(sequence, "is missing");
        const Result<AuditRecord> record = DecodeAudit(entry.value, "audit");
        if (!record.ok()) return Broken(sequence, "does not match its checksum");
        if (record->sequence != sequence) return Broken(sequence, "is another one's, moved here");
        if (record->previous_hash != last.hash) {
          // Either this one was exchanged or the one before was edited, checksum and all: where the chain
          // was made to fit up to the one before, that is the edited one.
          return Broken(last.sequence == 0 ? sequence : last.sequence, "was edited");
        }
        last = {sequence, record->hash};
      }
      more = entries.size() == kStep;
      if (more) begin = keys::After(entries.back().key);
    }
    if (last.sequence != head.sequence) return Broken(last.sequence + 1, "is missing");
    if (last.hash != head.hash) return Broken(last.sequence, "was edited");
    return last.sequence;
  });
}

}  // namespace modelfs::store
