#include "store/kv/memory_kv.h"

#include <algorithm>
#include <map>
#include <utility>

#include "cas/base/thread.h"

namespace modelfs::store {
namespace {

struct Stored {
  std::string value;
  Revision revision = 0;
};
using Table = std::map<std::string, Stored, std::less<>>;

// Shared by the engine and its snapshots, which may outlive it.
struct State {
  Mutex mu;
  CondVar committed;
  // Copied before a write while a snapshot holds it; snapshots let go of it under `mu`.
  std::shared_ptr<Table> table GUARDED_BY(mu) = std::make_shared<Table>();
  std::map<Revision, std::string> log GUARDED_BY(mu);
  Revision revision GUARDED_BY(mu) = 0;
  Revision trimmed_through GUARDED_BY(mu) = 0;
};

KvEntry EntryOf(const Table::value_type& item) {
  return {item.first, item.second.value, item.second.revision};
}

class MemorySnapshot : public Snapshot {
 public:
  MemorySnapshot(std::shared_ptr<State> state, std::shared_ptr<const Table> table, Revision revision)
      : state_(std::move(state)), table_(std::move(table)), revision_(revision) {}
  ~MemorySnapshot() override {
    const MutexLock lock(state_->mu);
    table_.reset();
  }
  MemorySnapshot(const MemorySnapshot&) = delete;
  MemorySnapshot& operator=(const MemorySnapshot&) = delete;

  Revision revision() const override { return revision_; }

  Result<std::optional<KvEntry>> Get(std::string_view key) override {
    const auto found = table_->find(key);
    if (found == table_->end()) return std::optional<KvEntry>();
    return std::optional<KvEntry>(EntryOf(*found));
  }

  Result<std::vector<KvEntry>> Range(std::string_view begin, std::string_view end, size_t limit) override {
    std::vector<KvEntry> entries;
    for (auto at = table_->lower_bound(begin); at != table_->end() && entries.size() < limit; ++at) {
      if (!end.empty() && at->first >= end) break;
      entries.push_back(EntryOf(*at));
    }
    return entries;
  }

  Result<std::optional<KvEntry>> Last(std::string_view begin, std::string_view end) override {
    auto at = end.empty() ? table_->end() : table_->lower_bound(end);
    if (at == table_->begin()) return std::optional<KvEntry>();
    --at;
    if (at->first < begin) return std::optional<KvEntry>();
    return std::optional<KvEntry>(EntryOf(*at));
  }

 private:
  std::shared_ptr<State> state_;
  std::shared_ptr<const Table> table_;
  Revision revision_;
};

class MemoryKv : public Kv {
 public:
  Result<std::unique_ptr<Snapshot>> Read() override {
    const MutexLock lock(state_->mu);
    return std::unique_ptr<Snapshot>(
        std::make_unique<MemorySnapshot>(state_, state_->table, state_->revision));
  }

  Result<Revision> Commit(const KvTransaction& transaction) override {
    RETURN_IF_ERROR(CheckTransaction(transaction));
    const MutexLock lock(state_->mu);
    for (const KvExpectation& expectation : transaction.expectations) {
      const auto found = state_->table->find(expectation.key);
      const Revision now = found == state_->table->end() ? 0 : found->second.revision;
      if (now != expectation.revision) {
        return Error(Code::kAborted, "another commit changed what this one had read");
      }
    }
    if (state_->table.use_count() > 1) state_->table = std::make_shared<Table>(*state_->table);
    const Revision revision = ++state_->revision;
    for (const KvWrite& write : transaction.writes) {
      if (write.value) {
        (*state_->table)[write.key] = {*write.value, revision};
      } else {
        state_->table->erase(write.key);
      }
    }
    if (transaction.log_entry) state_->log[revision] = *transaction.log_entry;
    state_->committed.NotifyAll();
    return revision;
  }

  // A commit here is over in a moment.
  Patience NewPatience(std::stop_token stop) const override { return {.stop = std::move(stop)}; }
  Error Busy() const override { return {Code::kBusy, "another change is under way; try again"}; }

  Status DeleteKeys(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) RETURN_IF_ERROR(CheckKey(key));
    const MutexLock lock(state_->mu);
    if (state_->table.use_count() > 1) state_->table = std::make_shared<Table>(*state_->table);
    for (const std::string& key : keys) state_->table->erase(key);
    return OkStatus();
  }

  Result<std::vector<LogEntry>> ReadLog(Revision after, size_t limit) override {
    const MutexLock lock(state_->mu);
    if (after < state_->trimmed_through) return LogTrimmed(after);
    std::vector<LogEntry> entries;
    for (auto at = state_->log.upper_bound(after); at != state_->log.end() && entries.size() < limit; ++at) {
      entries.push_back({at->first, at->second});
    }
    return entries;
  }

  Status TrimLog(Revision through) override {
    const MutexLock lock(state_->mu);
    through = std::min(through, state_->revision);
    state_->log.erase(state_->log.begin(), state_->log.upper_bound(through));
    state_->trimmed_through = std::max(state_->trimmed_through, through);
    return OkStatus();
  }

  void WaitForCommit(Revision after, const Deadline& deadline, const std::stop_token& stop) override {
    // The callback takes the lock so that it cannot fall between the check and the wait.
    const std::stop_callback wake(stop, [state = state_] {
      const MutexLock lock(state->mu);
      state->committed.NotifyAll();
    });
    const MutexLock lock(state_->mu);
    while (state_->revision <= after && !stop.stop_requested()) {
      if (!state_->committed.WaitUntil(state_->mu, deadline.at())) return;
    }
  }

 private:
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace

std::unique_ptr<Kv> MakeMemoryKv() { return std::make_unique<MemoryKv>(); }

}  // namespace modelfs::store
