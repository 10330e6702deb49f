// mount and umount.
#include <fmt/core.h>
#include <poll.h>
#include <pthread.h>
#include <spdlog/logger.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <mutex>
#include <optional>
#include <stop_token>
#include <system_error>
#include <thread>

#include "cas/base/clock.h"
#include "cas/base/fd.h"
#include "cas/base/text.h"
#include "cas/base/thread.h"
#include "fs/mount_daemon.h"
#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/commands/read_ahead.h"
#include "tools/detach.h"
#include "tools/gc.h"
#include "tools/mount_options.h"
#include "tools/mounts.h"

namespace modelfs::tools {
namespace {

namespace files = std::filesystem;

// The absolute path without symlinks. It also works for a dead mount, which cannot be opened, and for one
// that hangs, which the kernel would ask if a slash followed.
std::string MountPointPath(std::string given) {
  while (given.size() > 1 && given.back() == '/') given.pop_back();
  std::error_code failure;
  files::path whole = files::canonical(given, failure);
  if (!failure) return whole.string();
  whole = files::absolute(given, failure).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();  // "MNT/."
  const files::path parent = files::canonical(whole.parent_path(), failure);
  return failure ? whole.string() : (parent / whole.filename()).string();
}

// For root, mounting another user's registry. A link on the way to the mount point may belong to that user,
// and would put the mount over any directory of the host.
Status CheckNoLinks(const std::string& given, const std::string& canonical) {
  std::error_code failure;
  files::path whole = files::absolute(given, failure).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  if (!failure && whole == canonical) return OkStatus();
  return Error(
      Code::kFailedPrecondition,
      fmt::format("{} leads through a symbolic link, and root does not mount another user's registry "
                  "through one; if you mean {}, name that",
                  whole.string(), canonical));
}

// The topmost modelfs mount at exactly this path.
Result<std::optional<MountPoint>> MountAt(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<MountPoint> mounts, ReadMounts());
  std::optional<MountPoint> found;
  for (const MountPoint& mount : mounts) {
    if (mount.path == path) found = mount;
  }
  return found;
}

// Handles this process's signals in a thread of its own, so that a handler may call any function. Construct
// it while the process has only one thread: later threads inherit the blocked signals.
class SignalThread {
 public:
  SignalThread() {
    sigemptyset(&signals_);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&signals_, signal);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
  }
  ~SignalThread() {
    if (!thread_.joinable()) return;
    thread_.request_stop();
    pthread_kill(thread_.native_handle(), SIGUSR2);
    thread_.join();
  }
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

  void Start(spdlog::logger& log, fs::MountDaemon& daemon) {
    thread_ = std::jthread([this, &log, &daemon](const std::stop_token& stop) {
      while (true) {
        int signal = 0;
        if (sigwait(&signals_, &signal) != 0) continue;
        if (stop.stop_requested()) return;
        if (signal == SIGUSR1 || signal == SIGUSR2) {
          StepLogLevel(log, signal == SIGUSR1 ? LogStep::kMore : LogStep::kLess);
          continue;
        }
        log.info("stopping signal={}", signal);
        sd_notify(0, "STOPPING=1");
        daemon.Stop();
      }
    });
  }

 private:
  sigset_t signals_{};
  std::jthread thread_;
};

