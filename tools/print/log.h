// The command's logger: to stderr or a file, as text or JSON, with a level that can change at run time.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "cas/base/result.h"

namespace spdlog {
class logger;
}

namespace modelfs::tools {

struct LogOptions {
  std::string level = "warn";  // trace, debug, info, warn, error, off
  std::string file;            // empty: stderr
  bool json = false;           // one JSON object a line
};

// A log file is created with mode 0600, appended to, and rotated at 16 MiB; three old files are kept.
//   kInvalidArgument   an unknown level
Result<std::shared_ptr<spdlog::logger>> MakeLogger(const LogOptions& options);

// If this process dies of a fault in the memory map of data.mdb or lock.mdb, it prints the reason to stderr
// and to the log file.
void ExplainMapFaults(const LogOptions& options);

// Changes the log level by one step. SIGUSR1 makes a running mount log more, SIGUSR2 less.
enum class LogStep { kMore, kLess };
void StepLogLevel(spdlog::logger& log, LogStep step);

// `text` as the inside of a JSON string, without the quotes; bytes that are not UTF-8 become U+FFFD.
std::string JsonEscaped(std::string_view text);

}  // namespace modelfs::tools
