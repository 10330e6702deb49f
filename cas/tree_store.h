// Reads and writes trees in a blob store.
#pragma once

#include "cas/base/digest.h"
#include "cas/base/result.h"
#include "cas/blob_store.h"
#include "cas/tree.h"

namespace modelfs::cas {

// Stores an encoded tree. The blobs that it lists must be stored already.
Result<Digest> PutTree(BlobStore& store, const Tree& tree, Epoch epoch);

// Reads and decodes a tree. kDataLoss, and the errors of BlobStore::ReadAll.
Result<Tree> ReadTree(BlobStore& store, const Digest& digest,
                      const Deadline& deadline = Deadline::After(kPatience));

}  // namespace modelfs::cas
