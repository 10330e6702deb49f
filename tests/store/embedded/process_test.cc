// Several processes on one registry, and processes that are killed.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <filesystem>
#include <future>
#include <random>
#include <set>
#include <sstream>

#include "tests/store/embedded/script.h"
#include "tests/store/kv/scratch_dir.h"
#include "tests/store/kv/worker.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::Box;
using testing::Dump;
using testing::OpenLmdbAt;
using testing::Outcome;
using testing::PlayStep;
using testing::ScratchDir;
using testing::Worker;

uint64_t TestSeed() {
  const char* given = std::getenv("TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "TEST_SEED=" << seed << "\n";
  return seed;
}

constexpr int kSteps = 60;

// The state of the registry after each step of the script, in an engine that is never killed.
std::vector<std::string> DumpsOf(uint64_t seed) {
  Box box(MakeMemoryKv());
  std::vector<std::string> dumps = {Dump(*box.registry, box.ann)};
  for (int step = 0; step < kSteps; ++step) {
    PlayStep(*box.registry, box.blobs, box.ann, seed, step);
    dumps.push_back(Dump(*box.registry, box.ann));
  }
  return dumps;
}

void Initialize(const std::string& home) {
  const auto kv = OpenLmdbAt(home);
  ASSERT_OK(
      InitializeRegistry(*kv, SystemClock(), testing::Ann(), RegistrySettings::SignaturePolicy::kIfMlmodel));
}

// Plays the script in a worker until it dies or `kill_after` lines were read, and checks the state that it
// left.
void CheckAfterDeath(uint64_t seed, const std::vector<std::string>& dumps, const std::string& fail_point,
                     int kill_after) {
  const ScratchDir dir;
  const std::string home = dir.path() + "/kv";
  Initialize(home);
  int tried = -1;
  int acknowledged = -1;
  {
    Worker worker({"script", home, std::to_string(seed), std::to_string(kSteps)}, fail_point);
    for (int lines = 0; auto line = worker.Line(); ++lines) {
      (line->at(0) == 't' ? tried : acknowledged) = std::stoi(line->substr(1));
      if (lines == kill_after) worker.Kill();
    }
    const int status = worker.Wait();
    ASSERT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << status;
  }
  SCOPED_TRACE(
      fmt::format("acknowledged {} tried {} fail point {} seed {}", acknowledged, tried, fail_point, seed));
  const auto kv = OpenLmdbAt(home);
  testing::FakeBlobStore blobs;
  const auto registry = EmbeddedRegistry::Open(*kv, blobs, SystemClock()).value();
  const Caller ann = testing::Ann();
  const std::string found = Dump(*registry, ann);
  const std::string& before = dumps.at(static_cast<size_t>(acknowledged + 1));
  const std::string& after = dumps.at(static_cast<size_t>(tried + 1));
  EXPECT_TRUE(found == before || found == after) << "found:\n"
                                                 << found << "\nacknowledged:\n"
                                                 << before << "\ntried:\n"
                                                 << after;
  EXPECT_OK(registry->VerifyAudit(ann));
  // An interrupted operation is finished here, changes nothing visible, and leaves the registry usable.
  EXPECT_OK(registry->MarkForSweep(ann));
  EXPECT_EQ(Dump(*registry, ann), found);
  const auto snapshot = kv->Read().value();
  for (const char* table : {"x", "l", "r"}) {
    const std::string end(1, static_cast<char>(table[0] + 1));
    EXPECT_TRUE(snapshot->Range(table, end, 1)->empty()) << "left over in table " << table;
  }
}

TEST(Crash, AKilledProcessLeavesAcknowledgedCommitsAndNoPartialOnes) {
  const uint64_t seed = TestSeed();
  const std::vector<std::string> dumps = DumpsOf(seed);
  std::mt19937_64 random(seed);
  for (const char* point : {"kv.commit.begin", "kv.commit.applied", "kv.commit.done"}) {
    for (int run = 0; run < 8; ++run) {
      CheckAfterDeath(seed, dumps, fmt::format("{}:{}", point, 1 + random() % 70), -1);
    }
  }
  for (int arrival = 1; arrival <= 3; ++arrival) {
    CheckAfterDeath(seed, dumps, fmt::format("delete.step:{}", arrival), -1);
    CheckAfterDeath(seed, dumps, fmt::format("version.checked:{}", arrival), -1);
    CheckAfterDeath(seed, dumps, fmt::format("lease.acquired:{}", arrival), -1);
  }
}

TEST(Crash, AKillAtAnyMomentLeavesAcknowledgedCommitsAndNoPartialOnes) {
  const uint64_t seed = TestSeed();
  const std::vector<std::string> dumps = DumpsOf(seed);
  std::mt19937_64 random(seed);
  for (int run = 0; run < 20; ++run) {
    CheckAfterDeath(seed, dumps, "", static_cast<int>(random() % (2 * kSteps)));
  }
}

TEST(Crash, AKilledInitCanBeRepeated) {
  for (const char* point : {"kv.create.written", "kv.commit.begin", "kv.commit.applied"}) {
    SCOPED_TRACE(point);
    const ScratchDir dir;
    const std::string home = dir.path() + "/kv";
    {
      Worker worker({"init", home}, point);
      EXPECT_TRUE(worker.AllLines().empty());
      EXPECT_TRUE(WIFSIGNALED(worker.Wait()));
    }
    Worker again({"init", home});
    EXPECT_EQ(again.AllLines(), std::vector<std::string>{"made"});
  }
}

TEST(Crash, OtherProcessesContinueAfterAKillInsideACommit) {
  const ScratchDir dir;
  Box box(OpenLmdbAt(dir.path() + "/kv"));
  const ObjectId model = box.Make("c.s.m");
  for (int arrival = 2; arrival < 6; ++arrival) {
    Worker worker({"versions", dir.path() + "/kv", "c.s.m", "3"},
                  fmt::format("kv.commit.applied:{}", arrival));
    worker.AllLines();
    EXPECT_TRUE(WIFSIGNALED(worker.Wait()));
    EXPECT_OK(box.Commit(model));
  }
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
}

TEST(Processes, RacingVersionsGetDistinctNumbersWithoutGaps) {
  const ScratchDir dir;
  Box box(OpenLmdbAt(dir.path() + "/kv"));
  const ObjectId model = box.Make("c.s.m");
  constexpr int kEach = 12;
  std::multiset<uint64_t> numbers;
  {
    Worker one({"versions", dir.path() + "/kv", "c.s.m", std::to_string(kEach)});
    Worker two({"versions", dir.path() + "/kv", "c.s.m", std::to_string(kEach)});
    Worker three({"versions", dir.path() + "/kv", "c.s.m", std::to_string(kEach)});
    for (Worker* worker : {&one, &two, &three}) {
      for (const std::string& line : worker->AllLines()) numbers.insert(std::stoull(line));
      EXPECT_EQ(worker->Wait(), 0);
    }
  }
  std::multiset<uint64_t> want;
  for (uint64_t number = 1; number <= 3 * kEach; ++number) want.insert(number);
  EXPECT_EQ(numbers, want);
  EXPECT_EQ(box.registry->Get(box.ann, model)->next_version, 3U * kEach + 1);
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
}

TEST(Processes, TenOfElevenRacingAliasesAreSet) {
  const ScratchDir dir;
  Box box(OpenLmdbAt(dir.path() + "/kv"));
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.Commit(model));
  std::multiset<std::string> outcomes;
  {
    Worker one({"aliases", dir.path() + "/kv", "c.s.m", "left", "6"});
    Worker two({"aliases", dir.path() + "/kv", "c.s.m", "right", "5"});
    for (Worker* worker : {&one, &two}) {
      for (const std::string& line : worker->AllLines()) outcomes.insert(line);
    }
  }
  EXPECT_EQ(outcomes.count("ok"), 10U);
  EXPECT_EQ(outcomes.count("limit reached"), 1U);
  EXPECT_EQ(box.registry->Get(box.ann, model)->aliases.size(), 10U);
}

