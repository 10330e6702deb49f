// Mount points: whether one may be used, what is mounted there, and taking it away again. Reads
// /proc/self/mountinfo, proc(5), rather than the mounts themselves, which may hang or be dead.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/result.h"

namespace modelfs::fs {

struct MountEntry {
  std::string path;     // absolute
  std::string device;   // "major:minor", as /sys/class/bdi names it
  std::string type;     // "fuse.modelfs"
  std::string source;   // of a mount by a user, text that this user chose
  uid_t user = 0;       // of a FUSE mount: the user it belongs to, as the kernel has it
  bool shared = false;  // of a FUSE mount: for other users, too
};

// The mounts in the text of /proc/self/mountinfo (proc(5)), in the kernel's order: a later one hides an
// earlier one at the same path.
std::vector<MountEntry> ParseMountInfo(std::string_view text);
// kInternal where /proc is not there.
Result<std::vector<MountEntry>> ReadMountInfo();

// The file system type of our mounts, as /proc/mounts and `mount -t` say it.
inline constexpr const char* kMountType = "fuse.modelfs";

// The uppermost mount at exactly `mount_point`, a canonical path.
std::optional<MountEntry> FindMount(const std::string& mount_point);

enum class Health { kAlive, kDead, kSilent };

// A mount that answers at all does so long before.
inline constexpr std::chrono::seconds kAnswerTime{2};

// Asks the FUSE mount at a canonical path, for kAnswerTime at most.
Result<Health> HealthOf(const std::string& path);

// Ends the kernel's connection of the mount at a canonical path without asking its daemon: whoever waits for
// an answer gets ECONNABORTED. It stays mounted. Where fusectl is not mounted that needs root.
Status AbortConnection(const std::string& mount_point);

// /dev/fuse, open for a mount.
//   kPermissionDenied   it is missing, or this user or container has no right to it; says what to do
Result<Fd> OpenDevice();

// Sets the read-ahead of what is mounted at a canonical path. Root may.
Status SetReadAhead(const std::string& mount_point, uint32_t read_ahead_kib);

// The canonical path of a directory that can be mounted on. Dead FUSE end points there are detached
// first; one that is silent holds this up for two seconds. Errors as MountDaemon::Mount.
Result<std::string> PrepareMountPoint(const std::string& path);

// The directory at a canonical path, opened component by component (O_PATH) and through no symlink: what the
// path named when it was made canonical, whatever others have put on the way since.
//   kAborted   there is a link on the way now, or no directory
Result<Fd> HoldMountPoint(const std::string& canonical);

// Detaches what is mounted at a canonical path, to which no symlink leads now: umount2(2) where this process
// may, else fusermount3(1).
//   kFailedPrecondition   busy; only without `lazy`
Status Detach(const std::string& mount_point, bool lazy);

// Unmounts, as root or by fusermount3. kFailedPrecondition: busy, and names the holder where that can
// be seen; kNotFound: nothing of ours is mounted there. `lazy` detaches a busy one (umount2(2), MNT_DETACH).
Status Unmount(const std::string& mount_point, bool lazy);

}  // namespace modelfs::fs
