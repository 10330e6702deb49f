// A progress line on the terminal for work that takes longer than a second. (Debian has no C++ library for
// it.)
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "cas/base/thread.h"

namespace modelfs::tools {

// "1.5 GiB", "812 bytes".
std::string HumanBytes(uint64_t bytes);

// The line: what, bytes done of all, percent, rate, time left. `total_bytes` 0: unknown.
std::string ProgressLine(const std::string& what, uint64_t done_bytes, uint64_t total_bytes,
                         std::chrono::milliseconds elapsed);

// Shown on stderr if that is a terminal, after the first second, redrawn at most ten times a second, and
// erased at the end. Thread-safe.
class Progress {
 public:
  // `total_bytes` is called once, when the line is first drawn. It is empty if the total is unknown.
  Progress(std::string what, std::function<uint64_t()> total_bytes);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Update(uint64_t done_bytes);

 private:
  const std::string what_;
  const bool terminal_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::atomic<int64_t> next_ms_{1000};  // since started_
  Mutex mu_;
  std::function<uint64_t()> ask_total_bytes_ GUARDED_BY(mu_);  // empty after its call
  uint64_t total_bytes_ GUARDED_BY(mu_) = 0;
  bool shown_ GUARDED_BY(mu_) = false;
};

// The size of the regular files below a directory, for a progress line. It skips directories that it cannot
// read.
uint64_t BytesBelow(const std::string& directory);

}  // namespace modelfs::tools
