// The flows as a third front end would use them: bytes in memory, no directory and no mount.
#include "store/publish.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "store/draft_label.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::Box;

// Its lease pool gives every operation a lease of its own.
struct PublishBox : Box {
  PublishBox() : Box(MakeMemoryKv()), leases(*registry, ann, "test", {.share_for = {}}) {}

  StoreContent Storing(const std::string& bytes) {
    return [this, bytes](cas::Epoch epoch) -> Result<StoredTree> {
      epochs.push_back(epoch);
      return StoredTree(blobs.PutTree({{"model.bin", bytes}}, epoch));
    };
  }

  // A lease ends by its time at the next mark of a sweep.
  void EndLeases() {
    clock.Advance(2 * kLeaseLifetimeMs);
    ASSERT_TRUE(registry->MarkForSweep(registry->ForUpkeep(ann)).ok());
  }

  LeasePool leases;
  std::vector<cas::Epoch> epochs;  // of the content that was stored
};

FullName Name(const char* dotted) { return *FullName::Parse(dotted); }

// Nothing if it went well.
template <typename T>
std::optional<Code> CodeOf(const T& result) {
  return result.ok() ? std::nullopt : std::optional<Code>(result.error().code());
}

TEST(PublishTree, MakesTheModelAndItsVersion) {
  PublishBox box;
  box.Make("c.s");
  NewTree tree{.model = Name("c.s.m")};
  tree.fields.comment = "first";
  const auto version = PublishTree(*box.registry, box.blobs, box.leases, box.ann, tree, box.Storing("w"));
  ASSERT_TRUE(version.ok()) << version.error().message();
  EXPECT_EQ(version->number, 1U);
  EXPECT_EQ(box.registry->GetVersion(box.ann, version->model, 1)->comment, "first");
}

TEST(PublishTree, LeavesNoModelBehindIfItsVersionIsRefused) {
  PublishBox box;
  box.Make("c.s");
  const NewTree tree{.model = Name("c.s.m"), .content = "the directory"};
  const auto nothing = [](cas::Epoch) -> Result<StoredTree> { return StoredTree(Digest{}); };
  const auto refused = PublishTree(*box.registry, box.blobs, box.leases, box.ann, tree, nothing);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message().find("the directory"), std::string::npos) << refused.error().message();
  EXPECT_EQ(CodeOf(box.registry->Lookup(box.ann, tree.model)), Code::kNotFound);
}

TEST(PublishTree, CommitsNothingThatTheRegistryCannotRead) {
  PublishBox box;
  box.Make("c.s");
  box.blobs.on_offer = [](const Digest&) { return Error(Code::kUnavailable, "no way to the registry"); };
  const NewTree tree{.model = Name("c.s.m")};
  EXPECT_EQ(CodeOf(PublishTree(*box.registry, box.blobs, box.leases, box.ann, tree, box.Storing("w"))),
            Code::kUnavailable);
  EXPECT_EQ(CodeOf(box.registry->Lookup(box.ann, tree.model)), Code::kNotFound) << "no model either";
}

TEST(PublishTree, StoresTheContentAgainUnderANewLeaseIfTheFirstHasEnded) {
  PublishBox box;
  box.Make("c.s.m");
  const StoreContent store = box.Storing("w");
  const auto once_too_slow = [&](cas::Epoch epoch) {
    if (box.epochs.empty()) box.EndLeases();
    return store(epoch);
  };
  const auto version = PublishTree(*box.registry, box.blobs, box.leases, box.ann,
                                   NewTree{.model = Name("c.s.m")}, once_too_slow);
  ASSERT_TRUE(version.ok()) << version.error().message();
  EXPECT_EQ(box.epochs.size(), 2U);
}

TEST(PublishTree, CheckRefusesBeforeAnyByteIsStored) {
  PublishBox box;
  const Status no_schema = CheckPublishTree(*box.registry, box.ann, {.model = Name("c.s.m")});
  EXPECT_EQ(CodeOf(no_schema), Code::kNotFound);
  EXPECT_NE(no_schema.error().message().find("mkdir -p c.s"), std::string::npos);
  EXPECT_TRUE(
      CheckPublishTree(*box.registry, box.ann, {.model = Name("c.s.m"), .parents = Parents::kCreate}).ok());
  box.Make("c.s.m");
  EXPECT_EQ(CodeOf(CheckPublishTree(*box.registry, box.ann, {.model = Name("c.s.m"), .expected = 7})),
            Code::kOutOfRange);
}

class MemoryDraft : public PublishableDraft {
 public:
  MemoryDraft(PublishBox& box, ObjectId model) : box_(box), model_(model) {}

  Result<Sealed> Seal(cas::Epoch epoch) override {
    log += "seal ";
    if (before_commit) before_commit();
    return Sealed{box_.blobs.PutTree({{"model.bin", bytes}}, epoch),
                  cas::TreeTimes::Make({cas::FileTimeOfMs(1000)}).value()};
  }
  void Unseal() override { log += "unseal "; }
  NewVersion Fields() override { return {}; }
  std::optional<VersionId> CopiedFrom() override { return copied_from; }
  VersionNumber NextNumber() override {
    const VersionNumber next = box_.registry->Get(box_.ann, model_)->next_version;
    if (after_next) std::exchange(after_next, nullptr)();
    return next;
  }
  Status Note(VersionNumber number, const Digest&) override {
    log += "note" + std::to_string(number) + " ";
    return OkStatus();
  }

  std::string bytes = "draft";
  std::optional<VersionId> copied_from;
  std::function<void()> before_commit;
  std::function<void()> after_next;
  std::string log;

 private:
  PublishBox& box_;
  const ObjectId model_;
};

