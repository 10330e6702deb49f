// One contract for every engine, then tests of LMDB alone.
#include "store/kv/kv.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <thread>

#include "cas/base/fd.h"
#include "store/kv/lmdb_file.h"
#include "store/kv/lmdb_kv.h"
#include "store/kv/map_fault.h"
#include "store/kv/memory_kv.h"
#include "tests/store/expect.h"
#include "tests/store/kv/scratch_dir.h"

namespace modelfs::store {
namespace {

using testing::Outcome;
using testing::ScratchDir;

std::unique_ptr<Kv> MustOpenLmdb(const std::string& directory, uint64_t map_bytes = uint64_t{64} << 20U) {
  LmdbOptions options;
  options.directory = directory;
  options.mode = LmdbOptions::Mode::kCreate;
  options.initial_map_bytes = map_bytes;
  auto kv = OpenLmdbKv(options);
  EXPECT_OK(kv);
  return kv.ok() ? std::move(*kv) : nullptr;
}

Result<Revision> PutOne(Kv& kv, const std::string& key, const std::string& value) {
  KvTransaction transaction;
  transaction.Put(key, value);
  return kv.Commit(transaction);
}

std::string ValueAt(Kv& kv, const std::string& key) {
  const auto snapshot = kv.Read();
  EXPECT_OK(snapshot);
  const auto entry = (*snapshot)->Get(key);
  EXPECT_OK(entry);
  return *entry ? (*entry)->value : "(absent)";
}

uint64_t TestSeed() {
  const char* given = std::getenv("TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "TEST_SEED=" << seed << "\n";
  return seed;
}

class KvContract : public ::testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Kv> Open() {
    return std::string(GetParam()) == "memory" ? MakeMemoryKv() : MustOpenLmdb(dir_.path() + "/kv");
  }

 private:
  ScratchDir dir_;
};

TEST_P(KvContract, AKeyIsReadAsItWasWritten) {
  const auto kv = Open();
  ASSERT_OK(PutOne(*kv, "a", "one"));
  ASSERT_OK(PutOne(*kv, std::string("\0\xff", 2), std::string("\0", 1)));
  EXPECT_EQ(ValueAt(*kv, "a"), "one");
  EXPECT_EQ(ValueAt(*kv, std::string("\0\xff", 2)), std::string("\0", 1));
  EXPECT_EQ(ValueAt(*kv, "b"), "(absent)");
  ASSERT_OK(PutOne(*kv, "a", ""));
  EXPECT_EQ(ValueAt(*kv, "a"), "");
}

TEST_P(KvContract, RevisionsGrowByCommitAndStampTheWrites) {
  const auto kv = Open();
  EXPECT_EQ((*kv->Read())->revision(), 0U);
  const Revision first = PutOne(*kv, "a", "1").value();
  const Revision second = PutOne(*kv, "b", "2").value();
  EXPECT_GT(first, 0U);
  EXPECT_GT(second, first);
  const auto snapshot = kv->Read().value();
  EXPECT_EQ(snapshot->revision(), second);
  EXPECT_EQ(snapshot->Get("a").value()->revision, first);
  EXPECT_EQ(snapshot->Get("b").value()->revision, second);
}

TEST_P(KvContract, ASnapshotIsUnmovedByLaterCommits) {
  const auto kv = Open();
  ASSERT_OK(PutOne(*kv, "a", "old"));
  const auto snapshot = kv->Read().value();
  std::thread([&] {
    EXPECT_OK(PutOne(*kv, "a", "new"));
    EXPECT_OK(PutOne(*kv, "b", "new"));
  }).join();
  EXPECT_EQ(snapshot->Get("a").value()->value, "old");
  EXPECT_FALSE(snapshot->Get("b").value().has_value());
  EXPECT_EQ(snapshot->Range("", "", 10).value().size(), 1U);
}

TEST_P(KvContract, SeveralKeysAreReadInTheirOrderFromOneState) {
  const auto kv = Open();
  const Revision first = PutOne(*kv, "a", "1").value();
  ASSERT_OK(PutOne(*kv, "b", "2"));
  const auto snapshot = kv->Read().value();
  std::thread([&] { EXPECT_OK(PutOne(*kv, "c", "later")); }).join();
  const auto entries = snapshot->GetMany({"b", "c", "a", "b"}).value();
  ASSERT_EQ(entries.size(), 4U);
  std::vector<std::string> values;
  for (const auto& entry : entries) values.push_back(entry ? entry->key + "=" + entry->value : "(absent)");
  EXPECT_EQ(values, (std::vector<std::string>{"b=2", "(absent)", "a=1", "b=2"}));
  EXPECT_EQ(entries[2]->revision, first);
  EXPECT_TRUE(snapshot->GetMany({}).value().empty());
}

TEST_P(KvContract, RangesAreOrderedBytewiseAndBounded) {
  const auto kv = Open();
  KvTransaction transaction;
  for (const char* key : {"b", "a", "\x7f", "\x80", "ab", "\xff\xff"}) transaction.Put(key, key);
  ASSERT_OK(kv->Commit(transaction));
  const auto snapshot = kv->Read().value();
  const auto keys = [&](std::string_view begin, std::string_view end, size_t limit) {
    std::vector<std::string> found;
    const auto entries = snapshot->Range(begin, end, limit).value();
    for (const KvEntry& entry : entries) found.push_back(entry.key);
    return found;
  };
  EXPECT_EQ(keys("", "", 100), (std::vector<std::string>{"a", "ab", "b", "\x7f", "\x80", "\xff\xff"}));
  EXPECT_EQ(keys("a", "b", 100), (std::vector<std::string>{"a", "ab"}));
  EXPECT_EQ(keys("a", "", 2), (std::vector<std::string>{"a", "ab"}));
  EXPECT_EQ(keys("c", "d", 100), std::vector<std::string>{});
  EXPECT_EQ(snapshot->Last("", "").value()->key, "\xff\xff");
  EXPECT_EQ(snapshot->Last("a", "b").value()->key, "ab");
  EXPECT_EQ(snapshot->Last("", "b").value()->key, "ab");
  EXPECT_FALSE(snapshot->Last("c", "d").value().has_value());
  EXPECT_FALSE(snapshot->Last("", "a").value().has_value());
}

TEST_P(KvContract, ACommitWithAStaleReadIsAbortedWhole) {
  const auto kv = Open();
  const Revision first = PutOne(*kv, "a", "1").value();
  ASSERT_OK(PutOne(*kv, "a", "2"));
  KvTransaction stale;
  stale.expectations.push_back({"a", first});
  stale.Put("b", "never");
  stale.log_entry = "never";
  EXPECT_EQ(Outcome(kv->Commit(stale)), "aborted");
  EXPECT_EQ(ValueAt(*kv, "b"), "(absent)");
  EXPECT_TRUE(kv->ReadLog(0, 10).value().empty());

  KvTransaction absent;
  absent.expectations.push_back({"c", 0});
  absent.Put("c", "made");
  EXPECT_OK(kv->Commit(absent));
  EXPECT_EQ(Outcome(kv->Commit(absent)), "aborted");
}

TEST_P(KvContract, AKeyThatWasDeletedAndMadeAgainHasANewRevision) {
  const auto kv = Open();
  const Revision first = PutOne(*kv, "a", "1").value();
  KvTransaction remove;
  remove.Delete("a");
  remove.Delete("never there");
  ASSERT_OK(kv->Commit(remove));
  EXPECT_EQ(ValueAt(*kv, "a"), "(absent)");
  ASSERT_OK(PutOne(*kv, "a", "1"));
  KvTransaction stale;
  stale.expectations.push_back({"a", first});
  EXPECT_EQ(Outcome(kv->Commit(stale)), "aborted");
}

TEST_P(KvContract, LimitsAreEnforcedAndNothingIsWritten) {
  const auto kv = Open();
  ASSERT_OK(PutOne(*kv, std::string(kKvMaxKeyBytes, 'k'), "fits"));
  EXPECT_EQ(Outcome(PutOne(*kv, std::string(kKvMaxKeyBytes + 1, 'k'), "x")), "invalid argument");
  EXPECT_EQ(Outcome(PutOne(*kv, "", "x")), "invalid argument");
  KvTransaction many;
  for (size_t i = 0; i < kKvMaxOperations; ++i) many.Put("m" + std::to_string(i), "x");
  EXPECT_OK(kv->Commit(many));
  many.expectations.push_back({"other", 0});
  EXPECT_EQ(Outcome(kv->Commit(many)), "invalid argument");
  EXPECT_EQ(Outcome(PutOne(*kv, "big", std::string(kKvMaxCommitBytes + 1, 'x'))), "invalid argument");
  EXPECT_OK(PutOne(*kv, "big", std::string(kKvMaxCommitBytes - 3, 'x')));
  KvTransaction twice;
  twice.Put("a", "1");
  twice.Put("a", "2");
  EXPECT_EQ(Outcome(kv->Commit(twice)), "invalid argument");
  EXPECT_EQ(ValueAt(*kv, "a"), "(absent)");
}

TEST_P(KvContract, TheLogKeepsTheOrderOfCommitsAndForgetsOnRequest) {
  const auto kv = Open();
  std::vector<Revision> revisions;
  for (int i = 0; i < 5; ++i) {
    KvTransaction transaction;
    transaction.Put("k", std::to_string(i));
    transaction.log_entry = "entry " + std::to_string(i);
    revisions.push_back(kv->Commit(transaction).value());
    ASSERT_OK(PutOne(*kv, "silent", "x"));
  }
  const auto all = kv->ReadLog(0, 100).value();
  ASSERT_EQ(all.size(), 5U);
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i].revision, revisions[i]);
    EXPECT_EQ(all[i].payload, "entry " + std::to_string(i));
  }
  EXPECT_EQ(kv->ReadLog(revisions[2], 1).value().at(0).payload, "entry 3");
  ASSERT_OK(kv->TrimLog(revisions[2]));
  EXPECT_EQ(Outcome(kv->ReadLog(revisions[1], 100)), "out of range");
  EXPECT_EQ(kv->ReadLog(revisions[2], 100).value().size(), 2U);
  ASSERT_OK(kv->TrimLog(~Revision{0}));
  EXPECT_TRUE(kv->ReadLog((*kv->Read())->revision(), 100).value().empty());
}