TEST(Processes, TheMapGrowsUnderAnotherProcessThatHasItOpen) {
  const ScratchDir dir;
  const std::string home = dir.path() + "/kv";
  LmdbOptions options;
  options.directory = home;
  options.mode = LmdbOptions::Mode::kCreate;
  options.initial_map_bytes = 256U << 10U;
  const auto kv = OpenLmdbKv(options).value();
  KvTransaction small;
  small.Put("small", "1");
  ASSERT_OK(kv->Commit(small));
  {
    Worker worker({"fill", home, "60"});
    worker.AllLines();
    EXPECT_EQ(worker.Wait(), 0);
  }
  EXPECT_EQ((*kv->Read())->Range("fill", "film", 1000)->size(), 60U);
  ASSERT_OK(kv->Commit(small));
  {
    Worker worker({"fill", home, "200"});
    worker.AllLines();
    EXPECT_EQ(worker.Wait(), 0);
  }
  ASSERT_OK(kv->Commit(small));  // the first use after the growth may be a write, too
  EXPECT_EQ((*kv->Read())->Range("fill", "film", 1000)->size(), 200U);
}

TEST(Processes, ACommitOfAnotherProcessWakesAWaiter) {
  const ScratchDir dir;
  Box box(OpenLmdbAt(dir.path() + "/kv"));
  box.Make("c.s.m");
  const uint64_t before = box.registry->CurrentRevision(box.ann).value();
  Worker worker({"versions", dir.path() + "/kv", "c.s.m", "1"});
  const std::stop_source never;
  box.registry->WaitForChange(box.ann, before, Deadline::After(std::chrono::seconds(60)), never.get_token());
  EXPECT_GT(box.registry->CurrentRevision(box.ann).value(), before);
}

