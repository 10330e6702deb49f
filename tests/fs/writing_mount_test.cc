// Writes on a mount (docs/mount.md), tried by system calls and by the programs people use.
#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cas/base/fd.h"
#include "tests/fs/mounted.h"

namespace modelfs::fs {
namespace {

constexpr std::string_view kModel = "prod/ml/iris";

int MakeDirectory(const std::string& path) { return Errno(::mkdir(path.c_str(), 0755)); }
int Link(const std::string& target, const std::string& path) {
  return Errno(::symlink(target.c_str(), path.c_str()));
}
int Rename(const std::string& from, const std::string& to) {
  return Errno(::rename(from.c_str(), to.c_str()));
}
int OpenErrno(const std::string& path, int flags) {
  const Fd file(::open(path.c_str(), flags | O_CLOEXEC, 0644));
  return file.valid() ? 0 : errno;
}
std::string Xattr(const std::string& path, const char* name) {
  std::array<char, 1024> value;
  const ssize_t length = ::lgetxattr(path.c_str(), name, value.data(), value.size());
  if (length < 0) return fmt::format("<errno {}>", errno);
  return std::string(value.data(), static_cast<size_t>(length));
}

// One refused act: its name, the act, its errno, and words of the message in `modelfs why`.
struct RefusalRow {
  std::string_view name;
  std::function<int()> act;
  int want;
  std::string_view words;  // empty: VFS refuses by itself
};

TEST(WritingMount, EveryRefusalHasItsErrnoAndMessage) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  const std::string other = mounted.MakeModel("prod/ml/other");
  mounted.MakeVersion(model, {{"weights.bin", "one"}});
  mounted.MakeVersion(model, {{"weights.bin", "two"}});
  mounted.MakeVersion(other, {{"weights.bin", "theirs"}});
  const std::string versions = model + "/versions/";
  const std::string aliases = model + "/aliases/";
  const std::string outside = mounted.scratch("outside");
  ASSERT_EQ(MakeDirectory(outside), 0);
  ASSERT_EQ(WriteFile(outside + "/file", "bytes"), 0);
  ASSERT_EQ(Link("../versions/1", aliases + "Champion"), 0);
  ASSERT_EQ(MakeDirectory(versions + "draft"), 0);
  ASSERT_EQ(WriteFile(versions + "draft/file", "bytes"), 0);
  ASSERT_EQ(MakeDirectory(versions + "draft/sub"), 0);
  ASSERT_EQ(WriteFile(versions + "draft/sub/file", "bytes"), 0);
  ASSERT_EQ(MakeDirectory(versions + "empty"), 0);
  ASSERT_EQ(MakeDirectory(versions + "second"), 0);
  ASSERT_EQ(WriteFile(versions + "second/file", "bytes"), 0);
  ASSERT_EQ(MakeDirectory(versions + "unsigned"), 0);
  ASSERT_EQ(WriteFile(versions + "unsigned/MLmodel", "flavors: {}\n"), 0);

