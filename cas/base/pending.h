// Bytes that are on their way from another host, as a value: a caller waits for them without a thread.
#pragma once

#include <functional>
#include <stop_token>

#include "cas/base/clock.h"
#include "cas/base/result.h"

namespace modelfs {

// Called once, with OK or with the reason why the bytes cannot be had: within the call that it was given to,
// or later from any thread. It returns soon and never throws.
using Done = std::function<void(const Status&)>;

// Starts to wait for something and calls `done` at its end. Its owner keeps it until then. Once `stop` is
// requested nobody waits any more: `done` may then be called late or never, and does nothing.
using Pending = std::function<void(const std::stop_token& stop, Done done)>;

// Waits in this thread. kDeadlineExceeded, or as `pending` ended.
Status Await(const Pending& pending, const Deadline& deadline);

}  // namespace modelfs
