// The zones that accept writes, without a kernel: tests that need another clock, a crash at a chosen place,
// or a look at the notifications to the kernel.
#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <linux/fs.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "fs/drafts/draft_table.h"
#include "fs/watcher.h"
#include "fs/zones/drafts.h"
#include "fs/zones/zones.h"
#include "store/lease_pool.h"
#include "tests/fs/zone_world.h"

namespace modelfs::fs {
namespace {

class FakeClock : public Clock {
 public:
  int64_t NowMs() const override { return now_ms; }
  int64_t SinceBootMs() const override { return since_boot_ms; }
  void Pass(int64_t seconds) {
    now_ms += seconds * 1000;
    since_boot_ms += seconds * 1000;
  }
  void Set(int64_t seconds_ahead) { now_ms += seconds_ahead * 1000; }
  std::atomic<int64_t> now_ms = SystemClock().NowMs();  // the store's own times are the disk's
  std::atomic<int64_t> since_boot_ms = 1000;
};

constexpr int64_t kLifetimeS = 10'000;
constexpr int64_t kFoundKeptS = kLifetimeS / 7 + 1;

struct WritingWorld : ZoneWorld {
  WritingWorld() {
    context.draft_lifetime_s = kLifetimeS;
    model = Make("prod.ml.iris");
    OpenDrafts();
  }
  ~WritingWorld() { CloseDrafts(); }

  // Acts as a restart of the mount.
  void OpenDrafts() {
    auto opened =
        cas::DraftStore::Open(cas::RealFiles(), {.root = directory + "/drafts", .blobs = blobs.get()});
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    drafts = *std::move(opened);
    context.drafts = drafts.get();
    leases = std::make_unique<store::LeasePool>(*registry, caller, "test");
    auto loaded = DraftTable::Open(context, clock);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message();
    table = *std::move(loaded);
    versions = MakeVersionsZone(context, *table, *leases);
    ready = MakeTreesZone(context);
    files = MakeDraftsZone(context, *table, *leases, *ready);
    aliases = MakeAliasesZone(context);
  }
  void CloseDrafts() {
    versions.reset();
    files.reset();
    ready.reset();
    aliases.reset();
    table.reset();
    leases.reset();
    drafts.reset();
  }

  NodeId MakeDraft(std::string_view name, std::string_view content) {
    const auto made = versions->MakeDirectory(request, VersionsNode(model), name, 0755);
    EXPECT_TRUE(made) << MessageOf(made);
    WriteInto(made->node, "file", content);
    return made->node;
  }
  void WriteInto(NodeId parent, std::string_view name, std::string_view content) {
    const auto created = files->Create(request, parent, name, 0644, O_WRONLY);
    ASSERT_TRUE(created) << MessageOf(created);
    const auto written = created->file.handle->Write(0, std::as_bytes(std::span(content)));
    ASSERT_TRUE(written) << MessageOf(written);
  }
  Outcome<void> Rename(std::string_view from, std::string_view to, unsigned flags = 0) {
    return versions->Rename(request, VersionsNode(model), from, VersionsNode(model), to, flags);
  }
  std::vector<std::string> Versions() { return NamesIn(*versions, request, VersionsNode(model)); }
  Outcome<Entry> Link(std::string_view target, std::string_view name) {
    return aliases->MakeSymlink(request, AliasesNode(model), name, target);
  }
  std::string TargetOf(std::string_view name) {
    const auto entry = aliases->Lookup(request, AliasesNode(model), name);
    if (!entry) return fmt::format("errno {}", entry.error().errno_value);
    const auto target = aliases->ReadLink(request, entry->node);
    EXPECT_EQ(static_cast<size_t>(entry->attr.st_size), target->size());
    return *target;
  }