  const auto set_xattr = [](const std::string& path, const char* name) {
    return Errno(::lsetxattr(path.c_str(), name, "v", 1, 0));
  };
  const std::vector<RefusalRow> rows = {
      // versions/
      {"mkdir of a number", [&] { return MakeDirectory(versions + "3"); }, EPERM,
       "mv versions/draft versions/3"},
      {"mkdir of a far number", [&] { return MakeDirectory(versions + "99"); }, EPERM, "modelfs register"},
      {"mkdir of next", [&] { return MakeDirectory(versions + "next"); }, EPERM, "reserved"},
      {"mkdir of a draft that is there", [&] { return MakeDirectory(versions + "draft"); }, EEXIST, ""},
      {"mkdir of a version", [&] { return MakeDirectory(versions + "1"); }, EEXIST, ""},
      {"mkdir of an invisible name", [&] { return MakeDirectory(versions + "a\u200b"); }, EINVAL, "a"},
      {"file in versions", [&] { return WriteFile(versions + "file", "x"); }, EPERM,
       "cp -r SOURCE versions/draft"},
      {"link in versions", [&] { return Link("1", versions + "stable"); }, EPERM, "draft"},
      {"fifo in versions", [&] { return Errno(::mkfifo((versions + "p").c_str(), 0600)); }, EPERM, ""},
      {"unlink latest", [&] { return Errno(::unlink((versions + "latest").c_str())); }, EPERM, "rmdir"},
      {"rename latest", [&] { return Rename(versions + "latest", versions + "newest"); }, EPERM, "computed"},
      {"rename a version", [&] { return Rename(versions + "1", versions + "old"); }, EPERM,
       "keeps its number"},
      {"rename a version to the next", [&] { return Rename(versions + "1", versions + "3"); }, EPERM,
       "cp -r"},
      {"move a version away", [&] { return Rename(versions + "1", other + "/versions/x"); }, EPERM, "cp -r"},
      {"whiteout", [&] { return RenameAt2(versions + "draft", versions + "other", RENAME_WHITEOUT); }, EPERM,
       "RENAME_WHITEOUT"},
      {"whiteout in a draft",
       [&] { return RenameAt2(versions + "draft/file", versions + "draft/other", RENAME_WHITEOUT); }, EPERM,
       "RENAME_WHITEOUT"},
      {"whiteout of an alias",
       [&] { return RenameAt2(aliases + "Champion", aliases + "B", RENAME_WHITEOUT); }, EPERM,
       "RENAME_WHITEOUT"},
      {"exchange versions", [&] { return RenameAt2(versions + "1", versions + "2", RENAME_EXCHANGE); }, EPERM,
       "keeps its number"},
      {"exchange a draft and a version",
       [&] { return RenameAt2(versions + "draft", versions + "2", RENAME_EXCHANGE); }, EPERM, "two drafts"},
      {"chmod versions", [&] { return Errno(::chmod((model + "/versions").c_str(), 0700)); }, EPERM,
       "registry"},
      {"chown versions", [&] { return Errno(::chown((model + "/versions").c_str(), 12345, 0)); }, EPERM,
       "owner"},
      // commits
      {"commit to a far number", [&] { return Rename(versions + "draft", versions + "9"); }, ERANGE,
       "mv versions/draft versions/3"},
      {"commit to zero", [&] { return Rename(versions + "draft", versions + "0"); }, ERANGE, "3"},
      {"commit to a taken number", [&] { return Rename(versions + "draft", versions + "1"); }, ERANGE, "3"},
      {"commit to a leading zero", [&] { return Rename(versions + "draft", versions + "03"); }, ERANGE, "3"},
      {"commit of nothing", [&] { return Rename(versions + "empty", versions + "3"); }, ENODATA, "no file"},
      {"commit of nothing to next", [&] { return Rename(versions + "empty", versions + "next"); }, ENODATA,
       "no file"},
      {"commit without a signature", [&] { return Rename(versions + "unsigned", versions + "3"); }, EPERM,
       "MLmodel"},
      {"commit while open for writing",
       [&] {
         const Fd open(::open((versions + "draft/file").c_str(), O_WRONLY | O_CLOEXEC));
         return Rename(versions + "draft", versions + "3");
       },
       EBUSY, "open or mapped for writing"},
      {"a draft to another model", [&] { return Rename(versions + "draft", other + "/versions/draft"); },
       EPERM, "cp -r"},
      {"a draft to another model's number", [&] { return Rename(versions + "draft", other + "/versions/2"); },
       EPERM, "cp -r"},
      {"a draft into aliases", [&] { return Rename(versions + "draft", aliases + "draft"); }, EPERM, "cp -r"},
      {"a draft into a version", [&] { return Rename(versions + "draft", versions + "1/draft"); }, EROFS,
       "next version is 3"},
      {"a draft over a full draft", [&] { return Rename(versions + "draft", versions + "second"); },
       ENOTEMPTY, "still holds files"},
      {"a draft to latest", [&] { return Rename(versions + "draft", versions + "latest"); }, ENOTDIR, ""},
      {"a draft to an invisible name", [&] { return Rename(versions + "draft", versions + "a\u200b"); },
       EPERM, "a"},
      {"rmdir of a full draft", [&] { return Errno(::rmdir((versions + "draft").c_str())); }, ENOTEMPTY,
       "still holds files"},
      {"rmdir of a version that is not there", [&] { return Errno(::rmdir((versions + "7").c_str())); },
       ENOENT, ""},
      // in a draft
      {"hard link from a version",
       [&] { return Errno(::link((versions + "1/weights.bin").c_str(), (versions + "draft/two").c_str())); },
       EXDEV, "does not lead out"},
      {"fifo in a draft", [&] { return Errno(::mkfifo((versions + "draft/p").c_str(), 0600)); }, EPERM,
       "not a FIFO"},
      {"device in a draft",
       [&] { return Errno(::mknod((versions + "draft/d").c_str(), S_IFCHR | 0600, makedev(1, 3))); }, EPERM,
       ""},
      {"attribute on a file of a draft", [&] { return set_xattr(versions + "draft/file", "user.mine"); },
       ENOTSUP, "user.tag."},
      {"attribute on a draft", [&] { return set_xattr(versions + "draft", "user.mine"); }, ENOTSUP,
       "user.tag."},
      {"bad tag on a draft", [&] { return set_xattr(versions + "draft", "user.tag.a=b"); }, EINVAL, ""},
      {"invisible name in a draft", [&] { return WriteFile(versions + "draft/a\u200b", "x"); }, EINVAL, "a"},
      {"rename to an invisible name",
       [&] { return Rename(versions + "draft/file", versions + "draft/a\u200b"); }, EPERM, "a"},
      {"move from draft to draft", [&] { return Rename(versions + "draft/file", versions + "empty/file"); },
       EXDEV, ""},
      {"move from a draft to versions", [&] { return Rename(versions + "draft/sub", versions + "sub"); },
       EPERM, "copy them"},
      {"move from a draft into a version",
       [&] { return Rename(versions + "draft/file", versions + "1/file"); }, EROFS, "never changes"},
      {"rmdir of a full directory", [&] { return Errno(::rmdir((versions + "draft/sub").c_str())); },
       ENOTEMPTY, "sub"},
      {"directory over a full directory",
       [&] {
         EXPECT_EQ(MakeDirectory(versions + "draft/sub2"), 0);
         const int result = Rename(versions + "draft/sub2", versions + "draft/sub");
         EXPECT_EQ(Errno(::rmdir((versions + "draft/sub2").c_str())), 0);
         return result;
       },
       ENOTEMPTY, "sub"},
      // aliases
      {"alias to no version", [&] { return Link("../versions/99", aliases + "New"); }, ENOENT, "99"},
      {"alias to zero", [&] { return Link("../versions/0", aliases + "New"); }, EINVAL, "../versions/N"},
      {"alias to latest", [&] { return Link("../versions/latest", aliases + "New"); }, EINVAL,
       "../versions/N"},
      {"alias to an alias", [&] { return Link("Champion", aliases + "New"); }, EINVAL, "../versions/N"},
      {"alias to another model", [&] { return Link(other + "/versions/1", aliases + "New"); }, EINVAL,
       "prod/ml/iris/versions/N"},
      {"alias to a file", [&] { return Link("../versions/1/weights.bin", aliases + "New"); }, EINVAL,
       "../versions/N"},
      {"alias named latest", [&] { return Link("../versions/1", aliases + "latest"); }, EINVAL, "latest"},
      {"alias named as a version", [&] { return Link("../versions/1", aliases + "v1"); }, EINVAL, "v1"},
      {"alias named as a number", [&] { return Link("../versions/1", aliases + "17"); }, EINVAL, "17"},
      {"alias that is there", [&] { return Link("../versions/2", aliases + "Champion"); }, EEXIST, ""},
      {"alias of other case", [&] { return Link("../versions/2", aliases + "champion"); }, EEXIST, "hampion"},
      {"file in aliases", [&] { return WriteFile(aliases + "New", "2"); }, EPERM, "ln -s ../versions/N"},
      {"touch in aliases", [&] { return OpenErrno(aliases + "New", O_CREAT | O_WRONLY); }, EPERM,
       "ln -s ../versions/N"},
      {"mkdir in aliases", [&] { return MakeDirectory(aliases + "New"); }, EPERM, "ln -s ../versions/N"},
      {"fifo in aliases", [&] { return Errno(::mkfifo((aliases + "p").c_str(), 0600)); }, EPERM, ""},
      {"remove no alias", [&] { return Errno(::unlink((aliases + "None").c_str())); }, ENOENT, ""},
      {"rename an alias to latest", [&] { return Rename(aliases + "Champion", aliases + "latest"); }, EPERM,
       "latest"},
      {"rename an alias to v7", [&] { return Rename(aliases + "Champion", aliases + "v7"); }, EPERM, "v7"},
      {"an alias to another model", [&] { return Rename(aliases + "Champion", other + "/aliases/Champion"); },
       EPERM, "belongs to its model"},
      {"an alias into a version", [&] { return Rename(aliases + "Champion", versions + "1/x"); }, EROFS,
       "ln -sfn"},
      {"mv tmp Champion without -T",
       [&] {
         EXPECT_EQ(Link("../versions/2", aliases + ".tmp"), 0);
         const int result = Rename(aliases + ".tmp", aliases + "Champion/.tmp");
         EXPECT_EQ(Errno(::unlink((aliases + ".tmp").c_str())), 0);
         return result;
       },
       EROFS, "ln -sfn"},
      {"a held link to no version",
       [&] {
         EXPECT_EQ(Link("../versions/99", aliases + ".tmp"), 0);
         const int result = Rename(aliases + ".tmp", aliases + "Champion");
         EXPECT_EQ(Errno(::unlink((aliases + ".tmp").c_str())), 0);
         return result;
       },
       ENOENT, "99"},
      {"a held link elsewhere", [&] { return Link("/etc/passwd", aliases + ".tmp"); }, EINVAL,
       "../versions/N"},
      {"a held link to a reserved name",
       [&] {
         EXPECT_EQ(Link("../versions/1", aliases + ".tmp"), 0);
         const int result = Rename(aliases + ".tmp", aliases + "latest");
         EXPECT_EQ(Errno(::unlink((aliases + ".tmp").c_str())), 0);
         return result;
       },
       EPERM, "latest"},
      {"a placeholder to an alias",
       [&] {
         EXPECT_EQ(OpenErrno(aliases + "Placeholder", O_CREAT | O_EXCL | O_WRONLY), 0);
         const int result = Rename(aliases + "Placeholder", aliases + "Real");
         EXPECT_EQ(Errno(::unlink((aliases + "Placeholder").c_str())), 0);
         return result;
       },
       EPERM, "links to versions"},
      {"ln -s into an alias", [&] { return Link("../versions/2", aliases + "Champion/x"); }, EROFS, ""},
  };

  const std::vector<std::string> versions_before = ListOf(versions);
  const std::vector<std::string> aliases_before = ListOf(aliases);
  for (const RefusalRow& row : rows) {
    SCOPED_TRACE(row.name);
    const std::string before = mounted.Errors();
    EXPECT_EQ(row.act(), row.want);
    if (!row.words.empty()) {
      const std::string errors = mounted.Errors();
      const std::string news = errors.size() > before.size() ? errors.substr(before.size()) : errors;
      EXPECT_NE(news.find(row.words), std::string::npos) << news;
    }
    EXPECT_EQ(ListOf(versions), versions_before);
    EXPECT_EQ(ListOf(aliases), aliases_before);
    EXPECT_EQ(ReadLinkOf(aliases + "Champion"), "../versions/1");
  }
  EXPECT_EQ(ReadFile(versions + "draft/sub/file"), "bytes") << "a refused act left its mark";
  EXPECT_EQ(Rename(versions + "draft", versions + "3"), EPERM) << "the refused file does not exist";
  for (const char* name : {"two", "p", "d"}) {
    EXPECT_EQ(WriteFile(versions + "draft/" + name, ""), 0);
    EXPECT_EQ(Errno(::unlink((versions + "draft/" + name).c_str())), 0);
  }
  EXPECT_EQ(Rename(versions + "draft", versions + "3"), 0) << "the draft is whole after all refusals";
  EXPECT_EQ(ReadFile(versions + "3/sub/file"), "bytes");
}

TEST(WritingMount, ANameOf256BytesIsTooLongForEveryCall) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  mounted.MakeVersion(model, {{"sub/file", "x"}});
  ASSERT_EQ(MakeDirectory(model + "/versions/draft"), 0);
  ASSERT_EQ(WriteFile(model + "/versions/draft/file", "x"), 0);
  ASSERT_EQ(Link("../versions/1", model + "/aliases/Champion"), 0);
  struct Row {
    const char* name;
    std::function<int(const std::string& path)> act;
  };
  const std::string draft_file = model + "/versions/draft/file";
  const std::vector<Row> rows = {
      {"stat",
       [](const std::string& p) {
         struct stat attr = {};
         return Errno(::lstat(p.c_str(), &attr));
       }},
      {"open", [](const std::string& p) { return OpenErrno(p, O_RDONLY); }},
      {"create", [](const std::string& p) { return OpenErrno(p, O_CREAT | O_EXCL | O_WRONLY); }},
      {"mkdir", [](const std::string& p) { return MakeDirectory(p); }},
      {"mknod", [](const std::string& p) { return Errno(::mknod(p.c_str(), S_IFREG | 0644, 0)); }},
      {"symlink", [](const std::string& p) { return Link("../versions/1", p); }},
      {"link", [&](const std::string& p) { return Errno(::link(draft_file.c_str(), p.c_str())); }},
      {"unlink", [](const std::string& p) { return Errno(::unlink(p.c_str())); }},
      {"rmdir", [](const std::string& p) { return Errno(::rmdir(p.c_str())); }},
      {"rename from", [&](const std::string& p) { return Rename(p, model + "/versions/other"); }},
      {"rename to", [&](const std::string& p) { return Rename(draft_file, p); }},
      {"rename of an alias to", [&](const std::string& p) { return Rename(model + "/aliases/Champion", p); }},
      {"getxattr",
       [](const std::string& p) {
         char v;
         return Errno(static_cast<int>(::getxattr(p.c_str(), "user.x", &v, 1)));
       }},
  };
  for (const char* place :
       {"", "/prod", "/prod/ml", "/prod/ml/iris", "/prod/ml/iris/versions", "/prod/ml/iris/aliases",
        "/prod/ml/iris/versions/draft", "/prod/ml/iris/versions/1", "/prod/ml/iris/versions/1/sub",
        "/prod/ml/iris@Champion", "/prod/ml/iris/.info", "/.modelfs"}) {
    for (const std::string& name :
         {std::string(256, 'n'), std::string(1000, 'n'), "a@" + std::string(254, 'n')}) {
      for (const Row& row : rows) {
        EXPECT_EQ(row.act(mounted.mount() + place + "/" + name), ENAMETOOLONG) << row.name << " in " << place;
      }
    }
  }
  EXPECT_NE(mounted.Errors().find("at most 255 bytes, and this one has 1000"), std::string::npos);
  EXPECT_EQ(MakeDirectory(model + "/versions/draft/" + std::string(255, 'n')), 0);