TEST(Processes, ChangesOfOneProcessWaitTogether) {
  const ScratchDir dir;
  LmdbOptions options;
  options.directory = dir.path() + "/kv";
  options.mode = LmdbOptions::Mode::kCreate;
  options.lock_wait = std::chrono::seconds(1);
  Box box(OpenLmdbKv(options).value());
  const ObjectId schema = box.Make("c.s");
  Worker worker({"put-stop", options.directory, "a", "2"}, "", KV_WORKER);
  ASSERT_TRUE(worker.WaitUntilStopped());
  constexpr int kChanges = 100;
  std::vector<std::future<std::string>> changes;
  for (int i = 0; i < kChanges; ++i) {
    changes.push_back(std::async(std::launch::async, [&, i] {
      return Outcome(box.registry->Create(box.ann, schema, fmt::format("m{}", i), ""));
    }));
  }
  // A hundred seconds, if each began to wait when the one before it had given up.
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  for (auto& change : changes) ASSERT_EQ(change.wait_until(limit), std::future_status::ready);
  for (auto& change : changes) EXPECT_EQ(change.get(), "busy");
  // Reads work meanwhile.
  EXPECT_OK(box.registry->Get(box.ann, schema));
  worker.Kill();
  worker.Wait();
  EXPECT_OK(box.registry->Create(box.ann, schema, "m", ""));
}

TEST(Processes, ALeaseOfADeadProcessEndsAtTheNextMark) {
  const ScratchDir dir;
  Box box(OpenLmdbAt(dir.path() + "/kv"));
  std::string id;
  {
    Worker worker({"lease", dir.path() + "/kv"});
    id = worker.AllLines().at(0);
    EXPECT_EQ(worker.Wait(), 0);
  }
  const Lease own = box.registry->AcquireLease(box.ann, "this process").value();
  const auto mark = box.registry->MarkForSweep(box.ann);
  ASSERT_OK(mark);
  EXPECT_EQ(mark->horizon.revision, own.epoch.revision) << "the live lease holds, the dead one does not";
  const auto snapshot = box.kv->Read().value();
  EXPECT_EQ(snapshot->Range("l", "m", 10)->size(), 1U);
}

TEST(Processes, ALeaseOfARemoteHolderOutlivesTheProcessThatTookItAndEndsByItsTimeAlone) {
  const ScratchDir dir;
  Box box(OpenLmdbAt(dir.path() + "/kv"));
  box.clock.Advance(SystemClock().NowMs() - box.clock.NowMs());  // the worker has the time of day
  Worker worker({"remote-lease", dir.path() + "/kv"});
  ASSERT_EQ(worker.AllLines().size(), 1U);
  EXPECT_NE(worker.Wait(), 0) << "it was killed";
  const uint64_t taken = box.registry->CurrentRevision(box.ann).value();
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.Commit(model));
  box.clock.Advance(kLeaseLifetimeMs / 2);
  EXPECT_EQ(box.registry->MarkForSweep(box.ann)->horizon.revision, taken) << "the lease holds the sweep back";
  box.clock.Advance(kLeaseLifetimeMs);
  EXPECT_GT(box.registry->MarkForSweep(box.ann)->horizon.revision, taken);
}

