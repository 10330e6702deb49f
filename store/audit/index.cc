#include "store/audit/index.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "store/audit/walk.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

// Whether the record describes how its object lost the name that the record has.
bool LosesItsName(const AuditRecord& record) {
  constexpr std::array<std::string_view, 3> kDeletions = {"deleteCatalog", "deleteSchema",
                                                          "deleteRegisteredModel"};
  if (!record.change) return false;
  return std::find(kDeletions.begin(), kDeletions.end(), record.action) != kDeletions.end() ||
         (record.action == "updateRegisteredModel" && record.params.count("new_name") > 0);
}

}  // namespace

Status AuditIndexProof::CheckListed(ObjectId object, uint64_t sequence) {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry,
                   view_.snapshot().Get(keys::AuditIndex(object, sequence)));
  return entry ? OkStatus() : Status(BrokenAudit(sequence, "is missing in the index"));
}

Status AuditIndexProof::Check(const AuditRecord& record) {
  if (record.sequence < extent_.head.indexed_from) return OkStatus();
  if (record.object != kMetastoreId) {
    RETURN_IF_ERROR(CheckListed(record.object, record.sequence));
  }
  if (LosesItsName(record)) {
    RETURN_IF_ERROR(CheckListed(keys::LostName(record.full_name), record.sequence));
  }
  const std::string_view name = record.full_name;
  for (size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
    ASSIGN_OR_RETURN(const std::optional<Container> container, Find(name.substr(0, dot)));
    if (!container) break;
    // A record from before this container existed was about another one of the same name.
    if (record.sequence < container->since) continue;
    RETURN_IF_ERROR(CheckListed(container->id, record.sequence));
  }
  return OkStatus();
}

Result<std::optional<AuditIndexProof::Container>> AuditIndexProof::Find(std::string_view full_name) {
  if (const auto known = known_.find(full_name); known != known_.end()) return known->second;
  std::optional<Container> found;
  std::optional<Container> in = Container();
  const size_t dot = full_name.rfind('.');
  if (dot != std::string_view::npos) {
    ASSIGN_OR_RETURN(in, Find(full_name.substr(0, dot)));
  }
  const std::string_view leaf = dot == std::string_view::npos ? full_name : full_name.substr(dot + 1);
  if (in) {
    const Result<StoredObject> stored = view_.Child(in->id, leaf);
    if (!stored.ok() && stored.error().code() != Code::kNotFound) return stored.error();
    if (stored.ok()) found = Container{stored->record.id, 0};
  }
  if (found) {
    // The container's creation is the first record that is listed under it, unless it is older than the index
    // or was moved.
    ASSIGN_OR_RETURN(const std::vector<KvEntry> first,
                     view_.snapshot().Range(keys::AuditIndex(found->id, extent_.start.sequence),
                                            keys::AuditIndex(found->id, UINT64_MAX), 1));
    if (!first.empty()) {
      const uint64_t sequence = keys::SecondNumber(first.front().key);
      ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, view_.snapshot().Get(keys::Audit(sequence)));
      if (entry) {
        ASSIGN_OR_RETURN(const AuditRecord record,
                         DecodeAudit(entry->value, fmt::format("audit record {}", sequence)));
        const bool made = record.change && record.object == found->id && record.action.starts_with("create");
        if (made) found->since = sequence;
      }
    }
  }
  return known_.emplace(full_name, found).first->second;
}

}  // namespace modelfs::store
