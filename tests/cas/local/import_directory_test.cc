#include "cas/local/import_directory.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>

#include "cas/local/export_directory.h"
#include "cas/tree_store.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

namespace fs = std::filesystem;
constexpr Epoch kNow{.revision = 100};

std::unique_ptr<LocalStore> OpenStore(const TempDirectory& home) {
  return std::move(LocalStore::Open(RealFiles(), {.root = home / "blobs"}).value());
}

TEST(ImportDirectory, ADirectoryIsExportedAsItWasImported) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  fs::create_directories(home / "model/weights/empty");
  WriteFile(home / "model/MLmodel", "flavors: {}");
  WriteFile(home / "model/weights/a.bin", RandomBytes((2 * kChunkBytes) + 9, 1));
  WriteFile(home / "model/weights/none", "");
  WriteFile(home / "model/run.sh", "#!/bin/sh\n");
  fs::last_write_time(home / "model/MLmodel", fs::file_time_type::clock::now() - std::chrono::hours(24));
  ASSERT_EQ(::chmod((home / "model/run.sh").c_str(), 06755), 0);

  const auto ingested = ImportDirectory(*store, home / "model", kNow, nullptr);
  ASSERT_TRUE(ingested.ok()) << ingested.error().message();
  EXPECT_EQ(ingested->tree.file_count(), 4U);
  const Tree tree = ReadTree(*store, ingested->digest).value();
  EXPECT_EQ(tree.entries(), ingested->tree.entries());

  ASSERT_TRUE(ExportTree(*store, tree, ingested->times, home / "out", nullptr).ok());
  EXPECT_EQ(ReadFile(home / "out/weights/a.bin"), ReadFile(home / "model/weights/a.bin"));
  EXPECT_EQ(ReadFile(home / "out/weights/none"), "");
  EXPECT_EQ(ReadFile(home / "out/MLmodel"), "flavors: {}");
  EXPECT_TRUE(fs::is_directory(home / "out/weights/empty"));
  EXPECT_EQ(RealFiles().Stat(home / "out/run.sh").value().mode & 07100U, 0100U) << "setuid does not survive";
  EXPECT_EQ(RealFiles().Stat(home / "out/MLmodel").value().mode & 0100U, 0U);

  EXPECT_EQ(fs::last_write_time(home / "out/MLmodel"), fs::last_write_time(home / "model/MLmodel"));
  EXPECT_EQ(fs::last_write_time(home / "out/run.sh"), fs::last_write_time(home / "model/run.sh"));

  const Status again = ExportTree(*store, tree, ingested->times, home / "out", nullptr);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code(), Code::kAlreadyExists);
}

TEST(ImportDirectory, TheSameFilesGiveTheSameTree) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  for (const char* name : {"a", "b"}) {
    fs::create_directories(home / name + "/d");
    WriteFile(home / name + "/d/x", "x");
    WriteFile(home / name + "/y", "y");
  }
  EXPECT_EQ(ImportDirectory(*store, home / "a", kNow, nullptr).value().digest,
            ImportDirectory(*store, home / "b", kNow, nullptr).value().digest);
}

TEST(ImportDirectory, FollowsOnlySymlinksThatStayInside) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  fs::create_directories(home / "model/blobs");
  fs::create_directories(home / "model/snapshot");
  WriteFile(home / "secret", "secret");
  WriteFile(home / "model/blobs/0f", "weights");
  ASSERT_EQ(::symlink("../blobs/0f", (home / "model/snapshot/weights.bin").c_str()), 0);
  ASSERT_EQ(::symlink("blobs", (home / "model/also").c_str()), 0);
  const Tree tree = ImportDirectory(*store, home / "model", kNow, nullptr).value().tree;
  ASSERT_NE(tree.Find("snapshot/weights.bin"), nullptr);
  EXPECT_EQ(tree.Find("snapshot/weights.bin")->blob, DigestOf("weights"));
  EXPECT_NE(tree.Find("also/0f"), nullptr);

  for (const char* target : {"../../secret", "/etc/passwd", "nowhere", "..", "."}) {
    SCOPED_TRACE(target);
    ASSERT_EQ(::symlink(target, (home / "model/snapshot/bad").c_str()), 0);
    const auto refused = ImportDirectory(*store, home / "model", kNow, nullptr);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
    EXPECT_NE(refused.error().message().find("snapshot/bad"), std::string::npos);
    ASSERT_EQ(::unlink((home / "model/snapshot/bad").c_str()), 0);
  }
}

