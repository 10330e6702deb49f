// Commands in messages. A shell must split a printed command into exactly the intended words, whatever
// characters a name contains.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace modelfs {

// Returns `word` in a form that sh, bash and zsh read back: unchanged if no character in it is special to
// them, otherwise quoted. Bytes that Printable escapes are written in the notation of bash and zsh ($'\x1b').
std::string ShellWord(std::string_view word);

// A whole command line: `command` and `operands`, each as a ShellWord. "--" stands between them if an operand
// begins with '-', so that it is not taken for an option.
//   ShellCommand({"modelfs", "mkdir", "-p"}, {name})
std::string ShellCommand(const std::vector<std::string>& command, const std::vector<std::string>& operands);

}  // namespace modelfs
