// Commands in messages: what is printed to be typed again must be taken apart by a shell into exactly the
// words that were meant, whatever stands in a name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace modelfs {

// `word` as sh, bash and zsh read it back: as it is where nothing in it means anything to them, else in
// quotes. Bytes that Printable would escape are written as bash and zsh read them ($'\x1b').
std::string ShellWord(std::string_view word);

// A whole command line: `command` and `operands`, each as a ShellWord. "--" stands before operands of which
// one begins with '-', so that it is not taken for an option; `command` ends where they begin.
//   ShellCommand({"modelfs", "mkdir", "-p"}, {name})
std::string ShellCommand(const std::vector<std::string>& command, const std::vector<std::string>& operands);

}  // namespace modelfs