// Each file that a reader has open takes one of our descriptors.
void RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Gives this thread the lowest ordinary priority at the disks (if the I/O scheduler heeds it) and a low one
// at the processors. It still gets its turn on a busy machine, because the end of the mount waits for it.
void YieldToOthers() {
  constexpr int kIoprioWhoProcess = 1;
  constexpr int kIoprioLast = (2 << 13) | 7;  // ioprio_set(2): IOPRIO_CLASS_BE, the lowest level
  (void)::syscall(SYS_ioprio_set, kIoprioWhoProcess, 0, kIoprioLast);
  constexpr int kNice = 10;
  (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
}

void Reclaim(LocalHome& home, const std::stop_token& stop) {
  const Result<Garbage> garbage = SweepHome(home, false, stop);
  if (!garbage.ok() && garbage.error().code() == Code::kCancelled) return;  // the next mount or gc does it
  if (!garbage.ok()) {
    home.log->warn("sweep_failed error=\"{}\"", garbage.error().message());
  } else {
    home.log->info("swept blobs_removed={} bytes_removed={} blobs_held_back={} drafts_removed={}",
                   garbage->blobs.blobs_removed, garbage->blobs.bytes_removed, garbage->blobs.blobs_held_back,
                   garbage->drafts.drafts);
  }
}

// Keeps the audit log small while the mount is up.
class AuditTender {
 public:
  explicit AuditTender(LocalHome& home)
      : thread_(TryStartThread([this, &home] { Run(home, stop_.get_token()); })) {}
  ~AuditTender() {
    stop_.request_stop();
    if (thread_.joinable()) thread_.join();
  }
  AuditTender(const AuditTender&) = delete;
  AuditTender& operator=(const AuditTender&) = delete;

 private:
  static void Run(LocalHome& home, const std::stop_token& stop) {
    // A check reads four records. Between two checks, a log that records every open grows by some MiB.
    constexpr std::chrono::seconds kCheckEvery{5};
    std::mutex mu;
    std::condition_variable_any changed;
    std::unique_lock lock(mu);
    while (!stop.stop_requested()) {
      if (TendAuditLog(home, store::EmbeddedRegistry::Tending::kDue) > 0) continue;
      changed.wait_for(lock, stop, kCheckEvery, [] { return false; });
    }
  }

  std::stop_source stop_;
  std::thread thread_;  // not running if the host has no more threads: commands then tend the log
};

// The log of a mount in the background, in its registry's home.
constexpr const char* kLogName = "mount.log";

Status Serve(const std::string& home_path, const fs::MountOptions& options, LogOptions log_options,
             const HomeOptions& home_options, const std::function<void()>& on_ready) {
  SignalThread signals;
  RaiseFileLimit();
  ReadAheadKeeper read_ahead;
  fs::MountOptions mounting = options;
  if (WouldBecomeOwnerOf(home_path)) {
    mounting.no_links = true;
    read_ahead.Start(options.mount_point, options.read_ahead_kib);
    ASSIGN_OR_RETURN(Fd device, fs::OpenDevice());
    mounting.device = std::make_shared<Fd>(std::move(device));
  }
  RETURN_IF_ERROR(BecomeOwnerOf(home_path));
  ASSIGN_OR_RETURN(HeldHome held, HoldHome(home_path));  // before a log is created in it
  std::unique_ptr<MountRegistration> registration;
  if (log_options.file == home_path + "/" + kLogName) log_options.file = held.files + "/" + kLogName;
  ASSIGN_OR_RETURN(const std::shared_ptr<spdlog::logger> log, MakeLogger(log_options));
  ExplainMapFaults(log_options);
  ASSIGN_OR_RETURN(const std::unique_ptr<LocalHome> home,
                   OpenHome(std::move(held), "mount " + options.mount_point, log, home_options));
  // From here on this process acts for callers that the kernel names, or maintains the registry itself.
  fs::MountParts parts;
  ASSIGN_OR_RETURN(parts.speaker,
                   home->embedded->AdmitMount(
                       home->caller, options.mount_point,
                       options.allow_other ? store::Speaker::For::kLocalUsers : store::Speaker::For::kOwner));
  home->caller = home->embedded->ForUpkeep(home->caller);
  parts.registry = home->registry;
  parts.governance = home->governance;
  parts.journal = home->journal;
  parts.leases = home->leases;
  parts.daemon = home->caller;
  parts.identities = home->identities.get();
  parts.blobs = home->local_blobs.get();
  parts.drafts = home->drafts.get();
  parts.log = log;
  parts.reclaim = [&home](const std::stop_token& stop) { Reclaim(*home, stop); };
  if (mounting.scrub_period_ms > 0) {
    parts.scrub = [&home, &mounting](const std::stop_token& stop) {
      cas::ScrubOptions scrubbing;
      YieldToOthers();
      scrubbing.period = std::chrono::milliseconds(mounting.scrub_period_ms);
      home->local_blobs->Scrub(scrubbing, stop);
    };
  }
  parts.scrubbed = [&home] { return home->local_blobs->Scrubbed(); };
  ASSIGN_OR_RETURN(const std::unique_ptr<fs::MountDaemon> daemon, fs::MountDaemon::Mount(parts, mounting));
  signals.Start(*log, *daemon);
  const AuditTender tender(*home);

  Status served = daemon->Serve([&] {
    read_ahead.MountIsUp();
    Result<std::unique_ptr<MountRegistration>> written =
        MountRegistration::Write(home->files, options.mount_point, SystemClock().NowMs());
    if (written.ok()) {
      registration = std::move(*written);
    } else {
      log->warn("mount_not_recorded error=\"{}\"", written.error().message());
    }
    sd_notifyf(0, "READY=1\nMAINPID=%ld\nSTATUS=serving %s", static_cast<long>(::getpid()),
               options.mount_point.c_str());
    on_ready();
  });
  if (!served.ok()) {
    log->error("mount_failed mount_point={} error=\"{}\"", options.mount_point, served.error().message());
  }
  return served;
}

// --- mount ---

struct MountArguments {
  std::vector<std::string> where;  // [HOME] MNT
  std::vector<std::string> options;
  bool detach = false;
};

Status RunMount(const Cli& cli, const MountArguments& arguments) {
  const bool home_given = arguments.where.size() == 2;
  if (home_given && !cli.globals.registry.empty()) {
    return Error(Code::kInvalidArgument,
                 "mount was given two registries; name it once: modelfs mount HOME MNT");
  }
  fs::MountOptions options;
  HomeOptions home_options = cli.globals.home;
  RETURN_IF_ERROR(ApplyMountOptions(arguments.options, options, home_options));
  if (home_given && arguments.where[0].empty()) {
    return Error(Code::kInvalidArgument, "the registry's name is empty; name it: modelfs mount HOME MNT");
  }
  if (arguments.where.back().empty()) {
    return Error(Code::kInvalidArgument,
                 "the mount point's name is empty; name an existing directory: modelfs mount HOME MNT");
  }
  Result<std::string> found =
      HomePath(home_given ? std::string_view(arguments.where[0]) : cli.globals.registry);
  if (!found.ok() && !home_given) {
    return Error(found.error().code(), fmt::format("a single argument is the mount point, here {}; {}",
                                                   Printable(arguments.where[0]), found.error().message()));
  }
  ASSIGN_OR_RETURN(const std::string home, std::move(found));
  options.mount_point = MountPointPath(arguments.where.back());
  options.source = home;
  if (IsWithin(home, options.mount_point)) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} holds the registry {}: mounting there would hide it from its own mount",
                             options.mount_point, home));
  }
  if (IsWithin(options.mount_point, home)) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} lies in the registry {}: mounting there would hide a part of it from every "
                             "command; mount on a directory outside",
                             options.mount_point, home));
  }
  if (WouldBecomeOwnerOf(home)) {
    RETURN_IF_ERROR(CheckNoLinks(arguments.where.back(), options.mount_point));
  }
  ASSIGN_OR_RETURN(const std::optional<MountPoint> below, MountAt(options.mount_point));
  // This ends a killed daemon. The mount itself then finds and replaces the dead mount point, as any other.
  if (below) RETURN_IF_ERROR(EndIfKilled(*below));
  LogOptions log = cli.globals.log;
  if (!cli.globals.log_level_given) log.level = "info";
  if (!home_options.identity_map.empty()) {
    std::error_code failure;
    if (const files::path whole = files::absolute(home_options.identity_map, failure); !failure)
      home_options.identity_map = whole.string();
  }
  if (!arguments.detach) return Serve(home, options, log, home_options, [] {});

  // Until the mount is ready, an error reaches the terminal; after that it has no terminal.
  if (log.file.empty()) log.file = home + "/" + kLogName;
  std::error_code failure;
  if (const files::path whole = files::absolute(log.file, failure); !failure) log.file = whole.string();
  return RunDetached([&](Waiter& waiter) -> Status {
    if (::chdir("/") != 0) return ErrnoError(errno, "/: chdir");  // keep no other file system busy
    return Serve(home, options, log, home_options, [&waiter] { waiter.Ready(); });
  });
}

