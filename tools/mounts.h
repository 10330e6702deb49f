// Which mounts of a home are up: HOME/mounts/<pid>.json, written by the mount itself and locked (flock(2))
// for as long as it lives, so that a file whose lock is free belongs to a mount that died.
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

// The caller's own record, in a home of its own; taken back when it goes.
class MountRegistration {
 public:
  // `since_ms` is the time of day.
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

// Whether the daemon of this mount was killed and did not get away: a thread of it that the kernel does not
// let go keeps the connection up, and whoever asks the mount something would wait for ever. Then the
// connection is ended (fs::AbortConnection), and those who wait have their error. Of another user's mount it
// is false: what the records say there is that user's word.
Result<bool> EndIfKilled(const MountPoint& mount);

// The mounts of a home that are up, by mount point. In a home of the caller's it clears the records of dead
// ones. Another user's home is read as what it is, somebody's text: nothing in it is changed, waited for or
// reached through a symlink, and of more than a home has nothing is looked at. Empty where there is no home.
std::vector<MountRecord> MountsOf(const std::string& home);

// The process that serves a mount. Of one without a record, as a full disk leaves it, the mount itself is
// asked where it is the caller's own. Nothing where neither says.
std::optional<pid_t> DaemonOf(const MountPoint& mount);

}  // namespace modelfs::tools
