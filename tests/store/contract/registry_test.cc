// The contract of Registry.
#include "store/registry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <thread>

#include "tests/store/contract/implementation.h"

namespace modelfs::store {
namespace {

using Box = testing::ContractBox;
using testing::Outcome;

class RegistryContract : public testing::OverEachImplementation {};

std::vector<std::string> NamesOf(const Page<ObjectInfo>& page) {
  std::vector<std::string> names;
  for (const ObjectInfo& item : page.items) names.push_back(item.full_name.ToString());
  return names;
}

std::vector<std::string> AliasesOf(const ObjectInfo& model) {
  std::vector<std::string> names;
  for (const AliasInfo& alias : model.aliases)
    names.push_back(alias.name + "=" + std::to_string(alias.version));
  return names;
}

TEST_P(RegistryContract, TheUserThatMadeItIsItsAdmin) {
  Box box(GetParam());
  EXPECT_EQ(box.registry->Get(box.ann, kMetastoreId)->owner, "ann");
  Caller root = box.ann;
  root.uid = 0;
  root.principal = "root";
  EXPECT_OK(box.registry->Authenticate(root));
  EXPECT_EQ(Outcome(box.registry->Create(root, kMetastoreId, "x", "")), "permission denied");
  Caller nobody = box.ann;
  nobody.principal = "uid:4711";
  EXPECT_EQ(Outcome(box.registry->Authenticate(nobody)), "permission denied");
  EXPECT_EQ(box.registry->Settings(box.ann)->owner, "ann");
  EXPECT_EQ(box.registry->Settings(box.ann)->id.size(), 32U);
}

TEST_P(RegistryContract, ObjectsAreMadeFoundAndListed) {
  Box box(GetParam());
  const auto prod = box.registry->Create(box.ann, kMetastoreId, "prod", "production").value();
  EXPECT_EQ(prod.kind, ObjectKind::kCatalog);
  EXPECT_EQ(prod.owner, "ann");
  const auto ml = box.registry->Create(box.ann, prod.id, "ml", "").value();
  const auto iris = box.registry->Create(box.ann, ml.id, "iris", "flowers").value();
  EXPECT_EQ(iris.kind, ObjectKind::kModel);
  EXPECT_EQ(iris.full_name.ToString(), "prod.ml.iris");
  EXPECT_EQ(Outcome(box.registry->Create(box.ann, iris.id, "deeper", "")), "invalid argument");
  EXPECT_EQ(Outcome(box.registry->Create(box.ann, ml.id, "iris", "")), "already exists");
  EXPECT_EQ(Outcome(box.registry->Create(box.ann, ml.id, "Iris", "")), "invalid argument");
  EXPECT_EQ(Outcome(box.registry->Create(box.ann, 4711, "x", "")), "not found");

  const auto found = box.registry->Lookup(box.ann, FullName::Parse("prod.ml.iris").value()).value();
  EXPECT_EQ(found.id, iris.id);
  EXPECT_EQ(found.comment, "flowers");
  EXPECT_EQ(box.registry->Get(box.ann, prod.id)->comment, "production");
  EXPECT_EQ(box.registry->LookupChild(box.ann, ml.id, "iris")->id, iris.id);
  for (const char* odd : {"", ".", "..", "IRIS", "nope", "a/b"}) {
    EXPECT_EQ(Outcome(box.registry->LookupChild(box.ann, ml.id, odd)), "not found") << odd;
  }
  EXPECT_EQ(Outcome(box.registry->LookupChild(box.ann, ml.id, std::string(5000, 'x'))), "not found");
  const auto missing = box.registry->Lookup(box.ann, FullName::Parse("prod.nope.iris").value());
  ASSERT_EQ(Outcome(missing), "not found");
  EXPECT_EQ(missing.error().message(), "prod.nope: no such schema");
  EXPECT_EQ(NamesOf(box.registry->List(box.ann, kMetastoreId, {}).value()), std::vector<std::string>{"prod"});
}

TEST_P(RegistryContract, ListsArePagedInTheOrderOfNames) {
  Box box(GetParam());
  const ObjectId schema = box.Make("c.s");
  std::vector<std::string> want;
  for (int i = 0; i < 25; ++i) want.push_back("m" + std::to_string(i));
  for (const std::string& name : want) ASSERT_OK(box.registry->Create(box.ann, schema, name, ""));
  std::sort(want.begin(), want.end());
  std::vector<std::string> got;
  PageRequest request;
  request.limit = 7;
  do {
    const auto page = box.registry->List(box.ann, schema, request).value();
    EXPECT_LE(page.items.size(), 7U);
    for (const ObjectInfo& item : page.items) got.push_back(item.name);
    request.token = page.next_token;
  } while (!request.token.empty());
  EXPECT_EQ(got, want);
  request.limit = 25;
  EXPECT_TRUE(box.registry->List(box.ann, schema, request)->next_token.empty());
  request.token = "nonsense";
  EXPECT_EQ(Outcome(box.registry->List(box.ann, schema, request)), "invalid argument");
}

TEST_P(RegistryContract, ContainersAreDeletedOnlyWhenEmpty) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  const auto schema = box.registry->Lookup(box.ann, FullName::Parse("c.s").value()).value();
  const auto kept = box.registry->Delete(box.ann, schema.id, Registry::DeleteMode::kWithVersions);
  ASSERT_EQ(Outcome(kept), "failed precondition");
  EXPECT_EQ(kept.error().message(), "schema c.s holds 1 model; delete them first");
  ASSERT_OK(box.Commit(model));
  EXPECT_EQ(Outcome(box.registry->Delete(box.ann, model, Registry::DeleteMode::kIfEmpty)),
            "failed precondition");
  EXPECT_OK(box.registry->Delete(box.ann, model, Registry::DeleteMode::kWithVersions));
  EXPECT_EQ(Outcome(box.registry->Get(box.ann, model)), "not found");
  EXPECT_OK(box.registry->Delete(box.ann, schema.id, Registry::DeleteMode::kIfEmpty));
  EXPECT_OK(box.registry->Delete(box.ann, schema.parent, Registry::DeleteMode::kIfEmpty));
  EXPECT_TRUE(box.registry->List(box.ann, kMetastoreId, {})->items.empty());
  EXPECT_EQ(Outcome(box.registry->Delete(box.ann, kMetastoreId, Registry::DeleteMode::kIfEmpty)),
            "invalid argument");
}

TEST_P(RegistryContract, AModelWithAReusedNameIsANewModel) {
  Box box(GetParam());
  const ObjectId first = box.Make("c.s.m");
  ASSERT_OK(box.Commit(first));
  const VersionId version = box.registry->GetVersion(box.ann, first, 1)->id;
  ASSERT_OK(box.registry->SetTag(box.ann, {first, std::nullopt}, "k", "v"));
  ASSERT_OK(box.registry->Delete(box.ann, first, Registry::DeleteMode::kWithVersions));
  const ObjectId second = box.Make("c.s.m");
  EXPECT_NE(first, second);
  EXPECT_TRUE(box.registry->Tags(box.ann, {second, std::nullopt})->empty());
  EXPECT_EQ(box.Commit(second)->number, 1U);
  EXPECT_EQ(Outcome(box.registry->GetVersion(box.ann, first, 1)), "not found");
  EXPECT_EQ(Outcome(box.registry->GetVersionById(box.ann, version)), "not found");
}

TEST_P(RegistryContract, RenamingKeepsEverythingButTheName) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.old");
  ASSERT_OK(box.Commit(model));
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "Champion", 1));
  ASSERT_OK(box.registry->SetTag(box.ann, {model, std::nullopt}, "task", "x"));
  box.Make("c.s.taken");
  EXPECT_EQ(Outcome(box.registry->Rename(box.ann, model, "taken")), "already exists");
  EXPECT_EQ(Outcome(box.registry->Rename(box.ann, model, "Bad")), "invalid argument");
  const auto renamed = box.registry->Rename(box.ann, model, "new").value();
  EXPECT_EQ(renamed.id, model);
  EXPECT_EQ(renamed.full_name.ToString(), "c.s.new");
  EXPECT_EQ(AliasesOf(renamed), std::vector<std::string>{"Champion=1"});
  EXPECT_EQ(Outcome(box.registry->Lookup(box.ann, FullName::Parse("c.s.old").value())), "not found");
  EXPECT_EQ(box.registry->Lookup(box.ann, FullName::Parse("c.s.new").value())->id, model);
  EXPECT_EQ(box.registry->Tags(box.ann, {model, std::nullopt})->at("task"), "x");
  EXPECT_EQ(box.registry->GetVersion(box.ann, model, 1)->model_name.ToString(), "c.s.new");
  EXPECT_EQ(Outcome(box.registry->Rename(box.ann, renamed.parent, "t")), "invalid argument")
      << "schemas keep theirs";
}

