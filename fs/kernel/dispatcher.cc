#include "fs/kernel/dispatcher.h"

#include <fmt/core.h>
#include <linux/fs.h>
#include <spdlog/spdlog.h>
#include <sys/statvfs.h>

#include <climits>
#include <exception>
#include <utility>
#include <vector>

#include "cas/base/text.h"
#include "fs/base/notifier.h"
#include "fs/kernel/call.h"

namespace modelfs::fs {
namespace {

constexpr size_t kNamesForMessages = 16384;
constexpr size_t kRenameThreads = 4;
constexpr size_t kMaxQueuedRenames = 1024;
// They wait for the local disk alone: what else a request needs is here when it resumes.
constexpr size_t kResumeThreads = 4;
// A commit keeps its thread for as long as it hashes or waits for its turn (fs/zones/zones.h,
// kCommitsAtOnce), because a signal must find it there. So these threads are many, and no other request waits
// for one of them.
constexpr size_t kCommitThreads = 256;

// Serial numbers go on rising over restarts, so that a handle of an earlier process is never taken for
// another one's: that would need a million opens in a millisecond.
uint64_t FirstSerial(const Clock& clock) { return static_cast<uint64_t>(clock.NowMs()) << 20U; }

}  // namespace

bool IsCounted(NodeId node) {
  const NodeKind kind = Parse(node).kind;
  return kind == NodeKind::kDraft || kind == NodeKind::kHeld;
}

bool IsReady(NodeId node) {
  const NodeKind kind = Parse(node).kind;
  return kind == NodeKind::kTree || kind == NodeKind::kAliasTree;
}

bool IsTooLong(std::string_view name) { return name.size() > NAME_MAX; }

Refusal NameTooLong(std::string_view name) {
  return {ENAMETOOLONG,
          fmt::format("a name has at most {} bytes, and this one has {}", NAME_MAX, name.size())};
}

fuse_entry_param ParamOf(const Entry& entry) {
  fuse_entry_param param = {};
  param.ino = entry.node;
  param.attr = entry.attr;
  param.attr.st_ino = InodeNumber(entry.node);
  param.attr_timeout = entry.attr_ttl_s;
  param.entry_timeout = entry.entry_ttl_s;
  return param;
}

Dispatcher::Dispatcher(Options options)
    : options_(std::move(options)),
      started_at_ms_(options_.clock->NowMs()),
      names_(kNamesForMessages),
      waits_(std::make_shared<Waits>(kResumeThreads)),
      renames_(kRenameThreads, kMaxQueuedRenames),
      commits_(kCommitThreads, kMaxQueuedRenames),
      next_serial_(FirstSerial(*options_.clock)) {
  static_assert(kOpNames.size() == static_cast<size_t>(Op::kCount));
  static_assert(kOpNames.size() <= kOps);
}

Dispatcher::~Dispatcher() { Finish(); }

void Dispatcher::Bind(FuseChannel& channel, const Zones& zones) {
  channel_ = &channel;
  zones_ = zones;
}

void Dispatcher::Finish() {
  ending_.request_stop();
  waits_->Finish();
  renames_.Finish();
  commits_.Finish();
  std::vector<uint64_t> serials;
  {
    MutexLock lock(files_mu_);
    for (const auto& [serial, file] : files_) serials.push_back(serial);
  }
  for (const uint64_t serial : serials) Release(serial);
  std::unordered_map<uint64_t, std::shared_ptr<OpenDirectory>> directories;
  {
    MutexLock lock(directories_mu_);
    directories.swap(directories_);
  }
}

StatisticsSnapshot Dispatcher::Snapshot() const {
  StatisticsSnapshot snapshot;
  snapshot.started_at_ms = started_at_ms_;
  snapshot.now_ms = options_.clock->NowMs();
  snapshot.passthrough = channel_->passthrough();
  snapshot.passthrough_reason = channel_->passthrough_reason();
  for (size_t i = 0; i < kOpNames.size(); ++i) {
    snapshot.requests.emplace(kOpNames[i], requests_[i].load(std::memory_order_relaxed));
  }
  snapshot.refused = refused_.load(std::memory_order_relaxed);
  {
    MutexLock lock(files_mu_);
    snapshot.open_files = files_.size();
  }
  {
    MutexLock lock(directories_mu_);
    snapshot.open_directories = directories_.size();
  }
  snapshot.native_handles = modes_.native_handles();
  return snapshot;
}

Zone& Dispatcher::ZoneOf(NodeId node) const {
  switch (Parse(node).kind) {
    case NodeKind::kFixed:
      return node == kRootNode ? *zones_.objects : *zones_.info;
    case NodeKind::kObject:
      return *zones_.objects;
    case NodeKind::kVersions:
      return *zones_.versions;
    case NodeKind::kAliases:
    case NodeKind::kAliasLink:
    case NodeKind::kHeld:
      return *zones_.aliases;
    case NodeKind::kInfo:
      return *zones_.info;
    case NodeKind::kTree:
    case NodeKind::kAliasTree:
      return *zones_.trees;
    case NodeKind::kDraft:
      return *zones_.drafts;
  }
  return *zones_.info;  // a kind that only a later release knows: ENOENT there
}

Request Dispatcher::RequestOf(fuse_req_t request) {
  const fuse_ctx* context = fuse_req_ctx(request);
  Request out;
  out.caller.uid = context->uid;
  out.caller.proof = store::Proof::kMount;
  out.caller.speaker = options_.speaker;
  out.caller.door = options_.door;
  out.caller.request_id = fmt::format("m{:x}", next_request_.fetch_add(1, std::memory_order_relaxed));
  out.gid = context->gid;
  out.pid = context->pid;
  return out;
}

void Dispatcher::NameCaller(Request& request) {
  store::Caller who = options_.identities->CallerOf(request.caller.uid, request.gid);
  request.caller.principal = std::move(who.principal);
  request.caller.groups = std::move(who.groups);
  request.caller.shared_name = who.shared_name;
}

std::string Dispatcher::PathFor(const Call& call) {
  if (options_.may_know_name) {
    Request request = call.request();
    if (request.caller.principal.empty()) NameCaller(request);
    for (const NodeId node : call.nodes()) {
      if (!options_.may_know_name(request, node)) return "...";
    }
  }
  return call.PathBy([this](NodeId node, std::string_view name) { return PathOf(node, name); });
}

std::string Dispatcher::PathOf(NodeId node, std::string_view name) {
  // Longer than any path the kernel passes (PATH_MAX is 4096); it also ends a cycle of old hints.
  constexpr int kMaxDepth = 2048;
  std::string path = name.empty() ? "" : "/" + std::string(name);
  for (int depth = 0; node != kRootNode; ++depth) {
    const std::optional<Place> place = depth < kMaxDepth ? PlaceOf(node) : std::nullopt;
    if (!place) return "..." + path;
    path.insert(0, "/" + place->name);
    node = place->parent;
  }
  return path.empty() ? "/" : path;
}

std::optional<Place> Dispatcher::PlaceOf(NodeId node) {
  std::optional<Place> hint = IsCounted(node) ? names_.Find(node) : std::nullopt;
  if (hint) {
    const Outcome<Entry> there = ZoneOf(hint->parent).Lookup(Request(), hint->parent, hint->name);
    if (there && there->node == node) return hint;
  }
  if (Outcome<Place> place = ZoneOf(node).PlaceOf(node)) return *std::move(place);
  return hint;
}

void Dispatcher::Park(const std::shared_ptr<Call>& call, const std::function<void(Call&)>& again) {
  const Deadline deadline = call->deadline();
  if (deadline.Passed()) {
    call->TakePending();
    return Answer(*call, {ETIMEDOUT, "its bytes did not arrive in time from the host that has them"});
  }
  const Result<Waits::Id> wait =
      waits_->Add(call->TakePending(), deadline,
                  [this, call, again](const Status& ended) { Resume(call, again, ended); });
  if (!wait.ok()) return Answer(*call, Refuse(wait.error()).value());
  // libfuse may call Interrupted within this, with a lock of the request held, and must not see it answered.
  fuse_req_interrupt_func(call->reply.request(), Interrupted,
                          reinterpret_cast<void*>(static_cast<uintptr_t>(*wait)));
  waits_->Start(*wait);
}

void Dispatcher::Resume(const std::shared_ptr<Call>& call, const std::function<void(Call&)>& again,
                        const Status& ended) {
  try {
    if (!ended.ok()) return Answer(*call, Refuse(ended.error()).value());
    Attempt(*call, [&] { again(*call); });
    if (call->deferred()) Park(call, again);
  } catch (...) {
    // Out of memory. Its reply, dropped, is EIO.
  }
}

void Dispatcher::Interrupted(fuse_req_t request, void* wait) noexcept {
  auto& self = *static_cast<Dispatcher*>(fuse_req_userdata(request));
  self.waits_->Cancel(static_cast<Waits::Id>(reinterpret_cast<uintptr_t>(wait)));
}

void Dispatcher::Answer(Call& call, const Refusal& refusal) {
  if (refusal.pending != nullptr) return call.Defer(refusal.pending);
  // These are answers rather than refusals: an absent name or attribute, and a buffer too small for one.
  const bool routine =
      (call.op() == Op::kLookup && refusal.errno_value == ENOENT) ||
      (call.op() == Op::kGetxattr && refusal.errno_value != EACCES && refusal.errno_value != EIO &&
       refusal.errno_value != EPERM) ||
      (call.op() == Op::kListxattr && refusal.errno_value == ERANGE) ||
      ((call.op() == Op::kCopyFileRange || call.op() == Op::kRename) && refusal.errno_value == EXDEV) ||
      (call.op() == Op::kLseek && refusal.errno_value == ENXIO);
  if (!routine) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    RefusalRecord record;
    record.uid = call.request().caller.uid;
    record.operation = call.operation();
    record.path = PathFor(call);
    record.errno_value = refusal.errno_value;
    record.message = refusal.message;
    record.family = call.Family(refusal.errno_value);
    options_.log->debug("refused request_id={} operation={} path={} uid={} errno={} message=\"{}\"",
                        call.request().caller.request_id, record.operation, Printable(record.path),
                        record.uid, record.errno_value, record.message);
    if (options_.refusals != nullptr) options_.refusals->Record(std::move(record));
  }
  call.reply.Error(refusal.errno_value);
}

