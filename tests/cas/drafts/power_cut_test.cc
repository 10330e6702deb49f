// Makes each call of a draft's operations fail in turn, cuts the power, and checks the state after it.

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "cas/base/check.h"
#include "cas/drafts/draft_store.h"
#include "cas/tree_store.h"
#include "tests/cas/fake_files.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

constexpr Epoch kNow{.revision = 100};
constexpr int64_t kMtimeS = 1'500'000'000;
constexpr int64_t kMtimeNs = 123'456'789;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

Result<DraftNode> Write(Draft& draft, DraftNode directory, const std::string& name, std::string_view text) {
  ASSIGN_OR_RETURN(const DraftEntry entry, draft.MakeFile(directory, name, false));
  ASSIGN_OR_RETURN(const std::shared_ptr<DraftFile> file, draft.Open(entry.node, Draft::Access::kWrite));
  ASSIGN_OR_RETURN(const size_t count, file->Write(0, Bytes(text)));
  CHECK(count == text.size());
  return entry.node;
}

// Every name of a draft with its kind and a link's text, or "error: …".
std::string Names(Draft& draft, DraftNode directory = kDraftRoot) {
  const Result<std::vector<DraftEntry>> entries = draft.List(directory);
  if (!entries.ok()) return "error: " + entries.error().message();
  std::string all;
  for (const DraftEntry& entry : *entries) {
    const Result<DraftAttr> attr = draft.GetAttr(entry.node);
    if (!attr.ok()) return "error: " + attr.error().message();
    if (attr->kind != entry.kind) return "error: " + entry.name + " is of another kind";
    all += entry.name;
    if (entry.kind == DraftKind::kLink) all += ">" + draft.ReadLink(entry.node).value_or("error");
    if (entry.kind == DraftKind::kDirectory) {
      if (draft.Parent(entry.node).value_or(~0U) != directory) return "error: another parent";
      all += "(" + Names(draft, entry.node) + ")";
    }
    all += " ";
  }
  return all;
}

struct Stores {
  Stores(Files& files, const std::string& home)
      : blobs(std::move(LocalStore::Open(files, {.root = home + "/data/blobs", .hash_threads = 1}).value())),
        drafts(std::move(
            DraftStore::Open(files, {.root = home + "/data/drafts", .blobs = blobs.get()}).value())) {}
  std::shared_ptr<Draft> Load() {
    const auto loaded = drafts->Load([](std::string_view label) { return label == "{}"; }).value().drafts;
    return loaded.empty() ? nullptr : loaded.at(0);
  }
  std::unique_ptr<LocalStore> blobs;
  std::unique_ptr<DraftStore> drafts;
};

class DraftPowerCut : public testing::TestWithParam<UnsyncedNames> {
 protected:
  using Prepare = std::function<Status(Draft&)>;
  using Operation = std::function<Status(Stores&, const std::shared_ptr<Draft>&)>;
  // The draft in this process, after the operation has ended and calls succeed again.
  using Look = std::function<void(Draft&, bool promised)>;
  using Check = std::function<void(Stores&, bool promised)>;
  // Like PowerCut::FailEachCall. The changes of `prepare` to a new draft are on the disk at the beginning.
  void FailEachCall(const Prepare& prepare, const Operation& operation, const Look& look,
                    const Check& check) {
    for (int n = 1; n < 2000; ++n) {
      SCOPED_TRACE(testing::Message() << "failing call " << n);
      const TempDirectory home;
      std::filesystem::create_directories(home / "data");
      FakeFiles files(home / "data");
      bool promised = false;
      bool fired = false;
      {
        Stores stores(files, home.path());
        const std::shared_ptr<Draft> draft = stores.drafts->Create("{}").value();
        ASSERT_TRUE(prepare(*draft).ok());
        ASSERT_TRUE(files.SyncFileSystem(home / "data").ok());
        files.FailCall(n);
        const Status status = operation(stores, draft);
        promised = status.ok();
        fired = files.fault_fired();
        EXPECT_TRUE(status.ok() || fired) << "only a fault may cause an error: " << status.error().message();
        files.FailCall(0);
        if (look) look(*draft, promised);
      }
      files.PowerCut(GetParam());
      Stores stores(RealFiles(), home.path());
      check(stores, promised);
      EXPECT_TRUE(stores.blobs->Fsck(false, nullptr).value().damaged.empty());
      if (HasFailure()) return;
      if (!fired) {
        EXPECT_TRUE(promised);
        return;
      }
    }
    ADD_FAILURE() << "the operation never ran out of calls";
  }
};

INSTANTIATE_TEST_SUITE_P(Names, DraftPowerCut, testing::Values(UnsyncedNames::kLost, UnsyncedNames::kKept),
                         [](const auto& param) {
                           return param.param == UnsyncedNames::kLost ? "Lost" : "Kept";
                         });

