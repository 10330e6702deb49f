#include "cas/ingest.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>

#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

namespace fs = std::filesystem;
constexpr Epoch kNow{.revision = 100};

std::unique_ptr<LocalStore> OpenStore(const TempDirectory& home) {
  return std::move(LocalStore::Open(RealFiles(), {.root = home / "blobs"}).value());
}

TEST(Ingest, ADirectoryGoesInAndComesOutTheSame) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  fs::create_directories(home / "model/weights/empty");
  WriteFile(home / "model/MLmodel", "flavors: {}");
  WriteFile(home / "model/weights/a.bin", RandomBytes((2 * kChunkBytes) + 9, 1));
  WriteFile(home / "model/weights/none", "");
  WriteFile(home / "model/run.sh", "#!/bin/sh\n");
  ASSERT_EQ(::chmod((home / "model/run.sh").c_str(), 06755), 0);

  const auto ingested = IngestDirectory(*store, home / "model", kNow, nullptr);
  ASSERT_TRUE(ingested.ok()) << ingested.error().message();
  EXPECT_EQ(ingested->tree.file_count(), 4U);
  const Tree tree = ReadTree(*store, ingested->digest).value();
  EXPECT_EQ(tree.entries(), ingested->tree.entries());

  ASSERT_TRUE(ExportTree(*store, tree, home / "out", nullptr).ok());
  EXPECT_EQ(ReadFile(home / "out/weights/a.bin"), ReadFile(home / "model/weights/a.bin"));
  EXPECT_EQ(ReadFile(home / "out/weights/none"), "");
  EXPECT_EQ(ReadFile(home / "out/MLmodel"), "flavors: {}");
  EXPECT_TRUE(fs::is_directory(home / "out/weights/empty"));
  EXPECT_EQ(RealFiles().Stat(home / "out/run.sh").value().mode & 07100U, 0100U) << "setuid does not survive";
  EXPECT_EQ(RealFiles().Stat(home / "out/MLmodel").value().mode & 0100U, 0U);

  const Status again = ExportTree(*store, tree, home / "out", nullptr);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code(), Code::kAlreadyExists);
}

TEST(Ingest, TheSameFilesAreTheSameTree) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  for (const char* name : {"a", "b"}) {
    fs::create_directories(home / name + "/d");
    WriteFile(home / name + "/d/x", "x");
    WriteFile(home / name + "/y", "y");
  }
  EXPECT_EQ(IngestDirectory(*store, home / "a", kNow, nullptr).value().digest,
            IngestDirectory(*store, home / "b", kNow, nullptr).value().digest);
}

TEST(Ingest, FollowsSymlinksInsideOnly) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  fs::create_directories(home / "model/blobs");
  fs::create_directories(home / "model/snapshot");
  WriteFile(home / "secret", "secret");
  WriteFile(home / "model/blobs/0f", "weights");
  ASSERT_EQ(::symlink("../blobs/0f", (home / "model/snapshot/weights.bin").c_str()), 0);
  ASSERT_EQ(::symlink("blobs", (home / "model/also").c_str()), 0);
  const Tree tree = IngestDirectory(*store, home / "model", kNow, nullptr).value().tree;
  ASSERT_NE(tree.Find("snapshot/weights.bin"), nullptr);
  EXPECT_EQ(tree.Find("snapshot/weights.bin")->blob, DigestOf("weights"));
  EXPECT_NE(tree.Find("also/0f"), nullptr);

  for (const char* target : {"../../secret", "/etc/passwd", "nowhere", "..", "."}) {
    SCOPED_TRACE(target);
    ASSERT_EQ(::symlink(target, (home / "model/snapshot/bad").c_str()), 0);
    const auto refused = IngestDirectory(*store, home / "model", kNow, nullptr);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
    EXPECT_NE(refused.error().message().find("snapshot/bad"), std::string::npos);
    ASSERT_EQ(::unlink((home / "model/snapshot/bad").c_str()), 0);
  }
}

TEST(Ingest, RefusesHostileNamesAndKindsBeforeStoringAnything) {
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
    const auto refused = IngestDirectory(*store, home / "model", kNow, nullptr);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
    EXPECT_EQ(store->LocalBytes(DigestOf("first")), 0U);
  }
  const TempDirectory home;
  const auto store = OpenStore(home);
  fs::create_directory(home / "model");
  ASSERT_EQ(::mkfifo((home / "model/pipe").c_str(), 0600), 0);
  const auto refused = IngestDirectory(*store, home / "model", kNow, nullptr);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message(), "pipe: is a FIFO; only files and directories can be stored");
  EXPECT_EQ(IngestDirectory(*store, home / "none", kNow, nullptr).error().code(), Code::kNotFound);
}

TEST(Ingest, ReadsNothingOutsideWhenAFolderBecomesASymlinkMeanwhile) {
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
    const auto refused = IngestDirectory(*store, home / "model", kNow, exchange);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), Code::kAborted);
    EXPECT_EQ(refused.error().message(),
              fs::canonical(home / "model").string() +
                  "/sub/deep/w: changed while it was read; try again when nobody writes to it");
    EXPECT_EQ(store->LocalBytes(DigestOf("secret")), 0U);
  }
}

