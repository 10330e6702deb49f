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
  // The draft's own directories, the root with an empty path: not those that a link unfolded to.
  std::vector<UnfoldedEntry> directories;
};

// kInvalidArgument names the link: it leads nowhere, out of the draft (an absolute path does, wherever it
// leads), in a circle, or over too many others; or what is to be unfolded is too much or too deep.
Result<UnfoldedNames> Unfold(const DraftNames& names);

}  // namespace modelfs::cas