  // <model>@<Alias> holds two names, and each may be as long as a name can be.
  const std::string long_model = std::string(255, 'm');
  mounted.MakeModel("prod/ml/" + long_model);
  mounted.MakeVersion(mounted.path("prod/ml/" + long_model), {{"file", "here"}});
  ASSERT_EQ(Link("../versions/1", mounted.path("prod/ml/" + long_model + "/aliases/Champion")), 0);
  EXPECT_EQ(ReadFile(mounted.path("prod/ml/" + long_model + "@Champion/file")), "here");
}

// A node encodes its place, or is searched for, however many other nodes were met since.
TEST(WritingMount, ARefusalNamesItsPathAmongManyNames) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  const std::string draft = model + "/versions/draft";
  constexpr int kNames = 17'000;
  ASSERT_EQ(MakeDirectory(draft), 0);
  ASSERT_EQ(MakeDirectory(draft + "/sub"), 0);
  for (int i = 0; i < kNames; ++i) ASSERT_EQ(WriteFile(fmt::format("{}/sub/f{}", draft, i), ""), 0);
  const auto refuse = [&](const std::string& path) {
    EXPECT_NE(Errno(::setxattr(path.c_str(), "trusted.x", "v", 1, 0)), 0);
    const std::string below = path.substr(mounted.mount().size());
    EXPECT_NE(mounted.Errors().find("\"path\":\"" + below + "\""), std::string::npos) << below;
  };
  refuse(draft);
  refuse(draft + "/sub");
  for (const int i : {0, 1, kNames / 2, kNames - 1}) refuse(fmt::format("{}/sub/f{}", draft, i));
  ASSERT_EQ(Rename(draft + "/sub/f0", draft + "/moved"), 0);
  refuse(draft + "/moved");
  ASSERT_EQ(Rename(draft + "/sub", draft + "/other"), 0);
  refuse(draft + "/other/f7");

  ASSERT_EQ(Rename(draft, model + "/versions/1"), 0);
  ASSERT_EQ(Link("../versions/1", model + "/aliases/Champion"), 0);
  const std::string version = model + "/versions/1";
  for (int i = 1; i < kNames; ++i) ASSERT_TRUE(Exists(fmt::format("{}/other/f{}", version, i)));
  for (const int i : {1, 2, kNames - 1}) refuse(fmt::format("{}/other/f{}", version, i));
  refuse(version + "/other");
  refuse(version);
  refuse(model + "@Champion");
  refuse(model + "@Champion/other");
  refuse(model);
  refuse(mounted.path("prod"));
  refuse(model + "/versions");
  refuse(model + "/aliases");
  refuse(model + "/.info/versions/1.json");
  refuse(mounted.path(".modelfs/status"));
}

TEST(WritingMount, ARefusedCopyOfAModelNamesTheCommandThatCopiesOne) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  mounted.MakeVersion(model, {{"file", "x"}});
  ASSERT_EQ(Link("../versions/1", model + "/aliases/Champion"), 0);
  mounted.MakeModel("staging/ml/elsewhere");
  const auto copies = [&] {
    size_t count = 0;
    const std::string errors = mounted.Errors();
    for (size_t at = 0; (at = errors.find("modelfs cp prod.ml.iris staging.ml.", at)) != std::string::npos;
         ++at)
      ++count;
    return count;
  };
  EXPECT_NE(Shell(fmt::format("cp -r {} {}", model, mounted.path("staging/ml/iris"))).status, 0);
  EXPECT_EQ(copies(), 1U) << mounted.Errors();
  EXPECT_NE(mounted.Errors().find("modelfs cp prod.ml.iris staging.ml.iris\""), std::string::npos);
  EXPECT_NE(mounted.Errors().find("\"path\":\"/staging/ml/iris/versions\""), std::string::npos);
  EXPECT_NE(Shell(fmt::format("python3 -c 'import shutil; shutil.copytree(\"{}\", \"{}\")'", model,
                              mounted.path("staging/ml/python")))
                .status,
            0);
  EXPECT_EQ(copies(), 2U) << mounted.Errors();
  // Into an existing model, the numbers stop the copy, and the message says so.
  EXPECT_NE(Shell(fmt::format("cp -rT {} {}", model, mounted.path("staging/ml/elsewhere"))).status, 0);
  EXPECT_NE(mounted.Errors().find("modelfs cp SOURCE staging.ml.elsewhere"), std::string::npos)
      << mounted.Errors();
  // Looking around is not a copy.
  EXPECT_EQ(Shell(fmt::format("python3 -c 'import os; os.listdir(\"{0}\"); os.mkdir(\"{1}\"); "
                              "os.makedirs(\"{1}/versions/draft\"); os.listdir(\"{1}/aliases\")'",
                              model, mounted.path("staging/ml/script")))
                .output,
            "");
  EXPECT_EQ(copies(), 2U) << mounted.Errors();

  EXPECT_NE(Shell("rm -r " + model + "/versions/1").status, 0);
  EXPECT_NE(mounted.Errors().find("`rmdir versions/1`"), std::string::npos) << mounted.Errors();
}

