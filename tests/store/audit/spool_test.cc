#include "store/audit/spool.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/cas/no_more_threads.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::FakeClock;
using testing::Outcome;

AuditRecord Open(const std::string& version) {
  AuditRecord record;
  record.principal = "ann";
  record.action = kOpenAction;
  record.params["version_arg"] = version;
  record.change = false;
  return record;
}

AuditRecord Refusal(const std::string& principal, const std::string& action = "deleteRegisteredModel") {
  AuditRecord record;
  record.principal = principal;
  record.action = action;
  record.status = 403;
  record.change = false;
  return record;
}

// A log that a test can block and break.
class FakeLog {
 public:
  AuditSpool::Commit Commit() {
    return [this](std::span<const AuditRecord> records) -> Result<size_t> {
      const MutexLock lock(mu_);
      ++calls_;
      changed_.NotifyAll();
      while (held_) changed_.Wait(mu_);
      if (full_) return Error(Code::kNoSpace, "the disk is full");
      const size_t count = std::min<size_t>(records.size(), 31);
      for (const AuditRecord& record : records.subspan(0, count)) lines_.push_back(LineOf(record));
      batches_.push_back(count);
      changed_.NotifyAll();
      return count;
    };
  }
  void Hold(bool held) {
    const MutexLock lock(mu_);
    held_ = held;
    changed_.NotifyAll();
  }
  void SetFull(bool full) {
    const MutexLock lock(mu_);
    full_ = full;
  }
  void WaitForCall() {
    const MutexLock lock(mu_);
    while (calls_ == 0) changed_.Wait(mu_);
  }
  void WaitForLines(size_t count) {
    const MutexLock lock(mu_);
    while (lines_.size() < count) changed_.Wait(mu_);
  }
  std::vector<std::string> lines() {
    const MutexLock lock(mu_);
    return lines_;
  }
  std::vector<size_t> batches() {
    const MutexLock lock(mu_);
    return batches_;
  }

 private:
  static std::string LineOf(const AuditRecord& record) {
    std::string line = record.action == kOpenAction ? "open" : record.principal + " " + record.action;
    if (record.action == "auditRecordsLost") line = "lost";
    for (const auto& [key, value] : record.params) line += " " + value;
    return line;
  }

  Mutex mu_;
  CondVar changed_;
  int calls_ GUARDED_BY(mu_) = 0;
  bool held_ GUARDED_BY(mu_) = false;
  bool full_ GUARDED_BY(mu_) = false;
  std::vector<std::string> lines_ GUARDED_BY(mu_);
  std::vector<size_t> batches_ GUARDED_BY(mu_);
};

using Lines = std::vector<std::string>;

TEST(AuditSpool, ManyWaitingRecordsTakeFewCommitsInOrder) {
  FakeLog log;
  const FakeClock clock;
  AuditSpool spool(log.Commit(), clock, {});
  log.Hold(true);
  spool.Add(Open("first"));
  log.WaitForCall();  // the rest queues behind it
  Lines want = {"open first"};
  for (int i = 0; i < 100; ++i) {
    spool.Add(Open(std::to_string(i)));
    want.push_back("open " + std::to_string(i));
  }
  log.Hold(false);
  EXPECT_OK(spool.Flush());
  EXPECT_EQ(log.lines(), want);
  EXPECT_EQ(log.batches(), (std::vector<size_t>{1, 31, 31, 31, 7}));
}

TEST(AuditSpool, WaitingRecordsAreCommittedByTheDestructor) {
  FakeLog log;
  const FakeClock clock;
  {
    AuditSpool spool(log.Commit(), clock, {});
    log.Hold(true);
    for (int i = 0; i < 50; ++i) spool.Add(Open(std::to_string(i)));
    spool.Add(Refusal("eve"));
    spool.Add(Refusal("eve"));
    log.Hold(false);
  }
  ASSERT_EQ(log.lines().size(), 52U);
  EXPECT_EQ(log.lines().back(), "eve deleteRegisteredModel 1");
}