TEST_P(RegistryContract, OwnersAndDescriptionsChange) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.Commit(model));
  box.clock.Advance(5);
  ASSERT_OK(box.registry->SetDescription(box.ann, {model, std::nullopt}, "hello"));
  ASSERT_OK(box.registry->SetDescription(box.ann, {model, 1}, "first"));
  EXPECT_EQ(box.registry->Get(box.ann, model)->comment, "hello");
  EXPECT_EQ(box.registry->Get(box.ann, model)->updated_at_ms, box.clock.NowMs());
  EXPECT_EQ(box.registry->GetVersion(box.ann, model, 1)->comment, "first");
  EXPECT_EQ(Outcome(box.registry->SetDescription(box.ann, {model, 2}, "x")), "not found");
  EXPECT_EQ(Outcome(box.registry->SetDescription(box.ann, {model, std::nullopt}, std::string(65537, 'x'))),
            "limit reached");
  ASSERT_OK(box.registry->SetDescription(box.ann, {model, std::nullopt}, ""));
  EXPECT_EQ(box.registry->Get(box.ann, model)->comment, "");
  EXPECT_EQ(box.registry->SetOwner(box.ann, model, "bob")->owner, "bob");
  EXPECT_EQ(Outcome(box.registry->SetOwner(box.ann, model, "")), "invalid argument");
}

