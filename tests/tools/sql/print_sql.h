// Writes parsed SQL again, for tests that what is read is what was meant.
#pragma once

#include <string>

#include "tools/sql/syntax.h"

namespace modelfs::tools {

// The statement as SQL without a semicolon, on one line except for line ends inside quotes. It parses to an
// equal statement.
std::string PrintSql(const SqlStatement& statement);

}  // namespace modelfs::tools
