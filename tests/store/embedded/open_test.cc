// The calls of the process that opened the engine, which no interface has: making a registry, opening it, and
// admitting a mount.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/store/kv/scratch_dir.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::Box;
using testing::Outcome;

TEST(EmbeddedRegistry, IsMadeOnce) {
  const testing::ScratchDir dir;
  for (const bool memory : {true, false}) {
    Box box(memory ? MakeMemoryKv() : testing::OpenLmdbAt(dir.path() + "/kv"));
    EXPECT_EQ(Outcome(InitializeRegistry(*box.kv, box.clock, box.ann, {})), "already exists");
  }
}

TEST(EmbeddedRegistry, AnEmptyEngineIsNotARegistry) {
  const testing::ScratchDir dir;
  for (const bool memory : {true, false}) {
    const std::unique_ptr<Kv> kv = memory ? MakeMemoryKv() : testing::OpenLmdbAt(dir.path() + "/kv");
    testing::FakeBlobStore blobs;
    EXPECT_EQ(Outcome(EmbeddedRegistry::Open(*kv, blobs, SystemClock())), "failed precondition");
  }
}

TEST(EmbeddedRegistry, AMountSpeaksForNobodyBeforeItIsAdmitted) {
  Box box(MakeMemoryKv());
  Caller on_the_kernels_word = box.ann;
  on_the_kernels_word.proof = Proof::kMount;
  EXPECT_EQ(Outcome(box.registry->Get(on_the_kernels_word, kMetastoreId)), "permission denied");
  EXPECT_EQ(Outcome(box.registry->Create(on_the_kernels_word, kMetastoreId, "c", "")), "permission denied");

  on_the_kernels_word.speaker = box.registry->AdmitMount(box.ann, "/mine", Speaker::For::kOwner).value();
  EXPECT_OK(box.registry->Get(on_the_kernels_word, kMetastoreId));
  Caller other = on_the_kernels_word;
  other.uid = box.ann.uid + 1;
  EXPECT_EQ(Outcome(box.registry->Get(other, kMetastoreId)), "permission denied");
  other.speaker = box.registry->AdmitMount(box.ann, "/all", Speaker::For::kLocalUsers).value();
  EXPECT_OK(box.registry->Get(other, kMetastoreId));

  ASSERT_OK(box.registry->FlushAudit());
  std::vector<std::string> admitted;
  const auto records = box.registry->Audit(box.ann, {.action = "mountMetastore"}).value();
  for (const AuditRecord& record : records) {
    admitted.push_back(record.params.at("mount_point") + ": " + record.params.at("speaks_for"));
  }
  EXPECT_EQ(admitted, (std::vector<std::string>{"/mine: its owner", "/all: users of its host"}));
}

}  // namespace
}  // namespace modelfs::store