TEST_P(RegistryContract, TagsHaveTheirLimitAndTheirModes) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.Commit(model));
  for (const Target& target : {Target{model, std::nullopt}, Target{model, 1}}) {
    for (size_t i = 0; i < kMaxTagsPerObject; ++i) {
      ASSERT_OK(box.registry->SetTag(box.ann, target, "k" + std::to_string(i), "v"));
    }
    EXPECT_EQ(Outcome(box.registry->SetTag(box.ann, target, "more", "v")), "limit reached");
    EXPECT_OK(box.registry->SetTag(box.ann, target, "k0", "changed"));
    EXPECT_EQ(Outcome(box.registry->SetTag(box.ann, target, "k0", "v", Registry::TagMode::kCreateOnly)),
              "already exists");
    EXPECT_OK(box.registry->DeleteTag(box.ann, target, "k1"));
    EXPECT_EQ(Outcome(box.registry->DeleteTag(box.ann, target, "k1")), "not found");
    EXPECT_EQ(Outcome(box.registry->SetTag(box.ann, target, "k1", "v", Registry::TagMode::kReplaceOnly)),
              "not found");
    EXPECT_EQ(Outcome(box.registry->SetTag(box.ann, target, "a.b", "v")), "invalid argument");
    const auto tags = box.registry->Tags(box.ann, target).value();
    EXPECT_EQ(tags.size(), kMaxTagsPerObject - 1);
    EXPECT_EQ(tags.at("k0"), "changed");
  }
}

TEST_P(RegistryContract, AVersionGetsTheNextNumberAndIsReady) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  NewVersion fields;
  fields.source = "/home/ann/iris";
  fields.run_id = "0123";
  fields.comment = "first";
  fields.tags = {{"a", "1"}, {"b", "2"}};
  const auto made = box.Commit(model, "one", 1, fields).value();
  EXPECT_EQ(made.number, 1U);
  EXPECT_EQ(made.status, VersionStatus::kReady);
  EXPECT_EQ(made.total_bytes, 3U);
  EXPECT_EQ(made.file_count, 1U);
  const auto read = box.registry->GetVersion(box.ann, model, 1).value();
  EXPECT_EQ(read.source, "/home/ann/iris");
  EXPECT_EQ(read.run_id, "0123");
  EXPECT_EQ(read.comment, "first");
  EXPECT_EQ(read.tree, made.tree);
  EXPECT_EQ(read.created_at_ms, made.created_at_ms);
  EXPECT_EQ(box.registry->Tags(box.ann, {model, 1})->size(), 2U);
  EXPECT_EQ(box.registry->GetVersionById(box.ann, made.id)->number, 1U);
  EXPECT_EQ(Outcome(box.Commit(model, "two", 1)), "out of range");
  EXPECT_EQ(Outcome(box.Commit(model, "two", 3)), "out of range");
  EXPECT_EQ(box.Commit(model, "two", 2)->number, 2U);
  EXPECT_EQ(box.registry->Get(box.ann, model)->next_version, 3U);
  EXPECT_EQ(box.registry->Get(box.ann, model)->latest_ready, 2U);
}

TEST_P(RegistryContract, OpeningAVersionNeedsTheRightToReadItsFiles) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  const VersionInfo version = box.Commit(model, "w").value();
  const Result<VersionInfo> opened = box.registry->OpenVersion(box.ann, version.id, {{"file", "w"}});
  ASSERT_OK(opened);
  EXPECT_EQ(opened->tree, version.tree);
  EXPECT_EQ(opened->number, version.number);
  EXPECT_EQ(Outcome(box.registry->OpenVersion(box.ann, 4711, {})), "not found");
  Caller bob = box.ann;
  bob.principal = "bob";
  EXPECT_EQ(Outcome(box.registry->OpenVersion(bob, version.id, {{"file", "w"}})), "permission denied");
}

TEST_P(RegistryContract, VersionNumbersAreNeverReused) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  for (int i = 0; i < 3; ++i) ASSERT_OK(box.Commit(model));
  ASSERT_OK(box.registry->DeleteVersion(box.ann, model, 3));
  EXPECT_EQ(box.registry->Get(box.ann, model)->latest_ready, 2U);
  ASSERT_OK(box.registry->DeleteVersion(box.ann, model, 1));
  ASSERT_OK(box.registry->DeleteVersion(box.ann, model, 2));
  EXPECT_EQ(box.registry->Get(box.ann, model)->latest_ready, 0U);
  EXPECT_EQ(Outcome(box.registry->DeleteVersion(box.ann, model, 2)), "not found");
  EXPECT_EQ(box.Commit(model)->number, 4U);
}

