// A directory of the host's that is being stored, held open: what is in it is reached from its descriptor,
// component by component, and through no symlink. So nothing outside of it is ever read, whatever becomes
// of the names in it meanwhile: it may belong to somebody else. Internal to cas/.
#pragma once

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
// Thread-safe. What was seen at a path and is not there any more, or is something else, is kAborted.
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
  // Where a symlink leads in the end. By names alone, which others may change: what is there now is for the
  // other calls to say.
  //   kInvalidArgument   nowhere, or out of the directory
  Result<std::string> Follow(std::string_view relative) const;
  // For reading; whatever it is but a symlink, without waiting for anybody's end of a FIFO.
  Result<Fd> OpenRead(std::string_view relative) const;

  // For people.
  std::string Shown(std::string_view relative) const;

 private:
  SourceDirectory(std::string path, Fd directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}
  Result<Fd> OpenBelow(std::string_view relative, int flags) const;
  std::string Whole(std::string_view relative) const;

  std::string path_;  // without symlinks
  Fd directory_;
};

}  // namespace modelfs::cas
