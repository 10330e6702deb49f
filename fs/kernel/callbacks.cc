#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "fs/kernel/call.h"

namespace modelfs::fs {
namespace {

// copy_file_range(2) may be short, and libfuse's reply counts in 32 bits.
constexpr size_t kMaxCopyBytes = size_t{1} << 30U;

}  // namespace

// The C callbacks: each recovers the dispatcher, makes a Call and lets no exception out. A Call that a
// callback drops answers EIO.
struct Dispatcher::Callbacks {
  static Dispatcher& Self(fuse_req_t request) {
    return *static_cast<Dispatcher*>(fuse_req_userdata(request));
  }

  // A copy of an argument for a request that waits: the kernel's buffer is gone then.
  static std::string Kept(std::string_view bytes) { return std::string(bytes); }
  template <typename Value>
  static Value Kept(const Value& value) {
    return value;
  }

  // Calls `function(dispatcher, call, arguments...)`, again and from another thread where it has to wait for
  // another host. So it captures by value, and what points into the request's buffer is an argument of it.
  template <typename Function, typename... Arguments>
  static void Run(fuse_req_t request, Op op, NodeId node, std::string_view name, Function function,
                  const Arguments&... arguments) noexcept {
    try {
      Dispatcher& self = Self(request);
      Call call(self, request, op, node, name);
      if (op != Op::kLookup && IsTooLong(name)) return self.Answer(call, NameTooLong(name));
      self.Attempt(call, [&] { function(self, call, arguments...); });
      if (!call.deferred()) return;
      self.Park(std::make_shared<Call>(std::move(call)),
                [&self, function, kept = std::make_tuple(Kept(arguments)...)](Call& again) {
                  std::apply([&](const auto&... each) { function(self, again, each...); }, kept);
                });
    } catch (...) {
      // The caller has its EIO; being out of memory for the log of it is not worth more.
    }
  }

  static void Lookup(fuse_req_t r, fuse_ino_t parent, const char* name) noexcept {
    Run(r, Op::kLookup, parent, name, [=](Dispatcher& d, Call& c) { d.Lookup(c, parent, c.name()); });
  }

  static void Forget(fuse_req_t r, fuse_ino_t node, uint64_t lookups) noexcept {
    fuse_forget_data one = {node, lookups};
    ForgetMulti(r, 1, &one);
  }

  static void ForgetMulti(fuse_req_t r, size_t count, fuse_forget_data* forgets) noexcept {
    Dispatcher& self = Self(r);
    try {
      for (size_t i = 0; i < count; ++i) self.Forgotten(forgets[i].ino, forgets[i].nlookup);
    } catch (...) {
      // A node that is not forgotten costs memory and does no harm.
    }
    self.requests_[static_cast<size_t>(Op::kForget)].fetch_add(count, std::memory_order_relaxed);
    fuse_reply_none(r);
  }

  static void GetAttr(fuse_req_t r, fuse_ino_t node, fuse_file_info*) noexcept {
    Run(r, Op::kGetattr, node, {}, [=](Dispatcher& d, Call& c) {
      const Outcome<Attr> attr = d.ZoneOf(node).GetAttr(c.request(), node);
      if (!attr) return d.Answer(c, attr.error());
      struct stat shown = attr->attr;
      shown.st_ino = InodeNumber(node);
      c.reply.Attr(shown, attr->ttl_s);
      d.GaveAttrs(c, std::span(&node, 1));
    });
  }

  static void SetAttr(fuse_req_t r, fuse_ino_t node, struct stat* attr, int to_set,
                      fuse_file_info*) noexcept {
    Run(r, Op::kSetattr, node, {},
        [=, attr = *attr](Dispatcher& d, Call& c) { d.SetAttr(c, node, attr, to_set); });
  }

  static void ReadLink(fuse_req_t r, fuse_ino_t node) noexcept {
    Run(r, Op::kReadlink, node, {}, [=](Dispatcher& d, Call& c) {
      const Outcome<std::string> target = d.ZoneOf(node).ReadLink(c.request(), node);
      if (!target) return d.Answer(c, target.error());
      c.reply.Link(target->c_str());
    });
  }

  static void MkNod(fuse_req_t r, fuse_ino_t parent, const char* name, mode_t mode, dev_t) noexcept {
    Run(r, Op::kMknod, parent, name, [=](Dispatcher& d, Call& c) { d.MakeNode(c, parent, c.name(), mode); });
  }