TEST_P(RegistryContract, ANewVersionIsCheckedBeforeItsTreeIsStored) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  const ObjectId schema = box.registry->Get(box.ann, model)->parent;
  const ObjectId catalog = box.registry->Get(box.ann, schema)->parent;
  ASSERT_OK(box.Commit(model));
  std::map<std::string, std::string> many;
  for (size_t i = 0; i <= kMaxTagsPerObject; ++i) many["key" + std::to_string(i)] = "";
  struct Row {
    const char* name;
    NewVersion fields;
    std::string want;
  };
  const Row rows[] = {
      {"nothing", {}, "ok"},
      {"a run id of two lines",
       {.source = {}, .run_id = "a\nb", .comment = {}, .tags = {}},
       "invalid argument"},
      {"a long source",
       {.source = std::string(9000, 's'), .run_id = {}, .comment = {}, .tags = {}},
       "invalid argument"},
      {"a long description",
       {.source = {}, .run_id = {}, .comment = std::string(kMaxDescriptionCharacters + 1, 'd'), .tags = {}},
       "limit reached"},
      {"an invalid key",
       {.source = {}, .run_id = {}, .comment = {}, .tags = {{"a.b", "v"}}},
       "invalid argument"},
      {"too many tags", {.source = {}, .run_id = {}, .comment = {}, .tags = many}, "limit reached"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    for (const ObjectId object : {model, schema, catalog, kMetastoreId}) {
      EXPECT_EQ(Outcome(box.registry->CheckNewVersion(box.ann, object, row.fields, std::nullopt)), row.want);
    }
    if (row.want == "ok") continue;
    EXPECT_EQ(Outcome(box.Commit(model, "w", std::nullopt, row.fields)), row.want);
  }
  EXPECT_OK(box.registry->CheckNewVersion(box.ann, model, {}, 2));
  EXPECT_EQ(Outcome(box.registry->CheckNewVersion(box.ann, model, {}, 1)), "out of range");
  for (const ObjectId container : {schema, catalog, kMetastoreId}) {
    EXPECT_OK(box.registry->CheckNewVersion(box.ann, container, {}, 1));
    EXPECT_EQ(Outcome(box.registry->CheckNewVersion(box.ann, container, {}, 2)), "out of range");
  }
  ASSERT_OK(box.governance->SetSettings(box.ann, schema, {}, {.max_models = 1, .max_versions = 1}));
  EXPECT_EQ(Outcome(box.registry->CheckNewVersion(box.ann, model, {}, std::nullopt)), "limit reached");
  EXPECT_EQ(Outcome(box.registry->CheckNewVersion(box.ann, schema, {}, std::nullopt)), "limit reached");

  Caller bob = box.ann;
  bob.principal = "bob";
  for (const ObjectId object : {model, schema, catalog, kMetastoreId}) {
    EXPECT_EQ(Outcome(box.registry->CheckNewVersion(bob, object, {}, std::nullopt)), "permission denied");
  }
  ASSERT_OK(box.implementation->FlushAudit());
  AuditQuery refused;
  refused.outcome = AuditQuery::Outcome::kRefused;
  std::vector<std::string> actions;
  const auto records = box.journal->Audit(box.ann, refused).value();
  for (const AuditRecord& record : records) {
    actions.push_back(record.principal + " " + record.action);
  }
  EXPECT_EQ(actions, (std::vector<std::string>{"ann createModelVersion", "ann createRegisteredModel",
                                               "bob createModelVersion", "bob createRegisteredModel",
                                               "bob createSchema", "bob createCatalog"}));
}

TEST_P(RegistryContract, ATreeMustBeStoredAndNotEmpty) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  const Lease lease = box.leases->AcquireLease(box.ann, "test").value();
  EXPECT_EQ(Outcome(box.registry->CommitVersion(box.ann, model, DigestOf("nothing"), lease, {}, {})),
            "failed precondition");
  const Digest empty = box.blobs.PutTree({});
  EXPECT_EQ(Outcome(box.registry->CommitVersion(box.ann, model, empty, lease, {}, {})),
            "failed precondition");
  EXPECT_EQ(box.registry->Get(box.ann, model)->next_version, 1U);
}

TEST_P(RegistryContract, AnMlmodelNeedsItsSignature) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  const Lease lease = box.leases->AcquireLease(box.ann, "test").value();
  const Digest bare = box.blobs.PutTree({{"MLmodel", "flavors: {}\n"}, {"w", "x"}});
  const auto refused = box.registry->CommitVersion(box.ann, model, bare, lease, {}, {});
  ASSERT_EQ(Outcome(refused), "failed precondition");
  EXPECT_NE(refused.error().message().find("MLmodel"), std::string::npos);
  EXPECT_NE(refused.error().message().find("infer_signature"), std::string::npos);
  const Digest signed_tree = box.blobs.PutTree(
      {{"MLmodel", "signature: {inputs: '[{\"type\": \"long\"}]', outputs: '[{\"type\": \"double\"}]'}\n"}});
  EXPECT_EQ(box.registry->CommitVersion(box.ann, model, signed_tree, lease, {}, {})->signature,
            Signature::kPresent);
  // Only the root's MLmodel counts.
  const Digest nested = box.blobs.PutTree({{"sub/MLmodel", "flavors: {}\n"}});
  EXPECT_EQ(box.registry->CommitVersion(box.ann, model, nested, lease, {}, {})->signature, Signature::kNone);
}

TEST_P(RegistryContract, ARegistryCanRequireASignatureOfEveryVersion) {
  Box box(GetParam(), RegistrySettings::SignaturePolicy::kRequired);
  EXPECT_EQ(Outcome(box.Commit(box.Make("c.s.m"))), "failed precondition");
}

