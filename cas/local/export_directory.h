// A tree of the store becomes a directory of the host.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "cas/base/result.h"
#include "cas/blob_store.h"
#include "cas/tree.h"
#include "cas/tree_times.h"

namespace modelfs::cas {

// Writes a tree's files into `directory`, a new or an empty one. A new one is there whole or not at all; on
// an error nothing is left of what was written. Bytes are verified on the way, and cloned by the file system
// where it can (copy_file_range). Files get their mtimes. Nothing outside of `directory` is written or
// removed, also while others change what is in it.
//   kAlreadyExists   it holds something, or is no directory; nothing was written
//   kAborted         others changed it meanwhile
Status ExportTree(BlobStore& store, const Tree& tree, const TreeTimes& times, const std::string& directory,
                  const std::function<void(uint64_t bytes_done)>& progress);

}  // namespace modelfs::cas
