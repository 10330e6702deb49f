#include "store/kv/kv.h"

#include <fmt/core.h>

#include <algorithm>

namespace modelfs::store {

Result<std::vector<std::optional<KvEntry>>> Snapshot::GetMany(const std::vector<std::string>& keys) {
  std::vector<std::optional<KvEntry>> entries;
  entries.reserve(keys.size());
  for (const std::string& key : keys) {
    ASSIGN_OR_RETURN(entries.emplace_back(), Get(key));
  }
  return entries;
}

Status CheckKey(std::string_view key) {
  if (!key.empty() && key.size() <= kKvMaxKeyBytes) return OkStatus();
  return Error(Code::kInvalidArgument,
               fmt::format("a key of {} bytes; keys have 1 to {}", key.size(), kKvMaxKeyBytes));
}

Status CheckTransaction(const KvTransaction& transaction) {
  const size_t operations = transaction.expectations.size() + transaction.writes.size();
  if (operations > kKvMaxOperations) {
    return Error(Code::kInvalidArgument, fmt::format("a commit of {} operations; at most {} go into one",
                                                     operations, kKvMaxOperations));
  }
  size_t bytes = transaction.log_entry ? transaction.log_entry->size() : 0;
  for (const KvExpectation& expectation : transaction.expectations) {
    RETURN_IF_ERROR(CheckKey(expectation.key));
    bytes += expectation.key.size();
  }
  std::vector<std::string_view> keys;
  for (const KvWrite& write : transaction.writes) {
    RETURN_IF_ERROR(CheckKey(write.key));
    bytes += write.key.size() + (write.value ? write.value->size() : 0);
    keys.push_back(write.key);
  }
  std::sort(keys.begin(), keys.end());
  if (std::adjacent_find(keys.begin(), keys.end()) != keys.end()) {
    return Error(Code::kInvalidArgument, "a commit writes one key twice");
  }
  if (bytes > kKvMaxCommitBytes) {
    return Error(Code::kInvalidArgument,
                 fmt::format("a commit of {} bytes; at most {} go into one", bytes, kKvMaxCommitBytes));
  }
  return OkStatus();
}

Error LogTrimmed(Revision after) {
  return Error(
      Code::kOutOfRange,
      fmt::format("events after revision {} are no longer kept; read the present state instead", after));
}

}  // namespace modelfs::store
