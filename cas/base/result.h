// The one way in which a function reports failure: Result<T>, or Status if it has no value to return.
//
//   Result<Digest> HashFile(const Fd& file);
//   ASSIGN_OR_RETURN(const Digest digest, HashFile(file));
//   RETURN_IF_ERROR(store.Put(digest, bytes));
//
// An Error is a Code from the short list below, chosen by the caller's next step, and a message that is built
// outwards, subject first:
//   "publish prod.ml.iris v3: put sha256:9f2c..: write: no space left on device".
// Exceptions do not cross our functions; the adapter that calls a throwing library catches them.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <type_traits>
#include <utility>

namespace modelfs {

enum class Code {
  kInvalidArgument,     // the request can never succeed: change it
  kUnauthenticated,     // the caller's identity could not be established
  kPermissionDenied,    // the caller may not do it
  kNotFound,            // the named object does not exist
  kAlreadyExists,       // the name or number is taken
  kAborted,             // lost a race: read again, then retry
  kFailedPrecondition,  // the world must change first (not empty, not READY, not signed)
  kOutOfRange,          // a number other than the only one possible now
  kResourceExhausted,   // a limit of the registry is reached
  kNoSpace,             // the disk or its quota is full
  kReadOnly,            // the file system below became read-only
  kTooLarge,            // more than the file system can hold in one file: change the request
  kTooManyFiles,        // this process has its maximum of files open: close some, or raise its limit
  kTooManyFilesOnHost,  // all processes together have the host's maximum of files open
  kBusy,                // another process of this host holds it longer than the call waits: retry later
  kUnavailable,         // the other side is unreachable: retry the same call later
  kDeadlineExceeded,    // the call ran out of time
  kCancelled,           // the caller went away
  kUnimplemented,       // this build or this kind of registry does not support it
  kDataLoss,            // stored bytes failed their check: stop trusting the copy
  kInternal,            // none of the above; only the message explains it
};

// The name of the code, in the enumerator's words, e.g. "not found".
std::string_view CodeName(Code code);

class [[nodiscard]] Error {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same failure with its subject before it: "<subject>: <message>".
  Error Wrap(std::string_view subject) const;

 private:
  Code code_;
  std::string message_;
};

// The error for an errno of a system call: ENOENT is kNotFound, ENOSPC and EDQUOT kNoSpace, EFBIG kTooLarge,
// EACCES and EPERM kPermissionDenied, EROFS kReadOnly, EEXIST kAlreadyExists, EIO kDataLoss, EINVAL
// kInvalidArgument, EMFILE kTooManyFiles, ENFILE kTooManyFilesOnHost. Any other errno is kInternal. The
// message advises the user if the errno's own words do not.
Error ErrnoError(int errno_value, std::string_view subject);

template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using Base = tl::expected<T, Error>;
  using Base::Base;
  Result(Error error) : Base(tl::unexpect, std::move(error)) {}  // NOLINT(google-explicit-constructor)
  Result(const Base& base) : Base(base) {}                       // NOLINT(google-explicit-constructor)
  Result(Base&& base) : Base(std::move(base)) {}                 // NOLINT(google-explicit-constructor)

  bool ok() const { return this->has_value(); }

  // Explains at the call, for a reader and for grep, why a failure is ignored.
  void IgnoreError(std::string_view /*why*/) const {}
};

using Status = Result<void>;
inline Status OkStatus() { return {}; }

}  // namespace modelfs

#define MODELFS_CONCAT_INNER(a, b) a##b
#define MODELFS_CONCAT(a, b) MODELFS_CONCAT_INNER(a, b)

// Returns from the function with the error of a Status or Result; a value is dropped.
#define RETURN_IF_ERROR(expr)                                        \
  do {                                                               \
    if (auto modelfs_status = (expr); !modelfs_status.has_value()) { \
      return std::move(modelfs_status).error();                      \
    }                                                                \
  } while (false)

// Declares `lhs` with the value of a Result, or returns from the function with its error.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL(MODELFS_CONCAT(modelfs_result_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr)          \
  auto tmp = (expr);                                   \
  if (!tmp.has_value()) return std::move(tmp).error(); \
  lhs = std::move(tmp).value()
