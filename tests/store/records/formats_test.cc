// The worked examples of docs/formats.md are the bytes that the code writes.
#include <gtest/gtest.h>

#include "store/audit/files.h"
#include "store/records/keys.h"
#include "store/records/records.h"
#include "tests/cas/test_support.h"
#include "tests/store/expect.h"

namespace modelfs::store {
namespace {

using cas::DocumentedBytes;
using cas::DocumentedText;
using cas::Hex;

constexpr int64_t kTimeMs = 1'767'225'600'000;  // 2026-01-01

TEST(Formats, KeysAreAsDocumented) {
  EXPECT_EQ(Hex(keys::Object(2, "iris")), DocumentedBytes("registry keys"));
}

TEST(Formats, AnObjectRecordIsAsDocumented) {
  ObjectRecord record;
  record.id = 3;
  record.kind = ObjectKind::kModel;
  record.owner = 2;
  record.created = {kTimeMs, "ann"};
  record.updated = {kTimeMs, "bob"};
  record.children = 2;
  record.next_version = 3;
  record.latest_ready = 2;
  record.aliases = {{"Champion", 2, 7, 0, kTimeMs}};
  record.newest_file_s = kTimeMs / 1000;
  const std::string encoded = record.Encode();
  EXPECT_EQ(Hex(encoded), DocumentedBytes("object record"));
  EXPECT_EQ(ObjectRecord::Decode(encoded, "example")->Encode(), encoded);
  record.newest_file_s.reset();
  const std::string old = record.Encode();
  EXPECT_EQ(Hex(old), DocumentedBytes("object record of version 2"));
  EXPECT_EQ(ObjectRecord::Decode(old, "example")->Encode(), old) << "a missing value is not made up";
}

TEST(Formats, AnObjectRecordOfFormatOneKeepsItsOwnersName) {
  ObjectRecord record;
  record.id = 1;
  record.kind = ObjectKind::kCatalog;
  record.owner_name = "ann";
  const std::string encoded = record.Encode();
  EXPECT_EQ(encoded[0], 1);
  const auto decoded = ObjectRecord::Decode(encoded, "example");
  EXPECT_EQ(decoded->owner_name, "ann");
  EXPECT_EQ(decoded->owner, kNobodyId);
  EXPECT_EQ(decoded->Encode(), encoded);
}

TEST(Formats, AModelCopyRecordIsAsDocumented) {
  ModelCopyRecord record;
  record.source = 3;
  record.end = 7;
  record.done = 2;
  record.aliases = {{"Champion", 4}};
  const std::string encoded = record.Encode();
  EXPECT_EQ(Hex(encoded), DocumentedBytes("model copy record"));
  EXPECT_EQ(ModelCopyRecord::Decode(encoded, "example")->Encode(), encoded);
}

TEST(Formats, APrincipalRecordIsAsDocumented) {
  PrincipalRecord record;
  record.info.kind = PrincipalKind::kGroup;
  record.info.source = PrincipalSource::kHost;
  record.info.name = "data-science";
  record.info.created_at_ms = kTimeMs;
  record.info.created_by = "ann";
  const std::string encoded = record.Encode();
  EXPECT_EQ(Hex(encoded), DocumentedBytes("principal record"));
  EXPECT_EQ(PrincipalRecord::Decode(encoded, "example")->Encode(), encoded);
}

TEST(Formats, AGrantsRecordIsAsDocumented) {
  GrantsRecord record;
  record.Set(7, {Privilege::kUseSchema, Privilege::kExecute});
  record.Set(3, {Privilege::kAllPrivileges});
  const std::string encoded = record.Encode();
  EXPECT_EQ(Hex(encoded), DocumentedBytes("grants record"));
  EXPECT_EQ(GrantsRecord::Decode(encoded, "example")->Encode(), encoded);
}

TEST(Formats, AContainersSettingsAreAsDocumented) {
  ContainerSettingsRecord record;
  record.signature_required = true;
  record.protected_aliases = {{"Champion", 7}};
  record.max_versions = 100;
  const std::string encoded = record.Encode();
  EXPECT_EQ(Hex(encoded), DocumentedBytes("container settings record"));
  EXPECT_EQ(ContainerSettingsRecord::Decode(encoded, "example")->Encode(), encoded);
}

TEST(Formats, AVersionRecordIsAsDocumented) {
  VersionRecord record;
  record.id = 7;
  record.status = VersionStatus::kReady;
  record.tree = DigestOf(std::string_view("a tree"));
  record.total_bytes = 1000;
  record.file_count = 2;
  record.signature = Signature::kPresent;
  record.source = "/iris";
  record.created = record.updated = {kTimeMs, "ann"};
  const std::string old = record.Encode();
  EXPECT_EQ(Hex(old), DocumentedBytes("version record of version 1"));
  EXPECT_EQ(VersionRecord::Decode(old, "example")->source_model, std::nullopt);
  EXPECT_EQ(VersionRecord::Decode(old, "example")->Encode(), old) << "a missing value is not made up";
  record.source = "models:/a.b.c/1";
  record.source_model = 3;
  const std::string without_times = record.Encode();
  EXPECT_EQ(Hex(without_times), DocumentedBytes("version record of version 2"));
  EXPECT_EQ(VersionRecord::Decode(without_times, "example")->source_model, 3U);
  EXPECT_EQ(VersionRecord::Decode(without_times, "example")->Encode(), without_times);
  record.commit = {kTimeMs, DigestOf(std::string_view("times")), kTimeMs / 1000};
  const std::string encoded = record.Encode();
  EXPECT_EQ(Hex(encoded), DocumentedBytes("version record"));
  EXPECT_EQ(VersionRecord::Decode(encoded, "example")->source_model, 3U);
  EXPECT_EQ(VersionRecord::Decode(encoded, "example")->Encode(), encoded);
}

TEST(Formats, AnAuditRecordIsAsDocumentedInBothVersions) {
  AuditRecord record;
  record.sequence = 1;
  record.time_ms = kTimeMs;
  record.principal = "ann";
  record.door = "cli";
  record.request_id = "r1";
  record.action = "createCatalog";
  record.full_name = "prod";
  record.object = 1;
  record.params = {{"name", "prod"}};
  record.format = 1;
  const std::string old = EncodeAudit(record);
  EXPECT_EQ(Hex(old), DocumentedBytes("audit record of version 1"));
  EXPECT_EQ(DecodeAudit(old, "example")->hash, AuditHash(record));
  EXPECT_EQ(EncodeAudit(*DecodeAudit(old, "example")), old);

  record.format = 2;
  record.sequence = 2;
  record.run_by = "root";
  record.change = false;
  record.status = 403;
  record.error = "no";
  record.previous_hash = DecodeAudit(old, "example")->hash;
  const std::string encoded = EncodeAudit(record);
  EXPECT_EQ(Hex(encoded), DocumentedBytes("audit record"));
  const AuditRecord decoded = DecodeAudit(encoded, "example").value();
  EXPECT_EQ(decoded.hash, AuditHash(record));
  EXPECT_EQ(EncodeAudit(decoded), encoded);
  EXPECT_EQ(PeekAuditTime(encoded), kTimeMs);
  EXPECT_EQ(AuditLine(decoded), DocumentedText("audit files"));
}

TEST(Formats, TheAuditLogsEndsAndItsIndexAreAsDocumented) {
  AuditHeadRecord head;
  head.sequence = 7;
  head.hash = DigestOf(std::string_view("a record")).sha256;
  head.indexed_from = 3;
  head.counted_from = 4;
  head.kept_bytes = 1000;
  EXPECT_EQ(Hex(head.Encode()), DocumentedBytes("audit head"));
  EXPECT_EQ(AuditHeadRecord::Decode(head.Encode(), "example")->Encode(), head.Encode());
  AuditStartRecord start;
  start.sequence = 5;
  start.hash = head.hash;
  EXPECT_EQ(Hex(start.Encode()), DocumentedBytes("audit start"));
  EXPECT_EQ(AuditStartRecord::Decode(start.Encode(), "example")->Encode(), start.Encode());
  AuditSettings settings;
  settings.opens = AuditSettings::Opens::kEach;
  settings.most_bytes = 1 << 20;
  settings.longest_ms = 86'400'000;
  EXPECT_EQ(Hex(settings.Encode()), DocumentedBytes("audit settings"));
  EXPECT_EQ(AuditSettings::Decode(settings.Encode(), "example").value(), settings);
  EXPECT_EQ(Hex(keys::AuditIndex(3, 7) + keys::AuditIndex(keys::LostName("prod.ml.iris"), 7)),
            DocumentedBytes("audit index"));
}

TEST(Formats, AnEventIsAsDocumented) {
  Event event;
  event.time_ms = kTimeMs;
  event.kind = EventKind::kAliasSet;
  event.object_kind = ObjectKind::kModel;
  event.object = 3;
  event.parent = 2;
  event.name = "iris";
  event.version = 2;
  event.version_id = 7;
  event.aliases = {"Champion"};
  const std::string encoded = EncodeEvent(event);
  EXPECT_EQ(Hex(encoded), DocumentedBytes("event"));
  EXPECT_EQ(EncodeEvent(*DecodeEvent(encoded, "example")), encoded);
}

TEST(Formats, ALeaseRecordIsAsDocumented) {
  LeaseRecord record;
  record.purpose = "register";
  record.principal = "ann";
  record.acquired_at_ms = kTimeMs;
  record.boot_id = "b007";
  record.pid_namespace = 4026531836;
  record.pid = 4242;
  record.process_start = 123456;
  const std::string encoded = record.Encode();
  EXPECT_EQ(Hex(encoded), DocumentedBytes("lease record"));
  EXPECT_EQ(LeaseRecord::Decode(encoded, "example")->Encode(), encoded);
}

}  // namespace
}  // namespace modelfs::store