// Its contents are not guaranteed, but it opens, and can be used or removed.
TEST_P(DraftPowerCut, ANewDraftIsUsableOrAbsent) {
  const auto none = [](Draft&) { return OkStatus(); };
  FailEachCall(
      none,
      [](Stores& stores, const std::shared_ptr<Draft>&) -> Status {
        ASSIGN_OR_RETURN(const std::shared_ptr<Draft> draft, stores.drafts->Create("another"));
        ASSIGN_OR_RETURN(const DraftEntry d, draft->MakeDirectory(kDraftRoot, "d"));
        ASSIGN_OR_RETURN(const DraftNode file, Write(*draft, d.node, "f", "bytes"));
        RETURN_IF_ERROR(draft->MakeLink(d.node, "l", "f"));
        return draft->AddLink(file, kDraftRoot, "g").map([](const DraftEntry&) {});
      },
      nullptr,
      [](Stores& stores, bool) {
        const DraftStore::Loaded loaded = stores.drafts->Load([](std::string_view) { return true; }).value();
        for (const auto& draft : loaded.drafts) {
          EXPECT_EQ(Names(*draft).find("error"), std::string::npos) << Names(*draft);
          EXPECT_TRUE(Write(*draft, kDraftRoot, "more", "bytes").ok());
          EXPECT_TRUE(stores.drafts->Discard(draft).ok());
        }
      });
}

// A failed call has not changed any name, and neither has a power cut after it.
TEST_P(DraftPowerCut, AChangeOfNamesIsAllOrNothing) {
  using Mode = Draft::RenameMode;
  const auto nothing = [](const DraftEntry&) {};
  const struct {
    const char* name;
    std::function<Status(Draft&, DraftNode d, DraftNode e, DraftNode f)> change;
  } rows[] = {
      {"file",
       [&](Draft& draft, DraftNode d, DraftNode, DraftNode) -> Status {
         return draft.MakeFile(d, "new", false).map(nothing);
       }},
      {"directory",
       [&](Draft& draft, DraftNode d, DraftNode, DraftNode) -> Status {
         return draft.MakeDirectory(d, "new").map(nothing);
       }},
      {"link",
       [&](Draft& draft, DraftNode d, DraftNode, DraftNode) -> Status {
         return draft.MakeLink(d, "new", "f").map(nothing);
       }},
      {"hard link",
       [&](Draft& draft, DraftNode, DraftNode e, DraftNode f) -> Status {
         return draft.AddLink(f, e, "new").map(nothing);
       }},
      {"over a refused name",
       [&](Draft& draft, DraftNode d, DraftNode, DraftNode) -> Status {
         return draft.MakeFile(d, "refused", false).map(nothing);
       }},
      {"unlink", [](Draft& draft, DraftNode d, DraftNode, DraftNode) { return draft.RemoveFile(d, "f"); }},
      {"rename", [](Draft& draft, DraftNode d, DraftNode e,
                    DraftNode) { return draft.Rename(d, "f", e, "g", Mode::kReplace); }},
      {"rename a directory", [](Draft& draft, DraftNode d, DraftNode e,
                                DraftNode) { return draft.Rename(d, "sub", e, "sub", Mode::kReplace); }},
      {"exchange directories",
       [](Draft& draft, DraftNode d, DraftNode, DraftNode) {
         return draft.Rename(d, "sub", kDraftRoot, "e", Mode::kExchange);
       }},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    std::string before;
    std::string after;
    DraftNode d = 0;
    DraftNode e = 0;
    DraftNode f = 0;
    FailEachCall(
        [&](Draft& draft) -> Status {
          d = draft.MakeDirectory(kDraftRoot, "d").value().node;
          e = draft.MakeDirectory(kDraftRoot, "e").value().node;
          RETURN_IF_ERROR(draft.MakeDirectory(d, "sub"));
          ASSIGN_OR_RETURN(f, Write(draft, d, "f", "bytes"));
          RETURN_IF_ERROR(Write(draft, e, "x", "bytes"));
          draft.NoteRefused(d, "refused", "a FIFO");
          before = Names(draft);
          return OkStatus();
        },
        [&](Stores&, const std::shared_ptr<Draft>& draft) { return row.change(*draft, d, e, f); },
        [&](Draft& draft, bool promised) {
          const std::string now = Names(draft);
          if (promised) after = now;
          EXPECT_EQ(now == before, !promised) << now;
        },
        [&](Stores& stores, bool promised) {
          const auto draft = stores.Load();
          ASSERT_NE(draft, nullptr);
          const std::string now = Names(*draft);
          EXPECT_TRUE(now == before || (promised && now == after)) << now;
        });
  }
}

