// Audit records that belong to no change wait here for their commit, many to one: files that were opened,
// requests that were refused. A change's own record does not come here, it is in the change's commit.
//
// What was added is in memory until a background thread has committed it, so a process that is killed loses
// what it added within the last moments; one that ends, or calls Flush, does not. While commits fail (a full
// disk) records wait. The queue is bounded: what does not fit is dropped and counted, and the number is
// recorded as soon as records can be written again.
//
// What is done once is done again in a loop: the first record of a kind is added at once, identical ones of
// the same second become one further record with their number ("count"), and so do one caller's refusals that
// go on differing in what was asked for only; so that the log of a busy host grows
// with the files it opens and not with how often. Where more is told apart within a second than there is
// memory for, what began first is written down early, and is then new again. Thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>

#include "cas/base/clock.h"
#include "cas/base/result.h"
#include "cas/base/thread.h"
#include "store/registry.h"

namespace spdlog {
class logger;
}

namespace modelfs::store {

class AuditSpool {
 public:
  // Commits some of the records, from the first one on, and answers how many: at least one. Called by one
  // thread at a time, without a lock.
  using Commit = std::function<Result<size_t>(std::span<const AuditRecord> records)>;

  struct Options {
    size_t capacity = 32'768;                     // records, of less than a KiB each
    std::chrono::milliseconds longest_wait{100};  // for room in a full queue
    int64_t coalesce_ms = 1000;                   // identical records within it are one
    std::chrono::milliseconds retry_after{1000};  // a failed commit
    size_t most_windows = 32'768;                 // kinds of records, each of less than a KiB, told apart
    std::shared_ptr<spdlog::logger> log = {};     // may be null
  };

  AuditSpool(Commit commit, const Clock& clock, Options options);
  // Commits what is waiting; gives up at the first failure.
  ~AuditSpool();
  AuditSpool(const AuditSpool&) = delete;
  AuditSpool& operator=(const AuditSpool&) = delete;

  // `record` has everything but its place in the chain. Where the host has no thread to write it down, it
  // waits for the next call that finds one.
  void Add(AuditRecord record);

  // Returns when everything that was added before is committed, or answers why it cannot be; it waits on
  // then.
  Status Flush();

 private:
  // Identical records: how many there were behind the one that opened the window.
  struct Window {
    std::string kind;  // what they have in common
    AuditRecord last;  // where there were more
    int64_t began_ms = 0;
    uint64_t more = 0;
    size_t variants = 0;  // of a group of refusals: how many have had a window of their own
  };
  using Windows = std::list<Window>;

  void Run();
  void StartThread() REQUIRES(mu_);
  // True where the record was counted and is not to be queued.
  bool Coalesce(const AuditRecord& record) REQUIRES(mu_);
  // A new window, for which the oldest ends where there are too many.
  Windows::iterator Begin(std::string kind) REQUIRES(mu_);
  void Restart(Windows::iterator window) REQUIRES(mu_);
  void End(Windows::iterator window) REQUIRES(mu_);
  bool IsOver(const Window& window) const;
  static void Count(Window& window, const AuditRecord& record);
  // Queues one record for those that were counted; where the queue is full they are lost.
  void WriteCount(Window& window) REQUIRES(mu_);
  enum class Which { kEnded, kAll };
  void CloseWindows(Which which) REQUIRES(mu_);
  void ReportLost() REQUIRES(mu_);

  const Commit commit_;
  const Clock& clock_;
  const Options options_;

  Mutex mu_;
  CondVar work_;   // for the thread: something to do
  CondVar moved_;  // for the others: room, or the outcome of a commit
  std::deque<AuditRecord> queue_ GUARDED_BY(mu_);
  Windows windows_ GUARDED_BY(mu_);  // in the order in which they began
  std::unordered_map<std::string_view, Windows::iterator> by_kind_ GUARDED_BY(mu_);  // of windows_
  uint64_t lost_ GUARDED_BY(mu_) = 0;
  uint64_t added_ GUARDED_BY(mu_) = 0;      // that were ever queued
  uint64_t committed_ GUARDED_BY(mu_) = 0;  // of those
  uint64_t failures_ GUARDED_BY(mu_) = 0;   // commits that failed
  Status outcome_ GUARDED_BY(mu_);          // of the last commit
  uint64_t flushes_ GUARDED_BY(mu_) = 0;    // calls of Flush
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_ GUARDED_BY(mu_);  // started by the first record: most processes have none to add
};

}  // namespace modelfs::store
