// The mtimes that the files of a version show. No two versions of a model show files that rsync, nginx, wget
// and Python take for one file.
#include "store/embedded/version_times.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <thread>
#include <tuple>

#include "cas/tree_store.h"
#include "tests/cas/test_support.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using cas::FileTime;
using testing::Outcome;

constexpr int64_t kStartS = 1'700'000'000;  // the box's clock

struct File {
  std::string path;
  std::string bytes;
  FileTime time;
};

struct TimesBox : testing::Box {
  TimesBox() : Box(MakeMemoryKv()), model(Make("prod.ml.iris")) {}

  // `files` sorted by path.
  Result<VersionInfo> CommitFiles(ObjectId to, const std::vector<File>& files,
                                  EmbeddedRegistry* by = nullptr) {
    EmbeddedRegistry& through = by == nullptr ? *registry : *by;
    const Lease lease = through.AcquireLease(ann, "test").value();
    const StoredTree content = Store(files, lease.epoch);
    auto committed = through.CommitVersion(ann, to, content, lease, {}, std::nullopt);
    EXPECT_OK(through.ReleaseLease(ann, lease));
    return committed;
  }
  Result<VersionInfo> CommitFiles(const std::vector<File>& files) { return CommitFiles(model, files); }

  StoredTree Store(const std::vector<File>& files, cas::Epoch epoch) {
    std::vector<std::pair<std::string, std::string>> contents;
    std::vector<FileTime> times;
    for (const File& file : files) {
      contents.emplace_back(file.path, file.bytes);
      times.push_back(file.time);
    }
    const Digest tree = blobs.PutTree(contents, epoch);
    return {tree, cas::PutTreeTimes(blobs, cas::TreeTimes::Make(times).value(), epoch).value()};
  }

  // The mtimes that a version's files show, by path.
  std::map<std::string, FileTime> Shown(const VersionInfo& version) {
    const cas::Tree tree = cas::ReadTree(blobs, version.tree).value();
    std::vector<FileTime> times(tree.file_count(), cas::FileTimeOfMs(version.committed_at_ms));
    if (version.times) times = cas::ReadTreeTimes(blobs, *version.times, tree.file_count())->times();
    std::map<std::string, FileTime> shown;
    for (size_t i = 0; i < times.size(); ++i) shown[tree.entries()[i].path] = times[i];
    return shown;
  }
  FileTime ShownOf(VersionNumber number, const std::string& path = "a") {
    return Shown(registry->GetVersion(ann, model, number).value()).at(path);
  }

  // Turns a version into one that a program from before version records of format 3 made.
  void MakeOlder(ObjectId of, VersionNumber number) {
    const std::string key = keys::Version(of, number);
    VersionRecord record = VersionRecord::Decode(kv->Read().value()->Get(key).value()->value, "test").value();
    record.commit.reset();
    const std::string model_key = keys::Object(registry->Get(ann, of)->parent, registry->Get(ann, of)->name);
    ObjectRecord object =
        ObjectRecord::Decode(kv->Read().value()->Get(model_key).value()->value, "test").value();
    object.newest_file_s.reset();
    KvTransaction transaction;
    transaction.Put(key, record.Encode());
    transaction.Put(model_key, object.Encode());
    ASSERT_OK(kv->Commit(transaction));
  }

  ObjectId model;
};

