// A queue of audit records that belong to no change: opened files and refused requests. Many of them go into
// one commit. A change's own record does not come here, because it is in the change's commit.
//
// Records are in memory until a background thread has committed them. A killed process loses the records of
// its last moments; one that ends normally, or calls Flush, loses none. While commits fail (a full disk)
// records wait. The queue is bounded: a record that does not fit is dropped and counted, and the number is
// recorded as soon as records can be written again.
//
// Programs repeat their requests in loops, so repeated records are counted in windows. A window belongs to
// one caller, action, object, version and outcome, and lasts a minute from its first record on. Its first
// record is added at once. Refusals may differ in their parameters: the first eight different ones are added
// at once. All further records become one record at the window's end, with their number ("count") and the
// fields that they have in common. So the log grows with the callers and the versions that they use, not with
// the number of opens, and a kill loses counts only. If more windows are open than memory allows, the oldest
// ends early.
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
#include "store/journal.h"

namespace spdlog {
class logger;
}

namespace modelfs::store {

class AuditSpool {
 public:
  // Commits some of the records, from the first one on, and returns how many: at least one. Called by one
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
  // Commits the waiting records; gives up at the first failure.
  ~AuditSpool();
  AuditSpool(const AuditSpool&) = delete;
  AuditSpool& operator=(const AuditSpool&) = delete;

  enum class Repeats : uint8_t {
    kCounted,  // as above
    kEach,     // a record of its own, whatever came before it
  };
  // `record` has everything but its place in the chain. If the host refuses to start a thread, the record
  // waits for the next call that can start one.
  void Add(AuditRecord record, Repeats repeats = Repeats::kCounted);

  // Returns when everything that was added before is committed. If a commit fails, returns its error; the
  // records keep waiting.
  Status Flush();

 private:
  struct Window {
    std::string key;  // the fields that its records have in common
    int64_t began_ms = 0;
    std::vector<uint64_t> added;  // the VariantOf of each record that was added
    uint64_t counted = 0;
    AuditRecord common;  // of those counted: the last one, without the fields that differ
  };
  using Windows = std::list<Window>;

  void Run();
  void StartThread() REQUIRES(mu_);
  // True if the record was counted and must not be queued.
  bool Counted(const AuditRecord& record) REQUIRES(mu_);
  // The open window of that key; a new one if none is open.
  Windows::iterator WindowOf(std::string key) REQUIRES(mu_);
  void End(Windows::iterator window) REQUIRES(mu_);
  bool IsOver(const Window& window) const;
  static void Count(Window& window, const AuditRecord& record);
  // Queues one record for those that were counted; if the queue is full they are lost.
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
  uint64_t added_ GUARDED_BY(mu_) = 0;      // records that were ever queued
  uint64_t committed_ GUARDED_BY(mu_) = 0;  // of those
  uint64_t failures_ GUARDED_BY(mu_) = 0;   // commits that failed
  Status outcome_ GUARDED_BY(mu_);          // of the last commit
  uint64_t flushes_ GUARDED_BY(mu_) = 0;    // calls of Flush
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_ GUARDED_BY(mu_);  // started by the first record: most processes have none to add
};

}  // namespace modelfs::store
