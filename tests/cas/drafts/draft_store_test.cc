#include "cas/drafts/draft_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <stop_token>
#include <thread>

#include "cas/base/clock.h"
#include "cas/base/fd.h"
#include "cas/drafts/layout.h"
#include "cas/tree_store.h"
#include "tests/cas/fake_files.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

namespace fs = std::filesystem;
constexpr Epoch kNow{.revision = 100};

// A home with its blobs and drafts. It can be closed and opened again, as after a restart.
class Home {
 public:
  Home() { Reopen(); }
  void Reopen() {
    drafts.reset();
    blobs.reset();
    blobs = std::move(LocalStore::Open(RealFiles(), {.root = directory / "blobs"}).value());
    drafts = std::move(
        DraftStore::Open(RealFiles(), {.root = directory / "drafts", .blobs = blobs.get()}).value());
  }
  std::shared_ptr<Draft> Load() {
    const auto loaded = drafts->Load([](std::string_view) { return true; }).value().drafts;
    return loaded.empty() ? nullptr : loaded.at(0);
  }

  const TempDirectory directory;
  std::unique_ptr<LocalStore> blobs;
  std::unique_ptr<DraftStore> drafts;
};

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string ReadNode(Draft& draft, DraftNode node) {
  const auto file = draft.Open(node, Draft::Access::kRead);
  if (!file.ok()) return "error: " + file.error().message();
  std::string bytes(draft.GetAttr(node).value().size_bytes, '\0');
  const Result<size_t> count = (*file)->Read(0, std::as_writable_bytes(std::span(bytes)));
  if (!count.ok()) return "error: " + count.error().message();
  bytes.resize(*count);
  return bytes;
}

DraftNode Make(Draft& draft, DraftNode directory, const std::string& name, std::string_view text) {
  const DraftEntry entry = draft.MakeFile(directory, name, false).value();
  const auto file = draft.Open(entry.node, Draft::Access::kWrite).value();
  EXPECT_TRUE(file->Write(0, Bytes(text)).ok());
  return entry.node;
}

std::string Contents(LocalStore& store, const Tree& tree, std::string_view path) {
  const TreeEntry* entry = tree.Find(path);
  return entry == nullptr ? "absent" : store.ReadAll(entry->blob, uint64_t{1} << 30U).value();
}

TEST(Draft, WrittenFilesReadBackAndBecomeATree) {
  Home home;
  const auto draft = home.drafts->Create("{}").value();
  const DraftNode sub = draft->MakeDirectory(kDraftRoot, "weights").value().node;
  ASSERT_TRUE(draft->MakeDirectory(kDraftRoot, "empty").ok());
  Make(*draft, kDraftRoot, "MLmodel", "flavors: {}");
  const std::string large = RandomBytes(kChunkBytes + 77, 1);
  const DraftNode node = Make(*draft, sub, "a.bin", large);
  ASSERT_TRUE(draft->SetExecutable(node, true).ok());
  EXPECT_EQ(ReadNode(*draft, node), large);
  EXPECT_TRUE(draft->OpenForWriting().empty());

  const Digest digest = draft->Seal(kNow, nullptr, {}).value().tree;
  const Tree tree = ReadTree(*home.blobs, digest).value();
  ASSERT_EQ(tree.entries().size(), 3U);
  EXPECT_EQ(Contents(*home.blobs, tree, "MLmodel"), "flavors: {}");
  EXPECT_EQ(Contents(*home.blobs, tree, "weights/a.bin"), large);
  EXPECT_TRUE(tree.Find("weights/a.bin")->executable);
  EXPECT_EQ(tree.entries()[1].kind, EntryKind::kEmptyDirectory);
  EXPECT_EQ(ReadNode(*draft, node), large) << "readable until it is discarded";
  EXPECT_TRUE(home.blobs->IsNative(DigestOf(large)));

  ASSERT_TRUE(home.drafts->Discard(draft).ok());
  EXPECT_TRUE(home.blobs->IsNative(DigestOf(large))) << "our own unlink does not make the blob unverified";
  EXPECT_EQ(RealFiles().List(home.directory / "drafts").value().size(), 0U);
}

// Hashing such a file takes the better part of an hour: only a stop ends it in a test's time.
constexpr uint64_t kHugeBytes = uint64_t{1} << 40U;

