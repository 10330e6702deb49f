// The signals that a thread of the daemon takes: only those that its own faults raise. The program that runs
// the daemon handles all others, on a thread of its own.
#pragma once

#include <csignal>

namespace modelfs::fs {

// `also`: one more signal to take; 0 for none.
inline void LeaveSignalsToOthers(int also = 0) {
  sigset_t blocked;
  sigfillset(&blocked);
  // A blocked fault signal would kill the process before a handler could report the place (signal(7),
  // pthread_sigmask(3)).
  for (const int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP}) sigdelset(&blocked, fault);
  if (also != 0) sigdelset(&blocked, also);
  pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
}

}  // namespace modelfs::fs