TEST(WritingMount, ADraftBecomesAVersionByRename) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  const std::string versions = model + "/versions/";
  EXPECT_EQ(Xattr(model + "/versions", "user.modelfs.next_version"), "1");
  ASSERT_EQ(MakeDirectory(versions + "draft"), 0);
  struct stat attr = {};
  ASSERT_EQ(::stat((versions + "draft").c_str(), &attr), 0);
  EXPECT_EQ(attr.st_mode & ACCESSPERMS, 0700U);
  ASSERT_EQ(WriteFile(versions + "draft/run.sh", "#!/bin/sh\n"), 0);
  ASSERT_EQ(Errno(::chmod((versions + "draft/run.sh").c_str(), 0755)), 0);
  ASSERT_EQ(MakeDirectory(versions + "draft/sub"), 0);
  ASSERT_EQ(WriteFile(versions + "draft/sub/weights.bin", std::string(100'000, 'w')), 0);
  ASSERT_EQ(Errno(::lsetxattr((versions + "draft").c_str(), "user.tag.task", "test", 4, 0)), 0);
  ASSERT_EQ(Errno(::lsetxattr((versions + "draft").c_str(), "user.description", "first", 5, 0)), 0);
  EXPECT_EQ(Xattr(versions + "draft", "user.modelfs.status"), "DRAFT");
  EXPECT_EQ(ListOf(versions), (std::vector<std::string>{"draft"}));
  EXPECT_FALSE(Exists(versions + "latest"));

  ASSERT_EQ(Rename(versions + "draft", versions + "1"), 0);
  EXPECT_EQ(ListOf(versions), (std::vector<std::string>{"1"}));
  EXPECT_FALSE(Exists(versions + "draft"));
  EXPECT_EQ(ReadFile(versions + "1/sub/weights.bin"), std::string(100'000, 'w'));
  ASSERT_EQ(::stat((versions + "1/run.sh").c_str(), &attr), 0);
  EXPECT_NE(attr.st_mode & S_IXUSR, 0U);
  EXPECT_EQ(Xattr(versions + "1", "user.tag.task"), "test");
  EXPECT_EQ(Xattr(versions + "1", "user.description"), "first");
  EXPECT_EQ(ReadLinkOf(versions + "latest"), "1");
  EXPECT_EQ(ReadFile(versions + "latest/run.sh"), "#!/bin/sh\n");
  EXPECT_EQ(OpenErrno(versions + "1/run.sh", O_WRONLY), EROFS);
  EXPECT_EQ(Xattr(model + "/versions", "user.modelfs.next_version"), "2");

  // To `next`, which names nothing afterwards.
  ASSERT_EQ(MakeDirectory(versions + "draft"), 0);
  ASSERT_EQ(WriteFile(versions + "draft/file", "two"), 0);
  ASSERT_EQ(Rename(versions + "draft", versions + "next"), 0);
  EXPECT_FALSE(Exists(versions + "next"));
  EXPECT_EQ(ReadFile(versions + "2/file"), "two");
  EXPECT_EQ(ReadLinkOf(versions + "latest"), "2");

  // Durable: it is there after the daemon was killed.
  mounted.Kill();
  mounted.Start();
  EXPECT_EQ(ReadFile(versions + "2/file"), "two");
  EXPECT_EQ(ListOf(versions), (std::vector<std::string>{"1", "2"}));
}

TEST(WritingMount, ADraftIsWrittenLikeAnyDirectory) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string draft = mounted.MakeModel(kModel) + "/versions/draft";
  ASSERT_EQ(MakeDirectory(draft), 0);
  const std::string file = draft + "/file";
  const Fd open(::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  ASSERT_TRUE(open.valid());
  EXPECT_EQ(::pwrite(open.get(), "hello world", 11, 0), 11);
  EXPECT_EQ(::pwrite(open.get(), "W", 1, 6), 1);
  EXPECT_EQ(Errno(::fsync(open.get())), 0);
  EXPECT_EQ(ReadFile(file), "hello World");
  EXPECT_EQ(Errno(::ftruncate(open.get(), 5)), 0);
  EXPECT_EQ(ReadFile(file), "hello");
  EXPECT_EQ(Errno(::ftruncate(open.get(), 8)), 0);
  EXPECT_EQ(ReadFile(file), std::string("hello\0\0\0", 8));
  EXPECT_EQ(Errno(::posix_fallocate(open.get(), 0, 10)), 0);
  struct stat attr = {};
  ASSERT_EQ(::fstat(open.get(), &attr), 0);
  EXPECT_EQ(attr.st_size, 10);
  EXPECT_EQ(::lseek(open.get(), 3, SEEK_DATA), 3);
  EXPECT_EQ(::lseek(open.get(), 3, SEEK_HOLE), 10);
  EXPECT_EQ(::lseek(open.get(), 10, SEEK_DATA), -1);

  // An open file lives on after its last name is removed.
  ASSERT_EQ(Errno(::unlink(file.c_str())), 0);
  EXPECT_EQ(::pwrite(open.get(), "HELLO", 5, 0), 5);
  std::array<char, 5> got = {};
  EXPECT_EQ(::pread(open.get(), got.data(), got.size(), 0), 5);
  EXPECT_EQ(std::string_view(got.data(), got.size()), "HELLO");
  EXPECT_FALSE(Exists(file));

  // Renames: over a file, between directories, exchanged, and refused over a name.
  ASSERT_EQ(MakeDirectory(draft + "/d"), 0);
  ASSERT_EQ(WriteFile(draft + "/a", "a"), 0);
  ASSERT_EQ(WriteFile(draft + "/b", "b"), 0);
  EXPECT_EQ(RenameAt2(draft + "/a", draft + "/b", RENAME_EXCHANGE), 0);
  EXPECT_EQ(ReadFile(draft + "/a"), "b");
  EXPECT_EQ(RenameAt2(draft + "/a", draft + "/b", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(Rename(draft + "/a", draft + "/d/b"), 0);
  EXPECT_EQ(Rename(draft + "/b", draft + "/d/b"), 0);
  EXPECT_EQ(ReadFile(draft + "/d/b"), "a");
  EXPECT_EQ(Rename(draft + "/d", draft + "/e"), 0);
  EXPECT_EQ(ListOf(draft), (std::vector<std::string>{"e"}));

  // Attributes that programs set after copying are accepted; mode bits but x are not kept.
  const std::string kept = draft + "/e/b";
  EXPECT_EQ(Errno(::chown(kept.c_str(), ::geteuid(), ::getegid())), 0);
  // Root's chown to another user changes nothing; others have no such right.
  EXPECT_EQ(Errno(::chown(kept.c_str(), 12345, 12345)), ::geteuid() == 0 ? 0 : EPERM);
  ASSERT_EQ(::stat(kept.c_str(), &attr), 0);
  EXPECT_EQ(attr.st_uid, ::geteuid());
  EXPECT_EQ(Errno(::chmod(kept.c_str(), 0444)), 0);
  ASSERT_EQ(::stat(kept.c_str(), &attr), 0);
  EXPECT_EQ(attr.st_mode & ACCESSPERMS, 0600U);
  EXPECT_EQ(Errno(::chmod((draft + "/e").c_str(), 0555)), 0);
  EXPECT_EQ(WriteFile(draft + "/e/more", "x"), 0);
  const std::array<timespec, 2> times = {timespec{.tv_sec = 1'000'000, .tv_nsec = 0},
                                         timespec{.tv_sec = 2'000'000, .tv_nsec = 0}};
  EXPECT_EQ(Errno(::utimensat(AT_FDCWD, kept.c_str(), times.data(), 0)), 0);
  ASSERT_EQ(::stat(kept.c_str(), &attr), 0);
  EXPECT_EQ(attr.st_mtim.tv_sec, 2'000'000);
  EXPECT_EQ(Errno(::lsetxattr(kept.c_str(), "user.modelfs.sha256", "x", 1, 0)), 0);
  EXPECT_EQ(Errno(::lremovexattr(kept.c_str(), "user.modelfs.sha256")), 0);
  EXPECT_EQ(Errno(::mknod((draft + "/node").c_str(), S_IFREG | 0600, 0)), 0);
  EXPECT_EQ(ReadFile(draft + "/node"), "");
}

TEST(WritingMount, NoHandleFromBeforeACommitChangesAReadyByte) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string versions = mounted.MakeModel(kModel) + "/versions/";
  const std::string draft = versions + "draft";
  ASSERT_EQ(MakeDirectory(draft), 0);
  ASSERT_EQ(WriteFile(draft + "/file", "before"), 0);
  const Fd reader(::open((draft + "/file").c_str(), O_RDONLY | O_CLOEXEC));
  const Fd path_only(::open((draft + "/file").c_str(), O_PATH | O_CLOEXEC));
  const Fd directory(::open(draft.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(reader.valid() && path_only.valid() && directory.valid());

  {
    const Fd writer(::open((draft + "/file").c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(writer.valid());
    EXPECT_EQ(Rename(draft, versions + "1"), EBUSY);
    // The refused commit left the draft writable.
    EXPECT_EQ(::pwrite(writer.get(), "BEFORE", 6, 0), 6);
  }
  // A shared mapping outlives its descriptor, and holds the commit back as well.
  void* mapping = MAP_FAILED;
  {
    const Fd writer(::open((draft + "/file").c_str(), O_RDWR | O_CLOEXEC));
    mapping = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer.get(), 0);
    ASSERT_NE(mapping, MAP_FAILED);
  }
  EXPECT_EQ(Rename(draft, versions + "next"), EBUSY);
  static_cast<char*>(mapping)[0] = 'b';
  ASSERT_EQ(::munmap(mapping, 4096), 0);
  ASSERT_EQ(Rename(draft, versions + "1"), 0) << mounted.Errors();

  const std::string want = "bEFORE";
  EXPECT_EQ(ReadFile(versions + "1/file"), want);
  const std::string by_reader = fmt::format("/proc/self/fd/{}", reader.get());
  const std::string by_path = fmt::format("/proc/self/fd/{}", path_only.get());
  EXPECT_EQ(OpenErrno(by_reader, O_WRONLY), EROFS);
  EXPECT_EQ(OpenErrno(by_reader, O_RDWR | O_TRUNC), EROFS);
  EXPECT_EQ(OpenErrno(by_path, O_RDWR), EROFS);
  EXPECT_EQ(Errno(::truncate(by_reader.c_str(), 0)), EROFS);
  EXPECT_EQ(Errno(::fchmod(reader.get(), 0777)), EROFS);
  EXPECT_EQ(Errno(::futimens(reader.get(), nullptr)), EROFS);
  EXPECT_EQ(Errno(::fsetxattr(reader.get(), "user.modelfs.x", "x", 1, 0)), EROFS);
  EXPECT_EQ(Errno(::openat(directory.get(), "new", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), EROFS);
  EXPECT_EQ(Errno(::mkdirat(directory.get(), "new", 0700)), EROFS);
  EXPECT_EQ(Errno(::unlinkat(directory.get(), "file", 0)), EROFS);
  EXPECT_EQ(Errno(::renameat(directory.get(), "file", directory.get(), "other")), EROFS);

  // A file open for reading goes on, as the version's.
  std::array<char, 16> got = {};
  EXPECT_EQ(::pread(reader.get(), got.data(), got.size(), 0), 6);
  EXPECT_EQ(std::string_view(got.data(), 6), want);
  struct stat attr = {};
  EXPECT_EQ(::fstat(reader.get(), &attr), 0);
  EXPECT_EQ(attr.st_size, 6);
  void* view = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, reader.get(), 0);
  ASSERT_NE(view, MAP_FAILED);
  EXPECT_EQ(std::string_view(static_cast<const char*>(view), 6), want);
  EXPECT_EQ(Errno(::mprotect(view, 4096, PROT_READ | PROT_WRITE)), EACCES);
  ASSERT_EQ(::munmap(view, 4096), 0);
  EXPECT_EQ(ReadFile(versions + "1/file"), want);
}

TEST(WritingMount, CopyingAVersionSharesItsBlobs) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  const std::string other = mounted.MakeModel("staging/ml/iris");
  std::map<std::string, std::string> files;
  for (int i = 0; i < 100; ++i) {
    files[fmt::format("d{}/shard-{}", i % 7, i)] =
        std::string(10'000, static_cast<char>('a' + i % 26)) + fmt::format("{}", i);
  }
  mounted.MakeVersion(model, files);
  const auto object_bytes = [&] {
    uint64_t bytes = 0;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(mounted.home() + "/store/objects")) {
      if (entry.is_regular_file()) bytes += entry.file_size();
    }
    return bytes;
  };
  const uint64_t before = object_bytes();
  ASSERT_EQ(Shell(fmt::format("cp -r {0}/versions/1 {1}/versions/draft", model, other)).output, "");
  uint64_t draft_bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(mounted.home() + "/drafts")) {
    if (entry.is_regular_file() && !entry.is_symlink()) draft_bytes += entry.file_size();
  }
  EXPECT_LT(draft_bytes, 10'000U) << "the draft holds bytes of its own";
  ASSERT_EQ(Rename(other + "/versions/draft", other + "/versions/1"), 0) << mounted.Errors();
  EXPECT_EQ(object_bytes(), before) << "the same files are the same blobs and the same tree";
  for (const auto& file : files) EXPECT_EQ(ReadFile(other + "/versions/1/" + file.first), file.second);
  EXPECT_EQ(Xattr(other + "/versions/1", "user.modelfs.source"), "models:/prod.ml.iris/1");

  // A shared file is copied when it is written to, and only then.
  ASSERT_EQ(Shell(fmt::format("cp -a {0}/versions/1 {0}/versions/tuned", model)).output, "");
  const Fd open(::open((model + "/versions/tuned/d0/shard-0").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  ASSERT_EQ(::write(open.get(), "more", 4), 4);
  EXPECT_EQ(ReadFile(model + "/versions/tuned/d0/shard-0"), files["d0/shard-0"] + "more");
  EXPECT_EQ(ReadFile(model + "/versions/1/d0/shard-0"), files["d0/shard-0"]);
}

TEST(WritingMount, OnlyACopyNamesItsSource) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  const std::string versions = model + "/versions/";
  mounted.MakeVersion(model, {{"weights", "w"}, {"sub/tokens", "t"}, {"empty", ""}});
  const auto source_of = [&](int number) {
    return Xattr(fmt::format("{}{}", versions, number), "user.modelfs.source");
  };
  const std::string none = fmt::format("<errno {}>", ENODATA);
  EXPECT_EQ(source_of(1), none) << "its files came from anywhere";

  // A copy still counts as a copy after a restart, and its source has the model's present name.
  ASSERT_EQ(Shell(fmt::format("cp -r {0}1 {0}waits", versions)).output, "");
  mounted.Kill();
  mounted.Start();
  ASSERT_EQ(Rename(model, mounted.path("prod/ml/rose")), 0);
  const std::string renamed = mounted.path("prod/ml/rose/versions/");
  ASSERT_EQ(Rename(renamed + "waits", renamed + "2"), 0) << mounted.Errors();
  EXPECT_EQ(Xattr(renamed + "2", "user.modelfs.source"), "models:/prod.ml.rose/1");
  ASSERT_EQ(Rename(mounted.path("prod/ml/rose"), model), 0);
  EXPECT_EQ(source_of(2), "models:/prod.ml.iris/1");

  ASSERT_EQ(Shell(fmt::format("cp -r {0}1 {0}tuned && echo more >> {0}tuned/weights", versions)).output, "");
  ASSERT_EQ(Rename(versions + "tuned", versions + "3"), 0) << mounted.Errors();
  EXPECT_EQ(source_of(3), none) << "made from it, but not it";

  ASSERT_EQ(Shell(fmt::format("cp -r {0}1 {0}mixed && cp {0}3/weights {0}mixed", versions)).output, "");
  ASSERT_EQ(Rename(versions + "mixed", versions + "4"), 0) << mounted.Errors();
  EXPECT_EQ(source_of(4), none);
}

TEST(WritingMount, AliasesAreMadeMovedAndRemovedByLinks) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  for (const char* content : {"one", "two", "three"}) mounted.MakeVersion(model, {{"file", content}});
  const std::string aliases = model + "/aliases/";
  const auto target = [&](std::string_view name) { return ReadLinkOf(aliases + std::string(name)); };

  // Every accepted form of a target; only the number is stored.
  ASSERT_EQ(Link("1", aliases + "A"), 0);
  ASSERT_EQ(Link("../versions/1", aliases + "B"), 0);
  ASSERT_EQ(Link("../versions/1/", aliases + "C"), 0);
  ASSERT_EQ(Link(model + "/versions/1", aliases + "D"), 0);
  ASSERT_EQ(Link("../../../../prod/ml/iris/versions/1", aliases + "E"), 0);
  for (const char* name : {"A", "B", "C", "D", "E"}) EXPECT_EQ(target(name), "../versions/1") << name;
  for (const char* name : {"B", "C", "D", "E"}) EXPECT_EQ(Errno(::unlink((aliases + name).c_str())), 0);
  EXPECT_EQ(ListOf(aliases), (std::vector<std::string>{"A"}));

  // The forms of ln and mv.
  const auto shell = [&](const std::string& command) {
    const ShellResult result = Shell(fmt::format("cd {} && {}", model, command));
    return fmt::format("{}:{}", result.status, result.output);
  };
  EXPECT_EQ(shell("ln -s ../versions/1 aliases/Champion"), "0:");
  EXPECT_EQ(shell("ln -sfn ../versions/2 aliases/Champion"), "0:");
  EXPECT_EQ(target("Champion"), "../versions/2");
  EXPECT_EQ(ReadFile(aliases + "Champion/file"), "two");
  EXPECT_EQ(ReadFile(model + "@Champion/file"), "two");
  EXPECT_EQ(shell("ln -s ../versions/3 aliases/.t && mv -T aliases/.t aliases/Champion"), "0:");
  EXPECT_EQ(target("Champion"), "../versions/3");
  EXPECT_NE(shell("ln -s ../versions/1 aliases/Champion"), "0:") << "means inside the version";
  EXPECT_NE(shell("ln -sf ../versions/1 aliases/Champion"), "0:");
  EXPECT_EQ(target("Champion"), "../versions/3");
  EXPECT_EQ(shell("cd aliases && ln -sfn ../versions/1 Champion && ln -sfT ../versions/2 Champion"), "0:");
  EXPECT_EQ(shell("python3 -c \"import os; os.symlink('../versions/3', 'aliases/.p'); "
                  "os.replace('aliases/.p', 'aliases/Champion')\""),
            "0:");
  EXPECT_EQ(target("Champion"), "../versions/3");
  EXPECT_EQ(ListOf(aliases), (std::vector<std::string>{"A", "Champion"})) << "nothing is left behind";

  // Alias onto alias; exchanged; renamed; kept under a held name.
  EXPECT_EQ(RenameAt2(aliases + "A", aliases + "Champion", RENAME_EXCHANGE), 0);
  EXPECT_EQ(target("A"), "../versions/3");
  EXPECT_EQ(target("Champion"), "../versions/1");
  EXPECT_EQ(RenameAt2(aliases + "A", aliases + "Champion", RENAME_NOREPLACE), EEXIST);
  EXPECT_EQ(Rename(aliases + "A", aliases + "Champion"), 0);
  EXPECT_EQ(target("Champion"), "../versions/3");
  EXPECT_EQ(Rename(aliases + "Champion", aliases + "Challenger"), 0);
  EXPECT_EQ(ListOf(aliases), (std::vector<std::string>{"Challenger"}));
  EXPECT_EQ(Rename(aliases + "Challenger", aliases + "Challenger~"), 0);
  EXPECT_EQ(target("Challenger~"), "../versions/3");
  EXPECT_FALSE(Exists(model + "@Challenger/file"));
  EXPECT_EQ(Rename(aliases + "Challenger~", aliases + "Challenger"), 0);
  EXPECT_EQ(ReadFile(model + "@Challenger/file"), "three");

  // tar and rsync, which make another file first.
  ASSERT_EQ(Errno(::unlink((aliases + "Challenger").c_str())), 0);
  EXPECT_EQ(shell("ln -s ../versions/1 aliases/T && tar cf " + mounted.scratch("a.tar") + " aliases/T"),
            "0:");
  EXPECT_EQ(shell("ln -sfn ../versions/2 aliases/T && tar xf " + mounted.scratch("a.tar")), "0:");
  EXPECT_EQ(target("T"), "../versions/1");
  ASSERT_EQ(MakeDirectory(mounted.scratch("aliases")), 0);
  ASSERT_EQ(Link("../versions/3", mounted.scratch("aliases/T")), 0);
  EXPECT_EQ(shell("rsync -a " + mounted.scratch("aliases/") + " aliases/"), "0:");
  EXPECT_EQ(target("T"), "../versions/3");
  EXPECT_EQ(ListOf(aliases), (std::vector<std::string>{"T"}));

  // Deleting a version takes its aliases with it.
  EXPECT_EQ(Errno(::rmdir((model + "/versions/3").c_str())), 0);
  EXPECT_EQ(ListOf(aliases), (std::vector<std::string>{}));
  EXPECT_FALSE(Exists(model + "/versions/3"));
  EXPECT_EQ(ReadLinkOf(model + "/versions/latest"), "2");
}

// On a private mount the kernel asks for a link's target once; another target is another link to the kernel.
TEST(WritingMount, ALinkIsReadOnceForEachTarget) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  for (const char* text : {"one", "two"}) mounted.MakeVersion(model, {{"file", text}});
  const std::string alias = model + "/aliases/Champion";
  const auto asked = [&] {
    const std::string metrics = ReadFile(mounted.path(".modelfs/metrics"));
    const std::string key = "operation=\"readlink\"} ";
    const size_t at = metrics.find(key);
    return at == std::string::npos ? 0 : std::stoi(metrics.substr(at + key.size()));
  };
  for (const char* target : {"../versions/1", "../versions/2"}) {
    EXPECT_EQ(Shell("ln -sfn " + std::string(target) + " " + alias).status, 0);
    EXPECT_EQ(ReadLinkOf(alias), target);
    const int before = asked();
    for (int i = 0; i < 100; ++i) EXPECT_EQ(ReadLinkOf(alias), target);
    EXPECT_EQ(asked(), before) << target;
  }
}

TEST(WritingMount, ProgramsThatCopyWorkOnADraft) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  const std::string source = mounted.scratch("source");
  ASSERT_EQ(Shell(fmt::format(
                      "mkdir -p {0}/sub/locked && echo hello >{0}/file && echo '#!/bin/sh' >{0}/run.sh && "
                      "chmod 755 {0}/run.sh && echo deep >{0}/sub/locked/file && chmod 444 {0}/file && "
                      "chmod 555 {0}/sub/locked && setfacl -m u:1:r {0}/file && "
                      "setfattr -n user.color -v blue {0}/sub && tar -C {0} --acls --xattrs -cf {0}.tar . && "
                      "tar -C {0} -cf {0}.plain.tar .",
                      source))
                .output,
            "");
  struct Row {
    std::string_view command;
    int want_status;
    std::string_view want_output;
  };
  const std::vector<Row> rows = {
      {"cp -r SOURCE versions/draft", 0, ""},
      {"cp -a SOURCE versions/draft", 0, ""},
      {"cp -rL --preserve=mode,timestamps SOURCE versions/draft", 0, ""},
      {"rsync -a SOURCE/ versions/draft/", 0, ""},
      {"mkdir versions/draft && tar -xf SOURCE.plain.tar -C versions/draft", 0, ""},
      {"mkdir versions/draft && tar --acls -xf SOURCE.tar -C versions/draft", 0, ""},
      {"cp -a SOURCE SOURCE.moved && mv SOURCE.moved versions/draft", 0, ""},
      {"mkdir -p versions/draft/sub/locked && install -m 755 SOURCE/run.sh versions/draft && "
       "install -m 644 SOURCE/file versions/draft && install SOURCE/sub/locked/file "
       "versions/draft/sub/locked",
       0, ""},
      {"python3 -c \"import shutil; shutil.copytree('SOURCE', 'versions/draft')\"", 0, ""},
  };
  int number = 0;
  for (const Row& row : rows) {
    SCOPED_TRACE(row.command);
    std::string command(row.command);
    for (size_t at = 0; (at = command.find("SOURCE", at)) != std::string::npos; at += source.size()) {
      command.replace(at, 6, source);
    }
    const ShellResult copied = Shell(fmt::format("cd {} && {}", model, command));
    EXPECT_EQ(copied.status, row.want_status);
    EXPECT_EQ(copied.output, row.want_output);
    const ShellResult committed = Shell(fmt::format("cd {} && mv versions/draft versions/next", model));
    EXPECT_EQ(committed.status, 0);
    EXPECT_EQ(committed.output, "") << mounted.Errors();
    const std::string version = fmt::format("{}/versions/{}", model, ++number);
    EXPECT_EQ(ReadFile(version + "/file"), "hello\n");
    EXPECT_EQ(ReadFile(version + "/sub/locked/file"), "deep\n");
    struct stat attr = {};
    EXPECT_EQ(::stat((version + "/run.sh").c_str(), &attr), 0);
    EXPECT_NE(attr.st_mode & S_IXUSR, 0U);
  }
  // A command that would leave a half-made version is refused, and the source stays whole.
  const std::string next = fmt::format("{}/versions/{}", model, number + 1);
  for (const std::string command : {"cp -r", "mv"}) {
    const ShellResult refused = Shell(fmt::format("{} {} {}", command, source, next));
    EXPECT_EQ(refused.status, 1) << refused.output;
    EXPECT_FALSE(Exists(next));
    EXPECT_EQ(ReadFile(source + "/sub/locked/file"), "deep\n");
  }
  // rm -r of a version stops at its first file.
  const ShellResult removed = Shell(fmt::format("rm -rf {}/versions/1", model));
  EXPECT_EQ(removed.status, 1);
  EXPECT_EQ(ReadFile(model + "/versions/1/file"), "hello\n");
  // ... and of a draft it works.
  EXPECT_EQ(
      Shell(fmt::format("cd {0} && cp -r {1} versions/draft && rm -r versions/draft", model, source)).output,
      "");
}

TEST(WritingMount, DraftsSurviveARestartAndBelongToTheirMount) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string versions = mounted.MakeModel(kModel) + "/versions/";
  ASSERT_EQ(MakeDirectory(versions + "draft"), 0);
  ASSERT_EQ(WriteFile(versions + "draft/file", "kept"), 0);
  ASSERT_EQ(MakeDirectory(versions + "other"), 0);
  ASSERT_EQ(Rename(versions + "other", versions + ".renamed"), 0);
  ASSERT_EQ(MakeDirectory(versions + "gone"), 0);
  ASSERT_EQ(Errno(::rmdir((versions + "gone").c_str())), 0);
  const std::string second = mounted.StartAnother();
  EXPECT_EQ(ListOf(fmt::format("{}/{}/versions", second, kModel)), (std::vector<std::string>{}));
  mounted.Kill();
  mounted.Start();
  EXPECT_EQ(ListOf(versions), (std::vector<std::string>{".renamed", "draft"}));
  EXPECT_EQ(ReadFile(versions + "draft/file"), "kept");
  ASSERT_EQ(WriteFile(versions + "draft/more", "new"), 0);
  ASSERT_EQ(Rename(versions + "draft", versions + "1"), 0);
  EXPECT_EQ(ReadFile(fmt::format("{}/{}/versions/1/more", second, kModel)), "new");
  EXPECT_EQ(mounted.Stop(), 0);
  mounted.Start();
  EXPECT_EQ(ListOf(versions), (std::vector<std::string>{".renamed", "1"}));
}

TEST(WritingMount, OneOfTwoCommitsToTheSameNumberWins) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  mounted.MakeModel(kModel);
  const std::string second = mounted.StartAnother();
  const std::array<std::string, 2> versions = {fmt::format("{}/{}/versions/", mounted.mount(), kModel),
                                               fmt::format("{}/{}/versions/", second, kModel)};
  for (int round = 1; round <= 5; ++round) {
    const std::string number = std::to_string(2 * round - 1);
    for (int side : {0, 1}) {
      ASSERT_EQ(MakeDirectory(versions[side] + "draft"), 0);
      ASSERT_EQ(WriteFile(versions[side] + "draft/file", fmt::format("{} {}", round, side)), 0);
    }
    std::atomic<int> waiting = 2;
    std::array<int, 2> results = {-1, -1};
    const auto commit = [&](int side) {
      --waiting;
      while (waiting > 0) std::this_thread::yield();
      results[side] = Rename(versions[side] + "draft", versions[side] + number);
    };
    std::thread other(commit, 1);
    commit(0);
    other.join();
    const int winner = results[0] == 0 ? 0 : 1;
    EXPECT_EQ(results[winner], 0);
    EXPECT_EQ(results[1 - winner], ERANGE);
    for (int side : {0, 1}) {
      EXPECT_EQ(ReadFile(versions[side] + number + "/file"), fmt::format("{} {}", round, winner));
    }
    EXPECT_EQ(ReadFile(versions[1 - winner] + "draft/file"), fmt::format("{} {}", round, 1 - winner));
    EXPECT_EQ(Rename(versions[1 - winner] + "draft", versions[1 - winner] + "next"), 0) << mounted.Errors();
  }
}

TEST(WritingMount, TenOfElevenConcurrentAliasesAreSet) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  mounted.MakeVersion(model, {{"file", "one"}});
  std::array<int, 11> results = {};
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back(
        [&, i] { results[i] = Link("../versions/1", fmt::format("{}/aliases/a{}x", model, i)); });
  }
  for (std::thread& thread : threads) thread.join();
  int set = 0;
  for (const int result : results) {
    if (result == 0) ++set;
    EXPECT_TRUE(result == 0 || result == EDQUOT) << result;
  }
  EXPECT_EQ(set, 10);
  EXPECT_EQ(ListOf(model + "/aliases").size(), 10U);
  EXPECT_NE(mounted.Errors().find("10"), std::string::npos);
}

// A flipping alias must show a target that was right at some moment of the read.
struct FlipState {
  std::atomic<uint64_t> started = 0;  // flips begun and ended; flip i makes the alias version 1 + i % 2
  std::atomic<uint64_t> ended = 0;
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> reads = 0;
  std::atomic<uint64_t> wrong = 0;
  std::array<char, 256> first_wrong = {};
};

TEST(WritingMount, AFlippingAliasIsOldOrNewAndNeverGoesBack) {
  SKIP_WITHOUT_MOUNT();
  constexpr uint64_t kFlips = 10'000;
  constexpr int kReaders = 8;
  Mounted mounted(
      {.home_bytes = uint64_t{64} << 20U});  // 10,000 durable commits, without a disk's time for them
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  mounted.MakeVersion(model, {{"file", "1"}});
  mounted.MakeVersion(model, {{"file", "2"}});
  const std::string aliases = model + "/aliases/";
  ASSERT_EQ(Link("../versions/1", aliases + "Champion"), 0);
  // Half of the readers use another mount: the kernel's side of it does not see the renames.
  const std::array<std::string, 2> models = {model, fmt::format("{}/{}", mounted.StartAnother(), kModel)};

  void* shared =
      ::mmap(nullptr, sizeof(FlipState), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  auto* state = new (shared) FlipState;
  std::vector<pid_t> readers;
  for (int r = 0; r < kReaders; ++r) {
    const pid_t reader = ::fork();
    ASSERT_GE(reader, 0);
    if (reader != 0) {
      readers.push_back(reader);
      continue;
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a failed assertion of the parent leaves none behind
    const std::string& mine = models[static_cast<size_t>(r) % models.size()];
    const std::array<std::string, 3> ways = {mine + "/aliases/Champion/file", mine + "@Champion/file",
                                             mine + "/aliases/Champion"};
    for (size_t i = static_cast<size_t>(r); !state->stop; ++i) {
      const std::string& way = ways[i % ways.size()];
      const uint64_t from = state->ended;
      const std::string said = i % ways.size() == 2 ? ReadLinkOf(way) : ReadFile(way);
      const uint64_t to = state->started;
      bool possible = false;
      for (uint64_t flip = from; flip <= to && flip <= from + 1; ++flip) {
        const std::string number = std::to_string(1 + flip % 2);
        possible = possible || said == number || said == "../versions/" + number;
      }
      ++state->reads;
      if (!possible && state->wrong++ == 0) {
        fmt::format("{} said {} between flips {} and {}", way.substr(mounted.mount().size()), said, from, to)
            .copy(state->first_wrong.data(), state->first_wrong.size() - 1);
      }
    }
    ::_exit(0);
  }
  for (uint64_t flip = 1; flip <= kFlips; ++flip) {
    const std::string target = fmt::format("../versions/{}", 1 + flip % 2);
    state->started = flip;
    ASSERT_EQ(Link(target, aliases + ".flip"), 0);
    ASSERT_EQ(Rename(aliases + ".flip", aliases + "Champion"), 0) << mounted.Errors();
    state->ended = flip;
  }
  state->stop = true;
  for (const pid_t reader : readers) {
    int status = 0;
    ASSERT_EQ(::waitpid(reader, &status, 0), reader);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(state->wrong, 0U) << state->first_wrong.data();
  EXPECT_GT(state->reads, uint64_t{kReaders});
  ::munmap(shared, sizeof(FlipState));
}

TEST(WritingMount, ADeletedVersionStaysReadableThroughOpenHandles) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  const std::string bytes(5'000'000, 'b');
  mounted.MakeVersion(model, {{"file", bytes}, {"second", "x"}});
  const std::string version = model + "/versions/1";
  const Fd open(::open((version + "/file").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(open.valid());
  std::atomic<bool> stop = false;
  std::atomic<int> bad = 0;
  std::thread reader([&] {
    while (!stop) {
      const std::string got = ReadFile(version + "/second");
      if (got != "x" && got != fmt::format("<errno {}>", ENOENT)) ++bad;
    }
  });
  EXPECT_EQ(Errno(::rmdir(version.c_str())), 0);
  EXPECT_FALSE(Exists(version));
  EXPECT_EQ(OpenErrno(version + "/file", O_RDONLY), ENOENT);
  std::string got(bytes.size(), '\0');
  size_t count = 0;
  while (count < got.size()) {
    const ssize_t n = ::pread(open.get(), got.data() + count, got.size() - count, static_cast<off_t>(count));
    ASSERT_GT(n, 0);
    count += static_cast<size_t>(n);
  }
  EXPECT_TRUE(got == bytes);
  stop = true;
  reader.join();
  EXPECT_EQ(bad, 0);
  // The number is never used again.
  mounted.MakeVersion(model, {{"file", "new"}});
  EXPECT_EQ(ListOf(model + "/versions"), (std::vector<std::string>{"2"}));
}

TEST(WritingMount, AFullDiskRefusesAndBreaksNothing) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted({.home_bytes = uint64_t{12} << 20U});
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  mounted.MakeVersion(model, {{"file", "one"}});
  ASSERT_EQ(Link("../versions/1", model + "/aliases/Champion"), 0);
  const std::string draft = model + "/versions/draft";
  ASSERT_EQ(MakeDirectory(draft), 0);
  EXPECT_EQ(WriteFile(draft + "/big", std::string(16U << 20U, 'b')), ENOSPC);
  // The committed version is still readable, and the registry answers.
  EXPECT_EQ(ReadFile(model + "/versions/1/file"), "one");
  // With no page left, a commit is refused, and afterwards the draft is unchanged.
  const int committed = Rename(draft, model + "/versions/2");
  EXPECT_TRUE(committed == 0 || committed == ENOSPC) << committed << mounted.Errors();
  if (committed == ENOSPC) {
    EXPECT_EQ(ListOf(model + "/versions"), (std::vector<std::string>{"1", "draft"}));
    EXPECT_EQ(ListOf(draft), (std::vector<std::string>{"big"}));
    ASSERT_EQ(Errno(::unlink((draft + "/big").c_str())), 0);
    ASSERT_EQ(WriteFile(draft + "/small", "fits"), 0);
    EXPECT_EQ(Rename(draft, model + "/versions/2"), 0) << mounted.Errors();
    EXPECT_EQ(ReadFile(model + "/versions/2/small"), "fits");
  }
  EXPECT_EQ(Errno(::unlink((model + "/aliases/Champion").c_str())), 0);
  EXPECT_EQ(Errno(::rmdir((model + "/versions/1").c_str())), 0);
  EXPECT_EQ(Errno(::rmdir((model + "/versions/2").c_str())), 0);
  EXPECT_EQ(Errno(::rmdir(model.c_str())), 0) << mounted.Errors();
}

// The daemon dies at a named point of a change; after a restart the change happened wholly or not at all.
class KilledWhile : public testing::TestWithParam<const char*> {};

TEST_P(KilledWhile, CommittingLeavesTheVersionWholeOrAbsent) {
  SKIP_WITHOUT_MOUNT();
  Mounted mounted;
  mounted.Start();
  const std::string model = mounted.MakeModel(kModel);
  const std::string versions = model + "/versions/";
  ASSERT_EQ(MakeDirectory(versions + "draft"), 0);
  ASSERT_EQ(WriteFile(versions + "draft/a", "first file"), 0);
  ASSERT_EQ(WriteFile(versions + "draft/b", std::string(5'000'000, 'b')), 0);
  mounted.Stop();
  mounted.Start(GetParam());
  ASSERT_NE(Rename(versions + "draft", versions + "1"), 0) << "the commit does not pass this point";
  ASSERT_TRUE(mounted.WaitUntilKilled());
  mounted.Start();
  const std::vector<std::string> names = ListOf(versions);
  if (names == std::vector<std::string>{"1"}) {
    EXPECT_EQ(ReadFile(versions + "1/a"), "first file");
    EXPECT_EQ(ReadFile(versions + "1/b"), std::string(5'000'000, 'b'));
  } else {
    EXPECT_EQ(names, (std::vector<std::string>{"draft"}));
    // The draft is whole, may be written to without changing what was stored, and commits.
    EXPECT_EQ(ReadFile(versions + "draft/b"), std::string(5'000'000, 'b'));
    const Fd open(::open((versions + "draft/a").c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(::pwrite(open.get(), "FIRST", 5, 0), 5);
  }
  if (Exists(versions + "draft")) {
    EXPECT_EQ(Rename(versions + "draft", versions + "1"), 0) << mounted.Errors();
    EXPECT_EQ(ReadFile(versions + "1/a"), "FIRST file");
  }
  mounted.MakeVersion(model, {{"a", "first file"}});
  EXPECT_EQ(ReadFile(versions + "2/a"), "first file");
}

std::string TestNameOf(const testing::TestParamInfo<const char*>& tested) {
  std::string name(tested.param);
  for (char& c : name) c = c == '.' || c == ':' ? '_' : c;
  return name;
}

INSTANTIATE_TEST_SUITE_P(Commit, KilledWhile,
                         testing::Values("seal.walked", "publish.staged", "publish.synced", "publish.durable",
                                         "publish.sums", "publish.linked", "publish.linked:2",
                                         "seal.published", "seal.stored", "lease.acquired", "version.checked",
                                         "kv.commit.begin:2", "kv.commit.done:2", "kv.commit.begin:3",
                                         "kv.commit.applied:3", "kv.commit.done:3", "fs.commit.sealed",
                                         "fs.commit.noted", "fs.commit.committed", "fs.draft.discard",
                                         "discard.renamed", "fs.commit.ended"),
                         TestNameOf);

// One commit of the registry each: killed before it, within it and after it.
class KilledWhileOneCommit : public testing::TestWithParam<const char*> {
 protected:
  // Two versions, an alias on each.
  void Prepare() {
    mounted.Start();
    model = mounted.MakeModel(kModel);
    mounted.MakeVersion(model, {{"file", "one"}});
    mounted.MakeVersion(model, {{"file", "two"}});
    ASSERT_EQ(Link("../versions/1", model + "/aliases/Champion"), 0);
    ASSERT_EQ(Link("../versions/2", model + "/aliases/Challenger"), 0);
    mounted.Stop();
    mounted.Start(GetParam());
  }
  void Restart(int result) {
    if (result == 0) {
      mounted.Stop();
    } else {
      ASSERT_TRUE(mounted.WaitUntilKilled());
    }
    mounted.Start();
  }
  Mounted mounted;
  std::string model;
};

TEST_P(KilledWhileOneCommit, AnAliasIsOldOrNew) {
  SKIP_WITHOUT_MOUNT();
  Prepare();
  ASSERT_EQ(Link("../versions/2", model + "/aliases/.tmp"), 0);
  const int result = Rename(model + "/aliases/.tmp", model + "/aliases/Champion");
  Restart(result);
  const std::string target = ReadLinkOf(model + "/aliases/Champion");
  EXPECT_TRUE(target == "../versions/2" || (result != 0 && target == "../versions/1")) << target;
  EXPECT_EQ(ReadFile(model + "@Champion/file"), target == "../versions/2" ? "two" : "one");
  EXPECT_EQ(ListOf(model + "/aliases"), (std::vector<std::string>{"Challenger", "Champion"}));
  ASSERT_EQ(Link("../versions/2", model + "/aliases/.tmp"), 0);
  EXPECT_EQ(Rename(model + "/aliases/.tmp", model + "/aliases/Champion"), 0);
}

TEST_P(KilledWhileOneCommit, AnAliasThatReplacesAnotherMovesWhollyOrNotAtAll) {
  SKIP_WITHOUT_MOUNT();
  Prepare();
  const int result = Rename(model + "/aliases/Challenger", model + "/aliases/Champion");
  Restart(result);
  const std::vector<std::string> names = ListOf(model + "/aliases");
  const std::string target = ReadLinkOf(model + "/aliases/Champion");
  if (names.size() == 1) {
    EXPECT_EQ(names.front(), "Champion");
    EXPECT_EQ(target, "../versions/2");
  } else {
    EXPECT_NE(result, 0);
    EXPECT_EQ(target, "../versions/1");
    EXPECT_EQ(ReadLinkOf(model + "/aliases/Challenger"), "../versions/2");
  }
}

TEST_P(KilledWhileOneCommit, AVersionAndItsAliasesAreDeletedTogether) {
  SKIP_WITHOUT_MOUNT();
  Prepare();
  const int result = Errno(::rmdir((model + "/versions/1").c_str()));
  Restart(result);
  if (Exists(model + "/versions/1")) {
    EXPECT_NE(result, 0);
    EXPECT_EQ(ReadFile(model + "/versions/1/file"), "one");
    EXPECT_EQ(ReadLinkOf(model + "/aliases/Champion"), "../versions/1");
    EXPECT_EQ(Errno(::rmdir((model + "/versions/1").c_str())), 0);
  }
  EXPECT_EQ(ListOf(model + "/versions"), (std::vector<std::string>{"2"}));
  EXPECT_EQ(ListOf(model + "/aliases"), (std::vector<std::string>{"Challenger"}));
  EXPECT_EQ(ReadFile(model + "@Challenger/file"), "two");
  mounted.MakeVersion(model, {{"file", "three"}});
  EXPECT_EQ(ListOf(model + "/versions"), (std::vector<std::string>{"2", "3"})) << "a number came back";
}

INSTANTIATE_TEST_SUITE_P(Registry, KilledWhileOneCommit,
                         testing::Values("kv.commit.begin:2", "kv.commit.applied:2", "kv.commit.done:2",
                                         "kv.commit.begin:3", "delete.step"),
                         TestNameOf);

}  // namespace
}  // namespace modelfs::fs