TEST_P(RegistryContract, APendingVersionIsFinalizedOrFails) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  const auto begun = box.registry->BeginVersion(box.ann, model, {}).value();
  EXPECT_EQ(begun.number, 1U);
  EXPECT_EQ(begun.status, VersionStatus::kPending);
  EXPECT_EQ(Outcome(box.registry->SetAlias(box.ann, model, "A", 1)), "failed precondition");
  EXPECT_EQ(box.registry->Get(box.ann, model)->latest_ready, 0U);
  const Lease lease = box.leases->AcquireLease(box.ann, "test").value();
  const Digest tree = box.blobs.PutTree({{"w", "x"}});
  EXPECT_EQ(box.registry->FinalizeVersion(box.ann, model, 1, tree, lease)->status, VersionStatus::kReady);
  EXPECT_OK(box.registry->FinalizeVersion(box.ann, model, 1, tree, lease));
  const Digest other = box.blobs.PutTree({{"w", "y"}});
  EXPECT_EQ(Outcome(box.registry->FinalizeVersion(box.ann, model, 1, other, lease)), "failed precondition");
  EXPECT_EQ(box.registry->GetVersion(box.ann, model, 1)->tree, tree);

  ASSERT_OK(box.registry->BeginVersion(box.ann, model, {}));
  ASSERT_OK(box.registry->FailVersion(box.ann, model, 2, "upload broke"));
  EXPECT_EQ(box.registry->GetVersion(box.ann, model, 2)->status_message, "upload broke");
  EXPECT_EQ(Outcome(box.registry->FinalizeVersion(box.ann, model, 2, tree, lease)), "failed precondition");
  EXPECT_EQ(Outcome(box.registry->FailVersion(box.ann, model, 1, "no")), "failed precondition");

  ASSERT_OK(box.registry->BeginVersion(box.ann, model, {}));
  const Digest unsigned_tree = box.blobs.PutTree({{"MLmodel", "{}"}});
  EXPECT_EQ(Outcome(box.registry->FinalizeVersion(box.ann, model, 3, unsigned_tree, lease)),
            "failed precondition");
  EXPECT_EQ(box.registry->GetVersion(box.ann, model, 3)->status, VersionStatus::kFailed);
}

TEST_P(RegistryContract, APendingVersionAgesToFailed) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.registry->BeginVersion(box.ann, model, {}));
  box.clock.Advance(kPendingLifetimeMs);
  ASSERT_OK(box.implementation->MarkForSweep(box.ann));
  EXPECT_EQ(box.registry->GetVersion(box.ann, model, 1)->status, VersionStatus::kPending);
  box.clock.Advance(1);
  ASSERT_OK(box.implementation->MarkForSweep(box.ann));
  EXPECT_EQ(box.registry->GetVersion(box.ann, model, 1)->status, VersionStatus::kFailed);
}

TEST_P(RegistryContract, ACopyOfAVersionKeepsItsFieldsButNotItsAliases) {
  Box box(GetParam());
  const ObjectId model = box.Make("dev.s.m");
  const ObjectId target = box.Make("prod.s.m");
  NewVersion fields;
  fields.run_id = "run";
  fields.comment = "words";
  fields.tags = {{"a", "1"}};
  const auto original = box.Commit(model, "bytes", {}, fields).value();
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "Champion", 1));
  const auto copy = box.registry->CopyVersion(box.ann, model, 1, target).value();
  EXPECT_EQ(copy.number, 1U);
  EXPECT_EQ(copy.model_name.ToString(), "prod.s.m");
  EXPECT_NE(copy.id, original.id);
  const auto read = box.registry->GetVersion(box.ann, target, 1).value();
  EXPECT_EQ(read.tree, original.tree);
  EXPECT_EQ(read.source, "models:/dev.s.m/1");
  EXPECT_EQ(read.run_id, "run");
  EXPECT_EQ(read.comment, "words");
  EXPECT_TRUE(read.aliases.empty());
  EXPECT_EQ(box.registry->Tags(box.ann, {target, 1})->at("a"), "1");
  ASSERT_OK(box.registry->BeginVersion(box.ann, model, {}));
  EXPECT_EQ(Outcome(box.registry->CopyVersion(box.ann, model, 2, target)), "failed precondition");
  EXPECT_EQ(box.registry->CopyVersion(box.ann, model, 1, model)->number, 3U);
}

// The numbers of a model's versions, each with the version that it is a copy of.
std::map<VersionNumber, std::string> SourcesOf(Box& box, ObjectId model) {
  std::map<VersionNumber, std::string> sources;
  const auto versions = box.registry->ListVersions(box.ann, model, {}).value();
  for (const VersionInfo& version : versions.items) sources[version.number] = version.source;
  return sources;
}

