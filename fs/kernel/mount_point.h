// Mount points: checks whether one may be used, finds the mount there, and unmounts it. Reads
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
  std::string source;   // of a user's mount: text that this user chose
  uid_t user = 0;       // of a FUSE mount: its user, as the kernel knows it
  bool shared = false;  // of a FUSE mount: open to other users, too
};

// The mounts in the text of /proc/self/mountinfo (proc(5)), in the kernel's order: a later one hides an
// earlier one at the same path.
std::vector<MountEntry> ParseMountInfo(std::string_view text);
// kInternal if /proc is not mounted.
Result<std::vector<MountEntry>> ReadMountInfo();

// The file system type of our mounts, as in /proc/mounts and `mount -t`.
inline constexpr const char* kMountType = "fuse.modelfs";

// The uppermost mount at exactly `mount_point`, a canonical path.
std::optional<MountEntry> FindMount(const std::string& mount_point);

enum class Health { kAlive, kDead, kSilent };

// A live mount answers long before.
inline constexpr std::chrono::seconds kAnswerTime{2};

// Asks the FUSE mount at a canonical path, for kAnswerTime at most.
Result<Health> HealthOf(const std::string& path);

// Ends the kernel's connection of the mount at a canonical path without asking its daemon: callers that wait
// for a reply get ECONNABORTED. It stays mounted. If fusectl is not mounted, this needs root.
Status AbortConnection(const std::string& mount_point);

// /dev/fuse, open for a mount.
//   kPermissionDenied   it is missing, or this user or container may not open it; names the remedy
Result<Fd> OpenDevice();

// Sets the read-ahead of the mount at a canonical path. Needs root.
Status SetReadAhead(const std::string& mount_point, uint32_t read_ahead_kib);

// The canonical path of a directory that can be mounted on. Detaches dead FUSE end points there first; a
// silent one delays the call by two seconds. Errors as MountDaemon::Mount.
Result<std::string> PrepareMountPoint(const std::string& path);

// The directory at a canonical path, opened component by component (O_PATH) and through no symlink, so that
// no link that others have put on the way since can redirect it.
//   kAborted   a component is a link now, or not a directory
Result<Fd> HoldMountPoint(const std::string& canonical);

// Detaches the mount at a canonical path, to which no symlink leads now: by umount2(2) if this process may,
// else by fusermount3(1).
//   kFailedPrecondition   busy; only without `lazy`
Status Detach(const std::string& mount_point, bool lazy);

// Unmounts, as root or by fusermount3. kFailedPrecondition: busy, with the holder's name if it can be seen;
// kNotFound: none of our mounts is there. `lazy` detaches a busy one (umount2(2), MNT_DETACH).
Status Unmount(const std::string& mount_point, bool lazy);

}  // namespace modelfs::fs