// Waits until this process has the file open. If nothing else opens it, it is being hashed then.
bool WaitUntilOpen(const fs::path& file) {
  for (const Deadline deadline = Deadline::After(std::chrono::minutes(1)); !deadline.Passed();) {
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      if (fs::read_symlink(entry.path(), gone) == file) return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

TEST(Draft, RemovingAHugeFileOrItsDraftStopsHashingIt) {
  const std::pair<const char*, std::function<void(Home&, const std::shared_ptr<Draft>&)>> rows[] = {
      {"closed with the store", [](Home&, const std::shared_ptr<Draft>&) {}},
      {"removed, then sealed",
       [](Home&, const std::shared_ptr<Draft>& draft) {
         Make(*draft, kDraftRoot, "small", "bytes");
         ASSERT_TRUE(draft->RemoveFile(kDraftRoot, "huge").ok());
         EXPECT_TRUE(draft->Seal(kNow, nullptr, {}).ok());
       }},
      {"replaced, then sealed",
       [](Home&, const std::shared_ptr<Draft>& draft) {
         Make(*draft, kDraftRoot, "small", "bytes");
         ASSERT_TRUE(
             draft->Rename(kDraftRoot, "small", kDraftRoot, "huge", Draft::RenameMode::kReplace).ok());
         EXPECT_TRUE(draft->Seal(kNow, nullptr, {}).ok());
       }},
      {"cut short, then sealed",
       [](Home&, const std::shared_ptr<Draft>& draft) {
         const DraftNode huge = draft->Lookup(kDraftRoot, "huge").value().node;
         ASSERT_TRUE(draft->Truncate(huge, 3).ok());
         EXPECT_TRUE(draft->Seal(kNow, nullptr, {}).ok());
       }},
      {"discarded", [](Home& home, const std::shared_ptr<Draft>& draft) {
         EXPECT_TRUE(home.drafts->Discard(draft).ok());
       }}};
  for (const auto& [name, act] : rows) {
    SCOPED_TRACE(name);
    Home home;
    const auto draft = home.drafts->Create("{}").value();
    const DraftNode huge = Make(*draft, kDraftRoot, "huge", "x");
    {
      const auto writer = draft->Open(huge, Draft::Access::kWrite).value();
      if (!draft->Truncate(huge, kHugeBytes).ok()) GTEST_SKIP() << "no file of 1 TiB fits this file system";
    }
    ASSERT_TRUE(WaitUntilOpen(fs::path(home.directory.path()) / "drafts" / std::to_string(draft->number()) /
                              "n" / std::to_string(huge)));
    act(home, draft);
  }
}

TEST(Draft, SealingCanBeStoppedAndLeavesTheDraftAsItWas) {
  Home home;
  const auto draft = home.drafts->Create("{}").value();
  const DraftNode small = Make(*draft, kDraftRoot, "small", "bytes");
  const DraftNode huge = Make(*draft, kDraftRoot, "huge", "x");
  if (!draft->Truncate(huge, kHugeBytes).ok()) GTEST_SKIP() << "no file of 1 TiB fits this file system";
  std::stop_source stop;
  // Called while the huge file is being hashed, because all the others come first.
  const auto stop_in_the_huge_one = [&stop](uint64_t done) {
    if (done > kChunkBytes) stop.request_stop();
  };
  EXPECT_EQ(draft->Seal(kNow, stop_in_the_huge_one, stop.get_token()).error().code(), Code::kCancelled);
  EXPECT_FALSE(home.blobs->Open(DigestOf("bytes")).ok()) << "nothing was stored";
  ASSERT_TRUE(draft->Open(small, Draft::Access::kWrite).value()->Write(0, Bytes("BYTES")).ok());
  ASSERT_TRUE(draft->Truncate(huge, 1).ok());
  const Tree tree = ReadTree(*home.blobs, draft->Seal(kNow, nullptr, {}).value().tree).value();
  EXPECT_EQ(Contents(*home.blobs, tree, "small"), "BYTES");
  EXPECT_EQ(Contents(*home.blobs, tree, "huge"), "x");
}

TEST(Draft, ASealedDraftRefusesChanges) {
  Home home;
  const auto draft = home.drafts->Create("{}").value();
  const DraftNode node = Make(*draft, kDraftRoot, "f", "bytes");
  ASSERT_TRUE(draft->Seal(kNow, nullptr, {}).ok());
  const Status refused[] = {
      draft->Truncate(node, 0),
      draft->SetExecutable(node, true),
      draft->SetMtime(node, 1, 2),
      draft->RemoveFile(kDraftRoot, "f"),
      draft->RemoveDirectory(kDraftRoot, "f"),
      draft->Rename(kDraftRoot, "f", kDraftRoot, "g", Draft::RenameMode::kReplace),
      draft->MakeFile(kDraftRoot, "g", false).map([](const DraftEntry&) {}),
      draft->MakeDirectory(kDraftRoot, "g").map([](const DraftEntry&) {}),
      draft->Open(node, Draft::Access::kWrite).map([](const std::shared_ptr<DraftFile>&) {}),
      draft->CopyFromBlob(node, 5, DigestOf("bytes"), 0, 5, kNow).map([](uint64_t) {}),
      draft->Seal(kNow, nullptr, {}).map([](const SealedDraft&) {}),
  };
  for (const Status& status : refused) {
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code(), Code::kFailedPrecondition);
  }
  EXPECT_EQ(ReadNode(*draft, node), "bytes");
}

TEST(Draft, SealIsRefusedWhileAFileIsOpenForWriting) {
  Home home;
  const auto draft = home.drafts->Create("{}").value();
  const DraftNode node = draft->MakeFile(kDraftRoot, "f", false).value().node;
  {
    const auto writer = draft->Open(node, Draft::Access::kWrite).value();
    EXPECT_EQ(draft->OpenForWriting(), std::vector<DraftNode>{node});
    EXPECT_EQ(draft->Seal(kNow, nullptr, {}).error().code(), Code::kFailedPrecondition);
    EXPECT_TRUE(writer->Write(0, Bytes("still writable")).ok());
  }
  EXPECT_TRUE(draft->Seal(kNow, nullptr, {}).ok());
}

TEST(Draft, ANamelessFileDoesNotPreventSealAndCannotBeWrittenAfterIt) {
  Home home;
  const auto draft = home.drafts->Create("{}").value();
  Make(*draft, kDraftRoot, "kept", "bytes");
  const DraftNode node = Make(*draft, kDraftRoot, "gone", "old");
  const auto writer = draft->Open(node, Draft::Access::kWrite).value();
  ASSERT_TRUE(draft->RemoveFile(kDraftRoot, "gone").ok());
  EXPECT_TRUE(draft->OpenForWriting().empty());
  EXPECT_TRUE(writer->Write(0, Bytes("new")).ok());
  const Tree tree = ReadTree(*home.blobs, draft->Seal(kNow, nullptr, {}).value().tree).value();
  EXPECT_EQ(tree.file_count(), 1U);
  EXPECT_EQ(writer->Write(0, Bytes("x")).error().code(), Code::kFailedPrecondition);
  EXPECT_EQ(ReadNode(*draft, node), "new") << "it can still be read";
}

// A commit relies on this: a published byte never changes, whatever was open before.
TEST(Draft, AfterUnsealNoEarlierHandleWritesToABlob) {
  Home home;
  const auto draft = home.drafts->Create("{}").value();
  const DraftNode node = Make(*draft, kDraftRoot, "f", "first");
  ASSERT_TRUE(draft->SetMtime(node, 1234, 5678).ok());
  const auto reader = draft->Open(node, Draft::Access::kRead).value();
  const Digest first = draft->Seal(kNow, nullptr, {}).value().tree;
  draft->Unseal();
  EXPECT_EQ(draft->GetAttr(node).value().mtime_s, 1234);
  EXPECT_EQ(draft->GetAttr(node).value().mtime_ns, 5678);
  EXPECT_EQ(draft->GetAttr(node).value().shares, DigestOf("first"));
  ASSERT_TRUE(draft->Open(node, Draft::Access::kWrite).value()->Write(0, Bytes("FIRST and more")).ok());
  std::string seen(14, '\0');
  EXPECT_EQ(reader->Read(0, std::as_writable_bytes(std::span(seen))).value(), 14U);
  EXPECT_EQ(seen, "FIRST and more") << "an earlier handle sees the write";
  EXPECT_EQ(home.blobs->ReadAll(DigestOf("first"), 100).value(), "first");
  const Digest second = draft->Seal(kNow, nullptr, {}).value().tree;
  EXPECT_NE(first, second);
  EXPECT_TRUE(home.blobs->Fsck(false, nullptr).value().damaged.empty());
}

// At every call of the store that can fail on a full disk: the files that were being published belong to the
// draft again.
TEST(Draft, AFailedSealLeavesFilesWritableWithTheirTimes) {
  for (int n = 1;; ++n) {
    SCOPED_TRACE(testing::Message() << "failing call " << n);
    const TempDirectory directory;
    std::filesystem::create_directories(directory / "blobs");
    FakeFiles files(directory / "blobs");
    const auto blobs = std::move(LocalStore::Open(files, {.root = directory / "blobs"}).value());
    const auto drafts = std::move(
        DraftStore::Open(RealFiles(), {.root = directory / "drafts", .blobs = blobs.get()}).value());
    const auto draft = drafts->Create("{}").value();
    const std::string large = RandomBytes(kChunkBytes + 1, 7);
    const DraftNode small = Make(*draft, kDraftRoot, "small", "bytes");
    const DraftNode big = Make(*draft, kDraftRoot, "big", large);
    for (const DraftNode node : {small, big}) ASSERT_TRUE(draft->SetMtime(node, 1234, 5678).ok());
    files.FailCall(n);
    const bool sealed = draft->Seal(kNow, nullptr, {}).ok();
    const bool fault_fired = files.fault_fired();
    files.FailCall(0);
    EXPECT_TRUE(sealed || fault_fired) << "only a fault may cause an error";
    for (const DraftNode node : {small, big}) {
      EXPECT_EQ(draft->GetAttr(node).value().mtime_s, 1234);
      EXPECT_EQ(draft->GetAttr(node).value().mtime_ns, 5678);
    }
    if (!fault_fired) break;
    if (sealed) continue;  // the store can do without that call
    ASSERT_TRUE(draft->Open(small, Draft::Access::kWrite).value()->Write(0, Bytes("BYTES")).ok());
    const Digest tree = draft->Seal(kNow, nullptr, {}).value().tree;
    EXPECT_EQ(ReadTree(*blobs, tree).value().Find("small")->blob, DigestOf("BYTES"));
    EXPECT_EQ(ReadTree(*blobs, tree).value().Find("big")->blob, DigestOf(large));
    EXPECT_TRUE(blobs->Fsck(false, nullptr).value().damaged.empty());
  }
}

TEST(Draft, AFileLargerThanTheFileSystemAllowsIsTooLarge) {
  Home home;
  const auto draft = home.drafts->Create("{}").value();
  const DraftNode node = Make(*draft, kDraftRoot, "f", "bytes");
  const uint64_t huge = static_cast<uint64_t>(std::numeric_limits<off_t>::max()) - 1;
  const auto file = draft->Open(node, Draft::Access::kWrite).value();
  // Limits this process alone, because file systems have different limits.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {.rlim_cur = 100, .rlim_max = before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status truncated = draft->Truncate(node, huge);
  const Status allocated = file->Allocate(0, 1000);
  const Status written = file->Write(huge, Bytes("x")).map([](size_t) {});
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  for (const Status& status : {truncated, allocated, written}) {
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code(), Code::kTooLarge) << status.error().message();
  }
  EXPECT_EQ(ReadNode(*draft, node), "bytes");
}

