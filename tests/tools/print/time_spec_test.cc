#include "tools/print/time_spec.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

namespace modelfs::tools {
namespace {

constexpr int64_t kNowMs = 1'800'000'000'000;

TEST(TimeSpec, ParsesAgesAndDates) {
  ::setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
  ::tzset();
  struct Row {
    const char* text;
    int64_t want_ms;
  };
  const Row rows[] = {
      {"90s", kNowMs - 90'000},
      {"30m", kNowMs - 1'800'000},
      {"1h", kNowMs - 3'600'000},
      {"2d", kNowMs - 172'800'000},
      {"1w", kNowMs - 604'800'000},
      {"0s", kNowMs},
      {"2026-11-24T13:00:05Z", 1'795'525'205'000},
      {"2026-11-24 13:00:05Z", 1'795'525'205'000},
      {"2026-11-24T13:00:05+01:30", 1'795'519'805'000},
      {"2026-11-24T13:00:05-01:30", 1'795'530'605'000},
      {"2026-11-24Z", 1'795'478'400'000},
      {"2026-11-24", 1'795'474'800'000},        // local time, an hour ahead of UTC
      {"2026-07-01T00:00", 1'782'856'800'000},  // two hours ahead in summer
      {"2024-02-29T00:00:00Z", 1'709'164'800'000},
  };
  for (const Row& row : rows) {
    const auto parsed = ParseTime(row.text, kNowMs);
    ASSERT_TRUE(parsed.ok()) << row.text << ": " << parsed.error().message();
    EXPECT_EQ(*parsed, row.want_ms) << row.text;
  }
}

TEST(TimeSpec, RefusesOtherTexts) {
  for (const char* text : {"",
                           "h",
                           "1",
                           "1y",
                           "-1h",
                           "1.5h",
                           "1h ",
                           " 1h",
                           "99999999999s",
                           "2026-11-24T",
                           "2026-11",
                           "2026-11-24T13",
                           "2026-11-24T13:00+1",
                           "2026-11-24T13:00Zx",
                           "2026-02-30",
                           "2026-13-01",
                           "2026-00-10",
                           "2026-11-24T24:00",
                           "2026-11-24T13:60",
                           "20261124",
                           "yesterday",
                           "\xff"}) {
    const auto parsed = ParseTime(text, kNowMs);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.error().code(), Code::kInvalidArgument);
    EXPECT_NE(parsed.error().message().find("30m"), std::string::npos);
  }
}

}  // namespace
}  // namespace modelfs::tools
