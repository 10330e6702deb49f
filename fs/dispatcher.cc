#include "fs/dispatcher.h"

#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <utility>
#include <vector>

#include "cas/base/check.h"

namespace modelfs::fs {

enum class Dispatcher::Op : size_t {
  kLookup,
  kForget,
  kGetattr,
  kSetattr,
  kReadlink,
  kMknod,
  kMkdir,
  kUnlink,
  kRmdir,
  kSymlink,
  kRename,
  kLink,
  kOpen,
  kRead,
  kWrite,
  kRelease,
  kFsync,
  kOpendir,
  kReaddir,
  kReaddirplus,
  kReleasedir,
  kStatfs,
  kSetxattr,
  kGetxattr,
  kListxattr,
  kRemovexattr,
  kCreate,
  kIoctl,
  kFallocate,
  kCopyFileRange,
  kLseek,
  kCount,
};

namespace {

constexpr std::array<const char*, 31> kOpNames = {
    "lookup",    "forget",          "getattr",  "setattr",   "readlink",    "mknod",       "mkdir",
    "unlink",    "rmdir",           "symlink",  "rename",    "link",        "open",        "read",
    "write",     "release",         "fsync",    "opendir",   "readdir",     "readdirplus", "releasedir",
    "statfs",    "setxattr",        "getxattr", "listxattr", "removexattr", "create",      "ioctl",
    "fallocate", "copy_file_range", "lseek",
};

constexpr size_t kNamesForMessages = 16384;
// READDIRPLUS answers lookups by the thousand: only the front of a listing is remembered for messages.
constexpr uint64_t kListedNamesForMessages = 1024;
constexpr size_t kRenameThreads = 4;
constexpr size_t kMaxQueuedRenames = 1024;
constexpr int64_t kPrincipalLifetimeMs = 60'000;
// copy_file_range(2) may be short, and libfuse's reply counts in 32 bits.
constexpr size_t kMaxCopyBytes = size_t{1} << 30U;
// Below this, copying a reply costs less than the system calls of splicing it.
constexpr size_t kMinSpliceBytes = size_t{32} << 10U;

constexpr std::string_view kAclPrefix = "system.posix_acl_";

bool IsCounted(NodeId node) {
  const NodeKind kind = Parse(node).kind;
  return kind == NodeKind::kDraft || kind == NodeKind::kHeld;
}

// In a READY version, which refuses every new name, of whatever kind, in its own words.
bool IsReady(NodeId node) {
  const NodeKind kind = Parse(node).kind;
  return kind == NodeKind::kTree || kind == NodeKind::kAliasTree;
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

// Serial numbers go on rising over restarts, so that a handle of an earlier process is never taken for
// another's: a million a millisecond would have to be opened for that.
uint64_t FirstSerial(const Clock& clock) { return static_cast<uint64_t>(clock.NowMs()) << 20U; }

}  // namespace

struct Dispatcher::OpenFile {
  NodeId node = 0;
  std::shared_ptr<FileHandle> handle;
  bool counted = false;  // in modes_
};

struct Dispatcher::OpenDirectory {
  NodeId node = 0;
  std::shared_ptr<DirectoryHandle> handle;
};

// A request on its way: the answer owed, who asks, and what for.
class Dispatcher::Call {
  // Until it goes, notifications about the directory wait (ThreadNotifier::Enter).
  class Changing {
   public:
    Changing() = default;
    Changing(ThreadNotifier* notifier, NodeId directory) : notifier_(notifier), directory_(directory) {
      if (notifier_ != nullptr) notifier_->Enter(directory_);
    }
    ~Changing() {
      if (notifier_ != nullptr) notifier_->Leave(directory_);
    }
    Changing(Changing&& other) noexcept
        : notifier_(std::exchange(other.notifier_, nullptr)), directory_(other.directory_) {}
    Changing& operator=(Changing&& other) noexcept {
      std::swap(notifier_, other.notifier_);
      std::swap(directory_, other.directory_);
      return *this;
    }

   private:
    ThreadNotifier* notifier_ = nullptr;
    NodeId directory_ = 0;
  };
  static bool ChangesDirectory(Op op) {
    return op == Op::kMkdir || op == Op::kMknod || op == Op::kCreate || op == Op::kSymlink ||
           op == Op::kUnlink || op == Op::kRmdir || op == Op::kRename;
  }

  ThreadNotifier* notifier_;
  Changing changing_;  // before `reply`, as is the next: given up after the answer
  Changing changing_target_;

 public:
  Call(Dispatcher& dispatcher, fuse_req_t request, Op op, NodeId node, std::string_view name = {})
      : notifier_(dispatcher.options_.notifier),
        changing_(ChangesDirectory(op) ? notifier_ : nullptr, node),
        reply(request),
        op_(op),
        node_(node),
        name_(name),
        request_(dispatcher.RequestOf(request)) {
    dispatcher.requests_[static_cast<size_t>(op)].fetch_add(1, std::memory_order_relaxed);
  }

