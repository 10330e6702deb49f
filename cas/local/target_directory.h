// A directory of the host that a version is written into. It may lie among the files of another user, so all
// that is in it is reached by open directories, one component at a time, and through no symlink: nothing
// outside is ever written or removed, whatever others do to the names meanwhile. Internal to cas/.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/result.h"

namespace modelfs::cas {

// Not thread-safe. A directory that became another one while it was written is kAborted.
class TargetDirectory {
 public:
  // A new or an empty directory at `path`. A new one, private as mkdtemp(3) makes it, is written under
  // another name beside it and is at `path` after Finish only; missing parents are made.
  //   kInvalidArgument   `path` names no directory, "" or "/" for example
  //   kPermissionDenied  it is a symlink of another user's, and not of root's
  //   kAlreadyExists     it is there and holds something, or is no directory
  static Result<TargetDirectory> Open(const std::string& path);

  TargetDirectory(TargetDirectory&&) = default;
  TargetDirectory& operator=(TargetDirectory&&) = delete;
  // Without a Finish: removes what was made here.
  ~TargetDirectory();

  // In the order of a tree's paths: what a directory holds comes behind it, before anything else.
  Status MakeDirectory(const std::string& relative);
  // A new file, open for writing, and the directories on its way that were not made yet.
  Result<Fd> CreateFile(const std::string& relative, mode_t mode);

  // Everything is where it was made; a new directory is at its path. Call last.
  Status Finish();

 private:
  struct Level {
    std::string name;
    Fd directory;
  };
  TargetDirectory(std::string path, Fd parent, std::string name, bool is_new)
      : path_(std::move(path)), parent_(std::move(parent)), name_(std::move(name)), is_new_(is_new) {}

  static Result<TargetDirectory> OpenNew(const std::string& path, const std::filesystem::path& whole);
  Status MakeNew();
  // Leaves the open directories that `folder` is not in, and enters those that it is in.
  Status Enter(std::string_view folder);
  Status Push(std::string name);
  Status Pop();
  void Discard();
  // Of a name in the directory that was entered last, for messages.
  std::string Shown(std::string_view name) const;

  std::string path_;       // for messages
  Fd parent_;              // of a new one
  std::string name_;       // in the parent, at the end
  std::string temporary_;  // in the parent, until then
  bool is_new_;
  bool finished_ = false;
  std::vector<Level> open_;        // from the directory itself to the one entered last
  std::vector<std::string> made_;  // the names directly in it
};

}  // namespace modelfs::cas
