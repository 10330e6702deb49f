// A directory of the host that is being stored, held open. Its contents are reached from its descriptor,
// component by component, and through no symlink. So nothing outside of it is ever read, whatever happens to
// its names meanwhile: the directory may belong to another user. If Follow may follow links out of it, their
// targets are held open and reached in the same way. Internal to cas/.
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

// Whether this errno of an open(2) with O_NOFOLLOW means that the name is gone, or has another type than
// before: now a symlink (ELOOP, with O_DIRECTORY ENOTDIR), not a directory any more, or a socket.
bool NameHasChanged(int errno_value);

// Paths are relative to the directory, without ".", ".." and symlinks on the way; "" is the directory itself.
// Paths that Follow returns for targets outside begin with a slash, and are valid for this object alone.
// Thread-safe but for Follow. kAborted means that the name at a path is gone, or has another type than
// before.
class SourceDirectory {
 public:
  // Opens the directory `path`. Follows symlinks on the way, and `path` itself if it is a symlink.
  //   kNotFound, kPermissionDenied
  //   kInvalidArgument   it is not a directory
  static Result<SourceDirectory> Open(const std::string& path);

  // The names in a directory, unsorted, without "." and "..".
  Result<std::vector<std::string>> List(std::string_view relative) const;
  // Does not follow a symlink.
  Result<FileInfo> Stat(std::string_view relative) const;
  enum class LinksOut { kRefuse, kFollow };
  // Returns the final target of a symlink. Inside the directory, the target is found by names alone, which
  // others may change; the other calls then check it. A link in a snapshot of a Hugging Face Hub cache may
  // lead to a blob of that cache, if its text says exactly that. With kFollow, a link may lead anywhere. It
  // is followed by descriptors. The owners of all links on the way must be able to read the target by the
  // modes of files and directories: as group and as others, unless they own them.
  //   kInvalidArgument    the link leads nowhere, or out of the directory
  //   kPermissionDenied   the owner of a link may not read the target
  Result<std::string> Follow(std::string_view relative, LinksOut links_out);
  // Opens a file of any type but a symlink, for reading. Does not wait for the other end of a FIFO.
  Result<Fd> OpenRead(std::string_view relative) const;

  // The path in a form for messages.
  std::string Shown(std::string_view relative) const;

 private:
  // A directory at which paths start: the source directory itself, or one to which or into which a link
  // leads.
  struct Root {
    std::string path;  // without symlinks
    Fd directory;
    std::vector<uid_t> readers;  // users besides us that must be able to read all below
  };
  struct Place {
    const Root* root = nullptr;
    std::string relative;
  };
  class Outwards;

  SourceDirectory() = default;
  Place At(std::string_view relative) const;
  Result<Fd> OpenBelow(std::string_view relative, int flags) const;
  // The path of the file that a link of a Hub snapshot names, or nothing if it is not such a link.
  std::optional<std::string> HubBlob(std::string_view relative, std::string_view text) const;
  Result<std::string> FollowOut(std::string_view relative);
  std::string Added(Root root, std::string_view relative);

  std::vector<Root> roots_;     // the first is the directory
  bool has_hub_blobs_ = false;  // the second root holds the blobs of a Hub's cache
};

}  // namespace modelfs::cas
