// An incomplete command line, for completion. Nothing in it is ever run or expanded.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace modelfs::tools {

// The word under the cursor.
struct TypedWord {
  enum class Quote { kNone, kSingle, kDouble };
  std::string value;    // without its quotes
  bool active = false;  // the shell would replace a part of it: a variable, a pattern, a command
  Quote open = Quote::kNone;
  bool escaped = false;  // it ends with a backslash
};

struct TypedLine {
  std::vector<std::string> words;  // the words before `current`, without their quotes
  TypedWord current;               // empty after a blank
};

// Splits `line`, which ends at the cursor, into words as bash does.
TypedLine ReadTypedLine(std::string_view line);

// The texts for bash to insert in place of `replaced`, the last part of the typed line. Each makes the word
// under the cursor one of `names`. The typed text stays, and the added text is quoted for its place. All
// `names` begin with `word.value`. Their common prefix comes first in every text, quoted as a unit, because
// readline inserts the prefix that its candidates share. Empty if the word is `active`, because its expansion
// is unknown, and after a backslash in double quotes, because its meaning depends on the next character.
std::vector<std::string> BashCandidates(const TypedWord& word, std::string_view replaced,
                                        const std::vector<std::string>& names);

}  // namespace modelfs::tools
