// Finding records by the index, without it, and in files always gives the same records.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <set>

#include "cas/base/checksum.h"
#include "cas/base/codec.h"
#include "store/records/keys.h"
#include "store/records/records.h"
#include "store/registry_json.h"
#include "tests/store/embedded/script.h"
#include "tests/store/kv/scratch_dir.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::Box;
using testing::Outcome;
using testing::PlayStep;
using testing::ScratchDir;

constexpr AuditQuery::Order kNewestFirst = AuditQuery::Order::kNewestFirst;

std::vector<AuditRecord> Query(Box& box, const AuditQuery& query) {
  return box.registry->Audit(box.ann, query).value();
}

std::vector<AuditRecord> All(Box& box) { return Query(box, {.limit = 1'000'000}); }

std::vector<KvEntry> Entries(Snapshot& snapshot, std::string_view begin, std::string_view end) {
  return snapshot.Range(begin, end, 1'000'000).value();
}

std::vector<uint64_t> SequencesOf(const std::vector<AuditRecord>& records) {
  std::vector<uint64_t> sequences;
  for (const AuditRecord& record : records) sequences.push_back(record.sequence);
  return sequences;
}

// The meaning of a query by name, in the simplest way.
std::vector<uint64_t> Expected(Box& box, const std::vector<AuditRecord>& all, const std::string& name) {
  const auto object = box.registry->Lookup(box.ann, FullName::Parse(name).value());
  std::vector<uint64_t> sequences;
  for (const AuditRecord& record : all) {
    const bool by_name = (record.full_name + ".").rfind(name + ".", 0) == 0;
    if (by_name || (object.ok() && record.object == object->id)) sequences.push_back(record.sequence);
  }
  return sequences;
}

void ExpectRightAnswers(Box& box) {
  const std::vector<AuditRecord> all = All(box);
  std::set<std::string> names;
  for (const AuditRecord& record : all) {
    if (record.full_name.empty()) continue;
    names.insert(record.full_name);
    if (const size_t dot = record.full_name.rfind('.'); dot != std::string::npos) {
      names.insert(record.full_name.substr(0, dot));
    }
  }
  names.insert("c9");  // never existed
  EXPECT_GT(names.size(), 5U);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const std::vector<uint64_t> want = Expected(box, all, name);
    AuditQuery query;
    query.full_name = name;
    query.limit = 1'000'000;
    EXPECT_EQ(SequencesOf(box.registry->Audit(box.ann, query).value()), want);
    query.order = kNewestFirst;
    EXPECT_EQ(SequencesOf(box.registry->Audit(box.ann, query).value()),
              std::vector<uint64_t>(want.rbegin(), want.rend()));
    // In pages, from both ends.
    std::vector<uint64_t> paged;
    AuditQuery page;
    page.full_name = name;
    page.limit = 7;
    while (true) {
      const auto records = box.registry->Audit(box.ann, page).value();
      for (const AuditRecord& record : records) paged.push_back(record.sequence);
      if (records.size() < page.limit) break;
      page.after_sequence = paged.back();
    }
    EXPECT_EQ(paged, want);
    paged.clear();
    page = {.full_name = name, .order = kNewestFirst, .limit = 7};
    while (true) {
      const auto records = box.registry->Audit(box.ann, page).value();
      for (const AuditRecord& record : records) paged.push_back(record.sequence);
      if (records.size() < page.limit) break;
      page.before_sequence = paged.back();
    }
    std::reverse(paged.begin(), paged.end());
    EXPECT_EQ(paged, want);
  }
}

// Rewrites the log as a program without index and without format 2 wrote it.
void MakeOld(Box& box) {
  const auto snapshot = box.kv->Read().value();
  std::vector<KvTransaction> commits(1);
  const auto write = [&](const std::string& key, std::optional<std::string> value) {
    if (commits.back().writes.size() == kKvMaxOperations) commits.emplace_back();
    commits.back().writes.push_back({key, std::move(value)});
  };
  AuditHeadRecord head;
  for (const KvEntry& entry : Entries(*snapshot, "A", "B")) {
    AuditRecord record = DecodeAudit(entry.value, "audit").value();
    record.format = 1;
    record.previous_hash = head.hash;
    head.sequence = record.sequence;
    head.hash = AuditHash(record);
    write(entry.key, EncodeAudit(record));
  }
  for (const KvEntry& entry : Entries(*snapshot, "a", "b")) write(entry.key, std::nullopt);
  std::string old_head =
      Encoder().U8(1).U64(head.sequence).Raw({reinterpret_cast<const char*>(head.hash.data()), 32}).Take();
  old_head += Encoder().U64(Xxh3_64(old_head)).bytes();
  write(keys::AuditHead(), old_head);
  for (const KvTransaction& commit : commits) ASSERT_OK(box.kv->Commit(commit));
}

