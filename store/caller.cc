#include "store/caller.h"

#include <fmt/core.h>
#include <pwd.h>

#include <cerrno>
#include <vector>

namespace modelfs::store {

std::string_view ProofName(Proof proof) {
  switch (proof) {
    case Proof::kProcess:
      return "process";
    case Proof::kMount:
      return "mount";
    case Proof::kUnixSocket:
      return "unix_socket";
    case Proof::kToken:
      return "token";
  }
  return "unknown";
}

std::string PrincipalOfUid(uid_t uid) {
  constexpr size_t kMostBytes = size_t{1} << 20U;
  std::vector<char> buffer(1024);
  passwd entry{};
  passwd* found = nullptr;
  // getpwuid_r(3): ERANGE asks for a larger buffer; every other failure means "no name" here.
  while (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == ERANGE &&
         buffer.size() < kMostBytes) {
    buffer.resize(buffer.size() * 2);
  }
  if (found != nullptr && found->pw_name != nullptr && *found->pw_name != '\0') return found->pw_name;
  return fmt::format("uid:{}", uid);
}

Caller ProcessCaller(std::string door) {
  Caller caller;
  caller.uid = ::getuid();
  caller.principal = PrincipalOfUid(caller.uid);
  caller.proof = Proof::kProcess;
  caller.door = std::move(door);
  return caller;
}

}  // namespace modelfs::store
