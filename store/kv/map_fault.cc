#include "store/kv/map_fault.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>

#include "cas/base/check.h"
#include "store/kv/lmdb_file.h"

namespace modelfs::store {
namespace {

thread_local volatile std::sig_atomic_t depth = 0;  // of InsideMaps

struct Explanation {
  std::string to_stderr;
  std::string log_path;
  std::string log_line;
};
// Never freed: a handler may be reading it.
std::atomic<const Explanation*> explanation{nullptr};

struct Handled {
  int signal;
  struct sigaction before;
};
std::array<Handled, 3> handled = {Handled{SIGBUS, {}}, Handled{SIGSEGV, {}}, Handled{SIGABRT, {}}};

void Write(int fd, const std::string& text) {
  // What cannot be written cannot be said anywhere else either.
  static_cast<void>(!::write(fd, text.data(), text.size()));
}

// Async-signal-safe, signal-safety(7): the strings are only read.
void OnFault(int signal, siginfo_t* info, void* /*context*/) {
  const int saved_errno = errno;
  if (depth > 0) {
    const Explanation& say = *explanation.load();
    Write(STDERR_FILENO, say.to_stderr);
    const int log = say.log_path.empty() ? -1 : ::open(say.log_path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (log >= 0) {
      Write(log, say.log_line);
      ::close(log);
    }
  }
  for (const Handled& one : handled) {
    if (one.signal == signal) ::sigaction(signal, &one.before, nullptr);
  }
  // A fault happens again as soon as we return, and now has its usual end: status, core, a sanitizer's
  // report. What was sent would not.
  if (info->si_code <= 0) ::raise(signal);
  errno = saved_errno;
}

void Install() {
  struct sigaction action {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  for (Handled& one : handled) {
    // What stood before is kept first: a fault may come as soon as ours stands.
    CHECK(::sigaction(one.signal, nullptr, &one.before) == 0);
    CHECK(::sigaction(one.signal, &action, nullptr) == 0);
  }
}

}  // namespace

InsideMap::InsideMap() { depth = depth + 1; }
InsideMap::~InsideMap() { depth = depth - 1; }

std::string MapDamaged() { return fmt::format("registry/data.mdb is damaged: {}", kRestoreAdvice); }

void ExplainMapFaults(std::string log_path, std::string log_line) {
  explanation =
      new Explanation{fmt::format("modelfs: {}\n", MapDamaged()), std::move(log_path), std::move(log_line)};
  static std::once_flag installed;
  std::call_once(installed, Install);
}

}  // namespace modelfs::store
