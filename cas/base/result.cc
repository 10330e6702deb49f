#include "cas/base/result.h"

#include <fmt/core.h>

#include <cerrno>
#include <system_error>

#include "cas/base/error_table.h"

namespace modelfs {

std::string_view CodeName(Code code) { return RowOf(code).name; }

Error Error::Wrap(std::string_view subject) const {
  return {code_, fmt::format("{}: {}", subject, message_)};
}

namespace {

Code CodeOfErrno(int errno_value) {
  switch (errno_value) {
    case ENOENT:
    case ENOTDIR:
    case ENODATA:
      return Code::kNotFound;
    case ENOSPC:
    case EDQUOT:
      return Code::kNoSpace;
    case EFBIG:
      return Code::kTooLarge;
    case EMFILE:
      return Code::kTooManyFiles;
    case ENFILE:
      return Code::kTooManyFilesOnHost;
    case EACCES:
    case EPERM:
      return Code::kPermissionDenied;
    case EROFS:
      return Code::kReadOnly;
    case EEXIST:
      return Code::kAlreadyExists;
    case ENOTEMPTY:
    case EBUSY:
      return Code::kFailedPrecondition;
    case EIO:
      return Code::kDataLoss;
    case EINVAL:
    case ENAMETOOLONG:
    case EISDIR:
      return Code::kInvalidArgument;
    case EINTR:
    case ECANCELED:
      return Code::kCancelled;
    case ETIMEDOUT:
      return Code::kDeadlineExceeded;
    case EHOSTUNREACH:
    case ECONNREFUSED:
    case ECONNRESET:
      return Code::kUnavailable;
    default:
      return Code::kInternal;
  }
}

// Advice that the errno's own words do not give.
std::string_view AdviceFor(int errno_value) {
  switch (errno_value) {
    case EMFILE:
      return "; raise the limit of the modelfs process that opens it (ulimit -n, or LimitNOFILE= of its "
             "systemd "
             "service) and start it again";
    case ENFILE:
      return "; raise the host's limit (sysctl fs.file-max)";
    case ENOSPC:
    case EDQUOT:
      return "; make room on that disk: in a registry delete versions, then run `modelfs gc`";
    case EROFS:
      return "; the kernel makes a disk read-only after an error (dmesg names the error): make it writable "
             "again, "
             "then restart the programs that use it";
    default:
      return "";
  }
}

}  // namespace

Error ErrnoError(int errno_value, std::string_view subject) {
  std::string reason = std::generic_category().message(errno_value);
  if (!reason.empty() && reason[0] >= 'A' && reason[0] <= 'Z' && reason.substr(1, 2) != "/O") {
    reason[0] = static_cast<char>(reason[0] - 'A' + 'a');
  }
  return {CodeOfErrno(errno_value), fmt::format("{}: {}{}", subject, reason, AdviceFor(errno_value))};
}

}  // namespace modelfs
