// The parts of the kernel's FUSE protocol 7.40 that Debian 12's linux/fuse.h and libfuse 3.14 lack: passing
// reads through to a backing file. Layouts and numbers: Linux include/uapi/linux/fuse.h.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace modelfs::fs::wire {

inline constexpr uint32_t kOpInit = 26;                              // FUSE_INIT
inline constexpr uint32_t kInitExt = 1U << 30U;                      // FUSE_INIT_EXT, in flags
inline constexpr uint32_t kParallelDirOps = 1U << 18U;               // FUSE_PARALLEL_DIROPS, in flags
inline constexpr uint32_t kHandleKillPrivV2 = 1U << 28U;             // FUSE_HANDLE_KILLPRIV_V2, in flags
inline constexpr uint32_t kPassthroughInFlags2 = 1U << (37U - 32U);  // FUSE_PASSTHROUGH
inline constexpr uint32_t kOpenNoFlush = 1U << 5U;                   // FOPEN_NOFLUSH
// Flags beside it that are not in FOPEN_PASSTHROUGH_MASK, such as FOPEN_KEEP_CACHE, make the open fail with
// EIO (Linux fs/fuse/iomode.c).
inline constexpr uint32_t kOpenPassthrough = 1U << 7U;  // FOPEN_PASSTHROUGH

struct InHeader {
  uint32_t length;
  uint32_t opcode;
  uint64_t unique;
  uint64_t node;
  uint32_t uid;
  uint32_t gid;
  uint32_t pid;
  uint16_t extension_length;
  uint16_t padding;
};

struct InitIn {
  uint32_t major;
  uint32_t minor;
  uint32_t max_readahead;
  uint32_t flags;
  uint32_t flags2;
  uint32_t unused[11];
};

struct OutHeader {
  uint32_t length;
  int32_t error;
  uint64_t unique;
};

struct InitOut {
  uint32_t major;
  uint32_t minor;
  uint32_t max_readahead;
  uint32_t flags;
  uint16_t max_background;
  uint16_t congestion_threshold;
  uint32_t max_write;
  uint32_t time_gran;
  uint16_t max_pages;
  uint16_t map_alignment;
  uint32_t flags2;
  uint32_t max_stack_depth;
  uint32_t unused[6];
};
static_assert(sizeof(InitOut) == 64);

struct OpenOut {
  uint64_t handle;
  uint32_t open_flags;
  int32_t backing_id;
};
static_assert(sizeof(OpenOut) == 16);

struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
static_assert(sizeof(BackingMap) == 16);

// FUSE_DEV_IOC_BACKING_OPEN and _CLOSE. Functions, because the C cast in _IOW would raise a warning of ours.
inline unsigned long BackingOpenCommand() { return _IOW(229U, 1, BackingMap); }
inline unsigned long BackingCloseCommand() { return _IOW(229U, 2, uint32_t); }

}  // namespace modelfs::fs::wire
