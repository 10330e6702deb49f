// The locks that stand in front of LMDB's own, in one file beside data.mdb.
//
// LMDB's locks are mutexes in shared memory: a wait for one is unbounded, no signal ends it, and the death of
// a waiting process can leave another asleep. The locks here are file locks (fcntl(2), "Open file description
// locks"), which the kernel releases, however their holder ends. A process enters one of LMDB's mutexes only
// while it holds the lock in front of it, so it never waits for LMDB's.
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

  // Opens the file, and makes it if it does not exist. A symbolic link in its place is refused.
  static Result<std::unique_ptr<LockFile>> Open(const std::string& path);

  const std::string& path() const { return path_; }

  // Waits for the lock, at most until `deadline`. After a wait for a writer has failed, other threads of this
  // process wait only a moment for that same writer. A mount's requests may come one by one, each after the
  // answer to the one before it, while the kernel holds locks of its own.
  //   kBusy        another holder has it: names its process, and since when it has it
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
  // The note of the present writer; "" if no other process is writing, or it noted nothing.
  std::string WritersNote() const;
  void Unlock(Lock lock) const;
  // The process that has the lock, if the kernel reports it. Never this process.
  std::optional<pid_t> HolderOf(Lock lock) const;
  // Makes other processes' HolderOf return this process; of the writer, also notes the time.
  void NoteHolder(Lock lock) const;

  const std::string path_;
  const Fd fd_;
  Mutex mu_;
  std::string waited_in_vain_for_ GUARDED_BY(mu_);  // a writer's note
  // Between the threads of this process, which own the file's locks together.
  std::array<Slots, kLocks> slots_{Slots(1), Slots(1), Slots(1), Slots(1)};
};

}  // namespace modelfs::store