TEST(AuditSpool, RecordsWaitIfTheHostRefusesAThread) {
  SKIP_UNDER_SANITIZERS();
  FakeClock clock;
  FakeLog log;
  {
    AuditSpool spool(log.Commit(), clock, {});
    {
      const NoMoreThreads none;
      spool.Add(Open("a"));
      EXPECT_EQ(Outcome(spool.Flush()), "unavailable");
    }
    EXPECT_EQ(Outcome(spool.Flush()), "ok");
    EXPECT_EQ(log.lines(), Lines{"open a"});
  }
  {
    const NoMoreThreads none;
    AuditSpool spool(log.Commit(), clock, {});
    spool.Add(Open("b"));
  }
  EXPECT_EQ(log.lines(), (Lines{"open a", "open b"})) << "and they are written by the destructor";
}

// A caller that makes each refused request a little different fills the log no faster.
TEST(AuditSpool, RefusalsWithDifferentParametersAreAFewRecordsAndACount) {
  FakeLog log;
  FakeClock clock;
  AuditSpool spool(log.Commit(), clock, {});
  const auto refuse = [&](const std::string& principal, int variant) {
    AuditRecord record = Refusal(principal);
    record.params["alias_arg"] = std::to_string(variant);
    spool.Add(record);
  };
  for (int i = 0; i < 500; ++i) refuse("eve", i);
  refuse("mallory", 1);
  EXPECT_OK(spool.Flush());
  const auto line = [](const std::string& of, int variant) {
    return fmt::format("{} deleteRegisteredModel {}", of, variant);
  };
  Lines want;
  for (int i = 0; i < 8; ++i) want.push_back(line("eve", i));
  want.push_back(line("mallory", 1));
  want.push_back("eve deleteRegisteredModel 492");  // the common fields, and the number
  EXPECT_EQ(log.lines(), want);
  clock.Advance(60'000);
  EXPECT_OK(spool.Flush());
  refuse("eve", 3);
  EXPECT_OK(spool.Flush());
  EXPECT_EQ(log.lines().back(), line("eve", 3)) << "alone again";
}

// Opening many other files does not turn a loop over one file into a record each time.
TEST(AuditSpool, IdenticalRecordsAreOneAndACountAmongManyOthers) {
  FakeLog log;
  FakeClock clock;
  AuditSpool spool(log.Commit(), clock, {.longest_wait = std::chrono::hours(1)});
  spool.Add(Open("before"));
  for (int i = 0; i < 6000; ++i) spool.Add(Open(std::to_string(i)));
  for (int i = 0; i < 300; ++i) spool.Add(Open("same"));
  for (int i = 0; i < 300; ++i) spool.Add(Open("before"));
  for (int i = 0; i < 500; ++i) {
    AuditRecord record = Refusal("eve");
    record.params["alias_arg"] = std::to_string(i);
    spool.Add(record);
  }
  EXPECT_OK(spool.Flush());
  const Lines lines = log.lines();
  ASSERT_EQ(lines.size(), 1U + 6000U + 1U + 8U + 3U);
  EXPECT_EQ(Lines(lines.end() - 3, lines.end()),
            (Lines{"open 300 before", "open 299 same", "eve deleteRegisteredModel 492"}));
}

TEST(AuditSpool, TooManyWindowsEndTheOldestOne) {
  FakeLog log;
  FakeClock clock;
  AuditSpool spool(log.Commit(), clock, {.most_windows = 5});
  for (int i = 0; i < 3; ++i) spool.Add(Open("same"));
  for (int i = 0; i < 4; ++i) spool.Add(Open(std::to_string(i)));
  for (int i = 0; i < 3; ++i) spool.Add(Open("same"));
  spool.Add(Open("4"));  // the sixth
  spool.Add(Open("same"));
  spool.Add(Open("same"));
  EXPECT_OK(spool.Flush());
  EXPECT_EQ(log.lines(), (Lines{"open same", "open 0", "open 1", "open 2", "open 3", "open 5 same", "open 4",
                                "open same", "open 1 same"}));
}

// Repeated records on a full disk need no more memory the longer it lasts.
TEST(AuditSpool, CountsWaitInTheBoundedQueueToo) {
  FakeLog log;
  FakeClock clock;
  AuditSpool spool(log.Commit(), clock,
                   {.capacity = 4, .retry_after = std::chrono::hours(1), .most_windows = 1});
  log.SetFull(true);
  spool.Add(Open("first"));
  EXPECT_EQ(Outcome(spool.Flush()), "no space");
  for (int i = 0; i < 10; ++i) {
    for (int k = 0; k < 3; ++k) spool.Add(Open(std::to_string(i)));
  }
  log.SetFull(false);
  EXPECT_OK(spool.Flush());
  EXPECT_OK(spool.Flush());
  const Lines lines = log.lines();
  EXPECT_EQ(Lines(lines.begin(), lines.begin() + 4), (Lines{"open first", "open 0", "open 2 0", "open 1"}));
  EXPECT_EQ(lines.back(), "lost 26");
  EXPECT_EQ(lines.size(), 5U);
}

// A principal's opens of one version, whichever files they are of, and however long they continue.
TEST(AuditSpool, OpensOfAVersionAreOneRecordAMinuteAndACount) {
  FakeLog log;
  FakeClock clock;
  AuditSpool spool(log.Commit(), clock, {});
  const auto open = [&](const std::string& version, int file) {
    AuditRecord record = Open(version);
    record.params["file"] = "shard-" + std::to_string(file);
    spool.Add(record);
  };
  for (int file = 0; file < 5000; ++file) open("1", file);
  open("2", 7);
  for (int again = 0; again < 10; ++again) open("2", 7);
  EXPECT_OK(spool.Flush());
  EXPECT_EQ(log.lines(), (Lines{"open shard-0 1", "open shard-7 2", "open 4999 1", "open 10 shard-7 2"}));
  // The next open is the first of a new minute, and is written before that minute ends.
  clock.Advance(60'000);
  open("1", 9);
  log.WaitForLines(5);
  EXPECT_EQ(log.lines().back(), "open shard-9 1");
}

TEST(AuditSpool, AWindowEndsWithoutANewRecord) {
  FakeLog log;
  FakeClock clock;
  AuditSpool spool(log.Commit(), clock, {.window_ms = 50});
  spool.Add(Open("1"));
  spool.Add(Open("1"));
  clock.Advance(50);
  log.WaitForLines(2);
  EXPECT_EQ(log.lines(), (Lines{"open 1", "open 1 1"}));
}

TEST(AuditSpool, EachOpenIsRecordedOnRequest) {
  FakeLog log;
  FakeClock clock;
  AuditSpool spool(log.Commit(), clock, {});
  for (int i = 0; i < 100; ++i) spool.Add(Open("1"), AuditSpool::Repeats::kEach);
  EXPECT_OK(spool.Flush());
  EXPECT_EQ(log.lines(), Lines(100, "open 1"));
}

TEST(AuditSpool, TheRegistrysSettingSaysWhetherOpensAreCounted) {
  testing::Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  const auto open_twenty = [&] {
    for (int i = 0; i < 20; ++i) {
      box.registry->RecordAudit(box.ann, Operation::kReadFiles, model, OkStatus(),
                                {{"version_arg", "1"}, {"file", std::to_string(i)}});
    }
    EXPECT_OK(box.registry->FlushAudit());
    return box.registry->Audit(box.ann, {.action = std::string(kOpenAction)})->size();
  };
  EXPECT_EQ(open_twenty(), 2U);
  AuditSettings settings = box.registry->GetAuditSettings(box.ann).value();
  settings.opens = AuditSettings::Opens::kEach;
  ASSERT_OK(box.registry->SetAuditSettings(box.ann, settings));
  EXPECT_EQ(box.registry->GetAuditSettings(box.ann).value(), settings);
  box.clock.Advance(1000);
  EXPECT_EQ(open_twenty(), 22U);
  EXPECT_EQ(box.registry->Audit(box.ann, {})->back().action, std::string(kOpenAction));
  Caller eve = box.ann;
  eve.principal = "eve";
  EXPECT_EQ(Outcome(box.registry->SetAuditSettings(eve, {})), "permission denied");
  EXPECT_EQ(Outcome(box.registry->GetAuditSettings(eve)), "permission denied");
  settings.most_bytes = 1;
  EXPECT_EQ(Outcome(box.registry->SetAuditSettings(box.ann, settings)), "invalid argument");
}

TEST(AuditSpool, AnUnusedSpoolFlushesAndEnds) {
  FakeLog log;
  const FakeClock clock;
  AuditSpool spool(log.Commit(), clock, {});
  EXPECT_OK(spool.Flush());
}

TEST(AuditSpool, IdenticalRecordsAreOneAndACount) {
  FakeLog log;
  FakeClock clock;
  AuditSpool spool(log.Commit(), clock, {});
  for (int i = 0; i < 500; ++i) spool.Add(Refusal("eve"));
  spool.Add(Refusal("mallory"));
  spool.Add(Refusal("eve", "setRegisteredModelTag"));
  EXPECT_OK(spool.Flush());
  EXPECT_EQ(log.lines(), (Lines{"eve deleteRegisteredModel", "mallory deleteRegisteredModel",
                                "eve setRegisteredModelTag", "eve deleteRegisteredModel 499"}));
  clock.Advance(60'000);
  spool.Add(Refusal("mallory"));
  EXPECT_OK(spool.Flush());
  EXPECT_EQ(log.lines().back(), "mallory deleteRegisteredModel") << "another minute, another record";
  // Opens of one file, too: a loop over it must not fill the disk.
  for (int i = 0; i < 300; ++i) spool.Add(Open("same"));
  spool.Add(Open("other"));
  EXPECT_OK(spool.Flush());
  const Lines lines = log.lines();
  EXPECT_EQ(Lines(lines.begin() + 5, lines.end()), (Lines{"open same", "open other", "open 299 same"}));
}

TEST(AuditSpool, RecordsThatDoNotFitAreCountedAndTheCountIsRecorded) {
  FakeLog log;
  const FakeClock clock;
  AuditSpool spool(log.Commit(), clock, {.capacity = 10, .longest_wait = std::chrono::milliseconds(1)});
  log.Hold(true);
  spool.Add(Open("first"));
  log.WaitForCall();
  for (int i = 0; i < 25; ++i) spool.Add(Open(std::to_string(i)));
  log.Hold(false);
  EXPECT_OK(spool.Flush());
  EXPECT_OK(spool.Flush());  // the count comes after the waiting records
  const Lines lines = log.lines();
  ASSERT_EQ(lines.size(), 11U);
  EXPECT_EQ(lines[9], "open 8");
  EXPECT_EQ(lines[10], "lost 16");
}

TEST(AuditSpool, AFullDiskKeepsRecordsWaiting) {
  FakeLog log;
  const FakeClock clock;
  AuditSpool spool(log.Commit(), clock, {.capacity = 5, .retry_after = std::chrono::hours(1)});
  log.SetFull(true);
  for (int i = 0; i < 3; ++i) spool.Add(Open(std::to_string(i)));
  EXPECT_EQ(Outcome(spool.Flush()), "no space");
  EXPECT_EQ(Outcome(spool.Flush()), "no space");
  for (int i = 3; i < 9; ++i) spool.Add(Open(std::to_string(i)));
  EXPECT_TRUE(log.lines().empty());
  log.SetFull(false);
  EXPECT_OK(spool.Flush());
  EXPECT_OK(spool.Flush());
  EXPECT_EQ(log.lines(), (Lines{"open 0", "open 1", "open 2", "open 3", "open 4", "lost 4"}));
}

TEST(AuditSpool, EndsAlthoughNothingCanBeWritten) {
  FakeLog log;
  const FakeClock clock;
  log.SetFull(true);
  {
    AuditSpool spool(log.Commit(), clock, {.retry_after = std::chrono::hours(1)});
    spool.Add(Open("x"));
    EXPECT_EQ(Outcome(spool.Flush()), "no space");
  }
  EXPECT_TRUE(log.lines().empty());
}

// Through the registry: the records are in the chain, between concurrent changes.
TEST(AuditSpool, RecordsOfManyThreadsAreInOneWholeChain) {
  testing::Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.registry->SetAuditSettings(box.ann, {.opens = AuditSettings::Opens::kEach}));
  constexpr int kEach = 100;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        box.registry->RecordAudit(box.ann, Operation::kReadFiles, model, OkStatus(),
                                  {{"file", std::to_string(t * kEach + i)}});
      }
    });
  }
  for (int i = 0; i < 20; ++i)
    EXPECT_OK(box.registry->SetTag(box.ann, {model, std::nullopt}, "k", std::to_string(i)));
  for (std::thread& thread : threads) thread.join();
  EXPECT_OK(box.registry->FlushAudit());
  EXPECT_EQ(box.registry->VerifyAudit(box.ann).value(), 4U + 1U + 20U + 3U * kEach);
  EXPECT_EQ(box.registry->Audit(box.ann, {.action = std::string(kOpenAction), .full_name = "c.s.m"})->size(),
            3U * kEach);
}

