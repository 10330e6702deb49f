// Messages for faults in LMDB's memory maps. LMDB reads its file through a map and trusts its content, so
// damage (or a disk that cannot read a page) can end the process with a signal. The signal cannot be
// prevented, but a bare "Bus error" does not tell the user that a backup is needed.
#pragma once

#include <cstddef>
#include <string>

namespace modelfs::store {

// "registry/data.mdb is damaged: ", and the remedy.
std::string MapDamaged();
// "registry/lock.mdb cannot be written: ", and the remedy: that file has no data of the registry.
std::string LocksUnwritable();

// The address range of a process's map of LMDB's lock file, while this lives.
class LockFileMap {
 public:
  // `path` is mapped already. The range is empty if the kernel does not report it (/proc/self/maps).
  explicit LockFileMap(const std::string& path);
  ~LockFileMap();
  LockFileMap(const LockFileMap&) = delete;
  LockFileMap& operator=(const LockFileMap&) = delete;

 private:
  size_t place_;
};

// Lives while its thread is inside LMDB. Addresses would not do: a damaged length or offset leads out of the
// map.
class InsideMap {
 public:
  InsideMap();
  ~InsideMap();
  InsideMap(const InsideMap&) = delete;
  InsideMap& operator=(const InsideMap&) = delete;
};

// Lines of a log for the two messages.
struct MapFaultLines {
  std::string damaged;
  std::string locks_unwritable;
};

// From now on a SIGBUS, SIGSEGV or SIGABRT (LMDB's assertions) of a thread that is inside LMDB writes
// MapDamaged() to stderr; a SIGBUS in the lock file's map writes LocksUnwritable(). It also appends its line
// to the file `log_path`, if that is not empty. The process then dies as it would have. May be called again,
// to log elsewhere.
void ExplainMapFaults(std::string log_path, MapFaultLines log_lines);

}  // namespace modelfs::store
