// A directory of the host becomes a tree in the store.
#pragma once

#include <string>

#include "cas/local_store.h"
#include "cas/tree.h"

namespace modelfs::cas {

struct IngestedTree {
  Digest digest;  // of the encoded tree, which is stored too
  Tree tree;
};

// Stores every regular file below `directory` and the tree that lists them. A symlink to a file or
// directory that lies inside `directory` is followed and stored as what it points to (model hubs lay
// out their caches so); any other symlink, and every device, socket or FIFO, is refused by name. Nothing
// outside of `directory` is read, also while others change what is in it.
// setuid, setgid and all mode bits but the owner's x are dropped. All durable on OK.
//   kInvalidArgument   a name or kind of file that cannot be stored, or more than a version holds; nothing
//                      was added to the registry
//   kAborted           it changed meanwhile
//   kNotFound          no such directory
Result<IngestedTree> IngestDirectory(LocalStore& store, const std::string& directory, Epoch epoch,
                                     const LocalStore::Progress& progress);

// Stores an encoded tree that was made from blobs that are stored already.
Result<Digest> PutTree(BlobStore& store, const Tree& tree, Epoch epoch);

// Reads and decodes. kDataLoss, kNotFound as BlobStore::ReadAll.
Result<Tree> ReadTree(BlobStore& store, const Digest& digest);

// Writes a tree's files into `directory`, a new or an empty one. A new one is there whole or not at all; on
// an error nothing is left of what was written. Bytes are verified on the way, and cloned by the file system
// where it can (copy_file_range). Nothing outside of `directory` is written or removed, also while others
// change what is in it.
//   kAlreadyExists   it holds something, or is no directory; nothing was written
//   kAborted         others changed it meanwhile
Status ExportTree(BlobStore& store, const Tree& tree, const std::string& directory,
                  const LocalStore::Progress& progress);

}  // namespace modelfs::cas
