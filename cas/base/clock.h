// Time as a dependency, so that tests can set the time.
#pragma once

#include <chrono>
#include <cstdint>

namespace modelfs {

class Clock {
 public:
  virtual ~Clock() = default;
  // Milliseconds since 1970-01-01 UTC. For records and expiry; may jump.
  virtual int64_t NowMs() const = 0;
  // Milliseconds since the machine started, including suspended time. For durations; never jumps.
  virtual int64_t SinceBootMs() const = 0;
};

// The machine's clock. Lives for the whole process.
const Clock& SystemClock();

// How long a call may take, measured on the steady clock.
class Deadline {
 public:
  static Deadline After(std::chrono::milliseconds time_left) {
    return Deadline(std::chrono::steady_clock::now() + time_left);
  }
  static Deadline At(std::chrono::steady_clock::time_point at) { return Deadline(at); }
  // Has passed: a call with it waits for nothing.
  static Deadline Now() { return Deadline(std::chrono::steady_clock::time_point()); }
  static Deadline Never() { return Deadline(std::chrono::steady_clock::time_point::max()); }

  bool Passed() const { return std::chrono::steady_clock::now() >= at_; }
  std::chrono::steady_clock::time_point at() const { return at_; }

 private:
  explicit Deadline(std::chrono::steady_clock::time_point at) : at_(at) {}
  std::chrono::steady_clock::time_point at_;
};

}  // namespace modelfs
