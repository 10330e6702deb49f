// Runs a statement of `modelfs sql` as one or a few calls of the registry, which decides its meaning and
// whether it is allowed.
#pragma once

#include <string>
#include <vector>

#include "cas/base/result.h"
#include "store/governance.h"
#include "store/registry.h"
#include "tools/sql/syntax.h"

namespace modelfs::tools {

// The result of a statement. A statement that only changes something has no columns.
struct SqlTable {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;  // as wide as `columns`
};

// Returns the errors of the registry. SET TAGS, UNSET TAGS and ALTER GROUP make one change for each tag or
// member: the changes before the first error stay.
Result<SqlTable> RunSql(store::Registry& registry, store::Governance& governance, const store::Caller& caller,
                        const SqlStatement& statement);

}  // namespace modelfs::tools
