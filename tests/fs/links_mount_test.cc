// Links in drafts, made by the usual programs (docs/mount.md): a version gets the files that they lead to.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/fs/mounted.h"

namespace modelfs::fs {
namespace {

struct stat Attr(const std::string& path) {
  struct stat attr = {};
  EXPECT_EQ(::lstat(path.c_str(), &attr), 0) << path;
  return attr;
}

// A mount with a model, a directory outside that holds links of both kinds, and a shell in it.
class LinksMount : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_MOUNT();
    mounted_.Start();
    versions_ = mounted_.MakeModel("prod/ml/iris") + "/versions/";
    source_ = mounted_.scratch("src");
    ASSERT_EQ(
        Run("mkdir -p {src}/d && echo '{{\"real\":1}}' >{src}/config.json && "
            "ln -s config.json {src}/model_config.json && echo weights >{src}/d/w.bin && "
            "ln -s d {src}/folder && ln -s ../config.json {src}/d/up && ln {src}/d/w.bin {src}/hard.bin"),
        "0:");
  }

  // "status:output"; {src} is the source, {v} versions/.
  std::string Run(const std::string& command) {
    const ShellResult result =
        Shell(fmt::format(fmt::runtime(command), fmt::arg("src", source_), fmt::arg("v", versions_)));
    return fmt::format("{}:{}", result.status, result.output);
  }

  int Commit(const std::string& draft) {
    return Errno(::rename((versions_ + draft).c_str(), (versions_ + "next").c_str()));
  }

  // Expects all files of the source in the version, and the targets of its links.
  void ExpectTheSource(const std::string& version) {
    EXPECT_EQ(ListOf(version),
              (std::vector<std::string>{"config.json", "d", "folder", "hard.bin", "model_config.json"}));
    for (const char* name : {"config.json", "model_config.json", "d/up", "folder/up"}) {
      EXPECT_EQ(ReadFile(version + "/" + name), "{\"real\":1}\n") << name;
    }
    for (const char* name : {"d/w.bin", "folder/w.bin", "hard.bin"}) {
      EXPECT_EQ(ReadFile(version + "/" + name), "weights\n") << name;
    }
    EXPECT_TRUE(S_ISREG(Attr(version + "/model_config.json").st_mode));
    EXPECT_TRUE(S_ISDIR(Attr(version + "/folder").st_mode));
  }

  Mounted mounted_;
  std::string versions_;
  std::string source_;
};

TEST_F(LinksMount, EveryProgramThatCopiesLinksSucceedsAndNoFileIsMissing) {
  if (IsSkipped()) return;
  const struct {
    const char* name;
    const char* command;
  } rows[] = {
      {"unzip",
       "cd {src} && rm -f ../s.zip && zip -qry ../s.zip . && mkdir {v}draft && unzip -q ../s.zip -d "
       "{v}draft"},
      {"tar", "mkdir {v}draft && tar -C {src} -cf - . | tar -C {v}draft -xf -"},
      {"cp", "cp -a {src} {v}draft"},
      {"rsync", "rsync -aH {src}/ {v}draft"},
      {"mv", "cp -a {src} {src}.2 && mv {src}.2 {v}draft"},
  };
  int version = 0;
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    ASSERT_EQ(Run(row.command), "0:");
    EXPECT_EQ(ReadLinkOf(versions_ + "draft/model_config.json"), "config.json");
    EXPECT_EQ(ReadFile(versions_ + "draft/folder/w.bin"), "weights\n") << "the kernel follows";
    ASSERT_EQ(Commit("draft"), 0) << mounted_.Errors();
    ExpectTheSource(versions_ + std::to_string(++version));
  }
}

TEST_F(LinksMount, LinksInADraftBehaveAsElsewhere) {
  if (IsSkipped()) return;
  const std::string draft = versions_ + "draft/";
  ASSERT_EQ(Run("mkdir {v}draft && echo one >{v}draft/a && ln -s a {v}draft/l && ln {v}draft/a {v}draft/h"),
            "0:");
  const struct stat link = Attr(draft + "l");
  EXPECT_TRUE(S_ISLNK(link.st_mode));
  EXPECT_EQ(link.st_size, 1);
  EXPECT_EQ(Attr(draft + "a").st_nlink, 2U);
  EXPECT_EQ(Attr(draft + "a").st_ino, Attr(draft + "h").st_ino);
  EXPECT_EQ(Run("echo two >>{v}draft/h && cat {v}draft/l"), "0:one\ntwo\n");
  EXPECT_EQ(Run("ln -sfn h {v}draft/l && readlink {v}draft/l"), "0:h\n");
  EXPECT_EQ(Run("mv {v}draft/l {v}draft/m && rm {v}draft/a && cat {v}draft/m"), "0:one\ntwo\n");
  EXPECT_EQ(Attr(draft + "h").st_nlink, 1U);
  mounted_.Kill();
  mounted_.Start();
  EXPECT_EQ(Run("readlink {v}draft/m"), "0:h\n");
  ASSERT_EQ(Commit("draft"), 0);
  EXPECT_EQ(Run("cat {v}1/m {v}1/h"), "0:one\ntwo\none\ntwo\n");
}