// --- umount ---

struct UmountArguments {
  std::string mount_point;
  bool lazy = false;
};

// How long umount waits for the daemon to finish after the mount is gone from the tree.
constexpr std::chrono::seconds kDrainWait{10};

Status RunUmount(const Cli& /*cli*/, const UmountArguments& arguments) {
  const std::string mount_point = MountPointPath(arguments.mount_point);
  ASSIGN_OR_RETURN(const std::optional<MountPoint> mount, MountAt(mount_point));
  if (mount) {
    ASSIGN_OR_RETURN(const bool killed, EndIfKilled(*mount));
    if (killed) {
      ASSIGN_OR_RETURN(const std::optional<MountPoint> left, MountAt(mount_point));
      return left ? fs::Unmount(mount_point, true)
                  : OkStatus();  // processes that waited for it may still use it
    }
  }
  const std::optional<pid_t> daemon = mount && !arguments.lazy ? DaemonOf(*mount) : std::nullopt;
  const Fd process(daemon ? static_cast<int>(::syscall(SYS_pidfd_open, *daemon, 0)) : -1);
  RETURN_IF_ERROR(fs::Unmount(mount_point, arguments.lazy));
  if (!process.valid()) return OkStatus();
  // Returns only when the registry is at rest: scripts go on to copy it, or to mount it again.
  pollfd ended = {.fd = process.get(), .events = POLLIN, .revents = 0};
  if (::poll(&ended, 1, static_cast<int>(std::chrono::milliseconds(kDrainWait).count())) > 0)
    return OkStatus();
  return Error(
      Code::kDeadlineExceeded,
      fmt::format("{} is unmounted, but its process {} has not ended yet and still has its drafts; wait "
                  "for it before you mount {} there again, or end it with kill {}",
                  mount_point, *daemon, mount->source, *daemon));
}

}  // namespace

