// One FUSE session with the kernel: mounting, INIT, passthrough, the loop, notifications. Everything
// that is libfuse's or the kernel's peculiarity lives behind this header and the dispatcher.
//
// Passthrough (the kernel reads a backing file by itself) is official in libfuse 3.17; with 3.14 the same
// protocol is spoken by hand: /dev/fuse is mounted by mount(2), a writev of ours adds FUSE_INIT_EXT,
// FUSE_PASSTHROUGH and max_stack_depth 1 to the INIT reply, backing ids come from
// ioctl(FUSE_DEV_IOC_BACKING_OPEN), and OPEN is answered with a fuse_open_out of ours (linux/fuse.h).
// It needs CAP_SYS_ADMIN and Linux 6.9: probed once; `passthrough()` says what came of it.
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
    std::string source = "modelfs";  // what mountinfo shows as the device
    bool allow_other = false;
    bool posix_acls = false;     // the kernel asks for system.posix_acl_access and enforces it
    std::shared_ptr<Fd> device;  // as MountOptions has it
    bool read_only = false;
    bool no_exec = false;
    bool no_atime = false;
    bool synchronous = false;
    bool passthrough = true;
    uint32_t read_ahead_kib = 1024;
    int max_threads = 32;
  };

  // Mounts and answers the kernel's INIT; everything else is answered once Loop runs. `operations` need
  // no `init`. Errors as MountDaemon::Mount.
  static Result<std::unique_ptr<FuseChannel>> Mount(const Options& options,
                                                    const fuse_lowlevel_ops& operations, void* userdata,
                                                    std::shared_ptr<spdlog::logger> log);
  virtual ~FuseChannel() = default;  // unmounts where it is still mounted

  // Serves requests on several threads until Stop or an unmount from outside. `ready` is called once they
  // run. After Stop the mount point is detached and what is asked already is answered. The threads are
  // woken by SIGRTMIN+5, whose handler does nothing.
  virtual Status Loop(const std::function<void()>& ready) = 0;
  virtual void Stop() = 0;  // async-signal-safe

  virtual bool passthrough() const = 0;
  virtual const std::string& passthrough_reason() const = 0;  // why it is off; empty when it is on

  // A backing id for a readable file; 0 < id. kPermissionDenied, kUnimplemented: answer cached instead.
  virtual Result<int32_t> OpenBacking(int fd) = 0;
  virtual void CloseBacking(int32_t backing_id) = 0;
  // Answers OPEN (not CREATE) with passthrough to `backing_id`. False: the request is answered with an
  // error or was interrupted, as fuse_reply_open's -ENOENT.
  virtual bool ReplyOpenNative(fuse_req* request, const fuse_file_info& info, int32_t backing_id) = 0;

  // As fuse_lowlevel_notify_expire_entry (_inval_entry where the kernel cannot expire) and
  // _inval_inode(ino, -1, 0). Never from a thread that answers requests.
  virtual void InvalidateEntry(NodeId parent, std::string_view name) = 0;
  // Nothing is told of the root. The kernel lets nobody into it before it has its attributes, and drops those
  // that an invalidation overtook on their way (Linux fs/fuse/inode.c, attr_version), so whoever came first
  // to a new mount would be refused.
  virtual void InvalidateAttr(NodeId node) = 0;
};

}  // namespace modelfs::fs
