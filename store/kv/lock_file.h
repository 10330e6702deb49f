// The locks that stand in front of LMDB's own, in one file beside data.mdb.
//
// LMDB's are mutexes in shared memory: nothing bounds the wait for one, no signal ends it, and the death of a
// process that waits can leave another asleep. Ours are file locks (fcntl(2), "Open file description locks"),
// which the kernel releases, however their holder ends. A process enters one of LMDB's mutexes only while it
// holds the lock in front of it, so LMDB's are never waited for.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "cas/base/clock.h"
#include "cas/base/fd.h"
#include "cas/base/result.h"
#include "cas/base/slots.h"
#include "cas/base/thread.h"

namespace modelfs::store {

// One for each process and environment, as LMDB's. Thread-safe.
class LockFile {
 public:
  enum class Lock : uint8_t {
    kOpening,  // opens the environment
    kNext,     // is the next to take kWriter, so that the writer that just left cannot overtake it for ever
    kWriter,   // has a write transaction
    kReaders,  // takes or clears a slot of LMDB's table of readers
  };

  // A lock that is held. Outlived by its LockFile.
  class Held {
   public:
    ~Held();
    Held(Held&& other) noexcept
        : file_(std::exchange(other.file_, nullptr)), lock_(other.lock_), slot_(std::move(other.slot_)) {}
    Held& operator=(Held&&) = delete;

   private:
    friend class LockFile;
    Held(LockFile& file, Lock lock, Slots::Slot slot) : file_(&file), lock_(lock), slot_(std::move(slot)) {}
    LockFile* file_;
    Lock lock_;
    Slots::Slot slot_;
  };

  // Opens the file, made if need be. A symbolic link in its place is refused.
  static Result<std::unique_ptr<LockFile>> Open(const std::string& path);

  const std::string& path() const { return path_; }

  // Waits for the lock, at most until `deadline`. Once a writer was waited for in vain, others of this
  // process wait for the same one no more than a moment: the kernel may pass them on one by one, each after
  // the one before it, with locks of its own held.
  //   kBusy        somebody else has it: says who, and since when
  //   kCancelled   `stop` was requested
  Result<Held> Take(Lock lock, const Deadline& deadline, const std::stop_token& stop = {});
  // Without a wait.
  std::optional<Held> TryTake(Lock lock);

  // The kBusy of Take(lock): names the process that has the lock at this moment.
  Error Busy(Lock lock) const;

 private:
  static constexpr size_t kLocks = 4;

  LockFile(std::string path, Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  Slots& SlotsOf(Lock lock) { return slots_[static_cast<size_t>(lock)]; }
  // Between processes. Result<bool>: whether it was free.
  Result<bool> TryFile(Lock lock) const;
  // False when `deadline` passed.
  Result<bool> WaitForFile(Lock lock, const Deadline& deadline, const std::stop_token& stop) const;
  // Waits for kWriter by way of kNext. False when `deadline` passed.
  Result<bool> WaitForTurn(const Deadline& whole, const std::stop_token& stop) EXCLUDES(mu_);
  // What the writer of this moment noted; "" where nobody is it, or where it noted nothing.
  std::string WritersNote() const;
  void Unlock(Lock lock) const;
  // The process that has the lock, where the kernel tells it. Never this process.
  std::optional<pid_t> HolderOf(Lock lock) const;
  // Makes this process the one that HolderOf returns to others; of the writer, also since when.
  void NoteHolder(Lock lock) const;

  const std::string path_;
  const Fd fd_;
  Mutex mu_;
  std::string waited_in_vain_for_ GUARDED_BY(mu_);  // a writer's note
  // Between the threads of this process, which own the file's locks together.
  std::array<Slots, kLocks> slots_{Slots(1), Slots(1), Slots(1), Slots(1)};
};

}  // namespace modelfs::store
