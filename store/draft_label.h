// What a draft's label says of it: one JSON line, kept with the draft by cas/drafts/draft_store.h.
//
//   {"v":1, "mount", "uid", "model", "name", "used_ms",
//     "creator": 1000,                        whose it is, where that is not the mount's user ("uid")
//     "tags": {…}, "description": "…",        what the version will be given
//     "copied_from": 17,                      the first version (its id) that a file was copied from
//     "sealing": {"number", "tree"},          a commit is under way: after a crash the registry knows whether
//                                             it happened
//     "ended": true}                          kept only for its open files
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "cas/base/digest.h"
#include "store/registry.h"

namespace modelfs::store {

// What a version will get besides its files; set on the draft's root as extended attributes.
struct DraftFields {
  std::map<std::string, std::string> tags;
  std::string description;
};

struct DraftLabel {
  std::string mount;
  uint64_t uid = 0;
  uid_t creator = 0;
  ObjectId model = 0;
  std::string name;
  int64_t used_ms = 0;
  DraftFields fields;
  std::optional<VersionId> copied_from;
  std::optional<std::pair<VersionNumber, Digest>> sealing;
  bool ended = false;

  std::string Encode() const;
  // Nothing where it is another program's, or of a later format: not ours to touch.
  static std::optional<DraftLabel> Decode(std::string_view text);
};

}  // namespace modelfs::store
