// A mapping file, in which a mount gives uids and gids names of its own. Its lines are in
// store/identity/host_identities.h.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cas/base/result.h"

namespace modelfs::store {

// The content of a mapping file.
struct IdentityMap {
  template <typename Id>
  struct Side {
    std::map<Id, std::string> names;
    std::map<std::string, std::vector<Id>, std::less<>> ids;  // by folded name
    std::map<Id, size_t> lines;
  };
  struct Range {
    uid_t last = 0;
    std::string name;
    size_t line = 0;
  };
  Side<uid_t> users;
  Side<gid_t> groups;
  std::map<uid_t, Range> ranges;                           // of users, by the first uid; they do not overlap
  std::optional<Range> others;                             // every other user but root
  std::map<std::string, std::string, std::less<>> shared;  // names of ranges and others, by their folded form

  // The name of a uid that has no line of its own.
  const std::string* SharedNameOf(uid_t uid) const;
};

// The identity of a file, from stat(2).
struct FileStamp {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  int64_t modified_ns = 0;
  int64_t changed_ns = 0;
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};
FileStamp StampOf(const struct stat& info);

struct ReadIdentityMap {
  IdentityMap map;
  FileStamp stamp;
};
// kInvalidArgument names file and line, or says that the file is not a regular one; kPermissionDenied if
// others can write the file or replace it.
Result<ReadIdentityMap> ReadIdentityMapFile(const std::string& file);

}  // namespace modelfs::store
