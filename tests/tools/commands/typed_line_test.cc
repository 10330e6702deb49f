#include "tools/commands/typed_line.h"

#include <gtest/gtest.h>

namespace modelfs::tools {
namespace {

using Words = std::vector<std::string>;
using Quote = TypedWord::Quote;

TEST(TypedLine, TheWordUnderTheCursorIsReadWithoutItsQuotes) {
  const struct {
    const char* line;
    Words words;
    const char* value;
    bool active;
    Quote open;
  } kRows[] = {
      {"modelfs show pr", {"modelfs", "show"}, "pr", false, Quote::kNone},
      {"modelfs show ", {"modelfs", "show"}, "", false, Quote::kNone},
      {"modelfs  -r '/my home' show a\\ b",
       {"modelfs", "-r", "/my home", "show"},
       "a b",
       false,
       Quote::kNone},
      {"modelfs show 'a$b", {"modelfs", "show"}, "a$b", false, Quote::kSingle},
      {"modelfs show 'a'\\''b", {"modelfs", "show"}, "a'b", false, Quote::kSingle},
      {"modelfs show 'a'\\''b'", {"modelfs", "show"}, "a'b", false, Quote::kNone},
      {"modelfs show \"a\\$b\\c", {"modelfs", "show"}, "a$b\\c", false, Quote::kDouble},
      {"modelfs show \"a$b", {"modelfs", "show"}, "a$b", true, Quote::kDouble},
      {"modelfs show a$b", {"modelfs", "show"}, "a$b", true, Quote::kNone},
      {"modelfs show a\\$b", {"modelfs", "show"}, "a$b", false, Quote::kNone},
      {"modelfs show $'a", {"modelfs", "show"}, "$a", true, Quote::kSingle},
      {"modelfs show ~/x", {"modelfs", "show"}, "~/x", true, Quote::kNone},
      {"modelfs show a~#", {"modelfs", "show"}, "a~#", false, Quote::kNone},
      {"true;modelfs show a;b", {"true", "modelfs", "show", "a"}, "b", false, Quote::kNone},
      {"modelfs show '' c.s.m@Ch", {"modelfs", "show", ""}, "c.s.m@Ch", false, Quote::kNone},
      {"", {}, "", false, Quote::kNone},
  };
  for (const auto& row : kRows) {
    SCOPED_TRACE(row.line);
    const TypedLine line = ReadTypedLine(row.line);
    EXPECT_EQ(line.words, row.words);
    EXPECT_EQ(line.current.value, row.value);
    EXPECT_EQ(line.current.active, row.active);
    EXPECT_EQ(line.current.open, row.open);
  }
}

TEST(TypedLine, AddedTextIsQuotedForItsPlace) {
  const struct {
    const char* line;
    const char* replaced;
    Words names;
    Words want;
  } kRows[] = {
      {"modelfs show p", "p", {"prod."}, {"prod."}},
      {"modelfs show c.s.m@Ch", "@Ch", {"c.s.m@Champion"}, {"@Champion"}},
      {"modelfs show c.s.u", "c.s.u", {"c.s.u$(x)"}, {"c.s.u'$(x)'"}},
      {"modelfs show c.s.u", "c.s.u", {"c.s.u'"}, {"c.s.u''\\'''"}},
      {"modelfs show c.s.u", "c.s.u", {"c.s.ux$a", "c.s.ux;b"}, {"c.s.ux'$a'", "c.s.ux';b'"}},
      {"modelfs show c.s.u", "c.s.u", {"c.s.u$a", "c.s.u$b"}, {"c.s.u'$'a", "c.s.u'$'b"}},
      {"modelfs show 'c.s.u", "c.s.u", {"c.s.u'$a"}, {"c.s.u'\\''$a'"}},
      {"modelfs show \"c.s.u", "c.s.u", {"c.s.u$a!\"`\\"}, {"c.s.u\\$a\"'!'\"\\\"\\`\\\\\""}},
      {"modelfs show 'c.s.u", "c.s.u", {"c.s.u'a", "c.s.u'b"}, {"c.s.u'\\''a", "c.s.u'\\''b"}},
      {"modelfs show c.s.u\\", "c.s.u\\", {"c.s.u$a"}, {"c.s.u\\$a"}},
      {"modelfs show c.s.u$", "c.s.u$", {"c.s.u$a"}, {}},
      {"modelfs show \"c.s.u\\", "c.s.u\\", {"c.s.u$a"}, {}},
      {"modelfs show c.s.\xC3\xBC",
       "c.s.\xC3\xBC",
       {"c.s.\xC3\xBC"
        "a\xC3\xA4",
        "c.s.\xC3\xBC"
        "a\xC3\xB6"},
       {"c.s.\xC3\xBC"
        "a\xC3\xA4",
        "c.s.\xC3\xBC"
        "a\xC3\xB6"}},
      {"modelfs show x", "x", {}, {}},
  };
  for (const auto& row : kRows) {
    SCOPED_TRACE(row.line);
    EXPECT_EQ(BashCandidates(ReadTypedLine(row.line).current, row.replaced, row.names), row.want);
  }
}

}  // namespace
}  // namespace modelfs::tools
