// Runs a statement of `modelfs sql` against a registry: each is one or a few calls of it, which decides what
// is allowed and what it means.
#pragma once

#include <string>
#include <vector>

#include "cas/base/result.h"
#include "store/registry.h"
#include "tools/sql/syntax.h"

namespace modelfs::tools {

// What a statement answers. One that only changes something has no columns.
struct SqlTable {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;  // as wide as `columns`
};

// The registry's errors. SET TAGS and UNSET TAGS with several tags are one change each: at the first error
// those before it have happened.
Result<SqlTable> RunSql(store::Registry& registry, const store::Caller& caller,
                        const SqlStatement& statement);

}  // namespace modelfs::tools
