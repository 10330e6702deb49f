// What other zones need to know of the generated files.
#pragma once

#include "fs/context.h"
#include "fs/zone.h"
#include "store/registry.h"

namespace modelfs::fs {

// What a lookup of /.modelfs and of <model>/.info answers.
Entry ControlDirectoryEntry(const Context& context);
Entry InfoDirectoryEntry(const Context& context, const store::ObjectInfo& model);

}  // namespace modelfs::fs