enum class Layout { kIndexed, kOldFirstHalf, kMovedFirstHalf, kOldAndMoved };

class AuditQueries : public ::testing::TestWithParam<Layout> {};

TEST_P(AuditQueries, ByNameMatchAScanOfEveryRecord) {
  const char* given = std::getenv("TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "TEST_SEED=" << seed << "\n";
  const ScratchDir dir;
  EmbeddedRegistryOptions options;
  options.audit_directory = dir.path() + "/audit";
  Box box(MakeMemoryKv(), RegistrySettings::SignaturePolicy::kIfMlmodel, options);
  constexpr int kSteps = 400;
  for (int step = 0; step < kSteps / 2; ++step) PlayStep(*box.registry, box.blobs, box.ann, seed, step);
  if (GetParam() == Layout::kOldFirstHalf || GetParam() == Layout::kOldAndMoved) MakeOld(box);
  if (GetParam() == Layout::kOldAndMoved) ASSERT_OK(box.registry->RotateAudit(box.ann, {.keep = 60}));
  for (int step = kSteps / 2; step < kSteps; ++step) PlayStep(*box.registry, box.blobs, box.ann, seed, step);
  if (GetParam() == Layout::kMovedFirstHalf) ASSERT_OK(box.registry->RotateAudit(box.ann, {.keep = 100}));
  ASSERT_OK(box.registry->FlushAudit());  // refusals are written down a moment later
  ExpectRightAnswers(box);
  EXPECT_EQ(box.registry->VerifyAudit(box.ann).value(), All(box).size());
}

std::string LayoutName(const ::testing::TestParamInfo<Layout>& layout) {
  constexpr const char* kNames[] = {"Indexed", "OldFirstHalf", "MovedFirstHalf", "OldAndMoved"};
  return kNames[static_cast<size_t>(layout.param)];
}

INSTANTIATE_TEST_SUITE_P(Layouts, AuditQueries,
                         ::testing::Values(Layout::kIndexed, Layout::kOldFirstHalf, Layout::kMovedFirstHalf,
                                           Layout::kOldAndMoved),
                         LayoutName);

TEST(AuditQuery, AReusedNameStillFindsTheFirstObjectsRecords) {
  Box box(MakeMemoryKv());
  const ObjectId first = box.Make("c.s.m");
  ASSERT_OK(box.registry->Delete(box.ann, first, Registry::DeleteMode::kIfEmpty));
  const ObjectId second = box.Make("c.s.m");
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
  std::vector<std::pair<std::string, ObjectId>> found;
  for (const AuditRecord& record : Query(box, {.full_name = "c.s.m"})) {
    found.emplace_back(record.action, record.object);
  }
  EXPECT_EQ(found, (std::vector<std::pair<std::string, ObjectId>>{{"createRegisteredModel", first},
                                                                  {"deleteRegisteredModel", first},
                                                                  {"createRegisteredModel", second}}));
}

TEST(AuditQuery, TheProofOfASchemaIgnoresAnEarlierOneOfThatName) {
  Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  const ObjectId schema = box.Make("c.s");
  ASSERT_OK(box.registry->Delete(box.ann, model, Registry::DeleteMode::kIfEmpty));
  ASSERT_OK(box.registry->Delete(box.ann, schema, Registry::DeleteMode::kIfEmpty));
  box.Make("c.s.m");
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
  EXPECT_EQ(Query(box, {.full_name = "c.s"}).size(), 6U);
}

TEST(AuditQuery, TheProofNoticesThatALostNameIsNotListed) {
  Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.registry->Rename(box.ann, model, "n"));
  ASSERT_OK(box.registry->Delete(box.ann, model, Registry::DeleteMode::kIfEmpty));
  EXPECT_OK(box.registry->VerifyAudit(box.ann));
  for (const auto& [name, sequence] : {std::pair("c.s.m", 5), std::pair("c.s.n", 6)}) {
    const std::string key = keys::AuditIndex(keys::LostName(name), static_cast<uint64_t>(sequence));
    const auto entry = box.kv->Read().value()->Get(key).value();
    ASSERT_TRUE(entry) << name;
    KvTransaction removal;
    removal.Delete(key);
    ASSERT_OK(box.kv->Commit(removal));
    EXPECT_EQ(Outcome(box.registry->VerifyAudit(box.ann)), "data loss") << name;
    KvTransaction back;
    back.Put(key, entry->value);
    ASSERT_OK(box.kv->Commit(back));
  }
}

