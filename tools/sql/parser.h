// Reads the SQL of `modelfs sql`, and writes it. By hand: a lexer and one function a statement, without
// recursion, so no input is too deep. Pure functions, hence thread-safe.
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
};

// All statements of a script. Keywords and names in any case; names come out in lower case, principals as
// written. Nothing of a script that does not parse is answered.
//   kInvalidArgument    says line, column, what was expected and what was found; printable whatever came in
//   kResourceExhausted  a text longer than what it is for may be (store/names.h), with line and column
Result<std::vector<ParsedStatement>> ParseSql(std::string_view script);

// Whether `typed` can be run as it is: it ends with a semicolon that is not inside quotes or a comment, or
// says nothing at all.
bool IsWholeSql(std::string_view typed);

// The statement as SQL, on one line but for line ends inside quotes, without a semicolon. Parses to an equal
// one.
std::string PrintSql(const SqlStatement& statement);

}  // namespace modelfs::tools
