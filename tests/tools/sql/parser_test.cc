// The SQL of `modelfs sql`: parsing, printing, and the messages for mistakes.
#include "tools/sql/parser.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <string>
#include <vector>

#include "cas/base/text.h"
#include "store/principal.h"
#include "tests/tools/sql/print_sql.h"

namespace modelfs::tools {
namespace {

SqlStatement ParseOne(std::string_view sql) {
  const Result<std::vector<ParsedStatement>> parsed = ParseSql(sql);
  EXPECT_TRUE(parsed.ok()) << sql << "\n" << (parsed.ok() ? "" : parsed.error().message());
  if (!parsed.ok() || parsed->size() != 1) return Describe{};
  return parsed->front().statement;
}

TEST(Sql, EachStatementParsesAndPrints) {
  struct Row {
    std::string sql;
    std::string printed;
  };
  const std::vector<Row> rows = {
      {"CREATE CATALOG prod", "CREATE CATALOG prod"},
      {"create  schema\nif not EXISTS Prod.`ML-Team` comment 'it''s ours'",
       "CREATE SCHEMA IF NOT EXISTS prod.`ml-team` COMMENT 'it''s ours'"},
      {"CREATE MODEL prod.ml.iris COMMENT ''", "CREATE MODEL prod.ml.iris"},
      {"CREATE FUNCTION a . b\t. c", "CREATE MODEL a.b.c"},
      {"DROP CATALOG IF EXISTS prod RESTRICT", "DROP CATALOG IF EXISTS prod"},
      {"DROP MODEL a.b.c CASCADE", "DROP MODEL a.b.c CASCADE"},
      {"DROP SCHEMA a.b", "DROP SCHEMA a.b"},
      {"GRANT USE CATALOG ON CATALOG prod TO `data-science`",
       "GRANT USE CATALOG ON CATALOG prod TO `data-science`"},
      {"grant execute,use_schema ON SCHEMA prod.ml TO `Risk Readers`",
       "GRANT USE SCHEMA, EXECUTE ON SCHEMA prod.ml TO `Risk Readers`"},
      {"GRANT ALL PRIVILEGES ON FUNCTION Prod.Risk.Scorer TO Ann",
       "GRANT ALL PRIVILEGES ON MODEL prod.risk.scorer TO Ann"},
      {"REVOKE CREATE MODEL, Create_Model_Version ON MODEL a.b.c FROM `a``b`",
       "REVOKE CREATE MODEL, CREATE MODEL VERSION ON MODEL a.b.c FROM `a``b`"},
      {"GRANT CREATE CATALOG ON METASTORE TO `account users`",
       "GRANT CREATE CATALOG ON METASTORE TO `account users`"},
      {"SHOW GRANTS ON METASTORE", "SHOW GRANTS ON METASTORE"},
      {"SHOW GRANT `ann@x.org` ON FUNCTION a.b.c", "SHOW GRANTS `ann@x.org` ON MODEL a.b.c"},
      {"SHOW GRANTS `on` ON CATALOG `on`", "SHOW GRANTS `on` ON CATALOG `on`"},
      {"ALTER METASTORE OWNER TO admins", "ALTER METASTORE OWNER TO admins"},
      {"ALTER CATALOG c SET OWNER TO `ml admins`", "ALTER CATALOG c OWNER TO `ml admins`"},
      {"ALTER MODEL a.b.c RENAME TO D", "ALTER MODEL a.b.c RENAME TO d"},
      {"ALTER FUNCTION a.b.c OWNER TO g", "ALTER MODEL a.b.c OWNER TO g"},
      {"ALTER MODEL a.b.c SET TAGS ('k' = 'v', 'Flag')",
       "ALTER MODEL a.b.c SET TAGS ('k' = 'v', 'Flag' = '')"},
      {"ALTER SCHEMA a.b UNSET TAGS ( 'k' , 'l' )", "ALTER SCHEMA a.b UNSET TAGS ('k', 'l')"},
      {"COMMENT ON MODEL a.b.c IS 'two\nlines -- no comment'",
       "COMMENT ON MODEL a.b.c IS 'two\nlines -- no comment'"},
      {"COMMENT ON CATALOG c IS NULL", "COMMENT ON CATALOG c IS NULL"},
      {"COMMENT ON CATALOG c IS ''", "COMMENT ON CATALOG c IS NULL"},
      {"SHOW CATALOGS", "SHOW CATALOGS"},
      {"SHOW CATALOGS 'p%'", "SHOW CATALOGS LIKE 'p%'"},
      {"SHOW SCHEMAS", "SHOW SCHEMAS"},
      {"SHOW SCHEMAS FROM c LIKE '_x'", "SHOW SCHEMAS IN c LIKE '_x'"},
      {"SHOW MODELS IN a.b", "SHOW MODELS IN a.b"},
      {"SHOW PRINCIPALS", "SHOW PRINCIPALS"},
      {"SHOW USERS LIKE 'a%'", "SHOW USERS LIKE 'a%'"},
      {"SHOW GROUPS", "SHOW GROUPS"},
      {"CREATE GROUP IF NOT EXISTS `Data Science`", "CREATE GROUP IF NOT EXISTS `Data Science`"},
      {"DROP GROUP IF EXISTS g", "DROP GROUP IF EXISTS g"},
      {"ALTER GROUP g ADD USER ann, `bob@x`", "ALTER GROUP g ADD MEMBER ann, `bob@x`"},
      {"ALTER GROUP g DROP MEMBER ann", "ALTER GROUP g DROP MEMBER ann"},
      {"DESCRIBE a.b.c", "DESCRIBE MODEL a.b.c"},
      {"DESC a.b", "DESCRIBE SCHEMA a.b"},
      {"DESCRIBE catalog", "DESCRIBE CATALOG catalog"},
      {"DESCRIBE catalog catalog", "DESCRIBE CATALOG catalog"},
      {"DESCRIBE schema.model.function", "DESCRIBE MODEL schema.model.function"},
      {"DESCRIBE METASTORE", "DESCRIBE METASTORE"},
      {"DESCRIBE `metastore`", "DESCRIBE CATALOG metastore"},
      {"DESCRIBE `if`", "DESCRIBE CATALOG `if`"},
      // Names are lowered by character, not case-folded: ß stays ß.
      {"CREATE CATALOG `STRAßE`", "CREATE CATALOG `straße`"},
      {"/* a /* b */ ' ` */ SHOW -- ' ` ;\n CATALOGS -- end", "SHOW CATALOGS"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.sql);
    const SqlStatement statement = ParseOne(row.sql);
    EXPECT_EQ(PrintSql(statement), row.printed);
    EXPECT_TRUE(ParseOne(row.printed) == statement);
  }
}

TEST(Sql, StatementsOfAScriptHaveANumberAndALine) {
  const auto parsed = ParseSql(";; SHOW CATALOGS;\n\n-- x\nSHOW\n GROUPS;SHOW USERS");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message();
  ASSERT_EQ(parsed->size(), 3U);
  EXPECT_EQ((*parsed)[0].line, 1U);
  EXPECT_EQ((*parsed)[1].line, 4U);
  EXPECT_EQ((*parsed)[1].number, 2U);
  EXPECT_EQ((*parsed)[1].text, "SHOW\n GROUPS");
  EXPECT_EQ((*parsed)[2].line, 5U);
  EXPECT_TRUE(std::holds_alternative<ShowPrincipals>((*parsed)[2].statement));
  for (const char* nothing : {"", " ;; ", "-- only this", "/* and this */\n"}) {
    const auto empty = ParseSql(nothing);
    ASSERT_TRUE(empty.ok()) << nothing;
    EXPECT_TRUE(empty->empty()) << nothing;
  }
}

TEST(Sql, AMistakeIsReportedWithItsPlaceAndTheExpectedText) {
  struct Row {
    std::string sql;
    std::string message;
  };
  const std::vector<Row> rows = {
      {"SELECT 1",
       "line 1, column 1: expected ALTER, COMMENT, CREATE, DESCRIBE, DROP, GRANT, REVOKE or SHOW, found "
       "\"SELECT\""},
      {"GRANT EXECUTE ON MODEL a.b.c FROM x", "line 1, column 30: expected TO, found \"FROM\""},
      {"GRANT EXECUTE\nON MODEL a.b TO x",
       "line 2, column 14: expected the next part of a model's name: "
       "catalog.schema.model, found \"TO\""},
      {"GRANT EXECUTE ON TABLE a.b.c TO x",
       "line 1, column 18: expected METASTORE, CATALOG, SCHEMA, MODEL or FUNCTION, found \"TABLE\""},
      {"GRANT ON CATALOG c TO x", "line 1, column 7: expected a privilege such as EXECUTE, found \"ON\""},
      {"GRANT EXECUTE, ON CATALOG c TO x",
       "line 1, column 16: expected a privilege such as EXECUTE, found \"ON\""},
      {"GRANT USE CATALOG ON CATALOG prod TO data-science",
       "line 1, column 42: expected ; or the end, found \"-\"; a name with characters other than "
       "letters, digits and _ needs back-ticks: `data-science`"},
      {"SHOW GRANTS ann@x.org ON METASTORE",
       "line 1, column 16: expected ON, found \"@\"; a name with characters other than letters, digits and "
       "_ needs back-ticks: `ann@x`"},
      {"GRANT EXECUTE ON CATALOG c TO 'ann'",
       "line 1, column 31: expected a principal's name, found \"'ann'\"; text stands in single quotes, and "
       "names in "
       "back-ticks or without quotes"},
      {"COMMENT ON CATALOG c IS \"x\"",
       "line 1, column 25: expected NULL, or a description in single quotes, found \"\"\"; text stands in "
       "single "
       "quotes, names in back-ticks"},
      {"COMMENT ON CATALOG c IS 'x",
       "line 1, column 25: expected ' somewhere after this \"'\", found the end of the text"},
      {"SHOW /* CATALOGS",
       "line 1, column 6: expected */ somewhere after this \"/\", found the end of the text"},
      {"DROP CATALOG", "line 1, column 13: expected a catalog's name, found the end"},
      {"DROP CATALOG c CASCADE",
       "line 1, column 16: expected ; or the end (only models are dropped with their contents), found "
       "\"CASCADE\""},
      {"CREATE METASTORE", "line 1, column 8: expected CATALOG, SCHEMA, MODEL or GROUP, found \"METASTORE\""},
      {"CREATE CATALOG IF EXISTS c", "line 1, column 19: expected NOT, found \"EXISTS\""},
      {"ALTER CATALOG c RENAME TO d",
       "line 1, column 17: expected OWNER TO, SET TAGS or UNSET TAGS, found \"RENAME\""},
      {"ALTER METASTORE SET TAGS ('a')", "line 1, column 21: expected OWNER TO, found \"TAGS\""},
      {"ALTER MODEL a.b.c SET TAGS ('a' 'b')",
       "line 1, column 33: expected = or , or ), found \"'b'\"; text stands in "
       "single quotes, and names in back-ticks or without quotes"},
      {"SHOW MODELS", "line 1, column 12: expected IN catalog.schema, found the end"},
      {"SHOW TABLES",
       "line 1, column 6: expected GRANTS, CATALOGS, SCHEMAS, MODELS, PRINCIPALS, USERS or GROUPS, found "
       "\"TABLES\""},
      {"ALTER GROUP g ADD ann", "line 1, column 19: expected USER, GROUP or MEMBER, found \"ann\""},
      {"DESCRIBE a.b.c.d", "line 1, column 15: expected ; or the end, found \".\""},
      {"SHOW CATALOGS SHOW USERS", "line 1, column 15: expected ; or the end, found \"SHOW\""},
      {"SHOW CATALOGS LIKE x", "line 1, column 20: expected a pattern in single quotes, found \"x\""},
      // Columns count characters.
      {"CREATE CATALOG `äöü` x", "line 1, column 22: expected ; or the end, found \"x\""},
      {"SHOW CATALOGS;\nSHOW \xff", "line 2: not valid UTF-8"},
  };
  for (const Row& row : rows) {
    const auto parsed = ParseSql(row.sql);
    ASSERT_FALSE(parsed.ok()) << row.sql;
    EXPECT_EQ(parsed.error().message(), row.message);
    EXPECT_EQ(parsed.error().code(), Code::kInvalidArgument) << row.sql;
  }
}

TEST(Sql, HostileNamesAndTextsAreRefusedWithPrintableMessages) {
  const std::string mebibyte(size_t{1} << 20U, 'a');
  const std::string nul("\0", 1);
  struct Row {
    std::string sql;
    std::string says;
  };
  const std::vector<Row> rows = {
      {"CREATE CATALOG ``", "may not be empty"},
      {"CREATE CATALOG `a b`", "space"},
      {"CREATE CATALOG `a.b`", "dot"},
      {"CREATE CATALOG `../x`", "column 16"},
      {"CREATE CATALOG `" + mebibyte + "`", "255 bytes"},
      {"CREATE CATALOG " + mebibyte, "255 bytes"},
      {"CREATE CATALOG `a\u202Eb`", "\\xe2\\x80\\xae"},
      {"CREATE CATALOG a\u202Eb", "\\xe2\\x80\\xae"},
      {"CREATE CATALOG `a" + nul + "b`", "\\x00"},
      {"CREATE CATALOG a" + nul + "b", "\\x00"},
      {"CREATE CATALOG `a\nb`", "\\x0a"},
      {"CREATE CATALOG `a\u0308b`", "normalisation form C"},
      {"GRANT EXECUTE ON CATALOG c TO ``", "empty"},
      {"GRANT EXECUTE ON CATALOG c TO `" + mebibyte + "`", "255 bytes"},
      {"GRANT EXECUTE ON CATALOG c TO `a\u202Eb`", "\\xe2\\x80\\xae"},
      {"GRANT EXECUTE ON CATALOG c TO `uid:0`", "uid:"},
      {"GRANT EXECUTE ON CATALOG c TO `a" + nul + "`", "\\x00"},
      {"GRANT " + mebibyte + " ON CATALOG c TO x", "no privilege"},
      {"ALTER CATALOG c SET TAGS ('a.b' = 'c')", "a.b"},
      {"ALTER CATALOG c SET TAGS ('a' = 'x" + nul + "')", "NUL"},
      {"ALTER CATALOG c SET TAGS ('a' = '" + std::string(1001, 'x') + "')", "1000"},
      {"COMMENT ON CATALOG c IS '" + mebibyte + "'", "65536"},
      {"SHOW CATALOGS LIKE '" + mebibyte + "'", "the limit is 1048576"},
      {mebibyte + mebibyte, "column 1"},
      {"`" + mebibyte, "expected `"},
      {std::string(100'000, '('), "column 1"},
      {"SHOW MODELS IN '" + mebibyte, "expected '"},
      {"\x1b[31mSHOW", "\\x1b"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.sql.substr(0, 60));
    const auto parsed = ParseSql(row.sql);
    ASSERT_FALSE(parsed.ok());
    const std::string& message = parsed.error().message();
    EXPECT_NE(message.find(row.says), std::string::npos) << message;
    EXPECT_EQ(Printable(message), message);
    EXPECT_LT(message.size(), 1600U);
  }
  // A hundred thousand nested comments only increase a counter.
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "/*";
  EXPECT_FALSE(ParseSql(deep).ok());
  for (int i = 0; i < 100'000; ++i) deep += "*/";
  EXPECT_TRUE(ParseSql(deep + "SHOW CATALOGS").ok());
}

TEST(Sql, AStatementContinuesUntilItsSemicolon) {
  for (const char* whole :
       {"", "  ", "-- x", "SHOW CATALOGS;", "SHOW CATALOGS; -- x", "a;b;", "'x;'; /* ; */"}) {
    EXPECT_TRUE(IsWholeSql(whole)) << whole;
  }
  for (const char* open :
       {"SHOW", "SHOW -- ;", "SHOW 'a;", "SHOW 'a'';", "`;", "/* ;", "a; b", "SHOW CATALOGS; /*"}) {
    EXPECT_FALSE(IsWholeSql(open)) << open;
  }
}

// --- any statement ---

rc::Gen<std::string> AnyOf(std::vector<std::string> pieces, int most) {
  return rc::gen::map(rc::gen::resize(most, rc::gen::nonEmpty(rc::gen::container<std::vector<std::string>>(
                                                rc::gen::elementOf(std::move(pieces))))),
                      [](const std::vector<std::string>& chosen) {
                        std::string text;
                        for (const std::string& piece : chosen) text += piece;
                        return text;
                      });
}

rc::Gen<std::string> ObjectPart() {
  return rc::gen::suchThat(
      AnyOf({"a", "z", "0", "_", "-", "if", "on", "ß", "é", "`", "'", "\"", "group", "model", "(", ";", "--"},
            8),
      [](const std::string& name) { return store::CheckObjectName(name).ok(); });
}

rc::Gen<std::string> PrincipalText() {
  return rc::gen::suchThat(
      AnyOf({"a", "Z", "0", "_", "-", "If", "ON", " ", "é", "`", "'", "@", ".", "/*", "--", ";", "user"}, 8),
      [](const std::string& name) { return store::CheckPrincipalName(name).ok(); });
}

rc::Gen<std::string> AnyText() {
  return AnyOf({"a", "'", "''", "`", "\n", ";", "--", "/*", "*/", "é", "\\", " "}, 8);
}

rc::Gen<std::string> TagKey() {
  return rc::gen::suchThat(AnyOf({"a", "K", "'", "`", " ", "_", ";"}, 6),
                           [](const std::string& key) { return store::CheckTagKey(key).ok(); });
}

rc::Gen<Securable> AnySecurable(int fewest_parts, int most_parts) {
  return rc::gen::mapcat(rc::gen::inRange(fewest_parts, most_parts + 1), [](int parts) {
    return rc::gen::map(
        rc::gen::container<std::vector<std::string>>(static_cast<size_t>(parts), ObjectPart()),
        [parts](std::vector<std::string> names) {
          return Securable{static_cast<store::ObjectKind>(parts), store::FullName{std::move(names)}};
        });
  });
}

rc::Gen<std::optional<std::string>> Maybe(rc::Gen<std::string> text) {
  return rc::gen::map(rc::gen::pair(rc::gen::arbitrary<bool>(), std::move(text)),
                      [](std::pair<bool, std::string> choice) {
                        return choice.first ? std::optional(std::move(choice.second)) : std::nullopt;
                      });
}

template <typename T>
rc::Gen<std::vector<T>> Some(rc::Gen<T> one) {
  return rc::gen::resize(4, rc::gen::nonEmpty(rc::gen::container<std::vector<T>>(std::move(one))));
}

SqlStatement AnyStatement() {
  switch (*rc::gen::inRange<size_t>(0, std::variant_size_v<SqlStatement>)) {
    case 0:
      return CreateObject{*AnySecurable(1, 3), *rc::gen::arbitrary<bool>(), (*Maybe(AnyText())).value_or("")};
    case 1: {
      DropObject drop{*AnySecurable(1, 3), *rc::gen::arbitrary<bool>(), false};
      drop.cascade = drop.object.kind == store::ObjectKind::kModel && *rc::gen::arbitrary<bool>();
      return drop;
    }
    case 2: {
      GrantOrRevoke change;
      change.action = *rc::gen::element(GrantOrRevoke::Action::kGrant, GrantOrRevoke::Action::kRevoke);
      change.privileges = store::PrivilegeSet::FromBits(*rc::gen::inRange(1U, (1U << store::kPrivileges)));
      change.object = *AnySecurable(0, 3);
      change.principal = *PrincipalText();
      return change;
    }
    case 3:
      return ShowGrants{*Maybe(PrincipalText()), *AnySecurable(0, 3)};
    case 4:
      return SetOwner{*AnySecurable(0, 3), *PrincipalText()};
    case 5:
      return RenameModel{*AnySecurable(3, 3), *ObjectPart()};
    case 6:
      return CommentOn{*AnySecurable(0, 3), (*Maybe(AnyText())).value_or("")};
    case 7:
      return SetTags{*AnySecurable(1, 3), *Some(rc::gen::pair(TagKey(), AnyText()))};
    case 8:
      return UnsetTags{*AnySecurable(1, 3), *Some(TagKey())};
    case 9: {
      const auto kind = static_cast<store::ObjectKind>(*rc::gen::inRange(1, 4));
      const int parts = static_cast<int>(kind) - 1;
      const bool everywhere = kind == store::ObjectKind::kSchema && *rc::gen::arbitrary<bool>();
      return ShowObjects{kind, everywhere ? store::FullName{} : (*AnySecurable(parts, parts)).name,
                         *Maybe(AnyText())};
    }
    case 10:
      return ShowPrincipals{*rc::gen::element(ShowPrincipals::Which::kAll, ShowPrincipals::Which::kUsers,
                                              ShowPrincipals::Which::kGroups),
                            *Maybe(AnyText())};
    case 11:
      return CreateGroup{*PrincipalText(), *rc::gen::arbitrary<bool>()};
    case 12:
      return DropGroup{*PrincipalText(), *rc::gen::arbitrary<bool>()};
    case 13:
      return ChangeMembers{*PrincipalText(),
                           *rc::gen::element(ChangeMembers::Action::kAdd, ChangeMembers::Action::kDrop),
                           *Some(PrincipalText())};
    default:
      return Describe{*AnySecurable(0, 3)};
  }
}

TEST(Sql, APrintedStatementParsesToAnEqualOne) {
  EXPECT_TRUE(rc::check("print, parse", [] {
    const SqlStatement statement = AnyStatement();
    const std::string printed = PrintSql(statement);
    RC_LOG() << printed;
    const auto parsed = ParseSql(printed + ";" + printed + " -- end");
    if (!parsed.ok()) RC_FAIL(parsed.error().message());
    RC_ASSERT(parsed->size() == 2U);
    RC_ASSERT(parsed->front().statement == statement);
    RC_ASSERT(parsed->back().statement == statement);
    RC_ASSERT(IsWholeSql(printed + ";"));
    RC_ASSERT(!IsWholeSql(printed));
  }));
}

}  // namespace
}  // namespace modelfs::tools