void Dispatcher::CountLookup(NodeId node) {
  if (!IsCounted(node)) return;
  MutexLock lock(lookups_mu_);
  ++lookups_[node];
}

void Dispatcher::Forgotten(NodeId node, uint64_t lookups) {
  if (!IsCounted(node)) {
    // For such a node the daemon has hints and no state, so an exact count is not worth its table.
    if (!IsReady(node)) return;
    modes_.Forgotten(node);
    ZoneOf(node).Forget(node);
    return;
  }
  {
    MutexLock lock(lookups_mu_);
    const auto found = lookups_.find(node);
    // The node was looked up under an earlier process: its count is unknown, and never reaches zero here.
    if (found == lookups_.end()) return;
    if (found->second > lookups) {
      found->second -= lookups;
      return;
    }
    lookups_.erase(found);
  }
  names_.Forget(node);
  ZoneOf(node).Forget(node);
}

bool Dispatcher::AnswerEntry(Call& call, NodeId parent, std::string_view name, const Entry& entry) {
  if (IsCounted(entry.node)) names_.Remember(entry.node, parent, name);
  CountLookup(entry.node);
  if (call.reply.Entry(ParamOf(entry))) {
    GaveAttrs(call, std::span(&entry.node, 1));
    return true;
  }
  Forgotten(entry.node, 1);
  return false;
}