// …/models--o--n/{blobs,snapshots/<commit>}, with link texts that a snapshot may and may not have.
TEST(ImportDirectory, ASnapshotInAHubCacheIsStoredWithItsBlobs) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  const std::string repo = home / "models--o--n";
  const std::string snapshot = repo + "/snapshots/c0ffee";
  fs::create_directories(snapshot + "/onnx");
  fs::create_directories(repo + "/blobs/folder");
  WriteFile(repo + "/blobs/0f", "weights");
  WriteFile(home / "secret", "secret");
  WriteFile(repo + "/secret", "secret");
  fs::create_symlink("../../secret", repo + "/blobs/linked");
  fs::create_symlink("../../blobs/0f", snapshot + "/model.bin");
  fs::create_symlink("../../../blobs/0f", snapshot + "/onnx/model.bin");
  const auto ingested = ImportDirectory(*store, snapshot, kNow, nullptr);
  ASSERT_TRUE(ingested.ok()) << ingested.error().message();
  for (const char* path : {"model.bin", "onnx/model.bin"}) {
    EXPECT_EQ(ingested->tree.Find(path)->blob, DigestOf("weights")) << path;
  }
  for (const char* target :
       {"../../blobs/linked", "../../blobs/folder", "../../blobs/../secret", "../../secret", "../../blobs/",
        "../../blobs/..", "../../../models--o--n/blobs/0f", "../../../secret"}) {
    SCOPED_TRACE(target);
    fs::create_symlink(target, snapshot + "/bad");
    EXPECT_FALSE(ImportDirectory(*store, snapshot, kNow, nullptr).ok());
    EXPECT_EQ(store->LocalBytes(DigestOf("secret")), 0U);
    fs::remove(snapshot + "/bad");
  }
  // In any other place such a link leads out.
  fs::create_directories(home / "models--o--n/other/c0ffee");
  fs::create_symlink("../../blobs/0f", home / "models--o--n/other/c0ffee/model.bin");
  EXPECT_FALSE(ImportDirectory(*store, home / "models--o--n/other/c0ffee", kNow, nullptr).ok());
}

TEST(ImportDirectory, DereferenceFollowsLinksOutToFilesAndFolders) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  fs::create_directories(home / "model/sub");
  fs::create_directories(home / "out/deep/er");
  WriteFile(home / "model/a", "a");
  WriteFile(home / "out/w", "weights");
  WriteFile(home / "out/deep/x", "x");
  fs::create_symlink("../out/w", home / "model/file");
  fs::create_symlink(home / "out/deep", home / "model/sub/folder");
  fs::create_symlink("../w", home / "out/deep/further");
  fs::create_symlink("../../../model/a", home / "out/deep/er/back");
  fs::create_symlink("file", home / "model/twice");
  EXPECT_NE(ImportDirectory(*store, home / "model", kNow, nullptr).error().message().find("--dereference"),
            std::string::npos);
  const auto ingested = ImportDirectory(*store, home / "model", kNow, nullptr, {.dereference = true});
  ASSERT_TRUE(ingested.ok()) << ingested.error().message();
  const std::pair<const char*, const char*> rows[] = {{"a", "a"},
                                                      {"file", "weights"},
                                                      {"twice", "weights"},
                                                      {"sub/folder/x", "x"},
                                                      {"sub/folder/further", "weights"},
                                                      {"sub/folder/er/back", "a"}};
  EXPECT_EQ(ingested->tree.file_count(), std::size(rows));
  for (const auto& [path, bytes] : rows) {
    ASSERT_NE(ingested->tree.Find(path), nullptr) << path;
    EXPECT_EQ(ingested->tree.Find(path)->blob, DigestOf(bytes)) << path;
  }
  for (const char* target : {"/nowhere", "../out/w/x", "bad", "../out/loop", ".."}) {
    SCOPED_TRACE(target);
    fs::create_symlink(target, home / "model/bad");
    if (!fs::is_symlink(home / "out/loop")) fs::create_symlink("loop", home / "out/loop");
    EXPECT_EQ(ImportDirectory(*store, home / "model", kNow, nullptr, {.dereference = true}).error().code(),
              Code::kInvalidArgument);
    fs::remove(home / "model/bad");
  }
}

