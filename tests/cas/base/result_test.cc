#include "cas/base/result.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "cas/base/error_table.h"

namespace modelfs {
namespace {

TEST(ErrnoError, TheMountReturnsTheErrnoOfTheSystemCall) {
  struct Row {
    int errno_value;
    std::string_view says;
  };
  for (const Row& row :
       {Row{ENOENT, "no such file"}, Row{ENOSPC, "no space left on device; make room"},
        Row{EFBIG, "file too large"}, Row{EEXIST, "file exists"}, Row{EACCES, "permission denied"},
        Row{EROFS, "read-only file system; the kernel makes a disk read-only"}, Row{EIO, "/output error"},
        Row{EMFILE, "ulimit -n"}, Row{ENFILE, "fs.file-max"}}) {
    const Error error = ErrnoError(row.errno_value, "open x");
    EXPECT_EQ(RowOf(error.code()).fuse_errno, row.errno_value) << error.message();
    EXPECT_TRUE(error.message().starts_with("open x: ")) << error.message();
    EXPECT_NE(error.message().find(row.says), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace modelfs
