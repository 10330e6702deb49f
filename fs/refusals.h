// The last refusals and failures for each user: what `modelfs why` and /.modelfs/errors show.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/thread.h"

namespace modelfs::fs {

struct RefusalRecord {
  int64_t time_ms = 0;
  uid_t uid = 0;
  std::string operation;  // "rename", "open", …
  std::string path;       // below the mount point, starting with '/'; for rename "<from> -> <to>"
  int errno_value = 0;
  std::string message;
};

// Thread-safe; bounded: the last kKeptPerUser of each of the last kUsers users.
class Refusals {
 public:
  static constexpr size_t kKeptPerUser = 256;
  static constexpr size_t kUsers = 1024;

  explicit Refusals(const Clock& clock) : clock_(clock) {}

  void Record(RefusalRecord record);
  std::vector<RefusalRecord> Of(uid_t uid) const;  // oldest first
  // As /.modelfs/errors shows them: one JSON object a line, with time_ms, operation, path, errno,
  // errno_name and message.
  std::string AsJsonLines(uid_t uid) const;

 private:
  const Clock& clock_;
  mutable Mutex mu_;
  std::map<uid_t, std::deque<RefusalRecord>> by_user_ GUARDED_BY(mu_);
};

}  // namespace modelfs::fs