TEST_P(RegistryContract, ACopyOfAModelIsTheModelUnderAnotherName) {
  Box box(GetParam());
  const ObjectId model = box.Make("dev.s.m");
  NewVersion fields;
  fields.run_id = "run";
  fields.comment = "words";
  // The most that are allowed: each version's copy is one commit all the same.
  for (size_t i = 0; i < kMaxTagsPerObject; ++i) {
    fields.tags["key" + std::to_string(i)] = std::string(kMaxTagValueCharacters, 'x');
    ASSERT_OK(box.registry->SetTag(box.ann, {model, {}}, "key" + std::to_string(i), "value"));
  }
  ASSERT_OK(box.registry->SetDescription(box.ann, {model, {}}, "about"));
  for (int i = 1; i <= 5; ++i) ASSERT_OK(box.Commit(model, std::to_string(i), {}, fields));
  ASSERT_OK(box.registry->BeginVersion(box.ann, model, {}));  // PENDING: its number is a gap in the copy
  for (const VersionNumber gone : {1U, 3U, 5U}) ASSERT_OK(box.registry->DeleteVersion(box.ann, model, gone));
  for (size_t i = 0; i < kMaxAliasesPerModel; ++i) {
    ASSERT_OK(box.registry->SetAlias(box.ann, model, "Alias-" + std::to_string(i), i % 2 == 0 ? 2 : 4));
  }

  const ObjectId schema = box.Make("prod.s");
  const uint64_t before = box.journal->CurrentRevision(box.ann).value();
  const auto copy = box.registry->CopyModel(box.ann, model, schema, "m").value();
  EXPECT_TRUE(copy.made);
  ASSERT_EQ(copy.versions.size(), 2U);
  EXPECT_EQ(copy.versions[1].source, 4U);
  EXPECT_EQ(copy.versions[1].copy, 4U);
  EXPECT_EQ(copy.model.full_name.ToString(), "prod.s.m");
  EXPECT_EQ(copy.model.comment, "about");
  EXPECT_EQ(copy.model.next_version, 7U) << "no number of the source's is given again";
  EXPECT_EQ(copy.model.latest_ready, 4U);
  EXPECT_EQ(SourcesOf(box, copy.model.id),
            (std::map<VersionNumber, std::string>{{2, "models:/dev.s.m/2"}, {4, "models:/dev.s.m/4"}}));
  EXPECT_EQ(box.registry->Tags(box.ann, {copy.model.id, {}})->size(), kMaxTagsPerObject);
  EXPECT_EQ(*box.registry->Tags(box.ann, {copy.model.id, 4}), fields.tags);
  EXPECT_EQ(box.registry->GetVersion(box.ann, copy.model.id, 2)->comment, "words");
  EXPECT_EQ(box.registry->GetVersion(box.ann, copy.model.id, 2)->tree,
            box.registry->GetVersion(box.ann, model, 2)->tree);
  ASSERT_EQ(copy.model.aliases.size(), kMaxAliasesPerModel);
  EXPECT_EQ(box.registry->ResolveAlias(box.ann, copy.model.id, "Alias-3")->number, 4U);
  EXPECT_EQ(box.Commit(copy.model.id)->number, 7U);
  // One event per commit: the model, each version, the aliases.
  std::vector<EventKind> told;
  const std::vector<Event> events = box.journal->Events(box.ann, before, 100)->events;
  for (const Event& event : events) {
    if (event.object == copy.model.id) told.push_back(event.kind);
  }
  EXPECT_EQ(told,
            (std::vector<EventKind>{EventKind::kCreated, EventKind::kVersionReady, EventKind::kVersionReady,
                                    EventKind::kAliasSet, EventKind::kVersionReady}));
  EXPECT_EQ(box.implementation->Problems(box.ann), std::vector<std::string>());
  ASSERT_OK(box.registry->Delete(box.ann, copy.model.id, Registry::DeleteMode::kWithVersions));
  EXPECT_EQ(box.implementation->Problems(box.ann), std::vector<std::string>());
}

TEST_P(RegistryContract, ACopyIntoAnExistingModelAddsTheMissingVersions) {
  Box box(GetParam());
  const ObjectId model = box.Make("dev.s.m");
  const ObjectId target = box.Make("prod.s.m");
  const ObjectId schema = box.registry->Get(box.ann, target)->parent;
  ASSERT_OK(box.registry->SetDescription(box.ann, {model, {}}, "about"));
  ASSERT_OK(box.Commit(target, "own"));
  for (int i = 1; i <= 3; ++i) ASSERT_OK(box.Commit(model, std::to_string(i)));
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "Champion", 2));
  ASSERT_OK(box.registry->CopyVersion(box.ann, model, 2, target));

  const auto copy = box.registry->CopyModel(box.ann, model, schema, "m").value();
  EXPECT_FALSE(copy.made);
  const std::map<VersionNumber, std::string> all{
      {1, ""}, {2, "models:/dev.s.m/2"}, {3, "models:/dev.s.m/1"}, {4, "models:/dev.s.m/3"}};
  EXPECT_EQ(SourcesOf(box, target), all);
  EXPECT_EQ(copy.model.comment, "");
  EXPECT_TRUE(copy.model.aliases.empty());
  EXPECT_TRUE(box.registry->CopyModel(box.ann, model, schema, "m")->versions.empty()) << "they exist already";
  EXPECT_EQ(SourcesOf(box, target), all);
  // A source that only claims to be one is not a copy.
  NewVersion claimed;
  claimed.source = "models:/dev.s.m/4";
  ASSERT_OK(box.Commit(model, "4"));
  ASSERT_OK(box.Commit(target, "other bytes", {}, claimed));
  EXPECT_EQ(box.registry->CopyModel(box.ann, model, schema, "m")->versions.size(), 1U);

  EXPECT_EQ(Outcome(box.registry->CopyModel(box.ann, model, box.registry->Get(box.ann, model)->parent, "m")),
            "invalid argument");
  EXPECT_EQ(Outcome(box.registry->CopyModel(box.ann, model, schema, "a.b")), "invalid argument");
}

TEST_P(RegistryContract, VersionsAreListedInPagesByNumber) {
  Box box(GetParam());
  const ObjectId other = box.Make("c.s.other");
  const ObjectId model = box.Make("c.s.m");
  const ObjectId after = box.Make("c.s.z");
  ASSERT_OK(box.Commit(other));
  ASSERT_OK(box.Commit(after));
  for (int i = 0; i < 5; ++i) ASSERT_OK(box.Commit(model));
  PageRequest request;
  request.limit = 2;
  std::vector<VersionNumber> numbers;
  do {
    const auto page = box.registry->ListVersions(box.ann, model, request).value();
    for (const VersionInfo& version : page.items) numbers.push_back(version.number);
    request.token = page.next_token;
  } while (!request.token.empty());
  EXPECT_EQ(numbers, (std::vector<VersionNumber>{1, 2, 3, 4, 5}));
}