TEST_P(KvContract, WaitingEndsWithACommitADeadlineOrAStop) {
  const auto kv = Open();
  const Revision before = PutOne(*kv, "a", "1").value();
  std::stop_source stop;
  kv->WaitForCommit(before - 1, Deadline::Never(), stop.get_token());  // already made
  kv->WaitForCommit(before, Deadline::After(std::chrono::milliseconds(5)), stop.get_token());

  std::atomic<bool> seen{false};
  std::thread waiter([&] {
    while ((*kv->Read())->revision() == before)
      kv->WaitForCommit(before, Deadline::Never(), stop.get_token());
    seen = true;
    while (!stop.stop_requested()) kv->WaitForCommit(~Revision{0}, Deadline::Never(), stop.get_token());
  });
  ASSERT_OK(PutOne(*kv, "a", "2"));
  while (!seen) std::this_thread::yield();
  stop.request_stop();
  waiter.join();
}

TEST_P(KvContract, OptimisticCountersFromManyThreadsLoseNothing) {
  const auto kv = Open();
  constexpr int kThreads = 4;
  constexpr int kEach = 25;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int done = 0; done < kEach;) {
        KvTransaction transaction;
        {
          const auto snapshot = kv->Read().value();
          const auto entry = snapshot->Get("counter").value();
          transaction.Expect("counter", entry);
          transaction.Put("counter", std::to_string((entry ? std::stoi(entry->value) : 0) + 1));
        }
        const auto committed = kv->Commit(transaction);
        if (committed.ok()) ++done;
        EXPECT_TRUE(committed.ok() || committed.error().code() == Code::kAborted);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ValueAt(*kv, "counter"), std::to_string(kThreads * kEach));
}