TEST(Draft, FilesChangedDuringHashingSealWithTheirNewBytes) {
  Home home;
  const auto draft = home.drafts->Create("{}").value();
  // Large enough to be hashed as soon as no handle writes to them.
  std::vector<std::string> want;
  std::vector<DraftNode> nodes;
  for (uint64_t i = 0; i < 8; ++i) {
    want.push_back(RandomBytes(kChunkBytes / 2, i));
    nodes.push_back(Make(*draft, kDraftRoot, std::to_string(i), want.back()));
  }
  // By now some are hashed, one is under way and the others wait.
  for (size_t i = 0; i < nodes.size(); i += 2) {
    const auto file = draft->Open(nodes[i], Draft::Access::kWrite).value();
    ASSERT_TRUE(file->Write(1000 * i, Bytes("changed")).ok());
    want[i].replace(1000 * i, 7, "changed");
  }
  ASSERT_TRUE(draft->Truncate(nodes[1], kChunkBytes / 4).ok());
  want[1].resize(kChunkBytes / 4);
  const Digest tree = draft->Seal(kNow, nullptr, {}).value().tree;
  const Tree sealed = ReadTree(*home.blobs, tree).value();
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(sealed.Find(std::to_string(i))->blob, DigestOf(want[i])) << i;
  }
}

// The digest that was known before a file shared a blob is not the digest of a part of the blob.
TEST(Draft, AFileTruncatedAfterUnsealSealsWithItsNewBytes) {
  Home home;
  const auto draft = home.drafts->Create("{}").value();
  std::vector<std::string> want;
  std::vector<DraftNode> nodes;
  for (uint64_t i = 0; i < 8; ++i) {  // hashed as soon as no handle writes to them, some of them by now
    want.push_back(RandomBytes(kChunkBytes / 2, i));
    nodes.push_back(Make(*draft, kDraftRoot, std::to_string(i), want.back()));
  }
  ASSERT_TRUE(draft->Seal(kNow, nullptr, {}).ok());
  draft->Unseal();
  for (size_t i = 0; i < nodes.size(); ++i) {
    want[i].resize(want[i].size() - 1000);
    ASSERT_TRUE(draft->Truncate(nodes[i], want[i].size()).ok());
    EXPECT_EQ(ReadNode(*draft, nodes[i]), want[i]) << i;
  }
  const Tree sealed = ReadTree(*home.blobs, draft->Seal(kNow, nullptr, {}).value().tree).value();
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(sealed.Find(std::to_string(i))->blob, DigestOf(want[i])) << i;
  }
}

// A full disk does not leave an ownerless draft behind, either.
TEST(Draft, AFailedCreateLeavesNothing) {
  const TempDirectory directory;
  std::filesystem::create_directories(directory / "blobs");
  const auto blobs = std::move(LocalStore::Open(RealFiles(), {.root = directory / "blobs"}).value());
  std::filesystem::create_directories(directory / "drafts");
  FakeFiles files(directory / "drafts");
  const auto drafts =
      std::move(DraftStore::Open(files, {.root = directory / "drafts", .blobs = blobs.get()}).value());
  for (int n = 1;; ++n) {
    SCOPED_TRACE(testing::Message() << "failing call " << n);
    files.FailCall(n);
    const bool made = drafts->Create("{}").ok();
    const bool fault_fired = files.fault_fired();
    files.FailCall(0);
    EXPECT_NE(made, fault_fired);
    if (made) break;
    EXPECT_TRUE(std::filesystem::is_empty(directory / "drafts"));
  }
}