TEST_P(RegistryContract, AliasesMoveSwapAndAreRenamedInOneCommit) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  for (int i = 0; i < 3; ++i) ASSERT_OK(box.Commit(model));
  const auto aliases = [&] { return AliasesOf(box.registry->Get(box.ann, model).value()); };
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "Champion", 1));
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "Challenger", 2));
  EXPECT_EQ(aliases(), (std::vector<std::string>{"Challenger=2", "Champion=1"}));
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "Champion", 3));
  EXPECT_EQ(Outcome(box.registry->SetAlias(box.ann, model, "Champion", 1, Registry::AliasMode::kCreateOnly)),
            "already exists");
  EXPECT_EQ(Outcome(box.registry->SetAlias(box.ann, model, "champion", 1)), "already exists");
  EXPECT_EQ(Outcome(box.registry->SetAlias(box.ann, model, "latest", 1)), "invalid argument");
  EXPECT_EQ(Outcome(box.registry->SetAlias(box.ann, model, "New", 9)), "not found");
  EXPECT_EQ(aliases(), (std::vector<std::string>{"Challenger=2", "Champion=3"}));
  EXPECT_EQ(box.registry->ResolveAlias(box.ann, model, "Champion")->number, 3U);
  EXPECT_EQ(Outcome(box.registry->ResolveAlias(box.ann, model, "champion")), "not found");

  ASSERT_OK(box.registry->SwapAliases(box.ann, model, "Champion", "Challenger"));
  EXPECT_EQ(aliases(), (std::vector<std::string>{"Challenger=3", "Champion=2"}));
  EXPECT_EQ(Outcome(box.registry->RenameAlias(box.ann, model, "Champion", "Challenger",
                                              Registry::AliasMode::kCreateOnly)),
            "already exists");
  ASSERT_OK(box.registry->RenameAlias(box.ann, model, "Challenger", "Champion"));
  EXPECT_EQ(aliases(), (std::vector<std::string>{"Champion=3"}));
  ASSERT_OK(box.registry->RenameAlias(box.ann, model, "Champion", "champion"));
  EXPECT_EQ(aliases(), (std::vector<std::string>{"champion=3"}));
  EXPECT_EQ(Outcome(box.registry->RenameAlias(box.ann, model, "gone", "x")), "not found");
  ASSERT_OK(box.registry->DeleteAlias(box.ann, model, "champion"));
  EXPECT_EQ(Outcome(box.registry->DeleteAlias(box.ann, model, "champion")), "not found");
  EXPECT_TRUE(aliases().empty());
}

TEST_P(RegistryContract, AliasSlotsAreUniqueAndStay) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.Commit(model));
  ASSERT_OK(box.Commit(model));
  for (size_t i = 0; i < kMaxAliasesPerModel; ++i) {
    ASSERT_OK(box.registry->SetAlias(box.ann, model, "a" + std::to_string(i), 1));
  }
  EXPECT_EQ(Outcome(box.registry->SetAlias(box.ann, model, "eleventh", 1)), "limit reached");
  const auto slots = [&] {
    std::map<std::string, int> by_name;
    const auto info = box.registry->Get(box.ann, model).value();
    for (const AliasInfo& alias : info.aliases) by_name[alias.name] = alias.slot;
    return by_name;
  };
  const auto before = slots();
  std::set<int> distinct;
  for (const auto& [name, slot] : before) distinct.insert(slot);
  EXPECT_EQ(distinct.size(), kMaxAliasesPerModel);
  EXPECT_LT(*distinct.rbegin(), static_cast<int>(kMaxAliasesPerModel));
  ASSERT_OK(box.registry->DeleteAlias(box.ann, model, "a3"));
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "a4", 2));
  ASSERT_OK(box.registry->RenameAlias(box.ann, model, "a5", "b5"));
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "new", 1));
  const auto after = slots();
  EXPECT_EQ(after.at("a4"), before.at("a4"));
  EXPECT_EQ(after.at("b5"), before.at("a5"));
  EXPECT_EQ(after.at("new"), before.at("a3"));
}

TEST_P(RegistryContract, DeletingAVersionDeletesItsAliasesAndTags) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.Commit(model));
  ASSERT_OK(box.Commit(model));
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "A", 1));
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "B", 2));
  ASSERT_OK(box.registry->SetTag(box.ann, {model, 1}, "k", "v"));
  const VersionInfo first = box.registry->GetVersion(box.ann, model, 1).value();
  ASSERT_EQ(first.aliases.size(), 1U);
  EXPECT_EQ(first.aliases[0].name, "A");
  EXPECT_EQ(first.aliases[0].version, 1U);
  ASSERT_OK(box.registry->DeleteVersion(box.ann, model, 1));
  EXPECT_EQ(AliasesOf(box.registry->Get(box.ann, model).value()), std::vector<std::string>{"B=2"});
  EXPECT_EQ(Outcome(box.registry->Tags(box.ann, {model, 1})), "not found");
}

