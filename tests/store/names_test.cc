#include "store/names.h"

#include <gtest/gtest.h>

#include "tests/store/expect.h"

namespace modelfs::store {
namespace {

using testing::Outcome;

struct NameRow {
  const char* what;
  std::string name;
  bool good;
};

TEST(ObjectName, AttacksAreRefusedAndOrdinaryNamesAreNot) {
  const std::string nul("a\0b", 3);
  const NameRow rows[] = {
      {"plain", "iris_model", true},
      {"digits", "2024", true},
      {"hyphen first", "-rf", true},
      {"one letter", "x", true},
      {"non-ASCII lower case", "größe", true},
      {"CJK", "模型", true},
      {"255 bytes", std::string(255, 'a'), true},
      {"empty", "", false},
      {"dot", ".", false},
      {"dot dot", "..", false},
      {"a dot inside", "a.b", false},
      {"hidden directory", ".modelfs", false},
      {"slash", "a/b", false},
      {"at sign", "model@champion", false},
      {"space", "a b", false},
      {"leading space", " a", false},
      {"no-break space", "a\u00A0b", false},
      {"ideographic space", "a\u3000b", false},
      {"NUL", nul, false},
      {"tab", "a\tb", false},
      {"trailing newline", "iris\n", false},
      {"DEL", "a\x7f", false},
      {"C1 control", "a\u0085b", false},
      {"256 bytes", std::string(256, 'a'), false},
      {"255 characters in 510 bytes",
       [] {
         std::string s;
         for (int i = 0; i < 255; ++i) s += "é";
         return s;
       }(),
       false},
      {"lone continuation byte", "a\x80", false},
      {"overlong slash", "a\xC0\xAF", false},
      {"UTF-16 surrogate", "a\xED\xA0\x80", false},
      {"cut short", "a\xE2\x82", false},
      {"beyond Unicode", "a\xF4\x90\x80\x80", false},
      {"bidi override", "a\u202Eb", false},
      {"bidi isolate", "a\u2066b", false},
      {"zero-width space", "a\u200Bb", false},
      {"zero-width joiner", "a\u200Db", false},
      {"byte order mark", "\uFEFFa", false},
      {"soft hyphen", "a\u00ADb", false},
      {"line separator", "a\u2028b", false},
      {"private use", "a\uE000", false},
      {"unassigned", "a\u0378", false},
      {"variation selector", "a\uFE0F", false},
      {"Hangul filler", "\u3164", false},
      {"tag character", "a\U000E0061", false},
      {"NFC", "caf\u00E9", true},
      {"its NFD twin", "cafe\u0301", false},
      {"upper case", "Iris", false},
      {"upper case, not ASCII", "ÄRGER", false},
      {"title-case digraph", "\u01C5", false},
      {"Kelvin sign", "\u212A", false},
      {"Angstrom sign", "\u212B", false},
  };
  for (const NameRow& row : rows) {
    SCOPED_TRACE(row.what);
    const Status checked = CheckObjectName(row.name);
    EXPECT_EQ(checked.ok(), row.good);
    if (!checked.ok()) {
      EXPECT_EQ(checked.error().code(), Code::kInvalidArgument);
      EXPECT_EQ(checked.error().message().find('\n'), std::string::npos) << "a message is one line";
      EXPECT_LT(checked.error().message().size(), 1500U);
    }
  }
}

TEST(ObjectName, ARefusalSuggestsTheNearestNameThatIsAllowed) {
  const struct {
    std::string name;
    std::string suggested;  // empty: no suggestion
  } rows[] = {
      {"Qwen2.5-7B-Instruct", "qwen2-5-7b-instruct"},
      {"Meta Llama", "meta-llama"},
      {"a\u3000b", "a-b"},
      {"o/model", "o-model"},
      {"model@Champion", "model-champion"},
      {"ÄRGER", "ärger"},
      {"a\u200Bb", ""},
      {"a\x80", ""},
      {std::string(256, 'a'), ""},
      {"", ""},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const std::string said = CheckObjectName(row.name).error().message();
    if (row.suggested.empty()) {
      EXPECT_EQ(said.find("is allowed"), std::string::npos) << said;
      continue;
    }
    EXPECT_NE(said.find("; \"" + row.suggested + "\" is allowed"), std::string::npos) << said;
    EXPECT_TRUE(CheckObjectName(row.suggested).ok());
  }
  const auto full = [](std::string_view name) { return FullName::Parse(name).error().message(); };
  EXPECT_NE(full("prod.ml.Qwen2.5-7B-Instruct").find("; \"prod.ml.qwen2-5-7b-instruct\" is allowed"),
            std::string::npos)
      << full("prod.ml.Qwen2.5-7B-Instruct");
  EXPECT_NE(full("prod.ml.v2.5").find("; \"prod.ml.v2-5\" is allowed"), std::string::npos)
      << full("prod.ml.v2.5");
  EXPECT_NE(full("Prod.ML").find("; \"prod.ml\" is allowed"), std::string::npos) << full("Prod.ML");
  EXPECT_EQ(full("prod..m").find("is allowed"), std::string::npos) << full("prod..m");
}

TEST(AliasName, KeepsCaseAndRefusesVersionNumbersAndTemporaryNames) {
  const NameRow rows[] = {
      {"usual", "Champion", true},
      {"digits and marks", "rc-2_b", true},
      {"starts like ln's", "Customer", true},  // six lower-case letters: a word
      {"eight but not ln's", "Cuabcdef", true},
      {"ln's with a digit", "Cu1bcdef", false},
      {"ln's with a capital", "CuXbcdef", false},
      {"nine characters", "CuXbcdefg", true},
      {"lower-case cu", "cuXbcdef", true},
      {"latest", "latest", false},
      {"LATEST", "LATEST", false},
      {"Latest", "Latest", false},
      {"latest-2", "latest-2", true},
      {"v7", "v7", false},
      {"V12", "V12", false},
      {"v alone", "v", true},
      {"v7b", "v7b", true},
      {"digits only", "12", false},
      {"empty", "", false},
      {"dot", ".Champion.123", false},
      {"space", "a b", false},
      {"trailing newline", "Champion\n", false},
      {"Arabic digits", "v\u0661", false},
      {"Unicode letter", "Ch\u00E4mpion", false},
      {"255", std::string(255, 'a'), true},
      {"256", std::string(256, 'a'), false},
      {"NUL", std::string("a\0", 2), false},
      {"dot dot", "..", false},
      {"slash", "a/b", false},
  };
  for (const NameRow& row : rows) {
    SCOPED_TRACE(row.what);
    EXPECT_EQ(CheckAliasName(row.name).ok(), row.good);
  }
}

TEST(AliasName, AHeldNameIsNeverAnAlias) {
  for (const char* held : {".Champion.4242", "Cu1bcdef", "CuABCDEF", "a b", "ä", ".tmp", "x~", "a.b"}) {
    EXPECT_TRUE(IsHeldName(held)) << held;
    EXPECT_FALSE(CheckAliasName(held).ok()) << held;
  }
  for (const char* free : {"Champion", "Customer", "tmp", "latest", "12"})
    EXPECT_FALSE(IsHeldName(free)) << free;
}

TEST(Tag, KeysAndValuesFollowTheirRules) {
  const NameRow keys[] = {
      {"plain", "task", true},
      {"case and space inside", "My Key", true},
      {"non-ASCII", "größe", true},
      {"255", std::string(255, 'k'), true},
      {"256", std::string(256, 'k'), false},
      {"empty", "", false},
      {"dot", "a.b", false},
      {"comma", "a,b", false},
      {"minus", "a-b", false},
      {"equals", "a=b", false},
      {"slash", "a/b", false},
      {"colon", "a:b", false},
      {"outer space", " a", false},
      {"trailing space", "a ", false},
      {"newline", "a\n", false},
      {"invalid UTF-8", "\xff", false},
  };
  for (const NameRow& row : keys) {
    SCOPED_TRACE(row.what);
    EXPECT_EQ(CheckTagKey(row.name).ok(), row.good);
  }
  std::string thousand;
  for (int i = 0; i < 1000; ++i) thousand += "é";
  EXPECT_OK(CheckTagValue(thousand));
  EXPECT_OK(CheckTagValue(""));
  EXPECT_EQ(Outcome(CheckTagValue(thousand + "x")), "limit reached");
  EXPECT_EQ(Outcome(CheckTagValue(std::string("a\0b", 3))), "invalid argument");
  EXPECT_EQ(Outcome(CheckTagValue("\xff")), "invalid argument");
  EXPECT_OK(CheckDescription(std::string(65536, 'x')));
  EXPECT_EQ(Outcome(CheckDescription(std::string(65537, 'x'))), "limit reached");
}

TEST(FullName, ParsesOneToThreeParts) {
  EXPECT_EQ(FullName::Parse("prod").value().parts, (std::vector<std::string>{"prod"}));
  EXPECT_EQ(FullName::Parse("prod.ml.iris").value().ToString(), "prod.ml.iris");
  EXPECT_EQ(FullName::Parse("prod.ml.iris").value().Parent().ToString(), "prod.ml");
  for (const char* bad : {"", ".", "a.", ".a", "a..b", "a.b.c.d", "Prod.ml.iris", "a.b/c"}) {
    EXPECT_EQ(Outcome(FullName::Parse(bad)), "invalid argument") << bad;
  }
}

TEST(ModelSpec, ParsesNumbersAndAliasesWithAndWithoutScheme) {
  EXPECT_TRUE(std::holds_alternative<std::monostate>(ModelSpec::Parse("a.b.c").value().version));
  EXPECT_EQ(std::get<VersionNumber>(ModelSpec::Parse("models:/a.b.c/12").value().version), 12U);
  EXPECT_EQ(std::get<std::string>(ModelSpec::Parse("models:/a.b.c@Champion").value().version), "Champion");
  for (const char* bad : {"a.b", "a.b.c/", "a.b.c/0", "a.b.c/01", "a.b.c/+1", "a.b.c/latest", "a.b.c@latest",
                          "a.b.c@", "a.b.c/1/2", "a.b.c/1@x", "a.b.c/\u0661", "a.b.c/99999999999999999999"}) {
    EXPECT_EQ(Outcome(ModelSpec::Parse(bad)), "invalid argument") << bad;
  }
}

}  // namespace
}  // namespace modelfs::store
