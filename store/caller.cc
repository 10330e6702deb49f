#include "store/caller.h"

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

}  // namespace modelfs::store