// A file system of a few MiB, for as long as this lives.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& path, const char* size = "size=4m") : path_(path) {
    std::filesystem::create_directories(path);
    mounted_ = ::mount("tmpfs", path.c_str(), "tmpfs", 0, size) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }
  // Takes the very last block.
  void Fill() const {
    FILE* filler = ::fopen((path_ + "/filler").c_str(), "w");
    const std::string block(4096, 'f');
    while (::fwrite(block.data(), 1, block.size(), filler) == block.size() && ::fflush(filler) == 0) {
    }
    ::fclose(filler);
  }

 private:
  std::string path_;
  bool mounted_ = false;
};

// Uses the space that the data file has left for itself on a full disk.
void FillUp(Box& box, ObjectId schema) {
  Result<ObjectInfo> last = Error(Code::kInternal, "not tried");
  for (int i = 0; i < 100'000 && (i == 0 || last.ok()); ++i) {
    last = box.registry->Create(box.ann, schema, fmt::format("m{}", i), "");
  }
  ASSERT_EQ(Outcome(last), "no space");
}

TEST(DiskFull, ChangesStayAtomicAndReadsAndDeletionsStillWork) {
  const ScratchDir dir;
  const SmallDisk disk(dir.path() + "/small");
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  Box box(OpenLmdbAt(dir.path() + "/small/kv"));
  const ObjectId schema = box.Make("c.s");
  std::vector<ObjectId> made;
  Result<ObjectInfo> last = Error(Code::kInternal, "not tried");
  for (int i = 0; i < 100'000; ++i) {
    last = box.registry->Create(box.ann, schema, fmt::format("m{}", i), std::string(20, 'x'));
    if (!last.ok()) break;
    made.push_back(last->id);
  }
  ASSERT_EQ(Outcome(last), "no space");
  ASSERT_GT(made.size(), 10U);
  PageRequest all;
  all.limit = 100'000;
  EXPECT_EQ(box.registry->List(box.ann, schema, all)->items.size(), made.size());
  EXPECT_EQ(Outcome(box.registry->LookupChild(box.ann, schema, fmt::format("m{}", made.size()))),
            "not found");
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
  disk.Fill();
  EXPECT_EQ(Outcome(box.registry->Create(box.ann, schema, "more", std::string(20, 'x'))), "no space");
  EXPECT_EQ(box.registry->Get(box.ann, made[0])->comment.size(), 20U);
  for (const ObjectId id : made) {
    ASSERT_OK(box.registry->Delete(box.ann, id, Registry::DeleteMode::kIfEmpty));
  }
  EXPECT_TRUE(box.registry->List(box.ann, schema, {})->items.empty());
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
}

// Filling the disk, with a draft for example, preserves no one's rights.
TEST(DiskFull, ARegistryOfAnOlderFormatOpensAndRightsCanBeRevoked) {
  const ScratchDir dir;
  const SmallDisk disk(dir.path() + "/small");
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  Box box(OpenLmdbAt(dir.path() + "/small/kv"));
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.registry->ChangeGrants(box.ann, model,
                                       {{.principal = "bob", .add = {Privilege::kExecute}},
                                        {.principal = "eve", .add = {Privilege::kExecute}}}));
  testing::MakeFormatTwo(*box.kv);
  disk.Fill();
  FillUp(box, box.registry->Get(box.ann, model)->parent);
  box.Open();
  EXPECT_EQ(box.registry->Audit(box.ann, {.action = "upgradeMetastore"})->size(), 1U);
  EXPECT_OK(
      box.registry->ChangeGrants(box.ann, model, {{.principal = "bob", .remove = {Privilege::kExecute}}}));
}

