// A directory of the host to which a version is written. It may lie among the files of another user.
// Therefore everything in it is reached by open directories, one component at a time, and through no symlink.
// Nothing outside is ever written or removed, whatever others do to the names meanwhile. Internal to cas/.
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

// Not thread-safe. kAborted means that another directory took the place of one that was being written.
class TargetDirectory {
 public:
  // Opens a new or an empty directory at `path`. A new one is private, as from mkdtemp(3). It is written
  // under another name beside `path`, and only Finish gives it its name. Missing parents are created.
  //   kInvalidArgument   `path` names no directory, "" or "/" for example
  //   kPermissionDenied  it is a symlink of another user (root excepted)
  //   kAlreadyExists     it exists and is not empty, or is not a directory
  static Result<TargetDirectory> Open(const std::string& path);

  TargetDirectory(TargetDirectory&&) = default;
  TargetDirectory& operator=(TargetDirectory&&) = delete;
  // Removes everything that was created here, unless Finish succeeded.
  ~TargetDirectory();

  // Call these in the order of a tree's paths: the contents of a directory follow directly after it.
  Status MakeDirectory(const std::string& relative);
  // Creates a file, open for writing, and the directories on its way that were not created yet.
  Result<Fd> CreateFile(const std::string& relative, mode_t mode);

  // Checks that everything is still in its place, and gives a new directory its name. Call last.
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
  // Leaves the open directories that do not lead to `folder`, and creates and enters the rest of its path.
  Status Enter(std::string_view folder);
  Status Push(std::string name);
  Status Pop();
  void Discard();
  // The path of a name in the directory that was entered last, for messages.
  std::string Shown(std::string_view name) const;

  std::string path_;       // for messages
  Fd parent_;              // of a new directory
  std::string name_;       // in the parent, after Finish
  std::string temporary_;  // in the parent, before Finish
  bool is_new_;
  bool finished_ = false;
  std::vector<Level> open_;        // from the directory itself to the one entered last
  std::vector<std::string> made_;  // the names that were created directly in it
};

}  // namespace modelfs::cas
