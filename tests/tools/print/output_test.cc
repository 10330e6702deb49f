#include "tools/print/output.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cas/base/json_text.h"
#include "tools/print/log.h"

namespace modelfs::tools {
namespace {

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
TEST(VisibleJson, TerminalControlsAreEscapedAndOtherTextIsUnchanged) {
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
