#include "cas/base/pending.h"

#include <memory>
#include <optional>

#include "cas/base/thread.h"

namespace modelfs {

Status Await(const Pending& pending, const Deadline& deadline) {
  struct End {
    Mutex mu;
    CondVar changed;
    std::optional<Status> status GUARDED_BY(mu);
  };
  const auto end = std::make_shared<End>();
  std::stop_source stop;
  pending(stop.get_token(), [end](const Status& status) {
    const MutexLock lock(end->mu);
    end->status = status;
    end->changed.NotifyAll();
  });
  const MutexLock lock(end->mu);
  while (!end->status.has_value()) {
    if (end->changed.WaitUntil(end->mu, deadline.at()) || !deadline.Passed()) continue;
    stop.request_stop();
    return Error(Code::kDeadlineExceeded, "it did not arrive in time");
  }
  return *end->status;
}

}  // namespace modelfs
