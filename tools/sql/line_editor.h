// Reads lines from the terminal, with editing and a history file.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cas/base/result.h"

namespace modelfs::tools {

// $XDG_STATE_HOME/modelfs/<name>, else $HOME/.local/state/modelfs/<name>; empty if neither variable is an
// absolute path.
std::string StateFile(const std::string& name);

// At most one per process, used by one thread, because the terminal and SIGINT belong to the process.
class LineEditor {
 public:
  // Reads the history of earlier sessions; an unreadable file is an empty history.
  explicit LineEditor(std::string history_file);
  // Saves the history, readable by its owner alone (mode 0600).
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  enum class Ended { kLine, kCancelled, kEndOfInput };
  struct Line {
    Ended ended = Ended::kEndOfInput;
    std::string text;  // kLine only, without the line end
  };
  // kCancelled: Ctrl-C. kEndOfInput: Ctrl-D on an empty line, or the terminal is closed.
  Line Read(const std::string& prompt);

 private:
  struct Handles;
  std::unique_ptr<Handles> handles_;
  std::string history_file_;
};

}  // namespace modelfs::tools
