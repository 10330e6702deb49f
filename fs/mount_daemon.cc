#include "fs/mount_daemon.h"

#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <chrono>
#include <stop_token>
#include <thread>
#include <utility>

#include "cas/base/thread.h"
#include "fs/base/context.h"
#include "fs/base/refusals.h"
#include "fs/base/thread_signals.h"
#include "fs/base/tree_cache.h"
#include "fs/drafts/draft_table.h"
#include "fs/kernel/dispatcher.h"
#include "fs/kernel/fuse_channel.h"
#include "fs/kernel/kernel_notifier.h"
#include "fs/kernel/mount_point.h"
#include "fs/reclaimer.h"
#include "fs/sharing/acl_table.h"
#include "fs/sharing/decisions.h"
#include "fs/sharing/permit.h"
#include "fs/watcher.h"
#include "fs/zones/held_names.h"
#include "fs/zones/recent_reads.h"
#include "fs/zones/zones.h"
#include "store/lease_pool.h"

namespace modelfs::fs {
namespace {

constexpr std::chrono::milliseconds kReclaimPause{3000};

// Some 150 bytes each: a warm walk over two versions of 100,000 files needs that many.
constexpr size_t kCachedTreeNodes = 250'000;

class Daemon : public MountDaemon {
 public:
  Daemon(const MountParts& parts, const MountOptions& options) : parts_(parts), options_(options) {}

  ~Daemon() override {
    // Handles go first (they hold drafts and blobs), then the watcher, then the zones. The channel goes last:
    // it closes the backing files of the kernel.
    notifier_.Stop();
    if (dispatcher_ != nullptr) dispatcher_->Finish();
    watcher_.reset();
  }

  Status Open() {
    ASSIGN_OR_RETURN(std::string canonical, PrepareMountPoint(options_.mount_point));
    if (options_.no_links && canonical != options_.mount_point) {
      return Error(
          Code::kAborted,
          fmt::format("mount point {}: somebody put a symbolic link on the way there", options_.mount_point));
    }
    options_.mount_point = std::move(canonical);
    const std::string door = "mount " + options_.mount_point;
    context_.registry = parts_.registry;
    context_.governance = parts_.governance;
    context_.journal = parts_.journal;
    context_.identities = parts_.identities;
    context_.blobs = parts_.blobs;
    context_.drafts = parts_.drafts;
    context_.notifier = &notifier_;
    context_.held_names = &held_names_;
    context_.recent_reads = &recent_reads_;
    context_.small_file_bytes = options_.small_file_bytes;
    context_.refusals = &refusals_;
    context_.log = parts_.log;
    context_.mount_point = options_.mount_point;
    context_.home = options_.source;
    context_.daemon = parts_.daemon;
    context_.daemon.door = door;
    context_.shared = options_.allow_other;
    context_.uid = ::geteuid();
    context_.gid = ::getegid();
    context_.draft_lifetime_s = options_.draft_lifetime_s;
    if (parts_.reclaim) {
      reclaimer_ = std::make_unique<Reclaimer>(parts_.reclaim, kReclaimPause);
      context_.on_deleted = [this] { reclaimer_->SomethingWasDeleted(); };
    }
    decisions_ = std::make_unique<Decisions>(*parts_.governance, *parts_.journal, context_.daemon);
    context_.decisions = decisions_.get();
    trees_ = std::make_unique<TreeCache>(*parts_.registry, *parts_.blobs, context_.daemon, kCachedTreeNodes);
    context_.trees = trees_.get();

    if (context_.shared) {
      acls_ = std::make_unique<AclTable>(context_, SystemClock());
      context_.acls = acls_.get();
    }

    leases_ = std::make_unique<store::LeasePool>(*parts_.leases, context_.daemon, "mount");
    ASSIGN_OR_RETURN(drafts_, DraftTable::Open(context_, SystemClock()));
    context_.draft_table = drafts_.get();
    objects_ = MakeObjectsZone(context_);
    versions_ = MakeVersionsZone(context_, *drafts_, *leases_);
    aliases_ = MakeAliasesZone(context_);
    files_ = MakeTreesZone(context_);
    in_drafts_ = MakeDraftsZone(context_, *drafts_, *leases_, *files_);
    info_ = MakeInfoZone(
        context_, {.period_ms = parts_.scrub ? options_.scrub_period_ms : 0, .scrubbed = parts_.scrubbed});
    ASSIGN_OR_RETURN(watcher_, Watcher::Start(context_));

    Dispatcher::Options dispatching;
    dispatching.door = door;
    dispatching.speaker = parts_.speaker;
    struct stat source = {};
    if (::stat(options_.source.c_str(), &source) == 0) dispatching.space_path = options_.source;
    dispatching.clock = &SystemClock();
    dispatching.identities = parts_.identities;
    dispatching.acls = acls_.get();
    dispatching.refusals = &refusals_;
    dispatching.notifier = &notifier_;
    if (context_.shared) {
      dispatching.may_know_name = [this](const Request& request, NodeId node) {
        return MayKnowName(context_, request, node);
      };
    }
    dispatching.log = parts_.log;
    dispatcher_ = std::make_unique<Dispatcher>(std::move(dispatching));
    context_.statistics = dispatcher_.get();

    FuseChannel::Options mounting;
    mounting.mount_point = options_.mount_point;
    mounting.source = options_.source;
    mounting.allow_other = options_.allow_other;
    mounting.posix_acls = options_.allow_other;
    mounting.device = std::move(options_.device);
    mounting.read_only = options_.read_only;
    mounting.no_exec = options_.no_exec;
    mounting.no_atime = options_.no_atime;
    mounting.synchronous = options_.synchronous;
    mounting.passthrough = options_.passthrough;
    mounting.read_ahead_kib = options_.read_ahead_kib;
    ASSIGN_OR_RETURN(channel_,
                     FuseChannel::Mount(mounting, Dispatcher::Operations(), dispatcher_.get(), parts_.log));
    context_.native = channel_->passthrough();

    dispatcher_->Bind(*channel_, Zones{.objects = objects_.get(),
                                       .versions = versions_.get(),
                                       .aliases = aliases_.get(),
                                       .trees = files_.get(),
                                       .drafts = in_drafts_.get(),
                                       .info = info_.get()});
    return OkStatus();
  }

