#include "tools/print/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

namespace modelfs::tools {
namespace {

constexpr int64_t kRedrawMs = 100;

std::string HumanSeconds(uint64_t seconds) {
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{}:{:02} min", seconds / 60, seconds % 60);
  return fmt::format("{}:{:02} h", seconds / 3600, seconds / 60 % 60);
}

}  // namespace

std::string HumanBytes(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} byte{}", bytes, bytes == 1 ? "" : "s");
  double value = static_cast<double>(bytes);
  const char* unit = "";
  for (const char* next : {"KiB", "MiB", "GiB", "TiB", "PiB"}) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return fmt::format("{:.1f} {}", value, unit);
}

std::string ProgressLine(const std::string& what, uint64_t done_bytes, uint64_t total_bytes,
                         std::chrono::milliseconds elapsed) {
  const double seconds = std::max(0.001, std::chrono::duration<double>(elapsed).count());
  const double rate = static_cast<double>(done_bytes) / seconds;
  std::string line = fmt::format("{}: {}", what, HumanBytes(done_bytes));
  if (total_bytes > 0) {
    const uint64_t done = std::min(done_bytes, total_bytes);  // a file may grow while it is read
    line += fmt::format(" of {}, {} %", HumanBytes(total_bytes),
                        static_cast<int>(100 * static_cast<double>(done) / static_cast<double>(total_bytes)));
    line += fmt::format(", {}/s", HumanBytes(static_cast<uint64_t>(rate)));
    if (rate >= 1) {
      const double left_s = static_cast<double>(total_bytes - done) / rate;
      line += fmt::format(", {} left", HumanSeconds(static_cast<uint64_t>(std::llround(left_s))));
    }
  } else {
    line += fmt::format(", {}/s", HumanBytes(static_cast<uint64_t>(rate)));
  }
  return line;
}

Progress::Progress(std::string what, std::function<uint64_t()> total_bytes)
    : what_(std::move(what)),
      terminal_(::isatty(STDERR_FILENO) == 1),
      ask_total_bytes_(std::move(total_bytes)) {}

Progress::~Progress() {
  const MutexLock lock(mu_);
  if (shown_) std::fputs("\r\033[K", stderr);
}

void Progress::Update(uint64_t done_bytes) {
  if (!terminal_) return;
  const auto elapsed =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - started_);
  int64_t due_ms = next_ms_.load(std::memory_order_relaxed);
  if (elapsed.count() < due_ms || !next_ms_.compare_exchange_strong(due_ms, elapsed.count() + kRedrawMs))
    return;
  const MutexLock lock(mu_);
  if (ask_total_bytes_) total_bytes_ = std::exchange(ask_total_bytes_, nullptr)();
  shown_ = true;
  std::fputs(fmt::format("\r\033[K{}", ProgressLine(what_, done_bytes, total_bytes_, elapsed)).c_str(),
             stderr);
}

uint64_t BytesBelow(const std::string& directory) {
  namespace files = std::filesystem;
  uint64_t total_bytes = 0;
  std::error_code failure;
  files::recursive_directory_iterator entry(directory, files::directory_options::skip_permission_denied,
                                            failure);
  for (; !failure && entry != files::recursive_directory_iterator(); entry.increment(failure)) {
    std::error_code ignored;
    if (entry->is_regular_file(ignored)) {
      const uint64_t bytes = entry->file_size(ignored);
      if (!ignored) total_bytes += bytes;
    }
  }
  return total_bytes;
}

}  // namespace modelfs::tools
