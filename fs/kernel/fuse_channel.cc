#include "fs/kernel/fuse_channel.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/privileges.h"
#include "cas/base/thread.h"
#include "fs/base/thread_signals.h"
#include "fs/kernel/fuse_wire.h"
#include "fs/kernel/mount_point.h"

namespace modelfs::fs {
namespace {

constexpr auto kDrainTime = std::chrono::seconds(5);
// The bytes of a write or a read: the kernel's own limit is 256 pages (FUSE_MAX_MAX_PAGES).
constexpr unsigned kMaxWriteBytes = 1U << 20U;
// Readahead that the kernel waits for at a time; with that many on their way it sends none, not even of files
// that are here. So this bounds what may wait for other hosts, and its pages (1 MiB each at the most).
constexpr unsigned kMaxBackground = 1024;

// Options that the kernel itself implements for every mount: for mount(2) and for fusermount3(1).
struct KernelOption {
  bool FuseChannel::Options::*set;
  unsigned long flag;
  const char* word;
};
constexpr std::array kKernelOptions = {
    KernelOption{&FuseChannel::Options::read_only, MS_RDONLY, "ro"},
    KernelOption{&FuseChannel::Options::no_exec, MS_NOEXEC, "noexec"},
    KernelOption{&FuseChannel::Options::no_atime, MS_NOATIME, "noatime"},
    KernelOption{&FuseChannel::Options::synchronous, MS_SYNCHRONOUS, "sync"},
};

int WakeSignal() { return SIGRTMIN + 5; }

// The INIT exchange happens inside Mount, on its thread. libfuse's hooks get only the userdata, which is the
// caller's, so they find the exchange that they must change through this pointer.
struct InitExchange {
  bool want_links_kept = false;
  bool want_acls = false;
  bool kernel_has_acls = false;
  bool want_passthrough = false;
  bool kernel_passes_through = false;
  uint32_t kernel_flags = 0;  // what it offered
  uint64_t unique = 0;
};
thread_local InitExchange* init_exchange = nullptr;

#if FUSE_VERSION < FUSE_MAKE_VERSION(3, 17)
// A libfuse without passthrough: these hooks change the INIT exchange on its way.
ssize_t ReadHook(int fd, void* buffer, size_t size_bytes, void* /*userdata*/) noexcept {
  const ssize_t count = ::read(fd, buffer, size_bytes);
  if (init_exchange != nullptr &&
      count >= static_cast<ssize_t>(sizeof(wire::InHeader) + sizeof(wire::InitIn))) {
    wire::InHeader header;
    wire::InitIn init;
    std::memcpy(&header, buffer, sizeof(header));
    std::memcpy(&init, static_cast<const char*>(buffer) + sizeof(header), sizeof(init));
    if (header.opcode == wire::kOpInit) {
      init_exchange->unique = header.unique;
      init_exchange->kernel_flags = init.flags;
      init_exchange->kernel_passes_through =
          (init.flags & wire::kInitExt) != 0 && (init.flags2 & wire::kPassthroughInFlags2) != 0;
    }
  }
  return count;
}

ssize_t WriteHook(int fd, iovec* parts, int count, void* /*userdata*/) noexcept {
  if (init_exchange == nullptr || count != 2 || parts[0].iov_len != sizeof(wire::OutHeader) ||
      parts[1].iov_len != sizeof(wire::InitOut)) {
    return ::writev(fd, parts, count);
  }
  wire::OutHeader header;
  std::memcpy(&header, parts[0].iov_base, sizeof(header));
  if (header.unique != init_exchange->unique || header.error != 0) return ::writev(fd, parts, count);
  wire::InitOut init;
  std::memcpy(&init, parts[1].iov_base, sizeof(init));
  // Set-id bits cannot exist here, so no write has to clear them. Without this flag the kernel asks for
  // security.capability before every write.
  init.flags |= wire::kHandleKillPrivV2;
  // This libfuse asks for it (FUSE_CAP_PARALLEL_DIROPS) and leaves it out of its reply. Without it one LOOKUP
  // that waits for another host would hold up all others in its directory.
  init.flags |= init_exchange->kernel_flags & wire::kParallelDirOps;
  if (init_exchange->want_passthrough && init_exchange->kernel_passes_through) {
    init.flags |= wire::kInitExt;
    init.flags2 |= wire::kPassthroughInFlags2;
    init.max_stack_depth = 1;
  }
  iovec changed[2] = {parts[0], {&init, sizeof(init)}};
  return ::writev(fd, changed, 2);
}

ssize_t SpliceHook(int in, off_t* in_offset, int out, off_t* out_offset, size_t size_bytes, unsigned flags,
                   void* /*userdata*/) noexcept {
  return ::splice(in, in_offset, out, out_offset, size_bytes, flags);
}
#endif

void OnInit(void* /*userdata*/, fuse_conn_info* connection) noexcept {
  const unsigned capable = connection->capable;
  unsigned want = connection->want;
  const auto ask = [&](unsigned flag) { want |= capable & flag; };
  ask(FUSE_CAP_ASYNC_READ);
  ask(FUSE_CAP_ATOMIC_O_TRUNC);
  ask(FUSE_CAP_READDIRPLUS);
  // Not "auto": `ls -l` and `find -size` list a directory first and look at its entries afterwards. The
  // kernel's heuristic takes that for a plain listing, and each entry then costs a LOOKUP.
  want &= ~unsigned{FUSE_CAP_READDIRPLUS_AUTO};
  ask(FUSE_CAP_PARALLEL_DIROPS);
  // A read(2) with O_DIRECT would wait for its parts uninterruptibly (Linux fs/fuse/file.c, fuse_direct_IO):
  // a reader of bytes on another host could not be killed.
  want &= ~unsigned{FUSE_CAP_ASYNC_DIO};
  // Not on a shared mount. The kernel would show a link that one user has read to every user that it lets
  // look at it, but the registry decides at each READLINK.
  want &= ~unsigned{FUSE_CAP_CACHE_SYMLINKS};
  if (init_exchange->want_links_kept) ask(FUSE_CAP_CACHE_SYMLINKS);
  ask(FUSE_CAP_HANDLE_KILLPRIV);
  // Only on a shared mount. On a private one the kernel checks mode bits by the mount option
  // default_permissions, and `ls -l` needs to learn only once that ACLs do not exist here.
  want &= ~unsigned{FUSE_CAP_POSIX_ACL};
  init_exchange->kernel_has_acls = (capable & FUSE_CAP_POSIX_ACL) != 0;
  if (init_exchange->want_acls) ask(FUSE_CAP_POSIX_ACL);
  ask(FUSE_CAP_SPLICE_WRITE);
  ask(FUSE_CAP_SPLICE_MOVE);
  // Pages are dropped when a zone asks for it at OPEN, and never because a tag changed a directory's times.
  ask(FUSE_CAP_EXPLICIT_INVAL_DATA);
  if ((capable & FUSE_CAP_EXPLICIT_INVAL_DATA) != 0) want &= ~unsigned{FUSE_CAP_AUTO_INVAL_DATA};
  // A write-back cache would accept bytes that the disk has no room for.
  want &= ~unsigned{FUSE_CAP_WRITEBACK_CACHE};
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  ask(FUSE_CAP_HANDLE_KILLPRIV_V2);  // as WriteHook
  init_exchange->kernel_passes_through = (capable & FUSE_CAP_PASSTHROUGH) != 0;
  if (init_exchange->want_passthrough && init_exchange->kernel_passes_through) {
    want |= FUSE_CAP_PASSTHROUGH;
    connection->max_backing_stack_depth = 1;
  }
#endif
  connection->want = want;
  connection->max_write = kMaxWriteBytes;
  connection->max_background = kMaxBackground;
  connection->congestion_threshold = kMaxBackground * 3 / 4;
}

class Channel : public FuseChannel {
 public:
  Channel(const Options& options, std::shared_ptr<spdlog::logger> log)
      : options_(options), log_(std::move(log)) {}