  Status Serve(const std::function<void()>& ready) override {
    notifier_.Start(*channel_);
    std::stop_source scrub_stop;
    std::thread scrub;
    Status served = channel_->Loop([&] {
      parts_.log->info("mounted mount_point={} source={} passthrough={}", options_.mount_point,
                       options_.source, channel_->passthrough());
      if (parts_.scrub) {
        scrub = TryStartThread([this, stop = scrub_stop.get_token()] {
          LeaveSignalsToOthers();
          parts_.scrub(stop);
        });
      }
      if (ready) ready();
    });
    scrub_stop.request_stop();
    if (scrub.joinable()) scrub.join();
    notifier_.Stop();
    dispatcher_->Finish();
    parts_.log->info("unmounted mount_point={}", options_.mount_point);
    return served;
  }

  void Stop() override { channel_->Stop(); }

 private:
  const MountParts parts_;
  MountOptions options_;
  Refusals refusals_{SystemClock()};
  HeldNames held_names_{SystemClock()};
  RecentReads recent_reads_{SystemClock(), *parts_.journal, parts_.daemon};
  std::unique_ptr<Decisions> decisions_;
  KernelNotifier notifier_;
  std::unique_ptr<Reclaimer> reclaimer_;
  Context context_;
  // The dispatcher closes backing ids through the channel, and handles outlive requests: destroyed in
  // reverse, the channel is the last to go.
  std::unique_ptr<FuseChannel> channel_;
  std::unique_ptr<TreeCache> trees_;
  std::unique_ptr<AclTable> acls_;
  std::unique_ptr<store::LeasePool> leases_;
  std::unique_ptr<DraftTable> drafts_;
  std::unique_ptr<Zone> objects_;
  std::unique_ptr<Zone> versions_;
  std::unique_ptr<Zone> aliases_;
  std::unique_ptr<Zone> files_;
  std::unique_ptr<Zone> in_drafts_;
  std::unique_ptr<Zone> info_;
  std::unique_ptr<Watcher> watcher_;
  std::unique_ptr<Dispatcher> dispatcher_;
};

}  // namespace

Result<std::unique_ptr<MountDaemon>> MountDaemon::Mount(const MountParts& parts,
                                                        const MountOptions& options) {
  auto daemon = std::make_unique<Daemon>(parts, options);
  RETURN_IF_ERROR(daemon->Open());
  return std::unique_ptr<MountDaemon>(std::move(daemon));
}

}  // namespace modelfs::fs
