// The modification times of a version's files, which stat(2) shows as their mtimes. They are not part of the
// tree, so equal content stays one tree; a version refers to its tree and to its times. The encoding is a
// blob of its own. Format: docs/formats.md, "tree times".
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cas/base/digest.h"
#include "cas/base/result.h"
#include "cas/blob_store.h"
#include "cas/tree.h"

namespace modelfs::cas {

// A time with the parts of struct timespec: seconds since 1970, negative before, and the nanoseconds after
// them.
struct FileTime {
  int64_t s = 0;
  uint32_t ns = 0;  // less than kNsPerS
  friend auto operator<=>(const FileTime&, const FileTime&) = default;
};
inline constexpr uint32_t kNsPerS = 1'000'000'000;

// From milliseconds since 1970, which may be negative.
FileTime FileTimeOfMs(int64_t ms);

// The mtimes of a tree's files in the tree's order (`Tree::entries()` without the empty directories).
// Immutable, therefore threads may share it.
class TreeTimes {
 public:
  TreeTimes() = default;
  // kInvalidArgument if there are more times than a tree may have files, or if a time has kNsPerS nanoseconds
  // or more.
  static Result<TreeTimes> Make(std::vector<FileTime> times);
  // kDataLoss for anything that Encode would not write.
  static Result<TreeTimes> Decode(std::string_view encoded);

  std::string Encode() const;

  const std::vector<FileTime>& times() const { return times_; }
  friend bool operator==(const TreeTimes&, const TreeTimes&) = default;

 private:
  std::vector<FileTime> times_;
};

// Returns the times of a tree's files in the tree's order, taken from `by_path`, which must have one for each
// file.
Result<TreeTimes> TimesOf(const Tree& tree, const std::unordered_map<std::string, FileTime>& by_path);

// Stores the encoding. On OK it is durable. Errors as BlobStore::Put.
Result<Digest> PutTreeTimes(BlobStore& store, const TreeTimes& times, Epoch epoch);

// Reads and decodes. Also kDataLoss if these are not the times of `file_count` files; other errors as
// BlobStore::ReadAll.
Result<TreeTimes> ReadTreeTimes(BlobStore& store, const Digest& digest, uint64_t file_count,
                                const Deadline& deadline = Deadline::After(kPatience));

}  // namespace modelfs::cas
