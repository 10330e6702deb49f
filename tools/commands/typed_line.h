// A command line as far as it is typed, for completion: nothing in it is ever run or expanded.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace modelfs::tools {

// The word under the cursor.
struct TypedWord {
  enum class Quote { kNone, kSingle, kDouble };
  std::string value;    // without its quotes
  bool active = false;  // the shell would put something else in its place: a variable, a pattern, a command
  Quote open = Quote::kNone;
  bool escaped = false;  // it ends with a backslash
};

struct TypedLine {
  std::vector<std::string> words;  // those before it, without their quotes
  TypedWord current;               // empty behind a blank
};

// `line` up to the cursor, taken apart as bash does it.
TypedLine ReadTypedLine(std::string_view line);

// What bash has to put in place of `replaced`, the last part of the typed line, so that the word under the
// cursor becomes one of `names`: what is typed stays, and what is added is quoted as the place asks for.
// `names` all begin with `word.value`. What they have in common comes first in all of them, in whole quotes,
// since readline inserts the beginning that its candidates share. None where the word is `active`: what the
// shell makes of it is not known here.
std::vector<std::string> BashCandidates(const TypedWord& word, std::string_view replaced,
                                        const std::vector<std::string>& names);

}  // namespace modelfs::tools
