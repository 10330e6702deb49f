// The one way a function says that it failed: Result<T>, or Status where there is no value.
//
//   Result<Digest> HashFile(const Fd& file);
//   ASSIGN_OR_RETURN(const Digest digest, HashFile(file));
//   RETURN_IF_ERROR(store.Put(digest, bytes));
//
// An Error is a Code from the short list below, chosen by what the caller should do next, and a
// message that is built outwards, subject first:
//   "publish prod.ml.iris v3: put sha256:9f2c..: write: no space left on device".
// Exceptions do not cross our functions; the adapter that calls a throwing library catches.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <type_traits>
#include <utility>

namespace modelfs {

enum class Code {
  kInvalidArgument,     // the request can never succeed: change it
  kUnauthenticated,     // who is asking could not be established
  kPermissionDenied,    // who is asking may not do it
  kNotFound,            // what it names does not exist
  kAlreadyExists,       // the name or number is taken
  kAborted,             // lost a race: read again, then retry
  kFailedPrecondition,  // the world must change first (not empty, not READY, not signed)
  kOutOfRange,          // a number other than the one that is possible now
  kResourceExhausted,   // a limit of the registry is reached
  kNoSpace,             // the disk or its quota is full
  kReadOnly,            // the file system beneath became read-only
  kTooLarge,            // more than the file system can hold in one file: change the request
  kTooManyFiles,        // this process has as many files open as it may: close some, or raise its limit
  kTooManyFilesOnHost,  // all processes together have
  kBusy,                // another process of this host has it for longer than the call waits: retry it later
  kUnavailable,         // the other side is away: retry the same call later
  kDeadlineExceeded,    // ran out of the time it was given
  kCancelled,           // the caller went away
  kUnimplemented,       // this build or this kind of registry cannot
  kDataLoss,            // stored bytes failed their check: stop trusting the copy
  kInternal,            // none of the above; the message is all there is
};

// The code's name in the words of the enumerator, e.g. "not found".
std::string_view CodeName(Code code);

class [[nodiscard]] Error {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same failure seen from further out: "<subject>: <message>".
  Error Wrap(std::string_view subject) const;

 private:
  Code code_;
  std::string message_;
};

// From an errno of a system call: ENOENT is kNotFound, ENOSPC and EDQUOT kNoSpace, EFBIG kTooLarge, EACCES
// and EPERM kPermissionDenied, EROFS kReadOnly, EEXIST kAlreadyExists, EIO kDataLoss, EINVAL
// kInvalidArgument, EMFILE kTooManyFiles, ENFILE kTooManyFilesOnHost (both say what to raise), else
// kInternal.
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

  // Says at the call, for a reader and for grep, why nothing is done about a failure.
  void IgnoreError(std::string_view /*why*/) const {}
};

using Status = Result<void>;
inline Status OkStatus() { return {}; }

}  // namespace modelfs

#define MODELFS_CONCAT_INNER(a, b) a##b
#define MODELFS_CONCAT(a, b) MODELFS_CONCAT_INNER(a, b)

// Leaves the function with the error of a Status (or a Result whose value is not wanted).
#define RETURN_IF_ERROR(expr)                                        \
  do {                                                               \
    if (auto modelfs_status = (expr); !modelfs_status.has_value()) { \
      return std::move(modelfs_status).error();                      \
    }                                                                \
  } while (false)

// Declares `lhs` with the value of a Result, or leaves the function with its error.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL(MODELFS_CONCAT(modelfs_result_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr)          \
  auto tmp = (expr);                                   \
  if (!tmp.has_value()) return std::move(tmp).error(); \
  lhs = std::move(tmp).value()