TEST(Ingest, TheDirectoryItselfMayBeReachedThroughSymlinks) {
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
    const auto ingested = IngestDirectory(*store, home / path, kNow, nullptr);
    ASSERT_TRUE(ingested.ok()) << ingested.error().message();
    for (const char* file : {"d/w", "latest", "absolute/w"}) {
      EXPECT_NE(ingested->tree.Find(file), nullptr) << file;
    }
  }
}

// Thirty pairs of symlinks, each pair to the folder of the next, stand for a thousand million directories.
// Of a directory that another user can write into: `swap` is what they do after the first file.
Status ExportWhile(const TempDirectory& home, const std::function<void()>& swap) {
  const auto store = OpenStore(home);
  fs::create_directories(home / "model/sub/deep");
  WriteFile(home / "model/a", "first");
  WriteFile(home / "model/sub/b", "second");
  WriteFile(home / "model/sub/deep/c", "third");
  fs::create_directories(home / "outside/deep");
  WriteFile(home / "outside/deep/kept", "kept");
  const Tree tree = IngestDirectory(*store, home / "model", kNow, nullptr).value().tree;
  bool swapped = false;
  return ExportTree(*store, tree, home / "out", [&](uint64_t done_bytes) {
    // By then a file is in "sub".
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

TEST(Ingest, WritesNothingOutsideWhenAFolderBecomesASymlinkMeanwhile) {
  const TempDirectory home;
  fs::create_directory(home / "out");
  const Status refused = ExportWhile(home, [&] { SwapForLink(home, "out/sub", "outside"); });
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kAborted);
  EXPECT_EQ(refused.error().message(),
            home / "out/sub: changed while it was written; try again where nobody else writes");
  EXPECT_EQ(NamesBelow(home / "outside"), (std::set<std::string>{"deep", "deep/kept"}));
  EXPECT_TRUE(fs::is_empty(home / "out")) << "nothing is left of what was written";
}

TEST(Ingest, ADirectoryThatBecameASymlinkIsNeitherWrittenNorEmptied) {
  for (const bool is_new : {false, true}) {
    SCOPED_TRACE(is_new);
    const TempDirectory home;
    fs::create_directories(home / "precious/sub");
    WriteFile(home / "precious/a", "kept");
    if (!is_new) fs::create_directory(home / "out");
    const Status refused = ExportWhile(home, [&] {
      const std::string name = is_new ? fmt::format("out.download-{}", ::getpid()) : "out";
      SwapForLink(home, name, "precious");
      fs::rename(home / "was/sub", home / "gone");  // so that it fails, and clears up
    });
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), Code::kAborted);
    EXPECT_EQ(NamesBelow(home / "precious"), (std::set<std::string>{"a", "sub"}));
    EXPECT_EQ(ReadFile(home / "precious/a"), "kept");
    EXPECT_EQ(fs::exists(home / "out"), !is_new);
  }
}

TEST(Ingest, ANewDirectoryIsNotPutWhereASymlinkCameMeanwhile) {
  const TempDirectory home;
  const Status refused =
      ExportWhile(home, [&] { fs::create_directory_symlink(home / "outside", home / "out"); });
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kAlreadyExists);
  EXPECT_TRUE(fs::is_symlink(home / "out"));
  EXPECT_EQ(NamesBelow(home / "outside"), (std::set<std::string>{"deep", "deep/kept"}));
  EXPECT_FALSE(fs::exists(home / fmt::format("out.download-{}", ::getpid())));
}

// Between the mkdir of a folder and its opening, too: as fast as another process can do it.
TEST(Ingest, WritesNothingOutsideWhateverOthersSwapMeanwhile) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  constexpr int kFolders = 20;
  for (int i = 0; i < kFolders; ++i) {
    fs::create_directories(home / fmt::format("model/d{}", i));
    WriteFile(home / fmt::format("model/d{}/f", i), "x");
    fs::create_directory_symlink("../outside", home / fmt::format("link{}", i));
  }
  const Tree tree = IngestDirectory(*store, home / "model", kNow, nullptr).value().tree;
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
    const Status exported = ExportTree(*store, tree, out, nullptr);
    EXPECT_TRUE(exported.ok() || exported.error().code() == Code::kAborted) << exported.error().message();
    EXPECT_TRUE(fs::is_empty(home / "outside"));
  }
}

TEST(Ingest, SymlinksThatMultiplyAreNotFollowedForEver) {
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
  const auto refused = IngestDirectory(*store, home / "model", kNow, nullptr);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  EXPECT_NE(refused.error().message().find("symlinks to directories were followed 10000 times"),
            std::string::npos)
      << refused.error().message();
}

TEST(Ingest, AVersionMissingABlobIsNotReadAsEmpty) {
  const TempDirectory home;
  const auto store = OpenStore(home);
  EXPECT_EQ(ReadTree(*store, DigestOf("no tree")).error().code(), Code::kNotFound);
  ASSERT_TRUE(store->Put(DigestOf("no tree"), "no tree", kNow).ok());
  EXPECT_EQ(ReadTree(*store, DigestOf("no tree")).error().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace modelfs::cas
