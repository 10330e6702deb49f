// Moving audit records to files: the chain stays whole, whatever happens on the way, and reveals changes of
// the files.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "store/audit/files.h"
#include "store/records/keys.h"
#include "store/records/records.h"
#include "tests/cas/fake_files.h"
#include "tests/store/forwarding_kv.h"
#include "tests/store/kv/scratch_dir.h"
#include "tests/store/kv/worker.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::Box;
using testing::OpenLmdbAt;
using testing::Outcome;
using testing::ScratchDir;
using testing::Worker;

constexpr auto kPolicy = RegistrySettings::SignaturePolicy::kIfMlmodel;

EmbeddedRegistryOptions WithFilesIn(const std::string& directory) {
  EmbeddedRegistryOptions options;
  options.audit_directory = directory + "/audit";
  return options;
}

std::vector<AuditRecord> All(Box& box) { return box.registry->Audit(box.ann, {.limit = 1'000'000}).value(); }

std::vector<std::string> FilesIn(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> LinesOf(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

void WriteLines(const std::string& path, const std::vector<std::string>& lines) {
  std::filesystem::remove(path);
  std::ofstream file(path);
  for (const std::string& line : lines) file << line << "\n";
}

// 14 records about catalog c, and one for the registry itself.
void Fill(Box& box) {
  const ObjectId model = box.Make("c.s.m");
  for (int i = 0; i < 10; ++i)
    ASSERT_OK(box.registry->SetTag(box.ann, {model, std::nullopt}, "k", std::to_string(i)));
}

TEST(AuditRotation, MovedRecordsAreReadAndVerifiedAsBefore) {
  const ScratchDir dir;
  Box box(MakeMemoryKv(), kPolicy, WithFilesIn(dir.path()));
  Fill(box);
  const std::vector<AuditRecord> before = All(box);
  ASSERT_EQ(before.size(), 14U);
  const AuditRotation rotation = box.registry->RotateAudit(box.ann, {.keep = 4}).value();
  EXPECT_EQ(rotation.records, 10U);
  EXPECT_EQ(FilesIn(dir.path() + "/audit"), std::vector<std::string>{"1-10.jsonl"});
  const std::vector<AuditRecord> after = All(box);
  ASSERT_EQ(after.size(), 15U);
  EXPECT_EQ(after.back().action, "rotateAuditLog");
  EXPECT_EQ(after.back().params.at("last_sequence"), "10");
  for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(after[i].hash, before[i].hash) << i;
  EXPECT_EQ(box.registry->VerifyAudit(box.ann).value(), 15U);
  // None of them is left in the registry: it has records 11 to 15, and their entries in the index.
  const auto snapshot = box.kv->Read().value();
  EXPECT_EQ(snapshot->Range("A", "B", 100)->size(), 5U);
  const auto index = snapshot->Range("a", "b", 100).value();
  for (const KvEntry& entry : index) EXPECT_GT(keys::SecondNumber(entry.key), 10U);
  // Again, and with no records to move.
  EXPECT_EQ(box.registry->RotateAudit(box.ann, {.keep = 3})->records, 2U);
  EXPECT_EQ(box.registry->RotateAudit(box.ann, {.keep = 50})->records, 0U);
  EXPECT_EQ(FilesIn(dir.path() + "/audit"), (std::vector<std::string>{"1-10.jsonl", "11-12.jsonl"}));
  EXPECT_EQ(box.registry->VerifyAudit(box.ann).value(), 16U);
}

// An engine that counts the entries that are read of the audit index.
class CountsIndexReads : public ForwardingKv {
 public:
  explicit CountsIndexReads(std::unique_ptr<Kv> kv) : ForwardingKv(*kv), kv_(std::move(kv)) {}

  size_t read() const { return read_; }

  Result<std::unique_ptr<Snapshot>> Read() override {
    ASSIGN_OR_RETURN(std::unique_ptr<Snapshot> snapshot, below_.Read());
    return std::unique_ptr<Snapshot>(std::make_unique<Counting>(std::move(snapshot), read_));
  }

 private:
  class Counting : public Snapshot {
   public:
    Counting(std::unique_ptr<Snapshot> snapshot, std::atomic<size_t>& read)
        : snapshot_(std::move(snapshot)), read_(read) {}
    Revision revision() const override { return snapshot_->revision(); }
    Result<std::optional<KvEntry>> Get(std::string_view key) override { return snapshot_->Get(key); }
    Result<std::vector<KvEntry>> Range(std::string_view begin, std::string_view end, size_t limit) override {
      Result<std::vector<KvEntry>> entries = snapshot_->Range(begin, end, limit);
      if (entries.ok() && begin.starts_with('a')) read_ += entries->size();
      return entries;
    }
    Result<std::optional<KvEntry>> Last(std::string_view begin, std::string_view end) override {
      return snapshot_->Last(begin, end);
    }

   private:
    std::unique_ptr<Snapshot> snapshot_;
    std::atomic<size_t>& read_;
  };

  std::unique_ptr<Kv> kv_;
  std::atomic<size_t> read_ = 0;
};

// Each object has entries in the index, so a registry of many objects must not be read again for each of
// them.
TEST(AuditRotation, ReadsTheIndexOfManyObjectsOnce) {
  const ScratchDir dir;
  auto engine = std::make_unique<CountsIndexReads>(MakeMemoryKv());
  CountsIndexReads& counts = *engine;
  Box box(std::move(engine), kPolicy, WithFilesIn(dir.path()));
  constexpr uint64_t kModels = 400;
  for (uint64_t i = 0; i < kModels; ++i) box.Make(fmt::format("c.s.m{}", i));
  const size_t entries = box.kv->Read().value()->Range("a", "b", 100'000)->size();
  const size_t before = counts.read();
  ASSERT_EQ(box.registry->RotateAudit(box.ann, {.keep = kModels / 2})->files, 1U);
  EXPECT_LT(counts.read() - before, 5 * entries);
}

TEST(AuditRotation, ALineIsTheRecordAsJsonAndItsBytes) {
  const ScratchDir dir;
  Box box(MakeMemoryKv(), kPolicy, WithFilesIn(dir.path()));
  Fill(box);
  const AuditRecord record = All(box).at(4);
  ASSERT_OK(box.registry->RotateAudit(box.ann, {}));
  const std::string path = dir.path() + "/audit/1-14.jsonl";
  const auto json = nlohmann::json::parse(LinesOf(path).at(4));
  EXPECT_EQ(json["actionName"], "setRegisteredModelTag");
  EXPECT_EQ(json["sequence"], 5);
  EXPECT_EQ(json["userIdentity"]["email"], "ann");
  EXPECT_EQ(json["response"]["statusCode"], 200);
  EXPECT_EQ(json["hash"], (Digest{record.hash, 0}.Hex()));
  EXPECT_EQ(EncodingInLine(LinesOf(path).at(4)).value(), EncodeAudit(record));
  struct stat info {};
  ASSERT_EQ(::stat((dir.path() + "/audit").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0700U);
}

TEST(AuditRotation, ByTimeMovesTheOldestRecordsWithoutGaps) {
  const ScratchDir dir;
  Box box(MakeMemoryKv(), kPolicy, WithFilesIn(dir.path()));
  box.Make("c.s");  // 1 to 3
  box.clock.Advance(60'000);
  box.Make("c.s.m");            // 4
  box.clock.Advance(-120'000);  // a clock that was wrong
  box.Make("c.s.n");            // 5
  box.clock.Advance(90'000);
  EXPECT_EQ(box.registry->RotateAudit(box.ann, {.before_ms = box.clock.NowMs()})->records, 3U);
  EXPECT_EQ(box.registry->VerifyAudit(box.ann).value(), 6U);
}

TEST(AuditRotation, TamperingWithTheFilesIsFound) {
  struct Row {
    const char* what;
    std::function<void(std::vector<std::string>&)> tamper;
    std::string blamed;
  };
  const auto replace = [](std::string& line, const std::string& from, const std::string& to) {
    const size_t at = line.find(from);
    ASSERT_NE(at, std::string::npos);
    line.replace(at, from.size(), to);
  };
  const auto forged = [](const std::string& line) {
    AuditRecord record = DecodeAudit(EncodingInLine(line).value(), "audit").value();
    record.principal = "mallory";
    record.hash = AuditHash(record);
    return AuditLine(record);
  };
  const Row rows[] = {
      {"a line removed", [](auto& lines) { lines.erase(lines.begin() + 2); }, "3 has another record"},
      {"the first removed", [](auto& lines) { lines.erase(lines.begin()); }, "1 has another record"},
      {"the last removed", [](auto& lines) { lines.pop_back(); }, "10 is missing"},
      {"two exchanged", [](auto& lines) { std::swap(lines[2], lines[3]); }, "3 has another record"},
      {"the text edited", [&](auto& lines) { replace(lines[4], "\"ann\"", "\"bob\""); }, "5 reads otherwise"},
      {"text and bytes edited", [&](auto& lines) { lines[4] = forged(lines[4]); }, "5 was edited"},
      {"the last edited", [&](auto& lines) { lines.back() = forged(lines.back()); }, "10 was edited"},
      {"the bytes damaged", [&](auto& lines) { lines[4].replace(lines[4].size() - 10, 3, "AAA"); },
       "5 does not match its checksum"},
      {"the bytes gone", [&](auto& lines) { replace(lines[4], "\"record\":", "\"recorx\":"); },
       "5 is no longer a record"},
      {"a line added", [](auto& lines) { lines.push_back(lines.back()); }, "11 has another record"},
      {"empty", [](auto& lines) { lines.clear(); }, "1 is missing"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    const ScratchDir dir;
    Box box(MakeMemoryKv(), kPolicy, WithFilesIn(dir.path()));
    Fill(box);
    ASSERT_OK(box.registry->RotateAudit(box.ann, {.keep = 4}));
    const std::string path = dir.path() + "/audit/1-10.jsonl";
    std::vector<std::string> lines = LinesOf(path);
    row.tamper(lines);
    WriteLines(path, lines);
    const auto verdict = box.registry->VerifyAudit(box.ann);
    ASSERT_EQ(Outcome(verdict), "data loss");
    const std::string want = "audit record " + row.blamed;
    EXPECT_EQ(verdict.error().message().substr(0, want.size()), want) << verdict.error().message();
  }
}

TEST(AuditRotation, AMissingFileAndAMissingRecordAfterTheFilesAreFound) {
  const ScratchDir dir;
  Box box(MakeMemoryKv(), kPolicy, WithFilesIn(dir.path()));
  Fill(box);
  ASSERT_OK(box.registry->RotateAudit(box.ann, {.keep = 10}));
  ASSERT_OK(box.registry->RotateAudit(box.ann, {.keep = 4}));
  const auto message = [&] { return box.registry->VerifyAudit(box.ann).error().message(); };
  const auto starts_with = [&](const std::string& want) {
    EXPECT_EQ(message().substr(0, want.size()), want);
    EXPECT_EQ(message().find("tampered"), std::string::npos) << message();
  };
  const auto read = [&](const AuditQuery& query) { return box.registry->Audit(box.ann, query); };
  std::filesystem::rename(dir.path() + "/audit/1-4.jsonl", dir.path() + "/kept");
  starts_with("audit records 1 to 4 are missing: " + dir.path() + "/audit/1-4.jsonl");
  EXPECT_EQ(Outcome(read({.limit = 1000})), "data loss") << "not just the rest";
  EXPECT_EQ(read({.after_sequence = 4})->size(), 12U) << "the rest can still be queried";
  EXPECT_EQ(read({.order = AuditQuery::Order::kNewestFirst, .limit = 12})->back().sequence, 5U);
  EXPECT_EQ(Outcome(read({.order = AuditQuery::Order::kNewestFirst, .limit = 13})), "data loss");
  EXPECT_EQ(Outcome(read({.full_name = "c.s.m", .limit = 1000})), "data loss");
  std::filesystem::rename(dir.path() + "/kept", dir.path() + "/audit/1-4.jsonl");
  std::filesystem::rename(dir.path() + "/audit/5-11.jsonl", dir.path() + "/kept");
  starts_with("audit records 5 to 11 are missing: " + dir.path() + "/audit/5-11.jsonl");
  EXPECT_EQ(Outcome(read({.limit = 1000})), "data loss");
  EXPECT_EQ(read({.limit = 4})->size(), 4U);
  std::filesystem::rename(dir.path() + "/kept", dir.path() + "/audit/5-11.jsonl");
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
  KvTransaction removal;
  removal.Delete(keys::Audit(12));
  ASSERT_OK(box.kv->Commit(removal));
  EXPECT_EQ(message().substr(0, 26), "audit record 12 is missing");
  EXPECT_EQ(Outcome(read({.limit = 1000})), "data loss");
}

TEST(AuditRotation, AForeignFileIsFound) {
  struct Row {
    const char* what;
    const char* from;
    const char* to;
    bool read_too = false;  // whether reading the log notices it
  };
  const Row rows[] = {
      {"beyond the end", "1-10.jsonl", "100-109.jsonl"},
      {"where the next one would begin", "1-10.jsonl", "11-20.jsonl"},
      {"over the end", "1-10.jsonl", "9-18.jsonl", true},
      {"records that the log has already", "1-10.jsonl", "3-10.jsonl", true},
      {"in another spelling", "1-10.jsonl", "01-10.jsonl"},
      {"of no numbers", "1-10.jsonl", "first.jsonl"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    const ScratchDir dir;
    Box box(MakeMemoryKv(), kPolicy, WithFilesIn(dir.path()));
    Fill(box);
    ASSERT_OK(box.registry->RotateAudit(box.ann, {.keep = 4}));
    ASSERT_OK(box.registry->VerifyAudit(box.ann));
    const std::string path = dir.path() + "/audit/" + row.to;
    std::filesystem::copy_file(dir.path() + "/audit/" + row.from, path);
    const auto verdict = box.registry->VerifyAudit(box.ann);
    ASSERT_EQ(Outcome(verdict), "data loss");
    EXPECT_EQ(verdict.error().message().substr(0, path.size()), path) << verdict.error().message();
    EXPECT_EQ(box.registry->Audit(box.ann, {.limit = 1000}).ok(), !row.read_too);
    EXPECT_EQ(Outcome(box.registry->RotateAudit(box.ann, {})), "data loss");
    EXPECT_TRUE(std::filesystem::exists(path)) << "it is evidence";
  }
}

// As TamperingWithTheFilesIsFound, for a caller that only reads the log.
TEST(AuditRotation, AReaderNoticesAMissingLine) {
  for (const bool last : {false, true}) {
    const ScratchDir dir;
    Box box(MakeMemoryKv(), kPolicy, WithFilesIn(dir.path()));
    Fill(box);
    ASSERT_OK(box.registry->RotateAudit(box.ann, {.keep = 4}));
    const std::string path = dir.path() + "/audit/1-10.jsonl";
    std::vector<std::string> lines = LinesOf(path);
    lines.erase(last ? lines.end() - 1 : lines.begin() + 4);
    WriteLines(path, lines);
    EXPECT_EQ(Outcome(box.registry->Audit(box.ann, {.limit = 1000})), "data loss");
    EXPECT_EQ(box.registry->Audit(box.ann, {.limit = 4})->size(), 4U);
  }
}

TEST(AuditRotation, ABrokenChainIsNotMoved) {
  const ScratchDir dir;
  Box box(MakeMemoryKv(), kPolicy, WithFilesIn(dir.path()));
  Fill(box);
  KvTransaction removal;
  removal.Delete(keys::Audit(7));
  ASSERT_OK(box.kv->Commit(removal));
  EXPECT_EQ(Outcome(box.registry->RotateAudit(box.ann, {})), "data loss");
  EXPECT_EQ(box.kv->Read().value()->Range("A", "B", 100)->size(), 13U);
}

TEST(AuditRotation, IsRefusedWithoutADirectoryAndWithoutTheRight) {
  const ScratchDir dir;
  Box box(MakeMemoryKv());
  EXPECT_EQ(Outcome(box.registry->RotateAudit(box.ann, {})), "failed precondition");
  box.Open(WithFilesIn(dir.path()));
  Caller eve = box.ann;
  eve.principal = "eve";
  eve.uid = 6666;
  EXPECT_EQ(Outcome(box.registry->RotateAudit(eve, {})), "permission denied");
}

TEST(AuditUpkeep, ALogThatIsTooLargeIsHalved) {
  const ScratchDir dir;
  Box box(MakeMemoryKv(), kPolicy, WithFilesIn(dir.path()));
  const ObjectId model = box.Make("c.s.m");
  using Tending = EmbeddedRegistry::Tending;
  ASSERT_OK(box.registry->SetAuditSettings(box.ann, {.most_bytes = 64 << 10}));
  const auto kept = [&] {
    const auto entry = box.kv->Read().value()->Get(keys::AuditHead()).value();
    return AuditHeadRecord::Decode(entry->value, "head")->kept_bytes;
  };
  const auto kept_by_hand = [&] {
    uint64_t bytes = 0;
    const auto snapshot = box.kv->Read().value();
    const std::vector<KvEntry> entries = snapshot->Range("A", "B", 100'000).value();
    for (const KvEntry& entry : entries) bytes += entry.value.size();
    return bytes;
  };
  while (kept() <= 64 << 10) {
    EXPECT_EQ(box.registry->TendAudit(box.ann, Tending::kDue)->records, 0U);
    for (int i = 0; i < 20; ++i)
      ASSERT_OK(box.registry->SetTag(box.ann, {model, std::nullopt}, "k", std::to_string(kept() + i)));
  }
  EXPECT_EQ(kept(), kept_by_hand());
  EXPECT_EQ(box.registry->TendAudit(box.ann, Tending::kOverdue)->records, 0U)
      << "another process may do it first";
  EXPECT_GT(box.registry->TendAudit(box.ann, Tending::kDue)->records, 50U);
  EXPECT_EQ(kept(), kept_by_hand());
  EXPECT_LT(kept(), 40 << 10);
  EXPECT_GT(kept(), 25 << 10);
  EXPECT_EQ(box.registry->TendAudit(box.ann, Tending::kDue)->records, 0U);
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
  while (kept() <= 128 << 10)
    ASSERT_OK(box.registry->SetTag(box.ann, {model, std::nullopt}, "k", std::to_string(kept())));
  EXPECT_GT(box.registry->TendAudit(box.ann, Tending::kOverdue)->records, 0U);
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
}

TEST(AuditUpkeep, ALogThatIsTooOldLosesTheOlderHalfOfItsTime) {
  const ScratchDir dir;
  Box box(MakeMemoryKv(), kPolicy, WithFilesIn(dir.path()));
  const ObjectId model = box.Make("c.s.m");
  using Tending = EmbeddedRegistry::Tending;
  constexpr int64_t kDayMs = int64_t{24} * 60 * 60 * 1000;
  ASSERT_OK(box.registry->SetAuditSettings(box.ann, {.longest_ms = 10 * kDayMs}));
  for (int day = 0; day < 10; ++day) {
    box.clock.Advance(kDayMs);
    ASSERT_OK(box.registry->SetTag(box.ann, {model, std::nullopt}, "k", std::to_string(day)));
    EXPECT_EQ(box.registry->TendAudit(box.ann, Tending::kDue)->records, 0U);
  }
  box.clock.Advance(1);
  EXPECT_EQ(box.registry->TendAudit(box.ann, Tending::kDue)->records, 5U + 5U);
  EXPECT_EQ(box.registry->TendAudit(box.ann, Tending::kDue)->records, 0U);
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
}

// A load test that opens another file each time. LMDB never shrinks its file, so moved records must make room
// for new ones. Else the file grows to some ten times the bound.
TEST(AuditUpkeep, TheDataFileStaysSmallHoweverManyOpensAreRecorded) {
  const ScratchDir dir;
  Box box(OpenLmdbAt(dir.path() + "/kv"), kPolicy, WithFilesIn(dir.path()));
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.registry->SetAuditSettings(box.ann,
                                           {.opens = AuditSettings::Opens::kEach, .most_bytes = 256 << 10}));
  constexpr int kRounds = 24;
  constexpr int kOpens = 1000;
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kOpens; ++i) {
      box.registry->RecordAudit(box.ann, Operation::kReadFiles, model, OkStatus(),
                                {{"version_arg", "1"}, {"file", fmt::format("shard-{}-{}", round, i)}});
    }
    ASSERT_OK(box.registry->FlushAudit());
    ASSERT_OK(box.registry->TendAudit(box.ann, EmbeddedRegistry::Tending::kDue));
  }
  EXPECT_LT(std::filesystem::file_size(dir.path() + "/kv/data.mdb"), 2U << 20U);
  EXPECT_GT(FilesIn(dir.path() + "/audit").size(), 10U);
  EXPECT_GE(box.registry->VerifyAudit(box.ann).value(), static_cast<uint64_t>(kRounds) * kOpens);
}

// Fails call 1 of a rotation to the file system, then call 2, …, and cuts the power each time.
class AuditRotationPowerCut : public ::testing::TestWithParam<cas::UnsyncedNames> {};

TEST_P(AuditRotationPowerCut, LosesNoRecord) {
  for (int n = 1;; ++n) {
    SCOPED_TRACE(::testing::Message() << "failing call " << n);
    const ScratchDir dir;
    cas::FakeFiles files(dir.path());
    EmbeddedRegistryOptions options = WithFilesIn(dir.path());
    options.files = &files;
    Box box(MakeMemoryKv(), kPolicy, options);
    Fill(box);
    files.FailCall(n);
    const auto rotated = box.registry->RotateAudit(box.ann, {.keep = 4});
    const bool fault_fired = files.fault_fired();
    EXPECT_NE(rotated.ok(), fault_fired);
    files.FailCall(0);
    files.PowerCut(GetParam());
    box.Open(options);
    EXPECT_OK(box.registry->VerifyAudit(box.ann));
    EXPECT_EQ(All(box).size(), rotated.ok() ? 15U : 14U);
    const auto again = box.registry->RotateAudit(box.ann, {.keep = 2});
    EXPECT_OK(again);
    EXPECT_OK(box.registry->VerifyAudit(box.ann));
    if (!fault_fired) break;
    ASSERT_LT(n, 100);
  }
}

INSTANTIATE_TEST_SUITE_P(Names, AuditRotationPowerCut,
                         ::testing::Values(cas::UnsyncedNames::kLost, cas::UnsyncedNames::kKept),
                         [](const auto& names) {
                           return std::string(names.param == cas::UnsyncedNames::kLost ? "Lost" : "Kept");
                         });

TEST(Crash, AKilledRotationLeavesTheChainWhole) {
  struct Row {
    const char* point;
    uint64_t records;  // in the log afterwards
  };
  const Row rows[] = {{"audit.rotate.written", 44}, {"audit.rotate.moved", 45}, {"audit.rotate.step", 45},
                      {"audit.rotate.step:2", 45},  {"kv.commit.begin", 44},    {"kv.commit.applied", 44},
                      {"kv.commit.done", 45}};
  for (const Row& row : rows) {
    SCOPED_TRACE(row.point);
    const ScratchDir dir;
    const std::string home = dir.path() + "/kv";
    const std::string audit = dir.path() + "/audit";
    Box box(OpenLmdbAt(home), kPolicy, WithFilesIn(dir.path()));
    const ObjectId model = box.Make("c.s.m");
    for (int i = 0; i < 40; ++i)
      ASSERT_OK(box.registry->SetTag(box.ann, {model, std::nullopt}, "k", std::to_string(i)));
    {
      Worker worker({"rotate", home, audit, "4"}, row.point);
      EXPECT_TRUE(worker.AllLines().empty());
      EXPECT_TRUE(WIFSIGNALED(worker.Wait()));
    }
    EXPECT_EQ(box.registry->VerifyAudit(box.ann).value(), row.records);
    EXPECT_EQ(All(box).size(), row.records);
    EXPECT_EQ(box.registry->Audit(box.ann, {.full_name = "c.s.m"})->size(), 41U);
    ASSERT_OK(box.registry->SetTag(box.ann, {model, std::nullopt}, "k", "between"));
    {
      Worker worker({"rotate", home, audit, "2"});
      EXPECT_EQ(worker.AllLines().size(), 1U);
      EXPECT_EQ(worker.Wait(), 0);
    }
    EXPECT_EQ(box.registry->VerifyAudit(box.ann).value(), row.records + 2);
    EXPECT_EQ(box.registry->Audit(box.ann, {.full_name = "c.s.m"})->size(), 42U);
    const auto snapshot = box.kv->Read().value();
    EXPECT_EQ(snapshot->Range("A", "B", 100)->size(), 3U);
    const auto index = snapshot->Range("a", "b", 1000).value();
    for (const KvEntry& entry : index) {
      EXPECT_GE(keys::SecondNumber(entry.key), row.records);
    }
  }
}

}  // namespace
}  // namespace modelfs::store