  const Request& request() const { return request_; }
  Op op() const { return op_; }
  const char* operation() const { return kOpNames[static_cast<size_t>(op_)]; }

  // Where a rename leads.
  void set_target(NodeId directory, std::string_view name) {
    target_ = directory;
    target_name_ = name;
    changing_target_ = Changing(notifier_, directory);
  }
  std::string PathIn(const NodeNames& names) const {
    std::string path = names.PathOf(node_, name_);
    if (target_ != 0) path += " -> " + names.PathOf(target_, target_name_);
    return path;
  }

  Reply reply;

 private:
  Op op_;
  NodeId node_;
  std::string name_;  // owned: a rename outlives its request's buffer
  NodeId target_ = 0;
  std::string target_name_;
  Request request_;
};

Dispatcher::Dispatcher(Options options)
    : options_(std::move(options)),
      started_at_ms_(options_.clock->NowMs()),
      names_(kNamesForMessages),
      renames_(kRenameThreads, kMaxQueuedRenames),
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
  renames_.Finish();
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
  return *zones_.info;  // a kind of a later process's: ENOENT there
}

std::string Dispatcher::PrincipalOf(uid_t uid) {
  const int64_t now_ms = options_.clock->NowMs();
  {
    MutexLock lock(principals_mu_);
    const auto found = principals_.find(uid);
    if (found != principals_.end() && now_ms - found->second.asked_at_ms < kPrincipalLifetimeMs) {
      return found->second.name;
    }
  }
  // The user database may be a network service: asked without the lock.
  std::string name = store::PrincipalOfUid(uid);
  MutexLock lock(principals_mu_);
  principals_[uid] = Principal{name, now_ms};
  return name;
}

Request Dispatcher::RequestOf(fuse_req_t request) {
  const fuse_ctx* context = fuse_req_ctx(request);
  Request out;
  out.caller.principal = PrincipalOf(context->uid);
  out.caller.uid = context->uid;
  out.caller.proof = store::Proof::kMount;
  out.caller.door = options_.door;
  out.caller.request_id = fmt::format("m{:x}", next_request_.fetch_add(1, std::memory_order_relaxed));
  out.gid = context->gid;
  out.pid = context->pid;
  return out;
}

void Dispatcher::Answer(Call& call, const Refusal& refusal) {
  // Answers, rather than refusals: a name or attribute that is not there, and a buffer too small for one.
  const bool routine = (call.op() == Op::kLookup && refusal.errno_value == ENOENT) ||
                       (call.op() == Op::kGetxattr && refusal.errno_value != EACCES &&
                        refusal.errno_value != EIO && refusal.errno_value != EPERM) ||
                       (call.op() == Op::kListxattr && refusal.errno_value == ERANGE) ||
                       (call.op() == Op::kCopyFileRange && refusal.errno_value == EXDEV) ||
                       (call.op() == Op::kLseek && refusal.errno_value == ENXIO);
  if (!routine) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    RefusalRecord record;
    record.uid = call.request().caller.uid;
    record.operation = call.operation();
    record.path = call.PathIn(names_);
    record.errno_value = refusal.errno_value;
    record.message = refusal.message;
    options_.log->debug("refused request_id={} operation={} path={} uid={} errno={} message=\"{}\"",
                        call.request().caller.request_id, record.operation, record.path, record.uid,
                        record.errno_value, record.message);
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
    // The trees zone keeps a hint for such a node and no state, so an exact count is not worth its table.
    if (IsReady(node)) ZoneOf(node).Forget(node);
    return;
  }
  {
    MutexLock lock(lookups_mu_);
    const auto found = lookups_.find(node);
    // Looked up under a process before this one: its count is not known, and never reaches zero here.
    if (found == lookups_.end()) return;
    if (found->second > lookups) {
      found->second -= lookups;
      return;
    }
    lookups_.erase(found);
  }
  ZoneOf(node).Forget(node);
}

bool Dispatcher::AnswerEntry(Call& call, NodeId parent, std::string_view name, const Entry& entry) {
  names_.Remember(entry.node, parent, name);
  CountLookup(entry.node);
  if (call.reply.Entry(ParamOf(entry))) return true;
  Forgotten(entry.node, 1);
  return false;
}

