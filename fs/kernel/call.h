// The types that the dispatcher's files share: a request on its way, and open handles. Internal to fs/; see
// fs/kernel/dispatcher.h.
//
//   dispatcher.cc    the zone of a node, the caller, refusals, waits, lookups; the requests of a few lines
//   files.cc         open files
//   directories.cc   open directories and listings
//   xattrs.cc        extended attributes
//   callbacks.cc     libfuse's callbacks
#pragma once

#include <fmt/core.h>
#include <fuse_lowlevel.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/kernel/dispatcher.h"
#include "fs/kernel/interruption.h"

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

inline constexpr std::array<const char*, 31> kOpNames = {
    "lookup",    "forget",          "getattr",  "setattr",   "readlink",    "mknod",       "mkdir",
    "unlink",    "rmdir",           "symlink",  "rename",    "link",        "open",        "read",
    "write",     "release",         "fsync",    "opendir",   "readdir",     "readdirplus", "releasedir",
    "statfs",    "setxattr",        "getxattr", "listxattr", "removexattr", "create",      "ioctl",
    "fallocate", "copy_file_range", "lseek",
};

// Whether lookups of the node are counted, because it needs memory.
bool IsCounted(NodeId node);
// In a READY version, which refuses a new name of any kind in its own words.
bool IsReady(NodeId node);
// Longer than any name here (statfs(2), f_namemax), and the answer.
bool IsTooLong(std::string_view name);
Refusal NameTooLong(std::string_view name);
fuse_entry_param ParamOf(const Entry& entry);

struct Dispatcher::OpenFile {
  NodeId node = 0;
  std::shared_ptr<FileHandle> handle;
  bool counted = false;  // in modes_
};

struct Dispatcher::OpenDirectory {
  NodeId node = 0;
  uint64_t epoch = 0;  // of AclTable, when it was opened
  std::shared_ptr<DirectoryHandle> handle;
};

// A request on its way: the answer owed, its caller, and its purpose.
class Dispatcher::Call {
  // Whether a zone decides by the caller; the others act on an open handle, or in the daemon's name.
  static bool AsksWho(Op op) {
    switch (op) {
      case Op::kLookup:
      case Op::kForget:
      case Op::kGetattr:
      case Op::kRead:
      case Op::kWrite:
      case Op::kRelease:
      case Op::kFsync:
      case Op::kReaddir:
      case Op::kReaddirplus:
      case Op::kReleasedir:
      case Op::kStatfs:
      case Op::kIoctl:
      case Op::kFallocate:
      case Op::kCopyFileRange:
      case Op::kLseek:
        return false;
      default:
        return true;
    }
  }

 public:
  Call(Dispatcher& dispatcher, fuse_req_t request, Op op, NodeId node, std::string_view name = {})
      : reply(request),
        op_(op),
        node_(node),
        name_(name),
        epoch_(dispatcher.options_.acls != nullptr ? dispatcher.options_.acls->epoch() : 0),
        request_(dispatcher.RequestOf(request)) {
    if (AsksWho(op)) dispatcher.NameCaller(request_);
    dispatcher.requests_[static_cast<size_t>(op)].fetch_add(1, std::memory_order_relaxed);
  }

  const Request& request() const { return request_; }
  // Of AclTable, when the request came.
  uint64_t epoch() const { return epoch_; }
  Op op() const { return op_; }
  const char* operation() const { return kOpNames[static_cast<size_t>(op_)]; }

  const std::string& name() const { return name_; }

  // It cannot be answered before this has ended (Dispatcher::Park).
  void Defer(Pending pending) { pending_ = std::move(pending); }
  bool deferred() const { return pending_ != nullptr; }
  Pending TakePending() { return std::exchange(pending_, nullptr); }
  // Of all its waits together.
  const Deadline& deadline() {
    if (!deadline_) deadline_ = Deadline::After(cas::kPatience);
    return *deadline_;
  }

  // Where a rename leads.
  void set_target(NodeId directory, std::string_view name) {
    target_ = directory;
    target_name_ = name;
  }
  std::vector<NodeId> nodes() const {
    return target_ != 0 ? std::vector<NodeId>{node_, target_} : std::vector<NodeId>{node_};
  }
  // Its path, and where it leads, by what `path_of` says of a node and a name in it.
  template <typename PathOf>
  std::string PathBy(const PathOf& path_of) const {
    std::string path = path_of(node_, name_);
    if (target_ != 0) path += " -> " + path_of(target_, target_name_);
    return path;
  }
  // Refusals of one kind that `modelfs why` shows as one: in a READY version all of an operation are.
  // Python's import wants to write a file beside each that it reads.
  std::string Family(int errno_value) const {
    return errno_value == EROFS && IsReady(node_) ? fmt::format("version {}", Parse(node_).version) : "";
  }

  Reply reply;

 private:
  Op op_;
  NodeId node_;
  std::string name_;  // owned: a rename outlives its request's buffer
  NodeId target_ = 0;
  std::string target_name_;
  uint64_t epoch_;
  Request request_;
  Pending pending_ = nullptr;
  std::optional<Deadline> deadline_;
};

template <typename Function>
void Dispatcher::Attempt(Call& call, const Function& attempt) {
  try {
    attempt();
  } catch (const std::bad_alloc&) {
    Answer(call, {ENOMEM, "the daemon is out of memory"});
  } catch (const std::exception& e) {
    Answer(call, {EIO, fmt::format("internal error: {}", e.what())});
  }
}

// Calls `change(request)`; a signal to the caller ends its wait for other writers.
template <typename Change>
auto Dispatcher::Interruptibly(const Call& call, Change change) {
  const Interruption interruption(call.reply, ending_.get_token());
  Request request = call.request();
  request.caller.stop = interruption.token();
  return change(request);
}

}  // namespace modelfs::fs
