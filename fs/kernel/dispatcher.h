// From the kernel's requests to the zones' plain functions and back. Unpacks a request, names its caller,
// asks the zone of its node, answers, and remembers a refusal for `modelfs why`.
//
// File handles are serial numbers in a table and never pointers: a handle that the table does not know
// (given out by a process before this one) is opened again from its nodeid.
//
// Thread-safe. Renames run on executors of their own, and those that may commit a version on another than
// those that are quick.
#pragma once

#include <fuse_lowlevel.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>

#include "cas/base/clock.h"
#include "cas/base/thread.h"
#include "fs/base/refusals.h"
#include "fs/base/statistics.h"
#include "fs/base/zone.h"
#include "fs/kernel/executor.h"
#include "fs/kernel/fuse_channel.h"
#include "fs/kernel/node_names.h"
#include "fs/kernel/open_modes.h"
#include "fs/kernel/reply.h"
#include "fs/kernel/waits.h"
#include "fs/sharing/acl_table.h"
#include "store/identity/host_identities.h"

namespace modelfs::fs {

// Which zone answers for which nodes; all outlive the dispatcher.
struct Zones {
  Zone* objects = nullptr;
  Zone* versions = nullptr;
  Zone* aliases = nullptr;
  Zone* trees = nullptr;
  Zone* drafts = nullptr;
  Zone* info = nullptr;
};

class Dispatcher : public Statistics {
 public:
  struct Options {
    std::string door;                       // "mount /models"
    std::optional<store::Speaker> speaker;  // of the mount, for each caller
    std::string space_path;  // statfs(2) shows the space of its file system; empty: nothing is known
    const Clock* clock = nullptr;
    store::HostIdentities* identities = nullptr;
    AclTable* acls = nullptr;  // where the kernel enforces ACLs (FuseChannel::Options::posix_acls)
    Refusals* refusals = nullptr;
    Notifier* notifier = nullptr;  // needed with `acls`
    // Whether the caller may be told what a node is called; empty: always.
    std::function<bool(const Request& request, NodeId node)> may_know_name;
    std::shared_ptr<spdlog::logger> log;
  };

  explicit Dispatcher(Options options);
  ~Dispatcher() override;

  // For FuseChannel::Mount, with the dispatcher as userdata.
  static const fuse_lowlevel_ops& Operations();

  // Before the first request but INIT. Both outlive the dispatcher's last request.
  void Bind(FuseChannel& channel, const Zones& zones);

  // After the channel's loop: answers what still runs on the executor, where a commit that is still hashing
  // is given up, and lets go of all handles.
  void Finish();

  StatisticsSnapshot Snapshot() const override;

 private:
  enum class Op : size_t;
  struct OpenFile;
  struct OpenDirectory;
  class Call;
  struct Callbacks;  // of libfuse

  Zone& ZoneOf(NodeId node) const;
  // Without the caller's name and groups: the user database may be slow, and what acts on an open handle or
  // in the daemon's name does not wait for it.
  Request RequestOf(fuse_req_t request);
  void NameCaller(Request& request);
  // As the caller may know it; "..." where not.
  std::string PathFor(const Call& call);
  // Below the mount point, starting with '/'; with "..." instead, where a node's place is not known. `name`,
  // where not empty, is a name in directory `node`.
  std::string PathOf(NodeId node, std::string_view name);
  std::optional<Place> PlaceOf(NodeId node);

  template <typename Change>
  auto Interruptibly(const Call& call, Change change);
  // Every failure passes here: it is remembered and the kernel gets its errno.
  void Answer(Call& call, const Refusal& refusal);
  bool AnswerEntry(Call& call, NodeId parent, std::string_view name, const Entry& entry);
  // After an answer that told the attributes of these nodes.
  void GaveAttrs(const Call& call, std::span<const NodeId> nodes);
  // Whether what was read at that epoch may show an owner of before.
  bool IsOld(uint64_t epoch) const;

