// The read-ahead of a mount whose daemon gives root up: the kernel lets root alone set it, and the mount must
// be there first.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "cas/base/fd.h"

namespace modelfs::tools {

// A child process that stays root, waits for MountIsUp, sets the read-ahead of what is mounted at its path,
// and ends; also when this process ends or the keeper goes.
class ReadAheadKeeper {
 public:
  ReadAheadKeeper() = default;
  ~ReadAheadKeeper() { End(); }
  ReadAheadKeeper(const ReadAheadKeeper&) = delete;
  ReadAheadKeeper& operator=(const ReadAheadKeeper&) = delete;

  // Call before any thread is started. Where the child cannot be made the kernel's default stays.
  void Start(const std::string& mount_point, uint32_t read_ahead_kib);
  // Returns when it is set. Nothing where Start was not called.
  void MountIsUp();

 private:
  void End();

  Fd pipe_;
  pid_t child_ = 0;
};

}  // namespace modelfs::tools
