// Sets the read-ahead of a mount with a daemon that gives up root. Only root may set it, and only after the
// mount exists.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "cas/base/fd.h"

namespace modelfs::tools {

// A child process that stays root, waits for MountIsUp, sets the read-ahead of the mount at its path and
// ends. It also ends when this process or the ReadAheadKeeper ends.
class ReadAheadKeeper {
 public:
  ReadAheadKeeper() = default;
  ~ReadAheadKeeper() { End(); }
  ReadAheadKeeper(const ReadAheadKeeper&) = delete;
  ReadAheadKeeper& operator=(const ReadAheadKeeper&) = delete;

  // Call it before any thread starts. If the child cannot be started, the kernel's default stays.
  void Start(const std::string& mount_point, uint32_t read_ahead_kib);
  // Returns when the child has ended. Does nothing if Start was not called.
  void MountIsUp();

 private:
  void End();

  Fd pipe_;
  pid_t child_ = 0;
};

}  // namespace modelfs::tools
