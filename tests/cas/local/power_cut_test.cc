// Makes each call of an operation fail in turn, cuts the power, and checks the state after it.

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "cas/base/check.h"
#include "cas/local/local_store.h"
#include "tests/cas/fake_files.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

constexpr Epoch kNow{.revision = 100};

// A store on a FakeFiles that counts everything as synced, and later on the real file system.
struct Rig {
  Rig() {
    std::filesystem::create_directory(home / "blobs");
    CHECK(LocalStore::Open(RealFiles(), {.root = home / "blobs"}).ok());
    files = std::make_unique<FakeFiles>(home / "blobs");
  }
  std::unique_ptr<LocalStore> Faulty() {
    return std::move(LocalStore::Open(*files, {.root = home / "blobs", .hash_threads = 1}).value());
  }
  std::unique_ptr<LocalStore> Reopened() {
    return std::move(LocalStore::Open(RealFiles(), {.root = home / "blobs"}).value());
  }

  TempDirectory home;
  std::unique_ptr<FakeFiles> files;
};

// At any time, a reader of a blob either gets its bytes or learns that it is absent.
void ExpectWholeOrAbsent(LocalStore& store, const std::string& bytes, bool promised) {
  const Result<std::string> got = store.ReadAll(DigestOf(bytes), bytes.size());
  if (got.ok()) {
    EXPECT_TRUE(*got == bytes) << "wrong bytes";
  } else {
    EXPECT_EQ(got.error().code(), Code::kNotFound) << got.error().message();
    EXPECT_FALSE(promised) << "the store returned OK, but the blob is gone";
  }
}

class PowerCut : public testing::TestWithParam<UnsyncedNames> {
 protected:
  // Runs `operation` with call 1 failing, then call 2, ..., until it makes fewer calls than that. `check`
  // gets the store after the power is back, and whether the operation returned OK.
  using Operation = std::function<Status(LocalStore&, const TempDirectory&)>;
  using Check = std::function<void(LocalStore&, bool promised)>;
  void FailEachCall(const std::function<void(Rig&)>& prepare, const Operation& operation, const Check& check,
                    int stride = 1) {
    for (int n = 1; n < 2000; n += stride) {
      SCOPED_TRACE(testing::Message() << "failing call " << n);
      Rig rig;
      prepare(rig);
      bool promised = false;
      bool fired = false;
      {
        const auto store = rig.Faulty();
        rig.files->FailCall(n);
        const Status status = operation(*store, rig.home);
        promised = status.ok();
        fired = rig.files->fault_fired();
        EXPECT_TRUE(status.ok() || fired) << "only a fault may cause an error: " << status.error().message();
      }
      rig.files->PowerCut(GetParam());
      const auto store = rig.Reopened();
      check(*store, promised);
      EXPECT_TRUE(store->Fsck(false, nullptr).value().damaged.empty());
      if (HasFailure()) return;
      if (!fired) {
        EXPECT_TRUE(promised);
        return;
      }
    }
    ADD_FAILURE() << "the operation never ran out of calls";
  }
};

INSTANTIATE_TEST_SUITE_P(Names, PowerCut, testing::Values(UnsyncedNames::kLost, UnsyncedNames::kKept),
                         [](const auto& param) {
                           return param.param == UnsyncedNames::kLost ? "Lost" : "Kept";
                         });

TEST_P(PowerCut, PutIsAllOrNothing) {
  FailEachCall(
      [](Rig&) {},
      [](LocalStore& store, const TempDirectory&) { return store.Put(DigestOf("hello"), "hello", kNow); },
      [](LocalStore& store, bool promised) { ExpectWholeOrAbsent(store, "hello", promised); });
}

TEST_P(PowerCut, PutOfALargeBlobIsAllOrNothing) {
  const std::string bytes = RandomBytes(kChunkBytes + 10, 1);
  FailEachCall(
      [](Rig&) {},
      [&](LocalStore& store, const TempDirectory&) { return store.Put(DigestOf(bytes), bytes, kNow); },
      [&](LocalStore& store, bool promised) {
        ExpectWholeOrAbsent(store, bytes, promised);
        EXPECT_TRUE(!promised || store.ReuseFile(DigestOf(bytes), kNow).ok());
      });
}

