// A version's files as one canonical value: the sorted list of relative paths, each with its blob. The
// encoding is a blob itself, so a tree's digest identifies every byte of a version. Format: docs/formats.md,
// "tree".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/digest.h"
#include "cas/base/result.h"

namespace modelfs::cas {

// The longest relative path, in bytes (PATH_MAX less its NUL, limits.h), and the deepest nesting.
inline constexpr size_t kPathMaxBytes = 4095;
inline constexpr size_t kTreeMaxDepth = 128;
// Bounds the memory that a decoder allocates, and keeps a node's index within a nodeid (fs/base/node_id.h).
inline constexpr size_t kTreeMaxNodes = size_t{1} << 24U;
inline constexpr uint64_t kTreeMaxBytes = uint64_t{1} << 30U;

// The most links that may be followed on the way to one file, and the deepest nesting of links to
// directories. The kernel follows as many (path_resolution(7)).
inline constexpr int kMostLinksFollowed = 40;
// The most files and directories to which all links to directories together may unfold. They are counted
// before any is created.
inline constexpr uint64_t kMostUnfolded = 1'000'000;
// The most bytes in the paths of those, together.
inline constexpr uint64_t kMostUnfoldedBytes = uint64_t{256} << 20U;

enum class EntryKind : uint8_t { kFile = 1, kEmptyDirectory = 2 };

struct TreeEntry {
  std::string path;  // relative, components joined by '/'
  EntryKind kind = EntryKind::kFile;
  bool executable = false;           // files only
  Digest blob;                       // files only
  std::optional<Digest> chunk_list;  // present exactly for blobs larger than kChunkBytes
  friend bool operator==(const TreeEntry&, const TreeEntry&) = default;
};

// An invariant-holding list of entries: sorted by path bytewise with '/' lowest (so a directory's files are
// adjacent); no path twice; no path that is also a directory of another; every component passes
// CheckPathComponent. Immutable, therefore threads may share it.
class Tree {
 public:
  // Sorts the entries. kInvalidArgument names the offending path and the rule.
  static Result<Tree> Make(std::vector<TreeEntry> entries);
  // kDataLoss for anything that Encode would not write.
  static Result<Tree> Decode(std::string_view encoded);

  // Encodes in version 2 if a name needs it (IsNewerFileName), otherwise in version 1.
  std::string Encode() const;

  const std::vector<TreeEntry>& entries() const { return entries_; }
  // The sum of the files' sizes.
  uint64_t total_bytes() const { return total_bytes_; }
  size_t file_count() const { return file_count_; }
  // Returns the entry of a file by its path, or nullptr.
  const TreeEntry* Find(std::string_view path) const;

 private:
  std::vector<TreeEntry> entries_;
  uint64_t total_bytes_ = 0;
  size_t file_count_ = 0;
  bool newer_names_ = false;
};

// Finds directories that users rarely mean to publish: `.git`, `__pycache__`, and `.cache/huggingface`, which
// a download of the Hugging Face Hub leaves behind. Returns the path of the first of each kind, for a hint.
std::vector<std::string> Leftovers(const Tree& tree);

// A tree as directories and files with numbers, for walking. Node 0 is the root; the others are numbered in
// the order of the tree's paths, a directory before its contents. So a node's number depends on the tree
// alone. Immutable.
class TreeIndex {
 public:
  struct Node {
    std::string_view name;  // within the tree that this index owns
    uint32_t parent = 0;
    uint32_t file_number = 0;         // of a file: its index among the tree's files (cas/tree_times.h)
    const TreeEntry* file = nullptr;  // nullptr for a directory
    uint32_t subdirectories = 0;      // for st_nlink
    std::vector<uint32_t> children;   // sorted by name; empty for files
  };

  explicit TreeIndex(Tree tree);
  TreeIndex(const TreeIndex&) = delete;
  TreeIndex& operator=(const TreeIndex&) = delete;

  const Tree& tree() const { return tree_; }
  size_t size() const { return nodes_.size(); }
  // Returns nullptr if the node does not exist.
  const Node* Get(uint32_t number) const { return number < nodes_.size() ? &nodes_[number] : nullptr; }
  // The child's number, or nothing.
  std::optional<uint32_t> Child(uint32_t directory, std::string_view name) const;
  // The node of a path, or nothing; "" is the root.
  std::optional<uint32_t> At(std::string_view path) const;

 private:
  Tree tree_;
  std::vector<Node> nodes_;
};

}  // namespace modelfs::cas
