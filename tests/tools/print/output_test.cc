#include "tools/print/output.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cas/base/json_text.h"
#include "tools/print/log.h"

namespace modelfs::tools {
namespace {

std::vector<std::string> Keys(const Json& json) {
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  return keys;
}

store::FullName Name(const char* dotted) { return *store::FullName::Parse(dotted); }

TEST(JsonOutput, AModelHasTheFieldNamesOfUnityCatalog) {
  store::ObjectInfo model;
  model.kind = store::ObjectKind::kModel;
  model.id = 7;
  model.full_name = Name("prod.ml.iris");
  model.name = "iris";
  model.owner = "ann";
  model.comment = "petals";
  model.created_at_ms = 1;
  model.updated_at_ms = 2;
  model.aliases.push_back({"Champion", 2, 9, 0, 5});
  model.latest_ready = 2;
  const Json json = ObjectJson(model);
  EXPECT_EQ(Keys(json), (std::vector<std::string>{"kind", "catalog_name", "schema_name", "name", "full_name",
                                                  "id", "owner", "comment", "aliases", "latest_version",
                                                  "created_at", "created_by", "updated_at", "updated_by"}));
  EXPECT_EQ(json["catalog_name"], "prod");
  EXPECT_EQ(json["schema_name"], "ml");
  EXPECT_EQ(json["name"], "iris");
  EXPECT_EQ(json["aliases"][0]["alias_name"], "Champion");
  EXPECT_EQ(json["aliases"][0]["version_num"], 2);
}

TEST(JsonOutput, ASchemaNamesItsCatalogAndItself) {
  store::ObjectInfo schema;
  schema.kind = store::ObjectKind::kSchema;
  schema.full_name = Name("prod.ml");
  const Json json = ObjectJson(schema);
  EXPECT_EQ(json["catalog_name"], "prod");
  EXPECT_EQ(json["name"], "ml");
  EXPECT_FALSE(json.contains("schema_name"));
  EXPECT_FALSE(json.contains("aliases"));
}

TEST(JsonOutput, AVersionHasTheFieldNamesOfUnityCatalogAndItsSize) {
  store::VersionInfo version;
  version.id = 11;
  version.model_name = Name("prod.ml.iris");
  version.number = 3;
  version.status = store::VersionStatus::kReady;
  version.total_bytes = 1234;
  version.file_count = 5;
  version.aliases = {"Champion"};
  const Json json = VersionJson(version);
  EXPECT_EQ(Keys(json), (std::vector<std::string>{
                            "catalog_name", "schema_name", "model_name",     "version",    "full_name",
                            "id",           "status",      "status_message", "source",     "run_id",
                            "comment",      "aliases",     "signature",      "digest",     "size_bytes",
                            "file_count",   "created_at",  "created_by",     "updated_at", "updated_by"}));
  EXPECT_EQ(json["model_name"], "iris");
  EXPECT_EQ(json["version"], 3);
  EXPECT_EQ(json["full_name"], "prod.ml.iris/3");
  EXPECT_EQ(json["status"], "READY");
  EXPECT_EQ(json["size_bytes"], 1234);

  version.status = store::VersionStatus::kPending;
  EXPECT_TRUE(VersionJson(version)["digest"].is_null());
}

TEST(Table, AlignsByCharactersAndEscapesTerminalControls) {
  Table table({"NAME", "NOTE"});
  table.Add({"\xC3\xA9t\xC3\xA9", "x"});
  table.Add({"a", "\033[31mred\n"});
  table.Add({"", "y"});
  EXPECT_EQ(table.Render(),
            "NAME  NOTE\n"
            "\xC3\xA9t\xC3\xA9   x\n"
            "a     \\x1b[31mred\\x0a\n"
            "-     y\n");
  EXPECT_EQ(Table({"NAME"}).Render(), "");
}

// Text of other users in the registry never controls the terminal, and readable text stays readable.
TEST(JsonOutput, TerminalControlsAreEscapedAndOtherTextIsUnchanged) {
  const struct {
    const char* text;
    const char* want;  // between the quotes
  } kRows[] = {
      {"\x1b[2J", "\\u001b[2J"},
      {"\x7f", "\\u007f"},
      {"\u0080\u009b31m\u009f", "\\u0080\\u009b31m\\u009f"},
      {"\u00a0\u00fc", "\u00a0\u00fc"},
      {"\u061c\u200e\u200f", "\\u061c\\u200e\\u200f"},
      {"a\u202etxt.exe\u202c", "a\\u202etxt.exe\\u202c"},
      {"\u2028\u2029\u202a\u2066\u2069", "\\u2028\\u2029\\u202a\\u2066\\u2069"},
      {"\u2027\u202f\u2065\u206a", "\u2027\u202f\u2065\u206a"},
      {"\U0001f469\u200d\U0001f4bb\ufe0f", "\U0001f469\u200d\U0001f4bb\ufe0f"},
      {"\u6a21\u578b", "\u6a21\u578b"},
  };
  for (const auto& row : kRows) {
    const Json value = std::string(row.text);
    const std::string json = VisibleJson(value.dump());
    EXPECT_EQ(json, "\"" + std::string(row.want) + "\"");
    EXPECT_EQ(Json::parse(json), value) << "the value is the same";
    EXPECT_EQ(JsonEscaped(row.text), row.want) << "in a line of the log";
  }
  EXPECT_EQ(VisibleJson("[\n  \"a\"\n]"), "[\n  \"a\"\n]") << "its own line breaks stay";
  EXPECT_EQ(VisibleJson("\xC2"), "\xC2") << "a truncated character is left as it is";
}

}  // namespace
}  // namespace modelfs::tools