void Dispatcher::Lookup(Call& call, NodeId parent, const char* name) {
  const Outcome<Entry> entry = ZoneOf(parent).Lookup(call.request(), parent, name);
  if (!entry) return Answer(call, entry.error());
  if (entry->node == 0) {
    call.reply.Entry(ParamOf(*entry));  // a name that is not there, which the kernel may remember
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
}

uint64_t Dispatcher::Keep(std::shared_ptr<OpenFile> file) {
  const uint64_t serial = next_serial_.fetch_add(1, std::memory_order_relaxed);
  MutexLock lock(files_mu_);
  files_.emplace(serial, std::move(file));
  return serial;
}

Outcome<std::shared_ptr<Dispatcher::OpenFile>> Dispatcher::FileOf(const Request& request, NodeId node,
                                                                  const fuse_file_info& info) {
  {
    MutexLock lock(files_mu_);
    if (const auto found = files_.find(info.fh); found != files_.end()) return found->second;
  }
  Outcome<OpenedFile> opened = ZoneOf(node).Open(request, node, info.flags & ~O_TRUNC);
  if (!opened) return tl::unexpected(opened.error());
  auto file = std::make_shared<OpenFile>();
  file->node = node;
  file->handle = std::move(opened->handle);
  MutexLock lock(files_mu_);
  return files_.emplace(info.fh, std::move(file)).first->second;
}

void Dispatcher::FinishOpen(Call& call, NodeId node, const OpenedFile& opened, const fuse_file_info& asked) {
  auto file = std::make_shared<OpenFile>();
  file->node = node;
  file->handle = opened.handle;
  file->counted = true;

  OpenModes::Backing backing;
  const NodeParts parts = Parse(node);
  const std::optional<int> fd = opened.handle->NativeFd();
  if (parts.kind == NodeKind::kTree && parts.flavour == Flavour::kNative && fd && channel_->passthrough()) {
    backing.open = [this, &fd] { return channel_->OpenBacking(*fd); };
    backing.close = [this](int32_t id) { channel_->CloseBacking(id); };
  }
  const std::optional<int32_t> backing_id = modes_.Opened(node, backing);

  fuse_file_info info = asked;
  info.fh = Keep(file);
  info.keep_cache = opened.page_cache == PageCache::kKeep ? 1 : 0;
  info.direct_io = opened.page_cache == PageCache::kDirect ? 1 : 0;
  // Reading leaves nothing to flush; for writers the kernel writes back what is mapped.
  info.noflush = (asked.flags & O_ACCMODE) == O_RDONLY ? 1 : 0;
  const bool known =
      backing_id ? channel_->ReplyOpenNative(call.reply.Take(), info, *backing_id) : call.reply.Opened(info);
  if (!known) Release(info.fh);
}

void Dispatcher::Open(Call& call, NodeId node, const fuse_file_info& info) {
  const Outcome<OpenedFile> opened = ZoneOf(node).Open(call.request(), node, info.flags);
  if (!opened) return Answer(call, opened.error());
  FinishOpen(call, node, *opened, info);
}

void Dispatcher::Create(Call& call, NodeId parent, const char* name, mode_t mode,
                        const fuse_file_info& info) {
  const Outcome<CreatedFile> created = ZoneOf(parent).Create(call.request(), parent, name, mode, info.flags);
  if (!created) return Answer(call, created.error());
  const NodeId node = created->entry.node;
  names_.Remember(node, parent, name);
  auto file = std::make_shared<OpenFile>();
  file->node = node;
  file->handle = created->file.handle;
  file->counted = true;
  modes_.Opened(node, {});  // what can be written is never passed through
  fuse_file_info answer = info;
  answer.fh = Keep(file);
  answer.keep_cache = created->file.page_cache == PageCache::kKeep ? 1 : 0;
  answer.direct_io = created->file.page_cache == PageCache::kDirect ? 1 : 0;
  CountLookup(node);
  if (call.reply.Created(ParamOf(created->entry), answer)) return;
  Release(answer.fh);
  Forgotten(node, 1);
}

void Dispatcher::MakeNode(Call& call, NodeId parent, const char* name, mode_t mode) {
  if (!S_ISREG(mode) && !IsReady(parent)) {
    return Answer(call, {EPERM, "a registry holds directories, files and symbolic links only"});
  }
  const Outcome<CreatedFile> created =
      ZoneOf(parent).Create(call.request(), parent, name, mode, O_CREAT | O_EXCL | O_WRONLY);
  if (!created) return Answer(call, created.error());
  AnswerEntry(call, parent, name, created->entry);
}

void Dispatcher::Rename(Call call, NodeId parent, std::string name, NodeId new_parent, std::string new_name,
                        unsigned flags) {
  // std::function wants to be copied, which a call owed an answer cannot be.
  auto shared = std::make_shared<Call>(std::move(call));
  shared->set_target(new_parent, new_name);
  const bool accepted = renames_.Run(
      [this, shared, parent, name = std::move(name), new_parent, new_name = std::move(new_name), flags] {
        try {
          const Outcome<void> renamed =
              ZoneOf(parent).Rename(shared->request(), parent, name, new_parent, new_name, flags);
          if (!renamed) return Answer(*shared, renamed.error());
          names_.Renamed(parent, name, new_parent, new_name);
          shared->reply.Ok();
        } catch (const std::exception& e) {
          Answer(*shared, {EIO, fmt::format("internal error: {}", e.what())});
        }
      });
  if (!accepted) {
    Answer(*shared, {EBUSY, fmt::format("{} renames are waiting already; try again", kMaxQueuedRenames)});
  }
}

void Dispatcher::Read(Call& call, NodeId node, size_t size_bytes, uint64_t offset_bytes,
                      const fuse_file_info& info) {
  const Outcome<std::shared_ptr<OpenFile>> file = FileOf(call.request(), node, info);
  if (!file) return Answer(call, file.error());
  if (size_bytes >= kMinSpliceBytes) {
    if (const std::optional<int> fd = (*file)->handle->NativeFd()) {
      return call.reply.File(*fd, size_bytes, offset_bytes);
    }
  }
  // A session thread's own: as large as the largest read it met, max_write at the most.
  thread_local std::vector<std::byte> buffer;
  if (buffer.size() < size_bytes) buffer.resize(size_bytes);
  const Outcome<size_t> count =
      (*file)->handle->Read(offset_bytes, std::span<std::byte>(buffer.data(), size_bytes));
  if (!count) return Answer(call, count.error());
  call.reply.Bytes(buffer.data(), *count);
}

void Dispatcher::Release(uint64_t serial) {
  std::shared_ptr<OpenFile> file;
  {
    MutexLock lock(files_mu_);
    const auto found = files_.find(serial);
    if (found == files_.end()) return;  // of an earlier process, and never used in this one
    file = std::move(found->second);
    files_.erase(found);
  }
  if (file->counted) modes_.Closed(file->node, [this](int32_t id) { channel_->CloseBacking(id); });
}

void Dispatcher::OpenDir(Call& call, NodeId node, const fuse_file_info& info) {
  const Outcome<OpenedDirectory> opened = ZoneOf(node).OpenDirectory(call.request(), node);
  if (!opened) return Answer(call, opened.error());
  auto directory = std::make_shared<OpenDirectory>();
  directory->node = node;
  directory->handle = opened->handle;
  fuse_file_info answer = info;
  answer.fh = next_serial_.fetch_add(1, std::memory_order_relaxed);
  answer.cache_readdir = opened->kernel_may_keep ? 1 : 0;
  answer.keep_cache = answer.cache_readdir;
  {
    MutexLock lock(directories_mu_);
    directories_.emplace(answer.fh, std::move(directory));
  }
  if (call.reply.Opened(answer)) return;
  MutexLock lock(directories_mu_);
  directories_.erase(answer.fh);
}

Outcome<std::shared_ptr<Dispatcher::OpenDirectory>> Dispatcher::DirectoryOf(const Request& request,
                                                                            NodeId node, uint64_t serial) {
  {
    MutexLock lock(directories_mu_);
    if (const auto found = directories_.find(serial); found != directories_.end()) return found->second;
  }
  Outcome<OpenedDirectory> opened = ZoneOf(node).OpenDirectory(request, node);
  if (!opened) return tl::unexpected(opened.error());
  auto directory = std::make_shared<OpenDirectory>();
  directory->node = node;
  directory->handle = std::move(opened->handle);
  MutexLock lock(directories_mu_);
  return directories_.emplace(serial, std::move(directory)).first->second;
}

// Offsets: 1 is after ".", 2 after "..", 3 + i after the entry at index i.
void Dispatcher::ReadDir(Call& call, NodeId node, size_t size_bytes, uint64_t offset, uint64_t serial,
                         bool plus) {
  const Outcome<std::shared_ptr<OpenDirectory>> directory = DirectoryOf(call.request(), node, serial);
  if (!directory) return Answer(call, directory.error());

  thread_local std::vector<char> buffer;
  if (buffer.size() < size_bytes) buffer.resize(size_bytes);
  size_t used = 0;
  // What the kernel counts as looked up once it has the reply.
  std::vector<NodeId> counted;
  const auto add = [&](const char* name, const fuse_entry_param& entry, uint64_t next_offset) {
    char* const at = buffer.data() + used;
    const size_t room = size_bytes - used;
    const auto next = static_cast<off_t>(next_offset);
    const size_t need = plus ? fuse_add_direntry_plus(call.reply.request(), at, room, name, &entry, next)
                             : fuse_add_direntry(call.reply.request(), at, room, name, &entry.attr, next);
    if (need > room) return false;
    used += need;
    return true;
  };

  bool room_left = true;
  while (room_left) {
    if (offset < 2) {
      // Of these only inode number and type are told; nodeid 0 is not looked up.
      fuse_entry_param entry = {};
      NodeId shown = node;
      if (offset == 1) shown = ZoneOf(node).ParentOf(node).value_or(node);
      entry.attr.st_ino = InodeNumber(shown);
      entry.attr.st_mode = S_IFDIR;
      room_left = add(offset == 0 ? "." : "..", entry, offset + 1);
      ++offset;
      continue;
    }
    const uint64_t index = offset - 2;
    Outcome<std::optional<DirectoryEntry>> found = (*directory)->handle->At(index, plus);
    if (!found) {
      // What was listed so far is given; the next call meets the failure again.
      if (used == 0) return Answer(call, found.error());
      break;
    }
    if (!*found) break;
    const DirectoryEntry& listed = **found;
    fuse_entry_param entry = {};
    if (plus && listed.entry) {
      entry = ParamOf(*listed.entry);
    } else {
      entry.attr.st_ino = InodeNumber(listed.node);
      entry.attr.st_mode = listed.type;
    }
    room_left = add(listed.name.c_str(), entry, offset + 1);
    if (!room_left) break;
    if (plus && listed.entry) {
      if (index < kListedNamesForMessages) names_.Remember(entry.ino, node, listed.name);
      if (IsCounted(entry.ino)) {
        CountLookup(entry.ino);
        counted.push_back(entry.ino);
      }
    }
    ++offset;
  }
  if (fuse_reply_buf(call.reply.Take(), buffer.data(), used) != 0) {
    for (const NodeId looked_up : counted) Forgotten(looked_up, 1);
  }
}

void Dispatcher::StatFs(Call& call) {
  struct statvfs numbers = {};
  if (!options_.space_path.empty()) ::statvfs(options_.space_path.c_str(), &numbers);
  if (numbers.f_bsize == 0) numbers.f_bsize = numbers.f_frsize = 4096;
  numbers.f_namemax = 255;
  // Names are not inodes here: nothing useful can be said about how many more there may be.
  numbers.f_files = numbers.f_ffree = numbers.f_favail = 0;
  call.reply.FileSystem(numbers);
}

void Dispatcher::GetXattr(Call& call, NodeId node, std::string_view name, size_t size_bytes) {
  // `ls -l` asks for labels and ACLs name by name, unless it is told once that there are none here.
  const bool is_acl = name.starts_with(kAclPrefix) && Parse(node).kind != NodeKind::kDraft;
  if (name.starts_with("security.") || is_acl) {
    return Answer(call, {EOPNOTSUPP, "security labels and ACLs are not kept here"});
  }
  const Outcome<std::string> value = ZoneOf(node).GetXattr(call.request(), node, name);
  if (!value) return Answer(call, value.error());
  if (size_bytes == 0) return call.reply.XattrSize(value->size());
  if (value->size() > size_bytes) return Answer(call, {ERANGE, "the buffer is too small"});
  call.reply.Bytes(value->data(), value->size());
}

void Dispatcher::ListXattr(Call& call, NodeId node, size_t size_bytes) {
  const Outcome<std::vector<std::string>> names = ZoneOf(node).ListXattr(call.request(), node);
  if (!names) return Answer(call, names.error());
  std::string list;
  for (const std::string& name : *names) list.append(name).push_back('\0');
  // listxattr(2) cannot answer more: E2BIG from the kernel would hide them all.
  if (list.size() > XATTR_LIST_MAX) list.resize(list.rfind('\0', XATTR_LIST_MAX - 1) + 1);
  if (size_bytes == 0) return call.reply.XattrSize(list.size());
  if (list.size() > size_bytes) return Answer(call, {ERANGE, "the buffer is too small"});
  call.reply.Bytes(list.data(), list.size());
}

void Dispatcher::SetXattr(Call& call, NodeId node, std::string_view name, std::string_view value, int flags) {
  if (name.starts_with(kAclPrefix) && Parse(node).kind != NodeKind::kDraft) {
    return Answer(call, {EPERM, "access is given by grants and not by setfacl: use GRANT (`modelfs grant`)"});
  }
  const Outcome<void> set = ZoneOf(node).SetXattr(call.request(), node, name, value, flags);
  if (!set) return Answer(call, set.error());
  call.reply.Ok();
}

void Dispatcher::RemoveXattr(Call& call, NodeId node, std::string_view name) {
  if (name.starts_with(kAclPrefix) && Parse(node).kind != NodeKind::kDraft) {
    return Answer(call,
                  {EPERM, "access is taken by grants and not by setfacl: use REVOKE (`modelfs revoke`)"});
  }
  const Outcome<void> removed = ZoneOf(node).RemoveXattr(call.request(), node, name);
  if (!removed) return Answer(call, removed.error());
  call.reply.Ok();
}

// The C callbacks: each recovers the dispatcher, makes a Call and lets no exception out. A Call that is
// dropped by one answers EIO.
struct Dispatcher::Entrances {
  static Dispatcher& Self(fuse_req_t request) {
    return *static_cast<Dispatcher*>(fuse_req_userdata(request));
  }

  template <typename Function>
  static void Run(fuse_req_t request, Op op, NodeId node, std::string_view name, Function function) noexcept {
    try {
      Dispatcher& self = Self(request);
      Call call(self, request, op, node, name);
      try {
        function(self, call);
      } catch (const std::bad_alloc&) {
        self.Answer(call, {ENOMEM, "the daemon is out of memory"});
      } catch (const std::exception& e) {
        self.Answer(call, {EIO, fmt::format("internal error: {}", e.what())});
      }
    } catch (...) {
      // The caller has its EIO; to be out of memory for saying more is nothing to add to that.
    }
  }

  static void Lookup(fuse_req_t r, fuse_ino_t parent, const char* name) noexcept {
    Run(r, Op::kLookup, parent, name, [&](Dispatcher& d, Call& c) { d.Lookup(c, parent, name); });
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
      // What is not forgotten is kept: memory, and no harm.
    }
    self.requests_[static_cast<size_t>(Op::kForget)].fetch_add(count, std::memory_order_relaxed);
    fuse_reply_none(r);
  }

  static void GetAttr(fuse_req_t r, fuse_ino_t node, fuse_file_info*) noexcept {
    Run(r, Op::kGetattr, node, {}, [&](Dispatcher& d, Call& c) {
      const Outcome<Attr> attr = d.ZoneOf(node).GetAttr(c.request(), node);
      if (!attr) return d.Answer(c, attr.error());
      struct stat shown = attr->attr;
      shown.st_ino = InodeNumber(node);
      c.reply.Attr(shown, attr->ttl_s);
    });
  }

  static void SetAttr(fuse_req_t r, fuse_ino_t node, struct stat* attr, int to_set,
                      fuse_file_info*) noexcept {
    Run(r, Op::kSetattr, node, {}, [&](Dispatcher& d, Call& c) { d.SetAttr(c, node, *attr, to_set); });
  }

  static void ReadLink(fuse_req_t r, fuse_ino_t node) noexcept {
    Run(r, Op::kReadlink, node, {}, [&](Dispatcher& d, Call& c) {
      const Outcome<std::string> target = d.ZoneOf(node).ReadLink(c.request(), node);
      if (!target) return d.Answer(c, target.error());
      c.reply.Link(target->c_str());
    });
  }

  static void MkNod(fuse_req_t r, fuse_ino_t parent, const char* name, mode_t mode, dev_t) noexcept {
    Run(r, Op::kMknod, parent, name, [&](Dispatcher& d, Call& c) { d.MakeNode(c, parent, name, mode); });
  }

  static void MkDir(fuse_req_t r, fuse_ino_t parent, const char* name, mode_t mode) noexcept {
    Run(r, Op::kMkdir, parent, name, [&](Dispatcher& d, Call& c) {
      const Outcome<Entry> made = d.ZoneOf(parent).MakeDirectory(c.request(), parent, name, mode);
      if (!made) return d.Answer(c, made.error());
      d.AnswerEntry(c, parent, name, *made);
    });
  }

  static void Unlink(fuse_req_t r, fuse_ino_t parent, const char* name) noexcept {
    Run(r, Op::kUnlink, parent, name, [&](Dispatcher& d, Call& c) {
      const Outcome<void> removed = d.ZoneOf(parent).Unlink(c.request(), parent, name);
      if (!removed) return d.Answer(c, removed.error());
      c.reply.Ok();
    });
  }

  static void RmDir(fuse_req_t r, fuse_ino_t parent, const char* name) noexcept {
    Run(r, Op::kRmdir, parent, name, [&](Dispatcher& d, Call& c) {
      const Outcome<void> removed = d.ZoneOf(parent).RemoveDirectory(c.request(), parent, name);
      if (!removed) return d.Answer(c, removed.error());
      c.reply.Ok();
    });
  }

  static void SymLink(fuse_req_t r, const char* target, fuse_ino_t parent, const char* name) noexcept {
    Run(r, Op::kSymlink, parent, name, [&](Dispatcher& d, Call& c) {
      const Outcome<Entry> made = d.ZoneOf(parent).MakeSymlink(c.request(), parent, name, target);
      if (!made) return d.Answer(c, made.error());
      d.AnswerEntry(c, parent, name, *made);
    });
  }

  static void Rename(fuse_req_t r, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
                     const char* new_name, unsigned flags) noexcept {
    Run(r, Op::kRename, parent, name,
        [&](Dispatcher& d, Call& c) { d.Rename(std::move(c), parent, name, new_parent, new_name, flags); });
  }

  static void Link(fuse_req_t r, fuse_ino_t, fuse_ino_t parent, const char* name) noexcept {
    Run(r, Op::kLink, parent, name, [&](Dispatcher& d, Call& c) {
      if (IsReady(parent)) return d.MakeNode(c, parent, name, S_IFREG);
      d.Answer(c, {EPERM,
                   "there are no hard links here: use `ln -s` for an alias, `cp` for a file (inside "
                   "the mount it shares the bytes)"});
    });
  }

  static void Open(fuse_req_t r, fuse_ino_t node, fuse_file_info* info) noexcept {
    Run(r, Op::kOpen, node, {}, [&](Dispatcher& d, Call& c) { d.Open(c, node, *info); });
  }

  static void Read(fuse_req_t r, fuse_ino_t node, size_t size, off_t offset, fuse_file_info* info) noexcept {
    Run(r, Op::kRead, node, {},
        [&](Dispatcher& d, Call& c) { d.Read(c, node, size, static_cast<uint64_t>(offset), *info); });
  }

  static void Write(fuse_req_t r, fuse_ino_t node, const char* data, size_t size, off_t offset,
                    fuse_file_info* info) noexcept {
    Run(r, Op::kWrite, node, {}, [&](Dispatcher& d, Call& c) {
      const Outcome<std::shared_ptr<OpenFile>> file = d.FileOf(c.request(), node, *info);
      if (!file) return d.Answer(c, file.error());
      const Outcome<size_t> count = (*file)->handle->Write(static_cast<uint64_t>(offset),
                                                           std::as_bytes(std::span<const char>(data, size)));
      if (!count) return d.Answer(c, count.error());
      c.reply.Written(*count);
    });
  }

  static void Release(fuse_req_t r, fuse_ino_t node, fuse_file_info* info) noexcept {
    Run(r, Op::kRelease, node, {}, [&](Dispatcher& d, Call& c) {
      d.Release(info->fh);
      c.reply.Ok();
    });
  }

  static void FSync(fuse_req_t r, fuse_ino_t node, int, fuse_file_info* info) noexcept {
    Run(r, Op::kFsync, node, {}, [&](Dispatcher& d, Call& c) {
      const Outcome<std::shared_ptr<OpenFile>> file = d.FileOf(c.request(), node, *info);
      if (!file) return d.Answer(c, file.error());
      const Outcome<void> synced = (*file)->handle->Sync();
      if (!synced) return d.Answer(c, synced.error());
      c.reply.Ok();
    });
  }

  static void OpenDir(fuse_req_t r, fuse_ino_t node, fuse_file_info* info) noexcept {
    Run(r, Op::kOpendir, node, {}, [&](Dispatcher& d, Call& c) { d.OpenDir(c, node, *info); });
  }

  static void ReadDir(fuse_req_t r, fuse_ino_t node, size_t size, off_t offset,
                      fuse_file_info* info) noexcept {
    Run(r, Op::kReaddir, node, {}, [&](Dispatcher& d, Call& c) {
      d.ReadDir(c, node, size, static_cast<uint64_t>(offset), info->fh, false);
    });
  }

  static void ReadDirPlus(fuse_req_t r, fuse_ino_t node, size_t size, off_t offset,
                          fuse_file_info* info) noexcept {
    Run(r, Op::kReaddirplus, node, {}, [&](Dispatcher& d, Call& c) {
      d.ReadDir(c, node, size, static_cast<uint64_t>(offset), info->fh, true);
    });
  }

  static void ReleaseDir(fuse_req_t r, fuse_ino_t node, fuse_file_info* info) noexcept {
    Run(r, Op::kReleasedir, node, {}, [&](Dispatcher& d, Call& c) {
      std::shared_ptr<OpenDirectory> last;
      {
        MutexLock lock(d.directories_mu_);
        if (const auto found = d.directories_.find(info->fh); found != d.directories_.end()) {
          last = std::move(found->second);
          d.directories_.erase(found);
        }
      }
      c.reply.Ok();
    });
  }

  static void StatFs(fuse_req_t r, fuse_ino_t node) noexcept {
    Run(r, Op::kStatfs, node, {}, [&](Dispatcher& d, Call& c) { d.StatFs(c); });
  }

  static void SetXattr(fuse_req_t r, fuse_ino_t node, const char* name, const char* value, size_t size,
                       int flags) noexcept {
    Run(r, Op::kSetxattr, node, {},
        [&](Dispatcher& d, Call& c) { d.SetXattr(c, node, name, std::string_view(value, size), flags); });
  }

  static void GetXattr(fuse_req_t r, fuse_ino_t node, const char* name, size_t size) noexcept {
    Run(r, Op::kGetxattr, node, {}, [&](Dispatcher& d, Call& c) { d.GetXattr(c, node, name, size); });
  }

  static void ListXattr(fuse_req_t r, fuse_ino_t node, size_t size) noexcept {
    Run(r, Op::kListxattr, node, {}, [&](Dispatcher& d, Call& c) { d.ListXattr(c, node, size); });
  }

  static void RemoveXattr(fuse_req_t r, fuse_ino_t node, const char* name) noexcept {
    Run(r, Op::kRemovexattr, node, {}, [&](Dispatcher& d, Call& c) { d.RemoveXattr(c, node, name); });
  }

  static void Create(fuse_req_t r, fuse_ino_t parent, const char* name, mode_t mode,
                     fuse_file_info* info) noexcept {
    Run(r, Op::kCreate, parent, name,
        [&](Dispatcher& d, Call& c) { d.Create(c, parent, name, mode, *info); });
  }

  static void IoCtl(fuse_req_t r, fuse_ino_t, unsigned, void*, fuse_file_info*, unsigned, const void*, size_t,
                    size_t) noexcept {
    Self(r).requests_[static_cast<size_t>(Op::kIoctl)].fetch_add(1, std::memory_order_relaxed);
    fuse_reply_err(r, ENOTTY);
  }

  static void FAllocate(fuse_req_t r, fuse_ino_t node, int mode, off_t offset, off_t length,
                        fuse_file_info* info) noexcept {
    Run(r, Op::kFallocate, node, {}, [&](Dispatcher& d, Call& c) {
      const Outcome<std::shared_ptr<OpenFile>> file = d.FileOf(c.request(), node, *info);
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
    Run(r, Op::kCopyFileRange, to, {}, [&](Dispatcher& d, Call& c) {
      const Outcome<std::shared_ptr<OpenFile>> source = d.FileOf(c.request(), from, *from_info);
      if (!source) return d.Answer(c, source.error());
      const Outcome<std::shared_ptr<OpenFile>> target = d.FileOf(c.request(), to, *to_info);
      if (!target) return d.Answer(c, target.error());
      const Outcome<size_t> count =
          (*target)->handle->CopyFrom(*(*source)->handle, static_cast<uint64_t>(from_offset),
                                      static_cast<uint64_t>(to_offset), std::min(length, kMaxCopyBytes));
      if (!count) return d.Answer(c, count.error());
      c.reply.Written(*count);
    });
  }

  static void LSeek(fuse_req_t r, fuse_ino_t node, off_t offset, int whence, fuse_file_info* info) noexcept {
    Run(r, Op::kLseek, node, {}, [&](Dispatcher& d, Call& c) {
      const Outcome<std::shared_ptr<OpenFile>> file = d.FileOf(c.request(), node, *info);
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

// Not implemented on purpose. FLUSH, FSYNCDIR and ACCESS: ENOSYS tells the kernel to stop asking (there is
// nothing to flush, directories become durable by a commit, and the kernel checks mode bits by itself).
// Locks and poll: the kernel's own are right for a mount that only this host sees.
const fuse_lowlevel_ops& Dispatcher::Operations() {
  static const fuse_lowlevel_ops operations = [] {
    fuse_lowlevel_ops ops = {};
    ops.lookup = Entrances::Lookup;
    ops.forget = Entrances::Forget;
    ops.forget_multi = Entrances::ForgetMulti;
    ops.getattr = Entrances::GetAttr;
    ops.setattr = Entrances::SetAttr;
    ops.readlink = Entrances::ReadLink;
    ops.mknod = Entrances::MkNod;
    ops.mkdir = Entrances::MkDir;
    ops.unlink = Entrances::Unlink;
    ops.rmdir = Entrances::RmDir;
    ops.symlink = Entrances::SymLink;
    ops.rename = Entrances::Rename;
    ops.link = Entrances::Link;
    ops.open = Entrances::Open;
    ops.read = Entrances::Read;
    ops.write = Entrances::Write;
    ops.release = Entrances::Release;
    ops.fsync = Entrances::FSync;
    ops.opendir = Entrances::OpenDir;
    ops.readdir = Entrances::ReadDir;
    ops.readdirplus = Entrances::ReadDirPlus;
    ops.releasedir = Entrances::ReleaseDir;
    ops.statfs = Entrances::StatFs;
    ops.setxattr = Entrances::SetXattr;
    ops.getxattr = Entrances::GetXattr;
    ops.listxattr = Entrances::ListXattr;
    ops.removexattr = Entrances::RemoveXattr;
    ops.create = Entrances::Create;
    ops.ioctl = Entrances::IoCtl;
    ops.fallocate = Entrances::FAllocate;
    ops.copy_file_range = Entrances::CopyFileRange;
    ops.lseek = Entrances::LSeek;
    return ops;
  }();
  return operations;
}

}  // namespace modelfs::fs
