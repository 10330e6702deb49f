// When the files of a version were last modified: what stat(2) shows as their mtimes. No part of the tree,
// so equal content stays one tree; a version names its tree and its times. The encoding is a blob of its
// own. Format: docs/formats.md, "tree times".
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

// A time as struct timespec has it: seconds since 1970, negative before, and the nanoseconds after them.
struct FileTime {
  int64_t s = 0;
  uint32_t ns = 0;  // less than kNsPerS
  friend auto operator<=>(const FileTime&, const FileTime&) = default;
};
inline constexpr uint32_t kNsPerS = 1'000'000'000;

// From milliseconds since 1970, which may be negative.
FileTime FileTimeOfMs(int64_t ms);

// The mtimes of a tree's files in the tree's order (`Tree::entries()` without the empty directories).
// Immutable, hence freely shared between threads.
class TreeTimes {
 public:
  TreeTimes() = default;
  // kInvalidArgument where there are more times than a tree has files at most, or a time has kNsPerS
  // nanoseconds or more.
  static Result<TreeTimes> Make(std::vector<FileTime> times);
  // kDataLoss for anything that Encode would not have written.
  static Result<TreeTimes> Decode(std::string_view encoded);

  std::string Encode() const;

  const std::vector<FileTime>& times() const { return times_; }
  friend bool operator==(const TreeTimes&, const TreeTimes&) = default;

 private:
  std::vector<FileTime> times_;
};

// The times of a tree's files in the tree's order, from those by path. One for each file must be there.
Result<TreeTimes> TimesOf(const Tree& tree, const std::unordered_map<std::string, FileTime>& by_path);

// Stores the encoding. On OK it is durable. Errors as BlobStore::Put.
Result<Digest> PutTreeTimes(BlobStore& store, const TreeTimes& times, Epoch epoch);

// Reads and decodes. kDataLoss also where these are not the times of `file_count` files; else as
// BlobStore::ReadAll.
Result<TreeTimes> ReadTreeTimes(BlobStore& store, const Digest& digest, uint64_t file_count);

}  // namespace modelfs::cas
