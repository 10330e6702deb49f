// The embedded engine: one LMDB environment, shared by every process of the host.
//
// LMDB's default durability: a commit is on disk when it returns. The map grows by itself, also under other
// processes that have it open. A process killed at any point leaves it usable: a commit that was far enough
// is completed before any process reads, others are dropped, and dead readers are cleared. Writers queue for
// a lock file beside LMDB's own locks (store/kv/lock_file.h), for a bounded time. Other processes notice a
// commit by inotify on the data file, with a poll once a second behind it.
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
  // How long WaitForCommit waits for inotify before it checks anyway.
  std::chrono::milliseconds poll_every = std::chrono::seconds(1);
  // For the negative control of the crash tests only: MDB_NOSYNC.
  bool unsafe_no_sync = false;
};

// Opens the environment; once per process and directory, and again after any fork. A second opener in this
// process shares it, with the options of the first.
//   kNotFound             no registry there
//   kDataLoss             the data file is cut short or not LMDB's; the message says to restore it
//   kFailedPrecondition   on a network file system, where LMDB's locks and map do not hold
Result<std::unique_ptr<Kv>> OpenLmdbKv(const LmdbOptions& options);

// Writes the newest state to a new file, which is a data.mdb: as of one moment, whatever is committed
// meanwhile, and with no more pages than its entries need. Durable on OK, except for its name in the
// directory. On failure nothing of it is left.
//   kAlreadyExists   `to` exists
//   kNoSpace
Status CopyLmdb(const LmdbOptions& options, const std::string& to);

struct Compaction {
  uint64_t bytes_before = 0;
  uint64_t bytes_after = 0;  // of kTry: an upper bound
};
// Replaces data.mdb by such a copy, in one step: a killed compaction leaves either file, whole. Owner, group
// and mode stay. If the copy is not smaller, nothing is replaced. Openers wait meanwhile.
//   kFailedPrecondition   a process has the environment open, maybe this one; names those that it can see
//   kBusy                 another process is opening it
//   kNoSpace              the disk has no room for both files
//   kNotFound, kDataLoss  as OpenLmdbKv
// Nothing was changed in these cases. kTry reports what can be checked without writing.
enum class Compact : uint8_t { kTry, kDo };
Result<Compaction> CompactLmdb(const LmdbOptions& options, Compact how);

}  // namespace modelfs::store
