#include "cas/base/shell_word.h"

#include <algorithm>

#include "cas/base/text.h"

namespace modelfs {
namespace {

// Characters that are special to no shell, anywhere in a word; letters of every script are among them. '=' is
// not, because zsh expands a word that begins with it; '~' is not, because all shells expand it.
bool IsPlain(char c) {
  constexpr std::string_view kPlainMarks = "_-./@:,+%";
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         static_cast<unsigned char>(c) >= 0x80 || kPlainMarks.find(c) != std::string_view::npos;
}

std::string InSingleQuotes(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

// ANSI-C quoting, for words with characters that cannot be shown: Printable has escaped them as \xNN, which
// means the same in this quoting.
std::string InDollarQuotes(std::string_view text) {
  std::string quoted = "$'";
  for (size_t at = 0; at < text.size();) {
    size_t length = 1;
    while (at + length < text.size() && !IsValidUtf8(text.substr(at, length)) && length < 4) ++length;
    if (!IsValidUtf8(text.substr(at, length))) length = 1;
    const std::string_view character = text.substr(at, length);
    if (character == "\\" || character == "'") quoted += '\\';
    quoted += Printable(character);
    at += length;
  }
  return quoted + "'";
}

}  // namespace

std::string ShellWord(std::string_view word) {
  if (Printable(word) != word) return InDollarQuotes(word);
  if (!word.empty() && std::all_of(word.begin(), word.end(), IsPlain)) return std::string(word);
  return InSingleQuotes(word);
}

std::string ShellCommand(const std::vector<std::string>& command, const std::vector<std::string>& operands) {
  std::string line;
  const auto add = [&line](std::string_view word) { line += (line.empty() ? "" : " ") + ShellWord(word); };
  for (const std::string& word : command) add(word);
  const auto dashed = [](const std::string& word) { return word.starts_with('-'); };
  if (std::any_of(operands.begin(), operands.end(), dashed)) add("--");
  for (const std::string& word : operands) add(word);
  return line;
}

}  // namespace modelfs
