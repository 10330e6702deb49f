#include "tools/print/log.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/json_text.h"
#include "store/kv/map_fault.h"

namespace modelfs::tools {
namespace {

constexpr size_t kRotateBytes = size_t{16} << 20U;
constexpr size_t kRotatedKept = 3;

// %* in the pattern: the message as the inside of a JSON string.
class JsonMessageFlag : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/,
              spdlog::memory_buf_t& out) override {
    const std::string escaped = JsonEscaped({message.payload.data(), message.payload.size()});
    out.append(escaped.data(), escaped.data() + escaped.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonMessageFlag>();
  }
};

std::unique_ptr<spdlog::formatter> MakeFormatter(bool json) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  if (json) {
    formatter->add_flag<JsonMessageFlag>('*').set_pattern(
        R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","pid":%P,"message":"%*"})");
  } else {
    formatter->set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
  }
  return formatter;
}

}  // namespace

std::string JsonEscaped(std::string_view text) {
  const std::string quoted =
      nlohmann::json(std::string(text)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return VisibleJson(std::string_view(quoted).substr(1, quoted.size() - 2));
}

Result<std::shared_ptr<spdlog::logger>> MakeLogger(const LogOptions& options) {
  static const std::vector<std::string> levels = {"trace", "debug", "info", "warn", "error", "off"};
  if (std::find(levels.begin(), levels.end(), options.level) == levels.end()) {
    return Error(
        Code::kInvalidArgument,
        fmt::format("log level \"{}\" is not one of trace, debug, info, warn, error, off", options.level));
  }
  spdlog::sink_ptr sink;
  if (options.file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    // Create the file here, because spdlog would create it with the mode of the umask, and paths and names
    // are private.
    const Fd made(::open(options.file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!made.valid()) return ErrnoError(errno, fmt::format("log file {}: open", options.file));
    try {
      sink = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(options.file, kRotateBytes, kRotatedKept);
    } catch (const spdlog::spdlog_ex& failure) {
      return Error(Code::kInternal, fmt::format("log file {}: {}", options.file, failure.what()));
    }
  }
  auto log = std::make_shared<spdlog::logger>("modelfs", std::move(sink));
  log->set_formatter(MakeFormatter(options.json));
  log->set_level(spdlog::level::from_str(options.level));
  log->flush_on(spdlog::level::info);
  return log;
}

void ExplainMapFaults(const LogOptions& options) {
  // A signal handler writes these lines as they are, so they have no time.
  const auto line = [&](std::string text) {
    if (options.json) text = fmt::format(R"({{"level":"critical","message":"{}"}})", JsonEscaped(text));
    return text + "\n";
  };
  store::ExplainMapFaults(
      options.file, {.damaged = line(fmt::format("registry_damaged error=\"{}\"", store::MapDamaged())),
                     .locks_unwritable = line(
                         fmt::format("registry_locks_unwritable error=\"{}\"", store::LocksUnwritable()))});
}

void StepLogLevel(spdlog::logger& log, LogStep step) {
  const int wanted = static_cast<int>(log.level()) + (step == LogStep::kMore ? -1 : 1);
  const int level =
      std::clamp(wanted, static_cast<int>(spdlog::level::trace), static_cast<int>(spdlog::level::err));
  log.set_level(static_cast<spdlog::level::level_enum>(level));
}

}  // namespace modelfs::tools