bool Dispatcher::IsOld(uint64_t epoch) const {
  return options_.acls != nullptr && options_.acls->epoch() != epoch;
}

void Dispatcher::GaveAttrs(const Call& call, std::span<const NodeId> nodes) {
  if (options_.acls == nullptr || options_.notifier == nullptr) return;
  options_.acls->GaveAttrs(nodes);
  // The owner may have changed after the attributes were read and before the kernel had the node: the
  // notification then came too early, so it is sent again.
  if (!IsOld(call.epoch())) return;
  for (const NodeId node : nodes) options_.notifier->AttrChanged(node);
}

void Dispatcher::Lookup(Call& call, NodeId parent, std::string_view name) {
  const Outcome<Entry> entry = ZoneOf(parent).Lookup(call.request(), parent, name);
  // <model>@<Alias> is two names in one; no other name that long exists.
  if (IsTooLong(name) && (!entry || entry->node == 0)) return Answer(call, NameTooLong(name));
  if (!entry) return Answer(call, entry.error());
  if (entry->node == 0) {
    call.reply.Entry(ParamOf(*entry));  // an absent name, which the kernel may cache
    return;
  }
  AnswerEntry(call, parent, name, *entry);
}

void Dispatcher::SetAttr(Call& call, NodeId node, const struct stat& attr, int to_set) {
  AttrChange change;
  if ((to_set & FUSE_SET_ATTR_MODE) != 0) change.mode = attr.st_mode;
  if ((to_set & FUSE_SET_ATTR_UID) != 0) change.uid = attr.st_uid;
  if ((to_set & FUSE_SET_ATTR_GID) != 0) change.gid = attr.st_gid;
  if ((to_set & FUSE_SET_ATTR_SIZE) != 0) change.size_bytes = static_cast<uint64_t>(attr.st_size);
  if ((to_set & FUSE_SET_ATTR_ATIME) != 0) change.atime = attr.st_atim;
  if ((to_set & FUSE_SET_ATTR_MTIME) != 0) change.mtime = attr.st_mtim;
  if ((to_set & FUSE_SET_ATTR_ATIME_NOW) != 0) change.atime = timespec{0, UTIME_NOW};
  if ((to_set & FUSE_SET_ATTR_MTIME_NOW) != 0) change.mtime = timespec{0, UTIME_NOW};
  const Outcome<Attr> changed = ZoneOf(node).SetAttr(call.request(), node, change);
  if (!changed) return Answer(call, changed.error());
  struct stat shown = changed->attr;
  shown.st_ino = InodeNumber(node);
  call.reply.Attr(shown, changed->ttl_s);
  GaveAttrs(call, std::span(&node, 1));
}

