// Entries of the generated files, for other zones.
#pragma once

#include "fs/base/context.h"
#include "fs/base/zone.h"
#include "store/types.h"

namespace modelfs::fs {

// The entries that a lookup of /.modelfs and of <model>/.info returns.
Entry ControlDirectoryEntry(const Context& context);
Entry InfoDirectoryEntry(const Context& context, const store::ObjectInfo& model);

}  // namespace modelfs::fs
