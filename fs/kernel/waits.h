// Requests that wait for bytes from another host. A wait holds no thread: it ends when the bytes are here,
// when its caller gives up, when its deadline passes, or with the mount, and only then the request runs
// again, on a thread of the executor here.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/pending.h"
#include "cas/base/result.h"
#include "cas/base/thread.h"
#include "fs/kernel/executor.h"

namespace modelfs::fs {

// Thread-safe. Held by a shared_ptr, because the end of a wait may be reported after the mount has ended.
//
// Invariant: an entry of waiting_ has not resumed; the thread that erases it makes it resume, once.
class Waits : public std::enable_shared_from_this<Waits> {
 public:
  using Id = uint64_t;
  // OK: the bytes are here. kCancelled: Cancel. kDeadlineExceeded. kUnavailable: the mount ends. Else as the
  // bytes' own wait ended.
  using Resume = std::function<void(const Status&)>;

  explicit Waits(size_t threads) : resumed_(threads, kMaxWaiting) {}
  ~Waits() { Finish(); }

  // In two steps, so that the caller can register `id` for Cancel in between: only Start begins to wait, and
  // `resume` is called at or after it, never within Add or Cancel. kBusy: too many wait, or the host has no
  // thread for the deadlines; kUnavailable: Finish was called.
  Result<Id> Add(const Pending& pending, const Deadline& deadline, Resume resume);
  void Start(Id id);

  // Its caller gave up. Nothing where the wait has ended.
  void Cancel(Id id) { End(id, Error(Code::kCancelled, "a signal ended the wait for its bytes")); }

  // Ends all waits, and returns once everything has resumed. None begins from now on.
  void Finish();

  size_t size() const;

 private:
  static constexpr size_t kMaxWaiting = 65'536;  // each is a process that waits, or a piece of a readahead

  struct Waiting {
    Pending pending;
    Deadline deadline;
    Resume resume;
    std::stop_source stop = {};
    bool started = false;
    std::optional<Status> ended = std::nullopt;  // before it was started
  };

  void End(Id id, const Status& how);
  void RunAgain(Waiting waiting, const Status& how);
  void WatchDeadlines();
  // Ids with a passed deadline, and the earliest deadline of the others, far away if there are none.
  std::pair<std::vector<Id>, Deadline> Overdue() const REQUIRES(mu_);

  Executor resumed_;
  mutable Mutex mu_;
  CondVar changed_;
  std::unordered_map<Id, Waiting> waiting_ GUARDED_BY(mu_);
  Id last_id_ GUARDED_BY(mu_) = 0;
  std::thread deadlines_ GUARDED_BY(mu_);
  Deadline wakes_at_ GUARDED_BY(mu_) = Deadline::Now();  // of that thread
  bool finishing_ GUARDED_BY(mu_) = false;
};

}  // namespace modelfs::fs
