#include "fs/sharing/decisions.h"

#include <fmt/format.h>

#include <cstddef>
#include <iterator>

namespace modelfs::fs {
namespace {

constexpr size_t kMostAllowed = 65'536;

// All of a caller that a decision depends on, and what is asked. No name has a zero byte in it.
void QuestionOf(const store::Caller& caller, store::Operation operation, store::ObjectId object,
                std::string& question) {
  question.clear();
  // The uid and its proof: a mount may speak for its owner alone.
  fmt::format_to(std::back_inserter(question), "{} {} {} {} {} {} ", static_cast<int>(operation), object,
                 caller.uid, static_cast<int>(caller.proof), caller.speaker.has_value(), caller.shared_name);
  question.append(caller.principal);
  for (const std::string& group : caller.groups) question.append(1, '\0').append(group);
}

}  // namespace

Status Decisions::Check(const store::Caller& caller, store::Operation operation, store::ObjectId object) {
  if (caller.IsUpkeep()) return governance_.CheckAccess(caller, operation, object);
  // Before the decision is made: a change between the two makes the cached answer old, not wrong.
  const Result<uint64_t> revision = journal_.CurrentRevision(daemon_);
  if (!revision.ok()) return revision.error();
  thread_local std::string question;
  QuestionOf(caller, operation, object, question);
  {
    const MutexLock lock(mu_);
    if (revision_ == *revision && allowed_.contains(question)) return OkStatus();
  }
  const Status allowed = governance_.CheckAccess(caller, operation, object);
  if (!allowed.ok()) return allowed;
  const MutexLock lock(mu_);
  if (revision_ < *revision || allowed_.size() >= kMostAllowed) {
    allowed_.clear();
    revision_ = *revision;
  }
  if (revision_ == *revision) allowed_.insert(question);
  return OkStatus();
}

}  // namespace modelfs::fs
