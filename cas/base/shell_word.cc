#include "cas/base/shell_word.h"

#include <algorithm>

#include "cas/base/text.h"

namespace modelfs {
namespace {

// Characters that no shell gives a meaning to, wherever in a word they stand, letters of every script among
// them. '=' is left out since zsh expands a word that begins with it, '~' since all do.
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

// With ANSI-C quoting, for what cannot be shown: Printable has made it \xNN, which reads the same there.
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
