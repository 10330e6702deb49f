// Writes a tree of the store to a directory of the host.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "cas/base/result.h"
#include "cas/blob_store.h"
#include "cas/tree.h"
#include "cas/tree_times.h"

namespace modelfs::cas {

// Writes a tree's files into `directory`, a new or an empty one. A new directory appears whole or not at all.
// On an error all written files are removed. Bytes are verified on the way, and the file system clones them
// if it can (copy_file_range). Files get their mtimes. Nothing outside of `directory` is written or removed,
// even if others change its contents meanwhile.
//   kAlreadyExists   it is not empty, or not a directory; nothing was written
//   kAborted         others changed it meanwhile
Status ExportTree(BlobStore& store, const Tree& tree, const TreeTimes& times, const std::string& directory,
                  const std::function<void(uint64_t bytes_done)>& progress);

}  // namespace modelfs::cas