TEST(DiskFull, RightsCanStillBeRevoked) {
  const ScratchDir dir;
  const SmallDisk disk(dir.path() + "/small");
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  Box box(OpenLmdbAt(dir.path() + "/small/kv"));
  EmbeddedRegistry& registry = *box.registry;
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(registry.CreatePrincipal(box.ann, PrincipalKind::kGroup, "team"));
  ASSERT_OK(registry.AddMember(box.ann, "team", "bob"));
  const PrivilegeSet rights = {Privilege::kExecute, Privilege::kApplyTag};
  for (const char* user : {"bob", "eve"}) {
    ASSERT_OK(registry.ChangeGrants(box.ann, model, {{.principal = user, .add = rights}}));
  }
  ASSERT_OK(registry.SetOwner(box.ann, model, "bob"));
  disk.Fill();
  FillUp(box, registry.Get(box.ann, model)->parent);

  // One of two rights, then the rest, while others keep theirs: no record disappears.
  const auto revoke = [&](const char* user, PrivilegeSet what) {
    return Outcome(registry.ChangeGrants(box.ann, model, {{.principal = user, .remove = what}}));
  };
  EXPECT_EQ(revoke("bob", {Privilege::kApplyTag}), "ok");
  EXPECT_EQ(registry.Grants(box.ann, model, "bob")->front().privileges, PrivilegeSet{Privilege::kExecute});
  EXPECT_EQ(revoke("bob", rights), "ok");
  EXPECT_TRUE(registry.Grants(box.ann, model, "bob")->empty());
  EXPECT_EQ(Outcome(registry.RemoveMember(box.ann, "team", "bob")), "ok");
  EXPECT_EQ(Outcome(registry.SetOwner(box.ann, model, "ann")), "ok");
  const auto trail = registry.Audit(box.ann, {.action = "updatePermissions"}).value();
  EXPECT_NE(trail.back().params.at("changes").find("\"remove\":[\"EXECUTE\"]"), std::string::npos);
  // A grant does not fit, nor a change that could be repeated until no space is left for revoking.
  EXPECT_EQ(Outcome(registry.ChangeGrants(box.ann, model, {{.principal = "bob", .add = rights}})),
            "no space");
  EXPECT_EQ(
      Outcome(registry.ChangeGrants(
          box.ann, model, {{.principal = "bob", .add = rights}, {.principal = "eve", .remove = rights}})),
      "no space");
  EXPECT_EQ(Outcome(registry.Rename(box.ann, model, "n")), "no space");
  EXPECT_OK(registry.VerifyAudit(box.ann));
}

