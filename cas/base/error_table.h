// Maps each Code to its form outside of the program: an errno for the kernel, a status for HTTP, an exit code
// for a shell. No other place may map them.
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <string_view>

#include "cas/base/result.h"

namespace modelfs {

struct ErrorRow {
  Code code;
  std::string_view name;
  int fuse_errno;   // positive, as fuse_reply_err() wants it
  int http_status;  // only those that MLflow's client treats as final, or retries for a reason
  int exit_code;    // 0 is success, 2 is bad usage
};

inline constexpr std::array kErrorRows = {
    ErrorRow{Code::kInvalidArgument, "invalid argument", EINVAL, 400, 2},
    ErrorRow{Code::kUnauthenticated, "unauthenticated", EACCES, 401, 5},
    ErrorRow{Code::kPermissionDenied, "permission denied", EACCES, 403, 5},
    ErrorRow{Code::kNotFound, "not found", ENOENT, 404, 3},
    ErrorRow{Code::kAlreadyExists, "already exists", EEXIST, 409, 4},
    ErrorRow{Code::kAborted, "aborted", EBUSY, 409, 4},
    ErrorRow{Code::kFailedPrecondition, "failed precondition", EPERM, 400, 6},
    ErrorRow{Code::kOutOfRange, "out of range", ERANGE, 400, 6},
    ErrorRow{Code::kResourceExhausted, "limit reached", EDQUOT, 429, 6},
    ErrorRow{Code::kNoSpace, "no space", ENOSPC, 500, 9},
    ErrorRow{Code::kReadOnly, "read-only file system", EROFS, 500, 6},
    ErrorRow{Code::kTooLarge, "too large", EFBIG, 413, 6},
    ErrorRow{Code::kTooManyFiles, "too many open files", EMFILE, 503, 6},
    ErrorRow{Code::kTooManyFilesOnHost, "too many open files on this host", ENFILE, 503, 6},
    ErrorRow{Code::kBusy, "busy", EBUSY, 503, 7},
    ErrorRow{Code::kUnavailable, "unavailable", EHOSTUNREACH, 503, 7},  // EIO would blame the local disk
    ErrorRow{Code::kDeadlineExceeded, "deadline exceeded", ETIMEDOUT, 504, 7},
    ErrorRow{Code::kCancelled, "cancelled", EINTR, 499, 7},
    ErrorRow{Code::kUnimplemented, "not implemented", EOPNOTSUPP, 501,
             1},  // ENOSYS: the kernel would stop asking
    ErrorRow{Code::kDataLoss, "data loss", EIO, 500, 8},
    ErrorRow{Code::kInternal, "internal error", EIO, 500, 1},
};

constexpr bool ErrorRowsAreInOrder() {
  for (size_t i = 0; i < kErrorRows.size(); ++i) {
    if (static_cast<size_t>(kErrorRows[i].code) != i) return false;
  }
  return kErrorRows.size() == static_cast<size_t>(Code::kInternal) + 1;
}
static_assert(ErrorRowsAreInOrder(), "every Code needs its row, in the order of the enumerators");

constexpr const ErrorRow& RowOf(Code code) { return kErrorRows[static_cast<size_t>(code)]; }

}  // namespace modelfs