  ~Channel() override {
    if (mounted_ && IsThere()) {
      Detach(options_.mount_point, true).IgnoreError("an unmount from outside may have been quicker");
    }
    if (session_ != nullptr) fuse_session_destroy(session_);
  }

  Status Open(const fuse_lowlevel_ops& operations, void* userdata);

  Status Loop(const std::function<void()>& ready) override;
  void Stop() override {
    const uint64_t one = 1;
    // Async-signal-safe. One or two calls cannot fill an eventfd's counter.
    [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
  }

  bool passthrough() const override { return passthrough_; }
  const std::string& passthrough_reason() const override { return passthrough_reason_; }

  Result<int32_t> OpenBacking(int fd) override {
    wire::BackingMap map = {};
    map.fd = fd;
    const int id = ::ioctl(fuse_session_fd(session_), wire::BackingOpenCommand(), &map);
    if (id > 0) return id;
    const int errno_value = id == 0 ? EINVAL : errno;
    if (errno_value == EPERM || errno_value == EACCES) {
      return Error(Code::kPermissionDenied, "passthrough: the kernel requires CAP_SYS_ADMIN for it");
    }
    return Error(Code::kUnimplemented, fmt::format("passthrough: {}", std::strerror(errno_value)));
  }

  void CloseBacking(int32_t backing_id) override {
    auto id = static_cast<uint32_t>(backing_id);
    ::ioctl(fuse_session_fd(session_), wire::BackingCloseCommand(), &id);
  }

  bool ReplyOpenNative(fuse_req* request, const fuse_file_info& info, int32_t backing_id) override {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    // Without keep_cache, which `info` may hold: together with passthrough the kernel returns EIO
    // (fs/kernel/fuse_wire.h).
    fuse_file_info native = {};
    native.fh = info.fh;
    native.noflush = info.noflush;
    native.backing_id = backing_id;
    return fuse_reply_open(request, &native) == 0;
#else
    wire::OpenOut open = {};
    open.handle = info.fh;
    open.open_flags = wire::kOpenPassthrough;
    if (info.noflush != 0) open.open_flags |= wire::kOpenNoFlush;
    open.backing_id = backing_id;
    return fuse_reply_buf(request, reinterpret_cast<const char*>(&open), sizeof(open)) == 0;
#endif
  }

  void InvalidateEntry(NodeId parent, std::string_view name) override {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 16)
    const int result = fuse_lowlevel_notify_expire_entry(session_, parent, name.data(), name.size());
#else
    const int result =
        fuse_lowlevel_notify_expire_entry(session_, parent, name.data(), name.size(), FUSE_LL_EXPIRE_ONLY);
#endif
    if (result == -ENOSYS) fuse_lowlevel_notify_inval_entry(session_, parent, name.data(), name.size());
  }

