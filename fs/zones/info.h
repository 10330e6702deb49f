// What other zones need to know of the generated files.
#pragma once

#include "fs/base/context.h"
#include "fs/base/zone.h"
#include "store/types.h"

namespace modelfs::fs {

// What a lookup of /.modelfs and of <model>/.info answers.
Entry ControlDirectoryEntry(const Context& context);
Entry InfoDirectoryEntry(const Context& context, const store::ObjectInfo& model);

}  // namespace modelfs::fs
