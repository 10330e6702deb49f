// Follows the symbolic links among a draft's names, and returns the files and empty directories of a tree.
//
// Links are resolved here, by names alone and component by component. So nothing outside of the draft is ever
// looked up, and no other process can exchange a component meanwhile. A link to a file is that file under
// another name; a link to a directory unfolds to the directory's contents. Pure functions: the names are a
// snapshot in memory. Internal to cas/.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "cas/base/result.h"
#include "cas/drafts/draft_store.h"
#include "cas/tree.h"

namespace modelfs::cas {

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
  // The draft's own directories, the root with an empty path. Directories to which links unfolded are not
  // listed.
  std::vector<UnfoldedEntry> directories;
};

// kInvalidArgument names the link. It leads nowhere, out of the draft (every absolute path does), in a
// circle, or over too many others; or it unfolds to too much or too deep.
Result<UnfoldedNames> Unfold(const DraftNames& names);

}  // namespace modelfs::cas