TEST(AuditQuery, FiltersByTimePrincipalActionAndRefusal) {
  Box box(MakeMemoryKv());
  const int64_t start_ms = box.clock.NowMs();
  box.Make("c.s.m");
  box.clock.Advance(1000);
  Caller by_bob = box.ann;
  by_bob.run_by = "Bob";
  const ObjectId other = box.registry->Create(by_bob, box.Make("c.s"), "n", "")->id;
  Caller eve = box.ann;
  eve.principal = "eve";
  eve.uid = 6666;
  EXPECT_EQ(Outcome(box.registry->SetTag(eve, {other, std::nullopt}, "k", "v")), "permission denied");
  ASSERT_OK(box.registry->FlushAudit());

  const auto names_of = [&](const AuditQuery& query) {
    std::vector<std::string> actions;
    for (const AuditRecord& record : Query(box, query)) {
      actions.push_back(record.action + " " + record.full_name);
    }
    return actions;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names_of({.since_ms = start_ms + 1000}),
            (Names{"createRegisteredModel c.s.n", "setRegisteredModelTag c.s.n"}));
  EXPECT_EQ(
      names_of({.since_ms = start_ms, .until_ms = start_ms + 1000}),
      (Names{"createMetastore ", "createCatalog c", "createSchema c.s", "createRegisteredModel c.s.m"}));
  EXPECT_EQ(names_of({.principal = "bob"}), Names{"createRegisteredModel c.s.n"})
      << "acting in another's name";
  EXPECT_EQ(names_of({.since_ms = start_ms + 1000, .principal = "ANN"}), Names{"createRegisteredModel c.s.n"})
      << "and by the name that he acted in";
  EXPECT_EQ(names_of({.action = "createSchema"}), Names{"createSchema c.s"});
  EXPECT_EQ(names_of({.outcome = AuditQuery::Outcome::kRefused}), Names{"setRegisteredModelTag c.s.n"});
  EXPECT_EQ(names_of({.order = kNewestFirst, .limit = 1}), Names{"setRegisteredModelTag c.s.n"});
  const AuditRecord refused = box.registry->Audit(box.ann, {.principal = "eve"})->at(0);
  EXPECT_EQ(refused.status, 403);
  EXPECT_FALSE(refused.error.empty());
  EXPECT_FALSE(refused.change);
  EXPECT_EQ(refused.object, other);
  EXPECT_EQ(Outcome(box.registry->Audit(eve, {})), "permission denied");
}