void AddMountCommands(Cli& cli) {
  {
    auto arguments = std::make_shared<MountArguments>();
    CLI::App* command =
        AddCommand(*cli.app, "mount", "Mount a registry; runs until it is unmounted or stopped",
                   "modelfs mount ~/registry /models -d");
    command
        ->add_option("MNT", arguments->where,
                     "The registry (default: -r or $MODELFS_REGISTRY), and an existing directory")
        ->required()
        ->expected(1, 2)
        ->option_text("[HOME] MNT");
    command->add_flag("-d,--detach", arguments->detach,
                      "Go into the background when the mount is ready; log to HOME/mount.log");
    command
        ->add_option("-o,--options", arguments->options,
                     "ro, noexec, sync, noatime, allow_other, nopassthrough, scrub_days=N, "
                     "identity_map=FILE, lock_wait=SECONDS; those for mount(8) and systemd are ignored")
        ->type_name("OPTS")
        ->allow_extra_args(false);
    OnRun(*command, cli, arguments, RunMount);
  }
  {
    auto arguments = std::make_shared<UmountArguments>();
    CLI::App* command =
        AddCommand(*cli.app, "umount", "Unmount, and wait until the mount has finished its work",
                   "modelfs umount /models");
    command->add_option("MNT", arguments->mount_point, "The mount point")->required();
    command->add_flag("-l,--lazy", arguments->lazy,
                      "Detach a busy mount now; it ends when its last file is closed");
    OnRun(*command, cli, arguments, RunUmount);
  }
}

}  // namespace modelfs::tools
