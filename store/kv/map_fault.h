// What a damaged page of data.mdb may do: LMDB reads its file through a memory map and believes what is
// there, so damage (or a disk that cannot read a page) can end the process with a signal. That cannot be
// helped, but it can be said: whoever is left with "Bus error" does not know that a backup is needed.
#pragma once

#include <string>

namespace modelfs::store {

// "registry/data.mdb is damaged: ", and what to do.
std::string MapDamaged();

// Lives while its thread is inside LMDB. Not by address: a damaged length or offset leads out of the map.
class InsideMap {
 public:
  InsideMap();
  ~InsideMap();
  InsideMap(const InsideMap&) = delete;
  InsideMap& operator=(const InsideMap&) = delete;
};

// From now on a SIGBUS, SIGSEGV or SIGABRT (LMDB's assertions) of a thread that is inside LMDB says
// MapDamaged() on stderr, and appends `log_line` to the file `log_path` where that is not empty. The process
// then dies as it would have. May be called again, to log elsewhere.
void ExplainMapFaults(std::string log_path, std::string log_line);

}  // namespace modelfs::store
