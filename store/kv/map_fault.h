// What a damaged page of data.mdb may do: LMDB reads its file through a memory map and believes what is
// there, so damage (or a disk that cannot read a page) can end the process with a signal. That cannot be
// helped, but it can be said: whoever is left with "Bus error" does not know that a backup is needed.
#pragma once

#include <cstddef>
#include <string>

namespace modelfs::store {

// "registry/data.mdb is damaged: ", and what to do.
std::string MapDamaged();
// "registry/lock.mdb cannot be written: ", and what to do: no byte of the registry is in that file.
std::string LocksUnwritable();

// Where a process has mapped LMDB's lock file, while this lives.
class LockFileMap {
 public:
  // `path` is mapped already. Nothing is known of it where the kernel does not tell (/proc/self/maps).
  explicit LockFileMap(const std::string& path);
  ~LockFileMap();
  LockFileMap(const LockFileMap&) = delete;
  LockFileMap& operator=(const LockFileMap&) = delete;

 private:
  size_t place_;
};

// Lives while its thread is inside LMDB. Not by address: a damaged length or offset leads out of the map.
class InsideMap {
 public:
  InsideMap();
  ~InsideMap();
  InsideMap(const InsideMap&) = delete;
  InsideMap& operator=(const InsideMap&) = delete;
};

// The lines of a log that say the two.
struct MapFaultLines {
  std::string damaged;
  std::string locks_unwritable;
};

// From now on a SIGBUS, SIGSEGV or SIGABRT (LMDB's assertions) of a thread that is inside LMDB says
// MapDamaged() or, of a SIGBUS in the lock file's map, LocksUnwritable() on stderr, and appends its line to
// the file `log_path` where that is not empty. The process then dies as it would have. May be called again,
// to log elsewhere.
void ExplainMapFaults(std::string log_path, MapFaultLines log_lines);

}  // namespace modelfs::store