// Each change leaves a record for ever. A caller that could make endless changes on a full disk would use up
// the space that REVOKE needs.
TEST(DiskFull, ChangesThatFreeNothingDoNotUseTheReserve) {
  const ScratchDir dir;
  const SmallDisk disk(dir.path() + "/small");
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  Box box(OpenLmdbAt(dir.path() + "/small/kv"));
  EmbeddedRegistry& registry = *box.registry;
  const ObjectId model = box.Make("c.s.m");
  const ObjectId schema = registry.Get(box.ann, model)->parent;
  const Target target{model, std::nullopt};
  const Target version{model, registry.BeginVersion(box.ann, model, {})->number};
  ASSERT_OK(registry.SetDescription(box.ann, target, "x"));
  ASSERT_OK(registry.SetDescription(box.ann, version, "x"));
  ASSERT_OK(registry.SetTag(box.ann, target, "k", "v"));
  ASSERT_OK(registry.SetSettings(box.ann, schema, {}, {.max_models = 100'000}));
  ASSERT_OK(registry.ChangeGrants(box.ann, model, {{.principal = "bob", .add = {Privilege::kExecute}}}));
  disk.Fill();
  FillUp(box, schema);

  const size_t records = registry.Audit(box.ann, {.limit = 1'000'000})->size();
  const ContainerSettings limited{.max_models = 100'000};
  EXPECT_EQ(Outcome(registry.SetDescription(box.ann, target, "")), "no space");
  EXPECT_EQ(Outcome(registry.SetDescription(box.ann, version, "")), "no space");
  EXPECT_EQ(Outcome(registry.DeleteTag(box.ann, target, "k")), "no space");
  EXPECT_EQ(Outcome(registry.SetSettings(box.ann, schema, limited, {})), "no space");
  EXPECT_EQ(Outcome(registry.FailVersion(box.ann, model, *version.version, "x")), "no space");
  EXPECT_EQ(registry.Audit(box.ann, {.limit = 1'000'000})->size(), records);
  EXPECT_EQ(
      Outcome(registry.ChangeGrants(box.ann, model, {{.principal = "bob", .remove = {Privilege::kExecute}}})),
      "ok");
}

// Changes that free space, or take a right away, can be saved up for the day that the disk is full. So half
// of the reserve is for the metastore's admin alone.
TEST(DiskFull, AModelsOwnerLeavesRoomForTheAdminsRevokes) {
  const ScratchDir dir;
  const SmallDisk disk(dir.path() + "/small", "size=8m");
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  Box box(OpenLmdbAt(dir.path() + "/small/kv"));
  EmbeddedRegistry& registry = *box.registry;
  const Caller bob = [&] {
    Caller caller = box.ann;
    caller.principal = "bob";
    return caller;
  }();
  const ObjectId model = box.Make("c.s.m");
  const ObjectId schema = registry.Get(box.ann, model)->parent;
  const ObjectId catalog = registry.Get(box.ann, schema)->parent;
  ASSERT_OK(registry.ChangeGrants(
      box.ann, catalog, {{.principal = "bob", .add = {Privilege::kUseCatalog, Privilege::kUseSchema}}}));
  std::vector<GrantChange> to_all;
  constexpr int kOthers = 30;
  for (int i = 0; i < kOthers; ++i) {
    const std::string name = fmt::format("p{}", i);
    ASSERT_OK(registry.CreatePrincipal(box.ann, PrincipalKind::kServicePrincipal, name));
    to_all.push_back({.principal = name, .add = {Privilege::kExecute}});
  }
  ASSERT_OK(registry.ChangeGrants(box.ann, catalog, to_all));
  std::vector<ObjectId> own;
  constexpr int kModels = 100;
  for (int i = 0; i < kModels; ++i) {
    const ObjectId made = registry.Create(box.ann, schema, fmt::format("own{}", i), "")->id;
    ASSERT_OK(registry.ChangeGrants(box.ann, made, to_all));
    ASSERT_OK(registry.SetOwner(box.ann, made, "bob"));
    own.push_back(made);
  }
  disk.Fill();
  FillUp(box, schema);

  int done = 0;
  std::string outcome;
  for (const ObjectId id : own) {
    for (const GrantChange& each : to_all) {
      outcome = Outcome(registry.ChangeGrants(bob, id, {{.principal = each.principal, .remove = each.add}}));
      if (outcome == "ok") ++done;
    }
  }
  EXPECT_GT(done, kOthers) << "a part of the reserve is for them, too";
  EXPECT_EQ(outcome, "no space") << "after " << done << " revokes, of " << kModels * kOthers;
  for (const ObjectId id : own) {
    registry.Delete(bob, id, Registry::DeleteMode::kIfEmpty).IgnoreError("as many as fit");
  }
  for (const GrantChange& each : to_all) {
    EXPECT_EQ(
        Outcome(registry.ChangeGrants(box.ann, catalog, {{.principal = each.principal, .remove = each.add}})),
        "ok")
        << each.principal;
  }
  EXPECT_OK(registry.VerifyAudit(box.ann));
}

// Only a sweep frees the space again.
TEST(DiskFull, AMarkForASweepDoesNotWaitForPendingVersionsToAge) {
  const ScratchDir dir;
  const SmallDisk disk(dir.path() + "/small");
  if (!disk.mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  Box box(OpenLmdbAt(dir.path() + "/small/kv"));
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.registry->BeginVersion(box.ann, model, {}));
  box.clock.Advance(kPendingLifetimeMs + 1);
  disk.Fill();
  FillUp(box, box.registry->Get(box.ann, model)->parent);
  EXPECT_OK(box.registry->MarkForSweep(box.ann));
  EXPECT_EQ(box.registry->GetVersion(box.ann, model, 1)->status, VersionStatus::kPending);
}

}  // namespace
}  // namespace modelfs::store
