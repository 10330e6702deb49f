#include "store/registry_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace modelfs::store {
namespace {

std::vector<std::string> Keys(const Json& json) {
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  return keys;
}

FullName Name(const char* dotted) { return *FullName::Parse(dotted); }

TEST(RegistryJson, AModelHasTheFieldNamesOfUnityCatalog) {
  ObjectInfo model;
  model.kind = ObjectKind::kModel;
  model.full_name = Name("prod.ml.iris");
  model.aliases.push_back({"Champion", 2, 9, 0, 5});
  const Json json = ObjectJson(model, {{"task", "x"}});
  EXPECT_EQ(Keys(json),
            (std::vector<std::string>{"kind", "catalog_name", "schema_name", "name", "full_name", "id",
                                      "owner", "comment", "aliases", "latest_version", "tags", "created_at",
                                      "created_by", "updated_at", "updated_by"}));
  EXPECT_EQ(json["catalog_name"], "prod");
  EXPECT_EQ(json["schema_name"], "ml");
  EXPECT_EQ(json["name"], "iris");
  EXPECT_EQ(json["aliases"][0], AliasJson(model.aliases[0]));
  EXPECT_EQ(json["aliases"][0]["version"], 2);
  EXPECT_EQ(json["tags"]["task"], "x");
  EXPECT_TRUE(json["latest_version"].is_null());
}

TEST(RegistryJson, ASchemaNamesItsCatalogAndItself) {
  ObjectInfo schema;
  schema.kind = ObjectKind::kSchema;
  schema.full_name = Name("prod.ml");
  const Json json = ObjectJson(schema, {});
  EXPECT_EQ(json["catalog_name"], "prod");
  EXPECT_EQ(json["name"], "ml");
  EXPECT_FALSE(json.contains("schema_name"));
  EXPECT_FALSE(json.contains("aliases"));
  EXPECT_EQ(json["tags"], Json::object());
}

TEST(RegistryJson, TheMetastoreHasANameAndTheRegistrysId) {
  const Json json = ObjectJson({}, {}, "cafe");
  EXPECT_EQ(json["full_name"], "metastore");
  EXPECT_EQ(json["registry"], "cafe");
  GrantInfo grant;
  grant.from_kind = ObjectKind::kMetastore;
  EXPECT_EQ(GrantJson(grant, ObjectKind::kCatalog)["inherited_from_name"], "metastore");
  EXPECT_FALSE(GrantJson(grant, ObjectKind::kMetastore).contains("inherited_from_name"));
}

TEST(RegistryJson, AVersionHasTheAliasesOfItsModelAndItsSizeOnceItIsReady) {
  VersionInfo version;
  version.model_name = Name("prod.ml.iris");
  version.number = 3;
  version.status = VersionStatus::kReady;
  version.total_bytes = 1234;
  version.aliases = {{"Champion", 3, 9, 0, 5}};
  const Json json = VersionJson(version, {});
  EXPECT_EQ(json["kind"], "version");
  EXPECT_EQ(json["model_name"], "iris");
  EXPECT_EQ(json["version"], 3);
  EXPECT_EQ(json["full_name"], "prod.ml.iris/3");
  EXPECT_EQ(json["aliases"][0], AliasJson(version.aliases[0]));
  EXPECT_EQ(json["size_bytes"], 1234);
  version.status = VersionStatus::kPending;
  EXPECT_TRUE(VersionJson(version, {})["digest"].is_null());
  EXPECT_TRUE(VersionJson(version, {})["size_bytes"].is_null());
}

TEST(RegistryJson, LineageNamesTheParentVersionOrHidesIt) {
  VersionInfo version;
  version.model_name = Name("prod.ml.copy");
  version.number = 1;
  version.source = "models:/prod.ml.iris/4";
  EXPECT_EQ(LineageJson(version)["upstream"][0]["full_name"], "prod.ml.iris/4");
  EXPECT_EQ(LineageJson(version)["upstream"][0]["version"], 4);
  version.source_masked = true;
  EXPECT_EQ(LineageJson(version)["upstream"][0], (Json{{"kind", "parent_version"}, {"masked", true}}));
}

TEST(RegistryJson, BytesThatAreNotUtf8AreReplaced) {
  ObjectInfo object;
  object.comment = "a\xff";
  EXPECT_NE(JsonText(ObjectJson(object, {}), -1).find("a\xEF\xBF\xBD"), std::string::npos);
}

// The lines of audit files are compared byte for byte.
TEST(RegistryJson, AnAuditFilesTextHasEachCharacterAsItIs) {
  AuditRecord record;
  record.full_name = "a\u202e";
  EXPECT_NE(AuditFileText(record).find("a\u202e"), std::string::npos);
  EXPECT_NE(JsonText(AuditJson(record), -1).find("a\\u202e"), std::string::npos);
}

}  // namespace
}  // namespace modelfs::store