TEST(AuditSpool, LongTextsAreCut) {
  testing::Box box(MakeMemoryKv());
  std::map<std::string, std::string> params;
  for (int i = 0; i < 100; ++i) params[std::to_string(i)] = std::string(100'000, 'p');
  for (int i = 0; i < 30; ++i) {
    box.ann.door = std::to_string(i);  // so that no two are alike
    box.registry->RecordAudit(box.ann, Operation::kReadFiles, kMetastoreId,
                              Error(Code::kPermissionDenied, std::string(10 << 20, 'e')), params);
  }
  EXPECT_OK(box.registry->FlushAudit());
  EXPECT_EQ(box.registry->Audit(box.ann, {.action = std::string(kOpenAction)})->size(), 30U);
}

// A front end's check is not an attempt, and it records its decision itself.
TEST(AuditSpool, ACheckIsNotRecordedButARefusedCallIs) {
  testing::Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  Caller eve = box.ann;
  eve.principal = "eve";
  EXPECT_EQ(Outcome(box.registry->CheckAccess(eve, Operation::kReadFiles, model)), "permission denied");
  EXPECT_OK(box.registry->FlushAudit());
  EXPECT_TRUE(box.registry->Audit(box.ann, {.principal = "eve"})->empty());
  EXPECT_EQ(Outcome(box.registry->SetAlias(eve, model, "A", 1)), "permission denied");
  EXPECT_EQ(Outcome(box.registry->Lookup(eve, FullName{{"c", "s", "m"}})), "not found");
  EXPECT_OK(box.registry->FlushAudit());
  const auto records = box.registry->Audit(box.ann, {.principal = "eve"}).value();
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].action, "setRegisteredModelAlias");
  EXPECT_EQ(records[0].full_name, "c.s.m");
  EXPECT_EQ(records[1].status, 403) << "eve sees it as absent, the log as refused";
  EXPECT_EQ(records[1].error.substr(0, 21), "eve may not see catal") << records[1].error;
  EXPECT_EQ(records[1].action, "getRegisteredModel");
  EXPECT_EQ(records[1].full_name, "c.s.m") << "the requested name, not the place where the look-up ended";
  EXPECT_EQ(records[1].object, model);
  // A request that is refused during the look-up of its object is recorded as the request.
  Caller asking = eve;
  asking.intent = Intent{"setRegisteredModelAlias", {{"alias_arg", "A"}}};
  EXPECT_EQ(Outcome(box.registry->Lookup(asking, FullName{{"c", "s", "m"}})), "not found");
  EXPECT_EQ(Outcome(box.registry->Lookup(asking, FullName{{"c", "s", "gone"}})), "not found");
  EXPECT_OK(box.registry->FlushAudit());
  const auto more = box.registry->Audit(box.ann, {.after_sequence = records[1].sequence}).value();
  ASSERT_EQ(more.size(), 2U);
  EXPECT_EQ(more[0].action, "setRegisteredModelAlias");
  EXPECT_EQ(more[0].full_name, "c.s.m");
  EXPECT_EQ(more[0].object, model);
  EXPECT_EQ(more[0].params.at("alias_arg"), "A");
  EXPECT_EQ(more[1].full_name, "c.s.gone");
  EXPECT_EQ(
      box.registry->Audit(box.ann, {.full_name = "c.s", .outcome = AuditQuery::Outcome::kRefused})->size(),
      4U);
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
}

}  // namespace
}  // namespace modelfs::store
