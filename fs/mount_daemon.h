// The FUSE front end: one mount of a registry. docs/mount.md describes each system call.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cas/base/fd.h"
#include "cas/base/result.h"
#include "cas/blob_store.h"
#include "cas/drafts/draft_store.h"
#include "cas/scrub_state.h"
#include "store/governance.h"
#include "store/identity/host_identities.h"
#include "store/journal.h"
#include "store/leases.h"
#include "store/registry.h"

namespace spdlog {
class logger;
}

namespace modelfs::fs {

struct MountOptions {
  std::string mount_point;         // an existing directory
  bool no_links = false;           // mount_point is canonical; a link on the way to it is an error
  std::string source = "modelfs";  // the device in mountinfo: the registry's home
  bool allow_other = false;  // shared with every user of the host, within the grants (fs/sharing/posix_acl.h)
  std::shared_ptr<Fd> device;  // /dev/fuse, opened with more rights; taken; null: opened here
  bool read_only = false;
  bool no_exec = false;      // the kernel runs no program from it
  bool no_atime = false;     // shown in the mount table; access times are not kept either way
  bool synchronous = false;  // the kernel follows each write with an fsync
  bool passthrough = true;   // false: never use it, for comparison and old kernels
  // READY files up to this size are served from memory and the kernel's page cache: an open of one costs no
  // descriptor and no passthrough. 0: none.
  uint64_t small_file_bytes = uint64_t{128} << 10U;
  uint32_t read_ahead_kib = 1024;  // written to the mount's bdi; 0 leaves the kernel's 128
  int64_t draft_lifetime_s = int64_t{7} * 24 * 60 * 60;
  int64_t scrub_period_ms =
      int64_t{7} * 24 * 60 * 60 * 1000;  // each blob is read once in this time; 0: never
};

// The parts that the daemon works on. All outlive it.
struct MountParts {
  store::Registry* registry = nullptr;
  store::Governance* governance = nullptr;
  store::Journal* journal = nullptr;
  store::Leases* leases = nullptr;
  std::optional<store::Speaker> speaker;  // of the mount, for the callers that the kernel names
  store::Caller daemon;  // of the mount's own calls; with Caller::upkeep if the engine is this process's
  store::HostIdentities* identities = nullptr;
  cas::BlobStore* blobs = nullptr;
  cas::DraftStore* drafts = nullptr;
  std::shared_ptr<spdlog::logger> log;
  // Called after a deletion, from a background thread and at most every few seconds. Must return soon once
  // `stop` is requested: the end of the daemon waits for it.
  std::function<void(const std::stop_token& stop)> reclaim;
  // Called in a thread of its own for as long as the mount serves; must return soon once `stop` is requested.
  // `scrubbed` returns its progress, for `status`.
  std::function<void(const std::stop_token& stop)> scrub;
  std::function<cas::ScrubState()> scrubbed;
};

class MountDaemon {
 public:
  // Mounts. A dead FUSE end point that an earlier daemon left at the mount point is cleared first.
  //   kNotFound, kInvalidArgument   no such directory, or not a directory
  //   kAlreadyExists                a live file system is mounted there
  //   kUnavailable                  the file system mounted there does not answer
  //   kPermissionDenied             /dev/fuse or the mount itself was refused; names the remedy
  static Result<std::unique_ptr<MountDaemon>> Mount(const MountParts& parts, const MountOptions& options);
  virtual ~MountDaemon() = default;  // unmounts

  // Serves until Stop, an unmount from outside, or the kernel's end of the session. Calls `ready` once the
  // mount answers requests.
  virtual Status Serve(const std::function<void()>& ready) = 0;
  // From any thread; async-signal-safe. The daemon answers requests under way first.
  virtual void Stop() = 0;
};

}  // namespace modelfs::fs
