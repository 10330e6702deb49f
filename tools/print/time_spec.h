// Times as text on the command line.
#pragma once

#include <cstdint>
#include <string_view>

#include "cas/base/result.h"

namespace modelfs::tools {

// "90s", "30m", "1h", "2d", "1w": that long before `now_ms`. "2026-11-24", "2026-11-24T13:00", "2026-11-24
// 13:00:05", each optionally followed by "Z" or "+01:00", else in the local time zone. Returns milliseconds
// since 1970 UTC. kInvalidArgument shows both forms.
Result<int64_t> ParseTime(std::string_view text, int64_t now_ms);

// "90s", "30m", "1h", "2d", "1w" in milliseconds. kInvalidArgument shows the form.
Result<int64_t> ParseAge(std::string_view text);

}  // namespace modelfs::tools
