// Going into the background, and telling whoever waits in the foreground how it went.
#pragma once

#include <sys/types.h>

#include <functional>

#include "cas/base/fd.h"
#include "cas/base/result.h"

namespace modelfs::tools {

// The background's end. Exactly one of the two is called; a process that dies first says so by dying.
class Waiter {
 public:
  explicit Waiter(Fd pipe) : pipe_(std::move(pipe)) {}
  // It works: lets the foreground go, and gives up the terminal.
  void Ready();
  void Failed(const Error& error);

 private:
  Fd pipe_;
};

// Forks; call before any thread is started and before LMDB is opened (both do not survive a fork). In the
// foreground it answers what the background reported: OK once it is ready, else its error. In the
// background it calls `run` in a session of its own, and never returns.
Status RunDetached(const std::function<Status(Waiter&)>& run);

}  // namespace modelfs::tools
