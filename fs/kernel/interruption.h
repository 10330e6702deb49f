// A request that its caller may give up. A signal to the caller makes the kernel send FUSE_INTERRUPT, which
// requests the stop of token(), as does the end of the mount. The code that works on the request looks at the
// token, and still owes a reply (EINTR). The kernel waits for it even if the caller was killed, and keeps its
// locks.
#pragma once

#include <fuse_lowlevel.h>

#include <stop_token>

#include "fs/kernel/reply.h"

namespace modelfs::fs {

// Lives while the request is worked on, and is gone before it is answered.
class Interruption {
 public:
  // `ending`: stops at the end of the mount.
  Interruption(const Reply& reply, const std::stop_token& ending)
      : request_(reply.request()), on_ending_(ending, Stop{&source_}) {
    // Calls Interrupted at once if the signal came before this.
    fuse_req_interrupt_func(request_, &Interrupted, &source_);
  }
  // Waits for a call under way (libfuse holds the request's lock in both).
  ~Interruption() { fuse_req_interrupt_func(request_, nullptr, nullptr); }
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  std::stop_token token() const { return source_.get_token(); }

 private:
  struct Stop {
    std::stop_source* source;
    void operator()() const { source->request_stop(); }
  };
  static void Interrupted(fuse_req_t /*request*/, void* source) noexcept {
    static_cast<std::stop_source*>(source)->request_stop();
  }

  fuse_req_t request_;
  std::stop_source source_;
  std::stop_callback<Stop> on_ending_;
};

}  // namespace modelfs::fs