  static void MkDir(fuse_req_t r, fuse_ino_t parent, const char* name, mode_t mode) noexcept {
    Run(r, Op::kMkdir, parent, name, [=](Dispatcher& d, Call& c) {
      const Outcome<Entry> made = d.Interruptibly(c, [&](const Request& request) {
        return d.ZoneOf(parent).MakeDirectory(request, parent, c.name(), mode);
      });
      if (!made) return d.Answer(c, made.error());
      d.AnswerEntry(c, parent, c.name(), *made);
    });
  }

  static void Unlink(fuse_req_t r, fuse_ino_t parent, const char* name) noexcept {
    Run(r, Op::kUnlink, parent, name, [=](Dispatcher& d, Call& c) {
      const Outcome<void> removed = d.Interruptibly(
          c, [&](const Request& request) { return d.ZoneOf(parent).Unlink(request, parent, c.name()); });
      if (!removed) return d.Answer(c, removed.error());
      c.reply.Ok();
    });
  }

  static void RmDir(fuse_req_t r, fuse_ino_t parent, const char* name) noexcept {
    Run(r, Op::kRmdir, parent, name, [=](Dispatcher& d, Call& c) {
      const Outcome<void> removed = d.Interruptibly(c, [&](const Request& request) {
        return d.ZoneOf(parent).RemoveDirectory(request, parent, c.name());
      });
      if (!removed) return d.Answer(c, removed.error());
      c.reply.Ok();
    });
  }

  static void SymLink(fuse_req_t r, const char* target, fuse_ino_t parent, const char* name) noexcept {
    const auto make = [=](Dispatcher& d, Call& c, std::string_view text) {
      const Outcome<Entry> made = d.Interruptibly(c, [&](const Request& request) {
        return d.ZoneOf(parent).MakeSymlink(request, parent, c.name(), text);
      });
      if (!made) return d.Answer(c, made.error());
      d.AnswerEntry(c, parent, c.name(), *made);
    };
    Run(r, Op::kSymlink, parent, name, make, std::string_view(target));
  }

  static void Rename(fuse_req_t r, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
                     const char* new_name, unsigned flags) noexcept {
    Run(
        r, Op::kRename, parent, name,
        [=](Dispatcher& d, Call& c, std::string_view to) {
          d.Rename(std::move(c), parent, new_parent, std::string(to), flags);
        },
        std::string_view(new_name));
  }

  static void Link(fuse_req_t r, fuse_ino_t node, fuse_ino_t parent, const char* name) noexcept {
    Run(r, Op::kLink, parent, name, [=](Dispatcher& d, Call& c) {
      if (IsReady(parent)) return d.MakeNode(c, parent, c.name(), S_IFREG);
      const Outcome<Entry> made = d.ZoneOf(parent).MakeHardLink(c.request(), node, parent, c.name());
      if (!made) return d.Answer(c, made.error());
      d.AnswerEntry(c, parent, c.name(), *made);
    });
  }

  static void Open(fuse_req_t r, fuse_ino_t node, fuse_file_info* info) noexcept {
    Run(r, Op::kOpen, node, {}, [=, info = *info](Dispatcher& d, Call& c) { d.Open(c, node, info); });
  }

  static void Read(fuse_req_t r, fuse_ino_t node, size_t size, off_t offset, fuse_file_info* info) noexcept {
    Run(r, Op::kRead, node, {}, [=, info = *info](Dispatcher& d, Call& c) {
      d.Read(c, node, size, static_cast<uint64_t>(offset), info);
    });
  }

  static void Write(fuse_req_t r, fuse_ino_t node, const char* data, size_t size, off_t offset,
                    fuse_file_info* info) noexcept {
    const auto write = [=, info = *info](Dispatcher& d, Call& c, std::string_view bytes) {
      d.Write(c, node, std::as_bytes(std::span(bytes)), static_cast<uint64_t>(offset), info);
    };
    Run(r, Op::kWrite, node, {}, write, std::string_view(data, size));
  }

  static void Release(fuse_req_t r, fuse_ino_t node, fuse_file_info* info) noexcept {
    Run(r, Op::kRelease, node, {}, [=, info = *info](Dispatcher& d, Call& c) {
      d.Release(info.fh);
      c.reply.Ok();
    });
  }

  static void FSync(fuse_req_t r, fuse_ino_t node, int, fuse_file_info* info) noexcept {
    Run(r, Op::kFsync, node, {}, [=, info = *info](Dispatcher& d, Call& c) {
      const Outcome<std::shared_ptr<OpenFile>> file = d.FileOf(c.request(), node, info);
      if (!file) return d.Answer(c, file.error());
      const Outcome<void> synced = (*file)->handle->Sync();
      if (!synced) return d.Answer(c, synced.error());
      c.reply.Ok();
    });
  }

