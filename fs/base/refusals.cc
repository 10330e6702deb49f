#include "fs/base/refusals.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "cas/base/json_text.h"
#include "cas/base/text.h"

namespace modelfs::fs {
namespace {

// A JSON string, RFC 8259 section 7. Bytes that are not UTF-8 become \xNN text first: JSON has no bytes.
std::string Quoted(std::string_view text) {
  std::string printable;
  if (!IsValidUtf8(text)) {
    printable = Printable(text);
    text = printable;
  }
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      out += c;
    }
  }
  return VisibleJson(out + '"');
}

std::string ErrnoName(int errno_value) {
  const char* name = ::strerrorname_np(errno_value);
  return name != nullptr ? name : fmt::format("errno {}", errno_value);
}

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

std::string Refusals::AsJsonLines(uid_t uid) const {
  std::string out;
  for (const RefusalRecord& record : Of(uid)) {
    out += fmt::format(R"({{"time_ms":{},"operation":{},"path":{},"errno":{},"errno_name":{},"message":{},)"
                       R"("count":{},"first_time_ms":{}}})"
                       "\n",
                       record.time_ms, Quoted(record.operation), Quoted(record.path), record.errno_value,
                       Quoted(ErrnoName(record.errno_value)), Quoted(record.message), record.count,
                       record.first_ms);
  }
  return out;
}

}  // namespace modelfs::fs