  void InvalidateAttr(NodeId node) override {
    if (node != kRootNode) fuse_lowlevel_notify_inval_inode(session_, node, -1, 0);
  }

 private:
  // Mounts by mount(2), which passthrough needs. kPermissionDenied if only fusermount3 may mount.
  Result<Fd> MountByHand();
  Status ExchangeInit();
  void ProbePassthrough(const InitExchange& exchange);
  void RaiseReadAhead();
  // Whether our mount is the one at our mount point: another process may have detached it lazily and mounted
  // something else there. True if that cannot be known.
  bool IsThere() const;
  void Serve();
  void StartWorker() REQUIRES(mu_);

  Options options_;  // with a canonical mount point
  const std::shared_ptr<spdlog::logger> log_;
  fuse_session* session_ = nullptr;
  bool mounted_ = false;
  std::string device_;  // the mount's, as in MountEntry
  bool passthrough_ = false;
  std::string passthrough_reason_;
  Fd wake_;  // eventfd: Stop was called, or the last worker ended

  Mutex mu_;
  CondVar changed_;
  std::vector<std::thread> workers_ GUARDED_BY(mu_);
  int running_ GUARDED_BY(mu_) = 0;
  std::atomic<int> idle_{0};
  bool stopping_ GUARDED_BY(mu_) = false;
};

Result<Fd> Channel::MountByHand() {
  Fd device;
  if (options_.device != nullptr) device = std::move(*options_.device);
  if (!device.valid()) {
    ASSIGN_OR_RETURN(device, OpenDevice());
  }
  std::string data = fmt::format("fd={},rootmode=40000,user_id={},group_id={},default_permissions",
                                 device.get(), ::geteuid(), ::getegid());
  if (options_.allow_other) data += ",allow_other";
  unsigned long flags = MS_NOSUID | MS_NODEV;
  for (const KernelOption& option : kKernelOptions) {
    if (options_.*option.set) flags |= option.flag;
  }
  ASSIGN_OR_RETURN(const Fd directory, HoldMountPoint(options_.mount_point));
  const std::string target = fmt::format("/proc/self/fd/{}", directory.get());
  if (::mount(options_.source.c_str(), target.c_str(), kMountType, flags, data.c_str()) != 0) {
    const int errno_value = errno;
    if (errno_value == ENODEV) {
      return Error(Code::kPermissionDenied,
                   "mount: this kernel has no FUSE; load its fuse module (modprobe fuse)");
    }
    return ErrnoError(errno_value, fmt::format("mount {}", options_.mount_point));
  }
  mounted_ = true;
  return device;
}

Status Channel::Open(const fuse_lowlevel_ops& operations, void* userdata) {
  wake_ = Fd(::eventfd(0, EFD_CLOEXEC));
  if (!wake_.valid()) return ErrnoError(errno, "mount: eventfd");

  std::vector<std::string> words = {"modelfs"};
  Fd device;
  if (HasAdminCapability()) {
    Result<Fd> mounted = MountByHand();
    if (mounted.ok()) {
      device = *std::move(mounted);
    } else if (mounted.error().code() != Code::kPermissionDenied) {
      return std::move(mounted).error();
    }
  }
  if (!mounted_) {
    RETURN_IF_ERROR(OpenDevice());  // libfuse would report the reason on stderr, and not to us
    // fusermount3 splits options at commas, so a source that contains one cannot be passed.
    std::string source = options_.source.find(',') == std::string::npos ? options_.source : "modelfs";
    words.emplace_back("-o");
    std::string text = fmt::format("default_permissions,subtype=modelfs,fsname={}{}", source,
                                   options_.allow_other ? ",allow_other" : "");
    for (const KernelOption& option : kKernelOptions) {
      if (options_.*option.set) text += fmt::format(",{}", option.word);
    }
    words.push_back(std::move(text));
  }
  std::vector<char*> arguments;
  arguments.reserve(words.size());
  for (std::string& word : words) arguments.push_back(word.data());
  fuse_args args = FUSE_ARGS_INIT(static_cast<int>(arguments.size()), arguments.data());
  fuse_lowlevel_ops with_init = operations;
  with_init.init = OnInit;
  session_ = fuse_session_new(&args, &with_init, sizeof(with_init), userdata);
  fuse_opt_free_args(&args);
  if (session_ == nullptr) return Error(Code::kInternal, "mount: libfuse refused to make a session");

  if (!mounted_) {
    if (fuse_session_mount(session_, options_.mount_point.c_str()) != 0) {
      return Error(
          Code::kPermissionDenied,
          fmt::format("mount {}: fusermount3 refused; install the package fuse3, own the directory, and "
                      "for allow_other have user_allow_other in /etc/fuse.conf",
                      options_.mount_point));
    }
    mounted_ = true;
  }
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  if (device.valid()) {
    // libfuse takes over an existing mount by this name (fuse_session_mount in fuse_lowlevel.h).
    const std::string name = fmt::format("/dev/fd/{}", device.get());
    if (fuse_session_mount(session_, name.c_str()) != 0) {
      return Error(Code::kInternal, "mount: libfuse refused the descriptor");
    }
    static_cast<void>(device.Release());  // the session closes it
  }
#else
  static const fuse_custom_io io = {WriteHook, ReadHook, nullptr, SpliceHook};
  const int fd = device.valid() ? device.get() : fuse_session_fd(session_);
  if (fuse_session_custom_io(session_, &io, fd) != 0) {
    return Error(Code::kInternal, "mount: libfuse refused the descriptor");
  }
  static_cast<void>(device.Release());  // the session closes it
#endif
  RETURN_IF_ERROR(ExchangeInit());
  RaiseReadAhead();
  if (const std::optional<MountEntry> mount = FindMount(options_.mount_point)) device_ = mount->device;
  return OkStatus();
}

bool Channel::IsThere() const {
  const Result<std::vector<MountEntry>> mounts = ReadMountInfo();
  if (device_.empty() || !mounts.ok()) return true;
  const auto top = std::find_if(mounts->rbegin(), mounts->rend(),
                                [&](const MountEntry& mount) { return mount.path == options_.mount_point; });
  return top != mounts->rend() && top->device == device_;
}

Status Channel::ExchangeInit() {
  InitExchange exchange;
  exchange.want_links_kept = !options_.allow_other;
  exchange.want_acls = options_.posix_acls;
  exchange.want_passthrough = options_.passthrough && HasAdminCapability();
  fuse_buf buffer = {};
  init_exchange = &exchange;
  int count = 0;
  do {
    count = fuse_session_receive_buf(session_, &buffer);
  } while (count == -EINTR);
  if (count > 0) fuse_session_process_buf(session_, &buffer);
  init_exchange = nullptr;
  std::free(buffer.mem);
  if (count <= 0 || fuse_session_exited(session_) != 0) {
    return Error(Code::kPermissionDenied,
                 fmt::format("mount {}: the kernel ended the session at once", options_.mount_point));
  }
  if (exchange.want_acls && !exchange.kernel_has_acls) {
    return Error(
        Code::kUnimplemented,
        fmt::format("mount {}: this kernel enforces no ACLs on a FUSE mount, so nobody else may use it; "
                    "mount without allow_other",
                    options_.mount_point));
  }
  ProbePassthrough(exchange);
  return OkStatus();
}

void Channel::ProbePassthrough(const InitExchange& exchange) {
  if (!options_.passthrough) {
    passthrough_reason_ = "switched off";
  } else if (!exchange.want_passthrough) {
    passthrough_reason_ = "it needs CAP_SYS_ADMIN, which a mount by root has";
  } else if (!exchange.kernel_passes_through) {
    passthrough_reason_ = "this kernel cannot (Linux 6.9 and later with CONFIG_FUSE_PASSTHROUGH can)";
  } else {
    const Fd file(::memfd_create("passthrough probe", MFD_CLOEXEC));
    const Result<int32_t> id = OpenBacking(file.get());
    if (id.ok()) {
      CloseBacking(*id);
      passthrough_ = true;
    } else {
      passthrough_reason_ = id.error().message();
    }
  }
  if (passthrough_) {
    log_->info("passthrough mode=native");
  } else {
    log_->info("passthrough mode=cached reason=\"{}\"", passthrough_reason_);
  }
}

void Channel::RaiseReadAhead() {
  if (options_.read_ahead_kib == 0) return;
  const Status raised = SetReadAhead(options_.mount_point, options_.read_ahead_kib);
  if (!raised.ok()) log_->debug("read_ahead_unchanged error=\"{}\"", raised.error().message());
}

void Channel::StartWorker() {
  std::thread worker = TryStartThread([this] { Serve(); });
  if (!worker.joinable()) return;  // the running threads serve on
  ++running_;
  workers_.push_back(std::move(worker));
}

void Channel::Serve() {
  LeaveSignalsToOthers(WakeSignal());

  fuse_buf buffer = {};
  while (fuse_session_exited(session_) == 0) {
    idle_.fetch_add(1);
    const int count = fuse_session_receive_buf(session_, &buffer);
    const bool was_last = idle_.fetch_sub(1) == 1;
    if (count == -EINTR) continue;
    if (count <= 0) break;  // unmounted, or (after Stop) no request is left
    if (was_last) {
      MutexLock lock(mu_);
      if (!stopping_ && running_ < options_.max_threads) StartWorker();
    }
    fuse_session_process_buf(session_, &buffer);
  }
  std::free(buffer.mem);

  MutexLock lock(mu_);
  --running_;
  changed_.NotifyAll();
  if (running_ == 0) Stop();
}

Status Channel::Loop(const std::function<void()>& ready) {
  struct sigaction wake = {};
  wake.sa_handler = [](int) {};  // without SA_RESTART: read(2) returns
  sigaction(WakeSignal(), &wake, nullptr);
  {
    MutexLock lock(mu_);
    // Two from the start: a request that waits for another one (a readahead behind a read) must find a free
    // thread.
    StartWorker();
    StartWorker();
  }
  if (ready) ready();

  uint64_t count = 0;
  while (::read(wake_.get(), &count, sizeof(count)) < 0 && errno == EINTR) {
  }

  const auto deadline = std::chrono::steady_clock::now() + kDrainTime;
  Status detached;
  {
    MutexLock lock(mu_);
    stopping_ = true;
    // The kernel ended the session: any file system mounted there now is not ours to detach.
    if (fuse_session_exited(session_) != 0) mounted_ = false;
  }
  if (mounted_ && IsThere()) detached = Detach(options_.mount_point, true);
  mounted_ = false;
  // Earlier requests are answered: the threads read until none is left, and the signal wakes those that wait.
  const int fd = fuse_session_fd(session_);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  std::vector<std::thread> workers;
  {
    MutexLock lock(mu_);
    for (std::thread& worker : workers_) ::pthread_kill(worker.native_handle(), WakeSignal());
    while (running_ > 0 && changed_.WaitUntil(mu_, deadline)) {
    }
    // A process that still reads or writes files it holds open delays the end no longer than this.
    fuse_session_exit(session_);
    while (running_ > 0) changed_.Wait(mu_);
    workers.swap(workers_);
  }
  for (std::thread& worker : workers) worker.join();
  return detached;
}

}  // namespace

Result<std::unique_ptr<FuseChannel>> FuseChannel::Mount(const Options& options,
                                                        const fuse_lowlevel_ops& operations, void* userdata,
                                                        std::shared_ptr<spdlog::logger> log) {
  auto channel = std::make_unique<Channel>(options, std::move(log));
  RETURN_IF_ERROR(channel->Open(operations, userdata));
  return std::unique_ptr<FuseChannel>(std::move(channel));
}

}  // namespace modelfs::fs
