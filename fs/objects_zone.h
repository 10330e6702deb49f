// The directories above the versions: the root, catalogs, schemas and models.
//
// mkdir and rmdir create and delete; rename renames a model within its schema; extended attributes are
// tags, descriptions and the owner. <schema>/<model>@<Alias> is looked up here and leads to the alias's
// version; it is never listed, and its name is looked up each time, so it is never older than the alias.
#pragma once

#include <memory>

#include "fs/context.h"
#include "fs/zone.h"

namespace modelfs::fs {

std::unique_ptr<Zone> MakeObjectsZone(Context& context);

}  // namespace modelfs::fs
