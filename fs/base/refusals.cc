#include "fs/base/refusals.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace modelfs::fs {
namespace {

bool IsRepeat(const RefusalRecord& now, const RefusalRecord& before) {
  if (now.operation != before.operation || now.errno_value != before.errno_value) return false;
  if (!now.family.empty()) return now.family == before.family;
  return before.family.empty() && now.path == before.path && now.message == before.message;
}

}  // namespace

void Refusals::Record(RefusalRecord record) {
  if (record.time_ms == 0) record.time_ms = clock_.NowMs();
  MutexLock lock(mu_);
  if (by_user_.size() >= kUsers && !by_user_.contains(record.uid)) {
    // The user with the oldest last refusal makes room.
    auto oldest = by_user_.begin();
    for (auto it = by_user_.begin(); it != by_user_.end(); ++it) {
      if (it->second.back().time_ms < oldest->second.back().time_ms) oldest = it;
    }
    by_user_.erase(oldest);
  }
  std::deque<RefusalRecord>& records = by_user_[record.uid];
  record.first_ms = record.time_ms;
  const auto earlier = std::find_if(records.begin(), records.end(),
                                    [&](const RefusalRecord& each) { return IsRepeat(record, each); });
  if (earlier != records.end()) {
    record.count += earlier->count;
    record.first_ms = earlier->first_ms;
    records.erase(earlier);
  }
  records.push_back(std::move(record));
  if (records.size() > kKeptPerUser) MakeRoom(records);
}

void Refusals::MakeRoom(std::deque<RefusalRecord>& records) {
  using Kind = std::pair<std::string_view, int>;
  const auto kind_of = [](const RefusalRecord& record) { return Kind(record.operation, record.errno_value); };
  std::map<Kind, size_t> counts;
  for (const RefusalRecord& each : records) ++counts[kind_of(each)];
  const auto most = std::max_element(counts.begin(), counts.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  records.erase(std::find_if(records.begin(), records.end(),
                             [&](const RefusalRecord& each) { return kind_of(each) == most->first; }));
}

std::vector<RefusalRecord> Refusals::Of(uid_t uid) const {
  MutexLock lock(mu_);
  const auto found = by_user_.find(uid);
  if (found == by_user_.end()) return {};
  return {found->second.begin(), found->second.end()};
}

}  // namespace modelfs::fs
