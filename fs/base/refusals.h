// The last refusals and failures of each user: `modelfs why` and /.modelfs/errors show them.
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
  // Refusals of one operation, errno and family are merged into one, with the newest's path and message. If
  // the family is empty, only refusals of the same path and message are merged.
  std::string family = {};
  // Record sets both: how often it was refused, and when for the first time.
  uint64_t count = 1;
  int64_t first_ms = 0;
};

// Thread-safe; bounded: kKeptPerUser of each of the last kUsers users. When a user's list is full, the most
// frequent operation and errno loses its oldest refusal, so a program that is refused by the thousand pushes
// nothing else out.
class Refusals {
 public:
  static constexpr size_t kKeptPerUser = 256;
  static constexpr size_t kUsers = 1024;

  explicit Refusals(const Clock& clock) : clock_(clock) {}

  void Record(RefusalRecord record);
  std::vector<RefusalRecord> Of(uid_t uid) const;  // by the time of the last refusal, oldest first

 private:
  static void MakeRoom(std::deque<RefusalRecord>& records);

  const Clock& clock_;
  mutable Mutex mu_;
  std::map<uid_t, std::deque<RefusalRecord>> by_user_ GUARDED_BY(mu_);
};

}  // namespace modelfs::fs
