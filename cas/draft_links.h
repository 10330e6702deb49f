// What a draft's names come to once its symbolic links are followed: the files and empty directories of a
// tree.
//
// Links are resolved here, by names alone and component by component, so that nothing outside of the draft is
// ever looked at and nobody can exchange a component meanwhile. A link to a file is that file under another
// name; a link to a directory unfolds to what is in it. Pure functions: the names are a snapshot in memory.
// Internal to cas/.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "cas/base/result.h"
#include "cas/draft_store.h"

namespace modelfs::cas {

// How many links may be followed on the way to one file, and how many links to directories may lie within
// each other: as many as the kernel follows (path_resolution(7)).
inline constexpr int kMostLinksFollowed = 40;
// How many files and directories all links to directories together may unfold to. Counted before any is made.
inline constexpr uint64_t kMostUnfolded = 1'000'000;
// How long their paths may be, together.
inline constexpr uint64_t kMostUnfoldedBytes = uint64_t{256} << 20U;

struct DraftNames {
  struct Directory {
    DraftNode parent = kDraftRoot;
    std::vector<DraftEntry> entries;  // sorted by name
  };
  std::unordered_map<DraftNode, Directory> directories;  // kDraftRoot, and all below it
  std::unordered_map<DraftNode, std::string> link_texts;
};

struct UnfoldedEntry {
  std::string path;
  DraftNode node = 0;
  bool directory = false;
};

struct UnfoldedNames {
  std::vector<UnfoldedEntry> leaves;  // files, and directories that are empty
  // The draft's own directories, the root with an empty path: not those that a link unfolded to.
  std::vector<UnfoldedEntry> directories;
};

// kInvalidArgument names the link: it leads nowhere, out of the draft (an absolute path does, wherever it
// leads), in a circle, or over too many others; or what is to be unfolded is too much or too deep.
Result<UnfoldedNames> Unfold(const DraftNames& names);

}  // namespace modelfs::cas
