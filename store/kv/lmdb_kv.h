// The embedded engine: one LMDB environment, shared by every process of the host.
//
// LMDB's default durability: a commit is on disk when it returns. The map grows by itself, also
// under other processes that have it open. A process killed at any point leaves it usable: a commit that had
// come far enough is completed before anybody else reads, others are dropped, and readers that died are
// cleared. Writers queue for a lock of our own (store/kv/lock_file.h), for a bounded time. Other processes
// learn of a commit by inotify on the data file, with a poll once a second behind it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "cas/base/result.h"
#include "store/kv/kv.h"

namespace modelfs::store {

inline constexpr std::chrono::milliseconds kLockWait = std::chrono::seconds(10);

struct LmdbOptions {
  std::string directory;
  enum class Mode { kCreate, kOpenExisting } mode = Mode::kOpenExisting;
  // How long a commit waits for the writers before it: NewPatience.
  std::chrono::milliseconds lock_wait = kLockWait;
  uint64_t initial_map_bytes = uint64_t{64} << 20U;
  // How long WaitForCommit goes on waiting for the bell before it looks anyway.
  std::chrono::milliseconds poll_every = std::chrono::seconds(1);
  // For the negative control of the crash tests only: MDB_NOSYNC.
  bool unsafe_no_sync = false;
};

// Opens the environment; once a process and directory, and after any fork. Whoever opens it again in this
// process shares it, with the options that it was opened with.
//   kNotFound             no registry there
//   kDataLoss             the data file is cut short or not LMDB's; says to restore it
//   kFailedPrecondition   on a network file system, where LMDB's locks and map do not hold
Result<std::unique_ptr<Kv>> OpenLmdbKv(const LmdbOptions& options);

// Writes the newest state to a new file, which is a data.mdb: of one moment, whatever is committed meanwhile,
// and with no more pages than its entries need. Durable on OK, but for its name in the directory; nothing is
// left of it otherwise.
//   kAlreadyExists   `to` is there
//   kNoSpace
Status CopyLmdb(const LmdbOptions& options, const std::string& to);

struct Compaction {
  uint64_t bytes_before = 0;
  uint64_t bytes_after = 0;  // of kTry: at most so many
};
// Replaces data.mdb by such a copy, in one step: wherever it ends, the one or the other is there, whole.
// Owner, group and mode stay. Where the copy is no smaller, nothing is replaced. Openers wait meanwhile.
//   kFailedPrecondition   a process has the environment open, this one maybe; names those that can be seen
//   kBusy                 one is opening it
//   kNoSpace              the disk has no room for both files
//   kNotFound, kDataLoss  as OpenLmdbKv
// Nothing was changed then. kTry says what can be said before.
enum class Compact : uint8_t { kTry, kDo };
Result<Compaction> CompactLmdb(const LmdbOptions& options, Compact how);

}  // namespace modelfs::store