TEST_P(RegistryContract, ARefusedCallLeavesNoTrace) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.Commit(model));
  const uint64_t before = box.journal->CurrentRevision(box.ann).value();
  EXPECT_FALSE(box.registry->SetAlias(box.ann, model, "v1", 1).ok());
  EXPECT_FALSE(box.registry->SetAlias(box.ann, model, "A", 2).ok());
  EXPECT_FALSE(box.registry->Create(box.ann, model, "x", "").ok());
  EXPECT_FALSE(box.registry->Delete(box.ann, model, Registry::DeleteMode::kIfEmpty).ok());
  EXPECT_EQ(box.journal->CurrentRevision(box.ann).value(), before);
}

TEST_P(RegistryContract, MovingAnAliasKeepsItsAuditTrail) {
  Box box(GetParam());
  box.ann.request_id = "req-1";
  const ObjectId model = box.Make("c.s.m");
  const ObjectId other = box.Make("c.s.m2");
  ASSERT_OK(box.Commit(model));
  ASSERT_OK(box.Commit(model));
  ASSERT_OK(box.Commit(other));
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "Champion", 1));
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "Champion", 2));
  ASSERT_OK(box.registry->Rename(box.ann, model, "renamed"));
  const auto trail = box.journal->Audit(box.ann, {.full_name = "c.s.renamed"}).value();
  std::vector<std::string> actions;
  for (const AuditRecord& record : trail) actions.push_back(record.action);
  EXPECT_EQ(actions, (std::vector<std::string>{"createRegisteredModel", "createModelVersion",
                                               "createModelVersion", "setRegisteredModelAlias",
                                               "setRegisteredModelAlias", "updateRegisteredModel"}));
  const AuditRecord& move = trail.at(4);
  EXPECT_EQ(move.params.at("alias_arg"), "Champion");
  EXPECT_EQ(move.params.at("version_num"), "2");
  EXPECT_EQ(move.params.at("previous_version_num"), "1");
  EXPECT_EQ(move.principal, "ann");
  EXPECT_EQ(move.request_id, "req-1");
  EXPECT_EQ(box.journal->Audit(box.ann, {.full_name = "c.s.m"})->size(), 6U) << "found by its old name too";
  const auto all = box.journal->Audit(box.ann, {}).value();
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i].sequence, i + 1);
  EXPECT_EQ(box.journal->Audit(box.ann, {.after_sequence = 3, .limit = 2})->at(0).sequence, 4U);
  EXPECT_EQ(box.journal->VerifyAudit(box.ann).value(), all.size());
}

// Scripts set the same values again. Neither watchers nor the log, which is kept for ever, notice it.
TEST_P(RegistryContract, SettingTheSameValueIsNotAChange) {
  Box box(GetParam());
  Registry& registry = *box.registry;
  const ObjectId model = box.Make("c.s.m");
  const ObjectId schema = registry.Get(box.ann, model)->parent;
  const VersionNumber number = box.Commit(model)->number;
  ASSERT_OK(box.governance->ChangeGrants(
      box.ann, model, {{.principal = "ann", .add = {Privilege::kManage, Privilege::kApplyTag}}}));
  const Target bare{model, std::nullopt};
  const ContainerSettings limited{.protected_aliases = {{"Champion", "bob"}}, .max_models = 5};
  const auto set_all = [&](const std::string& text, const std::string& owner, const ContainerSettings& from,
                           const ContainerSettings& to) {
    for (const Target& target : {bare, Target{model, number}}) {
      EXPECT_OK(registry.SetDescription(box.ann, target, text));
      EXPECT_OK(registry.SetTag(box.ann, target, "k", text));
    }
    EXPECT_OK(box.governance->SetSettings(box.ann, schema, from, to));
    EXPECT_EQ(registry.SetOwner(box.ann, model, owner)->owner, FoldCase(owner));
  };
  const auto what_was_heard = [&] {
    return std::pair(box.journal->Events(box.ann, 0, 1000)->events.size(),
                     box.journal->Audit(box.ann, {})->size());
  };
  auto before = what_was_heard();
  ASSERT_OK(registry.SetDescription(box.ann, bare, ""));
  ASSERT_OK(box.governance->SetSettings(box.ann, schema, {}, {}));
  EXPECT_EQ(what_was_heard(), before) << "nor is removing an absent value";
  set_all("x", "bob", {}, limited);
  before = what_was_heard();
  box.clock.Advance(1000);
  const int64_t updated = registry.Get(box.ann, model)->updated_at_ms;
  set_all("x", "BOB", limited, limited);
  EXPECT_EQ(what_was_heard(), before);
  EXPECT_EQ(registry.Get(box.ann, model)->updated_at_ms, updated);

  // Refused in the same cases as a change.
  EXPECT_EQ(Outcome(registry.SetTag(box.ann, bare, "k", "x", Registry::TagMode::kCreateOnly)),
            "already exists");
  Caller eve = box.ann;
  eve.principal = "eve";
  EXPECT_EQ(Outcome(registry.SetDescription(eve, bare, "x")), "permission denied");

  set_all("y", "ann", limited, {});
  const auto after = what_was_heard();
  EXPECT_EQ(after.first, before.first + 6);
  EXPECT_EQ(box.journal->Audit(box.ann, {.principal = "ann"})->size(), before.second + 6);
}

INSTANTIATE_OVER_IMPLEMENTATIONS(RegistryContract);

}  // namespace
}  // namespace modelfs::store
