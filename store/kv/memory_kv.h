// The engine for tests: everything in one process's memory.
#pragma once

#include <memory>

#include "store/kv/kv.h"

namespace modelfs::store {

std::unique_ptr<Kv> MakeMemoryKv();

}  // namespace modelfs::store
