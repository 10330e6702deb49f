#include "tools/print/time_spec.h"

#include <fmt/core.h>

#include <charconv>
#include <ctime>
#include <optional>

#include "cas/base/text.h"

namespace modelfs::tools {
namespace {

constexpr int64_t kSecondMs = 1000;
constexpr int64_t kMinuteMs = 60 * kSecondMs;
constexpr int64_t kHourMs = 60 * kMinuteMs;
constexpr int64_t kDayMs = 24 * kHourMs;

// Takes exactly `digits` digits off the front.
std::optional<int> TakeNumber(std::string_view& text, size_t digits) {
  int number = 0;
  if (text.size() < digits) return std::nullopt;
  for (const char c : text.substr(0, digits)) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + (c - '0');
  }
  text.remove_prefix(digits);
  return number;
}

bool TakeOneOf(std::string_view& text, std::string_view characters) {
  if (text.empty() || characters.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<int64_t> AgeMs(std::string_view text) {
  uint32_t count = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), count);
  if (parsed.ec != std::errc() || parsed.ptr + 1 != text.data() + text.size()) return std::nullopt;
  switch (*parsed.ptr) {
    case 's':
      return count * kSecondMs;
    case 'm':
      return count * kMinuteMs;
    case 'h':
      return count * kHourMs;
    case 'd':
      return count * kDayMs;
    case 'w':
      return count * 7 * kDayMs;
    default:
      return std::nullopt;
  }
}

std::optional<int64_t> ParseDate(std::string_view text) {
  std::tm date{};
  const auto take = [&text](int& field, size_t digits, int offset) {
    const std::optional<int> number = TakeNumber(text, digits);
    if (number) field = *number - offset;
    return number.has_value();
  };
  if (!take(date.tm_year, 4, 1900) || !TakeOneOf(text, "-") || !take(date.tm_mon, 2, 1) ||
      !TakeOneOf(text, "-") || !take(date.tm_mday, 2, 0)) {
    return std::nullopt;
  }
  if (TakeOneOf(text, "T ")) {
    if (!take(date.tm_hour, 2, 0) || !TakeOneOf(text, ":") || !take(date.tm_min, 2, 0)) return std::nullopt;
    if (TakeOneOf(text, ":") && !take(date.tm_sec, 2, 0)) return std::nullopt;
  }
  const std::tm wanted = date;
  const auto is_a_date = [&wanted](
                             const std::tm& made) {  // timegm(3) turns the 31st of November into the next day
    return made.tm_year == wanted.tm_year && made.tm_mon == wanted.tm_mon && made.tm_mday == wanted.tm_mday;
  };
  std::tm universal = date;
  const int64_t universal_s = ::timegm(&universal);
  if (!is_a_date(universal) || date.tm_hour > 23 || date.tm_min > 59 || date.tm_sec > 60) return std::nullopt;
  if (text.empty()) {
    date.tm_isdst = -1;
    return std::mktime(&date) * kSecondMs;
  }
  if (text == "Z") return universal_s * kSecondMs;
  const bool east = text.front() == '+';
  int hours = 0;
  int minutes = 0;
  if (!TakeOneOf(text, "+-") || !take(hours, 2, 0) || !TakeOneOf(text, ":") || !take(minutes, 2, 0)) {
    return std::nullopt;
  }
  if (!text.empty() || hours > 23 || minutes > 59) return std::nullopt;
  const int64_t ahead_ms = hours * kHourMs + minutes * kMinuteMs;
  return universal_s * kSecondMs - (east ? ahead_ms : -ahead_ms);
}

}  // namespace

Result<int64_t> ParseAge(std::string_view text) {
  if (const std::optional<int64_t> age = AgeMs(text)) return *age;
  return Error(Code::kInvalidArgument,
               fmt::format("\"{}\" is not an age; write it as 90s, 30m, 12h, 90d or 4w", Printable(text)));
}

Result<int64_t> ParseTime(std::string_view text, int64_t now_ms) {
  if (const std::optional<int64_t> age_ms = AgeMs(text)) return now_ms - *age_ms;
  if (const std::optional<int64_t> date_ms = ParseDate(text)) return *date_ms;
  return Error(
      Code::kInvalidArgument,
      fmt::format("\"{}\" is not a time; write an age such as 90s, 30m, 1h, 2d or 1w, or a time such as "
                  "2026-11-24 or 2026-11-24T13:00:00Z",
                  Printable(text)));
}

}  // namespace modelfs::tools
