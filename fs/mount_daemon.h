// The FUSE front end: one mount of a registry. docs/mount.md says what each system call means.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "cas/base/fd.h"
#include "cas/base/result.h"
#include "cas/blob_store.h"
#include "cas/drafts/draft_store.h"
#include "cas/scrub_state.h"
#include "store/identity/host_identities.h"
#include "store/registry.h"

namespace spdlog {
class logger;
}

namespace modelfs::fs {

struct MountOptions {
  std::string mount_point;         // an existing directory
  bool no_links = false;           // mount_point is canonical, and a link on the way there is an error
  std::string source = "modelfs";  // what mountinfo shows as the device: the registry's home
  bool allow_other =
      false;  // shared: for every user of the host, as far as grants go (fs/sharing/posix_acl.h)
  std::shared_ptr<Fd> device;  // /dev/fuse, opened with more rights; taken; null: opened here
  bool read_only = false;
  bool no_exec = false;            // the kernel runs no program from it
  bool no_atime = false;           // shown in the mount table; access times are not kept either way
  bool synchronous = false;        // the kernel follows each write with an fsync
  bool passthrough = true;         // false: never use it, for comparison and old kernels
  uint32_t read_ahead_kib = 1024;  // written to the mount's bdi; 0 leaves the kernel's 128
  int64_t draft_lifetime_s = int64_t{7} * 24 * 60 * 60;
  int64_t scrub_period_ms = int64_t{7} * 24 * 60 * 60 * 1000;  // each blob is read once in so long; 0: never
};

// What the daemon works on. All outlive it.
struct MountParts {
  store::Registry* registry = nullptr;
  store::HostIdentities* identities = nullptr;
  cas::BlobStore* blobs = nullptr;
  cas::DraftStore* drafts = nullptr;
  std::shared_ptr<spdlog::logger> log;
  // Called, from a background thread and at most every few seconds, after something was deleted. Returns soon
  // once `stop` is requested, which the end of the daemon waits for.
  std::function<void(const std::stop_token& stop)> reclaim;
  // Called in a thread of its own for as long as the mount serves; returns soon once `stop` is requested. And
  // how far that is, for `status`.
  std::function<void(const std::stop_token& stop)> scrub;
  std::function<cas::ScrubState()> scrubbed;
};

class MountDaemon {
 public:
  // Mounts. A dead FUSE end point that an earlier daemon left at the mount point is cleared first.
  //   kNotFound, kInvalidArgument   no such directory, or not a directory
  //   kAlreadyExists                something that is alive is mounted there
  //   kUnavailable                  what is mounted there does not answer
  //   kPermissionDenied             /dev/fuse or the mount itself was refused; says what to install or allow
  static Result<std::unique_ptr<MountDaemon>> Mount(const MountParts& parts, const MountOptions& options);
  virtual ~MountDaemon() = default;  // unmounts

  // Serves until Stop, an unmount from outside, or the kernel's end of the session.
  // `ready` is called once requests are being answered.
  virtual Status Serve(const std::function<void()>& ready) = 0;
  // From any thread; async-signal-safe. Requests under way are answered first.
  virtual void Stop() = 0;
};

}  // namespace modelfs::fs
