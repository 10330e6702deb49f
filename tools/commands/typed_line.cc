#include "tools/commands/typed_line.h"

#include <algorithm>

#include "cas/base/shell_word.h"

namespace modelfs::tools {
namespace {

constexpr std::string_view kBlanks = " \t\n";
constexpr std::string_view kSeparators = ";|&()<>";
constexpr std::string_view kActive = "$`*?[{!";  // outside quotes
constexpr std::string_view kActiveAtFirst = "~#";
constexpr std::string_view kActiveInDoubleQuotes = "$`!";
constexpr std::string_view kEscapedInDoubleQuotes = "$`\"\\\n";

bool In(std::string_view characters, char c) { return characters.find(c) != std::string_view::npos; }

class Reader {
 public:
  TypedLine Read(std::string_view line) {
    for (const char c : line) Take(c);
    word_.escaped = escaped_;
    return {std::move(words_), std::move(word_)};
  }

 private:
  void Take(char c) {
    if (escaped_) {
      escaped_ = false;
      // In double quotes a backslash stays before most characters.
      if (word_.open == TypedWord::Quote::kDouble && !In(kEscapedInDoubleQuotes, c)) word_.value += '\\';
      word_.value += c;
      return;
    }
    switch (word_.open) {
      case TypedWord::Quote::kSingle:
        if (c == '\'') {
          word_.open = TypedWord::Quote::kNone;
        } else {
          word_.value += c;
        }
        return;
      case TypedWord::Quote::kDouble:
        if (c == '"') {
          word_.open = TypedWord::Quote::kNone;
        } else if (c == '\\') {
          escaped_ = true;
        } else {
          word_.active = word_.active || In(kActiveInDoubleQuotes, c);
          word_.value += c;
        }
        return;
      case TypedWord::Quote::kNone:
        TakeUnquoted(c);
    }
  }

  void TakeUnquoted(char c) {
    if (In(kBlanks, c) || In(kSeparators, c)) {
      if (started_) words_.push_back(std::move(word_.value));
      word_ = TypedWord();
      started_ = false;
      return;
    }
    started_ = true;
    if (c == '\'') {
      word_.open = TypedWord::Quote::kSingle;
    } else if (c == '"') {
      word_.open = TypedWord::Quote::kDouble;
    } else if (c == '\\') {
      escaped_ = true;
    } else {
      word_.active = word_.active || In(kActive, c) || (word_.value.empty() && In(kActiveAtFirst, c));
      word_.value += c;
    }
  }

  std::vector<std::string> words_;
  TypedWord word_;
  bool started_ = false;
  bool escaped_ = false;
};

// `text` as it must be typed inside the open quotes of `word`.
std::string Typed(const TypedWord& word, std::string_view text) {
  std::string typed;
  switch (word.open) {
    case TypedWord::Quote::kNone:
      return text.empty() ? "" : ShellWord(text);
    case TypedWord::Quote::kSingle:
      for (const char c : text) typed += c == '\'' ? std::string("'\\''") : std::string(1, c);
      return typed;
    case TypedWord::Quote::kDouble:
      for (const char c : text) {
        if (c == '!') {
          typed += "\"'!'\"";  // a backslash before it would stay
        } else {
          if (In(kEscapedInDoubleQuotes, c)) typed += '\\';
          typed += c;
        }
      }
      return typed;
  }
  return typed;
}

size_t CommonBytes(const std::vector<std::string>& names) {
  size_t common = names.front().size();
  for (const std::string& name : names) {
    const auto [end, other] =
        std::mismatch(names.front().begin(), names.front().end(), name.begin(), name.end());
    common = std::min(common, static_cast<size_t>(end - names.front().begin()));
  }
  // Does not split a character.
  while (common > 0 && common < names.front().size() &&
         (static_cast<unsigned char>(names.front()[common]) & 0xC0U) == 0x80U) {
    --common;
  }
  return common;
}

}  // namespace

TypedLine ReadTypedLine(std::string_view line) { return Reader().Read(line); }

std::vector<std::string> BashCandidates(const TypedWord& word, std::string_view replaced,
                                        const std::vector<std::string>& names) {
  const bool in_double = word.open == TypedWord::Quote::kDouble;
  // The next character decides the meaning of a backslash in double quotes.
  if (names.empty() || word.active || (word.escaped && in_double)) return {};
  const size_t typed = word.value.size();
  const size_t common = std::max(CommonBytes(names), typed);
  std::vector<std::string> candidates;
  for (const std::string& name : names) {
    std::string candidate(replaced);
    size_t at = typed;
    // The typed backslash quotes the next character.
    if (word.escaped && at < name.size()) candidate += name[at++];
    if (at < common) candidate += Typed(word, std::string_view(name).substr(at, common - at));
    candidate += Typed(word, std::string_view(name).substr(std::max(at, common)));
    // readline closes the quotes of a single candidate, unless the candidate ends with such a quote, whatever
    // the meaning of that quote.
    if (names.size() == 1 && word.open == TypedWord::Quote::kSingle) candidate += '\'';
    if (names.size() == 1 && word.open == TypedWord::Quote::kDouble) candidate += '"';
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

}  // namespace modelfs::tools
