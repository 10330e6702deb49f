// Stores a directory of the host as a tree.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cas/local/local_store.h"
#include "cas/tree.h"
#include "cas/tree_times.h"

namespace modelfs::cas {

struct ImportedTree {
  Digest digest;  // of the encoded tree, which is also stored
  Tree tree;
  TreeTimes times;  // not stored
};

struct ImportOptions {
  // Also follow links out of the directory, but only to targets that the link's owner may read by the modes
  // on the way: the directory may belong to another user.
  bool dereference = false;
  // Files and directories to leave out, as fnmatch(3) patterns; a directory is left out with all that is in
  // it. A pattern without a slash matches names. A pattern with a slash matches paths from the directory (a
  // leading slash does not count), and `*` stays within a name. A pattern that ends in a slash matches
  // directories only.
  std::vector<std::string> exclude = {};
  // The most files and directories to which links may unfold: as many as in a draft.
  uint64_t most_unfolded = kMostUnfolded;
};

// Stores every regular file below `directory` and the tree that lists them. A symlink to a file or directory
// inside `directory` is followed, and its target is stored under the link's name. In a snapshot of a Hugging
// Face Hub cache (…/snapshots/<commit>), a link ../../blobs/<name> to a regular file is followed, too. Any
// other symlink (unless `ImportOptions::dereference` is set), and every device, socket or FIFO, is refused by
// name. Nothing else outside of `directory` is read, even if others change its contents meanwhile. setuid,
// setgid and all mode bits but the owner's x are dropped. On OK everything is durable.
//   kInvalidArgument   a name or type of file that cannot be stored, or more files than a version may have;
//                      nothing was added to the registry
//   kPermissionDenied  a link leads to a file that the link's owner may not read
//   kAborted           the directory changed meanwhile
//   kNotFound          the directory does not exist
Result<ImportedTree> ImportDirectory(LocalStore& store, const std::string& directory, Epoch epoch,
                                     const LocalStore::Progress& progress, const ImportOptions& options = {});

}  // namespace modelfs::cas