// Rules refuse, too, not only missing rights. Each record names the refused request: its action, in the words
// of the record of a success.
TEST(AuditQuery, RefusalsByRuleRecordTheRequest) {
  Box box(MakeMemoryKv());
  EmbeddedRegistry& registry = *box.registry;
  const ObjectId model = box.Make("c.s.m");
  const ObjectId schema = box.Make("c.s");
  ASSERT_OK(box.Commit(model));
  ASSERT_OK(registry.SetAlias(box.ann, model, "Champion", 1));
  ASSERT_OK(registry.CreatePrincipal(box.ann, PrincipalKind::kGroup, "guards"));
  const ContainerSettings rules{.signature_required = true,
                                .protected_aliases = {{"Champion", "guards"}},
                                .max_models = 1,
                                .max_versions = 1};
  ASSERT_OK(registry.SetSettings(box.ann, schema, {}, rules));
  Caller eve = box.ann;
  eve.principal = "eve";
  NewVersion fields;
  fields.source = "s3://b";
  fields.run_id = "r1";
  using Params = std::map<std::string, std::string>;
  const auto tree_of = [&](const char* bytes) {
    return box.blobs.PutTree({{"model.bin", bytes}}, {}).ToString();
  };
  const struct {
    const char* name;
    std::function<std::string()> call;
    const char* said;
    const char* action;
    Params params;  // that the record has
  } rows[] = {
      {"delete the model of a protected alias",
       [&] { return Outcome(registry.Delete(box.ann, model, Registry::DeleteMode::kWithVersions)); },
       "failed precondition",
       "deleteRegisteredModel",
       {{"full_name_arg", "c.s.m"}}},
      {"delete what is not empty",
       [&] { return Outcome(registry.Delete(box.ann, schema, Registry::DeleteMode::kIfEmpty)); },
       "failed precondition",
       "deleteSchema",
       {{"full_name_arg", "c.s"}}},
      {"delete its version",
       [&] { return Outcome(registry.DeleteVersion(box.ann, model, 1)); },
       "failed precondition",
       "deleteModelVersion",
       {{"full_name_arg", "c.s.m"}, {"version_arg", "1"}}},
      {"rename it",
       [&] { return Outcome(registry.Rename(box.ann, model, "other")); },
       "permission denied",
       "updateRegisteredModel",
       {{"full_name_arg", "c.s.m"}, {"new_name", "c.s.other"}}},
      {"move it",
       [&] { return Outcome(registry.SetAlias(box.ann, model, "Champion", 1)); },
       "permission denied",
       "setRegisteredModelAlias",
       {{"alias_arg", "Champion"}, {"version_num", "1"}}},
      {"remove it",
       [&] { return Outcome(registry.DeleteAlias(box.ann, model, "Champion")); },
       "permission denied",
       "deleteRegisteredModelAlias",
       {{"alias_arg", "Champion"}}},
      {"a model too many",
       [&] { return Outcome(registry.Create(box.ann, schema, "second", "")); },
       "limit reached",
       "createRegisteredModel",
       {{"name", "second"}}},
      {"a version too many",
       [&] { return Outcome(registry.BeginVersion(box.ann, model, fields)); },
       "limit reached",
       "createModelVersion",
       {{"full_name_arg", "c.s.m"}, {"source", "s3://b"}, {"run_id", "r1"}}},
      {"an unsigned version",
       [&] { return Outcome(box.Commit(model, "unsigned", 2)); },
       "failed precondition",
       "createModelVersion",
       {{"full_name_arg", "c.s.m"}, {"version_arg", "2"}, {"tree", tree_of("unsigned")}}},
      {"an alias by a caller without rights",
       [&] { return Outcome(registry.SetAlias(eve, model, "Next", 1)); },
       "permission denied",
       "setRegisteredModelAlias",
       {{"alias_arg", "Next"}, {"version_num", "1"}}},
      {"a tag by her",
       [&] {
         return Outcome(registry.DeleteTag(eve, {model, 1}, "k"));
       },
       "permission denied",
       "deleteModelVersionTag",
       {{"version_arg", "1"}, {"key", "k"}}},
      {"ownership by her",
       [&] { return Outcome(registry.SetOwner(eve, model, "eve")); },
       "permission denied",
       "updateRegisteredModel",
       {{"owner", "eve"}}},
      {"a grant by her",
       [&] {
         return Outcome(
             registry.ChangeGrants(eve, model, {{.principal = "eve", .add = {Privilege::kExecute}}}));
       },
       "permission denied",
       "updatePermissions",
       {{"changes", R"([{"add":["EXECUTE"],"principal":"eve","remove":[]}])"}}},
      {"rules by her",
       [&] { return Outcome(registry.SetSettings(eve, schema, rules, {.max_models = 9})); },
       "permission denied",
       "updateSchema",
       {{"settings", R"({"max_models":9})"}}},
      {"a member by her",
       [&] { return Outcome(registry.AddMember(eve, "guards", "eve")); },
       "permission denied",
       "addPrincipalToGroup",
       {{"group", "guards"}, {"member", "eve"}}},
      {"the admin's removal",
       [&] { return Outcome(registry.DeletePrincipal(box.ann, "ann")); },
       "failed precondition",
       "deletePrincipal",
       {{"name", "ann"}}},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const uint64_t before = All(box).back().sequence;
    EXPECT_EQ(row.call(), row.said);
    ASSERT_OK(box.registry->FlushAudit());
    const auto records = Query(box, {.after_sequence = before, .outcome = AuditQuery::Outcome::kRefused});
    ASSERT_EQ(records.size(), 1U);
    EXPECT_EQ(records[0].action, row.action);
    EXPECT_FALSE(records[0].change);
    EXPECT_FALSE(records[0].error.empty());
    for (const auto& [key, value] : row.params) {
      const auto found = records[0].params.find(key);
      ASSERT_NE(found, records[0].params.end()) << key;
      EXPECT_EQ(found->second, value) << key;
    }
    box.clock.Advance(10'000);
  }
  // An absent or a taken name is an answer, not a refusal.
  const uint64_t before = All(box).back().sequence;
  EXPECT_EQ(Outcome(registry.DeleteAlias(box.ann, model, "none")), "not found");
  EXPECT_EQ(Outcome(registry.Create(box.ann, schema, "m", "")), "already exists");
  ASSERT_OK(box.registry->FlushAudit());
  EXPECT_EQ(All(box).back().sequence, before);
  EXPECT_OK(registry.VerifyAudit(box.ann));
}

TEST(AuditQuery, ActivityShowsOnlyTheNewestChanges) {
  Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.Commit(model));
  box.registry->RecordAudit(box.ann, Operation::kReadFiles, model, OkStatus(),
                            {{"version_arg", "1"}, {"file", "model.bin"}});
  Caller eve = box.ann;
  eve.principal = "eve";
  eve.uid = 6666;
  EXPECT_FALSE(box.registry->DeleteAlias(eve, model, "A").ok());
  ASSERT_OK(box.registry->FlushAudit());
  box.Make("c.s.n");
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "A", 1));
  const auto actions = [&](size_t limit) {
    std::vector<std::string> list;
    const auto records = box.registry->Activity(box.ann, model, limit).value();
    for (const AuditRecord& record : records) list.push_back(record.action);
    return list;
  };
  EXPECT_EQ(actions(100), (std::vector<std::string>{"createRegisteredModel", "createModelVersion",
                                                    "setRegisteredModelAlias"}));
  EXPECT_EQ(actions(2), (std::vector<std::string>{"createModelVersion", "setRegisteredModelAlias"}));
  EXPECT_EQ(Outcome(box.registry->Activity(eve, model, 1)), "permission denied");
  ASSERT_OK(box.registry->FlushAudit());
  EXPECT_EQ(Query(box, {.full_name = "c.s.m"}).size(), 6U) << "the log itself has the open and both refusals";
}

