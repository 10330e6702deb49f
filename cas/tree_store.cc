#include "cas/tree_store.h"

#include <string>

namespace modelfs::cas {

Result<Digest> PutTree(BlobStore& store, const Tree& tree, Epoch epoch) {
  const std::string encoded = tree.Encode();
  if (encoded.size() > kTreeMaxBytes) {
    return Error(Code::kInvalidArgument, "the version's list of files is larger than 1 GiB");
  }
  const Digest digest = DigestOf(encoded);
  RETURN_IF_ERROR(store.Put(digest, encoded, epoch));
  return digest;
}

Result<Tree> ReadTree(BlobStore& store, const Digest& digest, const Deadline& deadline) {
  ASSIGN_OR_RETURN(const std::string encoded, store.ReadAll(digest, kTreeMaxBytes, deadline));
  Result<Tree> tree = Tree::Decode(encoded);
  if (!tree.ok()) return tree.error().Wrap(digest.ToString());
  return tree;
}

}  // namespace modelfs::cas
