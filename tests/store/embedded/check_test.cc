// Checks of the registry's records by fsck: it finds nothing in a sound registry, and every kind of damage.
#include <gtest/gtest.h>

#include <functional>

#include "store/records/keys.h"
#include "store/records/records.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::Box;

void Write(Kv& kv, const std::string& key, std::optional<std::string> value) {
  KvTransaction transaction;
  transaction.writes.push_back({key, std::move(value)});
  ASSERT_OK(kv.Commit(transaction));
}

std::string ValueOf(Kv& kv, const std::string& key) {
  const auto snapshot = kv.Read().value();
  return snapshot->Get(key).value()->value;
}

std::vector<KvEntry> All(Kv& kv) {
  const auto snapshot = kv.Read().value();
  return snapshot->Range("", "", 9999).value();
}

// A registry with a record of every kind, and with deletions and renames in its past. Object 3 is the model
// c.s.m; its versions 1 (READY) and 3 (PENDING) are left.
std::unique_ptr<Box> Inhabited() {
  auto box = std::make_unique<Box>(MakeMemoryKv());
  EmbeddedRegistry& registry = *box->registry;
  const Caller& ann = box->ann;
  const ObjectId model = box->Make("c.s.m");
  NewVersion fields;
  fields.comment = "first";
  fields.tags = {{"stage", "gold"}};
  EXPECT_OK(box->Commit(model, "one", {}, fields));
  EXPECT_OK(box->Commit(model, "two"));
  EXPECT_OK(registry.BeginVersion(ann, model, {}));
  EXPECT_OK(registry.SetAlias(ann, model, "Champion", 1));
  EXPECT_OK(registry.SetAlias(ann, model, "Gone", 2));
  EXPECT_OK(registry.DeleteVersion(ann, model, 2));
  EXPECT_OK(registry.SetDescription(ann, {model, {}}, "a model"));
  EXPECT_OK(registry.SetTag(ann, {model, {}}, "team", "ml"));
  EXPECT_OK(registry.Rename(ann, box->Make("c.s.old"), "new"));
  const ObjectId other = box->Make("c.s.other");
  EXPECT_OK(box->Commit(other, "three", {}, fields));
  EXPECT_OK(registry.BeginVersion(ann, other, {}));
  EXPECT_OK(registry.Delete(ann, other, Registry::DeleteMode::kWithVersions));
  EXPECT_OK(registry.Delete(ann, box->Make("d"), Registry::DeleteMode::kIfEmpty));
  EXPECT_OK(registry.AcquireLease(ann, "a test"));
  return box;
}

std::vector<std::string> Problems(Box& box) {
  const Result<RegistryCheck> check = box.registry->CheckRecords(box.ann);
  EXPECT_OK(check);
  return check->problems;
}

TEST(CheckRecords, FindsNothingInASoundRegistry) {
  const auto box = Inhabited();
  EXPECT_EQ(Problems(*box), std::vector<std::string>{});
  EXPECT_EQ(box->registry->CheckRecords(box->ann)->records, All(*box->kv).size());
  EXPECT_OK(box->registry->MarkForSweep(box->ann));
  EXPECT_EQ(Problems(*box), std::vector<std::string>{});
}

TEST(CheckRecords, NoticesABitThatFlippedInAnyRecord) {
  const auto box = Inhabited();
  for (const KvEntry& entry : All(*box->kv)) {
    SCOPED_TRACE(::testing::PrintToString(entry.key));
    for (const size_t at : {size_t{0}, entry.value.size() / 2, entry.value.size() - 1}) {
      std::string damaged = entry.value;
      damaged[at] = static_cast<char>(damaged[at] ^ 4);
      Write(*box->kv, entry.key, damaged);
      const Result<RegistryCheck> check = box->registry->CheckRecords(box->ann);
      // A settings record of a newer format is refused as a whole.
      EXPECT_TRUE(!check.ok() || !check->problems.empty()) << at;
      Write(*box->kv, entry.key, entry.value);
    }
  }
  EXPECT_EQ(Problems(*box), std::vector<std::string>{});
}

TEST(CheckRecords, NoticesAMissingRecord) {
  const auto box = Inhabited();
  for (const KvEntry& entry : All(*box->kv)) {
    SCOPED_TRACE(::testing::PrintToString(entry.key));
    // No other record names a tag.
    if (entry.key[0] == keys::Tag(0, 0, "")[0]) continue;
    Write(*box->kv, entry.key, std::nullopt);
    EXPECT_FALSE(Problems(*box).empty());
    Write(*box->kv, entry.key, entry.value);
  }
}

