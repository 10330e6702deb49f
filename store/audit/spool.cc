#include "store/audit/spool.h"

#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "cas/base/check.h"
#include "cas/base/checksum.h"
#include "cas/base/codec.h"

namespace modelfs::store {
namespace {

constexpr size_t kMostBatch = 64;  // records offered to a commit, which takes what fits
// Different refusals in a window: enough for a user that tries a few things, too few to fill a log.
constexpr size_t kMostVariants = 8;
constexpr uint16_t kDone = 200;
constexpr uint16_t kLostStatus = 503;

std::string KeyOf(const AuditRecord& record) {
  Encoder encoder;
  encoder.String(record.principal)
      .String(record.run_by)
      .U8(static_cast<uint8_t>(record.proof))
      .String(record.door);
  encoder.String(record.action).U64(record.object).U32(record.status);
  if (const auto version = record.params.find("version_arg"); version != record.params.end()) {
    encoder.String(version->second);
  }
  return encoder.Take();
}

// A hash of the request's parameters.
uint64_t VariantOf(const AuditRecord& record) {
  Encoder encoder;
  encoder.String(record.full_name);
  for (const auto& [key, value] : record.params) encoder.String(key).String(value);
  return Xxh3_64(encoder.bytes());
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

void AuditSpool::Add(AuditRecord record, Repeats repeats) {
  const MutexLock lock(mu_);
  if (repeats == Repeats::kCounted && Counted(record)) return;
  const auto give_up = std::chrono::steady_clock::now() + options_.longest_wait;
  // If commits fail, waiting frees no room.
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

bool AuditSpool::Counted(const AuditRecord& record) {
  Window& window = *WindowOf(KeyOf(record));
  const uint64_t variant = VariantOf(record);
  const bool known = std::find(window.added.begin(), window.added.end(), variant) != window.added.end();
  if (known || window.added.size() == (record.status == kDone ? 1 : kMostVariants)) {
    Count(window, record);
    return true;
  }
  window.added.push_back(variant);
  return false;
}

AuditSpool::Windows::iterator AuditSpool::WindowOf(std::string key) {
  if (const auto known = by_key_.find(key); known != by_key_.end()) {
    if (!IsOver(*known->second)) return known->second;
    End(known->second);
  }
  if (windows_.size() >= options_.most_windows) End(windows_.begin());
  Window fresh;
  fresh.key = std::move(key);
  fresh.began_ms = clock_.NowMs();
  const auto window = windows_.insert(windows_.end(), std::move(fresh));
  by_key_.emplace(window->key, window);
  return window;
}

void AuditSpool::End(Windows::iterator window) {
  WriteCount(*window);
  by_key_.erase(window->key);
  windows_.erase(window);
}

// A clock that was set back ends it too: else it would delay all windows that began after it.
bool AuditSpool::IsOver(const Window& window) const {
  const int64_t now_ms = clock_.NowMs();
  return now_ms - window.began_ms >= options_.window_ms || now_ms < window.began_ms;
}

void AuditSpool::Count(Window& window, const AuditRecord& record) {
  AuditRecord& common = window.common;
  if (window.counted == 0) {
    common = record;
  } else {
    std::erase_if(common.params, [&](const auto& param) {
      const auto same = record.params.find(param.first);
      return same == record.params.end() || same->second != param.second;
    });
    if (common.full_name != record.full_name) common.full_name.clear();
    common.error = record.error;
    common.request_id = record.request_id;
    common.time_ms = record.time_ms;
  }
  ++window.counted;
}

void AuditSpool::WriteCount(Window& window) {
  if (window.counted == 0) return;
  if (queue_.size() >= options_.capacity) {
    lost_ += window.counted;
    return;
  }
  window.common.params["count"] = std::to_string(window.counted);
  queue_.push_back(std::move(window.common));
  ++added_;
}

void AuditSpool::CloseWindows(Which which) {
  while (!windows_.empty() && (which == Which::kAll || IsOver(windows_.front()))) End(windows_.begin());
}

std::chrono::steady_clock::time_point AuditSpool::NextEnd() {
  const int64_t left_ms = windows_.front().began_ms + options_.window_ms - clock_.NowMs();
  return std::chrono::steady_clock::now() +
         std::chrono::milliseconds(std::clamp<int64_t>(left_ms, 1, options_.window_ms));
}

void AuditSpool::ReportLost() {
  if (lost_ == 0) return;
  AuditRecord record;
  record.time_ms = clock_.NowMs();
  record.principal = fmt::format("uid:{}", ::getuid());  // the program itself, not a user
  record.door = "audit";
  record.action = "auditRecordsLost";
  record.change = false;
  record.params["count"] = std::to_string(lost_);
  record.status = kLostStatus;
  record.error =
      "records came faster than they could be written; this many opens and refusals are missing in the log";
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
                 "the host refused a thread for writing the audit log; end some processes");
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
        // A window ends although no record is added.
        work_.WaitUntil(mu_, NextEnd());
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
    // If each added record woke it, it would retry for each.
    const auto retry_at = std::chrono::steady_clock::now() + options_.retry_after;
    const uint64_t flushes = flushes_;
    while (!stopping_ && flushes_ == flushes && work_.WaitUntil(mu_, retry_at)) {
    }
  }
  mu_.Unlock();
}

}  // namespace modelfs::store