// Otherwise a user with write access to the directory could make a more privileged user store unreadable
// files.
TEST(ImportDirectory, DereferenceFollowsALinkOnlyToFilesItsOwnerMayRead) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  constexpr uid_t kEve = 54321;
  const struct {
    const char* what;
    const char* target;
    bool allowed;
  } rows[] = {{"for all to read", "out/open", true},
              {"root's own", "out/private", false},
              {"in root's folder", "out/closed/open", false},
              {"her own", "out/hers", true},
              {"a folder with a file of root", "out/folder", false}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.what);
    const TempDirectory home;
    const auto store = OpenStore(home);
    ASSERT_EQ(::chmod(home.path().c_str(), 0755), 0);
    fs::create_directories(home / "model");
    fs::create_directories(home / "out/closed");
    fs::create_directories(home / "out/folder");
    for (const char* name :
         {"out/open", "out/private", "out/closed/open", "out/hers", "out/folder/private"}) {
      WriteFile(home / name, name);
      const bool is_private =
          std::string_view(name).ends_with("private") || std::string_view(name) == "out/hers";
      ASSERT_EQ(::chmod((home / name).c_str(), is_private ? 0600 : 0644), 0);
    }
    ASSERT_EQ(::chmod((home / "out/closed").c_str(), 0700), 0);
    ASSERT_EQ(::chown((home / "out/hers").c_str(), kEve, kEve), 0);
    fs::create_symlink("../" + std::string(row.target), home / "model/link");
    const auto ingest = [&] {
      return ImportDirectory(*store, home / "model", kNow, nullptr, {.dereference = true});
    };
    EXPECT_TRUE(ingest().ok()) << "a link of our own";
    ASSERT_EQ(::lchown((home / "model/link").c_str(), kEve, kEve), 0);
    const auto ingested = ingest();
    EXPECT_EQ(ingested.ok(), row.allowed);
    if (!ingested.ok()) {
      EXPECT_EQ(ingested.error().code(), Code::kPermissionDenied);
      EXPECT_NE(ingested.error().message().find("link"), std::string::npos);
    }
  }
}

TEST(ImportDirectory, ExcludesByNameAndByPath) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  for (const char* folder : {"model/.git/objects", "model/sub/.git", "model/checkpoints/old"}) {
    fs::create_directories(home / folder);
  }
  for (const char* name : {"a.pt", "a.bin", ".git/objects/x", "sub/.git/x", "checkpoints/1.pt",
                           "checkpoints/old/2.pt", "sub/a.pt", "sub/git"}) {
    WriteFile(home / "model/" + name, name);
  }
  fs::create_symlink("nowhere", home / "model/broken");
  const struct {
    std::vector<std::string> exclude;
    std::vector<std::string> left;
  } rows[] = {
      {{".git", "broken", "*.pt"}, {"a.bin", "checkpoints/old", "sub/git"}},
      {{".git/", "broken", "checkpoints/*.pt"},
       {"a.bin", "a.pt", "checkpoints/old/2.pt", "sub/a.pt", "sub/git"}},
      {{"/.git", "sub/*", "broken", "checkpoints"}, {"a.bin", "a.pt", "sub"}},
      {{".git", "brok?n", "a.pt/", "[ab].bin", "old", "checkpoints/1.pt"},
       {"a.pt", "checkpoints", "sub/a.pt", "sub/git"}},
  };
  for (const auto& row : rows) {
    const auto ingested = ImportDirectory(*store, home / "model", kNow, nullptr, {.exclude = row.exclude});
    ASSERT_TRUE(ingested.ok()) << ingested.error().message();
    std::vector<std::string> left;
    for (const TreeEntry& entry : ingested->tree.entries()) left.push_back(entry.path);
    std::sort(left.begin(), left.end());
    EXPECT_EQ(left, row.left);
  }
}

TEST(ImportDirectory, ReturnsTheTimesOfFilesInTheTreesOrder) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  fs::create_directories(home / "model/a");
  int64_t second = 100;
  for (const char* name : {"a/z", "a-b", "b"}) {  // in a tree's order
    WriteFile(home / "model/" + name, name);
    const NewTimes times = {.mtime = timespec{.tv_sec = second++, .tv_nsec = 7}};
    ASSERT_TRUE(RealFiles().SetTimes(home / "model/" + name, times).ok());
  }
  fs::create_symlink("b", home / "model/link");
  const auto times = ImportDirectory(*store, home / "model", kNow, nullptr).value().times.times();
  ASSERT_EQ(times.size(), 4U);
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(times[i], (FileTime{.s = 100 + i, .ns = 7}));
  EXPECT_EQ(times[3], times[2]) << "a link has the time of its file";
}

