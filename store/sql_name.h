// Names in SQL that is printed to be run again: each parses to exactly the same name, whatever its
// characters. Only this file quotes them; `modelfs sql` (tools/sql/parser.h) reads them back.
#pragma once

#include <string>
#include <string_view>

#include "store/names.h"
#include "store/privilege.h"

namespace modelfs::store {

// In back-ticks, those inside doubled.
std::string SqlQuoted(std::string_view name);

// In back-ticks if the parser needs them: for other characters than letters, digits and '_', and for the two
// words that begin another clause where a name may stand (IF EXISTS; SHOW GRANTS ON).
std::string SqlName(std::string_view name);
// Part by part, with dots between; "" for the metastore.
std::string SqlName(const FullName& name);

// "CATALOG"
std::string_view SqlKind(ObjectKind kind);
// "CATALOG prod", "METASTORE"
std::string SqlSecurable(ObjectKind kind, const FullName& name);

// "GRANT EXECUTE ON MODEL prod.ml.iris TO `ann`"; without a name, "…" stands for it.
std::string SqlGrant(Privilege privilege, ObjectKind kind, const FullName& name, std::string_view principal);
std::string SqlGrant(Privilege privilege, ObjectKind kind, std::string_view principal);

}  // namespace modelfs::store