TEST(AuditQuery, WaitingEndsWithTheNextRecord) {
  Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  const uint64_t last = All(box).back().sequence;
  std::thread writer([&] { EXPECT_OK(box.registry->SetTag(box.ann, {model, std::nullopt}, "k", "v")); });
  const std::stop_source never;
  EXPECT_EQ(
      box.registry->WaitForAudit(last, Deadline::After(std::chrono::seconds(60)), never.get_token()).value(),
      last + 1);
  EXPECT_EQ(box.registry->Audit(box.ann, {.after_sequence = last})->size(), 1U);
  writer.join();
}

TEST(AuditChain, AChainOfFormat1ContinuesInFormat2) {
  Box box(MakeMemoryKv());
  const ObjectId model = box.Make("c.s.m");
  MakeOld(box);
  EXPECT_EQ(box.registry->VerifyAudit(box.ann).value(), 4U);
  Caller as_bob = box.ann;
  as_bob.run_by = "root";
  ASSERT_OK(box.registry->SetTag(as_bob, {model, std::nullopt}, "k", "v"));
  EXPECT_EQ(box.registry->VerifyAudit(box.ann).value(), 5U);
  const std::vector<AuditRecord> all = All(box);
  EXPECT_EQ(all.at(3).format, 1);
  EXPECT_EQ(all.at(3).status, 200);
  EXPECT_EQ(all.at(4).format, 2);
  EXPECT_EQ(all.at(4).run_by, "root");
  EXPECT_EQ(all.at(4).previous_hash, all.at(3).hash);
}

}  // namespace
}  // namespace modelfs::store
