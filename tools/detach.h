// Moves the process into the background and reports the result to the foreground process.
#pragma once

#include <sys/types.h>

#include <functional>

#include "cas/base/fd.h"
#include "cas/base/result.h"

namespace modelfs::tools {

// The background process's end of a pipe to the foreground. Ready or Failed reports the result; Failed after
// Ready does nothing. A background process that ends without a report is an error for the foreground.
class Waiter {
 public:
  explicit Waiter(Fd pipe) : pipe_(std::move(pipe)) {}
  // Reports success, so that the foreground returns OK. Redirects stdin, stdout and stderr to /dev/null
  // first.
  void Ready();
  void Failed(const Error& error);

 private:
  Fd pipe_;
};

// Forks. Call it before any thread starts and before LMDB is opened, because neither survives a fork. In the
// foreground it returns the background's report: OK once that is ready, else its error. In the background it
// calls `run` in a session of its own and never returns.
Status RunDetached(const std::function<Status(Waiter&)>& run);

}  // namespace modelfs::tools