TEST_P(KvContract, AgreesWithAMapUnderRandomOperations) {
  std::mt19937_64 random(TestSeed());
  const auto kv = Open();
  std::map<std::string, std::pair<std::string, Revision>> model;
  const auto key = [&] { return "k" + std::to_string(random() % 40); };
  for (int step = 0; step < 400; ++step) {
    KvTransaction transaction;
    std::map<std::string, std::optional<std::string>> writes;
    for (size_t i = random() % 4; i > 0; --i) {
      writes[key()] = random() % 3 == 0 ? std::nullopt : std::optional(std::string(random() % 3000, 'v'));
    }
    for (const auto& [k, v] : writes) transaction.writes.push_back({k, v});
    const std::string expected = key();
    const Revision now = model.count(expected) > 0 ? model[expected].second : 0;
    const bool stale = random() % 4 == 0;
    transaction.expectations.push_back({expected, stale ? now + 1 : now});
    const auto committed = kv->Commit(transaction);
    ASSERT_EQ(committed.ok(), !stale);
    if (committed.ok()) {
      for (const auto& [k, v] : writes) {
        if (v) model[k] = {*v, *committed};
        if (!v) model.erase(k);
      }
    }
    const auto snapshot = kv->Read().value();
    const auto all = snapshot->Range("", "", 1000).value();
    ASSERT_EQ(all.size(), model.size()) << "step " << step;
    auto at = model.begin();
    for (const KvEntry& entry : all) {
      ASSERT_EQ(entry.key, at->first);
      ASSERT_EQ(entry.value, at->second.first);
      ASSERT_EQ(entry.revision, at->second.second);
      ++at;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, KvContract, ::testing::Values("memory", "lmdb"),
                         [](const auto& engine) { return std::string(engine.param); });

TEST(MemoryKv, HasNoFilesToMaintain) { EXPECT_EQ(MakeMemoryKv()->maintenance(), nullptr); }

TEST(LmdbKv, KeepsEverythingAcrossReopening) {
  const ScratchDir dir;
  Revision last = 0;
  {
    const auto kv = MustOpenLmdb(dir.path() + "/kv");
    KvTransaction transaction;
    transaction.Put("a", "1");
    transaction.log_entry = "entry";
    last = kv->Commit(transaction).value();
  }
  const auto kv = MustOpenLmdb(dir.path() + "/kv");
  EXPECT_EQ(ValueAt(*kv, "a"), "1");
  EXPECT_EQ(kv->ReadLog(0, 10).value().at(0).revision, last);
  EXPECT_GT(PutOne(*kv, "a", "2").value(), last);
}

// How often the calling thread has waited.
uint64_t TimesWaited(pid_t thread) {
  std::ifstream status("/proc/self/task/" + std::to_string(thread) + "/status");
  for (std::string word; status >> word;) {
    uint64_t times = 0;
    if (word == "voluntary_ctxt_switches:" && status >> times) return times;
  }
  ADD_FAILURE() << "no count of thread " << thread;
  return 0;
}

// LMDB writes a commit, which triggers inotify, and publishes it to readers a moment later: by a number in
// lock.mdb, which a test can hold back.
TEST(LmdbKv, AWaiterNoticesACommitThatIsPublishedAfterItsSignal) {
  ScratchDir dir;
  LmdbOptions options;
  options.directory = dir.path() + "/kv";
  options.mode = LmdbOptions::Mode::kCreate;
  options.poll_every = std::chrono::hours(1);
  const auto kv = std::move(OpenLmdbKv(options).value());
  const Fd lock(::open((options.directory + "/lock.mdb").c_str(), O_RDWR | O_CLOEXEC));
  using Words = std::array<uint64_t, 16>;
  const auto words = [&] {
    Words now{};
    EXPECT_EQ(::pread(lock.get(), now.data(), sizeof(now), 0), static_cast<ssize_t>(sizeof(now)));
    return now;
  };
  std::array<Words, 3> after{};
  for (Words& each : after) {
    ASSERT_OK(PutOne(*kv, "a", "1"));
    each = words();
  }
  size_t at = 0;  // of the one that counts commits
  while (at < after[0].size() &&
         (after[1].at(at) != after[0].at(at) + 1 || after[2].at(at) != after[1].at(at) + 1))
    ++at;
  ASSERT_LT(at, after[0].size());
  const auto give = [&](uint64_t transaction) {
    EXPECT_EQ(
        ::pwrite(lock.get(), &transaction, sizeof(transaction), static_cast<off_t>(at * sizeof(uint64_t))),
        8);
  };

  const Revision last = (*kv->Read())->revision();
  const uint64_t newest = words().at(at);
  give(newest - 1);
  ASSERT_EQ((*kv->Read())->revision(), last - 1);
  const Deadline deadline = Deadline::After(std::chrono::seconds(30));
  std::atomic<pid_t> thread{0};
  std::atomic<uint64_t> waited{0};
  std::thread waiter([&] {
    const auto self = static_cast<pid_t>(::syscall(SYS_gettid));
    waited = TimesWaited(self);
    thread = self;
    kv->WaitForCommit(last - 1, deadline, {});
  });
  while (thread == 0 || TimesWaited(thread) == waited) std::this_thread::yield();
  give(newest);
  waiter.join();
  EXPECT_FALSE(deadline.Passed());
}

TEST(LmdbKv, AMissingRegistryIsNotFoundAndSaysHowToMakeOne) {
  const ScratchDir dir;
  const auto opened = OpenLmdbKv({.directory = dir.path() + "/none"});
  ASSERT_EQ(Outcome(opened), "not found");
  EXPECT_NE(opened.error().message().find("modelfs init"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(dir.path() + "/none")) << "opening makes nothing";
  EXPECT_EQ(Outcome(OpenLmdbKv({.directory = dir.path()})), "not found");
}

TEST(LmdbKv, TheMapGrowsByItselfUnderASecondUserAndOpenReaders) {
  const ScratchDir dir;
  const auto kv = MustOpenLmdb(dir.path() + "/kv", 256U << 10U);
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done) EXPECT_OK((*kv->Read())->Range("", "", 5));
  });
  for (int i = 0; i < 40; ++i) ASSERT_OK(PutOne(*kv, "k" + std::to_string(i), std::string(100000, 'v')));
  done = true;
  reader.join();
  EXPECT_EQ((*kv->Read())->Range("", "", 1000).value().size(), 40U);
}

