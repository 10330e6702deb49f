// The content of a draft's label: one JSON line, kept with the draft by cas/drafts/draft_store.h.
//
//   {"v":1, "mount", "uid", "model", "name", "used_ms",
//     "creator": 1000,                        its creator's uid, if not the mount's user ("uid")
//     "tags": {…}, "description": "…",        for the version that it becomes
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
#include "store/types.h"

namespace modelfs::store {

// The fields of the future version besides its files; set on the draft's root as extended attributes.
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
  // nullopt if it is another program's, or of a later format: this program must not change it.
  static std::optional<DraftLabel> Decode(std::string_view text);
};

}  // namespace modelfs::store