TEST(ImportDirectory, RefusesHostileNamesAndKindsBeforeStoringAnything) {
  struct Row {
    const char* what;
    std::string name;
  };
  const Row rows[] = {{"bidi", "a\xe2\x80\xaetxt"},
                      {"newline", "a\n"},
                      {"not UTF-8", "a\xff"},
                      {"zero width", "MLmodel\xe2\x80\x8b"},
                      {"escape", "\x1b[31m"}};
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    const TempDirectory home;
    const auto store = OpenStore(home);
    fs::create_directory(home / "model");
    WriteFile(home / "model/first", "first");
    WriteFile(home / "model/" + row.name, "x");
    const auto refused = ImportDirectory(*store, home / "model", kNow, nullptr);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
    EXPECT_EQ(store->LocalBytes(DigestOf("first")), 0U);
  }
  const TempDirectory home;
  const auto store = OpenStore(home);
  fs::create_directory(home / "model");
  ASSERT_EQ(::mkfifo((home / "model/pipe").c_str(), 0600), 0);
  const auto refused = ImportDirectory(*store, home / "model", kNow, nullptr);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message(), "pipe: is a FIFO; only files and directories can be stored");
  EXPECT_EQ(ImportDirectory(*store, home / "none", kNow, nullptr).error().code(), Code::kNotFound);
}

TEST(ImportDirectory, ReadsNothingOutsideWhenAFolderBecomesASymlinkMeanwhile) {
  for (const bool by_file : {false, true}) {
    SCOPED_TRACE(by_file);
    const TempDirectory home;
    const auto store = std::move(LocalStore::Open(RealFiles(), {.root = home / "blobs", .hash_threads = 1})
                                     .value());  // one after the other
    fs::create_directories(home / "model/sub/deep");
    fs::create_directories(home / "outside/deep");
    WriteFile(home / "model/first", "first");
    WriteFile(home / "model/sub/deep/w", "inside");
    WriteFile(home / "outside/deep/w", "secret");
    const auto exchange = [&](uint64_t /*done_bytes*/) {
      const std::string name = by_file ? "sub/deep/w" : "sub";
      if (!fs::is_symlink(home / "model/" + name)) {
        fs::rename(home / "model/" + name, home / "was");
        fs::create_symlink(home / (by_file ? "outside/deep/w" : "outside"), home / "model/" + name);
      }
    };
    const auto refused = ImportDirectory(*store, home / "model", kNow, exchange);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), Code::kAborted);
    EXPECT_EQ(refused.error().message(),
              fs::canonical(home / "model").string() +
                  "/sub/deep/w: changed while it was read; try again when nobody writes to it");
    EXPECT_EQ(store->LocalBytes(DigestOf("secret")), 0U);
  }
}

TEST(ImportDirectory, TheDirectoryItselfMayBeReachedThroughSymlinks) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  fs::create_directories(home / "real/model/d");
  WriteFile(home / "real/model/d/w", "weights");
  fs::create_symlink("d/w", home / "real/model/latest");
  fs::create_symlink(home / "real/model/d", home / "real/model/absolute");
  fs::create_symlink("real", home / "on the way");
  fs::create_symlink("on the way/model", home / "last");
  for (const char* path : {"on the way/model", "last", "last/", "last/d/.."}) {
    SCOPED_TRACE(path);
    const auto ingested = ImportDirectory(*store, home / path, kNow, nullptr);
    ASSERT_TRUE(ingested.ok()) << ingested.error().message();
    for (const char* file : {"d/w", "latest", "absolute/w"}) {
      EXPECT_NE(ingested->tree.Find(file), nullptr) << file;
    }
  }
}

// Exports to a directory that another user can write into: `swap` is that user's action after the first file.
Status ExportWhile(const TempDirectory& home, const std::function<void()>& swap) {
  const auto store = OpenStore(home);
  fs::create_directories(home / "model/sub/deep");
  WriteFile(home / "model/a", "first");
  WriteFile(home / "model/sub/b", "second");
  WriteFile(home / "model/sub/deep/c", "third");
  fs::create_directories(home / "outside/deep");
  WriteFile(home / "outside/deep/kept", "kept");
  const ImportedTree ingested = ImportDirectory(*store, home / "model", kNow, nullptr).value();
  bool swapped = false;
  return ExportTree(*store, ingested.tree, ingested.times, home / "out", [&](uint64_t done_bytes) {
    // By now a file is in "sub".
    if (done_bytes > 5 && !std::exchange(swapped, true)) swap();
  });
}

