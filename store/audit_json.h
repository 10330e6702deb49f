// An audit record as people and other programs read it: the record that Unity Catalog delivers (reference
// §11), with what ours has more. The one place that says so. Fields: docs/formats.md, "audit record as JSON".
#pragma once

#include <string>

#include "store/registry.h"

namespace modelfs::store {

// One JSON object, without a line break in or behind it.
std::string AuditJson(const AuditRecord& record);

}  // namespace modelfs::store