TEST(CheckRecords, NoticesRecordsThatContradictEachOther) {
  struct Row {
    const char* what;
    const char* says;
    std::function<void(Kv&)> damage;
  };
  const auto model = [](const std::function<void(ObjectRecord&)>& change) {
    return [change](Kv& kv) {
      ObjectRecord record = ObjectRecord::Decode(ValueOf(kv, keys::Object(2, "m")), "m").value();
      change(record);
      Write(kv, keys::Object(2, "m"), record.Encode());
    };
  };
  const auto version = [](const std::function<void(VersionRecord&)>& change) {
    return [change](Kv& kv) {
      VersionRecord record = VersionRecord::Decode(ValueOf(kv, keys::Version(3, 1)), "v").value();
      change(record);
      Write(kv, keys::Version(3, 1), record.Encode());
    };
  };
  const Row rows[] = {
      {"another id", "does not lead back", model([](ObjectRecord& m) { m.id = 2; })},
      {"an id of the future", "never given", model([](ObjectRecord& m) { m.id = 999; })},
      {"one child too many", "it counts 3 versions, and 2 exist",
       model([](ObjectRecord& m) { ++m.children; })},
      {"a version of the future", "never given", model([](ObjectRecord& m) { m.next_version = 3; })},
      {"not the latest", "newest READY", model([](ObjectRecord& m) { m.latest_ready = 3; })},
      {"an alias that leads nowhere", "alias Champion",
       model([](ObjectRecord& m) { m.aliases[0].version = 2; })},
      {"an alias of another", "alias Champion", model([](ObjectRecord& m) { m.aliases[0].version_id = 2; })},
      {"an alias that is not READY", "alias Champion", model([](ObjectRecord& m) {
         m.aliases[0].version = 3;
         m.aliases[0].version_id = 3;
       })},
      {"no description", "description", model([](ObjectRecord& m) { m.has_description = false; })},
      {"a model in a catalog", "a model is not in a catalog",
       [](Kv& kv) {
         const std::string record = ValueOf(kv, keys::Object(2, "m"));
         Write(kv, keys::Object(2, "m"), std::nullopt);
         Write(kv, keys::Object(1, "m"), record);
         Write(kv, keys::Where(3), WhereRecord{1, "m"}.Encode());
       }},
      {"the same object twice", "does not lead back",
       [](Kv& kv) { Write(kv, keys::Object(2, "m2"), ValueOf(kv, keys::Object(2, "m"))); }},
      {"an id for nothing", "is empty or has another object",
       [](Kv& kv) {
         Write(kv, keys::Where(999), WhereRecord{2, "nothing"}.Encode());
       }},
      {"a version's id", "does not lead back", version([](VersionRecord& v) { v.id = 3; })},
      {"a version's state", "PENDING", version([](VersionRecord& v) {
         v.status = VersionStatus::kPending;
         v.commit.reset();  // which only a READY version has
       })},
      {"a version's description", "description",
       version([](VersionRecord& v) { v.has_description = false; })},
      {"a version's id for nothing", "is empty or has another version",
       [](Kv& kv) {
         Write(kv, keys::VersionWhere(999), VersionWhereRecord{3, 9}.Encode());
       }},
      {"a version without a model", "its model is missing",
       [](Kv& kv) { Write(kv, keys::Version(999, 1), ValueOf(kv, keys::Version(3, 1))); }},
      {"a tag of nothing", "the object or version does not exist",
       [](Kv& kv) { Write(kv, keys::Tag(999, 0, "k"), EncodeText("v")); }},
      {"a tag of no version", "the object or version does not exist",
       [](Kv& kv) { Write(kv, keys::Tag(3, 2, "k"), EncodeText("v")); }},
      {"PENDING without a version", "the version does not exist",
       [](Kv& kv) { Write(kv, keys::Pending(3, 2), EncodeText("")); }},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    const auto box = Inhabited();
    row.damage(*box->kv);
    const std::vector<std::string> problems = Problems(*box);
    EXPECT_NE(::testing::PrintToString(problems).find(row.says), std::string::npos)
        << ::testing::PrintToString(problems);
  }
}

}  // namespace
}  // namespace modelfs::store
