// Hostile SQL is parsed, or refused with a printable sentence. A parsed statement that is printed parses to
// the same statement.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cas/base/check.h"
#include "cas/base/text.h"
#include "tests/tools/sql/print_sql.h"
#include "tools/sql/parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  using namespace modelfs;
  const std::string_view input(reinterpret_cast<const char*>(data), size_bytes);
  const bool whole = tools::IsWholeSql(input);
  const auto parsed = tools::ParseSql(input);
  if (!parsed.ok()) {
    CHECK(Printable(parsed.error().message()) == parsed.error().message());
    return 0;
  }
  if (parsed->empty()) CHECK(whole);
  for (const tools::ParsedStatement& statement : *parsed) {
    const auto again = tools::ParseSql(tools::PrintSql(statement.statement));
    CHECK(again.ok());
    CHECK(again->size() == 1);
    CHECK(again->front().statement == statement.statement);
  }
  return 0;
}
