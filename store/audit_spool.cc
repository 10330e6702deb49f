#include "store/audit_spool.h"

#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "cas/base/check.h"
#include "cas/base/codec.h"

namespace modelfs::store {
namespace {

constexpr size_t kMostBatch = 64;  // records offered to a commit, which takes what fits
// Refusals of one caller, action and object within a second that differ in what was asked for and are records
// of their own: enough for somebody who tries a few things, and nothing to fill a log with.
constexpr size_t kMostVariants = 8;
constexpr uint16_t kDone = 200;
constexpr uint16_t kLostStatus = 503;

// Who was refused what, whatever was asked for in particular.
std::string GroupOf(const AuditRecord& record) {
  Encoder encoder;
  encoder.String("refused").String(record.principal).String(record.run_by).String(record.door);
  encoder.String(record.action).U64(record.object);
  return encoder.Take();
}

// What makes two records identical.
std::string KindOf(const AuditRecord& record) {
  Encoder encoder;
  encoder.String(record.principal)
      .String(record.run_by)
      .U8(static_cast<uint8_t>(record.proof))
      .String(record.door);
  encoder.String(record.action).String(record.full_name).U64(record.object).U32(record.status);
  for (const auto& [key, value] : record.params) encoder.String(key).String(value);
  return encoder.Take();
}

}  // namespace

AuditSpool::AuditSpool(Commit commit, const Clock& clock, Options options)
    : commit_(std::move(commit)), clock_(clock), options_(std::move(options)) {}

AuditSpool::~AuditSpool() {
  std::thread thread;
  {
    const MutexLock lock(mu_);
    stopping_ = true;
    thread = std::move(thread_);
    work_.NotifyAll();
  }
  if (thread.joinable()) {
    thread.join();
  } else {
    Run();
  }
}

void AuditSpool::StartThread() {
  if (!thread_.joinable()) thread_ = TryStartThread([this] { Run(); });
}

void AuditSpool::Add(AuditRecord record) {
  const MutexLock lock(mu_);
  if (Coalesce(record)) return;
  const auto give_up = std::chrono::steady_clock::now() + options_.longest_wait;
  // Where commits fail, waiting brings no room.
  while (queue_.size() >= options_.capacity && outcome_.ok() && moved_.WaitUntil(mu_, give_up)) {
  }
  if (queue_.size() >= options_.capacity) {
    ++lost_;
    return;
  }
  queue_.push_back(std::move(record));
  ++added_;
  StartThread();
  work_.NotifyOne();
}

bool AuditSpool::Coalesce(const AuditRecord& record) {
  std::string kind = KindOf(record);
  if (const auto known = by_kind_.find(kind); known != by_kind_.end()) {
    const Windows::iterator window = known->second;
    if (window->more == 0 && IsOver(*window)) {
      Restart(window);
      return false;
    }
    Count(*window, record);  // also where the window is over: the thread is about to write it down
    return true;
  }
  if (record.status != kDone) {
    std::string group_kind = GroupOf(record);
    const auto known = by_kind_.find(group_kind);
    const Windows::iterator group = known != by_kind_.end() ? known->second : Begin(std::move(group_kind));
    if (group->more == 0 && IsOver(*group)) {
      Restart(group);
      group->variants = 0;
    }
    if (group->variants == kMostVariants) {
      Count(*group, record);
      group->last = record;  // what was asked for at the end
      return true;
    }
    ++group->variants;
  }
  Begin(std::move(kind));
  return false;
}

AuditSpool::Windows::iterator AuditSpool::Begin(std::string kind) {
  if (windows_.size() >= options_.most_windows) End(windows_.begin());
  const auto window = windows_.insert(windows_.end(), {std::move(kind), {}, clock_.NowMs()});
  by_kind_.emplace(window->kind, window);
  return window;
}

void AuditSpool::Restart(Windows::iterator window) {
  window->began_ms = clock_.NowMs();
  windows_.splice(windows_.end(), windows_, window);
}

void AuditSpool::End(Windows::iterator window) {
  WriteCount(*window);
  by_kind_.erase(window->kind);
  windows_.erase(window);
}

// A clock that was set back ends it too, else it would hold up all that began after it.
bool AuditSpool::IsOver(const Window& window) const {
  const int64_t now_ms = clock_.NowMs();
  return now_ms - window.began_ms >= options_.coalesce_ms || now_ms < window.began_ms;
}

void AuditSpool::Count(Window& window, const AuditRecord& record) {
  if (window.more == 0) window.last = record;
  ++window.more;
  window.last.time_ms = record.time_ms;
}

void AuditSpool::WriteCount(Window& window) {
  if (window.more == 0) return;
  if (queue_.size() >= options_.capacity) {
    lost_ += window.more;
  } else {
    window.last.params["count"] = std::to_string(window.more);
    queue_.push_back(std::move(window.last));
    ++added_;
  }
  window.last = {};
  window.more = 0;
}

void AuditSpool::CloseWindows(Which which) {
  for (size_t open = windows_.size(); open > 0; --open) {
    const auto oldest = windows_.begin();
    if (which == Which::kEnded && !IsOver(*oldest)) return;
    if (oldest->more == 0) {
      End(oldest);
    } else {
      WriteCount(*oldest);
      Restart(oldest);  // a flood is one record a second
    }
  }
}

void AuditSpool::ReportLost() {
  if (lost_ == 0) return;
  AuditRecord record;
  record.time_ms = clock_.NowMs();
  record.principal = fmt::format("uid:{}", ::getuid());  // the program, in nobody's name
  record.door = "audit";
  record.action = "auditRecordsLost";
  record.change = false;
  record.params["count"] = std::to_string(lost_);
  record.status = kLostStatus;
  record.error =
      "more was to be recorded than could be written; so many opens and refusals are not in this log";
  queue_.push_back(std::move(record));
  ++added_;
  lost_ = 0;
}

Status AuditSpool::Flush() {
  const MutexLock lock(mu_);
  ++flushes_;
  CloseWindows(Which::kAll);
  const uint64_t through = added_;
  const uint64_t failures = failures_;
  StartThread();
  if (!thread_.joinable() && committed_ < through) {
    return Error(Code::kUnavailable,
                 "the host has no thread that could write to the audit log; end some processes");
  }
  work_.NotifyOne();
  while (committed_ < through && failures_ == failures) moved_.Wait(mu_);
  return committed_ >= through ? OkStatus() : outcome_;
}

void AuditSpool::Run() {
  mu_.Lock();
  while (true) {
    CloseWindows(stopping_ ? Which::kAll : Which::kEnded);
    if (queue_.empty()) {
      if (stopping_) break;
      if (windows_.empty()) {
        work_.Wait(mu_);
      } else {
        // A window ends without anyone adding anything.
        work_.WaitUntil(mu_,
                        std::chrono::steady_clock::now() + std::chrono::milliseconds(options_.coalesce_ms));
      }
      continue;
    }
    const std::vector<AuditRecord> batch(
        queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(std::min(queue_.size(), kMostBatch)));
    mu_.Unlock();
    const Result<size_t> taken = commit_(batch);
    mu_.Lock();
    const bool was_ok = outcome_.ok();
    outcome_ = taken.ok() ? OkStatus() : Status(taken.error());
    if (taken.ok()) {
      CHECK(*taken > 0 && *taken <= batch.size());
      queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(*taken));
      committed_ += *taken;
      ReportLost();
    } else {
      ++failures_;
    }
    moved_.NotifyAll();
    if (options_.log != nullptr && was_ok && !outcome_.ok()) {
      options_.log->warn("audit_records_wait queued={} reason=\"{}\"", queue_.size(),
                         outcome_.error().message());
    }
    if (taken.ok()) continue;
    if (stopping_) {
      if (options_.log != nullptr) options_.log->error("audit_records_lost count={}", queue_.size() + lost_);
      break;
    }
    // Woken by what is added meanwhile, it would try again for each.
    const auto retry_at = std::chrono::steady_clock::now() + options_.retry_after;
    const uint64_t flushes = flushes_;
    while (!stopping_ && flushes_ == flushes && work_.WaitUntil(mu_, retry_at)) {
    }
  }
  mu_.Unlock();
}

}  // namespace modelfs::store
