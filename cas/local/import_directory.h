// A directory of the host becomes a tree in the store.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cas/local/local_store.h"
#include "cas/tree.h"
#include "cas/tree_times.h"

namespace modelfs::cas {

struct ImportedTree {
  Digest digest;  // of the encoded tree, which is stored too
  Tree tree;
  TreeTimes times;  // not stored
};

struct ImportOptions {
  // Follow links that lead out of the directory, too; only to what the link's owner may read by the modes on
  // the way, since the directory may be somebody else's.
  bool dereference = false;
  // What is left out, with all that is in it: fnmatch(3) patterns. One without a slash is matched with each
  // name, one with a slash with the path from the directory (a leading slash is none), where `*` stays within
  // a name; one that ends in a slash is of directories only.
  std::vector<std::string> exclude = {};
  // How many files and directories links may unfold to: as many as a draft's.
  uint64_t most_unfolded = kMostUnfolded;
};

// Stores every regular file below `directory` and the tree that lists them. A symlink to a file or directory
// that lies inside `directory` is followed and stored as what it points to; so are those of a snapshot in a
// cache of the Hugging Face Hub (…/snapshots/<commit>) that say ../../blobs/<name>, to a regular file. Any
// other symlink, but for `ImportOptions::dereference`, and every device, socket or FIFO, is refused by name.
// Nothing else outside of `directory` is read, also while others change what is in it. setuid, setgid and all
// mode bits but the owner's x are dropped. All durable on OK.
//   kInvalidArgument   a name or kind of file that cannot be stored, or more than a version holds; nothing
//                      was added to the registry
//   kPermissionDenied  a link leads to what its owner may not read
//   kAborted           it changed meanwhile
//   kNotFound          no such directory
Result<ImportedTree> ImportDirectory(LocalStore& store, const std::string& directory, Epoch epoch,
                                     const LocalStore::Progress& progress, const ImportOptions& options = {});

}  // namespace modelfs::cas
