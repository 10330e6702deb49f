// An audit record as people and other programs read it: the record that Unity Catalog delivers (reference
// §11), with additional fields. Only this file defines it. Fields: docs/formats.md, "audit record as JSON".
#pragma once

#include <string>

#include "store/journal.h"

namespace modelfs::store {

// One JSON object, without a line break in or behind it.
std::string AuditJson(const AuditRecord& record);
// The same of a record that Registry::Activity returned, which has no hashes.
std::string ActivityJson(const AuditRecord& record);

}  // namespace modelfs::store
