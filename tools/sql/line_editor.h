// A line from the terminal, with editing and a history that is kept in a file.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cas/base/result.h"

namespace modelfs::tools {

// $XDG_STATE_HOME/modelfs/<name>, else ~/.local/state/modelfs/<name>; empty where neither is set.
std::string StateFile(const std::string& name);

// One at a time in a process, and used by one thread: the terminal and SIGINT are the process's.
class LineEditor {
 public:
  // Reads the history of earlier sessions; one that cannot be read is an empty one.
  explicit LineEditor(std::string history_file);
  // Keeps the history, for its owner alone (mode 0600).
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  enum class Ended { kLine, kCancelled, kEndOfInput };
  struct Line {
    Ended ended = Ended::kEndOfInput;
    std::string text;  // kLine only, without the line end
  };
  // kCancelled: Ctrl-C. kEndOfInput: Ctrl-D in an empty line, or the terminal is gone.
  Line Read(const std::string& prompt);

 private:
  struct Handles;
  std::unique_ptr<Handles> handles_;
  std::string history_file_;
};

}  // namespace modelfs::tools
