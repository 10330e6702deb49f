#include "fs/refusals.h"

#include <fmt/core.h>

#include <cstring>
#include <string_view>

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
  return out += '"';
}

std::string ErrnoName(int errno_value) {
  const char* name = ::strerrorname_np(errno_value);
  return name != nullptr ? name : fmt::format("errno {}", errno_value);
}

}  // namespace

void Refusals::Record(RefusalRecord record) {
  if (record.time_ms == 0) record.time_ms = clock_.NowMs();
  MutexLock lock(mu_);
  if (by_user_.size() >= kUsers && !by_user_.contains(record.uid)) {
    // The user whose last refusal is oldest makes room.
    auto oldest = by_user_.begin();
    for (auto it = by_user_.begin(); it != by_user_.end(); ++it) {
      if (it->second.back().time_ms < oldest->second.back().time_ms) oldest = it;
    }
    by_user_.erase(oldest);
  }
  std::deque<RefusalRecord>& records = by_user_[record.uid];
  records.push_back(std::move(record));
  if (records.size() > kKeptPerUser) records.pop_front();
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
    out += fmt::format(R"({{"time_ms":{},"operation":{},"path":{},"errno":{},"errno_name":{},"message":{}}})"
                       "\n",
                       record.time_ms, Quoted(record.operation), Quoted(record.path), record.errno_value,
                       Quoted(ErrnoName(record.errno_value)), Quoted(record.message));
  }
  return out;
}

}  // namespace modelfs::fs