void SwapForLink(const TempDirectory& home, const std::string& name, const std::string& target) {
  fs::rename(home / name, home / "was");
  fs::create_directory_symlink(home / target, home / name);
}

std::set<std::string> NamesBelow(const std::string& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    names.insert(entry.path().lexically_relative(directory));
  return names;
}

TEST(ExportTree, WritesNothingOutsideWhenAFolderBecomesASymlinkMeanwhile) {
  const TempDirectory home;
  fs::create_directory(home / "out");
  const Status refused = ExportWhile(home, [&] { SwapForLink(home, "out/sub", "outside"); });
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kAborted);
  EXPECT_EQ(refused.error().message(),
            home / "out/sub: changed while it was written; try again where nobody else writes");
  EXPECT_EQ(NamesBelow(home / "outside"), (std::set<std::string>{"deep", "deep/kept"}));
  EXPECT_TRUE(fs::is_empty(home / "out")) << "all written files are removed";
}

TEST(ExportTree, ADirectoryThatBecameASymlinkIsNeitherWrittenNorEmptied) {
  for (const bool is_new : {false, true}) {
    SCOPED_TRACE(is_new);
    const TempDirectory home;
    fs::create_directories(home / "precious/sub");
    WriteFile(home / "precious/a", "kept");
    if (!is_new) fs::create_directory(home / "out");
    const Status refused = ExportWhile(home, [&] {
      const std::string name = is_new ? fmt::format("out.download-{}", ::getpid()) : "out";
      SwapForLink(home, name, "precious");
      fs::rename(home / "was/sub", home / "gone");  // so that the export fails, and cleans up
    });
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), Code::kAborted);
    EXPECT_EQ(NamesBelow(home / "precious"), (std::set<std::string>{"a", "sub"}));
    EXPECT_EQ(ReadFile(home / "precious/a"), "kept");
    EXPECT_EQ(fs::exists(home / "out"), !is_new);
  }
}

// A user with write access to the directory above has created it before the command begins.
TEST(ExportTree, DoesNotFollowASymlinkOfAnotherUser) {
  constexpr uid_t kEve = 60001;
  const TempDirectory home;
  const auto store = OpenStore(home);
  fs::create_directory(home / "model");
  WriteFile(home / "model/a", "first");
  const ImportedTree ingested = ImportDirectory(*store, home / "model", kNow, nullptr).value();
  fs::create_directory(home / "precious");
  fs::create_directory_symlink("precious", home / "out");
  if (::geteuid() == 0) {
    ASSERT_EQ(::lchown((home / "out").c_str(), kEve, kEve), 0);
    for (const char* path : {"out", "out/", "out/."}) {
      SCOPED_TRACE(path);
      const Status refused = ExportTree(*store, ingested.tree, ingested.times, home / path, nullptr);
      ASSERT_FALSE(refused.ok());
      EXPECT_EQ(refused.error().code(), Code::kPermissionDenied);
      EXPECT_TRUE(fs::is_empty(home / "precious"));
    }
    ASSERT_EQ(::lchown((home / "out").c_str(), 0, 0), 0);
  }
  // The caller's own symlink is followed.
  ASSERT_TRUE(ExportTree(*store, ingested.tree, ingested.times, home / "out", nullptr).ok());
  EXPECT_EQ(ReadFile(home / "precious/a"), "first");
}

TEST(ExportTree, ANewDirectoryDoesNotReplaceASymlinkThatCameMeanwhile) {
  const TempDirectory home;
  const Status refused =
      ExportWhile(home, [&] { fs::create_directory_symlink(home / "outside", home / "out"); });
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kAlreadyExists);
  EXPECT_TRUE(fs::is_symlink(home / "out"));
  EXPECT_EQ(NamesBelow(home / "outside"), (std::set<std::string>{"deep", "deep/kept"}));
  EXPECT_FALSE(fs::exists(home / fmt::format("out.download-{}", ::getpid())));
}

