#include "store/kv/map_fault.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <mutex>

#include "cas/base/check.h"
#include "store/kv/lmdb_file.h"

namespace modelfs::store {
namespace {

thread_local volatile std::sig_atomic_t depth = 0;  // of InsideMaps

struct Explanation {
  MapFaultLines to_stderr;
  std::string log_path;
  MapFaultLines log_lines;
};
// Never freed: a handler may be reading it.
std::atomic<const Explanation*> explanation{nullptr};

// [begin, end) of each mapped lock file. A process has one registry open, tests have a few. Further ones are
// reported as data.
struct MappedRange {
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
};
std::array<MappedRange, 8> lock_files;

bool IsInLockFile(uintptr_t address) {
  for (const MappedRange& range : lock_files) {
    if (address >= range.begin && address < range.end) return true;
  }
  return false;
}

struct Handled {
  int signal;
  struct sigaction before;
};
std::array<Handled, 3> handled = {Handled{SIGBUS, {}}, Handled{SIGSEGV, {}}, Handled{SIGABRT, {}}};

void Write(int fd, const std::string& text) {
  // If this write fails, no other place is left for the message.
  static_cast<void>(!::write(fd, text.data(), text.size()));
}

// Async-signal-safe, signal-safety(7): the strings are only read.
void OnFault(int signal, siginfo_t* info, void* /*context*/) {
  const int saved_errno = errno;
  if (depth > 0) {
    const Explanation& say = *explanation.load();
    const auto line = signal == SIGBUS && IsInLockFile(reinterpret_cast<uintptr_t>(info->si_addr))
                          ? &MapFaultLines::locks_unwritable
                          : &MapFaultLines::damaged;
    Write(STDERR_FILENO, say.to_stderr.*line);
    const int log = say.log_path.empty() ? -1 : ::open(say.log_path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (log >= 0) {
      Write(log, say.log_lines.*line);
      ::close(log);
    }
  }
  for (const Handled& one : handled) {
    if (one.signal == signal) ::sigaction(signal, &one.before, nullptr);
  }
  // A fault happens again as soon as the handler returns, and then has its usual end: status, core, a
  // sanitizer's report. A signal that was sent would not happen again.
  if (info->si_code <= 0) ::raise(signal);
  errno = saved_errno;
}

void Install() {
  struct sigaction action {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  for (Handled& one : handled) {
    // Keep the old action before the new one is installed: a fault may come at once.
    CHECK(::sigaction(one.signal, nullptr, &one.before) == 0);
    CHECK(::sigaction(one.signal, &action, nullptr) == 0);
  }
}

}  // namespace

InsideMap::InsideMap() { depth = depth + 1; }
InsideMap::~InsideMap() { depth = depth - 1; }

std::string MapDamaged() { return fmt::format("registry/data.mdb is damaged: {}", kRestoreAdvice); }

std::string LocksUnwritable() {
  return "registry/lock.mdb cannot be written: make room on that disk, or see whether it failed; the "
         "registry's "
         "data is not in that file, and no backup is needed";
}

LockFileMap::LockFileMap(const std::string& path) : place_(lock_files.size()) {
  struct stat info {};
  std::ifstream maps("/proc/self/maps");
  if (::stat(path.c_str(), &info) != 0) return;
  // proc(5): "begin-end perms offset dev inode path", numbers but the inode's in hexadecimal.
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0;
    uintptr_t end = 0;
    uint64_t inode = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %*s %*s %*s %lu", &begin, &end, &inode) != 3) continue;
    if (inode != info.st_ino || line.find("/lock.mdb") == std::string::npos) continue;
    for (place_ = 0; place_ < lock_files.size(); ++place_) {
      uintptr_t none = 0;
      if (!lock_files[place_].begin.compare_exchange_strong(none, begin)) continue;
      lock_files[place_].end = end;
      break;
    }
    return;
  }
}

LockFileMap::~LockFileMap() {
  if (place_ == lock_files.size()) return;
  lock_files[place_].end = 0;
  lock_files[place_].begin = 0;
}

void ExplainMapFaults(std::string log_path, MapFaultLines log_lines) {
  const auto to_stderr = [](const std::string& what) { return fmt::format("modelfs: {}\n", what); };
  explanation = new Explanation{
      {to_stderr(MapDamaged()), to_stderr(LocksUnwritable())}, std::move(log_path), std::move(log_lines)};
  static std::once_flag installed;
  std::call_once(installed, Install);
}

}  // namespace modelfs::store
