// One FUSE session with the kernel: mounting, INIT, passthrough, the loop, notifications. This header and the
// dispatcher hide all peculiarities of libfuse and the kernel.
//
// Passthrough (the kernel reads a backing file by itself) is official in libfuse 3.17. With 3.14 this code
// speaks the same protocol by hand. mount(2) mounts /dev/fuse. A writev of ours adds FUSE_INIT_EXT,
// FUSE_PASSTHROUGH and max_stack_depth 1 to the INIT reply. ioctl(FUSE_DEV_IOC_BACKING_OPEN) returns backing
// ids, and the reply to OPEN is a fuse_open_out of ours (linux/fuse.h). It needs CAP_SYS_ADMIN and Linux 6.9:
// Mount probes it once, and `passthrough()` returns the result.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "cas/base/fd.h"
#include "cas/base/result.h"
#include "fs/base/node_id.h"

struct fuse_req;
struct fuse_file_info;
struct fuse_lowlevel_ops;
namespace spdlog {
class logger;
}

namespace modelfs::fs {

class FuseChannel {
 public:
  struct Options {
    std::string mount_point;         // canonical, free (fs/kernel/mount_point.h)
    std::string source = "modelfs";  // the device in mountinfo
    bool allow_other = false;
    bool posix_acls = false;     // the kernel asks for system.posix_acl_access and enforces it
    std::shared_ptr<Fd> device;  // as in MountOptions
    bool read_only = false;
    bool no_exec = false;
    bool no_atime = false;
    bool synchronous = false;
    bool passthrough = true;
    uint32_t read_ahead_kib = 1024;
    int max_threads = 32;
  };

  // Mounts and answers the kernel's INIT; Loop answers everything else. `operations` need no `init`. Errors
  // as MountDaemon::Mount.
  static Result<std::unique_ptr<FuseChannel>> Mount(const Options& options,
                                                    const fuse_lowlevel_ops& operations, void* userdata,
                                                    std::shared_ptr<spdlog::logger> log);
  virtual ~FuseChannel() = default;  // unmounts if it is still mounted

  // Serves requests on several threads until Stop or an unmount from outside. Calls `ready` once they run.
  // After Stop, detaches the mount point and answers the requests that were made before. SIGRTMIN+5 wakes the
  // threads; its handler does nothing.
  virtual Status Loop(const std::function<void()>& ready) = 0;
  virtual void Stop() = 0;  // async-signal-safe

  virtual bool passthrough() const = 0;
  virtual const std::string& passthrough_reason() const = 0;  // why it is off; empty when it is on

  // A backing id for a readable file; 0 < id. On kPermissionDenied and kUnimplemented, serve the file cached
  // instead.
  virtual Result<int32_t> OpenBacking(int fd) = 0;
  virtual void CloseBacking(int32_t backing_id) = 0;
  // Answers OPEN (not CREATE) with passthrough to `backing_id`. False: the request got an error or was
  // interrupted, as with fuse_reply_open's -ENOENT.
  virtual bool ReplyOpenNative(fuse_req* request, const fuse_file_info& info, int32_t backing_id) = 0;

  // Drops an entry, and a node's attributes: as fuse_lowlevel_notify_expire_entry (_inval_entry if the kernel
  // cannot expire) and _inval_inode(ino, -1, 0). Never call them from a thread that answers requests.
  virtual void InvalidateEntry(NodeId parent, std::string_view name) = 0;
  // Never invalidates the root. The kernel lets no user into it before it has its attributes, and drops
  // attributes that an invalidation overtook on their way (Linux fs/fuse/inode.c, attr_version). So an
  // invalidation would refuse the first user of a new mount.
  virtual void InvalidateAttr(NodeId node) = 0;
};

}  // namespace modelfs::fs
