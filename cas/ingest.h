// A directory of the host becomes a tree in the store.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "cas/local_store.h"
#include "cas/tree.h"
#include "cas/tree_times.h"

namespace modelfs::cas {

struct IngestedTree {
  Digest digest;  // of the encoded tree, which is stored too
  Tree tree;
  TreeTimes times;  // not stored
};

struct IngestOptions {
  // Follow links that lead out of the directory, too; only to what the link's owner may read by the modes on
  // the way, since the directory may be somebody else's.
  bool dereference = false;
  // What is left out, with all that is in it: fnmatch(3) patterns. One without a slash is matched with each
  // name, one with a slash with the path from the directory (a leading slash is none), where `*` stays within
  // a name; one that ends in a slash is of directories only.
  std::vector<std::string> exclude = {};
  // How many files and directories links may unfold to: as many as a draft's (cas/draft_links.h).
  uint64_t most_unfolded = 1'000'000;
};

// Stores every regular file below `directory` and the tree that lists them. A symlink to a file or directory
// that lies inside `directory` is followed and stored as what it points to; so are those of a snapshot in a
// cache of the Hugging Face Hub (…/snapshots/<commit>) that say ../../blobs/<name>, to a regular file. Any
// other symlink, but for `IngestOptions::dereference`, and every device, socket or FIFO, is refused by name.
// Nothing else outside of `directory` is read, also while others change what is in it. setuid, setgid and all
// mode bits but the owner's x are dropped. All durable on OK.
//   kInvalidArgument   a name or kind of file that cannot be stored, or more than a version holds; nothing
//                      was added to the registry
//   kPermissionDenied  a link leads to what its owner may not read
//   kAborted           it changed meanwhile
//   kNotFound          no such directory
Result<IngestedTree> IngestDirectory(LocalStore& store, const std::string& directory, Epoch epoch,
                                     const LocalStore::Progress& progress, const IngestOptions& options = {});

// The times of a tree's files in the tree's order, from those by path. One for each file must be there.
Result<TreeTimes> TimesOf(const Tree& tree, const std::unordered_map<std::string, FileTime>& by_path);

// Stores an encoded tree that was made from blobs that are stored already.
Result<Digest> PutTree(BlobStore& store, const Tree& tree, Epoch epoch);

// Reads and decodes. kDataLoss, kNotFound as BlobStore::ReadAll.
Result<Tree> ReadTree(BlobStore& store, const Digest& digest);

// Writes a tree's files into `directory`, a new or an empty one. A new one is there whole or not at all; on
// an error nothing is left of what was written. Bytes are verified on the way, and cloned by the file system
// where it can (copy_file_range). Files get their mtimes. Nothing outside of `directory` is written or
// removed, also while others change what is in it.
//   kAlreadyExists   it holds something, or is no directory; nothing was written
//   kAborted         others changed it meanwhile
Status ExportTree(BlobStore& store, const Tree& tree, const TreeTimes& times, const std::string& directory,
                  const LocalStore::Progress& progress);

}  // namespace modelfs::cas