  static void OpenDir(fuse_req_t r, fuse_ino_t node, fuse_file_info* info) noexcept {
    Run(r, Op::kOpendir, node, {}, [=, info = *info](Dispatcher& d, Call& c) { d.OpenDir(c, node, info); });
  }

  static void ReadDir(fuse_req_t r, fuse_ino_t node, size_t size, off_t offset,
                      fuse_file_info* info) noexcept {
    Run(r, Op::kReaddir, node, {}, [=, info = *info](Dispatcher& d, Call& c) {
      d.ReadDir(c, node, size, static_cast<uint64_t>(offset), info.fh, false);
    });
  }

  static void ReadDirPlus(fuse_req_t r, fuse_ino_t node, size_t size, off_t offset,
                          fuse_file_info* info) noexcept {
    Run(r, Op::kReaddirplus, node, {}, [=, info = *info](Dispatcher& d, Call& c) {
      d.ReadDir(c, node, size, static_cast<uint64_t>(offset), info.fh, true);
    });
  }

  static void ReleaseDir(fuse_req_t r, fuse_ino_t node, fuse_file_info* info) noexcept {
    Run(r, Op::kReleasedir, node, {}, [=, info = *info](Dispatcher& d, Call& c) {
      std::shared_ptr<OpenDirectory> last;
      {
        MutexLock lock(d.directories_mu_);
        if (const auto found = d.directories_.find(info.fh); found != d.directories_.end()) {
          last = std::move(found->second);
          d.directories_.erase(found);
        }
      }
      c.reply.Ok();
    });
  }

  static void StatFs(fuse_req_t r, fuse_ino_t node) noexcept {
    Run(r, Op::kStatfs, node, {}, [=](Dispatcher& d, Call& c) { d.StatFs(c); });
  }

  static void SetXattr(fuse_req_t r, fuse_ino_t node, const char* name, const char* value, size_t size,
                       int flags) noexcept {
    const auto set = [=](Dispatcher& d, Call& c, std::string_view of, std::string_view to) {
      d.SetXattr(c, node, of, to, flags);
    };
    Run(r, Op::kSetxattr, node, {}, set, std::string_view(name), std::string_view(value, size));
  }

  static void GetXattr(fuse_req_t r, fuse_ino_t node, const char* name, size_t size) noexcept {
    const auto get = [=](Dispatcher& d, Call& c, std::string_view of) { d.GetXattr(c, node, of, size); };
    Run(r, Op::kGetxattr, node, {}, get, std::string_view(name));
  }

  static void ListXattr(fuse_req_t r, fuse_ino_t node, size_t size) noexcept {
    Run(r, Op::kListxattr, node, {}, [=](Dispatcher& d, Call& c) { d.ListXattr(c, node, size); });
  }

  static void RemoveXattr(fuse_req_t r, fuse_ino_t node, const char* name) noexcept {
    const auto remove = [=](Dispatcher& d, Call& c, std::string_view of) { d.RemoveXattr(c, node, of); };
    Run(r, Op::kRemovexattr, node, {}, remove, std::string_view(name));
  }

  static void Create(fuse_req_t r, fuse_ino_t parent, const char* name, mode_t mode,
                     fuse_file_info* info) noexcept {
    Run(r, Op::kCreate, parent, name,
        [=, info = *info](Dispatcher& d, Call& c) { d.Create(c, parent, c.name(), mode, info); });
  }

  static void IoCtl(fuse_req_t r, fuse_ino_t, unsigned, void*, fuse_file_info*, unsigned, const void*, size_t,
                    size_t) noexcept {
    Self(r).requests_[static_cast<size_t>(Op::kIoctl)].fetch_add(1, std::memory_order_relaxed);
    fuse_reply_err(r, ENOTTY);
  }

  static void FAllocate(fuse_req_t r, fuse_ino_t node, int mode, off_t offset, off_t length,
                        fuse_file_info* info) noexcept {
    Run(r, Op::kFallocate, node, {}, [=, info = *info](Dispatcher& d, Call& c) {
      const Outcome<std::shared_ptr<OpenFile>> file = d.FileOf(c.request(), node, info);
      if (!file) return d.Answer(c, file.error());
      const Outcome<void> done =
          (*file)->handle->Allocate(mode, static_cast<uint64_t>(offset), static_cast<uint64_t>(length));
      if (!done) return d.Answer(c, done.error());
      c.reply.Ok();
    });
  }

