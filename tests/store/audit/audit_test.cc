// The audit chain reveals changes of the log, and a record reveals changes of its bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <set>

#include "cas/base/checksum.h"
#include "cas/base/codec.h"
#include "store/records/keys.h"
#include "store/records/records.h"
#include "tests/store/embedded/script.h"
#include "tests/store/forwarding_kv.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::Box;
using testing::Outcome;

AuditRecord RecordAt(Kv& kv, uint64_t sequence) {
  const auto snapshot = kv.Read().value();
  return DecodeAudit(snapshot->Get(keys::Audit(sequence)).value()->value, "audit").value();
}

void Write(Kv& kv, const std::string& key, std::optional<std::string> value) {
  KvTransaction transaction;
  transaction.writes.push_back({key, std::move(value)});
  ASSERT_OK(kv.Commit(transaction));
}

TEST(AuditChain, RemovedEditedAndReorderedRecordsAreFound) {
  struct Row {
    const char* what;
    std::function<void(Kv&, uint64_t last)> tamper;
    uint64_t blamed;  // 0: the last
  };
  const auto edit = [](Kv& kv, uint64_t sequence) {  // with a checksum that fits again
    AuditRecord record = RecordAt(kv, sequence);
    record.principal = "mallory";
    Write(kv, keys::Audit(sequence), EncodeAudit(record));
  };
  const Row rows[] = {
      {"removed", [](Kv& kv, uint64_t) { Write(kv, keys::Audit(3), std::nullopt); }, 3},
      {"first removed", [](Kv& kv, uint64_t) { Write(kv, keys::Audit(1), std::nullopt); }, 1},
      {"last removed", [](Kv& kv, uint64_t last) { Write(kv, keys::Audit(last), std::nullopt); }, 0},
      {"edited", [&](Kv& kv, uint64_t) { edit(kv, 3); }, 3},
      {"first edited", [&](Kv& kv, uint64_t) { edit(kv, 1); }, 1},
      {"last edited", [&](Kv& kv, uint64_t last) { edit(kv, last); }, 0},
      {"a bit flipped",
       [](Kv& kv, uint64_t) {
         std::string bytes = EncodeAudit(RecordAt(kv, 4));
         bytes[10] = static_cast<char>(bytes[10] ^ 1);
         Write(kv, keys::Audit(4), bytes);
       },
       4},
      {"taken out of the index", [](Kv& kv, uint64_t) { Write(kv, keys::AuditIndex(3, 4), std::nullopt); },
       4},
      {"taken out of its schema's index",
       [](Kv& kv, uint64_t) { Write(kv, keys::AuditIndex(2, 4), std::nullopt); }, 4},
      {"taken out of its catalog's index",
       [](Kv& kv, uint64_t) { Write(kv, keys::AuditIndex(1, 4), std::nullopt); }, 4},
      {"two exchanged",
       [](Kv& kv, uint64_t) {
         const std::string third = EncodeAudit(RecordAt(kv, 3));
         Write(kv, keys::Audit(3), EncodeAudit(RecordAt(kv, 4)));
         Write(kv, keys::Audit(4), third);
       },
       3},
      {"two exchanged and renumbered",
       [](Kv& kv, uint64_t) {
         AuditRecord third = RecordAt(kv, 3);
         AuditRecord fourth = RecordAt(kv, 4);
         std::swap(third.sequence, fourth.sequence);
         Write(kv, keys::Audit(3), EncodeAudit(fourth));
         Write(kv, keys::Audit(4), EncodeAudit(third));
       },
       2},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    Box box(MakeMemoryKv());
    box.Make("c.s.m");
    box.Make("c.s.n");
    const uint64_t last = box.registry->VerifyAudit(box.ann).value();
    ASSERT_EQ(last, 5U);
    row.tamper(*box.kv, last);
    const auto verdict = box.registry->VerifyAudit(box.ann);
    ASSERT_EQ(Outcome(verdict), "data loss");
    const std::string want = "audit record " + std::to_string(row.blamed == 0 ? last : row.blamed) + " ";
    EXPECT_EQ(verdict.error().message().substr(0, want.size()), want) << verdict.error().message();
  }
}

// An engine with a disk that is full for audit records: each commit that contains one fails.
class NoRoomForAudit : public ForwardingKv {
 public:
  explicit NoRoomForAudit(std::unique_ptr<Kv> kv) : ForwardingKv(*kv), kv_(std::move(kv)) {}

  void SetFull(bool full) { full_ = full; }
  // The number of refused changes.
  int refused() const { return refused_; }
  // Letters of keys that were written without an audit record.
  const std::set<char>& unaudited() const { return unaudited_; }

  Result<Revision> Commit(const KvTransaction& transaction) override {
    const bool audited = std::any_of(transaction.writes.begin(), transaction.writes.end(),
                                     [](const KvWrite& write) { return write.key[0] == 'A'; });
    if (!audited) {
      for (const KvWrite& write : transaction.writes) unaudited_.insert(write.key[0]);
    } else if (full_) {
      if (transaction.log_entry) ++refused_;  // a change: records of refusals have no event
      return Error(Code::kNoSpace, "the disk is full");
    }
    return below_.Commit(transaction);
  }