  uint64_t Keep(std::shared_ptr<OpenFile> file);
  Outcome<std::shared_ptr<OpenFile>> FileOf(const Request& request, NodeId node, const fuse_file_info& info);
  Outcome<std::shared_ptr<OpenDirectory>> DirectoryOf(const Request& request, NodeId node, uint64_t serial);
  void FinishOpen(Call& call, NodeId node, const OpenedFile& opened, const fuse_file_info& asked);

  void CountLookup(NodeId node);
  void Forgotten(NodeId node, uint64_t lookups);

  // Calls `attempt`. An exception of it becomes the answer.
  template <typename Function>
  void Attempt(Call& call, const Function& attempt);
  // Calls `again` once what the call was deferred for has ended, or answers with the reason why not. The
  // calling thread goes on at once.
  void Park(const std::shared_ptr<Call>& call, const std::function<void(Call&)>& again);
  void Resume(const std::shared_ptr<Call>& call, const std::function<void(Call&)>& again,
              const Status& ended);
  static void Interrupted(fuse_req_t request, void* wait) noexcept;

  void Lookup(Call& call, NodeId parent, std::string_view name);
  void SetAttr(Call& call, NodeId node, const struct stat& attr, int to_set);
  void Create(Call& call, NodeId parent, std::string_view name, mode_t mode, const fuse_file_info& info);
  void MakeNode(Call& call, NodeId parent, std::string_view name, mode_t mode);
  void Rename(Call call, NodeId parent, NodeId new_parent, std::string new_name, unsigned flags);
  void Open(Call& call, NodeId node, const fuse_file_info& info);
  void Read(Call& call, NodeId node, size_t size_bytes, uint64_t offset_bytes, const fuse_file_info& info);
  void Write(Call& call, NodeId node, std::span<const std::byte> bytes, uint64_t offset_bytes,
             const fuse_file_info& info);
  Outcome<size_t> Store(const Request& request, NodeId node, std::span<const std::byte> bytes,
                        uint64_t offset_bytes, const fuse_file_info& info);
  void Release(uint64_t serial);
  void OpenDir(Call& call, NodeId node, const fuse_file_info& info);
  void ReadDir(Call& call, NodeId node, size_t size_bytes, uint64_t offset, uint64_t serial, bool plus);
  void StatFs(Call& call);
  void GetXattr(Call& call, NodeId node, std::string_view name, size_t size_bytes);
  void GetAcl(Call& call, NodeId node, std::string_view name, size_t size_bytes);
  void AnswerXattr(Call& call, std::string_view value, size_t size_bytes);
  void ListXattr(Call& call, NodeId node, size_t size_bytes);
  void SetXattr(Call& call, NodeId node, std::string_view name, std::string_view value, int flags);
  void RemoveXattr(Call& call, NodeId node, std::string_view name);

  const Options options_;
  Zones zones_;
  FuseChannel* channel_ = nullptr;
  const int64_t started_at_ms_;

  OpenModes modes_;
  NodeNames names_;
  std::stop_source ending_;
  const std::shared_ptr<Waits> waits_;  // requests for bytes that are on another host
  Executor renames_;
  Executor commits_;  // renames out of a versions/, which may take as long as all the bytes take to hash

  std::atomic<uint64_t> next_serial_;
  std::atomic<uint64_t> next_request_{1};
  std::atomic<uint64_t> refused_{0};
  static constexpr size_t kOps = 40;
  std::array<std::atomic<uint64_t>, kOps> requests_{};

  // One lock each; none is held while another is taken or a zone is called.
  mutable Mutex files_mu_;
  std::unordered_map<uint64_t, std::shared_ptr<OpenFile>> files_ GUARDED_BY(files_mu_);
  mutable Mutex directories_mu_;
  std::unordered_map<uint64_t, std::shared_ptr<OpenDirectory>> directories_ GUARDED_BY(directories_mu_);
  Mutex lookups_mu_;
  std::unordered_map<NodeId, uint64_t> lookups_ GUARDED_BY(lookups_mu_);  // of kDraft and kHeld nodes
};

}  // namespace modelfs::fs