TEST(Draft, AnUnfinishedDraftIsRemovedUnlessACreateHoldsIt) {
  Home home;
  const std::string root = home.directory / "drafts";
  for (const char* number : {"7", "8"}) std::filesystem::create_directories(root + "/" + number + "/n/0");
  const Fd making(::open((root + "/8/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::flock(making.get(), LOCK_EX), 0);
  const auto draft = home.drafts->Create("{}").value();
  home.Reopen();
  EXPECT_FALSE(std::filesystem::exists(root + "/7"));
  EXPECT_TRUE(std::filesystem::exists(root + "/8"));
  EXPECT_TRUE(std::filesystem::exists(root + "/" + std::to_string(draft->number())));
}

TEST(Draft, SmallFilesNeedNoThread) {
  Home home;
  const size_t before = ThreadsOfThisProcess();
  std::vector<std::shared_ptr<Draft>> drafts;
  for (int i = 0; i < 20; ++i) {
    drafts.push_back(home.drafts->Create("{}").value());
    Make(*drafts.back(), kDraftRoot, "f", "bytes");
  }
  EXPECT_EQ(ThreadsOfThisProcess(), before);
}

TEST(Draft, AFailedSealLeavesItWritable) {
  Home home;
  const auto draft = home.drafts->Create("{}").value();
  EXPECT_EQ(draft->Seal(kNow, nullptr, {}).error().code(), Code::kNotFound) << "it holds no file";
  const DraftNode kept = Make(*draft, kDraftRoot, "kept", "kept");
  const DraftNode shared = draft->MakeFile(kDraftRoot, "shared", false).value().node;
  ASSERT_TRUE(home.blobs->Put(DigestOf("gone"), "gone", {.revision = 1}).ok());
  ASSERT_EQ(draft->CopyFromBlob(shared, 0, DigestOf("gone"), 0, 100, {.revision = 1}).value(), 4U);
  ASSERT_EQ(home.blobs->Sweep({}, {.revision = 50}, false).value().blobs_removed, 1U);
  EXPECT_EQ(draft->Seal(kNow, nullptr, {}).error().code(), Code::kNotFound);
  EXPECT_TRUE(draft->Open(kept, Draft::Access::kWrite).value()->Write(4, Bytes(" on")).ok());
  EXPECT_EQ(ReadNode(*draft, kept), "kept on");
  ASSERT_TRUE(draft->RemoveFile(kDraftRoot, "shared").ok());
  EXPECT_TRUE(draft->Seal(kNow, nullptr, {}).ok());
}

TEST(Draft, CopiesOfABlobShareItUntilTheFirstWrite) {
  Home home;
  const std::string bytes = RandomBytes(kChunkBytes + 1000, 2);
  const Digest blob = DigestOf(bytes);
  ASSERT_TRUE(home.blobs->Put(blob, bytes, {.revision = 1}).ok());
  const auto draft = home.drafts->Create("{}").value();
  const DraftNode node = draft->MakeFile(kDraftRoot, "f", true).value().node;
  const auto writer = draft->Open(node, Draft::Access::kWrite).value();
  // Like cp: piece after piece.
  for (uint64_t at = 0; at < bytes.size();) {
    at += draft->CopyFromBlob(node, at, blob, at, 1 << 20U, {.revision = 60}).value();
  }
  DraftAttr attr = draft->GetAttr(node).value();
  EXPECT_EQ(attr.shares, blob);
  EXPECT_EQ(attr.size_bytes, bytes.size());
  EXPECT_TRUE(attr.executable);
  EXPECT_EQ(ReadNode(*draft, node), bytes);
  EXPECT_EQ(home.blobs->Sweep({}, {.revision = 60}, true).value().blobs_removed, 0U) << "the lease's epoch";
  const std::vector<Digest> shared = home.drafts->SharedBlobs().value();
  EXPECT_EQ(shared.size(), 2U) << "the blob and its chunk list";

  ASSERT_TRUE(writer->Write(5, Bytes("changed")).ok());
  attr = draft->GetAttr(node).value();
  EXPECT_EQ(attr.shares, std::nullopt);
  EXPECT_TRUE(attr.executable);
  std::string want = bytes;
  want.replace(5, 7, "changed");
  EXPECT_EQ(ReadNode(*draft, node), want);
  EXPECT_EQ(home.blobs->ReadAll(blob, bytes.size()).value(), bytes);
}

TEST(Draft, APartOfABlobIsSealedAsABlobOfItsOwn) {
  Home home;
  ASSERT_TRUE(home.blobs->Put(DigestOf("hello world"), "hello world", kNow).ok());
  const auto draft = home.drafts->Create("{}").value();
  const DraftNode a = draft->MakeFile(kDraftRoot, "a", false).value().node;
  const DraftNode b = draft->MakeFile(kDraftRoot, "b", false).value().node;
  const DraftNode c = draft->MakeFile(kDraftRoot, "c", false).value().node;
  const DraftNode d = draft->MakeFile(kDraftRoot, "d", false).value().node;
  EXPECT_EQ(draft->CopyFromBlob(a, 0, DigestOf("hello world"), 0, 5, kNow).value(), 5U);
  EXPECT_EQ(draft->CopyFromBlob(b, 0, DigestOf("hello world"), 6, 500, kNow).value(), 5U);
  EXPECT_EQ(draft->CopyFromBlob(c, 0, DigestOf("hello world"), 0, 500, kNow).value(), 11U);
  ASSERT_TRUE(draft->Truncate(c, 7).ok());
  EXPECT_EQ(draft->CopyFromBlob(d, 0, DigestOf("hello world"), 11, 500, kNow).value(), 0U);
  const Tree tree = ReadTree(*home.blobs, draft->Seal(kNow, nullptr, {}).value().tree).value();
  EXPECT_EQ(Contents(*home.blobs, tree, "a"), "hello");
  EXPECT_EQ(Contents(*home.blobs, tree, "b"), "world");
  EXPECT_EQ(Contents(*home.blobs, tree, "c"), "hello w");
  EXPECT_EQ(Contents(*home.blobs, tree, "d"), "");
}

TEST(Draft, NamesFollowTheRulesOfADirectory) {
  Home home;
  const auto draft = home.drafts->Create("{}").value();
  const DraftNode a = draft->MakeDirectory(kDraftRoot, "a").value().node;
  const DraftNode b = draft->MakeDirectory(a, "b").value().node;
  Make(*draft, b, "f", "f");
  using Mode = Draft::RenameMode;
  EXPECT_EQ(draft->MakeFile(a, "b", false).error().code(), Code::kAlreadyExists);
  EXPECT_EQ(draft->Lookup(a, "none").error().code(), Code::kNotFound);
  EXPECT_EQ(draft->RemoveDirectory(a, "b").error().code(), Code::kFailedPrecondition);
  EXPECT_EQ(draft->RemoveFile(a, "b").error().code(), Code::kInvalidArgument);
  EXPECT_EQ(draft->Rename(kDraftRoot, "a", b, "loop", Mode::kReplace).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(draft->Rename(b, "f", a, "b", Mode::kReplace).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(draft->Rename(b, "f", kDraftRoot, "a", Mode::kNoReplace).error().code(), Code::kAlreadyExists);
  EXPECT_EQ(draft->Parent(b).value(), a);
  ASSERT_TRUE(draft->Rename(a, "b", kDraftRoot, "moved", Mode::kReplace).ok());
  EXPECT_EQ(draft->Parent(b).value(), kDraftRoot);
  ASSERT_TRUE(draft->Rename(kDraftRoot, "moved", kDraftRoot, "a", Mode::kExchange).ok());
  EXPECT_EQ(draft->Lookup(kDraftRoot, "a").value().node, b);
  ASSERT_TRUE(draft->RemoveDirectory(kDraftRoot, "moved").ok());
  EXPECT_EQ(draft->MakeFile(a, "x", false).error().code(), Code::kNotFound) << "removed";
  EXPECT_EQ(draft->Parent(a).value(), kDraftRoot) << "but its open descendants still see it";
  draft->Forget(a);
  EXPECT_FALSE(draft->GetAttr(a).ok());
  draft->Forget(b);
  EXPECT_TRUE(draft->GetAttr(b).ok()) << "forgetting a node that has a name changes nothing";
  for (const char* name : {"", ".", "..", "a/b", "a\n", "\xff", "\x01"}) {
    EXPECT_EQ(draft->MakeFile(kDraftRoot, name, false).error().code(), Code::kInvalidArgument) << name;
  }
}

TEST(Draft, ARemovedFileStaysReadableThroughItsHandle) {
  Home home;
  const auto draft = home.drafts->Create("{}").value();
  const DraftNode node = Make(*draft, kDraftRoot, "f", "bytes");
  const auto reader = draft->Open(node, Draft::Access::kRead).value();
  ASSERT_TRUE(draft->RemoveFile(kDraftRoot, "f").ok());
  EXPECT_EQ(draft->GetAttr(node).value().size_bytes, 5U);
  draft->Forget(node);
  std::string out(5, '\0');
  EXPECT_EQ(reader->Read(0, std::as_writable_bytes(std::span(out))).value(), 5U);
  EXPECT_EQ(out, "bytes");
}

TEST(DraftStore, DraftsSurviveARestartAndBelongToOneProcess) {
  Home home;
  DraftNumber number = 0;
  {
    const auto draft = home.drafts->Create("mine").value();
    number = draft->number();
    const DraftNode d = draft->MakeDirectory(kDraftRoot, "d").value().node;
    Make(*draft, d, "f", "bytes");
    const auto other =
        DraftStore::Open(RealFiles(), {.root = home.directory / "drafts", .blobs = home.blobs.get()});
    const DraftStore::Loaded loaded = (*other)->Load([](std::string_view) { return true; }).value();
    EXPECT_TRUE(loaded.drafts.empty());
    EXPECT_EQ(loaded.held, 1U);
    EXPECT_EQ((*other)->RemoveExpired(std::chrono::seconds(0), std::time(nullptr) + 1000).value(), 0U);
    ASSERT_TRUE(draft->SetLabel("still mine").ok());
    ASSERT_TRUE(draft->RemoveFile(d, "f").ok());
    Make(*draft, d, "g", "other");
  }
  home.Reopen();
  EXPECT_TRUE(
      home.drafts->Load([](std::string_view label) { return label == "mine"; }).value().drafts.empty());
  const auto draft = home.Load();
  ASSERT_NE(draft, nullptr);
  EXPECT_EQ(draft->number(), number);
  EXPECT_EQ(draft->label(), "still mine");
  const DraftNode d = draft->Lookup(kDraftRoot, "d").value().node;
  EXPECT_EQ(ReadNode(*draft, draft->Lookup(d, "g").value().node), "other");
  EXPECT_EQ(RealFiles().List(home.directory / ("drafts/" + std::to_string(number) + "/n")).value().size(), 3U)
      << "the removed file's node is gone";
  EXPECT_NE(home.drafts->Create("another").value()->number(), number);
}

TEST(DraftStore, RemovesUnheldDraftsThatWereNotUsed) {
  Home home;
  {
    const auto draft = home.drafts->Create("old").value();
    const DraftNode node = Make(*draft, kDraftRoot, "f", "bytes");
    ASSERT_TRUE(draft->SetMtime(node, 1, 0).ok()) << "an old mtime alone does not make a draft old";
  }
  home.Reopen();
  const int64_t now_s = std::time(nullptr);
  EXPECT_EQ(home.drafts->RemoveExpired(std::chrono::hours(1), now_s).value(), 0U);
  EXPECT_EQ(home.drafts->RemoveExpired(std::chrono::hours(1), now_s + 3700).value(), 1U);
  EXPECT_TRUE(RealFiles().List(home.directory / "drafts").value().empty());
}

// Another mount that starts removes the remains of discarded drafts while the mount that discarded them does
// so.
TEST(DraftStore, ADiscardSucceedsWhileOthersRemoveDiscardedDrafts) {
  Home home;
  std::atomic<bool> over = false;
  std::thread others([&] {
    while (!over) {
      EXPECT_TRUE(
          DraftStore::Open(RealFiles(), {.root = home.directory / "drafts", .blobs = home.blobs.get()}).ok());
    }
  });
  for (int round = 0; round < 100; ++round) {
    const auto draft = home.drafts->Create("{}").value();
    for (int i = 0; i < 50; ++i) Make(*draft, kDraftRoot, std::to_string(i), "bytes");
    const Status discarded = home.drafts->Discard(draft);
    EXPECT_TRUE(discarded.ok()) << discarded.error().message();
  }
  over = true;
  others.join();
  ASSERT_TRUE(home.drafts->RemoveUnheld([](std::string_view) { return false; }, false).ok());
  EXPECT_TRUE(RealFiles().List(home.directory / "drafts").value().empty());
}

TEST(DraftStore, RemovesUnwantedDraftsThatAreNotHeld) {
  Home home;
  {
    const auto draft = home.drafts->Create("unwanted").value();
    Make(*draft, kDraftRoot, "f", "bytes");
    ASSERT_TRUE(home.drafts->Create("wanted").ok());
    const auto unwanted = [](std::string_view label) { return label == "unwanted"; };
    EXPECT_EQ(home.drafts->RemoveUnheld(unwanted, false).value().drafts, 0U) << "it is held";
  }
  home.Reopen();
  const auto unwanted = [](std::string_view label) { return label == "unwanted"; };
  for (const bool dry_run : {true, false}) {
    const DraftStore::Removed removed = home.drafts->RemoveUnheld(unwanted, dry_run).value();
    EXPECT_EQ(removed.drafts, 1U);
    EXPECT_EQ(removed.bytes, 5U);
  }
  EXPECT_EQ(home.drafts->RemoveUnheld(unwanted, false).value().drafts, 0U);
  EXPECT_EQ(home.Load()->label(), "wanted");
}

// --- links ---

struct World : Home {
  World() : draft(drafts->Create("{}").value()) {}
  Tree Sealed() { return ReadTree(*blobs, draft->Seal(kNow, nullptr, {}).value().tree).value(); }
  void Restart() {
    draft.reset();
    Reopen();
    draft = Load();
  }
  std::shared_ptr<Draft> draft;
};

TEST(Draft, ASymbolicLinkReadsAsItsTextAndIsStoredAsItsTarget) {
  World world;
  const DraftNode d = world.draft->MakeDirectory(kDraftRoot, "d").value().node;
  Make(*world.draft, d, "f", "bytes");
  const DraftNode link = world.draft->MakeLink(kDraftRoot, "l", "d/f").value().node;
  ASSERT_TRUE(world.draft->MakeLink(kDraftRoot, "folder", "d").ok());
  ASSERT_TRUE(world.draft->SetMtime(link, 77, 5).ok()) << "lutimes(3)";
  world.Restart();
  EXPECT_EQ(world.draft->ReadLink(link).value(), "d/f");
  const DraftAttr attr = world.draft->GetAttr(link).value();
  EXPECT_EQ(attr.kind, DraftKind::kLink);
  EXPECT_EQ(attr.size_bytes, 3U);
  EXPECT_EQ(attr.mtime_s, 77);
  EXPECT_EQ(world.draft->List(kDraftRoot).value().at(1).kind, DraftKind::kLink);
  EXPECT_FALSE(world.draft->ReadLink(d).ok());
  const Tree tree = world.Sealed();
  ASSERT_EQ(tree.entries().size(), 3U);
  for (const char* path : {"d/f", "l", "folder/f"}) {
    EXPECT_EQ(Contents(*world.blobs, tree, path), "bytes") << path;
  }
}

TEST(Draft, SealIsRefusedUntilALinkHasATarget) {
  World world;
  ASSERT_TRUE(world.draft->MakeLink(kDraftRoot, "l", "f").ok());
  const Error refused = world.draft->Seal(kNow, nullptr, {}).error();
  EXPECT_EQ(refused.code(), Code::kInvalidArgument);
  EXPECT_NE(refused.message().find("l: is a symbolic link to f"), std::string::npos) << refused.message();
  Make(*world.draft, kDraftRoot, "f", "bytes");
  EXPECT_EQ(Contents(*world.blobs, world.Sealed(), "l"), "bytes");
}

TEST(Draft, HardLinksAreOneFileUntilTheLastNameIsRemoved) {
  World world;
  const DraftNode file = Make(*world.draft, kDraftRoot, "a", "first");
  const DraftNode d = world.draft->MakeDirectory(kDraftRoot, "d").value().node;
  EXPECT_EQ(world.draft->AddLink(file, d, "b").value().node, file);
  EXPECT_EQ(world.draft->AddLink(file, d, "b").error().code(), Code::kAlreadyExists);
  EXPECT_EQ(world.draft->AddLink(d, kDraftRoot, "e").error().code(), Code::kInvalidArgument);
  EXPECT_EQ(world.draft->GetAttr(file).value().links, 2U);
  world.Restart();
  EXPECT_EQ(world.draft->GetAttr(file).value().links, 2U);
  ASSERT_TRUE(world.draft->Open(file, Draft::Access::kWrite).value()->Write(0, Bytes("FIRST")).ok());
  EXPECT_EQ(ReadNode(*world.draft, world.draft->Lookup(d, "b").value().node), "FIRST");
  ASSERT_TRUE(world.draft->RemoveFile(kDraftRoot, "a").ok());
  world.draft->Forget(file);
  EXPECT_EQ(ReadNode(*world.draft, file), "FIRST") << "it still has a name";
  ASSERT_TRUE(world.draft->AddLink(file, kDraftRoot, "c").ok());
  const Tree tree = world.Sealed();
  EXPECT_EQ(Contents(*world.blobs, tree, "c"), "FIRST");
  EXPECT_EQ(Contents(*world.blobs, tree, "d/b"), "FIRST");
  world.draft->Unseal();
  ASSERT_TRUE(world.draft->RemoveFile(kDraftRoot, "c").ok());
  ASSERT_TRUE(world.draft->RemoveFile(d, "b").ok());
  EXPECT_EQ(world.draft->AddLink(file, kDraftRoot, "again").error().code(), Code::kNotFound);
  world.draft->Forget(file);
  EXPECT_FALSE(world.draft->GetAttr(file).ok());
}

TEST(Draft, SealIsRefusedUntilARefusedNameExistsOrIsGivenUp) {
  for (const bool given_up : {false, true}) {
    SCOPED_TRACE(given_up);
    World world;
    Make(*world.draft, kDraftRoot, "f", "bytes");
    const DraftNode d = world.draft->MakeDirectory(kDraftRoot, "d").value().node;
    world.draft->NoteRefused(d, "pipe", "a FIFO");
    world.draft->NoteRefused(kDraftRoot, "f", "a FIFO");
    EXPECT_EQ(world.draft->Lookup(d, "pipe").error().code(), Code::kNotFound);
    EXPECT_TRUE(world.draft->List(d).value().empty());
    world.Restart();
    const Error refused = world.draft->Seal(kNow, nullptr, {}).error();
    EXPECT_EQ(refused.code(), Code::kInvalidArgument);
    EXPECT_NE(refused.message().find("d/pipe: a program wanted to make a FIFO"), std::string::npos)
        << refused.message();
    Make(*world.draft, d, "pipe", "no FIFO");
    if (given_up) {
      ASSERT_TRUE(world.draft->RemoveFile(d, "pipe").ok());
    }
    EXPECT_EQ(Contents(*world.blobs, world.Sealed(), "d/pipe"), given_up ? "absent" : "no FIFO");
  }
  // Given up with its directory, or by a rename to the name.
  World world;
  Make(*world.draft, kDraftRoot, "f", "bytes");
  const DraftNode d = world.draft->MakeDirectory(kDraftRoot, "d").value().node;
  world.draft->NoteRefused(d, "pipe", "a FIFO");
  world.draft->NoteRefused(kDraftRoot, "g", "a FIFO");
  ASSERT_TRUE(world.draft->RemoveDirectory(kDraftRoot, "d").ok());
  world.draft->Forget(d);
  ASSERT_TRUE(world.draft->Rename(kDraftRoot, "f", kDraftRoot, "g", Draft::RenameMode::kNoReplace).ok());
  EXPECT_EQ(world.Sealed().entries().size(), 1U);
}

// --- times ---

TEST(Draft, TimesSurviveSealUnsealAndARestartOfASealedDraft) {
  for (const bool restart : {false, true}) {
    SCOPED_TRACE(restart);
    World world;
    const DraftNode own = Make(*world.draft, kDraftRoot, "own", "bytes");
    const DraftNode program = world.draft->MakeFile(kDraftRoot, "program", true).value().node;
    const DraftNode shared = world.draft->MakeFile(kDraftRoot, "shared", false).value().node;
    ASSERT_TRUE(world.blobs->Put(DigestOf("blob"), "blob", kNow).ok());
    ASSERT_EQ(world.draft->CopyFromBlob(shared, 0, DigestOf("blob"), 0, 4, kNow).value(), 4U);
    int64_t second = -5;  // also before 1970
    for (const DraftNode node : {own, program, shared}) {
      ASSERT_TRUE(world.draft->SetMtime(node, second++, 987654321).ok());
    }
    const SealedDraft sealed = world.draft->Seal(kNow, nullptr, {}).value();
    ASSERT_EQ(sealed.times.times().size(), 3U);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(sealed.times.times()[i].s, i - 5);
      EXPECT_EQ(sealed.times.times()[i].ns, 987654321U);
    }
    if (restart) world.Restart();
    if (!restart) world.draft->Unseal();
    EXPECT_EQ(world.draft->GetAttr(program).value().mtime_s, -4);
    // A changed file of an earlier process keeps its time, or gets the time that is set.
    ASSERT_TRUE(world.draft->SetExecutable(program, false).ok());
    ASSERT_TRUE(world.draft->SetMtime(own, 99, 1).ok());
    const SealedDraft again = world.draft->Seal(kNow, nullptr, {}).value();
    EXPECT_EQ(again.times.times()[0].s, 99);
    EXPECT_EQ(again.times.times()[1].s, -4);
    EXPECT_EQ(again.times.times()[1].ns, 987654321U);
    EXPECT_EQ(again.times.times()[2].s, -3);
  }
}

// --- formats ---

// Laid out by hand as the build before links did it, with a file in each possible form.
TEST(DraftStore, ADraftOfTheFirstFormatOpensAndSeals) {
  Home home;
  ASSERT_TRUE(home.blobs->Put(DigestOf("hello"), "hello", kNow).ok());
  const std::string draft = home.directory / "drafts/3";
  for (const char* folder : {"/n/0", "/n/2"}) fs::create_directories(draft + folder);
  WriteFile(draft + "/label", "{}");
  WriteFile(draft + "/lock", "");
  WriteFile(draft + "/n/1", "own");
  fs::permissions(draft + "/n/1", fs::perms::owner_read | fs::perms::owner_write);
  const auto link = [&](const std::string& target, const std::string& name) {
    fs::create_symlink(target, draft + "/n/" + name);
  };
  link("1f", "0/own");
  link("2d", "0/d");
  link("0", "2/\x01");
  link("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824:5:4:x", "3");
  link("3f", "2/shared");
  // The process was killed after the Seal: the file's inode is a blob's.
  fs::create_hard_link(home.blobs->ObjectPath(DigestOf("hello")), draft + "/n/4");
  link("4f", "0/sealed");

  const auto opened = home.Load();
  ASSERT_NE(opened, nullptr);
  EXPECT_GT(opened->GetAttr(4).value().mtime_s, 1'000'000'000) << "its blob's epoch is not its time";
  ASSERT_TRUE(opened->MakeLink(kDraftRoot, "l", "own").ok());
  const Tree tree = ReadTree(*home.blobs, opened->Seal(kNow, nullptr, {}).value().tree).value();
  ASSERT_EQ(tree.entries().size(), 4U);
  EXPECT_EQ(Contents(*home.blobs, tree, "own"), "own");
  EXPECT_EQ(Contents(*home.blobs, tree, "l"), "own");
  EXPECT_EQ(Contents(*home.blobs, tree, "d/shared"), "hell");
  EXPECT_TRUE(tree.Find("d/shared")->executable);
  EXPECT_EQ(Contents(*home.blobs, tree, "sealed"), "hello");
  EXPECT_EQ(ReadFile(draft + "/format"), kDraftFormat);
}

TEST(DraftStore, ADraftOfALaterFormatStaysUnchanged) {
  Home home;
  const DraftNumber number = home.drafts->Create("{}").value()->number();
  const std::string format = home.directory / ("drafts/" + std::to_string(number) + "/format");
  EXPECT_EQ(ReadFile(format), kDraftFormat);
  WriteFile(format, "modelfs draft 3\n");
  home.Reopen();
  const DraftStore::Loaded loaded = home.drafts->Load([](std::string_view) { return true; }).value();
  EXPECT_TRUE(loaded.drafts.empty());
  EXPECT_EQ(loaded.newer, 1U);
  EXPECT_EQ(home.drafts->SharedBlobs().error().code(), Code::kFailedPrecondition)
      << "the blobs that it shares are not known";
}

TEST(DraftLayout, TimesMatchTheDocumentedBytes) {
  const DraftTimes times = {{1, {.tv_sec = 1'767'225'600, .tv_nsec = 5}},
                            {300, {.tv_sec = -1, .tv_nsec = 0}}};
  EXPECT_EQ(Hex(EncodeTimes(times)), DocumentedBytes("draft times"));
  const DraftTimes decoded = DecodeTimes(EncodeTimes(times)).value();
  EXPECT_EQ(decoded.at(300).tv_sec, -1);
  std::mt19937_64 random(TestSeed());
  for (int round = 0; round < 5000; ++round) {
    EXPECT_FALSE(DecodeTimes(Mutate(EncodeTimes(times), random)).ok());
  }
}

TEST(DraftLayout, LinksAndRefusedNamesDecodeOnlyAsThemselves) {
  EXPECT_EQ(EncodeLinkNode("../a"), ">../a");
  EXPECT_EQ(DecodeLinkNode(">../a"), "../a");
  EXPECT_EQ(EncodeRefused("a FIFO"), "!a FIFO");
  EXPECT_EQ(DecodeRefused("!a FIFO"), "a FIFO");
  const ShareMarker marker = {.blob = DigestOf("hello"), .length_bytes = 4};
  EXPECT_EQ(DecodeLinkNode(marker.Encode()), std::nullopt);
  EXPECT_EQ(DecodeRefused("12f"), std::nullopt);
  EXPECT_EQ(EntryTarget::Decode("7l").value().kind, DraftKind::kLink);
}

TEST(DraftLayout, MarkersAndEntriesMatchTheDocumentedText) {
  const ShareMarker marker = {.blob = DigestOf("hello"), .length_bytes = 4, .executable = true};
  EXPECT_EQ(marker.Encode(), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824:5:4:x");
  EXPECT_EQ(ShareMarker::Decode(marker.Encode()).value(), marker);
  EXPECT_EQ((EntryTarget{.node = 12, .kind = DraftKind::kDirectory}.Encode()), "12d");
  std::mt19937_64 random(TestSeed());
  for (int round = 0; round < 20000; ++round) {
    const std::string mutated = Mutate(marker.Encode(), random);
    if (const Result<ShareMarker> decoded = ShareMarker::Decode(mutated); decoded.ok()) {
      EXPECT_EQ(decoded->Encode(), mutated);
    }
  }
  for (const char* text : {"", "d", "1", "1x", "-1d", "01d", "4294967296d", "1 d", "99999999999999999999f"}) {
    EXPECT_FALSE(EntryTarget::Decode(text).ok()) << text;
  }
}

// --- random operations on a draft and on a map, compared after each ---

struct ModelFile {
  std::string bytes;
  bool executable = false;
};

class DraftModel {
 public:
  explicit DraftModel(uint64_t seed) : random_(seed) {
    for (uint64_t i = 0; i < 3; ++i) {
      blobs_.push_back(RandomBytes(200 * (i + 1), i));
      EXPECT_TRUE(home_.blobs->Put(DigestOf(blobs_.back()), blobs_.back(), {.revision = 1000}).ok());
    }
    draft_ = home_.drafts->Create("{}").value();
  }

  void Step() {
    switch (random_() % 12) {
      case 0:
        return Create();
      case 1:
        return WriteSome();
      case 2:
        return Truncate();
      case 3:
      case 4:
        return Copy();
      case 5:
        return Remove();
      case 6:
        return Move();
      case 7:
        return Chmod();
      case 8:
        return random_() % 4 == 0 ? Restart() : Create();
      case 9:
        return random_() % 4 == 0 ? SealAndGoOn() : WriteSome();
      default:
        return WriteSome();
    }
  }

  bool NoBlobIsDamaged() { return home_.blobs->Fsck(false, nullptr).value().damaged.empty(); }

  void Compare() {
    std::map<std::string, ModelFile> found;
    const std::vector<DraftEntry> entries = draft_->List(kDraftRoot).value();
    for (const DraftEntry& entry : entries) {
      const DraftAttr attr = draft_->GetAttr(entry.node).value();
      found[entry.name] = {ReadNode(*draft_, entry.node), attr.executable};
      ASSERT_EQ(attr.size_bytes, found[entry.name].bytes.size());
    }
    ASSERT_EQ(found.size(), files_.size());
    for (const auto& [name, file] : files_) {
      ASSERT_EQ(found.count(name), 1U) << name;
      ASSERT_EQ(found[name].bytes, file.bytes) << name;
      ASSERT_EQ(found[name].executable, file.executable) << name;
    }
    for (const std::string& blob : blobs_) {
      ASSERT_EQ(home_.blobs->ReadAll(DigestOf(blob), blob.size()).value(), blob);
    }
  }

 private:
  std::string AnyName() { return std::string(1, static_cast<char>('a' + (random_() % 6))); }
  std::optional<DraftNode> NodeOf(const std::string& name) {
    const auto entry = draft_->Lookup(kDraftRoot, name);
    EXPECT_EQ(entry.ok(), files_.count(name) == 1);
    return entry.ok() ? std::optional(entry->node) : std::nullopt;
  }

  void Create() {
    const std::string name = AnyName();
    const bool executable = random_() % 2 == 0;
    const auto made = draft_->MakeFile(kDraftRoot, name, executable);
    ASSERT_EQ(made.ok(), files_.count(name) == 0);
    if (made.ok()) files_[name] = {"", executable};
  }
  void WriteSome() {
    const std::string name = AnyName();
    const auto node = NodeOf(name);
    if (!node.has_value()) return;
    const std::string text = RandomBytes(random_() % 300, random_());
    const size_t at = random_() % 500;
    ASSERT_TRUE(draft_->Open(*node, Draft::Access::kWrite).value()->Write(at, Bytes(text)).ok());
    std::string& bytes = files_[name].bytes;
    if (!text.empty() && bytes.size() < at + text.size()) bytes.resize(at + text.size(), '\0');
    bytes.replace(std::min(at, bytes.size()), text.size(), text);
  }
  void Truncate() {
    const std::string name = AnyName();
    const auto node = NodeOf(name);
    if (!node.has_value()) return;
    const size_t size = random_() % 700;
    ASSERT_TRUE(draft_->Truncate(*node, size).ok());
    files_[name].bytes.resize(size, '\0');
  }
  void Copy() {
    const std::string name = AnyName();
    const auto node = NodeOf(name);
    if (!node.has_value()) return;
    std::string& bytes = files_[name].bytes;
    const std::string& blob = blobs_[random_() % blobs_.size()];
    const size_t to = random_() % 2 == 0 ? bytes.size() : random_() % 100;
    const size_t from = random_() % 2 == 0 ? to : random_() % 700;
    const size_t length = random_() % 700;
    const uint64_t count =
        draft_->CopyFromBlob(*node, to, DigestOf(blob), from, length, {.revision = 1000}).value();
    ASSERT_EQ(count, from >= blob.size() ? 0 : std::min(length, blob.size() - from));
    if (count == 0) return;
    if (bytes.size() < to + count) bytes.resize(to + count, '\0');
    bytes.replace(to, count, blob.substr(from, count));
  }
  void Remove() {
    const std::string name = AnyName();
    const auto node = NodeOf(name);
    ASSERT_EQ(draft_->RemoveFile(kDraftRoot, name).ok(), node.has_value());
    files_.erase(name);
    if (node.has_value() && random_() % 2 == 0) draft_->Forget(*node);
  }
  void Move() {
    const std::string from = AnyName();
    const std::string to = AnyName();
    const auto mode = static_cast<Draft::RenameMode>(random_() % 3);
    const Status moved = draft_->Rename(kDraftRoot, from, kDraftRoot, to, mode);
    const bool has_from = files_.count(from) == 1;
    const bool has_to = files_.count(to) == 1;
    const bool possible =
        has_from && (mode == Draft::RenameMode::kReplace || has_to == (mode == Draft::RenameMode::kExchange));
    ASSERT_EQ(moved.ok(), possible);
    if (!possible || from == to) return;
    if (mode == Draft::RenameMode::kExchange) {
      std::swap(files_[from], files_[to]);
    } else {
      files_[to] = files_[from];
      files_.erase(from);
    }
  }
  void Chmod() {
    const std::string name = AnyName();
    const auto node = NodeOf(name);
    if (!node.has_value()) return;
    files_[name].executable = random_() % 2 == 0;
    ASSERT_TRUE(draft_->SetExecutable(*node, files_[name].executable).ok());
  }
  void Restart() {
    draft_.reset();
    home_.Reopen();
    draft_ = home_.Load();
    ASSERT_NE(draft_, nullptr);
  }
  void SealAndGoOn() {
    const auto digest = draft_->Seal({.revision = 1000}, nullptr, {});
    ASSERT_EQ(digest.ok(), !files_.empty());
    if (!digest.ok()) return;
    const Tree tree = ReadTree(*home_.blobs, digest->tree).value();
    ASSERT_EQ(tree.entries().size(), files_.size());
    for (const auto& [name, file] : files_) {
      ASSERT_EQ(Contents(*home_.blobs, tree, name), file.bytes);
      ASSERT_EQ(tree.Find(name)->executable, file.executable);
    }
    // A sealed draft may be unsealed, or its process may be killed.
    if (random_() % 2 == 0) return Restart();
    draft_->Unseal();
  }

  std::mt19937_64 random_;
  Home home_;
  std::shared_ptr<Draft> draft_;
  std::vector<std::string> blobs_;
  std::map<std::string, ModelFile> files_;
};

TEST(Draft, BehavesLikeAMapOfFiles) {
  const uint64_t seed = TestSeed();
  for (uint64_t round = 0; round < 10; ++round) {
    DraftModel model(seed + round);
    for (int step = 0; step < 150; ++step) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " round " << round << " step " << step);
      model.Step();
      model.Compare();
      if (testing::Test::HasFatalFailure()) return;
    }
    ASSERT_TRUE(model.NoBlobIsDamaged());
  }
}

}  // namespace
}  // namespace modelfs::cas