 private:
  std::unique_ptr<Kv> kv_;
  std::atomic<bool> full_ = false;
  std::atomic<int> refused_ = 0;
  std::set<char> unaudited_;
};

TEST(AuditChain, AChangeFailsIfItsRecordCannotBeWritten) {
  auto engine = std::make_unique<NoRoomForAudit>(MakeMemoryKv());
  NoRoomForAudit& disk = *engine;
  Box box(std::move(engine));
  constexpr uint64_t kSeed = 20261124;
  constexpr int kSteps = 500;
  for (int step = 0; step < kSteps; ++step) {
    disk.SetFull(true);
    const std::string before = testing::Dump(*box.registry, box.ann);
    const int refused_before = disk.refused();
    const std::string full = testing::PlayStep(*box.registry, box.blobs, box.ann, kSeed, step);
    EXPECT_EQ(testing::Dump(*box.registry, box.ann), before) << step << ": " << full;
    const bool was_refused = disk.refused() > refused_before;
    EXPECT_EQ(full.find("no space") != std::string::npos, was_refused) << step << ": " << full;
    disk.SetFull(false);
    const std::string done = testing::PlayStep(*box.registry, box.blobs, box.ann, kSeed, step);
    if (was_refused) {
      EXPECT_EQ(done.substr(done.size() - 3), " ok") << step << ": " << done;
    }
  }
  EXPECT_GT(disk.refused(), 100);
  // Leases and the leftovers of deleted models are all that changes without a record.
  EXPECT_EQ(disk.unaudited(), (std::set<char>{'d', 'l', 'r', 't', 'v', 'w', 'x'}));
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
}

TEST(AuditChain, RefusalsWaitForFreeSpace) {
  auto engine = std::make_unique<NoRoomForAudit>(MakeMemoryKv());
  NoRoomForAudit& disk = *engine;
  Box box(std::move(engine));
  const ObjectId model = box.Make("c.s.m");
  Caller eve = box.ann;
  eve.principal = "eve";
  eve.uid = 6666;
  disk.SetFull(true);
  EXPECT_EQ(Outcome(box.registry->SetTag(eve, {model, std::nullopt}, "k", "v")), "permission denied");
  EXPECT_EQ(Outcome(box.registry->FlushAudit()), "no space");
  disk.SetFull(false);
  EXPECT_OK(box.registry->FlushAudit());
  EXPECT_EQ(box.registry->Audit(box.ann, {.principal = "eve", .full_name = "c.s.m"})->size(), 1U);
}

TEST(Records, AnAuditRecordHasOneOrderOfItsParameters) {
  AuditRecord record;
  record.params = {{"aa", "1"}, {"bb", "2"}};
  std::string bytes = EncodeAudit(record);
  bytes.resize(bytes.size() - 8);  // without its seal
  const auto sealed = [](const std::string& body) { return body + Encoder().U64(Xxh3_64(body)).bytes(); };
  EXPECT_OK(DecodeAudit(sealed(bytes), "audit"));
  for (const auto& [first, second] : {std::pair("bb", "aa"), std::pair("aa", "aa")}) {
    std::string other = bytes;
    other.replace(bytes.find("aa"), 2, first).replace(bytes.find("bb"), 2, second);
    EXPECT_EQ(Outcome(DecodeAudit(sealed(other), "audit")), "data loss") << first << second;
  }
}

TEST(Records, ADamagedRecordIsDataLossAndNamesItsObject) {
  Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  const auto object = box.registry->Get(box.ann, model).value();
  const std::string key = keys::Object(object.parent, "m");
  const std::string good = (*box.kv->Read())->Get(key).value()->value;
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bytes = good;
    bytes[i] = static_cast<char>(bytes[i] ^ 0x10);
    Write(*box.kv, key, bytes);
    ASSERT_EQ(Outcome(box.registry->Get(box.ann, model)), "data loss") << "byte " << i;
  }
  for (size_t length = 0; length < good.size(); ++length) {
    Write(*box.kv, key, good.substr(0, length));
    ASSERT_EQ(Outcome(box.registry->Get(box.ann, model)), "data loss") << "length " << length;
  }
  Write(*box.kv, key, good);
  EXPECT_OK(box.registry->Get(box.ann, model));
}

TEST(Records, ANewerRegistryIsRefusedAsAWhole) {
  Box box(MakeMemoryKv());
  std::string settings = (*box.kv->Read())->Get(keys::Settings()).value()->value;
  ++settings[0];
  Write(*box.kv, keys::Settings(), settings);
  const auto opened = EmbeddedRegistry::Open(*box.kv, box.blobs, box.clock);
  ASSERT_EQ(Outcome(opened), "failed precondition");
  EXPECT_NE(opened.error().message().find("newer modelfs"), std::string::npos);
}

}  // namespace
}  // namespace modelfs::store
