// Which signals a thread of the daemon takes: none but those that its own faults raise. All others are the
// business of whoever runs the daemon, on a thread of theirs.
#pragma once

#include <csignal>

namespace modelfs::fs {

// `also`: one more to take; 0 for none.
inline void LeaveSignalsToOthers(int also = 0) {
  sigset_t blocked;
  sigfillset(&blocked);
  // Blocked, a fault kills the process before anybody could say where (signal(7), pthread_sigmask(3)).
  for (const int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP}) sigdelset(&blocked, fault);
  if (also != 0) sigdelset(&blocked, also);
  pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
}

}  // namespace modelfs::fs
