// Audit records that belong to no change wait here for their commit, many to one: files that were opened,
// requests that were refused. A change's own record does not come here, it is in the change's commit.
//
// What was added is in memory until a background thread has committed it, so a process that is killed loses
// what it added within the last moments; one that ends, or calls Flush, does not. While commits fail (a full
// disk) records wait. The queue is bounded: what does not fit is dropped and counted, and the number is
// recorded as soon as records can be written again.
//
// What is done once is done again in a loop, so records are counted by windows: one for each caller, action,
// object, version and outcome, which lasts a minute from its first record on. The first one of a window is
// added at once; of refusals, which may differ in what was asked for, the first eight that do. All further
// ones become one record at the window's end, with their number ("count") and what they had in common. So the
// log grows with who uses which versions, and not with how many files are opened or how often; and a kill
// loses counts only. Where more windows are open than there is memory for, the oldest ends early.
// Thread-safe.
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
#include <vector>

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
    int64_t window_ms = 60'000;
    std::chrono::milliseconds retry_after{1000};  // a failed commit
    size_t most_windows = 32'768;                 // each of less than a KiB
    std::shared_ptr<spdlog::logger> log = {};     // may be null
  };

  AuditSpool(Commit commit, const Clock& clock, Options options);
  // Commits what is waiting; gives up at the first failure.
  ~AuditSpool();
  AuditSpool(const AuditSpool&) = delete;
  AuditSpool& operator=(const AuditSpool&) = delete;

  enum class Repeats : uint8_t {
    kCounted,  // as above
    kEach,     // a record of its own, whatever came before it
  };
  // `record` has everything but its place in the chain. Where the host has no thread to write it down, it
  // waits for the next call that finds one.
  void Add(AuditRecord record, Repeats repeats = Repeats::kCounted);

  // Returns when everything that was added before is committed, or answers why it cannot be; it waits on
  // then.
  Status Flush();

 private:
  struct Window {
    std::string key;  // what its records have in common
    int64_t began_ms = 0;
    std::vector<uint64_t> added;  // of the first, different ones: their VariantOf
    uint64_t counted = 0;
    AuditRecord common;  // of those counted: the last one, less what others differ in
  };
  using Windows = std::list<Window>;

  void Run();
  void StartThread() REQUIRES(mu_);
  // True where the record was counted and is not to be queued.
  bool Counted(const AuditRecord& record) REQUIRES(mu_);
  // The window of that key that is still open, begun anew where there is none.
  Windows::iterator WindowOf(std::string key) REQUIRES(mu_);
  void End(Windows::iterator window) REQUIRES(mu_);
  bool IsOver(const Window& window) const;
  static void Count(Window& window, const AuditRecord& record);
  // Queues one record for those that were counted; where the queue is full they are lost.
  void WriteCount(Window& window) REQUIRES(mu_);
  // When the oldest window ends.
  std::chrono::steady_clock::time_point NextEnd() REQUIRES(mu_);
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
  std::unordered_map<std::string_view, Windows::iterator> by_key_ GUARDED_BY(mu_);  // of windows_
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
