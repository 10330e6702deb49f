#include "store/kv/lock_file.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <ctime>
#include <functional>
#include <string_view>

#include "cas/base/text.h"
#include "cas/base/thread.h"

namespace modelfs::store {
namespace {

constexpr mode_t kFileMode = 0600;
// Locks are on bytes beyond the file's end. The lock of an open file description does not name its holder. So
// each holder also has a lock of the older kind, and fcntl(2) returns the process of that one.
constexpr off_t kFirstLock = 1 << 20;
constexpr off_t kFirstName = kFirstLock - 16;
constexpr size_t kNoteBytes = 64;
// How long a change waits for the next writer to take its turn: that process may be stopped while it waits.
constexpr std::chrono::milliseconds kTurnWait{100};

// Nothing signals that a lock was released: a waiter tries again after this, and doubles the time after each
// try.
constexpr std::chrono::microseconds kFirstLook{50};
constexpr std::chrono::microseconds kLastLook{2000};

struct flock Range(off_t byte, short type) {
  struct flock range = {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = byte;
  range.l_len = 1;
  return range;
}

off_t ByteOf(LockFile::Lock lock) { return kFirstLock + static_cast<off_t>(lock); }
off_t NameByteOf(LockFile::Lock lock) { return kFirstName + static_cast<off_t>(lock); }

std::string_view WhatIsBusy(LockFile::Lock lock) {
  switch (lock) {
    case LockFile::Lock::kOpening:
      return "the registry is being opened";
    case LockFile::Lock::kNext:
    case LockFile::Lock::kWriter:
      return "the registry is being written to";
    case LockFile::Lock::kReaders:
      return "the registry's table of readers is being changed";
  }
  return "the registry is in use";
}

std::string ReadProc(pid_t pid, const char* name) {
  const Fd fd(::open(fmt::format("/proc/{}/{}", pid, name).c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 1024> buffer{};
  const ssize_t got = fd.valid() ? ::read(fd.get(), buffer.data(), buffer.size()) : 0;
  return {buffer.data(), static_cast<size_t>(std::max<ssize_t>(0, got))};
}

// Its command line, if that is short; "" if the kernel does not show it.
std::string CommandOf(pid_t pid) {
  constexpr size_t kMost = 120;
  std::string words = ReadProc(pid, "cmdline");
  while (!words.empty() && words.back() == '\0') words.pop_back();
  std::replace(words.begin(), words.end(), '\0', ' ');
  if (words.size() > kMost) words = words.substr(0, kMost) + "...";
  return Printable(words);
}

// proc(5), stat: the state follows the name, which may contain any character.
bool IsStopped(pid_t pid) {
  const std::string stat = ReadProc(pid, "stat");
  const size_t name_end = stat.rfind(')');
  const char state = name_end == std::string::npos || name_end + 2 >= stat.size() ? ' ' : stat[name_end + 2];
  return state == 'T' || state == 't';
}

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Parses NoteHolder's note: since when that process is the writer; nullopt if another process wrote the note.
std::optional<int64_t> SinceMs(int fd, pid_t pid) {
  std::array<char, kNoteBytes> note{};
  if (::pread(fd, note.data(), note.size(), 0) <= 0) return std::nullopt;
  const std::string_view text(note.data(), note.size());
  const size_t space = text.find(' ');
  if (space == std::string_view::npos || text.substr(0, space) != std::to_string(pid)) return std::nullopt;
  int64_t since_ms = 0;
  const auto parsed = std::from_chars(text.data() + space + 1, text.data() + text.size(), since_ms);
  return parsed.ec == std::errc() ? std::optional(since_ms) : std::nullopt;
}

// Sleeps, unless a stop is requested. One thread's.
class Nap {
 public:
  explicit Nap(const std::stop_token& stop) : stop_(stop), wake_(stop, [this] { Wake(); }) {}

  void Until(std::chrono::steady_clock::time_point end) {
    const MutexLock lock(mu_);
    while (!stop_.stop_requested() && changed_.WaitUntil(mu_, end)) {
    }
  }

 private:
  void Wake() {
    const MutexLock lock(mu_);
    changed_.NotifyAll();
  }

  const std::stop_token& stop_;
  Mutex mu_;
  CondVar changed_;
  std::stop_callback<std::function<void()>> wake_;  // last: it uses the others
};

Error GaveUp() { return {Code::kCancelled, "the caller gave up before the registry was free to be written"}; }

}  // namespace

Result<std::unique_ptr<LockFile>> LockFile::Open(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode));
  if (!fd.valid() && errno == ELOOP) {
    return Error(Code::kFailedPrecondition,
                 fmt::format("{} is a symbolic link, which no command of modelfs made; remove it", path));
  }
  if (!fd.valid()) return ErrnoError(errno, fmt::format("open {}", path));
  return std::unique_ptr<LockFile>(new LockFile(path, std::move(fd)));
}

LockFile::Held::~Held() {
  if (file_ != nullptr) file_->Unlock(lock_);
}

Result<LockFile::Held> LockFile::Take(Lock lock, const Deadline& deadline, const std::stop_token& stop) {
  std::optional<Slots::Slot> slot = SlotsOf(lock).Take(stop, deadline);
  if (!slot) return stop.stop_requested() ? GaveUp() : Busy(lock);
  ASSIGN_OR_RETURN(const bool is_ours,
                   lock == Lock::kWriter ? WaitForTurn(deadline, stop) : WaitForFile(lock, deadline, stop));
  if (!is_ours) return stop.stop_requested() ? GaveUp() : Busy(lock);
  NoteHolder(lock);
  return Held(*this, lock, std::move(*slot));
}

Result<bool> LockFile::WaitForTurn(const Deadline& whole, const std::stop_token& stop) {
  const auto in_a_moment = [] { return std::chrono::steady_clock::now() + kTurnWait; };
  Deadline deadline = whole;
  {
    const std::string note = WritersNote();
    const MutexLock lock(mu_);
    if (!note.empty() && note == waited_in_vain_for_)
      deadline = Deadline::At(std::min(whole.at(), in_a_moment()));
  }
  const auto in_vain = [&]() -> Result<bool> {
    std::string note = WritersNote();
    const MutexLock lock(mu_);
    if (!stop.stop_requested()) waited_in_vain_for_ = std::move(note);
    return false;
  };
  while (true) {
    const Deadline turn = Deadline::At(std::min(deadline.at(), in_a_moment()));
    std::optional<Slots::Slot> slot = SlotsOf(Lock::kNext).Take(stop, turn);
    if (slot) {
      ASSIGN_OR_RETURN(const bool is_next, WaitForFile(Lock::kNext, turn, stop));
      if (is_next) {
        const Held next(*this, Lock::kNext, std::move(*slot));  // held while this waits for kWriter
        NoteHolder(Lock::kNext);
        ASSIGN_OR_RETURN(const bool is_ours, WaitForFile(Lock::kWriter, deadline, stop));
        return is_ours ? Result<bool>(true) : in_vain();
      }
    }
    ASSIGN_OR_RETURN(const bool is_ours, TryFile(Lock::kWriter));
    if (is_ours) return true;
    if (stop.stop_requested() || deadline.Passed()) return in_vain();
  }
}

std::string LockFile::WritersNote() const {
  if (!HolderOf(Lock::kWriter)) return "";
  std::array<char, kNoteBytes> note{};
  const ssize_t got = ::pread(fd_.get(), note.data(), note.size(), 0);
  return {note.data(), static_cast<size_t>(std::max<ssize_t>(0, got))};
}

std::optional<LockFile::Held> LockFile::TryTake(Lock lock) {
  std::optional<Slots::Slot> slot = SlotsOf(lock).Take({}, Deadline::After(std::chrono::milliseconds(0)));
  if (!slot) return std::nullopt;
  const Result<bool> is_ours = TryFile(lock);
  if (!is_ours.ok() || !*is_ours) return std::nullopt;
  NoteHolder(lock);
  return Held(*this, lock, std::move(*slot));
}

Result<bool> LockFile::TryFile(Lock lock) const {
  struct flock range = Range(ByteOf(lock), F_WRLCK);
  while (::fcntl(fd_.get(), F_OFD_SETLK, &range) != 0) {
    if (errno == EAGAIN || errno == EACCES) return false;
    if (errno != EINTR) return ErrnoError(errno, fmt::format("{}: lock", path_));
  }
  return true;
}

Result<bool> LockFile::WaitForFile(Lock lock, const Deadline& deadline, const std::stop_token& stop) const {
  ASSIGN_OR_RETURN(bool is_ours, TryFile(lock));
  if (is_ours) return true;
  Nap nap(stop);
  for (auto pause = kFirstLook; !is_ours; pause = std::min(pause * 2, kLastLook)) {
    if (stop.stop_requested() || deadline.Passed()) return false;
    nap.Until(std::min(deadline.at(), std::chrono::steady_clock::now() + pause));
    ASSIGN_OR_RETURN(is_ours, TryFile(lock));
  }
  return true;
}

void LockFile::Unlock(Lock lock) const {
  struct flock name = Range(NameByteOf(lock), F_UNLCK);
  ::fcntl(fd_.get(), F_SETLK, &name);
  struct flock range = Range(ByteOf(lock), F_UNLCK);
  ::fcntl(fd_.get(), F_OFD_SETLK, &range);
}

void LockFile::NoteHolder(Lock lock) const {
  struct flock name = Range(NameByteOf(lock), F_WRLCK);
  ::fcntl(fd_.get(), F_SETLK, &name);
  if (lock != Lock::kWriter) return;
  // A disk that takes no more keeps an older note, of another process: then the time is left out.
  const std::string note = fmt::format("{:<{}}", fmt::format("{} {}\n", ::getpid(), NowMs()), kNoteBytes);
  static_cast<void>(!::pwrite(fd_.get(), note.data(), note.size(), 0));
}

std::optional<pid_t> LockFile::HolderOf(Lock lock) const {
  struct flock name = Range(NameByteOf(lock), F_WRLCK);
  // The kernel does not report a lock of this process, nor the pid of one in another pid namespace.
  if (::fcntl(fd_.get(), F_GETLK, &name) != 0 || name.l_type == F_UNLCK || name.l_pid <= 0)
    return std::nullopt;
  return name.l_pid;
}

Error LockFile::Busy(Lock lock) const {
  const std::string_view what = WhatIsBusy(lock);
  const std::optional<pid_t> holder = HolderOf(lock);
  if (!holder) return {Code::kBusy, fmt::format("{} by another process or thread; try again", what)};
  const std::string command = CommandOf(*holder);
  std::string since;
  if (const auto since_ms = SinceMs(fd_.get(), *holder); since_ms && lock == Lock::kWriter) {
    const auto seconds = static_cast<std::time_t>(*since_ms / 1000);
    since = fmt::format(" since {:%Y-%m-%d %H:%M:%S}", fmt::localtime(seconds));
  }
  const std::string what_to_do =
      IsStopped(*holder)
          ? fmt::format("it is stopped: let it go on (kill -CONT {0}) or end it (kill -9 {0})", *holder)
          : fmt::format("try again; if it does not go on, end it (kill -9 {})", *holder);
  return {Code::kBusy,
          fmt::format("{} by process {}{}{}; {}, which loses nothing that was acknowledged", what, *holder,
                      command.empty() ? "" : fmt::format(" ({})", command), since, what_to_do)};
}

}  // namespace modelfs::store