// Also between the mkdir of a folder and its open: another process swaps as fast as it can.
TEST(ExportTree, WritesNothingOutsideWhateverOthersSwapMeanwhile) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  constexpr int kFolders = 20;
  for (int i = 0; i < kFolders; ++i) {
    fs::create_directories(home / fmt::format("model/d{}", i));
    WriteFile(home / fmt::format("model/d{}/f", i), "x");
    fs::create_directory_symlink("../outside", home / fmt::format("link{}", i));
  }
  const ImportedTree ingested = ImportDirectory(*store, home / "model", kNow, nullptr).value();
  fs::create_directory(home / "outside");
  std::atomic<int> round = 0;
  std::jthread attacker([&](const std::stop_token& stop) {
    for (int i = 0; !stop.stop_requested(); i = (i + 1) % kFolders) {
      ::renameat2(AT_FDCWD, (home / fmt::format("link{}", i)).c_str(), AT_FDCWD,
                  (home / fmt::format("out{}/d{}", round.load(), i)).c_str(), RENAME_EXCHANGE);
    }
  });
  for (; round < 10; ++round) {
    const std::string out = home / fmt::format("out{}", round.load());
    fs::create_directory(out);
    const Status exported = ExportTree(*store, ingested.tree, ingested.times, out, nullptr);
    EXPECT_TRUE(exported.ok() || exported.error().code() == Code::kAborted) << exported.error().message();
    EXPECT_TRUE(fs::is_empty(home / "outside"));
  }
}

// Thirty pairs of symlinks, each pair to the folder of the next, lead to a thousand million directories.
TEST(ImportDirectory, SymlinksThatMultiplyAreNotFollowedForEver) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  constexpr int kLevels = 30;
  for (int level = 0; level < kLevels; ++level) {
    const std::string folder = home / "model/" + std::to_string(level);
    fs::create_directories(folder);
    for (const char* name : {"a", "b"}) {
      if (level + 1 < kLevels) fs::create_symlink("../" + std::to_string(level + 1), folder + "/" + name);
    }
  }
  const auto refused = ImportDirectory(*store, home / "model", kNow, nullptr);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  EXPECT_NE(refused.error().message().find("symlinks to directories were followed 10000 times"),
            std::string::npos)
      << refused.error().message();
}

TEST(ImportDirectory, FortySymlinksToDirectoriesMayLieWithinEachOther) {
  for (const int links : {kMostLinksFollowed, kMostLinksFollowed + 1}) {
    SCOPED_TRACE(links);
    const TempDirectory home;
    const auto store = OpenStore(home);
    const std::string model = home / "model";
    for (int level = 0; level <= links; ++level) {
      const std::string folder = model + "/" + std::to_string(level);
      fs::create_directories(folder);
      if (level < links) fs::create_symlink("../" + std::to_string(level + 1), folder + "/l");
    }
    WriteFile(model + "/" + std::to_string(links) + "/w", "w");
    const auto ingested = ImportDirectory(*store, model, kNow, nullptr);
    EXPECT_EQ(ingested.ok(), links == kMostLinksFollowed);
    if (ingested.ok()) continue;
    EXPECT_EQ(ingested.error().code(), Code::kInvalidArgument);
    EXPECT_NE(ingested.error().message().find("symlinks to directories lie more than 40 deep within each"),
              std::string::npos)
        << ingested.error().message();
  }
}

// The number is known before anything is stored.
TEST(ImportDirectory, TheNumberOfUnfoldedNamesIsBounded) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  fs::create_directories(home / "model/d");
  for (const char* name : {"1", "2", "3"}) WriteFile(home / ("model/d/" + std::string(name)), "w");
  for (const char* name : {"l1", "l2"}) fs::create_symlink("d", home / ("model/" + std::string(name)));
  fs::create_symlink("d/1", home / "model/m");
  ImportOptions options;
  EXPECT_EQ(options.most_unfolded, kMostUnfolded) << "the limit of a draft";
  for (const uint64_t most : {8U, 9U}) {  // each directory with its entries, and the file
    SCOPED_TRACE(most);
    options.most_unfolded = most;
    const auto ingested = ImportDirectory(*store, home / "model", kNow, nullptr, options);
    EXPECT_EQ(ingested.ok(), most == 9U);
    if (ingested.ok()) continue;
    EXPECT_EQ(ingested.error().code(), Code::kInvalidArgument);
    EXPECT_EQ(ingested.error().message().find("m: up to here, the symlinks unfold to more than 8 files"), 0U)
        << ingested.error().message();
    EXPECT_TRUE(fs::is_empty(home / "blobs/objects"));
  }
}

TEST(ImportDirectory, AMissingOrMalformedTreeIsNotReadAsEmpty) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  EXPECT_EQ(ReadTree(*store, DigestOf("no tree")).error().code(), Code::kNotFound);
  ASSERT_TRUE(store->Put(DigestOf("no tree"), "no tree", kNow).ok());
  EXPECT_EQ(ReadTree(*store, DigestOf("no tree")).error().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace modelfs::cas