TEST(LmdbKv, ATruncatedOrForeignFileIsRefusedAndSaysWhatToDo) {
  const ScratchDir dir;
  const std::string home = dir.path() + "/kv";
  {
    const auto kv = MustOpenLmdb(home);
    for (int i = 0; i < 20; ++i) ASSERT_OK(PutOne(*kv, "k" + std::to_string(i), std::string(10000, 'v')));
  }
  const std::string data = home + "/data.mdb";
  const auto whole = std::filesystem::file_size(data);
  const std::string copy = dir.path() + "/copy";
  std::filesystem::copy_file(data, copy);
  for (const uint64_t cut : {whole / 2, uint64_t{8192}, uint64_t{4096}, uint64_t{100}, uint64_t{0}}) {
    SCOPED_TRACE(cut);
    std::filesystem::copy_file(copy, data, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(data, cut);
    const auto opened = OpenLmdbKv({.directory = home});
    ASSERT_EQ(Outcome(opened), "data loss");
    EXPECT_NE(opened.error().message().find("restore"), std::string::npos);
    EXPECT_EQ(Outcome(OpenLmdbKv({.directory = home, .mode = LmdbOptions::Mode::kCreate})), "data loss")
        << "init must not make a new registry over a damaged one";
  }
  std::ofstream(data, std::ios::trunc) << std::string(20000, 'x');
  EXPECT_EQ(Outcome(OpenLmdbKv({.directory = home})), "data loss");
  std::filesystem::copy_file(copy, data, std::filesystem::copy_options::overwrite_existing);
  EXPECT_OK(OpenLmdbKv({.directory = home}));
}

// Pages at the very end that were freed before they were written are not damage.
TEST(LmdbKv, AFileThatLacksOnlyUnusedPagesIsOpened) {
  const ScratchDir dir;
  const std::string home = dir.path() + "/kv";
  {
    const auto kv = MustOpenLmdb(home);
    ASSERT_OK(PutOne(*kv, "keep", "this"));
    ASSERT_OK(PutOne(*kv, "large", std::string(1000000, 'v')));
    KvTransaction remove;
    remove.Delete("large");
    ASSERT_OK(kv->Commit(remove));
    ASSERT_OK(PutOne(*kv, "keep", "that"));
    ASSERT_OK(PutOne(*kv, "keep", "those"));
  }
  const std::string data = home + "/data.mdb";
  const auto whole = std::filesystem::file_size(data);
  ASSERT_GT(whole, 900000U);
  std::filesystem::resize_file(data, whole - 500000);
  EXPECT_OK(CheckDataFile(data));
  std::filesystem::resize_file(data, 5 * 4096);
  EXPECT_EQ(Outcome(CheckDataFile(data)), "data loss");
}

// LMDB has no checksums: it reports bytes that it cannot believe, and a missing page ends the process.
TEST(LmdbKvDeathTest, AnUnreadablePageIsReportedBeforeTheProcessDies) {
  const ScratchDir dir;
  const std::string log = dir.path() + "/log";
  std::ofstream(log) << "before\n";
  // A sanitizer's handlers come after ours, and end the process with an exit code.
  const auto die_by_the_signal = [] {
    for (const int fault : {SIGBUS, SIGSEGV}) std::signal(fault, SIG_DFL);
  };
  const auto read_what_is_gone = [&] {
    die_by_the_signal();
    ExplainMapFaults(log, {"it is damaged\n", "it cannot be written\n"});
    const auto kv = MustOpenLmdb(dir.path() + "/kv");
    for (int i = 0; i < 20; ++i) EXPECT_OK(PutOne(*kv, "k" + std::to_string(i), std::string(10000, 'v')));
    std::filesystem::resize_file(dir.path() + "/kv/data.mdb", 2 * 4096);
    static_cast<void>(ValueAt(*kv, "k1"));
  };
  EXPECT_EXIT(read_what_is_gone(), ::testing::KilledBySignal(SIGBUS),
              "registry/data.mdb is damaged: stop every process that uses it and restore it from a backup");
  std::ifstream lines(log);
  const std::string text((std::istreambuf_iterator<char>(lines)), std::istreambuf_iterator<char>());
  EXPECT_EQ(text, "before\nit is damaged\n");

  // A fault that is not of the file is not reported as one.
  const auto fault_elsewhere = [&] {
    die_by_the_signal();
    ExplainMapFaults(log, {"it is damaged\n", "it cannot be written\n"});
    const auto kv = MustOpenLmdb(dir.path() + "/kv2");
    ::raise(SIGSEGV);
  };
  EXPECT_EXIT(fault_elsewhere(), ::testing::KilledBySignal(SIGSEGV), "^$");
}

TEST(LmdbKv, DamagedPagesAreReportedWithTheRemedy) {
  const ScratchDir dir;
  const std::string home = dir.path() + "/kv";
  const std::string data = home + "/data.mdb";
  {
    const auto kv = MustOpenLmdb(home);
    for (int i = 0; i < 300; ++i) ASSERT_OK(PutOne(*kv, "k" + std::to_string(i), std::string(500, 'v')));
    ASSERT_OK(kv->maintenance()->CheckPages());
  }
  const std::string copy = dir.path() + "/copy";
  std::filesystem::copy_file(data, copy);
  constexpr size_t kPage = 4096;
  size_t found = 0;
  for (size_t page = 2; page < std::filesystem::file_size(copy) / kPage; ++page) {
    SCOPED_TRACE(page);
    std::filesystem::copy_file(copy, data, std::filesystem::copy_options::overwrite_existing);
    {
      std::fstream file(data, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(page * kPage));
      file << std::string(kPage, '\0');
    }
    const auto opened = OpenLmdbKv({.directory = home});
    const Status checked = opened.ok() ? (*opened)->maintenance()->CheckPages() : Status(opened.error());
    if (checked.ok()) {  // then the page is not in use
      size_t entries = 0;
      for (int i = 0; i < 300; ++i) entries += ValueAt(**opened, "k" + std::to_string(i)).size() / 500;
      EXPECT_EQ(entries, 300U);
      continue;
    }
    ++found;
    EXPECT_EQ(Outcome(checked), "data loss");
    EXPECT_NE(checked.error().message().find("restore it from a backup"), std::string::npos)
        << checked.error().message();
  }
  EXPECT_GT(found, 30U);
}

TEST(LmdbKv, DamageInsideOfWellFormedPagesIsFoundToo) {
  const ScratchDir dir;
  const std::string home = dir.path() + "/kv";
  const std::string data = home + "/data.mdb";
  {
    const auto kv = MustOpenLmdb(home);
    for (int i = 100; i < 150; ++i) ASSERT_OK(PutOne(*kv, "key" + std::to_string(i), std::string(500, 'v')));
  }
  std::string whole;
  {
    std::ifstream file(data, std::ios::binary);
    whole.assign((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  }
  const auto number_at = [](const std::string& bytes, size_t at, size_t size) {
    uint64_t number = 0;
    std::memcpy(&number, bytes.data() + at, size);
    return number;
  };
  const auto check = [&](const std::string& bytes) {
    std::ofstream(data, std::ios::trunc | std::ios::binary) << bytes;
    return Outcome(OpenLmdbKv({.directory = home}).value()->maintenance()->CheckPages());
  };
  EXPECT_EQ(check(whole), "ok");

  std::string disordered = whole;
  for (size_t at = 0; (at = disordered.find("kkey120", at)) != std::string::npos;) disordered[at + 4] = '9';
  EXPECT_EQ(check(disordered), "data loss");

  // The newer meta page leads to the free list's root. Its first entry is the number of a transaction, then a
  // count and page numbers (mdb.c: MDB_meta, MDB_node). Page 1 is never free.
  constexpr size_t kPage = 4096;
  const size_t meta = number_at(whole, 16 + 128, 8) > number_at(whole, kPage + 16 + 128, 8) ? 0 : kPage;
  const size_t root = number_at(whole, meta + 16 + 64, 8) * kPage;
  const size_t value = root + number_at(whole, root + 16, 2) + 8 + 8;
  ASSERT_GE(number_at(whole, value, 8), 1U);
  std::string used_is_free = whole;
  used_is_free.replace(value + 8, 8, std::string("\1\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(check(used_is_free), "data loss");
}

TEST(LmdbKv, NetworkFileSystemsAreKnownByTheirNumbers) {
  EXPECT_EQ(UnsuitableFileSystem(0x6969), "NFS");
  EXPECT_EQ(UnsuitableFileSystem(0x65735546), "FUSE");
  EXPECT_EQ(UnsuitableFileSystem(0x01021997), "9P");
  EXPECT_EQ(UnsuitableFileSystem(0xEF53), "");      // ext4
  EXPECT_EQ(UnsuitableFileSystem(0x01021994), "");  // tmpfs
  EXPECT_EQ(UnsuitableFileSystem(0x58465342), "");  // XFS
}

TEST(LmdbKv, FilesArePrivateToTheirOwner) {
  const ScratchDir dir;
  const auto kv = MustOpenLmdb(dir.path() + "/kv");
  for (const char* name : {"", "/data.mdb", "/lock.mdb"}) {
    struct stat info {};
    ASSERT_EQ(::stat((dir.path() + "/kv" + name).c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_mode & 077U, 0U) << name;
  }
}

}  // namespace
}  // namespace modelfs::store