TEST(PublishDraft, NotesTheNumberBeforeTheCommitAndTakesTheNextIfAnotherCommitTookIt) {
  PublishBox box;
  const ObjectId model = box.Make("c.s.m");
  MemoryDraft draft(box, model);
  draft.after_next = [&] { EXPECT_TRUE(box.Commit(model).ok()); };
  const auto version =
      PublishDraft(*box.registry, box.blobs, box.leases, box.ann, model, draft, std::nullopt);
  ASSERT_TRUE(version.ok()) << version.error().message();
  EXPECT_EQ(version->number, 2U);
  EXPECT_EQ(draft.log, "seal note1 note2 ");
}

TEST(PublishDraft, IsWritableAgainAfterARefusal) {
  PublishBox box;
  const ObjectId model = box.Make("c.s.m");
  MemoryDraft draft(box, model);
  const auto refused = PublishDraft(*box.registry, box.blobs, box.leases, box.ann, model, draft, 5);
  EXPECT_EQ(CodeOf(refused), Code::kOutOfRange);
  EXPECT_EQ(draft.log, "seal note5 unseal ");
}

TEST(PublishDraft, CommitsNothingThatTheRegistryCannotRead) {
  PublishBox box;
  const ObjectId model = box.Make("c.s.m");
  MemoryDraft draft(box, model);
  box.blobs.on_offer = [](const Digest&) { return Error(Code::kUnavailable, "no way to the registry"); };
  const auto refused = PublishDraft(*box.registry, box.blobs, box.leases, box.ann, model, draft, {});
  EXPECT_EQ(CodeOf(refused), Code::kUnavailable);
  EXPECT_EQ(draft.log, "seal unseal ");
}

TEST(PublishDraft, IsSealedAgainUnderANewLeaseIfTheFirstHasEnded) {
  PublishBox box;
  const ObjectId model = box.Make("c.s.m");
  MemoryDraft draft(box, model);
  draft.before_commit = [&] {
    if (draft.log == "seal ") box.EndLeases();
  };
  const auto version =
      PublishDraft(*box.registry, box.blobs, box.leases, box.ann, model, draft, std::nullopt);
  ASSERT_TRUE(version.ok()) << version.error().message();
  EXPECT_EQ(draft.log, "seal note1 unseal seal note1 ");
}

TEST(PublishDraft, AnUnchangedCopyHasItsSourceAndTimes) {
  PublishBox box;
  const ObjectId model = box.Make("c.s.m");
  const auto original = box.Commit(model, "draft");
  MemoryDraft copy(box, model);
  copy.copied_from = original->id;
  const auto version = PublishDraft(*box.registry, box.blobs, box.leases, box.ann, model, copy, {});
  ASSERT_TRUE(version.ok()) << version.error().message();
  EXPECT_EQ(version->source, "models:/c.s.m/1");
  MemoryDraft changed(box, model);
  changed.copied_from = original->id;
  changed.bytes = "other";
  EXPECT_EQ(PublishDraft(*box.registry, box.blobs, box.leases, box.ann, model, changed, {})->source, "");
}

class MemoryHome : public SweepableHome {
 public:
  explicit MemoryHome(PublishBox& box) : box_(box) {}
  cas::BlobStore& blobs() override { return box_.blobs; }
  Status RemoveDrafts(const std::function<bool(std::string_view label)>& unwanted) override {
    for (const std::string& label : drafts) removed.push_back(unwanted(label));
    return OkStatus();
  }
  Result<Mark> MarkForSweep() override { return box_.registry->MarkForSweep(box_.ann); }
  Result<std::vector<Digest>> BlobsOfDrafts() override { return of_drafts; }
  Status Sweep(const std::unordered_set<Digest>& found, cas::Epoch) override {
    live = found;
    return OkStatus();
  }

  std::vector<std::string> drafts;
  std::vector<bool> removed;
  std::vector<Digest> of_drafts;
  std::optional<std::unordered_set<Digest>> live;

 private:
  PublishBox& box_;
};

TEST(CollectGarbage, KeepsWhatVersionsAndDraftsNeedAndEndsDraftsOfDeletedModels) {
  PublishBox box;
  const ObjectId model = box.Make("c.s.m");
  const auto version = box.Commit(model, "w");
  MemoryHome home(box);
  home.of_drafts = {DigestOf("in a draft")};
  DraftLabel label;
  label.model = model;
  home.drafts.push_back(label.Encode());
  label.model = model + 100;
  home.drafts.push_back(label.Encode());
  home.drafts.push_back("another program's");
  const Caller upkeep = box.registry->ForUpkeep(box.ann);
  ASSERT_TRUE(CollectGarbage(*box.registry, upkeep, home, {}).ok());
  EXPECT_EQ(home.removed, (std::vector<bool>{false, true, false}));
  ASSERT_TRUE(home.live.has_value());
  for (const Digest& needed : {version->tree, DigestOf("w"), DigestOf("in a draft")}) {
    EXPECT_EQ(home.live->count(needed), 1U) << needed.ToString();
  }
}

TEST(CollectGarbage, RemovesNothingIfATreeCannotBeRead) {
  PublishBox box;
  const auto version = box.Commit(box.Make("c.s.m"), "w");
  box.blobs.Remove(version->tree);
  MemoryHome home(box);
  EXPECT_EQ(CodeOf(CollectGarbage(*box.registry, box.ann, home, {})), Code::kDataLoss);
  EXPECT_FALSE(home.live.has_value());
}

TEST(CollectGarbage, StopsBeforeTheSweep) {
  PublishBox box;
  MemoryHome home(box);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(CodeOf(CollectGarbage(*box.registry, box.ann, home, stop.get_token())), Code::kCancelled);
  EXPECT_FALSE(home.live.has_value());
}

}  // namespace
}  // namespace modelfs::store