TEST_P(PowerCut, ImportOfAFewFilesIsAllOrNothingEach) {
  const std::string large = RandomBytes(kChunkBytes + 1, 2);
  FailEachCall(
      [](Rig&) {},
      [&](LocalStore& store, const TempDirectory& home) {
        WriteFile(home / "a", "a");
        WriteFile(home / "b", large);
        return store.ImportAll(Source(home.path()), {"a", "b"}, kNow, nullptr).map([](const auto&) {});
      },
      [&](LocalStore& store, bool promised) {
        ExpectWholeOrAbsent(store, "a", promised);
        ExpectWholeOrAbsent(store, large, promised);
      });
}

TEST_P(PowerCut, ImportOfManyFilesIsAllOrNothingEach) {
  constexpr size_t kFiles = 70;  // more than the batch syncs one by one
  FailEachCall([](Rig&) {},
               [](LocalStore& store, const TempDirectory& home) {
                 std::vector<std::string> paths;
                 for (size_t i = 0; i < kFiles; ++i) {
                   paths.push_back("f" + std::to_string(i));
                   WriteFile(home / paths.back(), "file " + std::to_string(i));
                 }
                 return store.ImportAll(Source(home.path()), paths, kNow, nullptr).map([](const auto&) {});
               },
               [](LocalStore& store, bool promised) {
                 for (size_t i = 0; i < kFiles; ++i) {
                   ExpectWholeOrAbsent(store, "file " + std::to_string(i), promised);
                 }
               },
               23);
}

TEST_P(PowerCut, PublishIsAllOrNothingEach) {
  const std::string large = RandomBytes(kChunkBytes + 1, 3);
  FailEachCall([](Rig&) {},
               [&](LocalStore& store, const TempDirectory& home) {
                 WriteFile(home / "a", "a");
                 WriteFile(home / "b", large);
                 return store
                     .PublishAll({{.source_path = home / "a"}, {.source_path = home / "b"}}, kNow, nullptr)
                     .map([](const auto&) {});
               },
               [&](LocalStore& store, bool promised) {
                 ExpectWholeOrAbsent(store, "a", promised);
                 ExpectWholeOrAbsent(store, large, promised);
               });
}

// The process of the first Put died before it synced the directory; the second Put must sync it.
TEST_P(PowerCut, APutMakesAnExistingNameDurable) {
  FailEachCall(
      [](Rig& rig) {
        const auto store = rig.Faulty();
        // All but the last call, the fsync of the directory.
        int calls = 1;
        for (;; ++calls) {
          Rig probe;
          const auto other = probe.Faulty();
          probe.files->FailCall(calls);
          if (other->Put(DigestOf("hello"), "hello", kNow).ok()) break;
        }
        rig.files->FailCall(calls - 1);
        EXPECT_FALSE(store->Put(DigestOf("hello"), "hello", kNow).ok());
        EXPECT_EQ(store->LocalBytes(DigestOf("hello")), 5U);
      },
      [](LocalStore& store, const TempDirectory&) { return store.Put(DigestOf("hello"), "hello", kNow); },
      [](LocalStore& store, bool promised) { ExpectWholeOrAbsent(store, "hello", promised); });
}

TEST_P(PowerCut, SweepNeverRemovesLiveBlobs) {
  const std::string large = RandomBytes(kChunkBytes + 1, 4);
  FailEachCall(
      [&](Rig& rig) {
        const auto store = rig.Faulty();
        for (const std::string& bytes : {std::string("live"), std::string("dead"), large}) {
          EXPECT_TRUE(store->Put(DigestOf(bytes), bytes, kNow).ok());
        }
      },
      [](LocalStore& store, const TempDirectory&) {
        return store.Sweep({DigestOf("live")}, {.revision = 101}, false).map([](const auto&) {});
      },
      [&](LocalStore& store, bool) {
        ExpectWholeOrAbsent(store, "live", true);
        ExpectWholeOrAbsent(store, "dead", false);
        ExpectWholeOrAbsent(store, large, false);
      });
}

}  // namespace
}  // namespace modelfs::cas
