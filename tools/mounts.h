// The mounts of a home that are up. Each mount writes HOME/mounts/<pid>.json and locks it (flock(2)) while it
// lives, so a file with a free lock belongs to a dead mount.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/result.h"
#include "tools/place.h"

namespace modelfs::tools {

struct MountRecord {
  std::string mount_point;
  pid_t pid = 0;
  int64_t since_ms = 0;
};

// The record of this process, in a home of its user. The destructor removes it.
class MountRegistration {
 public:
  // `since_ms` is wall-clock time.
  static Result<std::unique_ptr<MountRegistration>> Write(const std::string& home,
                                                          const std::string& mount_point, int64_t since_ms);
  ~MountRegistration();
  MountRegistration(const MountRegistration&) = delete;
  MountRegistration& operator=(const MountRegistration&) = delete;

 private:
  MountRegistration(Fd directory, std::string name, Fd lock)
      : directory_(std::move(directory)), name_(std::move(name)), lock_(std::move(lock)) {}
  const Fd directory_;
  const std::string name_;
  const Fd lock_;
};

// Whether the daemon of this mount was killed but its connection is still up, because the kernel holds one of
// its threads. A request to such a mount would wait for ever. So EndIfKilled aborts the connection
// (fs::AbortConnection), and waiting requests fail. False for another user's mount, because its records are
// only that user's word.
Result<bool> EndIfKilled(const MountPoint& mount);

// The mounts of a home that are up, sorted by mount point; empty if the home does not exist. In the caller's
// own home it removes the records of dead mounts. Another user's home is untrusted input: MountsOf changes
// nothing there, waits for nothing, follows no symlink, and reads no more entries than any home has.
std::vector<MountRecord> MountsOf(const std::string& home);

// The process that serves a mount. A mount has no record after a full disk, for example. Then the pid is read
// from the mount itself, if the mount is the caller's own. nullopt if neither has a pid.
std::optional<pid_t> DaemonOf(const MountPoint& mount);

}  // namespace modelfs::tools
