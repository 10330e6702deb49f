#include "fs/dispatcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <set>

#include "tests/fs/toy_mount.h"

namespace modelfs::fs {
namespace {

TEST(Dispatcher, AnswersAttributesListingsAndReads) {
  NEEDS_FUSE();
  TestFolder folder;
  ToyZone zone;
  zone.AddBacked("hello", folder.File("hello", "hello world\n"), Flavour::kCached);
  ToyMount mount(zone);

  struct stat attr = {};
  ASSERT_EQ(::stat(mount.File("hello").c_str(), &attr), 0);
  EXPECT_EQ(attr.st_size, 12);
  EXPECT_EQ(attr.st_ino, InodeNumber(TreeNode(1, 1, Flavour::kCached)));
  EXPECT_EQ(ReadWhole(mount.File("hello")), "hello world\n");

  std::set<std::string> names;
  DIR* directory = ::opendir(mount.path().c_str());
  ASSERT_NE(directory, nullptr);
  while (const dirent* entry = ::readdir(directory)) names.insert(entry->d_name);
  ::closedir(directory);
  EXPECT_EQ(names, (std::set<std::string>{".", "..", "hello"}));
}

}  // namespace
}  // namespace modelfs::fs