void Dispatcher::MakeNode(Call& call, NodeId parent, std::string_view name, mode_t mode) {
  if (!S_ISREG(mode) && !IsReady(parent)) {
    const Outcome<Entry> made = ZoneOf(parent).MakeSpecial(call.request(), parent, name, mode);
    if (!made) return Answer(call, made.error());
    AnswerEntry(call, parent, name, *made);
    return;
  }
  const Outcome<CreatedFile> created =
      ZoneOf(parent).Create(call.request(), parent, name, mode, O_CREAT | O_EXCL | O_WRONLY);
  if (!created) return Answer(call, created.error());
  AnswerEntry(call, parent, name, created->entry);
}

void Dispatcher::Rename(Call call, NodeId parent, NodeId new_parent, std::string new_name, unsigned flags) {
  // rename(2) returns EINVAL for unknown flags, but our renames never do (fs/base/rename_refusal.h).
  if ((flags & ~unsigned{RENAME_NOREPLACE | RENAME_EXCHANGE}) != 0) {
    call.set_target(new_parent, new_name);
    return Answer(
        call, {EPERM,
               "whiteouts are not supported (RENAME_WHITEOUT): rename without that flag; a mount of modelfs "
               "cannot be the upper layer of an overlay"});
  }
  if (IsTooLong(new_name)) {
    call.set_target(new_parent, new_name);
    return Answer(call, NameTooLong(new_name));
  }
  // std::function must be copyable, and a call that is owed an answer is not.
  auto shared = std::make_shared<Call>(std::move(call));
  shared->set_target(new_parent, new_name);
  const bool accepted =
      (Parse(parent).kind == NodeKind::kVersions ? commits_ : renames_)
          .Run([this, shared, parent, new_parent, new_name = std::move(new_name), flags] {
            try {
              const Outcome<void> renamed = Interruptibly(*shared, [&](const Request& request) {
                return ZoneOf(parent).Rename(request, parent, shared->name(), new_parent, new_name, flags);
              });
              if (!renamed) return Answer(*shared, renamed.error());
              shared->reply.Ok();
            } catch (const std::exception& e) {
              Answer(*shared, {EIO, fmt::format("internal error: {}", e.what())});
            }
          });
  if (!accepted) {
    Answer(*shared,
           {EBUSY, fmt::format("{} renames are waiting already, or the host has no thread for one more; "
                               "try again",
                               kMaxQueuedRenames)});
  }
}

void Dispatcher::StatFs(Call& call) {
  struct statvfs numbers = {};
  if (!options_.space_path.empty()) ::statvfs(options_.space_path.c_str(), &numbers);
  if (numbers.f_bsize == 0) numbers.f_bsize = numbers.f_frsize = 4096;
  numbers.f_namemax = NAME_MAX;
  // Names are not inodes here, so the number of free ones would mean nothing.
  numbers.f_files = numbers.f_ffree = numbers.f_favail = 0;
  call.reply.FileSystem(numbers);
}

}  // namespace modelfs::fs