  FakeClock clock;
  store::ObjectId model = 0;
  std::unique_ptr<cas::DraftStore> drafts;
  std::unique_ptr<store::LeasePool> leases;
  std::unique_ptr<DraftTable> table;
  std::unique_ptr<Zone> versions;
  std::unique_ptr<Zone> ready;
  std::unique_ptr<Zone> files;
  std::unique_ptr<Zone> aliases;
};

TEST(LeasePool, OneLeaseServesManyUsesAndIsGivenBackWhenIdle) {
  WritingWorld world;
  store::LeasePool leases(
      *world.registry, world.caller, "test",
      {.share_for = std::chrono::seconds(3600), .idle_for = std::chrono::milliseconds(1)});
  store::Lease first;
  {
    auto one = leases.Get();
    auto two = leases.Get();
    ASSERT_TRUE(one.ok() && two.ok());
    first = one->lease();
    EXPECT_EQ(two->lease().id, first.id);
    EXPECT_TRUE(world.registry->RenewLease(world.context.daemon, first).ok()) << "it lives while it is used";
  }
  // An idle lease is given back before long.
  const Deadline generous = Deadline::After(std::chrono::seconds(30));
  while (world.registry->RenewLease(world.context.daemon, first).ok() && !generous.Passed())
    std::this_thread::yield();
  EXPECT_FALSE(generous.Passed());
  auto again = leases.Get();
  ASSERT_TRUE(again.ok());
  EXPECT_NE(again->lease().id, first.id);
}

TEST(LeasePool, AnOldLeaseIsReplacedWhileItsUsersFinish) {
  WritingWorld world;
  store::LeasePool leases(*world.registry, world.caller, "test", {.share_for = std::chrono::milliseconds(0)});
  auto one = leases.Get();
  auto two = leases.Get();
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_NE(one->lease().id, two->lease().id);
  EXPECT_TRUE(world.registry->RenewLease(world.context.daemon, one->lease()).ok());
}

TEST(LeasePool, AnEndedLeaseIsNotGivenToOthers) {
  WritingWorld world;
  auto one = world.leases->Get();
  ASSERT_TRUE(one.ok());
  one->Ended();
  auto two = world.leases->Get();
  ASSERT_TRUE(two.ok());
  EXPECT_NE(one->lease().id, two->lease().id);
}

// The notification of a name in versions/ waits in the kernel for a commit that is under way there, and not
// even SIGKILL ends that wait. The kernel asks for these names each time anyway.
TEST(VersionsZone, ACommitInvalidatesNoName) {
  WritingWorld world;
  world.MakeDraft("draft", "bytes");
  const auto committed = world.Rename("draft", "next");
  ASSERT_TRUE(committed) << MessageOf(committed);
  EXPECT_TRUE(world.notifier.told().empty());
  EXPECT_EQ(world.Versions(), (std::vector<std::string>{"1"}));
}

TEST(VersionsZone, OnlyReadyVersionsAreDirectories) {
  WritingWorld world;
  const auto pending = world.registry->BeginVersion(world.caller, world.model, {});
  ASSERT_TRUE(pending.ok());
  const auto found = world.versions->Lookup(world.request, VersionsNode(world.model), "1");
  EXPECT_EQ(ErrnoOf(found), ENOENT);
  EXPECT_NE(MessageOf(found).find("PENDING_REGISTRATION"), std::string::npos) << MessageOf(found);
  EXPECT_EQ(world.Versions(), (std::vector<std::string>{}));
  EXPECT_EQ(ErrnoOf(world.versions->Lookup(world.request, VersionsNode(world.model), "latest")), ENOENT);
  // The number is taken all the same.
  world.MakeDraft("draft", "bytes");
  EXPECT_EQ(ErrnoOf(world.Rename("draft", "1")), ERANGE);
  EXPECT_TRUE(world.Rename("draft", "2"));
}

TEST(VersionsZone, ACommittedDraftsNodesRefuseChangesAndServeOpenFiles) {
  WritingWorld world;
  const NodeId draft = world.MakeDraft("draft", "bytes");
  const auto file = world.files->Lookup(world.request, draft, "file");
  ASSERT_TRUE(file);
  auto reader = world.files->Open(world.request, file->node, O_RDONLY);
  ASSERT_TRUE(reader);
  ASSERT_TRUE(world.Rename("draft", "1"));
  AttrChange shorter;
  shorter.size_bytes = 0;
  EXPECT_EQ(ErrnoOf(world.files->SetAttr(world.request, file->node, shorter)), EROFS);
  EXPECT_EQ(ErrnoOf(world.files->Open(world.request, file->node, O_RDWR)), EROFS);
  EXPECT_EQ(ErrnoOf(world.files->Create(world.request, draft, "new", 0600, O_WRONLY)), EROFS);
  EXPECT_TRUE(world.files->GetAttr(world.request, file->node));
  EXPECT_EQ(ReadAll(*reader->handle), "bytes");
  reader->handle.reset();
  // No file in it is open any more: the draft is gone, and the refusal still has the reason.
  EXPECT_EQ(ErrnoOf(world.files->GetAttr(world.request, file->node)), ESTALE);
  const auto late = world.files->SetAttr(world.request, file->node, shorter);
  EXPECT_EQ(ErrnoOf(late), EROFS);
  EXPECT_NE(MessageOf(late).find("version 1"), std::string::npos) << MessageOf(late);
  world.CloseDrafts();
  world.OpenDrafts();
  EXPECT_EQ(world.Versions(), (std::vector<std::string>{"1"}));
}

TEST(DraftTable, AnUnusedDraftEndsAndAnOpenOneDoesNot) {
  WritingWorld world;
  world.MakeDraft("unused", "bytes");
  const NodeId used = world.MakeDraft("used", "bytes");
  const auto file = world.files->Lookup(world.request, used, "file");
  auto handle = world.files->Open(world.request, file->node, O_RDONLY);
  ASSERT_TRUE(handle);
  world.clock.Pass(kLifetimeS + 1);
  EXPECT_EQ(world.table->Expire(), 1U);
  EXPECT_EQ(world.Versions(), (std::vector<std::string>{"used"}));
  handle->handle.reset();  // closing is a use: the lifetime starts again
  EXPECT_EQ(world.table->Expire(), 0U);
  world.clock.Pass(kLifetimeS + 1);
  EXPECT_EQ(world.table->Expire(), 1U);
  EXPECT_EQ(world.Versions(), (std::vector<std::string>{}));
}

TEST(DraftTable, ARestartDoesNotForgetHowLongADraftWasUnused) {
  WritingWorld world;
  world.MakeDraft("draft", "bytes");
  world.clock.Pass(kLifetimeS - 10);
  world.CloseDrafts();
  world.OpenDrafts();
  EXPECT_EQ(world.Versions(), (std::vector<std::string>{"draft"}));
  world.clock.Pass(20);
  EXPECT_EQ(world.table->Expire(), 0U) << "a draft that was just found is kept for a while";
  world.clock.Pass(kFoundKeptS);
  EXPECT_EQ(world.table->Expire(), 1U);
  EXPECT_EQ(world.Versions(), (std::vector<std::string>{}));
}

TEST(DraftTable, SettingTheClockDoesNotAgeADraft) {
  WritingWorld world;
  world.MakeDraft("draft", "bytes");
  world.clock.Set(8 * kLifetimeS);
  EXPECT_EQ(world.table->Expire(), 0U);
  world.clock.Pass(kLifetimeS - 1);
  EXPECT_EQ(world.table->Expire(), 0U);
  world.clock.Pass(2);
  EXPECT_EQ(world.table->Expire(), 1U);
}

TEST(DraftTable, SettingTheClockDoesNotAgeADraftThatWasFound) {
  WritingWorld world;
  world.MakeDraft("draft", "bytes");
  world.CloseDrafts();
  world.OpenDrafts();
  world.clock.Set(8 * kLifetimeS);
  EXPECT_EQ(world.table->Expire(), 0U);
  world.clock.Pass(kLifetimeS - 1);
  EXPECT_EQ(world.table->Expire(), 0U);
  world.clock.Pass(2);
  EXPECT_EQ(world.table->Expire(), 1U);
}

TEST(DraftTable, CorrectingAClockThatWasWrongAtTheStartEndsNoDraft) {
  WritingWorld world;
  world.MakeDraft("draft", "bytes");
  world.CloseDrafts();
  world.clock.Set(8 * kLifetimeS);
  world.OpenDrafts();
  world.clock.Pass(kFoundKeptS - 10);
  EXPECT_EQ(world.table->Expire(), 0U);
  world.clock.Set(-8 * kLifetimeS);
  world.clock.Pass(20);
  EXPECT_EQ(world.table->Expire(), 0U);
}

TEST(DraftTable, SettingTheClockEndsNoDraftOfAMountThatIsNotUp) {
  WritingWorld world;
  world.context.mount_point = "/elsewhere";
  world.CloseDrafts();
  world.OpenDrafts();
  world.MakeDraft("draft", "bytes");
  world.CloseDrafts();
  world.context.mount_point = "/here";
  world.OpenDrafts();
  const auto there = [&] { return cas::RealFiles().List(world.directory + "/drafts").value().size(); };
  world.clock.Set(8 * kLifetimeS);
  EXPECT_EQ(world.table->Expire(), 0U);
  world.clock.Pass(kLifetimeS - 10);
  EXPECT_EQ(world.table->Expire(), 0U);
  EXPECT_EQ(there(), 1U);
  // The files' own times are the disk's, so this is a little less exact.
  world.clock.Pass(kLifetimeS);
  EXPECT_EQ(world.table->Expire(), 1U);
  EXPECT_EQ(there(), 0U);
}

TEST(DraftTable, ADraftHeldByAnotherProcessAppearsOnceItIsFree) {
  WritingWorld world;
  world.MakeDraft("draft", "bytes");
  world.CloseDrafts();
  // The previous daemon, while it dies.
  auto other = cas::DraftStore::Open(cas::RealFiles(),
                                     {.root = world.directory + "/drafts", .blobs = world.blobs.get()});
  ASSERT_TRUE(other.ok());
  ASSERT_EQ((*other)->Load([](std::string_view) { return true; }).value().drafts.size(), 1U);
  world.OpenDrafts();
  EXPECT_EQ(world.Versions(), (std::vector<std::string>{}));
  other->reset();
  const Deadline deadline = Deadline::After(std::chrono::seconds(30));
  while (world.Versions().empty() && !deadline.Passed())
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(world.Versions(), (std::vector<std::string>{"draft"}));
  EXPECT_TRUE(world.Rename("draft", "next"));
}

TEST(DraftTable, ADraftEndsWithItsModel) {
  WritingWorld world;
  world.MakeDraft("draft", "bytes");
  ASSERT_TRUE(world.registry->Delete(world.caller, world.model, store::Registry::DeleteMode::kIfEmpty).ok());
  EXPECT_EQ(world.table->Expire(), 1U);
  EXPECT_TRUE(world.table->List(world.model).empty());
}

// By another process: on this mount only the watcher learns of it.
TEST(DraftTable, ADraftEndsAsSoonAsItsModelIsDeletedAndItsOpenFilesStayReadable) {
  WritingWorld world;
  world.context.draft_table = world.table.get();
  const NodeId open = world.MakeDraft("open", "bytes");
  world.MakeDraft("closed", "bytes");
  const auto file = world.files->Lookup(world.request, open, "file");
  auto reader = world.files->Open(world.request, file->node, O_RDONLY);
  auto writer = world.files->Open(world.request, file->node, O_WRONLY);
  ASSERT_TRUE(reader && writer);
  const auto on_disk = [&] { return cas::RealFiles().List(world.directory + "/drafts").value().size(); };
  const auto eventually = [](const std::function<bool()>& holds) {
    const Deadline deadline = Deadline::After(std::chrono::seconds(30));
    while (!holds() && !deadline.Passed()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return holds();
  };
  {
    auto watcher = Watcher::Start(world.context);
    ASSERT_TRUE(watcher.ok());
    const auto other = world.OtherProcess();
    ASSERT_TRUE(other->Delete(world.caller, world.model, store::Registry::DeleteMode::kIfEmpty).ok());
    EXPECT_TRUE(eventually([&] { return world.table->List(world.model).empty() && on_disk() == 1; }));
  }
  EXPECT_EQ(ReadAll(*reader->handle), "bytes");
  writer->handle.reset();
  reader->handle.reset();
  EXPECT_TRUE(eventually([&] { return on_disk() == 0; }));
}

TEST(DraftTable, ACommitThatFailsBecauseItsModelIsGoneEndsTheDraft) {
  WritingWorld world;
  const NodeId node = world.MakeDraft("draft", "bytes");
  const auto record = world.table->Get(Parse(node).draft);
  ASSERT_TRUE(world.table->BeginCommit(*record));
  ASSERT_TRUE(world.registry->Delete(world.caller, world.model, store::Registry::DeleteMode::kIfEmpty).ok());
  EXPECT_EQ(world.table->Expire(), 0U) << "its commit is under way";
  world.table->CommitFailed(*record);
  const Deadline deadline = Deadline::After(std::chrono::seconds(30));
  while (!world.table->List(world.model).empty() && !deadline.Passed())
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(world.table->List(world.model).empty());
}

// Killed between NoteSealed and the commit, when another process commits the same files under the same
// number.
TEST(DraftTable, AnotherVersionOfTheSameFilesWithoutTheDraftsTagsDoesNotEndTheDraft) {
  for (const bool tagged : {false, true}) {
    SCOPED_TRACE(tagged);
    WritingWorld world;
    const NodeId node = world.MakeDraft("draft", "bytes");
    {
      const auto record = world.table->Get(Parse(node).draft);
      ASSERT_TRUE(world.table->SetFields(*record, {.tags = {{"stage", "dev"}}, .description = "mine"}).ok());
      auto lease = world.leases->Get();
      ASSERT_TRUE(lease.ok());
      ASSERT_TRUE(world.table->BeginCommit(*record));
      const auto sealed = record->draft->Seal(lease->lease().epoch, {}, {});
      ASSERT_TRUE(sealed.ok()) << sealed.error().message();
      ASSERT_TRUE(world.table->NoteSealed(*record, 1, sealed->tree).ok());
      store::NewVersion version;
      if (tagged) {
        version.tags = {{"stage", "dev"}};
        version.comment = "mine";
      }
      ASSERT_TRUE(
          world.registry->CommitVersion(world.caller, world.model, sealed->tree, lease->lease(), version, 1)
              .ok());
    }
    world.CloseDrafts();
    world.OpenDrafts();
    EXPECT_EQ(world.Versions(),
              tagged ? (std::vector<std::string>{"1"}) : (std::vector<std::string>{"1", "draft"}));
    if (tagged) continue;
    const auto again = world.table->Find(world.model, "draft");
    ASSERT_NE(again, nullptr);
    EXPECT_EQ(world.table->FieldsOf(*again).description, "mine");
    EXPECT_TRUE(world.Rename("draft", "2"));
  }
}

TEST(DraftTable, AfterACrashTheRegistrySaysWhetherADraftWasCommitted) {
  for (const bool committed : {false, true}) {
    SCOPED_TRACE(committed);
    WritingWorld world;
    const NodeId node = world.MakeDraft("draft", "bytes");
    {
      const auto record = world.table->Get(Parse(node).draft);
      auto lease = world.leases->Get();
      ASSERT_TRUE(lease.ok());
      ASSERT_TRUE(world.table->BeginCommit(*record));
      const auto sealed = record->draft->Seal(lease->lease().epoch, {}, {});
      ASSERT_TRUE(sealed.ok()) << sealed.error().message();
      const Status noted = world.table->NoteSealed(*record, 1, sealed->tree);
      ASSERT_TRUE(noted.ok()) << noted.error().message();
      if (committed) {
        ASSERT_TRUE(
            world.registry->CommitVersion(world.caller, world.model, sealed->tree, lease->lease(), {}, 1)
                .ok());
      }
    }
    world.CloseDrafts();  // neither Committed nor CommitFailed was called
    world.OpenDrafts();
    EXPECT_EQ(world.Versions(), (std::vector<std::string>{committed ? "1" : "draft"}));
    if (committed) continue;
    const auto again = world.versions->Lookup(world.request, VersionsNode(world.model), "draft");
    ASSERT_TRUE(again);
    world.WriteInto(again->node, "more", "bytes");
    const auto renamed = world.Rename("draft", "1");
    EXPECT_TRUE(renamed) << MessageOf(renamed);
  }
}

TEST(DraftTable, AnEndedDraftTakesNoNameFromOthers) {
  WritingWorld world;
  const NodeId ended = world.MakeDraft("ended", "x");
  const NodeId other = world.MakeDraft("other", "x");
  const auto record = world.table->Get(Parse(ended).draft);
  ASSERT_TRUE(world.table->Remove(record).ok());
  const Status renamed = world.table->Relabel(*record, "new");
  ASSERT_FALSE(renamed.ok());
  EXPECT_EQ(renamed.error().code(), Code::kNotFound);
  const auto other_record = world.table->Get(Parse(other).draft);
  for (const bool first : {true, false}) {
    const Status swapped =
        first ? world.table->Swap(*record, *other_record) : world.table->Swap(*other_record, *record);
    ASSERT_FALSE(swapped.ok());
    EXPECT_EQ(swapped.error().code(), Code::kNotFound);
  }
  EXPECT_EQ(world.table->Find(world.model, "other"), other_record);
  EXPECT_EQ(world.table->Find(world.model, "ended"), nullptr);
  world.MakeDraft("new", "x");
  world.MakeDraft("ended", "x");
}

TEST(DraftTable, TwoDraftsExchangeNames) {
  WritingWorld world;
  const NodeId a = world.MakeDraft("a", "was a");
  const NodeId b = world.MakeDraft("b", "was b");
  ASSERT_TRUE(world.Rename("a", "b", RENAME_EXCHANGE));
  const auto node = [&](std::string_view name) {
    return world.versions->Lookup(world.request, VersionsNode(world.model), name)->node;
  };
  EXPECT_EQ(node("a"), b);
  EXPECT_EQ(node("b"), a);
  world.CloseDrafts();
  world.OpenDrafts();
  EXPECT_EQ(node("a"), b);
  EXPECT_EQ(node("b"), a);
}

TEST(AliasesZone, TargetsThatNameAVersionOfThisModelAreAccepted) {
  WritingWorld world;
  world.Commit(world.model, {{"file", "one"}});
  struct Row {
    std::string_view target;
    int want;
  };
  const std::vector<Row> rows = {
      {"1", 0},
      {"./1", 0},
      {"1/", 0},
      {"../versions/1", 0},
      {"..//versions/./1//", 0},
      {"/models/prod/ml/iris/versions/1", 0},
      {"/elsewhere/prod/ml/iris/versions/1", 0},
      {"../../../../prod/ml/iris/versions/1", 0},
      {"prod/ml/iris/versions/1", 0},
      {"2", ENOENT},
      {"../versions/2", ENOENT},
      {"", EINVAL},
      {"/", EINVAL},
      {"/1", EINVAL},
      {"01", EINVAL},
      {"+1", EINVAL},
      {"1.0", EINVAL},
      {"99999999999999999999999", EINVAL},
      {"../versions/latest", EINVAL},
      {"../versions/draft", EINVAL},
      {"../aliases/1", EINVAL},
      {"versions/1", EINVAL},
      {"/../versions/1", EINVAL},
      {"iris/versions/1", EINVAL},
      {"../../iris/versions/1", EINVAL},
      {"prod/ml/other/versions/1", EINVAL},
      {"dev/ml/iris/versions/1", EINVAL},
      {"prod/ml/iris/versions/1/file", EINVAL},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.target);
    const auto made = world.Link(row.target, "A");
    EXPECT_EQ(ErrnoOf(made), row.want) << MessageOf(made);
    if (!made) continue;
    EXPECT_EQ(world.TargetOf("A"), "../versions/1");
    EXPECT_TRUE(world.aliases->Unlink(world.request, AliasesNode(world.model), "A"));
  }
}

TEST(AliasesZone, HeldNamesAreThisMountsOwnUntilTheyBecomeAnAlias) {
  WritingWorld world;
  world.Commit(world.model, {{"file", "one"}});
  for (const char* name : {".Champion.a1B2c3", "CuAb12Cd", "Champion~", "with space"}) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(world.Link("1", name));
    EXPECT_EQ(world.TargetOf(name), "../versions/1");
    EXPECT_EQ(ErrnoOf(world.Link("1", name)), EEXIST);
    EXPECT_TRUE(world.registry->Get(world.caller, world.model)->aliases.empty()) << "never committed";
    EXPECT_EQ(NamesIn(*world.aliases, world.request, AliasesNode(world.model)),
              std::vector<std::string>{name});
    ASSERT_TRUE(world.aliases->Unlink(world.request, AliasesNode(world.model), name));
    EXPECT_EQ(world.TargetOf(name), fmt::format("errno {}", ENOENT));
  }
  // tar's placeholder has the name of the later alias.
  const auto placeholder = world.aliases->Create(world.request, AliasesNode(world.model), "Champion", 0,
                                                 O_CREAT | O_EXCL | O_WRONLY);
  ASSERT_TRUE(placeholder);
  EXPECT_TRUE(S_ISREG(placeholder->entry.attr.st_mode));
  EXPECT_EQ(ErrnoOf(world.Link("../versions/1", "Champion")), EEXIST);
  ASSERT_TRUE(world.aliases->Unlink(world.request, AliasesNode(world.model), "Champion"));
  EXPECT_TRUE(world.Link("../versions/1", "Champion"));
}

// A link that others see in a governed directory leads nowhere that an alias could not lead.
TEST(AliasesZone, AHeldLinkTakesTheTargetsOfAnAliasAndReadsAsOne) {
  WritingWorld world;
  world.Commit(world.model, {{"file", "one"}});
  for (const char* target :
       {"/tmp/evil", "x", "../versions/latest", "../../other/versions/1", "/versions/1"}) {
    SCOPED_TRACE(target);
    const auto refused = world.Link(target, "Champion.1");
    EXPECT_EQ(ErrnoOf(refused), EINVAL);
    EXPECT_EQ(MessageOf(refused), MessageOf(world.Link(target, "Champion"))) << "as an alias is refused";
    EXPECT_EQ(world.TargetOf("Champion.1"), fmt::format("errno {}", ENOENT));
  }
  // A path that an alias takes may lead elsewhere; only the number is kept.
  ASSERT_TRUE(world.Link("/tmp/evil/prod/ml/iris/versions/1", "Champion.1"));
  EXPECT_EQ(world.TargetOf("Champion.1"), "../versions/1");
}

TEST(AliasesZone, AHeldNameIsListedToItsMakerAndShowsItsMaker) {
  WritingWorld world;
  world.Share();
  world.Commit(world.model, {{"file", "one"}});
  const NodeId at = AliasesNode(world.model);
  world.Grant(world.Make("prod"), "account users", {store::Privilege::kUseCatalog});
  world.Grant(world.Make("prod.ml"), "account users", {store::Privilege::kUseSchema});
  for (const char* who : {"ann", "bob"}) world.Grant(world.model, who, {store::Privilege::kManage});
  const Request ann = world.RequestOf(60001, 60001);
  const Request bob = world.RequestOf(60002, 60002);
  const auto link = world.aliases->MakeSymlink(ann, at, ".anns", "../versions/1");
  ASSERT_TRUE(link) << MessageOf(link);
  EXPECT_EQ(link->attr.st_uid, 60001U);
  ASSERT_TRUE(world.aliases->Create(bob, at, "Bobs", 0600, O_CREAT | O_EXCL | O_WRONLY));
  EXPECT_EQ(NamesIn(*world.aliases, ann, at), std::vector<std::string>{".anns"});
  EXPECT_EQ(NamesIn(*world.aliases, bob, at), std::vector<std::string>{"Bobs"});
  const auto seen = world.aliases->Lookup(bob, at, ".anns");
  ASSERT_TRUE(seen) << "a name does not depend on the caller";
  EXPECT_EQ(seen->attr.st_uid, 60001U);
  EXPECT_EQ(world.aliases->GetAttr(bob, seen->node)->attr.st_uid, 60001U);
  EXPECT_EQ(world.aliases->Lookup(ann, at, "Bobs")->attr.st_uid, 60002U);
  // Its target is for users that may read an alias.
  const NodeId bobs = world.aliases->Lookup(ann, at, "Bobs")->node;
  EXPECT_TRUE(world.aliases->ReadLink(bob, link->node));
  EXPECT_TRUE(world.aliases->Open(ann, bobs, O_RDONLY));
  const Request eve = world.RequestOf(60003, 60003);
  EXPECT_EQ(ErrnoOf(world.aliases->ReadLink(eve, link->node)), EACCES);
  EXPECT_EQ(ErrnoOf(world.aliases->Open(eve, bobs, O_RDONLY)), EACCES);
}

TEST(AliasesZone, AnAliasThatCannotBeKeptUnderAHeldNameStays) {
  WritingWorld world;
  world.Commit(world.model, {{"file", "one"}});
  ASSERT_TRUE(world.Link("1", "Champion"));
  for (size_t i = 0; i < HeldNames::kMostInModel; ++i) ASSERT_TRUE(world.Link("1", fmt::format(".{}", i)));
  EXPECT_EQ(ErrnoOf(world.Link("1", ".more")), EDQUOT);
  const NodeId at = AliasesNode(world.model);
  EXPECT_EQ(ErrnoOf(world.aliases->Rename(world.request, at, "Champion", at, "Champion~", 0)), EDQUOT);
  EXPECT_EQ(world.TargetOf("Champion"), "../versions/1");
  // After the exchange, the held name has the alias's former target.
  world.Commit(world.model, {{"file", "two"}});
  ASSERT_TRUE(world.aliases->Unlink(world.request, at, ".0"));
  ASSERT_TRUE(world.Link("2", ".two"));
  ASSERT_TRUE(world.aliases->Rename(world.request, at, ".two", at, "Champion", RENAME_EXCHANGE));
  EXPECT_EQ(world.TargetOf("Champion"), "../versions/2");
  EXPECT_EQ(world.TargetOf(".two"), "../versions/1");
  ASSERT_TRUE(world.aliases->Rename(world.request, at, "Champion", at, ".two", RENAME_EXCHANGE))
      << "in either order of the names";
  EXPECT_EQ(world.TargetOf("Champion"), "../versions/1");
  EXPECT_EQ(world.TargetOf(".two"), "../versions/2");
}

TEST(Drafts, ADraftIsOpenToItsCreatorAloneAfterARestartToo) {
  WritingWorld world;
  for (const char* container : {"prod", "prod.ml"}) {
    world.Grant(world.Make(container), "account users",
                {std::string_view(container) == "prod" ? store::Privilege::kUseCatalog
                                                       : store::Privilege::kUseSchema});
  }
  world.Grant(world.model, "ann", {store::Privilege::kCreateModelVersion});
  const Request ann = world.RequestOf(60001, 60001);
  const NodeId at = VersionsNode(world.model);
  ASSERT_TRUE(world.versions->MakeDirectory(ann, at, "hers", 0755));
  world.MakeDraft("mine", "bytes");
  EXPECT_EQ(ErrnoOf(world.versions->MakeDirectory(world.RequestOf(60003, 60003), at, "eves", 0755)), EACCES);

  world.CloseDrafts();
  world.OpenDrafts();
  EXPECT_EQ(NamesIn(*world.versions, ann, at), std::vector<std::string>{"hers"});
  EXPECT_EQ(world.Versions(), std::vector<std::string>{"mine"});
  const auto hers = world.versions->Lookup(world.request, at, "hers");
  ASSERT_TRUE(hers) << "a name does not depend on the caller";
  EXPECT_EQ(hers->attr.st_uid, 60001U);
  EXPECT_EQ(hers->attr.st_mode & ALLPERMS, 0700U);
  EXPECT_TRUE(world.files->Create(ann, hers->node, "file", 0644, O_WRONLY));
  EXPECT_EQ(ErrnoOf(world.files->Create(world.request, hers->node, "other", 0644, O_WRONLY)), EACCES);
  EXPECT_EQ(ErrnoOf(world.files->OpenDirectory(world.request, hers->node)), EACCES);
  EXPECT_EQ(ErrnoOf(world.files->GetXattr(world.request, hers->node, "user.modelfs.status")), EACCES);
  EXPECT_EQ(ErrnoOf(world.files->SetXattr(world.request, hers->node, "user.tag.x", "y", 0)), EACCES);
  EXPECT_EQ(ErrnoOf(world.Rename("hers", "1")), EACCES);
  EXPECT_EQ(ErrnoOf(world.Rename("mine", "hers")), EPERM) << "taken; no rename returns EEXIST";
  const auto taken = world.versions->MakeDirectory(world.request, at, "hers", 0755);
  EXPECT_EQ(ErrnoOf(taken), EEXIST);
  EXPECT_NE(MessageOf(taken).find("another user"), std::string::npos) << MessageOf(taken);
  // The right may be revoked while the draft is written; then it stays a draft.
  world.Revoke(world.model, "ann", {store::Privilege::kCreateModelVersion});
  EXPECT_EQ(ErrnoOf(world.versions->Rename(ann, at, "hers", at, "1", 0)), EACCES);
  EXPECT_EQ(NamesIn(*world.versions, ann, at), std::vector<std::string>{"hers"});
}

TEST(Drafts, AttemptsOnAnothersDraftAreAuditedAndRepeatsAreCounted) {
  WritingWorld world;
  const NodeId draft = world.MakeDraft("mine", "bytes");
  world.MakeDraft("other", "bytes");
  const NodeId file = world.files->Lookup(world.request, draft, "file")->node;
  const Request eve = world.RequestOf(60003, 60003);
  const NodeId at = VersionsNode(world.model);
  uint64_t seen = 0;
  const auto records = [&] {
    EXPECT_TRUE(world.registry->FlushAudit().ok());
    std::vector<std::string> list;
    store::AuditQuery query;
    query.after_sequence = seen;
    query.principal = "eve";
    const auto found = world.registry->Audit(world.caller, query).value();
    for (const store::AuditRecord& record : found) {
      list.push_back(fmt::format("{} {} {} draft={}", record.action, record.status, record.full_name,
                                 record.params.at("draft")));
      seen = record.sequence;
    }
    return list;
  };
  const std::string looked = fmt::format("{} 403 prod.ml.iris draft=mine", store::kOpenAction);
  const std::string changed = "createModelVersion 403 prod.ml.iris draft=mine";
  struct Row {
    std::string what;
    std::function<int()> attempt;
    std::string want;
  };
  const std::vector<Row> rows{
      {"read", [&] { return ErrnoOf(world.files->Open(eve, file, O_RDONLY)); }, looked},
      {"list", [&] { return ErrnoOf(world.files->OpenDirectory(eve, draft)); }, looked},
      {"getxattr", [&] { return ErrnoOf(world.files->GetXattr(eve, draft, "user.tag.x")); }, looked},
      {"listxattr", [&] { return ErrnoOf(world.files->ListXattr(eve, draft)); }, looked},
      {"write", [&] { return ErrnoOf(world.files->Open(eve, file, O_RDWR)); }, changed},
      {"creat", [&] { return ErrnoOf(world.files->Create(eve, draft, "x", 0644, O_WRONLY)); }, changed},
      {"unlink", [&] { return ErrnoOf(world.files->Unlink(eve, draft, "file")); }, changed},
      {"tag", [&] { return ErrnoOf(world.files->SetXattr(eve, draft, "user.tag.x", "y", 0)); }, changed},
      {"rmdir", [&] { return ErrnoOf(world.versions->RemoveDirectory(eve, at, "mine")); }, changed},
      {"commit", [&] { return ErrnoOf(world.versions->Rename(eve, at, "mine", at, "next", 0)); }, changed},
      {"rename", [&] { return ErrnoOf(world.versions->Rename(eve, at, "mine", at, "hers", 0)); }, changed},
  };
  // Of equal events within a minute the first is recorded, then a count; a flush writes the count at once.
  for (const Row& row : rows) {
    EXPECT_EQ(row.attempt(), EACCES) << row.what;
    EXPECT_EQ(records(), std::vector<std::string>{row.want}) << row.what;
  }
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(rows.back().attempt(), EACCES);
  EXPECT_LT(records().size(), 100U);
  // Its creator is refused nothing, and nothing is recorded.
  ASSERT_TRUE(world.files->Open(world.request, file, O_RDWR));
  EXPECT_EQ(records(), std::vector<std::string>{});
}

// A descriptor of a draft outlives its creator's rights.
TEST(Drafts, AnOpenDraftRevealsNothingOfAModelHiddenSince) {
  WritingWorld world;
  const store::ObjectId prod = world.Make("prod");
  world.Grant(prod, "ann", {store::Privilege::kUseCatalog});
  world.Grant(world.Make("prod.ml"), "ann", {store::Privilege::kUseSchema});
  world.Grant(world.model, "ann", {store::Privilege::kCreateModelVersion});
  const Request ann = world.RequestOf(60001, 60001);
  const NodeId at = VersionsNode(world.model);
  const auto make = [&](std::string_view name) {
    const auto made = world.versions->MakeDirectory(ann, at, name, 0755);
    EXPECT_TRUE(made) << MessageOf(made);
    const auto file = world.files->Create(ann, made->node, "file", 0644, O_WRONLY);
    EXPECT_TRUE(file) << MessageOf(file);
    return std::pair(made->node, file->entry.node);
  };
  const auto [committed, committed_file] = make("first");
  auto reader = world.files->Open(ann, committed_file, O_RDONLY);
  ASSERT_TRUE(reader);
  ASSERT_TRUE(world.versions->Rename(ann, at, "first", at, "next", 0));
  const auto [gone, gone_file] = make("second");
  ASSERT_TRUE(world.versions->Rename(ann, at, "second", at, "next", 0));
  const auto [kept, kept_file] = make("third");
  EXPECT_EQ(world.files->GetXattr(ann, kept, "user.modelfs.name").value(), "prod.ml.iris");
  EXPECT_EQ(world.files->GetXattr(ann, kept, "user.modelfs.next_version").value(), "3");
  // A user that may only create versions learns their numbers.
  EXPECT_NE(MessageOf(world.files->Open(ann, committed_file, O_RDWR)).find("version 1"), std::string::npos);
  EXPECT_NE(MessageOf(world.files->Open(ann, gone_file, O_RDWR)).find("version 2"), std::string::npos);

  world.Revoke(prod, "ann", {store::Privilege::kUseCatalog});
  ASSERT_TRUE(world.registry->Rename(world.caller, world.model, "merger").ok());
  struct Row {
    std::string what;
    int got;
    std::string message;
    int want;
  };
  std::vector<Row> rows;
  const auto add = [&rows](std::string what, const auto& outcome, int want) {
    rows.push_back({std::move(what), ErrnoOf(outcome), MessageOf(outcome), want});
  };
  const NodeId tree = TreeNode(1, 0, Flavour::kCached);
  const NodeId elsewhere = VersionsNode(world.Make("prod.ml.rose"));
  add("its name", world.files->GetXattr(ann, kept, "user.modelfs.name"), EACCES);
  add("the next number", world.files->GetXattr(ann, kept, "user.modelfs.next_version"), EACCES);
  add("another name", world.versions->Rename(ann, at, "third", at, "latest", 0), EACCES);
  add("a wrong number", world.versions->Rename(ann, at, "third", at, "7", 0), EACCES);
  add("a commit", world.versions->Rename(ann, at, "third", at, "next", 0), EACCES);
  add("into a version", world.versions->Rename(ann, at, "third", tree, "x", 0), EACCES);
  add("into another model", world.versions->Rename(ann, at, "third", elsewhere, "x", 0), EACCES);
  add("a version that is not there", world.versions->RemoveDirectory(ann, at, "9"), EACCES);
  add("a draft that is open", world.files->Open(ann, committed_file, O_RDWR), EROFS);
  add("its directory", world.files->Create(ann, committed, "x", 0644, O_WRONLY), EROFS);
  add("a draft that is gone", world.files->Open(ann, gone_file, O_RDWR), EROFS);
  add("its top, a version's now", world.files->OpenDirectory(ann, gone), EACCES);
  add("another's", world.files->Open(world.RequestOf(60003, 60003), gone_file, O_RDONLY), ESTALE);
  for (const Row& row : rows) {
    EXPECT_EQ(row.got, row.want) << row.what << ": " << row.message;
    for (const char* secret : {"merger", "version 1", "version 2", "version is", "versions/3", "iris"}) {
      EXPECT_EQ(row.message.find(secret), std::string::npos) << row.what << ": " << row.message;
    }
  }
  // The draft's contents are still its creator's.
  EXPECT_EQ(world.files->GetXattr(ann, kept, "user.modelfs.status").value(), "DRAFT");
  EXPECT_TRUE(world.files->Open(ann, kept_file, O_RDWR));
}

}  // namespace
}  // namespace modelfs::fs