  static void CopyFileRange(fuse_req_t r, fuse_ino_t from, off_t from_offset, fuse_file_info* from_info,
                            fuse_ino_t to, off_t to_offset, fuse_file_info* to_info, size_t length,
                            int) noexcept {
    Run(r, Op::kCopyFileRange, to, {},
        [=, from_info = *from_info, to_info = *to_info](Dispatcher& d, Call& c) {
          const Outcome<std::shared_ptr<OpenFile>> source = d.FileOf(c.request(), from, from_info);
          if (!source) return d.Answer(c, source.error());
          const Outcome<std::shared_ptr<OpenFile>> target = d.FileOf(c.request(), to, to_info);
          if (!target) return d.Answer(c, target.error());
          const Outcome<size_t> count =
              (*target)->handle->CopyFrom(*(*source)->handle, static_cast<uint64_t>(from_offset),
                                          static_cast<uint64_t>(to_offset), std::min(length, kMaxCopyBytes));
          if (!count) return d.Answer(c, count.error());
          c.reply.Written(*count);
        });
  }

  static void LSeek(fuse_req_t r, fuse_ino_t node, off_t offset, int whence, fuse_file_info* info) noexcept {
    Run(r, Op::kLseek, node, {}, [=, info = *info](Dispatcher& d, Call& c) {
      const Outcome<std::shared_ptr<OpenFile>> file = d.FileOf(c.request(), node, info);
      if (!file) return d.Answer(c, file.error());
      const Outcome<uint64_t> found = (*file)->handle->Seek(static_cast<uint64_t>(offset), whence);
      if (found) return c.reply.Offset(*found);
      if (found.error().errno_value != EOPNOTSUPP) return d.Answer(c, found.error());
      // lseek(2): a file that does not know its holes is all data, and has one hole at its end.
      const Outcome<Attr> attr = d.ZoneOf(node).GetAttr(c.request(), node);
      if (!attr) return d.Answer(c, attr.error());
      if (offset < 0 || offset >= attr->attr.st_size) return d.Answer(c, {ENXIO, "past the end"});
      c.reply.Offset(static_cast<uint64_t>(whence == SEEK_HOLE ? attr->attr.st_size : offset));
    });
  }
};

// Not implemented on purpose. FLUSH, FSYNCDIR and ACCESS: ENOSYS makes the kernel stop asking (nothing needs
// to be flushed, directories become durable by a commit, and the kernel checks mode bits by itself). Locks
// and poll: the kernel's own are right for a mount that only this host sees.
const fuse_lowlevel_ops& Dispatcher::Operations() {
  static const fuse_lowlevel_ops operations = [] {
    fuse_lowlevel_ops ops = {};
    ops.lookup = Callbacks::Lookup;
    ops.forget = Callbacks::Forget;
    ops.forget_multi = Callbacks::ForgetMulti;
    ops.getattr = Callbacks::GetAttr;
    ops.setattr = Callbacks::SetAttr;
    ops.readlink = Callbacks::ReadLink;
    ops.mknod = Callbacks::MkNod;
    ops.mkdir = Callbacks::MkDir;
    ops.unlink = Callbacks::Unlink;
    ops.rmdir = Callbacks::RmDir;
    ops.symlink = Callbacks::SymLink;
    ops.rename = Callbacks::Rename;
    ops.link = Callbacks::Link;
    ops.open = Callbacks::Open;
    ops.read = Callbacks::Read;
    ops.write = Callbacks::Write;
    ops.release = Callbacks::Release;
    ops.fsync = Callbacks::FSync;
    ops.opendir = Callbacks::OpenDir;
    ops.readdir = Callbacks::ReadDir;
    ops.readdirplus = Callbacks::ReadDirPlus;
    ops.releasedir = Callbacks::ReleaseDir;
    ops.statfs = Callbacks::StatFs;
    ops.setxattr = Callbacks::SetXattr;
    ops.getxattr = Callbacks::GetXattr;
    ops.listxattr = Callbacks::ListXattr;
    ops.removexattr = Callbacks::RemoveXattr;
    ops.create = Callbacks::Create;
    ops.ioctl = Callbacks::IoCtl;
    ops.fallocate = Callbacks::FAllocate;
    ops.copy_file_range = Callbacks::CopyFileRange;
    ops.lseek = Callbacks::LSeek;
    return ops;
  }();
  return operations;
}

}  // namespace modelfs::fs
