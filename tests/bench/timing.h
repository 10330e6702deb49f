// The clock of the benchmarks.
#pragma once

#include <chrono>

namespace modelfs::bench {

using SteadyClock = std::chrono::steady_clock;

inline double MicrosSince(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count();
}

}  // namespace modelfs::bench
