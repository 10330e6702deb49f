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

// A file is appended to, created 0600, and rotated at 16 MiB with three old ones kept.
//   kInvalidArgument   no such level
Result<std::shared_ptr<spdlog::logger>> MakeLogger(const LogOptions& options);

// Has a process that dies of a damaged data.mdb say so, on stderr and in the log's file.
void ExplainMapFaults(const LogOptions& options);

// One step more (or less) talkative: what SIGUSR1 (and SIGUSR2) do to a running mount.
enum class LogStep { kMore, kLess };
void StepLogLevel(spdlog::logger& log, LogStep step);

// `text` as the inside of a JSON string, without the quotes; bytes that are not UTF-8 become U+FFFD.
std::string JsonEscaped(std::string_view text);

}  // namespace modelfs::tools
