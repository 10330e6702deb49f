#include "tools/sql/line_editor.h"

#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "cas/base/chandle.h"

namespace modelfs::tools {
namespace {

constexpr int kHistoryLines = 2000;

volatile std::sig_atomic_t interrupted = 0;
sigset_t while_waiting;  // the signal mask during the wait for a character
extern "C" void OnInterrupt(int /*signal*/) { interrupted = 1; }

// While a line is read, Ctrl-C ends the read and not the process. The signal is blocked except during the
// wait itself, so that one just before a read(2) is not lost.
class InterruptGuard {
 public:
  InterruptGuard() {
    interrupted = 0;
    struct sigaction action = {};
    action.sa_handler = OnInterrupt;
    sigaction(SIGINT, &action, &before_);
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    sigprocmask(SIG_BLOCK, &interrupt, &mask_before_);
    while_waiting = mask_before_;
    sigdelset(&while_waiting, SIGINT);
  }
  ~InterruptGuard() {
    sigaction(SIGINT, &before_, nullptr);
    sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction before_ = {};
  sigset_t mask_before_ = {};
};

// libedit's own reader retries after a signal and would need a second Ctrl-C. Returns 1 for a character, 0 at
// the end of the input, -1 if interrupted or on an error.
extern "C" int ReadCharacter(EditLine* /*editor*/, wchar_t* character) {
  std::mbstate_t state{};
  for (;;) {
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    const int ready = ::ppoll(&input, 1, nullptr, &while_waiting);
    if (interrupted != 0) return -1;
    if (ready < 0 && errno == EINTR) continue;  // the window was resized
    char byte = 0;
    const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return static_cast<int>(count);
    const size_t used = std::mbrtowc(character, &byte, 1, &state);
    if (used == static_cast<size_t>(-2)) continue;  // more bytes of the character follow
    if (used == static_cast<size_t>(-1)) {
      state = {};
      continue;  // not a character: ignore it
    }
    if (used == 0) *character = L'\0';
    return 1;
  }
}

extern "C" char* Prompt(EditLine* editor) {
  void* prompt = nullptr;
  el_get(editor, EL_CLIENTDATA, &prompt);
  return static_cast<std::string*>(prompt)->data();
}

void UseUtf8() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(::nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

}  // namespace

struct LineEditor::Handles {
  CHandle<History, history_end> history{history_init()};
  CHandle<EditLine, el_end> editor{
      el_init("modelfs", stdin, stdout, stderr)};  // destroyed before the history
  HistEvent event{};
};

std::string StateFile(const std::string& name) {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return std::string(state) + "/modelfs/" + name;
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return std::string(home) + "/.local/state/modelfs/" + name;
  return "";
}

LineEditor::LineEditor(std::string history_file) : history_file_(std::move(history_file)) {
  UseUtf8();
  handles_ = std::make_unique<Handles>();
  EditLine* editor = handles_->editor.get();
  History* history = handles_->history.get();
  ::history(history, &handles_->event, H_SETSIZE, kHistoryLines);
  ::history(history, &handles_->event, H_SETUNIQUE, 1);
  if (!history_file_.empty()) ::history(history, &handles_->event, H_LOAD, history_file_.c_str());
  el_set(editor, EL_HIST, ::history, history);
  el_set(editor, EL_EDITOR, "emacs");
  el_set(editor, EL_PROMPT, Prompt);
  el_set(editor, EL_GETCFN, ReadCharacter);
  el_source(editor, nullptr);  // ~/.editrc
}

LineEditor::~LineEditor() {
  if (history_file_.empty()) return;
  std::error_code failure;
  std::filesystem::create_directories(std::filesystem::path(history_file_).parent_path(), failure);
  const int file = ::open(history_file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0) return;  // a missing history is not an error
  ::fchmod(file, 0600);
  const CHandle<std::FILE, std::fclose> stream(::fdopen(file, "w"));
  ::history(handles_->history.get(), &handles_->event, H_SAVE_FP, stream.get());
}

LineEditor::Line LineEditor::Read(const std::string& prompt) {
  const InterruptGuard guard;
  std::string shown = prompt;
  el_set(handles_->editor.get(), EL_CLIENTDATA, static_cast<void*>(&shown));
  int count = 0;
  // libedit shows the prompt before it prepares the terminal. A Ctrl-D in between would go to the terminal
  // and be lost.
  el_set(handles_->editor.get(), EL_PREP_TERM, 1);
  const char* typed = el_gets(handles_->editor.get(), &count);
  if (interrupted != 0) {
    std::fputs("\n", stdout);
    return {Ended::kCancelled, ""};
  }
  if (typed == nullptr || count <= 0) return {Ended::kEndOfInput, ""};
  std::string text(typed, static_cast<size_t>(count));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (!text.empty()) ::history(handles_->history.get(), &handles_->event, H_ENTER, text.c_str());
  return {Ended::kLine, std::move(text)};
}

}  // namespace modelfs::tools