TEST_F(LinksMount, ACommitIsRefusedWithTheNameOfALinkThatCannotBeStored) {
  if (IsSkipped()) return;
  const struct {
    const char* target;
    const char* words;
  } rows[] = {
      {"gone", "bad: is a symbolic link to gone, which leads nowhere"},
      {"../other/a", "bad: is a symbolic link to ../other/a, which leads out of the draft"},
      {"/etc/passwd", "bad: is a symbolic link to the absolute path /etc/passwd"},
      {"bad", "bad: is a symbolic link that leads in a circle"},
      {".", "bad: is a symbolic link to a directory that it lies in"},
  };
  ASSERT_EQ(Run("mkdir {v}draft && echo bytes >{v}draft/a"), "0:");
  for (const auto& row : rows) {
    ASSERT_EQ(Errno(::symlink(row.target, (versions_ + "draft/bad").c_str())), 0);
    EXPECT_EQ(Commit("draft"), EPERM);
    EXPECT_NE(mounted_.Errors().find(row.words), std::string::npos)
        << row.words << " in " << mounted_.Errors();
    ASSERT_EQ(Errno(::unlink((versions_ + "draft/bad").c_str())), 0);
  }
  EXPECT_EQ(Commit("draft"), 0);
}

// For a program that ignores the refusal: the file is in the version, or the version does not exist.
TEST_F(LinksMount, ARefusedFileBlocksTheCommitAfterARestartToo) {
  if (IsSkipped()) return;
  const std::string draft = versions_ + "draft/";
  ASSERT_EQ(Run("mkdir -p {v}draft/sub && echo bytes >{v}draft/a"), "0:");
  ASSERT_EQ(Errno(::mkfifo((draft + "pipe").c_str(), 0600)), EPERM);
  ASSERT_EQ(Errno(::symlink(std::string(4095, 'x').c_str(), (draft + "sub/long").c_str())), ENAMETOOLONG);
  ASSERT_EQ(Errno(::link((draft + "a").c_str(), (draft + "ok").c_str())), 0);
  EXPECT_EQ(ListOf(draft), (std::vector<std::string>{"a", "ok", "sub"}));
  mounted_.Kill();
  mounted_.Start();
  EXPECT_EQ(Commit("draft"), EPERM);
  EXPECT_NE(mounted_.Errors().find("pipe: a program wanted to make a FIFO here"), std::string::npos);
  ASSERT_EQ(Run("touch {v}draft/pipe && rm {v}draft/pipe"), "0:") << "given up";
  EXPECT_EQ(Commit("draft"), EPERM);
  EXPECT_NE(mounted_.Errors().find("sub/long: a program wanted to make a symbolic link here"),
            std::string::npos);
  ASSERT_EQ(Run("echo instead >{v}draft/sub/long"), "0:");
  ASSERT_EQ(Commit("draft"), 0) << mounted_.Errors();
  EXPECT_EQ(Run("cat {v}1/sub/long"), "0:instead\n");
  EXPECT_EQ(ListOf(versions_ + "1"), (std::vector<std::string>{"a", "ok", "sub"}));
}

// A shell in a draft, or below it, goes on in the version; so do its open files.
TEST_F(LinksMount, ACommittedDraftStaysReadableToAProcessInIt) {
  if (IsSkipped()) return;
  ASSERT_EQ(Run("mkdir -p {v}draft/sub/deep && echo a >{v}draft/a && echo b >{v}draft/sub/b && echo c "
                ">{v}draft/sub/deep/c && "
                "ln -s sub {v}draft/link"),
            "0:");
  EXPECT_EQ(Run("cd {v}draft && mv {v}draft {v}next && ls && cat a sub/b link/b sub/deep/c && "
                "ls sub sub/deep && env -C sub ls && env -C sub cat b ../a && env -C sub/.. cat a && stat -c "
                "%F . sub a"),
            "0:a\nlink\nsub\na\nb\nb\nc\nsub:\nb\ndeep\n\nsub/deep:\nc\nb\ndeep\nb\na\na\n"
            "directory\ndirectory\nregular file\n");
  // From below; a change that is tried there is refused as in the version.
  ASSERT_EQ(Run("mkdir -p {v}draft/sub && echo a >{v}draft/a && echo b >{v}draft/sub/b"), "0:");
  EXPECT_EQ(Run("cd {v}draft/sub && mv {v}draft {v}next && ls && cat b && ls .. && cat ../a"),
            "0:b\nb\na\nsub\na\n");
  ASSERT_EQ(Run("mkdir -p {v}draft && echo a >{v}draft/a"), "0:");
  EXPECT_EQ(
      Run("cd {v}draft && exec 7<a && mv {v}draft {v}next && ls && cat <&7 && exec 7<&- && ls && cat a"),
      "0:a\na\na\na\n");
  ASSERT_EQ(Run("mkdir -p {v}draft && echo a >{v}draft/a"), "0:");
  const std::string refused = Run("cd {v}draft && mv {v}draft {v}next && touch b");
  EXPECT_NE(refused.find("Read-only file system"), std::string::npos) << refused;
  // The content goes with the version, and no other content takes its place.
  ASSERT_EQ(Run("mkdir -p {v}draft && echo a >{v}draft/a"), "0:");
  const std::string gone = Run("cd {v}draft && mv {v}draft {v}next && rmdir {v}5 && ls");
  EXPECT_NE(gone.find("Stale file handle"), std::string::npos) << gone;
}

}  // namespace
}  // namespace modelfs::fs