TEST(VersionTimes, FilesKeepTheirTimesToTheNanosecond) {
  TimesBox box;
  const FileTime old{1'500'000'000, 123'456'789};
  const VersionInfo version = box.CommitFiles({{"a", "one", old}, {"b", "two", {-5, 1}}}).value();
  EXPECT_EQ(box.Shown(version), (std::map<std::string, FileTime>{{"a", old}, {"b", {-5, 1}}}));
  EXPECT_EQ(version.committed_at_ms, kStartS * 1000);
}

TEST(VersionTimes, ATimeAfterTheCommitBecomesTheCommitTime) {
  TimesBox box;
  box.clock.Advance(250);
  const FileTime commit{kStartS, 250'000'000};
  const VersionInfo version = box.CommitFiles({{"a", "1", {kStartS, 251'000'000}},
                                               {"b", "2", {kStartS + 86400, 0}},
                                               {"c", "3", {kStartS, 250'999'999}},
                                               {"d", "4", {kStartS, 249'999'999}}})
                                  .value();
  EXPECT_EQ(box.Shown(version),
            (std::map<std::string, FileTime>{{"a", commit},
                                             {"b", commit},
                                             {"c", {kStartS, 250'999'999}},  // the same millisecond
                                             {"d", {kStartS, 249'999'999}}}));
}

TEST(VersionTimes, FilesWithoutTimesShowTheCommitTimeAndNoBlobIsStored) {
  TimesBox box;
  const VersionInfo version = box.Commit(box.model).value();
  EXPECT_EQ(version.times, std::nullopt);
  EXPECT_EQ(version.committed_at_ms, kStartS * 1000);
  // A later description does not change the commit time.
  box.clock.Advance(5000);
  ASSERT_OK(box.registry->SetDescription(box.ann, {box.model, 1}, "text"));
  EXPECT_EQ(box.registry->GetVersion(box.ann, box.model, 1)->committed_at_ms, kStartS * 1000);
}

TEST(VersionTimes, ABegunVersionShowsItsFinalizationTime) {
  TimesBox box;
  ASSERT_OK(box.registry->BeginVersion(box.ann, box.model, {}));
  box.clock.Advance(60'000);
  const Lease lease = box.registry->AcquireLease(box.ann, "test").value();
  const VersionInfo version =
      box.registry
          ->FinalizeVersion(box.ann, box.model, 1, box.Store({{"a", "1", {kStartS + 30, 7}}}, lease.epoch),
                            lease)
          .value();
  EXPECT_EQ(version.created_at_ms, kStartS * 1000);
  EXPECT_EQ(version.committed_at_ms, (kStartS + 60) * 1000);
  EXPECT_EQ(box.ShownOf(1), (FileTime{kStartS + 30, 7}));
}

TEST(VersionTimes, TimesOfAnotherTreeAreRefused) {
  TimesBox box;
  const Lease lease = box.registry->AcquireLease(box.ann, "test").value();
  const StoredTree one = box.Store({{"a", "1", {1, 0}}}, lease.epoch);
  const StoredTree two = box.Store({{"a", "1", {1, 0}}, {"b", "2", {1, 0}}}, lease.epoch);
  const auto commit = [&](const StoredTree& content) {
    return Outcome(box.registry->CommitVersion(box.ann, box.model, content, lease, {}, std::nullopt));
  };
  EXPECT_EQ(commit({one.tree, two.times}), "data loss");
  EXPECT_EQ(commit({one.tree, DigestOf(std::string_view("nothing"))}), "failed precondition");
  EXPECT_EQ(commit(one), "ok");
}

// The rule, by example: the same name, size and second, and other content.
TEST(VersionTimes, AFileThatClashesWithAnotherVersionsGetsTheNextFreeSecond) {
  struct Row {
    const char* name;
    std::vector<File> before;  // a version each
    File file;
    FileTime want;
  };
  const FileTime t{1'500'000'000, 5};
  const auto plus = [&](int64_t seconds) { return FileTime{t.s + seconds, t.ns}; };
  const Row rows[] = {
      {"nothing before", {}, {"a", "11", t}, t},
      {"other content", {{"a", "00", t}}, {"a", "11", t}, plus(1)},
      {"other nanoseconds of the same second", {{"a", "00", {t.s, 999}}}, {"a", "11", t}, plus(1)},
      {"the next one is taken too", {{"a", "00", t}, {"a", "22", plus(1)}}, {"a", "11", t}, plus(2)},
      {"the one between is free", {{"a", "00", t}, {"a", "22", plus(2)}}, {"a", "11", t}, plus(1)},
      {"the next one is its own content", {{"a", "00", t}, {"a", "11", plus(1)}}, {"a", "11", t}, plus(1)},
      {"the same content", {{"a", "11", t}}, {"a", "11", t}, t},
      {"another size", {{"a", "000", t}}, {"a", "11", t}, t},
      {"another name", {{"b", "00", t}}, {"a", "11", t}, t},
      {"another second", {{"a", "00", plus(-1)}, {"a", "22", plus(1)}}, {"a", "11", t}, t},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    TimesBox box;
    for (const File& file : row.before) ASSERT_OK(box.CommitFiles({file}));
    const VersionInfo version = box.CommitFiles({row.file}).value();
    EXPECT_EQ(box.Shown(version).at("a"), row.want);
  }
}

TEST(VersionTimes, CommitsWithinASecondShowDistinctSeconds) {
  TimesBox box;
  for (int i = 0; i < 4; ++i) {
    ASSERT_OK(box.CommitFiles({{"a", std::to_string(i), {kStartS + 100, 0}}}));
    EXPECT_EQ(box.ShownOf(i + 1).s, kStartS + i);
  }
  EXPECT_EQ(box.Commit(box.model)->times, std::nullopt) << "another name";
  EXPECT_EQ(box.Shown(box.Commit(box.model, "WEIGHTS").value()).at("model.bin").s, kStartS + 1);
}

TEST(VersionTimes, DeletedAndUnreadableVersionsDoNotCount) {
  TimesBox box;
  const FileTime t{1'500'000'000, 0};
  ASSERT_OK(box.CommitFiles({{"a", "0", t}}));
  const VersionInfo second = box.CommitFiles({{"a", "1", t}}).value();
  EXPECT_EQ(box.ShownOf(2).s, t.s + 1);
  ASSERT_OK(box.registry->DeleteVersion(box.ann, box.model, 1));
  ASSERT_OK(box.CommitFiles({{"a", "2", t}}));
  EXPECT_EQ(box.ShownOf(3).s, t.s);
  box.blobs.Remove(second.tree);
  ASSERT_OK(box.CommitFiles({{"a", "3", t}}));
  EXPECT_EQ(box.ShownOf(4).s, t.s + 1);
}

TEST(VersionTimes, VersionsOfAnOlderProgramShowTheirCreationTimeAndCount) {
  TimesBox box;
  ASSERT_OK(box.CommitFiles({{"a", "0", {1, 0}}}));
  ASSERT_OK(box.CommitFiles({{"a", "1", {2, 0}}}));
  box.MakeOlder(box.model, 1);
  box.MakeOlder(box.model, 2);
  const VersionInfo old = box.registry->GetVersion(box.ann, box.model, 1).value();
  EXPECT_EQ(old.times, std::nullopt);
  EXPECT_EQ(old.committed_at_ms, old.created_at_ms);
  box.clock.Advance(60'000);
  // The two have the same second already, and nothing can change that. A third avoids that second, also with
  // the content of one of them.
  ASSERT_OK(box.CommitFiles({{"a", "2", {kStartS, 0}}}));
  EXPECT_EQ(box.ShownOf(3).s, kStartS + 1);
  ASSERT_OK(box.CommitFiles({{"a", "1", {kStartS, 0}}}));
  EXPECT_EQ(box.ShownOf(4).s, kStartS + 2);
  EXPECT_TRUE(box.registry->CheckRecords(box.ann)->problems.empty());
}

TEST(VersionTimes, ACopyKeepsTheTimesOfItsSource) {
  TimesBox box;
  const FileTime t{1'500'000'000, 42};
  const VersionInfo source = box.CommitFiles({{"a", "0", t}, {"b", "1", {kStartS, 0}}}).value();
  box.clock.Advance(60'000);
  const ObjectId other = box.Make("prod.ml.other");
  const VersionInfo copy = box.registry->CopyVersion(box.ann, box.model, 1, other).value();
  EXPECT_EQ(copy.times, source.times) << "the same blob";
  EXPECT_EQ(copy.committed_at_ms, (kStartS + 60) * 1000);

  // Into a model where a file would clash with another version's.
  const ObjectId third = box.Make("prod.ml.third");
  ASSERT_OK(box.CommitFiles(third, {{"a", "9", t}}));
  const VersionInfo moved = box.registry->CopyVersion(box.ann, box.model, 1, third).value();
  EXPECT_EQ(box.Shown(moved).at("a"), (FileTime{t.s + 1, t.ns}));
  EXPECT_EQ(box.Shown(moved).at("b"), (FileTime{kStartS, 0}));

  // From a version that shows its commit time, and from an older program's.
  for (const bool older : {false, true}) {
    SCOPED_TRACE(older);
    const ObjectId from = box.Make(older ? "prod.ml.older" : "prod.ml.newer");
    const int64_t committed_s = box.clock.NowMs() / 1000;
    ASSERT_OK(box.Commit(from));
    if (older) box.MakeOlder(from, 1);
    box.clock.Advance(60'000);
    const VersionInfo later = box.registry->CopyVersion(box.ann, from, 1, other).value();
    EXPECT_EQ(box.Shown(later).at("model.bin").s, committed_s);
    EXPECT_EQ(later.committed_at_ms, box.clock.NowMs());
  }
  const auto leases = box.kv->Read().value()->Range(keys::Lease(""), keys::AfterPrefix(keys::Lease("")), 10);
  EXPECT_TRUE(leases->empty()) << "a copy has released its short lease";
}

TEST(VersionTimes, ASweepKeepsTheTimesAndFsckNamesTheVersionsThatNeedThem) {
  TimesBox box;
  const VersionInfo kept = box.CommitFiles({{"a", "0", {1, 2}}}).value();
  const VersionInfo gone = box.CommitFiles({{"a", "0", {3, 4}}}).value();
  ASSERT_OK(box.registry->DeleteVersion(box.ann, box.model, 2));
  const Mark mark = box.registry->MarkForSweep(box.ann).value();
  EXPECT_EQ(mark.live_times, std::vector<Digest>{*kept.times});
  EXPECT_NE(kept.times, gone.times);
  EXPECT_EQ(box.registry->VersionsThatNeed(box.ann, {*kept.times}).value(),
            std::vector<std::string>{"prod.ml.iris/1"});
}

// Reading every tree of a model for each commit would make the thousandth slow.
TEST(VersionTimes, FilesThatCannotClashNeedNoReadOfOtherVersions) {
  TimesBox box;
  const auto opened = [&](const std::vector<File>& files) {
    const Lease lease = box.registry->AcquireLease(box.ann, "test").value();
    const StoredTree content = box.Store(files, lease.epoch);
    const size_t before = box.blobs.opens();
    EXPECT_OK(box.registry->CommitVersion(box.ann, box.model, content, lease, {}, std::nullopt));
    return box.blobs.opens() - before;
  };
  constexpr size_t kOwn = 2;  // the tree and its times
  const File tokenizer{"tokenizer", "same in all", {1'500'000'000, 0}};
  EXPECT_EQ(opened({tokenizer, {"weights", "0", {kStartS - 10, 0}}}), kOwn);
  for (int i = 1; i < 10; ++i) {
    // All files are newer than all before, or an older one is as in the version before.
    EXPECT_EQ(opened({{"weights", std::to_string(i), {kStartS - 10 + i, 0}}}), kOwn) << i;
    EXPECT_OK(box.registry->DeleteVersion(box.ann, box.model, i + 1));
  }
  EXPECT_EQ(opened({tokenizer, {"weights", "x", {kStartS, 0}}}), kOwn + 2);
  EXPECT_EQ(opened({tokenizer, {"weights", "y", {kStartS, 0}}}), kOwn + 4);
}

TEST(VersionTimes, ConcurrentCommitsGetDistinctSeconds) {
  TimesBox box;
  constexpr int kThreads = 6;
  constexpr int kCommits = 8;
  std::vector<std::unique_ptr<EmbeddedRegistry>> registries;  // like so many processes
  for (int i = 0; i < kThreads; ++i) {
    registries.push_back(EmbeddedRegistry::Open(*box.kv, box.blobs, box.clock, &box.directory).value());
  }
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&box, &registries, i] {
        for (int j = 0; j < kCommits; ++j) {
          EXPECT_OK(box.CommitFiles(box.model, {{"a", {static_cast<char>(i), static_cast<char>(j)}, {1, 0}}},
                                    registries[i].get()));
        }
      });
    }
  }
  std::set<int64_t> seconds;
  for (int number = 1; number <= kThreads * kCommits; ++number) seconds.insert(box.ShownOf(number).s);
  EXPECT_EQ(seconds.size(), static_cast<size_t>(kThreads * kCommits));
  EXPECT_EQ(*seconds.rbegin(), kThreads * kCommits) << "the next free ones, without gaps";
}

// Pollers wait for a time that is greater than the last one.
TEST(VersionTimes, EachMoveOfAnAliasIsLaterThanTheOneBefore) {
  TimesBox box;
  for (int i = 0; i < 2; ++i) ASSERT_OK(box.Commit(box.model, std::to_string(i)));
  int64_t last_ms = 0;
  const auto later = [&](const auto& moved, const char* name) {
    ASSERT_OK(moved);
    const ObjectInfo model = box.registry->Get(box.ann, box.model).value();
    for (const AliasInfo& alias : model.aliases) {
      if (alias.name != name) continue;
      EXPECT_GT(alias.updated_at_ms, last_ms);
      last_ms = alias.updated_at_ms;
    }
  };
  later(box.registry->SetAlias(box.ann, box.model, "A", 2), "A");
  later(box.registry->SetAlias(box.ann, box.model, "A", 1), "A");  // within the same millisecond
  box.clock.Advance(-5000);
  later(box.registry->SetAlias(box.ann, box.model, "A", 2), "A");
  ASSERT_OK(box.registry->SetAlias(box.ann, box.model, "B", 1));
  later(box.registry->RenameAlias(box.ann, box.model, "B", "A"), "A");
  ASSERT_OK(box.registry->SetAlias(box.ann, box.model, "B", 2));
  later(box.registry->SwapAliases(box.ann, box.model, "A", "B"), "A");
}

// Against a list of all files that are shown: no clash, and each file has the first second that is free for
// it.
TEST(VersionTimes, RandomHistoriesNeverClash) {
  std::mt19937_64 random(cas::TestSeed());
  const auto below = [&](uint64_t bound) { return static_cast<int64_t>(random() % bound); };
  TimesBox box;
  struct Seen {
    std::string path;
    std::string bytes;
    int64_t s;
  };
  std::map<VersionNumber, std::vector<Seen>> ready;
  for (int round = 0; round < 300; ++round) {
    if (below(4) == 0 && !ready.empty()) {
      const auto victim = std::next(ready.begin(), below(ready.size()));
      ASSERT_OK(box.registry->DeleteVersion(box.ann, box.model, victim->first));
      ready.erase(victim);
    }
    box.clock.Advance(below(3000));
    std::vector<File> files;
    for (const char* path : {"a", "b", "c", "d/e"}) {
      if (below(4) == 0) continue;
      files.push_back({path,
                       std::string(1 + below(2), static_cast<char>('0' + below(4))),
                       {box.clock.NowMs() / 1000 - below(12), static_cast<uint32_t>(below(cas::kNsPerS))}});
    }
    if (files.empty()) continue;
    std::sort(files.begin(), files.end(), [](const File& a, const File& b) { return a.path < b.path; });
    const VersionInfo version = box.CommitFiles(files).value();
    const auto shown = box.Shown(version);
    for (const File& file : files) {
      const auto taken = [&](int64_t s) {
        for (const auto& [number, seen] : ready) {
          for (const Seen& other : seen) {
            if (other.path == file.path && other.s == s && other.bytes.size() == file.bytes.size() &&
                other.bytes != file.bytes) {
              return true;
            }
          }
        }
        return false;
      };
      int64_t want = std::min(file.time, cas::FileTimeOfMs(box.clock.NowMs())).s;
      while (taken(want)) ++want;
      EXPECT_EQ(shown.at(file.path).s, want) << "version " << version.number << ", " << file.path;
    }
    for (const File& file : files)
      ready[version.number].push_back({file.path, file.bytes, shown.at(file.path).s});
  }
  EXPECT_TRUE(box.registry->CheckRecords(box.ann)->problems.empty());
}

}  // namespace
}  // namespace modelfs::store
