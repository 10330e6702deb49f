// Parses the SQL of `modelfs sql`. Written by hand: a lexer and one function per statement,
// without recursion, so no input is nested too deeply. Pure functions, hence thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/result.h"
#include "tools/sql/syntax.h"

namespace modelfs::tools {

inline constexpr size_t kSqlStatementMaxBytes = size_t{1} << 20U;

struct ParsedStatement {
  SqlStatement statement;
  size_t number = 0;  // 1, 2, 3, … in its script
  size_t line = 0;    // where it begins, from 1
  std::string text;   // as it is written, without its semicolon
};

// All statements of a script. Keywords and names may be in any case; the result has names in lower case and
// principals as written. A script with an error yields no statements.
//   kInvalidArgument    with line, column, and the expected and found text; printable for any input
//   kResourceExhausted  a text longer than its limit (store/names.h), with line and column
Result<std::vector<ParsedStatement>> ParseSql(std::string_view script);

// Whether `typed` is complete: it ends with a semicolon outside quotes and comments, or has no statement.
bool IsWholeSql(std::string_view typed);

}  // namespace modelfs::tools
