#include "fs/kernel/waits.h"

#include <utility>

#include "fs/base/thread_signals.h"

namespace modelfs::fs {
namespace {

Error MountEnds() { return {Code::kUnavailable, "the mount ends, and its bytes are not here yet"}; }

}  // namespace

Result<Waits::Id> Waits::Add(const Pending& pending, const Deadline& deadline, Resume resume) {
  const MutexLock lock(mu_);
  if (finishing_) return MountEnds();
  if (waiting_.size() >= kMaxWaiting) {
    return Error(Code::kBusy, "too many requests wait for bytes from another host already; try again");
  }
  if (!deadlines_.joinable()) {
    deadlines_ = TryStartThread([this] { WatchDeadlines(); });
    if (!deadlines_.joinable()) return Error(Code::kBusy, "the host has no thread for one more; try again");
  }
  const Id id = ++last_id_;
  waiting_.emplace(id, Waiting{.pending = pending, .deadline = deadline, .resume = std::move(resume)});
  return id;
}

void Waits::Start(Id id) {
  Pending pending;
  std::stop_token stop;
  std::optional<Waiting> over;
  {
    const MutexLock lock(mu_);
    const auto found = waiting_.find(id);
    Waiting& waiting = found->second;  // nobody but this thread ends a wait that was not started
    if (waiting.ended.has_value()) {
      over = std::move(waiting);
      waiting_.erase(found);
    } else {
      waiting.started = true;
      pending = waiting.pending;
      stop = waiting.stop.get_token();
      if (waiting.deadline.at() < wakes_at_.at()) changed_.NotifyAll();
    }
  }
  if (over.has_value()) {
    const Status how = *over->ended;
    return RunAgain(*std::move(over), how);
  }
  pending(stop, [weak = weak_from_this(), id](const Status& status) {
    if (const std::shared_ptr<Waits> self = weak.lock(); self != nullptr) self->End(id, status);
  });
}

void Waits::End(Id id, const Status& how) {
  std::optional<Waiting> over;
  {
    const MutexLock lock(mu_);
    const auto found = waiting_.find(id);
    if (found == waiting_.end()) return;
    if (!found->second.started) {
      if (!found->second.ended.has_value()) found->second.ended = how;
      return;
    }
    over = std::move(found->second);
    waiting_.erase(found);
  }
  over->stop.request_stop();
  RunAgain(*std::move(over), how);
}

void Waits::RunAgain(Waiting waiting, const Status& how) {
  // The bytes' blob is kept until then: it may be in the middle of reporting the end.
  const auto run = [over = std::make_shared<Waiting>(std::move(waiting)), how] { over->resume(how); };
  if (!resumed_.Run(run)) run();  // the host has no thread for it
}

std::pair<std::vector<Waits::Id>, Deadline> Waits::Overdue() const {
  std::vector<Id> overdue;
  Deadline next = Deadline::After(std::chrono::hours(1));
  for (const auto& [id, waiting] : waiting_) {
    if (!waiting.started) continue;
    if (waiting.deadline.Passed()) {
      overdue.push_back(id);
    } else if (waiting.deadline.at() < next.at()) {
      next = waiting.deadline;
    }
  }
  return {std::move(overdue), next};
}

void Waits::WatchDeadlines() {
  LeaveSignalsToOthers();
  while (true) {
    std::vector<Id> overdue;
    {
      const MutexLock lock(mu_);
      while (!finishing_) {
        std::pair<std::vector<Id>, Deadline> now = Overdue();
        overdue = std::move(now.first);
        if (!overdue.empty()) break;
        wakes_at_ = now.second;
        changed_.WaitUntil(mu_, wakes_at_.at());
      }
      if (finishing_) return;
    }
    for (const Id id : overdue) {
      End(id, Error(Code::kDeadlineExceeded, "its bytes did not arrive in time from the host that has them"));
    }
  }
}

void Waits::Finish() {
  std::vector<Id> ids;
  std::thread deadlines;
  {
    const MutexLock lock(mu_);
    finishing_ = true;
    for (const auto& waiting : waiting_) ids.push_back(waiting.first);
    deadlines = std::move(deadlines_);
    changed_.NotifyAll();
  }
  if (deadlines.joinable()) deadlines.join();
  for (const Id id : ids) End(id, MountEnds());
  resumed_.Finish();
}

size_t Waits::size() const {
  const MutexLock lock(mu_);
  return waiting_.size();
}

}  // namespace modelfs::fs