// Includes the steps of a commit after the seal.
TEST_P(DraftPowerCut, ASealIsAllOrNothingAndKeepsTheDraftsTimes) {
  const std::string names = "a b d(c ) l>d ";
  DraftNode nodes[3] = {};
  Digest tree;
  FailEachCall(
      [&](Draft& draft) -> Status {
        ASSIGN_OR_RETURN(const DraftEntry d, draft.MakeDirectory(kDraftRoot, "d"));
        ASSIGN_OR_RETURN(nodes[0], Write(draft, kDraftRoot, "a", "bytes of a"));
        ASSIGN_OR_RETURN(nodes[1], Write(draft, kDraftRoot, "b", "bytes of b"));
        ASSIGN_OR_RETURN(nodes[2], Write(draft, d.node, "c", "bytes of a"));  // one blob with a
        for (const DraftNode node : nodes) RETURN_IF_ERROR(draft.SetMtime(node, kMtimeS, kMtimeNs));
        return draft.MakeLink(kDraftRoot, "l", "d").map([](const DraftEntry&) {});
      },
      [&](Stores&, const std::shared_ptr<Draft>& draft) -> Status {
        ASSIGN_OR_RETURN(const SealedDraft sealed, draft->Seal(kNow, nullptr, {}));
        tree = sealed.tree;
        return OkStatus();
      },
      [&](Draft& draft, bool) { EXPECT_EQ(Names(draft), names); },
      [&](Stores& stores, bool promised) {
        if (promised) {
          const Result<Tree> read = ReadTree(*stores.blobs, tree);
          ASSERT_TRUE(read.ok()) << read.error().message();
          ASSERT_EQ(read->entries().size(), 4U);
          for (const TreeEntry& entry : read->entries()) {
            EXPECT_EQ(stores.blobs->ReadAll(entry.blob, 100).value_or("absent"),
                      entry.path == "b" ? "bytes of b" : "bytes of a");
          }
        }
        const auto draft = stores.Load();
        ASSERT_NE(draft, nullptr);
        EXPECT_EQ(Names(*draft), names);
        for (const DraftNode node : nodes) {
          EXPECT_EQ(draft->GetAttr(node).value().mtime_s, kMtimeS);
          EXPECT_EQ(draft->GetAttr(node).value().mtime_ns, kMtimeNs);
        }
        EXPECT_EQ(draft->Seal(kNow, nullptr, {}).value().times.times().size(), 4U)
            << "it can be sealed again";
      });
}

TEST_P(DraftPowerCut, ADiscardedDraftIsWholeOrGone) {
  DraftNumber number = 0;
  FailEachCall(
      [&](Draft& draft) -> Status {
        number = draft.number();
        RETURN_IF_ERROR(Write(draft, kDraftRoot, "a", "bytes"));
        return draft.Seal(kNow, nullptr, {}).map([](const SealedDraft&) {});
      },
      [](Stores& stores, const std::shared_ptr<Draft>& draft) { return stores.drafts->Discard(draft); },
      nullptr,
      [&](Stores& stores, bool) {
        EXPECT_EQ(stores.blobs->ReadAll(DigestOf("bytes"), 100).value_or("absent"), "bytes");
        const auto draft = stores.Load();
        if (draft != nullptr) {
          EXPECT_EQ(Names(*draft), "a ");
        }
      });
}

// A failed write leaves the old bytes and the old time, also of a file that shares a blob.
TEST_P(DraftPowerCut, AFileThatSharesABlobIsCopiedWholeOrNotAtAll) {
  DraftNode node = 0;
  FailEachCall(
      [&](Draft& draft) -> Status {
        ASSIGN_OR_RETURN(node, Write(draft, kDraftRoot, "a", "bytes"));
        RETURN_IF_ERROR(draft.SetMtime(node, kMtimeS, kMtimeNs));
        RETURN_IF_ERROR(draft.Seal(kNow, nullptr, {}));
        draft.Unseal();
        return OkStatus();
      },
      [&](Stores&, const std::shared_ptr<Draft>& draft) { return draft->Truncate(node, 9); },
      [&](Draft& draft, bool promised) {
        const DraftAttr attr = draft.GetAttr(node).value();
        EXPECT_EQ(attr.size_bytes, promised ? 9U : 5U);
        if (!promised) {
          EXPECT_EQ(attr.mtime_s, kMtimeS);
        }
      },
      [&](Stores& stores, bool) {
        EXPECT_EQ(stores.blobs->ReadAll(DigestOf("bytes"), 100).value_or("absent"), "bytes");
        EXPECT_NE(stores.Load(), nullptr);
      });
}

}  // namespace
}  // namespace modelfs::cas
