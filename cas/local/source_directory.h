// A directory of the host's that is being stored, held open: what is in it is reached from its descriptor,
// component by component, and through no symlink. So nothing outside of it is ever read, whatever becomes
// of the names in it meanwhile: it may belong to somebody else. Where Follow is to follow links out of it,
// what they lead to is held open and reached in the same way. Internal to cas/.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/result.h"
#include "cas/files.h"

namespace modelfs::cas {

// What open(2) and O_NOFOLLOW say of a name that is gone, or stands for something else than it did: a symlink
// now (ELOOP, with O_DIRECTORY ENOTDIR), no directory any more, a socket.
bool NameHasChanged(int errno_value);

// Paths are relative to the directory, without ".", ".." and symlinks on the way; "" is the directory itself.
// Those that Follow answers for what lies outside begin with a slash, and mean something to this object
// alone. Thread-safe but for Follow. What was seen at a path and is not there any more, or is something else,
// is kAborted.
class SourceDirectory {
 public:
  // Follows symlinks on the way there, and `path` where it is one.
  //   kNotFound, kPermissionDenied
  //   kInvalidArgument   it is no directory
  static Result<SourceDirectory> Open(const std::string& path);

  // The names in a directory, unsorted, without "." and "..".
  Result<std::vector<std::string>> List(std::string_view relative) const;
  // Of a symlink its own.
  Result<FileInfo> Stat(std::string_view relative) const;
  enum class LinksOut { kRefuse, kFollow };
  // Where a symlink leads in the end. Within the directory by names alone, which others may change: what is
  // there now is for the other calls to say. Out of it, from a snapshot in a cache of the Hugging Face Hub to
  // its blobs, where the link says just that; and elsewhere where it is asked for, by descriptors, and where
  // the owners of all links on the way may read what is there by the modes of files and directories (as group
  // and as others, unless they own them).
  //   kInvalidArgument    nowhere, or out of the directory
  //   kPermissionDenied   to what the owner of a link may not read
  Result<std::string> Follow(std::string_view relative, LinksOut links_out);
  // For reading; whatever it is but a symlink, without waiting for anybody's end of a FIFO.
  Result<Fd> OpenRead(std::string_view relative) const;

  // For people.
  std::string Shown(std::string_view relative) const;

 private:
  // What paths begin from: the directory itself, or one that a link out of it leads to or into.
  struct Root {
    std::string path;  // without symlinks
    Fd directory;
    std::vector<uid_t> readers;  // who must be able to read all below, besides us
  };
  struct Place {
    const Root* root = nullptr;
    std::string relative;
  };
  class Outwards;

  SourceDirectory() = default;
  Place At(std::string_view relative) const;
  Result<Fd> OpenBelow(std::string_view relative, int flags) const;
  // The file that a link of a Hub snapshot says, or nothing.
  std::optional<std::string> HubBlob(std::string_view relative, std::string_view text) const;
  Result<std::string> FollowOut(std::string_view relative);
  std::string Added(Root root, std::string_view relative);

  std::vector<Root> roots_;     // the first is the directory
  bool has_hub_blobs_ = false;  // the second are the blobs of a Hub's cache
};

}  // namespace modelfs::cas
